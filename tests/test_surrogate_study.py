"""The case study of pruned surrogates runs as its README says, resumes, and refuses what cannot be true."""

from __future__ import annotations

import doctest
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from studies import is_png, load

from omlt_ext.errors import ReadError
from omlt_ext.heuristics.pruned_surrogate import PrunedSurrogate

pytest.importorskip("sklearn")

STUDY = "08_pruned_surrogates"
FEW = ["--settings", "surrogate", "weights-0.8", "neurons-0.3-tuned"]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load(STUDY, monkeypatch)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_setting_on_every_question(study: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    machine = study.main(["--small", "--out", str(tmp_path)])
    runs = lines_of(tmp_path / "runs.jsonl")
    tuned = sum(name.endswith("-tuned") for name in study.SETTINGS)
    assert machine["runs"] == machine["of"] == len(runs) == 3 * len(study.SETTINGS) - tuned
    assert is_png(tmp_path / "first.png")
    assert is_png(tmp_path / "values.png")
    for run in runs:
        seconds, values = np.array(run["history"]).T
        assert values[-1] == pytest.approx(run["value"], rel=1e-6)
        assert (np.diff(values) > 0).all()
        if run["task"] == "attack":
            assert (run["first"] is None) == (run["value"] <= 0.0)
            assert run["first"] is None or run["first"] in seconds.round(4)
    proved = {run["case"]: run["value"] for run in runs if run["setting"] == "dense" and run["status"] == "optimal"}
    assert proved  # small enough for HiGHS
    for run in runs:
        if run["case"] in proved:
            assert run["value"] <= proved[run["case"]] + 1e-3 * max(1.0, abs(proved[run["case"]]))
    table = pd.read_csv(tmp_path / "attack.csv").set_index("setting")
    assert list(table.index) == list(study.SETTINGS)
    assert table.loc["neurons-0.3", "ReLUs"] < table.loc["dense", "ReLUs"]
    assert table.loc["neurons-0.3-tuned", "accuracy"] > table.loc["neurons-0.3", "accuracy"]


def test_a_killed_run_goes_on_with_two_jobs(study: ModuleType, tmp_path: Path) -> None:
    command = ["--small", "--task", "attack", "--time-limit", "0.3", "--out", str(tmp_path), *FEW]
    assert study.main(command)["runs"] == 8
    journal = tmp_path / "runs.jsonl"
    before = journal.read_bytes()
    lines = before.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5]) + lines[5][:40])  # killed while it wrote
    assert study.main([*command, "--jobs", "2"])["runs"] == 8
    assert journal.read_bytes().startswith(b"".join(lines[:5]))
    keys = [(run["case"], run["setting"]) for run in lines_of(journal)]
    assert len(keys) == len(set(keys)) == 8
    after = journal.read_bytes()
    study.main(command)
    assert journal.read_bytes() == after  # nothing was left to do


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_what_is_there(study: ModuleType, tmp_path: Path, jobs: str) -> None:
    journal = tmp_path / "runs.jsonl"
    assert study.__spec__.origin is not None
    command = [sys.executable, study.__spec__.origin, "--small", "--jobs", jobs, "--out", str(tmp_path)]
    options = ["--time-limit", "0.1", "--settings", "weights-0.8", "auto"]
    with subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60.0
        while not (journal.exists() and journal.read_bytes().count(b"\n") > 3) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes
        printed, errors = process.communicate(timeout=60.0)
    assert process.returncode == 0, errors
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert "1 questions" in printed or "2 questions" in printed
    assert all(run["status"] != "userInterrupt" for run in lines_of(journal))


