"""Compiled loops: the same ascent as NumPy's, up to rounding, and bounds that hold as rigorously."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from omlt_ext import Box, Effort, Layer, Network, Polytope, branch_and_bound, tighten_bounds
from omlt_ext.errors import MissingDependencyError
from omlt_ext.network import compact
from omlt_ext.propagation.ascent import Pace, ascend
from omlt_ext.propagation.backend import faster_backend, open_backend
from omlt_ext.search import relu_tree
from omlt_ext.search.relu_root import ReluRoot
from omlt_ext.search.target import Target

MakeNetwork = Callable[..., Network]


def rooted(network: Network, domain: Box | Polytope, backend: str) -> ReluRoot:
    target = Target.linear(network, domain, np.ones(network.n_outputs))
    return ReluRoot(target, tighten_bounds(target.network, domain, "dual"), open_backend(backend))


def nodes(root: ReluRoot, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and signs of m nodes, some of them without a split."""
    rng = np.random.default_rng(seed)
    numbers = rng.random((m, root.k)).astype(np.float32)
    signs = rng.choice(np.array([-1, 0, 0, 0, 1], np.int8), (m, root.u))
    signs[:2] = 0
    return numbers, signs


def half(n: int) -> Polytope:
    return Polytope(Box.full(n, -1, 1), [[1.0] * n, [1.0] + [0.0] * (n - 1)], [0.5, 0.75])


@pytest.mark.numba
@pytest.mark.parametrize("kind", ["box", "polytope"])
@pytest.mark.parametrize("widths", [(8, 30, 30, 2), (5, 40, 1), (3, 7, 6, 5, 1), (4, 1)])
def test_ascent_and_values_agree_with_numpy(make_network: MakeNetwork, widths: tuple[int, ...], kind: str) -> None:
    pytest.importorskip("numba")
    network = make_network(widths, 3)
    domain = Box.full(widths[0], -1, 1) if kind == "box" else half(widths[0])
    plain, fused = (rooted(network, domain, backend) for backend in ("numpy", "numba"))
    assert fused.head.flat is not None
    for m in (1, 127, 300):
        numbers, signs = nodes(plain, m)
        values = [root.evaluate(root.multipliers(numbers, signs), m) for root in (plain, fused)]
        scale = 1.0 + np.abs(values[0])
        assert (np.abs(values[0] - values[1]) <= 1e-11 * scale).all()
        found = [root.ascend(numbers, signs, Pace(7), np.inf)[0] for root in (plain, fused)]
        assert (np.abs(found[0] - found[1]) <= 1e-3 * scale).all()
        assert np.abs(found[0] - found[1]).mean() <= 1e-5 * scale.mean()
        assert (found[1] >= values[1] - 1e-5 * scale).all()  # the start is one of those it chooses from
        (mine, points), (theirs, their_points) = (root.backward(numbers, signs) for root in (fused, plain))
        assert np.allclose(mine, theirs, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(theirs).max(initial=0.0))))
        assert (points != their_points).mean() < 1e-3  # signs of sums that are nearly 0


