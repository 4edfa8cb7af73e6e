"""Ideal cuts: their rows as text, their validity, and the hull that they reach."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.cut_rounds import add_cuts
from omlt_ext.encoding import Encoding, LayerBounds, Rows
from omlt_ext.errors import FormulationError, OptionError
from omlt_ext.formulations import SOS1, BigM, IdealCuts
from omlt_ext.milp import network_model
from omlt_ext.plugins import formulation
from omlt_ext.solvers import HighsSolver

MakeNetwork = Callable[..., Network]


def neuron(weight: list[float], bias: float, low: float = 0.0, high: float = 1.0) -> tuple[Layer, LayerBounds]:
    """One neuron over a box, with its interval bounds."""
    w = np.array(weight)
    ends = np.stack([w * low, w * high])
    bounds = [ends.min(axis=0).sum() + bias], [ends.max(axis=0).sum() + bias]
    return Layer([weight], [bias], relu=True), LayerBounds(*bounds, np.full(w.size, low), np.full(w.size, high))


def text(encoding: Encoding, point: list[float]) -> list[str]:
    """The cuts that a point violates, written out."""
    assert encoding.separator is not None
    rows = encoding.separator(np.array(point))
    rows = replace(rows, upper=rows.upper.round(12))  # they are rounded up by some units in the last place
    written = str(replace(encoding, rows=(rows,), indicators=(), pairs=())).splitlines()
    return [line for line in written if line.startswith("cuts")]


def test_the_most_violated_cut_of_a_neuron() -> None:
    encoding = IdealCuts().encode(*neuron([2.0, -3.0, 1.0], 0.5))
    # of z = 2 x0 - 3 x1 + x2 + 0.5 at x = (0, 0, 1), sigma = 1/2, only 2 x0 lies below its half: 0 < 1
    assert text(encoding, [0, 0, 1, 1.5, 0.7, 0.5]) == []
    assert text(encoding, [0, 0, 1, 1.5, 0.8, 0.5]) == ["cuts[0]: -2 x[0] + h[0] - 1.5 sigma[0] <= 0"]
    # -3 x1 at x1 = 1 is -3 < -1.5, x2 = 0 lies below 1/2: I = {1, 2}
    assert text(encoding, [1, 1, 0, -0.5, 1.4, 0.5]) == ["cuts[0]: 3 x[1] - x[2] + h[0] + 0.5 sigma[0] <= 3"]


def test_every_input_below_or_above() -> None:
    encoding = IdealCuts().encode(*neuron([1.0, 1.0], -0.5))
    assert text(encoding, [0.1, 0.1, -0.3, 1.0, 0.5]) == ["cuts[0]: -x[0] - x[1] + h[0] + 0.5 sigma[0] <= 0"]
    assert text(encoding, [0.9, 0.9, 1.3, 1.3, 0.5]) == ["cuts[0]: h[0] - 1.5 sigma[0] <= 0"]
    assert text(encoding, [0.5, 0.5, 0.5, 0.5, 0.5]) == []  # on the network


def test_without_a_binary_it_is_projected_out() -> None:
    encoding = IdealCuts(SOS1()).encode(*neuron([1.0, 1.0], -0.5))
    # x1 below x0: all of x1, and with e = 1.5 - 1 half of x0
    assert text(encoding, [1.0, 0.0, 0.5, 0.75, 0.25]) == ["cuts[0]: -0.5 x[0] - x[1] + h[0] <= 0"]


def test_stable_and_linear_neurons_have_none() -> None:
    layer = Layer([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]], [0.0, 0.1, -0.1], relu=[False, True, True])
    bounds = LayerBounds([0.0, 0.1, -2.1], [2.0, 2.1, -0.1], np.zeros(2), np.ones(2))
    encoding = IdealCuts().encode(layer, bounds)
    assert encoding.separator is None
    assert str(encoding) == str(BigM().encode(layer, bounds))


def test_sparse_and_dense_weights_give_the_same_cuts(make_network: MakeNetwork) -> None:
    rng = np.random.default_rng(3)
    W = rng.normal(size=(7, 9)) * (rng.random((7, 9)) < 0.6)
    b, ends = rng.normal(size=7), (np.full(9, -1.0), np.ones(9))
    reach = np.abs(W).sum(axis=1) + 1e-9
    x = np.concatenate([rng.uniform(-1, 1, 9), np.zeros(7), np.full(7, 3.0), rng.random(7)])
    for over in (BigM(), SOS1()):
        rows = []
        for weight in (W, sparse.csr_array(W)):
            encoding = IdealCuts(over).encode(Layer(weight, b, relu=True), LayerBounds(b - reach, b + reach, *ends))
            assert encoding.separator is not None
            rows.append(encoding.separator(x[: encoding.n_in + encoding.n_columns]))
        one, other = rows
        assert one.neuron.size > 0
        assert one.neuron.tolist() == other.neuron.tolist()
        np.testing.assert_array_equal(one.matrix.toarray(), other.matrix.toarray())
        np.testing.assert_array_equal(one.upper, other.upper)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e9]),
    over=st.sampled_from(["bigm", "sos1"]),
)
def test_cuts_hold_at_the_networks_points_in_exact_arithmetic(seed: int, scale: float, over: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    low = rng.normal(size=n) * scale
    high = low + rng.random(n) * scale * (rng.random(n) < 0.9)
    layer = Layer(
        rng.normal(size=(3, n)) * 10.0 ** rng.integers(-6, 6, size=(3, n)), rng.normal(size=3) * scale, relu=True
    )
    far = 1e30
    encoding = IdealCuts(over).encode(layer, LayerBounds(np.full(3, -far), np.full(3, far), low, high))
    separator = replace(encoding.separator, enough=np.full(3, -np.inf))  # every cut, violated or not
    position = {name: c for c, name in enumerate(encoding.names())}
    for _ in range(4):
        given_x = rng.uniform(low, high)
        rows = separator(np.concatenate([given_x, rng.normal(size=encoding.n_columns)]))
        assert rows.neuron.size == 3
        for corner in itertools.chain([given_x], itertools.islice(itertools.product(*zip(low, high, strict=True)), 64)):
            exact = [Fraction(float(v)) for v in corner]
            for i, j in enumerate(rows.neuron.tolist()):
                terms = zip(layer.dense_weight()[j].tolist(), exact, strict=True)
                z = sum((Fraction(w) * v for w, v in terms), Fraction(float(layer.bias[j])))
                values = {
                    position[f"h[{j}]"]: max(z, Fraction(0)),
                    position.get(f"sigma[{j}]", -1): Fraction(int(z > 0)),
                }
                values |= dict(enumerate(exact))
                part = slice(*rows.matrix.indptr[i : i + 2])
                entries = zip(rows.matrix.indices[part].tolist(), rows.matrix.data[part].tolist(), strict=True)
                activity = sum((Fraction(value) * values[c] for c, value in entries), Fraction(0))
                assert activity <= Fraction(float(rows.upper[i]))
                if z == 0 and f"sigma[{j}]" in position:  # both values of the binary belong to the network
                    step = Fraction(float(rows.matrix[[i], [position[f"sigma[{j}]"]]][0]))
                    assert activity + step <= Fraction(float(rows.upper[i]))


def hull(weight: np.ndarray, bias: float, low: np.ndarray, high: np.ndarray, cost: np.ndarray) -> float:
    """max cost . (x, h) over the hull of h = max(0, w x + b): the better of two polytopes' vertices, as one LP each."""
    ends = list(zip(low, high, strict=True))
    active = linprog(-(cost[:-1] + cost[-1] * weight), -weight[None, :], [bias], bounds=ends)
    inactive = linprog(-cost[:-1], weight[None, :], [-bias], bounds=ends)
    found = [-r.fun + offset for r, offset in ((active, cost[-1] * bias), (inactive, 0.0)) if r.status == 0]
    return max(found)


