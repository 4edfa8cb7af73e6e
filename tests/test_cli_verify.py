"""`omlt-ext verify`: a verdict on its own line, the counterexample in VNN-LIB's form, exit codes for scripts."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from search_problems import dense_network

from omlt_ext import Network, load_network
from omlt_ext.cli import main
from omlt_ext.verification import read_vnnlib

UNSAT, ERROR, UNKNOWN, SAT = 0, 1, 3, 10


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., Network]) -> Path:
    """A network of three inputs and two outputs, and properties: one output above a value."""
    folder = tmp_path_factory.mktemp("files")
    network = make_network((3, 8, 8, 2), 4)
    network.save(folder / "net.onnx")
    most = float(network(np.random.default_rng(0).uniform(-1, 1, (5_000, 3)))[:, 0].max())
    for name, value in (("reached", most - 0.1), ("missed", most + 100.0)):
        (folder / f"{name}.vnnlib").write_text(vnnlib(3, 2, f"(assert (>= Y_0 {value!r}))"))
    return folder


def vnnlib(n: int, m: int, *assertions: str) -> str:
    names = [f"(declare-const X_{j} Real)" for j in range(n)] + [f"(declare-const Y_{j} Real)" for j in range(m)]
    box = [f"(assert (>= X_{j} -1.0)) (assert (<= X_{j} 1.0))" for j in range(n)]
    return "\n".join([*names, *box, *assertions])


def test_a_counterexample_is_printed_and_written(files, tmp_path, capsys):
    out = tmp_path / "found.txt"
    assert main(["verify", str(files / "net.onnx"), str(files / "reached.vnnlib"), "--counterexample", str(out)]) == SAT
    text, log = capsys.readouterr()
    verdict, point = text.split("\n", 1)
    assert verdict == "sat"
    assert out.read_text() == point
    values = {name: float(value) for name, value in re.findall(r"\((\w+) (\S+?)\)", point)}
    assert list(values) == ["X_0", "X_1", "X_2", "Y_0", "Y_1"]
    x, y = (np.array([value for name, value in values.items() if name[0] == kind]) for kind in "XY")
    assert read_vnnlib(files / "reached.vnnlib").violated(x, y)
    assert load_network(files / "net.onnx")(x) == pytest.approx(y, abs=1e-5)
    assert log.startswith("sat (confirmed): disjunct 0 holds")


def test_a_proof_is_one_word_and_the_bound_stands_beside_it(files, tmp_path, capsys):
    out = tmp_path / "none.txt"
    assert (
        main(["verify", str(files / "net.onnx"), str(files / "missed.vnnlib"), "--counterexample", str(out)]) == UNSAT
    )
    text, log = capsys.readouterr()
    assert text == "unsat\n"
    assert "every point misses by at least" in log
    assert not out.exists()


def test_json_is_one_object(files, capsys):
    assert main(["verify", str(files / "net.onnx"), str(files / "reached.vnnlib"), "--json", "--seed", "3"]) == SAT
    text, log = capsys.readouterr()
    assert log == ""
    found = json.loads(text)
    assert (found["verdict"], found["status"]) == ("sat", "confirmed")
    assert len(found["counterexample"]["x"]) == 3
    assert found["disjuncts"]["state"] == ["violated"]
    assert main(["verify", str(files / "net.onnx"), str(files / "missed.vnnlib"), "--json", "--split", "relu"]) == UNSAT
    found = json.loads(capsys.readouterr().out)
    assert found["counterexample"] is None
    assert found["bound"] < 0
    assert found["trusts_solver"] is False


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("hard")
    network = dense_network((20, 60, 60, 1), 7)
    network.save(folder / "net.onnx")
    most = float(network(np.random.default_rng(0).uniform(-1, 1, (20_000, 20))).max())
    (folder / "hard.vnnlib").write_text(vnnlib(20, 1, f"(assert (>= Y_0 {3.0 * abs(most)!r}))"))
    return ["verify", str(folder / "net.onnx"), str(folder / "hard.vnnlib")]


def test_what_is_not_settled_in_time_is_unknown(hard, capsys):
    assert main([*hard, "--timeout", "0.5"]) == UNKNOWN
    text, log = capsys.readouterr()
    assert text == "unknown\n"
    assert "(time limit)" in log


def test_ctrl_c_prints_what_is_known(hard, capsys):
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    assert main([*hard, "--timeout", "30"]) == UNKNOWN
    timer.join()
    text, log = capsys.readouterr()
    assert text == "unknown\n"
    assert "(interrupted)" in log


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--split", "both"], "split is 'both'"),
        (["--effort", "more"], "unknown effort 'more'"),
        (["--timeout", "-1"], "time_limit is -1"),
        (["--counterexample", "nowhere/found.txt"], "the folder nowhere does not exist"),
    ],
)
def test_wrong_options_are_named(files, capsys, arguments, says):
    assert main(["verify", str(files / "net.onnx"), str(files / "missed.vnnlib"), *arguments]) == ERROR
    text, log = capsys.readouterr()
    assert text == ""
    assert says in log


def test_files_that_do_not_fit_are_named(files, tmp_path, capsys):
    (tmp_path / "other.vnnlib").write_text(vnnlib(4, 2, "(assert (>= Y_0 0.0))"))
    assert main(["verify", str(files / "net.onnx"), str(tmp_path / "other.vnnlib")]) == ERROR
    assert "4 inputs and 2 outputs, the network has 3 and 2" in capsys.readouterr().err
    (tmp_path / "cut.vnnlib").write_text("(declare-const X_0 Real) (assert (>= X_0")
    assert main(["verify", str(files / "net.onnx"), str(tmp_path / "cut.vnnlib")]) == ERROR
    assert "cut.vnnlib" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(files / "net.onnx")])
    assert stop.value.code == 2