@pytest.mark.parametrize("option", ["--time-limit", "--scale", "--jobs", "--instances"])
def test_numbers_that_cannot_be(study: ModuleType, capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        study.main([option, "0"])
    assert f"argument {option}: 0 is not a number above 0" in capsys.readouterr().err


def test_runs_that_contradict_each_other_are_refused(study: ModuleType, tmp_path: Path) -> None:
    case = study.Maximum(3, 1, 4, 50)
    journal = study.Journal(tmp_path / "runs.jsonl")
    record = sys.modules["surrogate_runs"].measure((case, "dense", 5.0, None))
    assert record["status"] == "optimal"
    journal.add(record)
    with pytest.raises(RuntimeError, match=r"of auto lies above the bound .* of dense"):
        journal.add(record | {"setting": "auto", "value": record["bound"] + 0.01})
    with pytest.raises(RuntimeError, match="not that of the runs before"):
        journal.add(record | {"setting": "auto", "digest": "0"})
    assert len(lines_of(journal.path)) == 1
    journal.path.write_text("{}\n")
    with pytest.raises(ReadError, match=r"runs\.jsonl, line 1"):
        study.Journal(journal.path)


def test_questions_are_about_the_dense_network(study: ModuleType) -> None:
    """The image is read rightly, the classes are the dense network's, and a point outside is no answer."""
    cases = sys.modules["surrogate_cases"]
    assert doctest.testmod(cases).failed == 0
    assert len({str(case) for case in cases.attacks(mnist=False)}) == 48
    case = study.Attack(1, 3, 6, 2, 8)
    question, again = case.ask(None), case.ask(None)
    assert question.digest == again.digest != study.Attack(1, 3, 6, 2, 8, 0.1).ask(None).digest
    x, y = question.test
    image, delta = question.about["image"], question.about["delta"]
    assert x.shape[1] == 36
    assert 4.5 * 6 / 28 <= delta <= 5.5 * 6 / 28
    logits, m = question.network(x[image]), question.model
    right, wrong = np.argsort(logits)[[-1, -2]]
    assert right == y[image]
    for i in m.x:
        m.x[i].value = x[image, i]
    assert question.check(m) == pytest.approx(logits[wrong] - logits[right])
    m.x[0].value = 1.1
    with pytest.raises(RuntimeError, match="box"):
        question.check(m)
    for i in m.x:
        m.x[i].value = 1.0 - x[image, i]
    with pytest.raises(RuntimeError, match="moves"):
        question.check(m)


def test_the_surrogate_is_the_solver_as_it_comes(study: ModuleType) -> None:
    setting, default = study.SETTINGS["surrogate"], PrunedSurrogate()
    assert (setting.pruning, setting.sparsity) == (default.method, default.sparsity)  # one of each
    question = study.Maximum(3, 2, 8, 50).ask(None)
    options, about = sys.modules["surrogate_runs"].surrogate_options(question, setting)
    assert options == {}
    assert about["relus"] < question.network.n_relus


def test_smaller_images_have_the_same_ink(study: ModuleType) -> None:
    cases = sys.modules["surrogate_cases"]
    whole = cases.load(None).x_test
    assert np.allclose(cases.shrink(whole, 8), whole)
    for side in (6, 5):
        small = cases.shrink(whole, side)
        assert small.shape == (len(whole), side * side)
        assert np.allclose(small.mean(axis=1), whole.mean(axis=1))
        assert small.min() >= 0.0
        assert small.max() <= 1.0 + 1e-12
    one, other = cases.split(None, 5, 0), cases.split(None, 5, 1)
    assert one.x_train.shape == other.x_train.shape
    assert not np.array_equal(one.y_train, other.y_train)


def test_tables_count_what_they_say(study: ModuleType) -> None:
    tables = sys.modules["surrogate_tables"]
    made = []
    for case, dense, ours in (
        ("a", (1.0, 4.0), (2.0, 0.5)),  # sooner, better
        ("b", (3.0, 1.0), (3.0, 2.0)),  # later, equal
        ("c", (-1.0, None), (-2.0, None)),  # neither, worse
        ("d", (-1.0, None), (1.0, 6.0)),  # sooner than never, better
        ("e", (None, None), (-1.0, None)),  # any value is better than none
    ):
        for setting, (value, first) in (("dense", dense), ("surrogate", ours)):
            record = {"task": "attack", "case": case, "setting": setting, "value": value, "first": first}
            made.append(record | {"relus": 8, "limit": 9.0, "status": "maxTimeLimit"})
    table = tables.attack(tables.frame(made)).set_index("setting")
    ours, dense = table.loc["surrogate"], table.loc["dense"]
    assert (ours["sooner"], ours["misread"], ours["as good"], ours["better"], ours["best"]) == ("2 of 3", 3, 4, 3, 4)
    assert (dense["misread"], dense["as good"], dense["better"], dense["best"]) == (2, 5, 0, 2)
    assert ours["median s to first"] == 6.0


def test_mnist_files_are_read(study: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60), ("test", 20)):
        arrays[f"y_{part}"] = np.arange(count, dtype=np.uint8) % 10
        x = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        x[np.arange(count), 10, arrays[f"y_{part}"] + 10] = 255
        x[np.arange(count), 2 * arrays[f"y_{part}"]] = 255
        arrays[f"x_{part}"] = x
    np.savez(tmp_path / "mnist.npz", **arrays)
    command = ["--mnist", str(tmp_path / "mnist.npz"), "--instances", "1", "--time-limit", "0.3", "--task", "attack"]
    machine = study.main([*command, "--settings", "surrogate", "--out", str(tmp_path / "out")])
    assert machine["data"] == "mnist"
    runs = lines_of(tmp_path / "out" / "runs.jsonl")
    assert [run["case"] for run in runs] == ["28x28 4x32 s0/0"] * 2
    assert 4.5 <= runs[0]["delta"] <= 5.5