@pytest.mark.parametrize("over", ["bigm", "sos1"])
@pytest.mark.parametrize("seed", range(12))
def test_converged_cuts_are_the_hull_of_one_neuron(seed: int, over: str) -> None:
    rng = np.random.default_rng(seed)
    n = 2 + seed % 5
    w, low = rng.normal(size=n), rng.uniform(-1, 0, n)
    high = low + rng.random(n) * 2
    bias = -0.5 * float(w @ (low + high)) + 0.1 * rng.normal()
    network = Network([Layer(w[None, :], [bias], relu=True), Layer([[1.0]], [0.0], relu=False)])
    bounds = tighten_bounds(network, Box(low, high), "interval")
    gained = 0
    for _ in range(10):
        cost = np.concatenate([-w * rng.uniform(0, 1.5, n), [1.0]])
        values = []
        for chosen in (BigM(), IdealCuts(over, rounds=100, tolerance=1e-6)):
            model = network_model(network, bounds, chosen)
            embedded = model.networks[0]
            columns = np.concatenate([embedded.inputs, embedded.groups[0]["h"]])
            done = add_cuts(model.with_objective(columns, cost, maximize=True))
            assert done.status == "converged"
            values.append(HighsSolver(done.model.relax()).solve().value)
        weak, ideal = values
        assert ideal == pytest.approx(hull(w, bias, low, high, cost), abs=1e-5)
        assert ideal <= weak + 1e-6
        gained += ideal < weak - 1e-4
    assert gained > 0


