"""The case studies of the searches run as their READMEs say, resume, and refuse what cannot be true."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from studies import STUDIES, is_png, load

from omlt_ext.errors import ReadError

pytest.importorskip("sklearn")


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("05_relaxing_walk", monkeypatch)


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("06_adversarial_l1", monkeypatch)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("07_treatment_plans", monkeypatch)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_random_networks_by_every_search(walks: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    machine = walks.main(["--small", "--out", str(tmp_path)])
    runs = lines_of(tmp_path / "runs.jsonl")
    assert machine["runs"] == machine["of"] == len(runs) == 2 * len(walks.METHODS)
    assert is_png(tmp_path / "history.png")
    assert is_png(tmp_path / "near_best.png")
    for name in {run["case"] for run in runs}:  # small enough for HiGHS to prove the optimum
        values = {run["method"]: run["value"] for run in runs if run["case"] == name}
        assert values["auto"] == pytest.approx(values["HiGHS"], rel=1e-4)
        assert max(values.values()) <= values["HiGHS"] + 1e-4
    for run in runs:
        seconds, values = np.array(run["history"]).T
        assert values[-1] == run["value"]
        assert (np.diff(values) > 0).all()
        assert (np.diff(seconds) >= 0).all()
    before = (tmp_path / "runs.jsonl").read_bytes()
    (tmp_path / "runs.jsonl").write_bytes(before + before[:40])  # killed while it wrote
    walks.main(["--small", "--out", str(tmp_path)])
    assert (tmp_path / "runs.jsonl").read_bytes() == before


def test_the_study_and_the_benchmarks_draw_the_same_networks(
    walks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(STUDIES.parent / "benchmarks")
    from networks import torch_init, widths_of

    ours, theirs = walks.Case(7, 2, 5, 53, 1.0).network(), torch_init(widths_of("7-2x5"), 53)
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        assert np.array_equal(one.dense_weight(), other.dense_weight())
        assert np.array_equal(one.bias, other.bias)


def test_runs_that_contradict_each_other_are_refused(walks: ModuleType, tmp_path: Path) -> None:
    case = walks.Case(3, 1, 4, 50, 0.3)
    journal = walks.Journal(tmp_path / "runs.jsonl")
    record = walks.measure(case, "HiGHS")
    journal.add(case, record)
    with pytest.raises(RuntimeError, match=r"of auto lies above the bound .* of HiGHS"):
        journal.add(case, record | {"method": "auto", "value": record["bound"] + 0.01})
    (tmp_path / "runs.jsonl").write_text("{}\n")
    with pytest.raises(ReadError, match=r"runs\.jsonl, line 1"):
        walks.Journal(tmp_path / "runs.jsonl")


def test_attacks_stay_within_the_budget_and_highs_is_not_beaten_where_it_proves(
    attacks: ModuleType, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    report = attacks.main(["--small", "--out", str(tmp_path)])
    rows = report["rows"]
    assert rows == lines_of(tmp_path / "attacks.jsonl")
    assert {row["method"] for row in rows} == set(attacks.FORMS)
    images = attacks.load_digits_8x8()
    network, _ = attacks.train_classifier(images, (8, 8), 60, 0)
    proved = {row["image"]: row["margin"] for row in rows if row["method"] == "highs" and row["status"] == "optimal"}
    assert proved
    for row in rows:
        before, after = images.x_test[row["image"]], np.array(row["after"])
        assert network(before).argmax() == row["digit"] == images.y_test[row["image"]]
        assert np.abs(after - before).sum() <= report["delta"] + 1e-4
        assert after.min() >= -1e-5
        assert after.max() <= 1.0 + 1e-5
        logits = network(after)
        assert logits[row["second"]] - logits[row["digit"]] == pytest.approx(row["margin"], abs=1e-3)
        if row["image"] in proved:
            assert row["margin"] <= proved[row["image"]] + 1e-3 * max(1.0, abs(proved[row["image"]]))
    assert is_png(tmp_path / "images.png")
    assert is_png(tmp_path / "margins.png")
    before = (tmp_path / "attacks.jsonl").read_text()
    attacks.main(["--small", "--out", str(tmp_path)])
    assert (tmp_path / "attacks.jsonl").read_text() == before  # nothing was left to do


def test_a_folded_attack_is_the_same_model(attacks: ModuleType) -> None:
    module = sys.modules["l1_attack"]
    images = attacks.load_digits_8x8()
    network, _ = attacks.train_classifier(images, (6,), 30, 0)
    image = images.x_test[attacks.pick(images, network, 1)[0]]
    found = []
    for folded in (False, True):
        m = module.build(network, image, 0.5, folded=folded)
        module.pyo.SolverFactory("omlt_ext.highs").solve(m)
        found.append(module.pyo.value(m.margin))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_mnist_files_are_read_by_the_attacks(attacks: ModuleType, tmp_path: Path) -> None:
    """Small images of noise in the idx and npz formats; the digits' own reader is tested with its study."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60), ("test", 20)):
        arrays[f"y_{part}"] = np.arange(count, dtype=np.uint8) % 10
        x = rng.integers(0, 60, (count, 5, 5), dtype=np.uint8)
        x.reshape(count, -1)[np.arange(count), arrays[f"y_{part}"]] = 255
        arrays[f"x_{part}"] = x
    np.savez(tmp_path / "mnist.npz", **arrays)
    report = attacks.main(
        [
            "--small",
            "--mnist",
            str(tmp_path / "mnist.npz"),
            "--images",
            "1",
            "--time-limit",
            "0.3",
            "--out",
            str(tmp_path),
        ]
    )
    assert report["data"] == "mnist"
    assert report["delta"] == 5.0
    assert len(report["rows"]) == len(attacks.FORMS)


