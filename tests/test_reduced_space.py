"""Reduced space: the rows over the columns that are left, as text, and the same optimum over any formulation."""

from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy import sparse
from single_neuron import relaxed_max

from omlt_ext import Bounds, Box, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.encoding import SUBSTITUTED, ZERO, Formulation, encode_network
from omlt_ext.errors import FormulationError
from omlt_ext.formulations import (
    SOS1,
    Balas,
    BigM,
    IdealCuts,
    Indicator,
    Partition,
    PSplit,
    ReducedSpace,
    TriangleRelaxation,
)
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver, open_solver

Optimum = Callable[..., float]


def network_of_every_state() -> tuple[Network, Bounds]:
    """On [0, 1]^2: an active, an inactive, a linear and an unstable neuron; one unstable and one active; outputs."""
    first = Layer([[1, 1], [-1, -1], [2, 0], [1, -1]], [1.0, -1.0, 0.5, 0.0], [True, True, False, True])
    second = Layer([[1, 1, -1, 2], [1, 0, 0, 1]], [-2.0, 0.0], True)
    network = Network([first, second, Layer([[1, -1], [0, 0]], [0.25, -3.0], [False, True])])
    lower = [[1.0, -3.0, 0.5, -1.0], [-3.0, 1.0], [-10.0, -3.0]]
    upper = [[3.0, -1.0, 2.5, 1.0], [3.0, 4.0], [10.0, -3.0]]
    return network, Bounds.of(network, Box.full(2, 0, 1), lower, upper)


def test_the_rows_over_the_columns_that_are_left() -> None:
    network, known = network_of_every_state()
    first, second, last = encode_network(network, known, ReducedSpace())
    assert str(first).splitlines() == [
        "z[3] in [-1, 1]",
        "h[3] in [0, 1]",
        "sigma[3] in {0, ..., 1}",
        "affine[3]: -x[0] + x[1] + z[3] = 0",
        "relu_above[3]: 0 <= -z[3] + h[3]",
        "relu_active[3]: -z[3] + h[3] + sigma[3] <= 1",
        "relu_inactive[3]: h[3] - sigma[3] <= 0",
        "h[0] is substituted",
        "h[1] is 0",
        "h[2] is substituted",
        "h[3] is h[3]",
    ]
    assert first.carry is not None
    assert first.carry.tolist() == [0, 1, 3]  # x[0], x[1] and h[3]
    # h'[0] - h'[2] + 2 h'[3] - 2 = (x0 + x1 + 1) - (2 x0 + 0.5) + 2 x2 - 2
    assert "affine[0]: x[0] - x[1] - 2 x[2] + z[0] = -1.5" in str(second)
    assert second.output[1] == SUBSTITUTED
    # h[0] of the layer before is x[3]: h[0] - (x0 + x1 + 1 + x2) + 0.25
    assert "affine[0]: x[0] + x[1] + x[2] - x[3] + z[0] = -0.75" in str(last)
    assert last.output[1] == ZERO


def test_columns_that_nobody_needs_are_not_carried(make_network: Callable[..., Network]) -> None:
    network = make_network((3, 4, 4, 1), 0)
    wide = Bounds.of(network, Box.full(3, -1, 1), [[-9.0] * n for n in (4, 4, 1)], [[9.0] * n for n in (4, 4, 1)])
    reduced = encode_network(network, wide, ReducedSpace())
    full = encode_network(network, wide, BigM())
    assert [str(e) for e in reduced] == [str(e) for e in full]
    assert [e.carry.size for e in reduced if e.carry is not None] == [4, 4, 1]


OVER = [BigM(), Balas(), Partition(2), PSplit(3), "bigm"]