def test_the_whole_family_by_enumeration() -> None:
    """Separation finds the most violated of all 2^n cuts."""
    rng = np.random.default_rng(5)
    n, w, b = 6, rng.normal(size=6), 0.2
    low, high = rng.uniform(-1, 0, n), rng.uniform(0, 1, n)
    least, most = np.minimum(w * low, w * high), np.maximum(w * low, w * high)
    layer = Layer(w[None, :], [b], relu=True)
    encoding = IdealCuts().encode(layer, LayerBounds([least.sum() + b], [most.sum() + b], low, high))
    for _ in range(50):
        x, sigma = rng.uniform(low, high), rng.random()
        sides = []
        for members in itertools.product([0.0, 1.0], repeat=n):
            I = np.array(members)  # noqa: E741
            sides.append(I @ (w * x - least * (1 - sigma)) + (b + (1 - I) @ most) * sigma)
        above = min(sides)
        for shift, count in ((-1e-3, 0), (1e-2, 1)):
            rows = encoding.separator(np.concatenate([x, [w @ x + b, above + shift, sigma]]))
            assert rows.neuron.size == count
            if count:
                point = np.concatenate([x, [0.0, above, sigma]])
                assert (rows.matrix @ point - rows.upper)[0] == pytest.approx(0.0, abs=1e-12)


def test_the_separator_is_picklable() -> None:
    encoding = IdealCuts().encode(*neuron([1.0, 1.0], -0.5))
    point = np.array([0.9, 0.9, 1.3, 1.3, 0.5])
    before = encoding.separator(point)
    after: Rows = pickle.loads(pickle.dumps(encoding.separator))(point)
    assert before.upper == after.upper


def test_found_by_name() -> None:
    assert formulation("ideal_cuts") == IdealCuts()


class Whole:
    name = "whole"

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        raise AssertionError("it is refused before that")

    def encode_network(self, network: Network, bounds: object, held: object) -> tuple[Encoding, ...]:
        raise AssertionError("it is refused before that")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"rounds": -1}, OptionError, "rounds is -1"),
        ({"rounds": 2.5}, OptionError, "rounds is 2.5"),
        ({"rounds": True}, OptionError, "rounds is True"),
        ({"tolerance": 0.0}, OptionError, "tolerance is 0.0; it must be a number of at least 1e-06"),
        ({"tolerance": float("nan")}, OptionError, "tolerance is nan"),
        ({"callback": "yes"}, OptionError, "callback is 'yes'"),
        ({"over": "hexagon"}, FormulationError, "no formulation named 'hexagon'"),
        ({"over": IdealCuts()}, FormulationError, "cuts of its own"),
        ({"over": Whole()}, FormulationError, "looks at all layers together"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        IdealCuts(**arguments)