def test_plans_keep_every_rule_and_answer_three_questions(plans: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = plans.main(["--small", "--out", str(tmp_path)])
    rows = report["rows"]
    assert rows == lines_of(tmp_path / "answers.jsonl")
    assert [(row["question"], row["method"]) for row in rows] == [
        (q, m) for q in plans.QUESTIONS for m in plans.METHODS
    ]
    for question in plans.QUESTIONS:
        values = {row["method"]: row for row in rows if row["question"] == question}
        best = values["highs"]
        assert best["status"] == "optimal"
        sign = 1.0 if question == "fairest" else -1.0
        for row in values.values():
            assert row["value"] is not None
            assert sign * row["value"] <= sign * best["value"] + 1e-3 * abs(best["value"])
        assert values["auto"]["value"] == pytest.approx(best["value"], rel=1e-3)
    assert is_png(tmp_path / "plans.png")
    before = (tmp_path / "answers.jsonl").read_text()
    plans.main(["--small", "--out", str(tmp_path)])
    assert (tmp_path / "answers.jsonl").read_text() == before


def test_plans_that_break_a_rule_are_named(plans: ModuleType) -> None:
    module, world = sys.modules["plans"], plans.world
    clinic = world.load_clinic(0, 2)
    network = plans.load_network(world.train_network(clinic, (4,)))
    nothing = np.zeros((2, 5))
    total = float(network(clinic.patients).sum())

    def broken(question: str, sessions: Any, value: float) -> list[str]:
        return module.broken_rules(clinic, network, question, sessions, value)  # type: ignore[no-any-return]

    assert broken("total", nothing, total) == []
    assert broken("fairest", nothing, 0.0) == []
    assert broken("total", nothing, total - 1.0) == ["its value"]
    assert broken("fairest", nothing, 0.1) == ["the fall", "its value"]
    assert "the fall" in broken("cheapest", nothing, 0.0)
    one, six = nothing.copy(), nothing + 6.0
    one[0, 0] = 1.0
    assert "the number of sessions" in broken("total", one, total)
    assert {"the number of programmes", "the hours of staff", "the budget"} <= set(broken("total", six, total))


PAGES = ["05_relaxing_walk", "06_adversarial_l1", "07_treatment_plans", "08_pruned_surrogates"]


@pytest.mark.parametrize("study", PAGES)
def test_pages_hold_the_recorded_tables(study: str, tmp_path: Path) -> None:
    """`pages.py` has nothing to change in the README, and every table it marks is there."""
    spec = importlib.util.spec_from_file_location("case_study_pages", STUDIES / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    assert doctest.testmod(pages).failed == 0
    text = (STUDIES / study / "README.md").read_text()
    page = tmp_path / "README.md"
    page.write_text(re.sub(r"(<!-- table: \w+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL))
    assert page.read_text().count("<!-- table") >= 2
    pages.refresh(STUDIES / study / "results", page)
    assert page.read_text() == text
