"""The command line: what it prints, its exit codes, and that nothing ends in a traceback."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omlt_ext import Bounds, Box, Effort, Layer, Network, load_network, tighten_bounds
from omlt_ext.cli import main

MakeNetwork = Callable[..., Network]
COMMANDS = ("info", "bounds", "maximize")
HIDDEN = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)


def write_nnet(path: Path, network: Network, low: float, high: float) -> Path:
    """The network as a .nnet file whose input box is [low, high] in every coordinate."""
    sizes = [network.n_inputs, *(layer.n_out for layer in network.layers)]
    n = sizes[0]
    lines = ["// a test", f"{len(network.layers)},{n},{sizes[-1]},{max(sizes)},", ",".join(map(str, sizes)) + ",", "0,"]
    for value, count in ((low, n), (high, n), (0.0, n + 1), (1.0, n + 1)):
        lines.append(",".join([repr(value)] * count) + ",")
    for layer in network.layers:
        lines += [",".join(map(repr, row)) + "," for row in layer.dense_weight().tolist()]
        lines += [f"{value!r}," for value in layer.bias.tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def one(tmp_path: Path) -> str:
    """One output, its box [-1, 1]^2: (x + y)+ - 3 (x - y)+, between -6 and 2."""
    network = Network([HIDDEN, Layer([[1.0, -3.0]], [0.0], relu=False)])
    return str(write_nnet(tmp_path / "one.nnet", network, -1.0, 1.0))


@pytest.fixture
def two(tmp_path: Path) -> str:
    """Two outputs, (x + y)+ and (x - y)+ - 1, and no box of its own."""
    network = Network([HIDDEN, Layer(np.eye(2), [0.0, -1.0], relu=False)])
    path = tmp_path / "two.onnx"
    network.save(path)
    return str(path)


@pytest.fixture
def hard(tmp_path: Path, make_network: MakeNetwork) -> str:
    """More than HiGHS proves in half a minute."""
    network = make_network((20, 60, 60, 60, 1), 0, scale=0.2)
    return str(write_nnet(tmp_path / "hard.nnet", network, -1.0, 1.0))


def strict_json(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return strict_json(out)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run arguments that cannot be used; return the one line that says why."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("omlt-ext: error: ")
    assert err.count("\n") == 1
    return err


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "omlt_ext", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_info(one: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", one]) == 0
    text = capsys.readouterr().out
    assert "2 inputs, 1 output, 2 ReLUs" in text
    assert "input box" in text
    report = json_of(capsys, "info", one)
    assert (report["n_inputs"], report["n_outputs"], report["n_relus"]) == (2, 1, 2)
    assert report["input_box"] == {"lower": [-1, -1], "upper": [1, 1]}
    assert report["inputs"] == {"input": [0, 2]}
    assert report["layers"][0] == {"inputs": 2, "neurons": 2, "relus": 2, "nonzeros": 4, "stored": "dense"}


def test_info_says_that_there_is_no_box(two: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", two]) == 0
    assert "input box: none" in capsys.readouterr().out
    assert json_of(capsys, "info", two)["input_box"] is None


def test_bounds(one: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = tighten_bounds(load_network(one), (-1, 1))
    saved = tmp_path / "bounds.npz"
    report = json_of(capsys, "bounds", one, "-o", str(saved))
    assert [layer["lower"] for layer in report["layers"]] == [values.tolist() for values in truth.lower]
    assert [layer["upper"] for layer in report["layers"]] == [values.tolist() for values in truth.upper]
    assert report["n_unstable"] == report["layers"][0]["unstable"] == 2
    assert report["layers"][1]["linear"] == 1
    loaded = Bounds.load(saved)
    assert all(np.array_equal(a, b) for a, b in zip(loaded.upper, truth.upper, strict=True))
    assert main(["bounds", one]) == 0
    assert "2 of 2 ReLUs unstable" in capsys.readouterr().out


def test_effort_reaches_the_ladder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network([HIDDEN, Layer([[1.0, 1.0]], [0.0], relu=False)])
    path = str(write_nnet(tmp_path / "sum.nnet", network, -1.0, 1.0))
    for effort, upper in (("interval", 4.0), ("crown", 3.0)):
        report = json_of(capsys, "bounds", path, "--effort", effort)
        assert report["layers"][1]["upper"] == pytest.approx([upper])


def test_the_dials_of_bounds(hard: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option is the dial of `Effort` that has its name."""
    cases = {
        ("--steps", "3"): Effort("split", steps=3),
        ("--leaves", "4"): Effort("split", leaves=4),
        ("--neurons", "unstable"): Effort("split", neurons="unstable"),
        ("--neurons", "5", "--leaves", "6"): Effort("split", neurons=5, leaves=6),
        ("--stop-at-sign",): Effort("split", stop_at_sign=True),
    }
    network = load_network(hard)
    for arguments, effort in cases.items():
        report = json_of(capsys, "bounds", hard, "--box", "0", ".2", "--effort", "split", *arguments)
        found = tighten_bounds(network, (0, 0.2), effort)
        assert [layer["lower"] for layer in report["layers"]] == [values.tolist() for values in found.lower]
    report = json_of(capsys, "bounds", hard, "--effort", "lp", "--leaves", "1", "--seconds-per-solve", "0")
    assert report["finished"]


