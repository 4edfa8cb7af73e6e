"""Networks with smooth neurons: evaluation, bounds that hold, and the refusal by everything piecewise linear."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from omlt_ext import Bounds, Box, Effort, Layer, Network, Polytope, load_network, tighten_bounds
from omlt_ext.errors import BoundsError, NetworkError, ShapeError, UnsupportedOperatorError
from omlt_ext.formulations import BigM
from omlt_ext.heuristics import maximize
from omlt_ext.milp import network_model
from omlt_ext.mixed import MixedNetwork, describe, piecewise_linear, relabelled
from omlt_ext.propagation import crown, interval
from omlt_ext.tightening import tighten_mixed
from omlt_ext.writers.onnx import save_onnx, to_onnx


def random_mixed(sizes: tuple[int, ...], seed: int, *, scale: float = 1.0, last: bool = False) -> MixedNetwork:
    """ReLUs, linear neurons and each smooth function at random; output neurons are linear unless `last`."""
    rng = np.random.default_rng(seed)
    layers, codes = [], []
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        kind = rng.integers(-1, 4, n_out) if last or k < len(sizes) - 2 else np.zeros(n_out, dtype=int)
        kind[0] = 1 + seed % 3 if k == 0 else kind[0]
        layers.append(Layer(scale * rng.normal(size=(n_out, n_in)), rng.normal(size=n_out), relu=kind == -1))
        codes.append(np.maximum(kind, 0))
    return MixedNetwork(Network(layers), codes)


@pytest.fixture
def example() -> MixedNetwork:
    first = Layer([[1.0, 2.0], [1.0, -1.0], [0.5, 0.0], [2.0, 1.0]], [0.0, 1.0, -1.0, 0.5], [True, False, False, False])
    second = Layer([[1.0, -2.0, 3.0, 0.5], [0.0, 1.0, 1.0, 1.0]], [0.25, 0.0], relu=False)
    return MixedNetwork(Network([first, second], input_box=Box.full(2, -1, 1)), [[0, 1, 2, 3], [0, 2]])


def test_evaluation(example: MixedNetwork) -> None:
    x = np.array([[0.3, -0.4], [5.0, 7.0], [-900.0, 900.0]])
    z = x @ np.array([[1.0, 2.0], [1.0, -1.0], [0.5, 0.0], [2.0, 1.0]]).T + np.array([0.0, 1.0, -1.0, 0.5])
    h = np.c_[np.maximum(z[:, 0], 0), expit(z[:, 1]), np.tanh(z[:, 2]), np.logaddexp(0.0, z[:, 3])]
    y = h @ np.array([[1.0, -2.0, 3.0, 0.5], [0.0, 1.0, 1.0, 1.0]]).T + np.array([0.25, 0.0])
    y[:, 1] = np.tanh(y[:, 1])
    np.testing.assert_allclose(example(x), y, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(example(x[0]), y[0], rtol=1e-14)
    np.testing.assert_allclose(example.pre_activations(x)[0], z, rtol=1e-14)
    assert example.error(x[0], y[0] + [0.0, 1.0]) == pytest.approx(1.0 / (1.0 + np.abs(y[0]).max()))
    with pytest.raises(ShapeError, match="shape"):
        example([1.0, 2.0, 3.0])


def test_what_it_says_of_itself(example: MixedNetwork) -> None:
    assert repr(example) == "<MixedNetwork 2-4-2 with 4 smooth neurons from arrays>"
    assert (example.n_inputs, example.n_outputs, example.n_relus, example.n_smooth) == (2, 2, 1, 4)
    assert describe(example) == "layer 0 has 1 sigmoid neuron, 1 tanh neuron and 1 softplus neuron"
    assert example.summary().splitlines()[-1] == "  layer 1 has 1 tanh neuron"
    assert not any(part.flags.writeable for part in example.codes)
    shaped = relabelled(example, input_shape=(1, 2), source="elsewhere")
    assert (shaped.input_shape, shaped.source, shaped.input_box) == ((1, 2), "elsewhere", example.input_box)


def test_copies_and_pickles(example: MixedNetwork) -> None:
    assert copy.deepcopy(example) is example
    again = pickle.loads(pickle.dumps(example))
    x = np.array([0.3, -0.4])
    np.testing.assert_array_equal(again(x), example(x))
    assert not any(part.flags.writeable for part in again.codes)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 1]], "1 layers of codes for a network of 2 layers"),
        ([[0, 1], [0, 0]], r"codes of layer 1 have shape \(2,\), not \(1,\)"),
        ([[0, 4], [0]], "whole numbers from 0 to 3"),
        ([[0, 0.5], [0]], "whole numbers from 0 to 3"),
        ([[0, np.nan], [0]], "whole numbers from 0 to 3"),
        ([[2, 0], [0]], "layer 0, neuron 0: a ReLU cannot have the activation 'tanh'"),
        ([[0, 0], [0]], "no neuron has a smooth activation"),
    ],
)
def test_bad_codes_are_refused(codes: list[list[float]], message: str) -> None:
    network = Network([Layer([[1.0], [1.0]], [0.0, 0.0], relu=[True, False]), Layer([[1.0, 1.0]], [0.0], relu=False)])
    with pytest.raises(NetworkError, match=message):
        MixedNetwork(network, codes)


def test_a_skeleton_is_a_network(example: MixedNetwork) -> None:
    with pytest.raises(NetworkError, match="must be a Network, not of type list"):
        MixedNetwork(list(example.skeleton.layers), example.codes)  # type: ignore[arg-type]


REFUSING: dict[str, Callable[[MixedNetwork, Path], object]] = {
    "load_network": lambda network, _: load_network(network),
    "tighten_bounds": lambda network, _: tighten_bounds(network, (-1, 1)),  # type: ignore[arg-type]
    "interval": lambda network, _: interval(network, (-1, 1)),  # type: ignore[arg-type]
    "crown": lambda network, _: crown(network, Box.full(2, -1, 1)),  # type: ignore[arg-type]
    "Bounds.of": lambda network, _: Bounds.of(network, Box.full(2, -1, 1), [], []),  # type: ignore[arg-type]
    "network_model": lambda network, _: network_model(network, tighten_mixed(network, (-1, 1)), BigM()),  # type: ignore[arg-type]
    "maximize": lambda network, _: maximize(network, (-1, 1)),  # type: ignore[arg-type]
    "save_onnx": lambda network, folder: save_onnx(network, folder / "net.onnx"),  # type: ignore[arg-type]
    "to_onnx": lambda network, _: to_onnx(network),  # type: ignore[arg-type]
    "Network": lambda network, _: Network(network.layers),
    "piecewise_linear": lambda network, _: piecewise_linear(network),
}


@pytest.mark.parametrize("name", REFUSING)
def test_everything_piecewise_linear_refuses_it_by_name(name: str, example: MixedNetwork, tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedOperatorError, match=r"linear: layer 0 has 1 sigmoid neuron, .*formulation=.smooth"
    ) as caught:
        REFUSING[name](example, tmp_path)
    assert (caught.value.node, caught.value.operator) == ("layer 0", "sigmoid")
    assert not list(tmp_path.iterdir())


def test_a_mixed_network_passes_load_network_on_request(example: MixedNetwork) -> None:
    assert load_network(example, smooth=True) is example
    boxed = load_network(example, smooth=True, input_box=(0, 1))
    assert isinstance(boxed, MixedNetwork)
    np.testing.assert_array_equal(boxed.input_box.lower, [0, 0])


@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.3, 1.0, 5.0, 100.0]),
    effort=st.sampled_from(["interval", "crown", "dual"]),
)
@settings(max_examples=40, deadline=None)
def test_bounds_hold_all_samples(seed: int, scale: float, effort: str) -> None:
    network = random_mixed((3, 5, 4, 4, 2), seed, scale=scale, last=True)
    box = Box([-1.0, 0.0, -2.0], [1.0, 0.5, 3.0])
    bounds = tighten_mixed(network, box, effort)
    points = np.vstack([box.sample(300, np.random.default_rng(seed)), box.lower, box.upper])
    for z, low, high in zip(network.pre_activations(points), bounds.lower, bounds.upper, strict=True):
        slack = 1e-12 * (1 + np.abs(z))  # of the evaluation at the points
        assert (low <= z + slack).all()
        assert (z - slack <= high).all()


@pytest.mark.parametrize("seed", range(4))
def test_bounds_nest_along_the_ladder(seed: int) -> None:
    network = random_mixed((2, 4, 4, 1), seed, scale=2.0)
    before = tighten_mixed(network, (-1, 1), "interval")
    for effort in ("crown", "dual", "split", "lp", "milp"):
        found = tighten_mixed(network, (-1, 1), effort)
        for k in range(3):
            assert (found.lower[k] >= before.lower[k]).all()
            assert (found.upper[k] <= before.upper[k]).all()
        before = found


def test_a_single_part_is_as_tight_as_the_network_without_its_curves() -> None:
    """Up to the first smooth layer nothing is lost."""
    rng = np.random.default_rng(3)
    layers = [
        Layer(rng.normal(size=(4, 2)), rng.normal(size=4), relu=True),
        Layer(rng.normal(size=(2, 4)), [0.0, 1.0], relu=False),
    ]
    skeleton = Network(layers)
    mixed, plain = tighten_mixed(MixedNetwork(skeleton, [[0] * 4, [2, 2]]), (-1, 1)), tighten_bounds(skeleton, (-1, 1))
    for k in range(2):
        np.testing.assert_array_equal(mixed.lower[k], plain.lower[k])
        np.testing.assert_array_equal(mixed.upper[k], plain.upper[k])


def test_given_bounds_and_polytopes(example: MixedNetwork) -> None:
    box = Box.full(2, -1, 1)
    loose = tighten_mixed(example, box)
    polytope = Polytope(box, [[1.0, 1.0]], [-1.0])
    bounds = tighten_mixed(example, polytope, "lp")
    assert bounds.polytope is not None
    assert (bounds.upper[0] <= loose.upper[0]).all()
    assert bounds.upper[0][0] < loose.upper[0][0]
    points = box.sample(2000, np.random.default_rng(0))
    points = points[points.sum(axis=1) <= -1.0]
    assert all((z <= high + 1e-12).all() for z, high in zip(example.pre_activations(points), bounds.upper, strict=True))
    again = tighten_mixed(example, polytope, "interval", bounds=bounds)
    assert all((a <= b).all() for a, b in zip(again.upper, bounds.upper, strict=True))
    with pytest.raises(BoundsError, match="hold on"):
        tighten_mixed(example, Box.full(2, -2, 2), bounds=loose)


def test_the_dials_of_an_effort_count_layers_of_the_whole_network() -> None:
    network = random_mixed((2, 4, 4, 4, 1), 1, scale=2.0)
    crown_only, all_layers = tighten_mixed(network, (-1, 1), "crown"), tighten_mixed(network, (-1, 1), "dual")
    last = tighten_mixed(network, (-1, 1), Effort("dual", layers=(3,)))
    for k in range(3):
        np.testing.assert_array_equal(last.lower[k], crown_only.lower[k])
    assert (last.lower[3] <= all_layers.lower[3]).all()
    relus = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    deep = MixedNetwork(Network([relus, relus, Layer([[1.0, 2.0]], [0.0], relu=False)]), [[0, 0], [0, 0], [1]])
    stopped = tighten_mixed(deep, (-1, 1), Effort("lp", seconds=0.0))
    assert any("time limit" in note for note in stopped.notes)


def test_an_overflow_names_the_layer() -> None:
    huge = [Layer([[1e200]], [0.0], relu=False), Layer([[1e200]], [0.0], relu=False)]
    with pytest.raises(BoundsError, match=r"layer 0, neuron 0: .* overflow .*counting from layer 1"):
        tighten_mixed(MixedNetwork(Network(huge), [[3], [0]]), (-1, 1))


def test_what_networks_can_do_and_mixed_ones_cannot() -> None:
    network = MixedNetwork(Network([Layer([[2.0]], [0.5], relu=False)]), [[1]])
    for call in (network.save, network.pattern, network.affine_map):
        with pytest.raises(UnsupportedOperatorError, match="layer 0 has 1 sigmoid neuron"):
            call("x")