@pytest.mark.parametrize("over", OVER, ids=str)
@pytest.mark.parametrize("effort", ["interval", "crown"])
def test_the_same_optimum(
    over: str | Formulation, effort: str, every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    known, c = tighten_bounds(network, box, effort=effort), np.array([0.3, -1.0, 2.0])
    for maximize in (True, False):
        model = network_model(network, known, ReducedSpace(over), objective=c, maximize=maximize)
        found = HighsSolver(model, {"mip_rel_gap": 0.0}).solve()
        assert found.x is not None
        assert model.networks[0].error(found.x) < 1e-6
        assert found.value == pytest.approx(brute_force(network, box, c, maximize=maximize), abs=1e-6)
        assert model.n_columns < network_model(network, known, BigM() if over == "bigm" else over).n_columns


@pytest.mark.parametrize("over", [SOS1(), Indicator()], ids=str)
def test_over_logic(over: Formulation, every_state_network: tuple[Network, Box], brute_force: Optimum) -> None:
    pytest.importorskip("gurobipy")
    network, box = every_state_network
    known, c = tighten_bounds(network, box, effort="crown"), np.array([0.3, -1.0, 2.0])
    model = network_model(network, known, ReducedSpace(over), objective=c)
    found = open_solver("gurobi", model, {"MIPGap": 0.0}).solve()
    assert found.value == pytest.approx(brute_force(network, box, c), abs=1e-6)


def test_a_relaxation_stays_one(make_network: Callable[..., Network]) -> None:
    network = make_network((3, 8, 8, 1), 1)
    known = tighten_bounds(network, Box.full(3, -1, 1), effort="crown")
    encodings = encode_network(network, known, ReducedSpace(TriangleRelaxation()))
    assert not any(encoding.exact for encoding in encodings)
    triangle, big_m = (
        relaxed_max(network, known, ReducedSpace(f), np.zeros(3)) for f in (TriangleRelaxation(), BigM())
    )
    assert triangle == pytest.approx(big_m, abs=1e-6)


def test_group_sums_are_bounded_through_the_substitution(make_network: Callable[..., Network]) -> None:
    """`ranges` over the columns that are left: as good as over the layer before where all of it is unstable."""
    network = make_network((3, 10, 10, 1), 2)
    known = tighten_bounds(network, Box.full(3, -1, 1), effort="crown")
    values = [
        relaxed_max(network, known, ReducedSpace(Partition(3, effort=e)), np.zeros(3)) for e in ("interval", "crown")
    ]
    assert values[1] < values[0] - 1e-3
    best = HighsSolver(network_model(network, known, BigM(), objective=[1.0])).solve().value
    assert best is not None
    assert best <= values[1] + 1e-6


@pytest.mark.parametrize("low", [-3.0, 1.0])
def test_a_network_that_is_affine_or_constant(low: float) -> None:
    """All neurons active, or all inactive: no binary, and in the latter case nothing that depends on the input."""
    first = Layer(np.eye(2), [low, low], True)
    network = Network([first, Layer([[1, 2], [1, -1]], [10.0, 10.0], True), Layer([[1.0, 1.0]], [0.0], False)])
    known = tighten_bounds(network, Box.full(2, 0, 1), effort="interval")
    model = network_model(network, known, ReducedSpace(), objective=[1.0])
    assert not model.integer.any()
    found = HighsSolver(model).solve()
    assert found.x is not None
    assert found.value == pytest.approx(float(network(found.x[model.networks[0].inputs])[0]))


def test_sparse_weights_stay_sparse() -> None:
    rng = np.random.default_rng(0)
    layers = [sparse.random_array((40, 40), density=0.05, rng=rng, format="csr") for _ in range(3)]
    network = Network([Layer(W, rng.normal(size=40), k < 2) for k, W in enumerate(layers)])
    known = tighten_bounds(network, Box.full(40, -1, 1), effort="crown")
    model = network_model(network, known, ReducedSpace(), objective=np.ones(40))
    full = network_model(network, known, BigM(), objective=np.ones(40))
    assert model.A.shape[0] < full.A.shape[0]
    assert model.A.nnz < 0.1 * model.A.shape[0] * model.A.shape[1]
    ours, theirs = (HighsSolver(m, {"mip_rel_gap": 0.0}).solve().value for m in (model, full))
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_held_neurons_are_enforced() -> None:
    """x + y is told to be at least 0.5 and x - y at most 0: not implied by the box, so both stay rows."""
    network = Network([Layer([[1, 1], [1, -1]], [0.0, 0.0], True), Layer([[-1.0, 3.0]], [0.0], False)])
    told = Bounds.of(network, Box.full(2, -1, 1), [[0.5, -2.0], [-2.0]], [[2.0, 0.0], [6.0]])
    held = [np.array([True, True]), np.array([False])]
    first, last = encode_network(network, told, ReducedSpace(), held)
    assert "z[0] in [0.5, 2]" in str(first)
    assert "range[1]: -2 <= x[0] - x[1] <= 0" in str(first)
    assert "h[1] is 0" in str(first)
    assert "affine[0]: x[0] + z[0] = 0" in str(last)


def test_a_block_tightened_with_its_model(brute_force: Optimum, make_network: Callable[..., Network]) -> None:
    """Signs that come from the rest of the model are held, so that no other point becomes feasible."""
    network = make_network((2, 6, 6, 1), 4)
    box, values = Box.full(2, -1, 1), []
    for formulation in ("bigm", "reduced_space"):
        model = pyo.ConcreteModel()
        model.x = pyo.Var(range(2), bounds=(-1, 1))
        model.nn = ReLUBlock(network, inputs=model.x, formulation=formulation)
        model.near = pyo.Constraint(expr=model.x[0] + model.x[1] <= -0.5)
        model.cost = pyo.Objective(expr=model.nn.outputs[0] + model.x[0], sense=pyo.maximize)
        pyo.TransformationFactory("omlt_ext.tighten_bounds").apply_to(model, effort="lp")
        pyo.SolverFactory("omlt_ext.highs").solve(model)
        assert model.nn.get_error() < 1e-6
        values.append(pyo.value(model.cost))
    assert values[1] == pytest.approx(values[0], abs=1e-6)
    assert values[0] - 1.0 <= brute_force(network, box, np.ones(1)) + 1e-6


@pytest.mark.parametrize("over", [ReducedSpace(), IdealCuts()], ids=str)
def test_what_needs_the_layers_as_they_are_is_refused(over: Formulation) -> None:
    network, known = network_of_every_state()
    with pytest.raises(FormulationError, match="reduced_space cannot stand over"):
        encode_network(network, known, ReducedSpace(over))


@pytest.mark.parametrize("over", ["nope", "ideal_cuts", "auto", "reduced_space"])
def test_what_it_stands_over_is_checked_at_once(over: str) -> None:
    with pytest.raises(FormulationError):
        ReducedSpace(over)
