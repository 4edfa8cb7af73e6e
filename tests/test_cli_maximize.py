"""`omlt-ext maximize`: methods, rounds, searches on several processes, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omlt_ext import Network, plugins
from omlt_ext.cli import main
from omlt_ext.writers.onnx import save_onnx


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., Network]) -> str:
    path = tmp_path_factory.mktemp("nets") / "net.onnx"
    save_onnx(make_network((4, 10, 8, 1), 1), path)
    return str(path)


def report(capsys: pytest.CaptureFixture[str], *arguments: str, codes: tuple[int, ...] = (0, 3)) -> dict[str, Any]:
    assert main(["maximize", *arguments, "--box", "-1", "1", "--json"]) in codes
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("method", plugins.names(plugins.HEURISTICS))
def test_every_method_by_name(net: str, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    best = report(capsys, net, "--method", "milp", "--gap", "1e-5")["value"]
    found = report(capsys, net, "--method", method, "--time-limit", "1")
    assert found["method"] == method
    assert found["value"] <= best + 1e-3
    assert found["bound"] >= best - 1e-9
    assert found["value"] == pytest.approx(found["history"]["value"][-1])
    assert main(["maximize", net, "--box", "-1", "1", "--method", method, "--time-limit", "0.2"]) in (0, 3)
    out, _ = capsys.readouterr()
    assert out.startswith("status   ")
    assert f"nodes, method {method}\n" in out


def test_rounds_give_the_same_result_again(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, again = (report(capsys, net, "--method", "milp", "--rounds", "1", "--seed", "3") for _ in range(2))
    assert (first["x"], first["value"], first["bound"]) == (again["x"], again["value"], again["bound"])


def test_processes_find_what_one_finds(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    alone = report(capsys, net, "--method", "milp", "--searches", "2")
    shared = report(capsys, net, "--method", "milp", "--jobs", "2")
    assert shared["x"] == alone["x"]
    assert shared["value"] == alone["value"]
    seconds = shared["history"]["seconds"]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "luck"], "unknown method 'luck'; choose one of 'auto'"),
        (["--rounds", "0"], "rounds is 0"),
        (["--searches", "0"], "searches is 0"),
        (["--jobs", "0"], "--jobs 0: give the number of worker processes"),
        (["--formulation", "hexagon"], "no formulation named 'hexagon'"),
    ],
)
def test_errors_in_one_line(net: str, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maximize", net, "--box", "-1", "1", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("omlt-ext: error: ")
    assert says in err
    assert err.count("\n") == 1


def test_help_lists_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["maximize", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert ", ".join(plugins.names(plugins.HEURISTICS)) in text
    for option in ("--rounds", "--searches", "--jobs", "--method", "--plot"):
        assert option in text


@pytest.mark.parametrize("extra", [[], ["--minimize"]])
def test_plot_of_a_heuristic(net: str, extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "history.svg"
    found = report(capsys, net, "--method", "milp", "--plot", str(path), *extra)
    assert found["sense"] == ("min" if extra else "max")
    text = path.read_text()
    assert text.startswith("<?xml")
    assert "</svg>" in text