def test_the_report_of_bounds(hard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "saved.npz"
    report = json_of(capsys, "bounds", hard, "--effort", "split", "--leaves", "2", "-o", str(saved))
    found = Bounds.load(saved)
    frame = found.to_frame()
    assert (report["finished"], report["notes"], report["effort"]) == (True, [], "split")
    assert report["seconds"] == pytest.approx(frame.seconds.sum())
    assert report["seconds"] > 0
    for k, layer in enumerate(report["layers"]):
        table = frame[frame.layer == k]
        assert layer["mean_width"] == pytest.approx(found.width()[k].mean())
        assert layer["upper_method"] == table.upper_method.tolist()
        assert layer["seconds"] == table.seconds.tolist()
        assert layer["neurons"] == len(table)
        assert layer["unstable"] == (table.state == "unstable").sum()


def test_bounds_that_a_time_limit_ended(hard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "saved.npz"
    report = json_of(capsys, "bounds", hard, "--effort", "lp", "--time-limit", "0", "-o", str(saved), code=3)
    assert not report["finished"]
    assert "stopped at the time limit in layer 1 of the rung 'dual'" in report["notes"][0]
    assert Bounds.load(saved).notes == tuple(report["notes"])
    assert main(["bounds", hard, "--time-limit", "0"]) == 3
    out, err = capsys.readouterr()
    assert "note: stopped at the time limit" in out
    assert err == ""


def test_bounds_go_on_from_their_file(hard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, arguments = tmp_path / "run.npz", ("--effort", "split", "--leaves", "16")
    whole = json_of(capsys, "bounds", hard, *arguments)
    limit = 0.05
    while main(["bounds", hard, *arguments, "--resume", str(run), "--time-limit", str(limit)]) == 3:
        limit *= 2.0
    capsys.readouterr()
    report = json_of(capsys, "bounds", hard, *arguments, "--resume", str(run), "--time-limit", "0")
    assert limit > 0.05
    assert [layer["upper"] for layer in report["layers"]] == [layer["upper"] for layer in whole["layers"]]
    said = fails(capsys, "bounds", hard, "--box", "0", "1", "--resume", str(run))
    assert "belongs to another network or domain" in said


def test_bounds_by_worker_processes(hard: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("bounds", hard, "--effort", "lp", "--leaves", "1")
    alone, shared = (json_of(capsys, *arguments, "--jobs", jobs) for jobs in ("1", "2"))
    assert shared["finished"]
    assert [layer["upper"] for layer in shared["layers"]] == [layer["upper"] for layer in alone["layers"]]


def test_a_picture_of_bounds(one: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "bounds.png"
    json_of(capsys, "bounds", one, "--plot", str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "suffix" in fails(capsys, "bounds", one, "--plot", str(tmp_path / "bounds.xyz"))


def test_box_on_the_command_line_comes_before_the_file(one: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = json_of(capsys, "bounds", one, "--box", "-1e-1", "-.05")
    assert report["box"] == {"lower": [-0.1, -0.1], "upper": [-0.05, -0.05]}


def test_box_from_a_file(two: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box, expected = Box([-1, 0], [1, 2]), {"lower": [-1, 0], "upper": [1, 2]}
    plain, sidecar, saved = tmp_path / "box.npz", tmp_path / "x.bounds.json", tmp_path / "saved.npz"
    np.savez(plain, lower=box.lower, upper=box.upper)
    entries = [{"key": j, "lower_bound": float(box.lower[j]), "upper_bound": float(box.upper[j])} for j in (0, 1)]
    sidecar.write_text(json.dumps(entries))
    tighten_bounds(load_network(two), box).save(saved)
    for path in (plain, sidecar, saved):
        assert json_of(capsys, "bounds", two, "--box-file", str(path))["box"] == expected


def test_maximize(one: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = json_of(capsys, "maximize", one)
    assert (report["status"], report["sense"]) == ("optimal", "max")
    assert report["value"] == pytest.approx(2.0)
    assert report["bound"] >= report["value"]
    assert report["x"] == pytest.approx([1, 1])
    assert report["outputs"] == [report["value"]]
    assert set(report["history"]) == {"seconds", "value", "bound"}
    assert main(["maximize", one]) == 0
    assert "status   optimal" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["auto", "ideal_cuts", "balas"])
def test_maximize_with_another_formulation(one: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert json_of(capsys, "maximize", one, "--formulation", name)["value"] == pytest.approx(2.0)


def test_formulations_that_cannot_be_used_are_refused(one: str, hard: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no formulation named 'big'; installed: auto" in fails(capsys, "maximize", one, "--formulation", "big")
    assert "no formulation named 'big'" in fails(capsys, "bounds", one, "--effort", "lp", "--formulation", "big")
    assert "HiGHS knows no SOS1 sets" in fails(
        capsys, "maximize", hard, "--effort", "interval", "--formulation", "sos1"
    )


def test_minimize(one: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = json_of(capsys, "maximize", one, "--minimize")
    assert (report["status"], report["sense"], report["objective"]) == ("optimal", "min", [1.0])
    assert report["value"] == pytest.approx(-6.0)
    assert report["bound"] <= report["value"]
    assert report["history"]["bound"][-1] == report["bound"]
    assert report["x"] == pytest.approx([1, -1])


@pytest.mark.parametrize(
    ("which", "value"),
    [
        (["--output", "1"], 1.0),
        (["--objective", "-1,2"], 2.0),
        (["--objective=-1,-1"], 1.0),
        (["--objective", "1,-1"], 3),
    ],
)
def test_which_output(two: str, which: list[str], value: float, capsys: pytest.CaptureFixture[str]) -> None:
    report = json_of(capsys, "maximize", two, "--box", "-1", "1", *which)
    assert report["value"] == pytest.approx(value, abs=1e-4)


def test_zero_is_printed_without_a_sign(two: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maximize", two, "--box", "-2", "-1", "--output", "0", "--minimize"]) == 0
    assert "value    0\n" in capsys.readouterr().out


def test_stopped_with_a_gap(hard: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = json_of(capsys, "maximize", hard, "--time-limit", "0", code=3)
    assert report["status"] == "time_limit"
    assert report["bound"] > report["value"]
    assert report["history"]["value"][0] is None  # the bound comes first; NaN is not JSON


def test_plot(one: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "progress.png"
    json_of(capsys, "maximize", one, "--plot", str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "suffix" in fails(capsys, "maximize", one, "--plot", str(tmp_path / "progress.xyz"))
    assert "does not exist" in fails(capsys, "maximize", one, "--plot", str(tmp_path / "nowhere" / "progress.png"))


def test_plot_without_matplotlib_names_the_extra(
    one: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "omlt-ext[plot]" in fails(capsys, "maximize", one, "--plot", "progress.png")


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_cannot_be_read(command: str, one: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in fails(capsys, command, str(tmp_path / "nowhere.onnx"))
    cut = tmp_path / "cut.nnet"
    cut.write_text("\n".join(Path(one).read_text().splitlines()[:-2]))
    assert "truncated" in fails(capsys, command, str(cut))
    (tmp_path / "empty.onnx").touch()
    assert "empty" in fails(capsys, command, str(tmp_path / "empty.onnx"))
    (tmp_path / "noise.onnx").write_bytes(b"\x08\xff\x12noise")
    assert "noise.onnx" in fails(capsys, command, str(tmp_path / "noise.onnx"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bounds"], "--box LO HI"),
        (["maximize"], "--box LO HI"),
        (["bounds", "--box", "1", "0"], "above upper bound"),
        (["bounds", "--box", "nan", "0"], "must be finite"),
        (["bounds", "--box", "-inf", "0"], "must be finite"),
        (["bounds", "--box", "0", "1", "--effort", "heroic"], "unknown effort"),
        (["bounds", "--box", "0", "1", "-o", "/nowhere/bounds.npz"], "the folder /nowhere does not exist"),
        (["bounds", "--box", "0", "1", "-o", "bounds.txt"], "-o bounds.txt: choose one of the suffixes .npz"),
        (["bounds", "--box", "0", "1", "--steps", "-1"], "steps is -1"),
        (["bounds", "--box", "0", "1", "--leaves", "0"], "leaves is 0"),
        (["bounds", "--box", "0", "1", "--neurons", "most"], "neurons is 'most'"),
        (["bounds", "--box", "0", "1", "--neurons", "0"], "neurons is 0"),
        (["bounds", "--box", "0", "1", "--time-limit", "nan"], "seconds is nan"),
        (["bounds", "--box", "0", "1", "--seconds-per-solve", "-1"], "seconds_per_solve is -1"),
        (["bounds", "--box", "0", "1", "--jobs", "0"], "--jobs 0: give the number of worker processes"),
        (["bounds", "--box", "0", "1", "--resume", "/nowhere/run"], "is no file in an existing folder"),
        (["bounds", "--box-file", "nowhere.npz"], "cannot be read"),
        (["bounds", "--box-file", "nowhere.json"], "cannot be read"),
        (["bounds", "--box-file", "box.txt"], ".npz and .json"),
        (["maximize", "--box", "0", "1"], "2 outputs; give --output"),
        (["maximize", "--box", "0", "1", "--output", "2"], "outputs 0 to 1"),
        (["maximize", "--box", "0", "1", "--output", "-1"], "outputs 0 to 1"),
        (["maximize", "--box", "0", "1", "--objective", "1"], "1 weights, the network 2 outputs"),
        (["maximize", "--box", "0", "1", "--objective", "1,a"], "numbers with commas"),
        (["maximize", "--box", "0", "1", "--objective", "1,nan"], "finite number"),
        (["maximize", "--box", "0", "1", "--output", "0", "--method", "luck"], "'milp'"),
        (["maximize", "--box", "0", "1", "--output", "0", "--time-limit", "-1"], "time_limit"),
        (["maximize", "--box", "0", "1", "--output", "0", "--gap", "nan"], "gap"),
        (["maximize", "--box", "0", "1", "--output", "0", "--seed", "-1"], "seed"),
    ],
)
def test_options_that_cannot_be_used(
    two: str, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in fails(capsys, arguments[0], two, *arguments[1:])


def test_box_files_that_are_none(two: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "box.npz"
    np.savez(path, low=[0.0, 0.0], upper=[1.0, 1.0])
    assert "no arrays lower and upper" in fails(capsys, "bounds", two, "--box-file", str(path))
    np.savez(path, lower=[0.0], upper=[1.0])
    assert "the network takes 2" in fails(capsys, "bounds", two, "--box-file", str(path))
    np.savez(path, lower=[0.0, 2.0], upper=[1.0, 1.0])
    assert "input 1" in fails(capsys, "bounds", two, "--box-file", str(path))
    np.savez_compressed(path, lower=[0.0, 0.0], upper=[1.0, 1.0])
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:60] + b"\x55" * 20 + whole[80:], b"noise"):
        path.write_bytes(damaged)
        assert "cannot be read" in fails(capsys, "bounds", two, "--box-file", str(path))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["info"],
        ["bounds", "net.onnx", "--box", "1"],
        ["bounds", "net.onnx", "--box", "a", "b"],
        ["bounds", "net.onnx", "--box", "0", "1", "--box-file", "box.npz"],
        ["bounds", "net.onnx", "--steps", "many"],
        ["bounds", "net.onnx", "--jobs", "1.5"],
        ["maximize", "net.onnx", "--output", "0", "--objective", "1"],
        ["maximize", "net.onnx", "--output", "first"],
        ["info", "net.onnx", "--effort", "crown"],
    ],
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: omlt-ext" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["info"], ["bounds"], ["maximize"]])
def test_help_lists_the_exit_codes(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n  {code} " in text for code in (0, 1, 2, 3, 130))


def test_as_a_process(one: str, hard: str) -> None:
    """Standard output holds the JSON and nothing else, also where HiGHS runs and where it stops early."""
    done = run("maximize", one, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert strict_json(done.stdout)["value"] == pytest.approx(2.0)
    stopped = run("maximize", hard, "--json", "--time-limit", "0.5")
    assert (stopped.returncode, stopped.stderr) == (3, "")
    assert strict_json(stopped.stdout)["status"] == "time_limit"
    failed = run("info", "nowhere.onnx")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "Traceback" not in failed.stderr
    assert run("--version").stdout.startswith("omlt-ext ")


INTERRUPTS_ITSELF = """
import os, signal, sys, threading
from omlt_ext.cli import main
timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))  # HiGHS runs by then
timer.daemon = True
timer.start()
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_during_the_search_prints_the_best_so_far(hard: str) -> None:
    command = [sys.executable, "-c", INTERRUPTS_ITSELF, "maximize", hard, "--json", "--time-limit", "50"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr.strip()) == (3, "omlt-ext: stopping at the best so far")
    report = strict_json(done.stdout)
    assert report["status"] == "interrupted"
    assert report["bound"] > report["value"]
    assert report["seconds"] < 20


def test_ctrl_c_while_bounds_are_tightened(hard: str, tmp_path: Path) -> None:
    saved = tmp_path / "saved.npz"
    arguments = ("--effort", "split", "--leaves", "100000", "--json", "-o", str(saved))
    command = [sys.executable, "-c", INTERRUPTS_ITSELF, "bounds", hard, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr.strip()) == (3, "omlt-ext: stopping at the best so far")
    report = strict_json(done.stdout)
    assert "stopped by Ctrl-C in layer" in report["notes"][0]
    assert Bounds.load(saved).notes == tuple(report["notes"])


def stderr_on_a_terminal(*arguments: str) -> tuple[str, str]:
    """Standard output, and what a terminal gets on standard error."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # a new one has no columns
    command = [sys.executable, "-m", "omlt_ext", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=60, check=False)
    os.write(theirs, b"end")  # so that there is something to read
    os.close(theirs)
    text = ""
    while not text.endswith("end"):
        text += os.read(ours, 2**16).decode()
    os.close(ours)
    assert done.returncode == 3
    return done.stdout, text


def test_progress_on_a_terminal_only(hard: str) -> None:
    out, err = stderr_on_a_terminal("maximize", hard, "--time-limit", "0.5", "--minimize")
    assert out.startswith("status   time limit")
    assert "/0.5 s, value " in err
    assert "maximum of the negative" in err
    assert stderr_on_a_terminal("maximize", hard, "--time-limit", "0.1", "--json")[1] == "end"


def test_progress_of_bounds_on_a_terminal(hard: str, tmp_path: Path) -> None:
    """Also with --json, which has standard output for itself."""
    arguments = ("--effort", "split", "--leaves", "500", "--time-limit", "0.5", "--json")
    out, err = stderr_on_a_terminal("bounds", hard, *arguments, "--resume", str(tmp_path / "run"))
    assert strict_json(out)["notes"]
    assert "/724 " in err  # 181 neurons, two bounds, two rungs
    assert "split, layer 1" in err


def test_ctrl_c_elsewhere(one: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("omlt_ext.readers.load_network", interrupted)
    assert main(["info", one]) == 130
    assert capsys.readouterr().err == "omlt-ext: error: interrupted\n"


def test_reader_that_leaves_early(one: str) -> None:
    """`omlt-ext info NET | true` ends quietly."""
    command = [sys.executable, "-m", "omlt_ext", "bounds", one]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


def test_bounds_dials_reach_the_effort(two: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, box = str(tmp_path / "run.npz"), ("--box", "0", "1")
    assert json_of(capsys, "bounds", two, *box, "--effort", "milp", "--layers", "1", "--gap", "0.1")["notes"] == []
    refused = {
        ("--layers", "a"): "--layers a: give numbers",
        ("--layers", "7"): "the network has the layers 0 to 1",
        ("--solver", "cplex"): "solver is 'cplex'",
        ("--backend", "jax"): "backend is 'jax'",
        ("-o", out, "--resume", out): "name the same file",
    }
    for arguments, message in refused.items():
        assert main(["bounds", two, *box, *arguments]) == 1
        assert message in capsys.readouterr().err
