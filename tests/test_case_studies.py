"""The case studies run as their READMEs say, and what they print is true of the data, the network and the model."""

from __future__ import annotations

import doctest
import gzip
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from studies import STUDIES, is_png, load

from omlt_ext.bridge import compile_model
from omlt_ext.errors import ReadError
from omlt_ext.pyomo_solver import find_start

pytest.importorskip("sklearn")


@pytest.fixture
def blend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("01_constraint_learning", monkeypatch)


@pytest.fixture
def flip(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("02_minimum_image_change", monkeypatch)


@pytest.fixture
def ladder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("03_tightening_tradeoffs", monkeypatch)


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


LADDER = ("naive", "crown", "dual", "split", "lp", "strong")  # each from the one before
TABLES = ("rungs", "networks", "factors", "layers", "depth_2", "depth_3")


def lines_of(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tightening_tables_plots_and_records(
    ladder: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    machine = ladder.main(["--small", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    records = lines_of(tmp_path / "records.jsonl")
    assert machine["records"] == machine["of"] == len(records) == 2 * len(ladder.efforts(1.0))
    assert all(is_png(tmp_path / f"{name}.png") for name in ("tightness", "seconds", "training"))
    tables = {name: (tmp_path / f"{name}.csv").read_text() for name in TABLES}
    for rung in ladder.efforts(1.0):
        assert rung in printed
        assert rung in tables["rungs"]
    for network in {record["network"] for record in records}:
        rung = {record["rung"]: record for record in records if record["network"] == network}
        values = [record["value"] for record in rung.values()]
        assert max(values) - min(values) < 1e-4 * max(1.0, abs(values[0]))
        for record in rung.values():
            assert record["status"] == "optimal"
            assert -1e-6 <= record["bound"] - record["value"] <= 1e-4 * max(1.0, abs(record["value"])) + 1e-5
            assert record["value"] <= record["margin_bound"]
        for looser, tighter in itertools.pairwise(LADDER):
            assert np.all(np.array(rung[tighter]["width"]) <= np.array(rung[looser]["width"]) + 1e-9)
            assert rung[tighter]["margin_bound"] <= rung[looser]["margin_bound"] + 1e-9
        assert rung["naive"]["width"][0] == rung["strong"]["width"][0] > 0.0  # exact over a box


def test_tightening_values_are_the_networks_maxima(ladder: ModuleType) -> None:
    """The best corner of many, and the image itself, give margins that no rung's bound lies below."""
    images = ladder.load_digits_8x8()
    case = ladder.Case("digits", ladder.TINY[1], 0, images.radius, 5.0, 0.5)
    problem = ladder.Problem(case, images)
    box = problem.box
    corners = np.where(np.random.default_rng(0).random((4000, 64)) < 0.5, box.lower, box.upper)
    best = problem.network(corners).max()
    for rung in ("naive", "split", "capped"):
        record = problem.measure(rung)
        assert best <= record["value"] + 1e-6 <= record["margin_bound"] + 2e-6
        assert record["label"] != record["runner_up"]


def test_tightening_goes_on_after_a_kill(ladder: ModuleType, tmp_path: Path) -> None:
    """Killed while it measures, and its last line torn: the next run keeps the whole lines and measures the others."""
    journal = tmp_path / "records.jsonl"
    command = [sys.executable, ladder.__spec__.origin, "--small", "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60.0
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = journal.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert 2 <= kept.count(b"\n") < 2 * len(ladder.efforts(1.0))
    journal.write_bytes(kept + kept[: kept.index(b"\n") // 2])
    images, rungs = ladder.load_digits_8x8(), len(ladder.efforts(1.0))
    cases = [ladder.Case("digits", recipe, 0, images.radius, 5.0, 0.5) for recipe in ladder.TINY]
    for _ in range(2):  # the second time there is nothing left to do
        ladder.measure(ladder.Journal(journal), cases, images)
        assert journal.read_bytes().startswith(kept)
        found = [(record["network"], record["rung"]) for record in lines_of(journal)]
        assert len(found) == len(set(found)) == len(cases) * rungs


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_tightening_keeps_what_it_has_at_ctrl_c(ladder: ModuleType, tmp_path: Path) -> None:
    journal = tmp_path / "records.jsonl"
    command = [sys.executable, ladder.__spec__.origin, "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60.0
        rungs = len(ladder.efforts(1.0))
        while not (journal.exists() and journal.read_bytes().count(b"\n") > rungs) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60.0)
    assert process.returncode == 0, errors
    assert "the same command goes on from here" in errors
    assert "1 cases" in printed
    assert len(lines_of(journal)) < machine_of(tmp_path)["of"]
    assert (tmp_path / "rungs.csv").exists()


def test_the_page_holds_the_recorded_tables(ladder: ModuleType, tmp_path: Path) -> None:
    """`report.py` has nothing to change in the README, and every table it marks is there."""
    report, folder = sys.modules["report"], STUDIES / "03_tightening_tradeoffs"
    page = tmp_path / "README.md"
    text = (folder / "README.md").read_text()
    assert doctest.testmod(report) == (0, 2)
    page.write_text(re.sub(r"(<!-- table: \w+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL))
    assert page.read_text().count("<!-- table") == 4
    report.refresh(folder / "results", page)
    assert page.read_text() == text
    for record in report.read(folder / "results"):
        assert record["value"] <= record["bound"] + 1e-4 * max(1.0, abs(record["bound"]))


def machine_of(folder: Path) -> dict[str, int]:
    return json.loads((folder / "machine.json").read_text())  # type: ignore[no-any-return]


def test_tightening_refuses_records_that_disagree(ladder: ModuleType, tmp_path: Path) -> None:
    images = ladder.load_digits_8x8()
    case = ladder.Case("digits", ladder.TINY[0], 0, images.radius, 5.0, 0.5)
    record = ladder.Problem(case, images).measure("crown")
    for change, message in (
        ({"bound": record["value"] - 0.01}, "lies above the bound"),
        ({"margin_bound": record["value"] - 0.01}, "lies above the margin_bound"),
        ({"digest": "0"}, "other weights than before"),
    ):
        journal = ladder.Journal(tmp_path / f"{next(iter(change))}.jsonl")
        journal.add(case, record)
        with pytest.raises(RuntimeError, match=message):
            journal.add(case, record | change | {"rung": "dual"})
        assert len(lines_of(journal.path)) == 1
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"case": {}, "rung": "dual"}\nnot a record\n')
    with pytest.raises(ReadError, match=r"broken\.jsonl, line 2"):
        ladder.Journal(broken)


def test_training_pruning_and_rounding(ladder: ModuleType) -> None:
    networks = sys.modules["training"]
    images, recipe = ladder.load_digits_8x8(), networks.Recipe(depth=2, width=8)
    weights = networks.train(recipe, images)
    whole = networks.make_network(recipe, images)
    assert networks.accuracy(whole, images) > 0.85
    assert networks.accuracy(whole, images) == (whole(images.x_test).argmax(axis=1) == images.y_test).mean()

    # the gradient against differences of the loss
    x, y, l1, rng = images.x_train[:20], images.y_train[:20], 1e-2, np.random.default_rng(0)

    def loss(layers: list) -> float:  # type: ignore[type-arg]
        logits = networks.as_network(layers)(x)
        shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-shares[np.arange(20), y].mean() + l1 * sum(np.abs(W).sum() for W, _ in layers))

    slopes = networks.gradient(weights, x, y, l1)
    for k in range(3):
        step = [(1e-6 * rng.normal(size=W.shape), 1e-6 * rng.normal(size=b.shape)) for W, b in weights]
        step = [pair if i == k else (0.0 * pair[0], 0.0 * pair[1]) for i, pair in enumerate(step)]
        ends = [
            loss([(W + s * dW, b + s * db) for (W, b), (dW, db) in zip(weights, step, strict=True)]) for s in (1, -1)
        ]
        expected = sum(float((G * d).sum()) for G, d in zip(slopes, [p for pair in step for p in pair], strict=True))
        assert (ends[0] - ends[1]) / 2 == pytest.approx(expected, rel=1e-4)

    half = networks.make_network(replace(recipe, pruned=0.5), images)
    nonzeros = sum(layer.nnz for layer in half.layers)
    assert nonzeros == sum(layer.weight.size for layer in whole.layers) // 2
    for pruned, layer in zip(half.layers, whole.layers, strict=True):
        assert np.array_equal(pruned.weight[pruned.weight != 0.0], layer.weight[pruned.weight != 0.0])
    coarse = networks.make_network(replace(recipe, decimals=1), images)
    for layer, fine in zip(coarse.layers, whole.layers, strict=True):
        assert np.allclose(10.0 * layer.weight, np.round(10.0 * layer.weight), rtol=0.0, atol=1e-9)
        assert np.abs(layer.weight - fine.weight).max() <= 0.05 + 1e-12
    light = networks.make_network(replace(recipe, l1=1e-2), images)
    assert sum(np.abs(layer.weight).sum() for layer in light.layers) < 0.5 * sum(
        np.abs(layer.weight).sum() for layer in whole.layers
    )


def test_mnist_files(ladder: ModuleType, tmp_path: Path) -> None:
    """Both kinds of files give the same images; damaged ones are refused by name."""
    digits = sys.modules["images"]
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 30), ("test", 12)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"y_{part}"] = rng.integers(0, 10, count, dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", **arrays)
    folder = tmp_path / "idx"
    folder.mkdir()
    for name, array in zip(digits.IDX_FILES, arrays.values(), strict=True):
        data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
        if "t10k" in name:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    one, other = digits.load_mnist(tmp_path / "mnist.npz"), digits.load_mnist(folder)
    for name, array in arrays.items():
        assert np.array_equal(getattr(one, name), getattr(other, name))
        scale = 255.0 if name[0] == "x" else 1.0
        assert np.allclose(getattr(one, name) * scale, array.reshape(getattr(one, name).shape))

    images = folder / digits.IDX_FILES[0]
    whole = images.read_bytes()
    for damaged in (whole[:-1], whole[:10], b"", b"\0\0\x0d" + whole[3:]):
        images.write_bytes(damaged)
        with pytest.raises(ReadError, match=digits.IDX_FILES[0]):
            digits.load_mnist(folder)
    images.unlink()
    with pytest.raises(ReadError, match=digits.IDX_FILES[0]):
        digits.load_mnist(folder)
    for change in (
        {"x_train": arrays["x_train"] / 255.0},
        {"y_test": arrays["y_test"][1:]},
        {"y_test": arrays["x_test"]},
    ):
        np.savez(tmp_path / "bad.npz", **(arrays | change))
        with pytest.raises(ReadError, match=r"bad\.npz"):
            digits.load_mnist(tmp_path / "bad.npz")
    (tmp_path / "bad.npz").write_bytes((tmp_path / "mnist.npz").read_bytes()[:500])
    with pytest.raises(ReadError, match=r"bad\.npz"):
        digits.load_mnist(tmp_path / "bad.npz")
