"""Each benchmark runs from its command at its smallest size, and its tables hold what they say. No figure is tested."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omlt_ext import Box, Layer, Network
from omlt_ext.propagation.backend import has_numba

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def run(name: str, out: Path, *more: str) -> str:
    """Run one benchmark as a person does, with warnings as errors; return what it prints."""
    command = [sys.executable, "-W", "error::RuntimeWarning", str(BENCHMARKS / "run.py"), name, "--small"]
    done = subprocess.run([*command, "--out", str(out), *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    recorded = sorted(out.glob(f"{name}*.json"))  # a group writes one file for each of its benchmarks
    about = json.loads(recorded[0].read_text())["machine"]
    assert set(about) == {"system", "cores", "memory_gb", "load_before", "python", "packages"}  # no names, no paths
    assert about["cores"] >= 1
    return done.stdout


def table(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / f"{name}.csv")


@pytest.fixture
def onnx_folder(tmp_path: Path) -> Path:
    """A network that loads, and one whose output is a sigmoid."""
    import onnx

    folder = tmp_path / "data"
    folder.mkdir()
    hidden = Layer([[1.0, -1.0], [0.5, 2.0]], [0.1, -0.2], relu=True)
    Network([hidden, Layer([[1.0, 3.0]], [0.5], relu=False)]).save(folder / "relu.onnx")
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1, 2] x) => (float[1, 2] y) { y = Sigmoid(x) }'
    onnx.save(onnx.parser.parse_model(text), folder / "sigmoid.onnx")
    return folder


def test_build_compares_models_that_describe_the_same_network(tmp_path: Path) -> None:
    run("build", tmp_path)
    sizes = table(tmp_path, "build.size").set_index("model")
    parts = ["columns", "binaries", "rows", "nonzeros"]
    # The array path and the block are two readers of one encoding: what HiGHS holds must be the same.
    assert sizes.loc["arrays", parts].tolist() == sizes.loc["ReLUBlock, interval", parts].tolist()
    assert sizes.loc["ReLUBlock, crown", "binaries"] <= sizes.loc["arrays", "binaries"]
    if find_spec("omlt"):
        assert sizes.loc["OMLT", "binaries"] >= sizes.loc["arrays", "binaries"]
        assert "times faster than OMLT" in table(tmp_path, "build.build")


def test_crown_is_narrower_than_interval(tmp_path: Path) -> None:
    run("bounds", tmp_path)
    widths = table(tmp_path, "bounds.bounds").pivot(columns="effort", index="domain", values="unstable")
    assert (widths["crown"] <= widths["interval"]).all()


def test_milp_solves_every_instance_with_all_bounds(tmp_path: Path) -> None:
    run("milp", tmp_path)
    instances = table(tmp_path, "milp.instances")
    efforts = ["interval", "crown", "dual", "split"]
    for wide, tight in pairwise(efforts):
        assert (instances[f"unstable {tight}"] <= instances[f"unstable {wide}"]).all()
    assert not instances[[f"timed out {effort}" for effort in efforts]].to_numpy().any()
    summary = table(tmp_path, "milp.summary").set_index(["instances", "bounds"]).loc["all"]
    assert (summary["number"] == len(instances)).all()
    for effort in efforts:
        gain = np.log1p(instances["seconds interval"]) - np.log1p(instances[f"seconds {effort}"])
        assert summary.loc[effort, "shifted ratio"] == pytest.approx(np.exp(gain.mean()), rel=1e-4)


def test_the_ladder_is_measured_against_lps_and_milps(tmp_path: Path) -> None:
    run("ladder", tmp_path)
    dual, split = table(tmp_path, "ladder.dual"), table(tmp_path, "ladder.split")
    assert (dual["all layers above LP %"] >= -1e-6).all()  # dual ascent cannot beat the LP over the same relaxation
    assert (split.filter(like="below LP") > 0.0).all(axis=None)
    strong = table(tmp_path, "ladder.milp").set_index("bounds")["mean width"]
    assert strong.iloc[1] <= strong["LP"]


def test_cuts_reach_the_hull_that_they_are_measured_against(tmp_path: Path) -> None:
    run("cuts", tmp_path)
    neurons = table(tmp_path, "cuts.neurons").set_index("formulation")
    assert (neurons.loc["ideal cuts", "gap closed"] > 0.999).all()
    layers = table(tmp_path, "cuts.layers").pivot(index="network", columns="formulation", values="LP bound")
    assert np.allclose(layers["ideal cuts"], layers["Balas"], rtol=1e-4)
    assert (layers["ideal cuts"] < layers["big-M"]).all()
    widths = table(tmp_path, "cuts.bounds").pivot(index="network", columns="rung", values="mean width")
    assert (widths["LP with cuts"] < widths["LP"]).all()


def test_large_networks_are_bounded_in_a_process_of_their_own(tmp_path: Path) -> None:
    run("large", tmp_path)
    large = table(tmp_path, "large.dual").set_index("network")
    assert set(large.index) == {"dense", "convolutional"}
    assert (large["peak MB"] >= large["peak MB before"]).all()


def test_no_sample_leaves_its_bounds(tmp_path: Path) -> None:
    run("validity", tmp_path)
    summary = table(tmp_path, "validity.summary")
    assert (summary["neurons outside"] == 0).all()
    assert summary["nested"].all()


def test_changes_are_measured(tmp_path: Path) -> None:
    run("changes", tmp_path)
    assert len(table(tmp_path, "changes.changes")) == 3 + has_numba()


def test_pruning_methods_are_compared(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    run("pruning", tmp_path)
    methods = table(tmp_path, "pruning.methods")
    assert methods.groupby("training", sort=False).size().tolist() == [7, 7]
    one = methods[methods["training"] == "SGD"].set_index("method")["accuracy"]
    steps = table(tmp_path, "pruning.steps").set_index("plan")
    for method in ("magnitude", "undecayed", "CBS"):  # the same networks in both tables
        assert steps.loc["1 step", method] == pytest.approx(one[method], abs=1e-6)


def test_searches_are_compared_and_resumed(tmp_path: Path) -> None:
    run("heuristics", tmp_path)
    lines = (tmp_path / "heuristics.jsonl").read_text().splitlines()
    instances = table(tmp_path, "heuristics_grid.instances").set_index("network")
    assert len(instances) == 2
    for value in instances.drop(columns=["seed", "best", "auto's gap"]).to_numpy().T:  # all find these small optima
        assert value == pytest.approx(instances["auto"].to_numpy(), rel=1e-5)
    shares = table(tmp_path, "heuristics_grid.shares")
    assert (shares["at least as good"] <= shares["instances"]).all()
    exact = table(tmp_path, "heuristics_exact.summary").iloc[-1]
    assert exact["solved exactly"] == exact["optimum found"] == 2
    assert table(tmp_path, "heuristics_recorded.values")["reached"].all()
    assert (table(tmp_path, "heuristics_memory.auto")["peak MB"] > 0).all()

    journal = tmp_path / "heuristics.jsonl"
    journal.write_text("\n".join([*lines, lines[0][:50]]))  # a last line that was cut off
    run("heuristics_grid", tmp_path)
    assert journal.read_text().splitlines() == lines  # nothing was left to do
    run("heuristics_grid", tmp_path, "--again", "auto")
    assert [json.loads(line)["method"] for line in journal.read_text().splitlines()[len(lines) :]] == ["auto", "auto"]


def test_proofs_are_compared_and_resumed(tmp_path: Path) -> None:
    run("exact", tmp_path)
    runs = table(tmp_path, "exact.runs")
    names = ["4-2x8", "100-2x4"]
    assert list(dict.fromkeys(runs["network"])) == names
    assert (runs["status"] == "optimal").all()
    assert runs["radius"].notna().tolist() == (runs["network"] == names[-1]).tolist()
    for _, part in runs.groupby("network"):  # one maximum each, which every method proves
        assert [name for name in part["method"] if "numba" not in name][:2] == ["branch_and_bound", "HiGHS"]
        assert part["bound"].min() >= part["value"].max() - 1e-6
        assert part["bound"].max() <= part["value"].min() + 2e-4 * max(1.0, part["value"].abs().max())
    for row in table(tmp_path, "exact.summary").to_dict("records"):
        theirs = runs[runs["method"] == row["against"]].set_index("network")["seconds"]
        times = theirs / runs[runs["method"] == row["method"]].set_index("network")["seconds"]
        assert row["instances"] == row["either closes"] == len(names)
        assert row["times faster, mean"] == pytest.approx(np.exp(np.log(times).mean()), rel=1e-3)
        assert (row["least"], row["faster"]) == (pytest.approx(times.min(), rel=1e-3), (times > 1).sum())
    journal = tmp_path / "exact.jsonl"
    lines = journal.read_text().splitlines()
    assert len(lines) == len(runs)

    at = next(i for i, line in enumerate(lines) if json.loads(line)["method"] == "HiGHS")
    false = json.loads(lines[at]) | {"bound": json.loads(lines[at])["value"] - 1e-3}
    journal.write_text("\n".join([*lines[:at], json.dumps(false), *lines[at + 1 :]]) + "\n")
    command = [sys.executable, str(BENCHMARKS / "run.py"), "exact", "--small", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "values above bounds that were proved" in done.stderr
    run("exact", tmp_path, "--again", "HiGHS")  # measured anew
    assert [json.loads(line)["method"] for line in journal.read_text().splitlines()[len(lines) :]] == ["HiGHS"] * 2


def test_the_limit_counts_for_a_proof_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five instances on paper: both close, only one closes, the other one, neither."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from exact import OURS, against, beside, check, judged
    from page import exact_targets

    def record(network: str, method: str, seconds: float, bound: float | None) -> dict[str, object]:
        known = {"status": "optimal" if seconds < 10 else "time_limit", "nodes": 7, "processor s": seconds}
        return {"network": network, "seed": 16, "method": method, "limit": 10.0} | known | {
            "value": 2.0, "bound": bound, "seconds": seconds}  # fmt: skip

    ours = [("a", 1.0, 2.0001), ("b", 0.5, 2.0), ("c", 10.3, 2.5), ("d", 10.1, 3.0), ("100-2x50", 10.0, 3.0)]
    theirs = [("a", 4.0, 2.0), ("b", 11.0, 4.0), ("c", 5.0, 2.0), ("d", 10.2, None), ("100-2x50", 10.0, 2.5)]
    rows = [judged(record(name, m, *rest)) for m, part in ((OURS, ours), ("HiGHS", theirs)) for name, *rest in part]
    runs = pd.DataFrame(rows)
    check(runs)
    row = against(runs, "HiGHS")
    assert (row["either closes"], row["only ours"], row["only theirs"]) == (3, 1, 1)
    assert row["times faster, mean"] == pytest.approx((4.0 * 20.0 * 0.5) ** (1 / 3))
    assert row["processor time, mean"] == pytest.approx(4.0)  # of the only one that both close
    assert (row["least"], row["least on"], row["5 times faster"], row["faster"]) == (0.5, "c s16", 1, 2)
    assert (row["neither closes"], row["smaller gap"]) == (2, 1)
    wide = beside(runs).set_index("network")
    assert wide.loc["a", "HiGHS"] == "4 s"
    assert wide.loc["d", OURS] == "gap 0.5"
    assert wide["radius"].tolist() == ["", "", "", "", "0.02"]
    assert [reached for *_, reached in exact_targets({"exact.summary": pd.DataFrame([row])})] == [False, False]
    good = row | {"against": "Gurobi", "faster": 3, "smaller gap": 2}
    assert [reached for *_, reached in exact_targets({"exact.summary": pd.DataFrame([good])})] == [True, True, True]


def test_random_networks_are_those_that_pytorch_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `torch.manual_seed(50); torch.nn.Linear(3, 2).weight` gave."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import networks

    assert doctest.testmod(networks).failed == 0
    weight = networks.torch_init((3, 2, 1), 50).layers[0].dense_weight()
    expected = [[0.13628003, -0.49803022, -0.12785393], [-0.5306868, -0.11394195, -0.41088516]]
    assert np.allclose(weight, expected, rtol=1e-7, atol=0)


@pytest.mark.torch
@pytest.mark.parametrize("widths", [(10, 100, 1), (100, 30, 20, 1)])
def test_random_networks_are_pytorch_s_bit_for_bit(monkeypatch: pytest.MonkeyPatch, widths: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(BENCHMARKS)
    from networks import torch_init

    torch.manual_seed(53)
    for layer, (n_in, n_out) in zip(torch_init(widths, 53).layers, pairwise(widths), strict=True):
        linear = torch.nn.Linear(n_in, n_out)
        assert np.array_equal(layer.dense_weight(), linear.weight.detach().numpy())
        assert np.array_equal(layer.bias, linear.bias.detach().numpy())


def test_plain_ascent_climbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradients are those of differences, and it finds the maximum of a concave network in any box."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from networks import torch_init
    from plain_ascent import Slope, plain_ascent

    network, box = torch_init((4, 9, 7, 1), 0), Box([-1.0, 0.0, 2.0, -3.0], [1.0, 0.5, 4.0, -1.0])
    slope = Slope(network, box, np.ones(1))
    u = np.random.default_rng(0).random((20, 4), dtype=np.float32)
    values, gradients = slope(u)
    f = lambda u: network(box.lower + u * box.width)[:, 0]  # noqa: E731
    assert values == pytest.approx(f(u), abs=1e-5)
    steps = 1e-6 * np.eye(4)
    found = np.stack([(f(u + step) - f(u - step)) / 2e-6 for step in steps], axis=1)
    assert np.isclose(gradients, found, atol=1e-4).mean() > 0.95  # but at kinks
    hat = Network(
        [Layer([[1.0, 0], [-1.0, 0], [0, 1.0]], [-0.3, 0.3, 0], relu=True), Layer([[-1.0, -1, 1]], [0], relu=False)]
    )
    x, history = plain_ascent(hat, Box.full(2, 0.0, 1.0), np.ones(1), time_limit=0.3, seed=0)
    assert x == pytest.approx([0.3, 1.0], abs=1e-4)
    assert history == sorted(history)
    assert history[-1][1] == pytest.approx(1.0, abs=1e-4)


def test_values_are_compared_relatively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import heuristic_runs

    assert doctest.testmod(heuristic_runs).failed == 0
    assert heuristic_runs.ahead(-1.0, -1.0 - 1e-6) == pytest.approx(1e-6, rel=1e-5)
    assert heuristic_runs.ahead(-float("inf"), 1.0) == -float("inf")


@pytest.mark.onnxruntime
def test_imports_tell_a_match_from_a_refusal(tmp_path: Path, onnx_folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    run("imports", tmp_path, "--data", str(onnx_folder))
    files = table(tmp_path, "imports.files").set_index("file")
    assert files["omlt_ext"].to_dict() == {"relu.onnx": "match", "sigmoid.onnx": "refused"}
    assert files.loc["sigmoid.onnx", "why"] == "Sigmoid"
    assert files.loc["relu.onnx", "difference"] < 1e-6


def nnet(offset: float) -> str:
    """max(0, x) + offset on [-1, 1] as an .nnet file, so that its least output is `offset`."""
    lines = ["2,1,1,1,", "1,1,1,", "0,", "-1,", "1,", "0,0,", "1,1,", "1,", "0,", "1,", f"{offset},"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("offset", "label", "proved"),
    [(0.5, "UNSAT", "UNSAT"), (-0.5, "SAT", "SAT"), (0.5, "SAT", "UNSAT"), (-0.5, "UNSAT", "SAT")],
)
def test_signs_are_proved_whatever_the_label_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: float, label: str, proved: str
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from collision_avoidance import main

    (tmp_path / f"net_{label}.nnet").write_text(nnet(offset))
    tables = main(tmp_path, small=True)
    assert tables["networks"]["proved"].tolist() == [proved]
    assert tables["networks"]["least"].tolist() == pytest.approx([offset])
    assert tables["summary"]["agree"].tolist() == [int(label == proved)]


def test_without_a_folder_from_outside_its_benchmarks_say_so(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "imports", "--small", "--data", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "skipped" in done.stdout


def test_wrong_values_count_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from imports import points_for, relative

    truth = points_for(3)
    assert relative(truth, truth) == 0
    assert relative(truth * (1 + 1e-4), truth) > 1e-5
    assert relative(truth[:, :2], truth) == float("inf")
    assert relative(truth * np.nan, truth) == float("inf")
    only_small = truth.copy()
    only_small[15:30] *= 1.001  # the scale of 0.1 alone: large values elsewhere must not hide it
    assert relative(only_small, truth) > 1e-5


def test_results_are_written_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import page
    import record

    for module in (page, record):
        assert doctest.testmod(module).failed == 0
    run("bounds", tmp_path)
    target = tmp_path / "page.md"
    target.write_text(
        "# P\n<!-- table: bounds.bounds -->\nold\n<!-- end -->\n<!-- table: none.x -->\nkept\n<!-- end -->\n"
    )
    page.refresh(tmp_path, target)
    text = target.read_text()
    assert "old" not in text
    assert "kept" in text
    assert text.count("| crown |") == 2
    page.refresh(tmp_path, target)
    assert target.read_text() == text


def test_targets_say_no_where_a_figure_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from page import targets

    build = pd.DataFrame({"model": ["ReLUBlock, interval", "OMLT"]})
    build["times faster than OMLT"], build["memory of OMLT over it"] = [9.9, 1.0], [1.5, 1.0]
    load = pd.DataFrame(
        {"from": ["OMLT"], "route": ["appsi"], "arrays faster": [49.0], "arrays faster, with build": [50.0]}
    )
    found = [reached for _, _, reached in targets({"build.build": build, "build.load": load})]
    assert found == [False, True, False, True]


def test_targets_of_the_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reached exactly where the figures are: 95 % and a third against plain ascent, every network against HiGHS."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from page import heuristic_targets

    shares = pd.DataFrame(
        [("plain ascent", 10.0, 36, 0, 0), ("plain ascent", 60.0, 36, 35, 12), ("HiGHS", 60.0, 36, 35, 30)],
        columns=["against", "after s", "instances", "at least as good", "better"],
    ).assign(**{"most behind": 0.1})
    assert [reached for *_, reached in heuristic_targets({"heuristics_grid.shares": shares})] == [True, False]
    for change in ({"at least as good": 34}, {"better": 11}, {"instances": 35}):
        worse = shares.assign(**change)
        assert not next(reached for *_, reached in heuristic_targets({"heuristics_grid.shares": worse}))
    walk = pd.DataFrame({"method": ["relaxing_walk/1"] * 2, "seconds": [9.0, 10.5]})
    assert [reached for *_, reached in heuristic_targets({"heuristics_recorded.walk": walk})] == [False]
    exact = pd.DataFrame({"solved exactly": [30], "optimum found": [27], "slowest s": [9.0]})
    assert [reached for *_, reached in heuristic_targets({"heuristics_exact.summary": exact})] == [True]


def test_densities_keep_the_same_number_of_weights(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    run("densities", tmp_path)
    total = table(tmp_path, "densities.total")
    sizes = np.array([64 * 12, 12 * 12, 12 * 10])
    shares = total[[f"share of layer {k} %" for k in range(3)]].to_numpy() / 100
    assert np.allclose(shares @ sizes, 0.05 * sizes.sum(), atol=0.5)
    by_rule = total.set_index("rule")
    assert by_rule.loc["regions", "ln R"] >= by_rule.loc["equal before the output", "ln R"]
    assert set(table(tmp_path, "densities.hidden")["share of layer 2 %"]) == {100.0}


def test_targets_of_pruning(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every sparsity up to 95 %; above, a method may fall behind."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from page import pruning_targets

    rows = [(s, method) for s in (0.8, 0.95, 0.98) for method in ("magnitude", "undecayed", "CBS, selection", "CBS")]
    methods = pd.DataFrame(rows, columns=["sparsity", "method"]).assign(training="SGD")
    methods["against magnitude"] = [0, 0.01, 0.0, 0.02, 0, 0.0, -0.001, 0.04, 0, -0.1, -0.1, -0.1]
    assert [reached for *_, reached in pruning_targets({"pruning.methods": methods})] == [True, False, True, False]


def test_the_page_has_a_place_for_every_table_it_names() -> None:
    text = (BENCHMARKS.parent / "docs" / "PERFORMANCE.md").read_text()
    assert text.count("<!-- table: ") == text.count("<!-- end -->") > 0
    assert "<!-- table: targets -->" in text


def test_a_small_network_s_box_and_weights_follow_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from milp import TINY, best_start, instance

    for family in TINY:
        network, box, objective = instance(family, 0)
        again, same_box, _ = instance(family, 0)
        assert np.array_equal(network.layers[0].dense_weight(), again.layers[0].dense_weight())
        assert isinstance(box, Box)
        assert np.array_equal(box.lower, same_box.lower)
        assert box.contains(best_start(network, box, objective))


def test_verification_settles_a_property_of_each_family_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "verification" / "tiny"
    folder.mkdir(parents=True)
    Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)]).save(
        folder / "absolute.onnx"
    )
    names = "(declare-const X_0 Real) (declare-const Y_0 Real) (assert (<= X_0 1)) (assert (>= X_0 -1))"
    (folder / "two.vnnlib").write_text(f"{names} (assert (>= Y_0 2))")
    rows = "net,property,verdict\ntiny/absolute.onnx,tiny/two.vnnlib,unsat\ntiny/absolute.onnx,tiny/other.vnnlib,sat\n"
    (folder.parent / "verdicts.csv").write_text(rows)
    run("verification", tmp_path / "out", "--data", str(tmp_path / "data"))
    (found,) = table(tmp_path / "out", "verification.properties").to_dict("records")
    assert (found["property"], found["recorded"], found["verdict"]) == ("tiny/two.vnnlib", "unsat", "unsat")
    assert found["bound"] < 0
    (family,) = table(tmp_path / "out", "verification.families").to_dict("records")
    assert (family["family"], family["settled"], family["contradictions"]) == ("tiny", 1, 0)


def test_the_memory_of_verification_is_recorded(tmp_path: Path) -> None:
    run("verification_memory", tmp_path, "--time", "1")
    (row,) = table(tmp_path, "verification_memory.runs").to_dict("records")
    assert row["verdict"] in ("unsat", "unknown")
    assert row["bound"] <= row["bound after 1 s"]
    assert row["peak MB"] >= row["peak MB before"] > 0
