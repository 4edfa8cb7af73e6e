"""The case studies run as their READMEs say, and what they print is true of the data, the network and the model."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from omlt_ext.bridge import compile_model
from omlt_ext.pyomo_solver import find_start

pytest.importorskip("sklearn")

STUDIES = Path(__file__).resolve().parents[1] / "case_studies"


def load(study: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The study's run.py as a module; its neighbours are found beside it, as when the file is run."""
    monkeypatch.syspath_prepend(STUDIES / study)
    spec = importlib.util.spec_from_file_location(f"run_{study}", STUDIES / study / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and 5_000 < path.stat().st_size < 300_000


@pytest.fixture
def blend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("01_constraint_learning", monkeypatch)


@pytest.fixture
def flip(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("02_minimum_image_change", monkeypatch)


def test_blends_are_optimal_and_keep_every_rule(
    blend: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    world = blend.world
    report = blend.main(["--small", "--out", str(tmp_path)])
    cellar = world.load_cellar(0, 12)
    problem, _, results = capsys.readouterr().out.partition("R2 of")
    assert "Maximised: the ratio OD280/OD315" in problem
    header = next(line for line in results.splitlines() if line.startswith("  budget"))
    for column in re.split(r"\s{2,}|(?<=budget)\s+", header.strip()):  # every column is explained before the table
        assert re.search(rf"^  (.+, )?{column}\b", problem, re.MULTILINE), column
    assert report == json.loads((tmp_path / "result.json").read_text(), object_hook=_whole_keys)
    assert is_png(tmp_path / "blend.png")
    for name in ("within the hull", "no trust region"):
        for row in report[name]:
            assert row["status"] == "optimal"
            assert row["network_error"] < 1e-5
            assert row["sklearn_error"] < 1e-5
            assert row["predicted"] <= row["bound"] + 1e-6
            assert row["bound"] - row["predicted"] <= 1e-3 * abs(row["predicted"])
            _check_rules(world, cellar, row)
    for inside, free in zip(report["within the hull"], report["no trust region"], strict=True):
        assert inside["distance_from_hull"] < 1e-4
        assert free["distance_from_hull"] > 0.5
        assert free["bound"] > inside["predicted"]
    budgets = [row["predicted"] for row in report["within the hull"]]
    assert budgets == sorted(budgets)


def _whole_keys(pairs: dict[str, object]) -> dict[object, object]:
    """JSON has no whole numbers as keys; the report counts wines by them."""
    return {int(key) if key.isdigit() else key: value for key, value in pairs.items()}


def _check_rules(world: ModuleType, cellar: object, row: dict) -> None:  # type: ignore[type-arg]
    """The blender's rules, worked out again from the shares and doses alone."""
    tolerance = 1e-5
    wines, doses = row["wines"], row["treatments"]
    shares = np.array(list(wines.values()))
    assert abs(shares.sum() - 1.0) < tolerance
    assert set(wines) <= set(cellar.offer)
    assert len(wines) <= world.MAX_WINES
    assert ((shares >= world.LEAST_SHARE - tolerance) & (shares <= world.CASK + tolerance)).all()
    assert len(doses) <= world.MAX_TREATMENTS
    assert not {"tannin", "fining"} <= set(doses)
    assert all(world.MIN_DOSE - tolerance <= dose <= world.MAX_DOSE + tolerance for dose in doses.values())
    cost = sum(cellar.price[w] * share for w, share in wines.items())
    cost += sum(world.TREATMENTS[t][0] + world.TREATMENTS[t][1] * dose for t, dose in doses.items())
    if row["label"] is not None:
        named = sum(share for w, share in wines.items() if cellar.cultivar[w] == row["label"])
        assert named >= world.LABEL_SHARE - tolerance
        cost -= world.PREMIUM[row["label"]]
    assert cost == pytest.approx(row["cost"], abs=1e-4)
    assert cost <= row["budget"] + 1e-4
    mixed = sum(cellar.amounts[w] * share for w, share in wines.items())
    for t, dose in doses.items():
        mixed = mixed + dose * np.array([world.TREATMENTS[t][2].get(name, 0.0) for name in cellar.names])
    assert np.allclose(mixed, list(row["amounts"].values()), rtol=1e-5, atol=1e-4)
    for name, (least, most) in world.SPECIFICATION.items():
        assert least - tolerance <= row["amounts"][name] <= most + tolerance


def test_no_blend_for_no_money(blend: ModuleType) -> None:
    cellar = blend.world.load_cellar(0, 12)
    pipeline = blend.world.train_network(cellar, (6, 6))
    model = blend.build(cellar, blend.load_network(pipeline), trust_region=True)
    row = blend.solve(model, 0.5, cellar, pipeline, 20.0)
    assert row["status"] == "infeasible"
    assert row["predicted"] is None


def test_distance_from_hull(blend: ModuleType) -> None:
    """A mixture of wines lies in their hull; ten standard deviations beyond the largest amount is ten away or more."""
    cellar = blend.world.load_cellar(0, 12)
    assert cellar.distance(cellar.amounts[:5].mean(axis=0)) < 1e-6
    outside = cellar.amounts.mean(axis=0)
    outside[4] = cellar.amounts[:, 4].max() + 10.0 * cellar.amounts[:, 4].std()
    assert cellar.distance(outside) >= 10.0 - 1e-6


def test_flips_are_the_smallest_and_real(flip: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    report = flip.main(["--small", "--json", "--out", str(tmp_path)])
    assert json.loads(capsys.readouterr().out) == report == json.loads((tmp_path / "result.json").read_text())
    assert is_png(tmp_path / "flips.png")
    classifier, _, _ = flip.train_classifier((10, 10), 0)
    assert [row["digit"] for row in report["images"]] == [0, 1, 2]
    for row in report["images"]:
        before, after = np.array(row["before"]), np.array(row["after"])
        assert row["status"] == "optimal"
        assert row["network_error"] < 1e-5
        assert after.min() >= 0.0
        assert after.max() <= 1.0
        assert abs(np.abs(after - before).sum() - row["cost"]) < 1e-5
        assert row["cost"] <= row["first_cost"] + 1e-6
        assert abs(row["cost"] - row["bound"]) <= 1e-3 * row["cost"]
        assert classifier.predict(before[None])[0] == row["digit"]
        assert classifier.predict(after[None])[0] == row["becomes"] != row["digit"]
        assert np.allclose(classifier.predict_proba(after[None])[0], row["sklearn_probabilities"])
        logits = np.log(row["sklearn_probabilities"])
        assert logits.max() - logits[row["digit"]] >= flip.MARGIN - 1e-4


def test_a_cheaper_flip_is_not_found_by_hand(flip: ModuleType) -> None:
    """No single pixel, moved by less than the proved cost, flips the image: a check without the model."""
    classifier, _, images = flip.train_classifier((10, 10), 0)
    network = flip.load_network(classifier, logits=True)
    row = flip.smallest_flip(network, classifier, images[0], 60.0)
    own = row["digit"]
    steps = np.linspace(-1.0, 1.0, 21)[:, None, None] * 0.999 * row["cost"] * np.eye(64)
    tries = np.clip(images[0] + steps.reshape(-1, 64), 0.0, 1.0)
    scores = network(tries)
    assert (np.delete(scores, own, axis=1).max(axis=1) - scores[:, own] < flip.MARGIN).all()


def test_the_search_starts_from_the_first_flip(flip: ModuleType) -> None:
    """Every variable has its value from the flip that was found, and the solver's start is no worse than that."""
    classifier, _, images = flip.train_classifier((10, 10), 0)
    network = flip.load_network(classifier, logits=True)
    for image in images[:3]:
        first = flip.first_flip(network, image, flip.MARGIN)
        compiled = compile_model(flip.build(network, image, first))
        assert compiled.values()[0].size == compiled.matrix.n_columns
        start = find_start(compiled)
        assert start is not None
        assert compiled.matrix.violation(start) < 1e-5
        assert compiled.matrix.value(start) <= np.abs(first - image).sum() + 1e-6