@pytest.mark.numba
def test_rows_with_enough_stop_and_take_their_pairs_along(make_network: MakeNetwork) -> None:
    pytest.importorskip("numba")
    root = rooted(make_network((6, 20, 20, 1), 1), Box.full(6, -1, 1), "numba")
    m = 200
    numbers, signs = nodes(root, m)
    start = root.multipliers(numbers, signs)
    full, _ = ascend(root.rows(m), start, Pace(40))
    enough = np.full(m, np.float32(np.median(full)))
    early, found = ascend(root.rows(m), start, Pace(40), enough)
    done = early > enough
    assert done.any()
    assert not done.all()
    assert (early[~done] == full[~done]).all()  # the others have not noticed
    assert (root.evaluate(found, m)[done] > enough[done] - 1e-3).all()
    other = np.concatenate([np.arange(m // 2, m), np.arange(m // 2)])
    paired, _ = ascend(root.rows(m), start, Pace(40), enough, other)
    assert ((paired > enough) | (paired > enough)[other] | (paired == full)).all()
    assert (paired < full).sum() > (early < full).sum()


@pytest.mark.numba
@pytest.mark.parametrize("kind", ["dense", "csr", "polytope"])
@pytest.mark.parametrize("rung", ["dual", "split"])
def test_bounds_agree_with_numpy_and_hold(make_network: MakeNetwork, rung: str, kind: str) -> None:
    pytest.importorskip("numba")
    network, box = make_network((8, 30, 30, 4), 2), Box.full(8, -1, 1)
    if kind == "csr":
        thin = [compact(np.where(np.abs(y.weight) > 1.2, y.weight, 0.0)) for y in network.layers]
        network = Network([Layer(w, y.bias, y.relu) for w, y in zip(thin, network.layers, strict=True)])
    domain = half(8) if kind == "polytope" else box
    points = box.sample(20_000, np.random.default_rng(0))
    points = points[(points @ half(8).A.T <= half(8).b).all(axis=1)] if kind == "polytope" else points
    ours, theirs = (tighten_bounds(network, domain, Effort(rung, leaves=4, backend=b)) for b in ("numpy", "numba"))
    for k, z in enumerate(network.pre_activations(points)):
        width = ours.width()[k]
        assert (np.abs(theirs.lower[k] - ours.lower[k]) <= 1e-3 * width).all()
        assert (np.abs(theirs.upper[k] - ours.upper[k]) <= 1e-3 * width).all()
        assert (z >= theirs.lower[k] - 1e-9).all()
        assert (z <= theirs.upper[k] + 1e-9).all()


@pytest.mark.numba
@pytest.mark.parametrize("seed", range(6))
def test_values_of_nodes_hold_at_points_inside_them(make_network: MakeNetwork, seed: int) -> None:
    """-t at every sampled point of a node is at least the node's value: no tolerance but the evaluation's own."""
    pytest.importorskip("numba")
    root = rooted(make_network((4, 12, 12, 1), seed), Box.full(4, -1, 1), "numba")
    network = root.target.network
    points = Box.full(4, -1, 1).sample(4000, np.random.default_rng(seed))
    layers = zip(network.pre_activations(points), root.head.slopes, strict=False)
    z = np.concatenate([layer[:, slopes.at] for layer, slopes in layers], axis=1)
    t = network(points)[:, 0]
    chosen = np.random.default_rng(seed).integers(0, points.shape[0], 150)
    rng = np.random.default_rng(seed + 1)
    split = rng.random((chosen.size, root.u)) < 0.3
    signs = np.where(split, np.where(z[chosen] >= 0.0, 1, -1), 0).astype(np.int8)
    values, _ = root.ascend(rng.random((chosen.size, root.k)).astype(np.float32), signs, Pace(15), np.inf)
    for value, sign in zip(values, signs, strict=True):
        inside = ((sign == 0) | (sign * z >= 0.0)).all(axis=1)
        assert inside.any()
        assert (-t[inside]).min() >= value - 1e-13


@pytest.mark.numba
def test_the_search_proves_the_same_with_every_backend(make_network: MakeNetwork) -> None:
    pytest.importorskip("numba")
    network, box = make_network((10, 20, 20, 1), 5), Box.full(10, -1, 1)
    plain, fused = (branch_and_bound(network, box, split="relu", backend=name) for name in ("numpy", "numba"))
    assert plain.status == fused.status == "optimal"
    assert fused.value == pytest.approx(plain.value, abs=1.01e-4 * max(1.0, abs(plain.value)))
    assert fused.bound >= plain.value - 1e-9
    again = branch_and_bound(network, box, split="relu", backend="numba")
    assert (again.value, again.bound, again.nodes) == (fused.value, fused.bound, fused.nodes)


@pytest.mark.numba
def test_large_trees_are_compiled_on_their_way(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(relu_tree, "COMPILED", 1e5)
    network, box = make_network((10, 20, 20, 1), 5), Box.full(10, -1, 1)
    target = Target.linear(network, box, np.ones(1))
    tree = relu_tree.ReluTree(target, tighten_bounds(target.network, box, "dual"))
    best = branch_and_bound(network, box).value
    assert best is not None
    kinds = set()
    while not tree.done:
        tree.grow(-best - 1e-4, lambda points: -best - 1e-4)
        kinds.add(tree.backend.compiled)
    assert kinds == {False, True}
    assert tree.bound >= best


@pytest.mark.numba
def test_nothing_is_compiled_in_a_hurry(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = pytest.importorskip("omlt_ext.propagation.fused")
    rooted(make_network((3, 5, 1), 0), Box.full(3, -1, 1), "numba").start()
    assert fused.kept()
    monkeypatch.setattr(fused, "kept", lambda: False)
    assert faster_backend(59.0) is None
    for left in (60.0, None):
        faster = faster_backend(left)
        assert faster is not None
        assert faster.compiled


def test_without_numba_the_extra_is_named(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"omlt-ext\[fast\]"):
        branch_and_bound(make_network((2, 3, 1), 0), Box.full(2, -1, 1), backend="numba")
