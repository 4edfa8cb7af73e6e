"""The LP relaxation with restricted neurons: against HiGHS on the big-M model without integrality."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Box, Layer, Network
from omlt_ext.domain import Polytope
from omlt_ext.formulations import BigM
from omlt_ext.heuristics.relaxation import Relaxation, RelaxedMatrix, Restriction
from omlt_ext.heuristics.relaxed_faces import RelaxedFaces
from omlt_ext.search.problem import Placed, Problem
from omlt_ext.solvers import HighsSolver

MakeNetwork = Callable[..., Network]


def reference(problem: Problem, restrictions: list[Restriction]) -> float | None:
    """The value of the big-M model without integrality, sigma fixed; None where there is no point."""
    problem = problem.with_bounds()
    model = problem.model(BigM()).relax()
    for b, k, j, active in restrictions:
        own = model.networks[b]
        group = next(group for group in own.encodings[k].columns if group.name == "sigma")
        column = own.groups[k]["sigma"][np.flatnonzero(group.neuron == j)]
        if model.lower[column] == 1.0 - active and model.upper[column] == 1.0 - active:
            return None
        model = model.fix(column, np.array([float(active)]))
    return HighsSolver(model).solve().value


def check(problem: Problem, restrictions: list[Restriction], relaxation: Relaxation) -> None:
    truth, found = reference(problem, restrictions), relaxation.solve(restrictions)
    if truth is None:
        assert found is None
        return
    assert found is not None
    assert found.value == pytest.approx(truth, rel=1e-6, abs=1e-6)
    assert (found.v >= problem.lower - 1e-7).all()
    assert (found.v <= problem.upper + 1e-7).all()
    plain = np.flatnonzero(~problem.on_outputs)
    activity = problem.R[plain] @ found.v
    assert (activity >= problem.row_lower[plain] - 1e-6).all()
    assert (activity <= problem.row_upper[plain] + 1e-6).all()
    for low, high in zip(found.low, found.high, strict=True):
        assert all((a <= b).all() and (a >= 0).all() and (b <= 1).all() for a, b in zip(low, high, strict=True))
    pattern = [list(map(np.copy, p.network.pattern(found.v[p.inputs]))) for p in problem.networks]
    for b, k, j, active in restrictions:
        pattern[b][k][j] = active
    xi = relaxation.solve(restrictions).distance([tuple(own) for own in pattern])  # type: ignore[union-attr]
    assert all(xi[b][k][j] == pytest.approx(0.0, abs=1e-6) for b, k, j, _ in restrictions)


def open_neurons(relaxation: Relaxation) -> list[tuple[int, int, int]]:
    return [
        (b, k, int(j))
        for b, placed in enumerate(relaxation.problem.networks)
        for k in range(len(placed.network.layers))
        for j in relaxation.unstable(b, k)
    ]


def draw(problem: Problem, seed: int, most: int) -> tuple[Relaxation, list[Restriction]]:
    """The relaxation of a problem, and random restrictions."""
    relaxation, rng = Relaxation(problem), np.random.default_rng(seed)
    there = open_neurons(relaxation)
    picked = rng.permutation(len(there))[:most]
    return relaxation, [Restriction(*there[i], bool(rng.random() < 0.5)) for i in picked]


def around(network: Network, seed: int, *, outputs: bool, c: bool) -> Problem:
    """A problem with two more columns than the network has inputs, rows, and an integer column."""
    rng = np.random.default_rng(seed)
    n, m = network.n_inputs + 2, network.n_outputs
    R, S = rng.normal(size=(3, n)), rng.normal(size=(3, m)) * outputs
    center = R @ np.full(n, 0.25) + S @ network(np.full(network.n_inputs, 0.25))
    return Problem(
        networks=(Placed(network, rng.permutation(n)[: network.n_inputs], slice(0, m)),),
        c=rng.normal(size=n) * c,
        d=rng.normal(size=m),
        offset=0.5,
        R=sparse.csr_array(R),
        S=sparse.csr_array(S),
        row_lower=np.array([-np.inf, center[1] - 0.5, center[2]]),
        row_upper=np.array([center[0] + 0.1, center[1] + 0.5, center[2]]),
        lower=np.full(n, -1.0),
        upper=np.full(n, 1.0),
        integer=np.arange(n) == 0,
    )


SHAPES = st.lists(st.integers(1, 6), min_size=2, max_size=4)


@given(sizes=SHAPES, seed=st.integers(0, 2**20), most=st.integers(0, 6), scale=st.sampled_from([1e-2, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_box(sizes: list[int], seed: int, most: int, scale: float, make_network: MakeNetwork) -> None:
    network = make_network(tuple(sizes), seed, scale=scale)
    c = np.random.default_rng(seed).normal(size=sizes[-1])
    problem = Problem.of_network(network, Box.full(sizes[0], -1.0, 0.75), c)
    relaxation, restrictions = draw(problem, seed, most)
    assert isinstance(relaxation._by, RelaxedFaces)
    for count in range(len(restrictions) + 1):  # each from where the last one ended
        check(problem, restrictions[:count], relaxation)
    check(problem, [], relaxation)
    check(problem, restrictions[::-1], relaxation)


@given(sizes=SHAPES, seed=st.integers(0, 2**20), most=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_polytope(sizes: list[int], seed: int, most: int, make_network: MakeNetwork) -> None:
    network, rng = make_network(tuple(sizes), seed), np.random.default_rng(seed)
    A = rng.normal(size=(3, sizes[0]))
    domain = Polytope(Box.full(sizes[0], -1.0, 1.0), A, A @ np.full(sizes[0], 0.2) + 0.1)
    problem = Problem.of_network(network, domain, rng.normal(size=sizes[-1]))
    relaxation, restrictions = draw(problem, seed, most)
    assert isinstance(relaxation._by, RelaxedFaces)
    for count in range(len(restrictions) + 1):
        check(problem, restrictions[:count], relaxation)


@pytest.mark.parametrize(("outputs", "c", "kind"), [(0, 0, RelaxedFaces), (1, 0, RelaxedMatrix), (0, 1, RelaxedMatrix)])
@given(sizes=SHAPES, seed=st.integers(0, 2**20))
@settings(max_examples=20, deadline=None)
def test_more_around_the_network(
    sizes: list[int], seed: int, outputs: int, c: int, kind: type, make_network: MakeNetwork
) -> None:
    problem = around(make_network(tuple(sizes), seed), seed, outputs=bool(outputs), c=bool(c))
    assume(outputs == 0 or problem.on_outputs.any())
    relaxation, restrictions = draw(problem, seed, 4)
    assert isinstance(relaxation._by, kind)
    for count in range(len(restrictions) + 1):
        check(problem, restrictions[:count], relaxation)


def test_two_networks(make_network: MakeNetwork) -> None:
    first, second = make_network((2, 5, 2), 3), make_network((3, 4, 4, 1), 4)
    problem = Problem(
        networks=(Placed(first, np.array([0, 1]), slice(0, 2)), Placed(second, np.array([3, 1, 2]), slice(2, 3))),
        c=np.array([1.0, 0.0, 0.0, -0.5]),
        d=np.array([1.0, -1.0, 0.5]),
        offset=0.0,
        R=sparse.csr_array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]),
        S=sparse.csr_array([[0.0, 0.0, 0.0], [1.0, 0.0, -1.0]]),
        row_lower=np.array([-np.inf, -3.0]),
        row_upper=np.array([0.7, 3.0]),
        lower=np.full(4, -1.0),
        upper=np.full(4, 1.0),
        integer=np.zeros(4, dtype=bool),
    )
    relaxation, restrictions = draw(problem, 0, 6)
    for count in range(len(restrictions) + 1):
        check(problem, restrictions[:count], relaxation)


@pytest.mark.parametrize("sizes", [(20, 40, 1), (10, 30, 30, 1)])
def test_both_ways_agree_where_little_is_in_doubt(sizes: tuple[int, ...], make_network: MakeNetwork) -> None:
    network = make_network(sizes, 1, scale=0.5)
    problem = Problem.of_network(network, Box.full(sizes[0], 0, 1))
    relaxation, restrictions = draw(problem, 5, 20)
    made: list[Restriction] = []
    dropped = 0
    for restriction in restrictions:
        check(problem, [*made, restriction], relaxation)
        if relaxation.solve([*made, restriction]) is None:
            dropped += 1
        else:
            made.append(restriction)
    assert dropped
    assert len(made) > 5


NET = Network(
    [
        Layer([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [-0.25, 0.25, 0.0, 5.0], [True, True, False, True]),
        Layer([[1.0, 1.0, 1.0, 0.0]], [0.0], relu=False),
    ]
)  # neurons 0 and 1 are relu(z) and relu(-z), 2 is linear, 3 is active everywhere


def test_no_point() -> None:
    relaxation = Relaxation(Problem.of_network(NET, Box.full(2, -1, 1)))
    assert relaxation.solve([Restriction(0, 0, 0, True)]) is not None
    assert relaxation.solve([Restriction(0, 0, 0, True), Restriction(0, 0, 0, False)]) is None
    assert relaxation.solve([Restriction(0, 0, 3, False)]) is None  # stable the other way
    assert relaxation.solve([Restriction(0, 0, 2, False)]) is None  # linear
    both = relaxation.solve([Restriction(0, 0, 0, True), Restriction(0, 0, 1, True)])
    assert both is not None  # z = 0: both signs hold
    assert both.v == pytest.approx([0.25, 1.0])
    free, known = relaxation.solve(), relaxation.solve([Restriction(0, 0, 3, True), Restriction(0, 0, 2, True)])
    assert free is not None
    assert known is not None
    assert free.value == known.value
    assert not relaxation.infeasible


def test_signs_that_contradict_each_other(make_network: MakeNetwork) -> None:
    first = Layer([[1.0], [-1.0], [1.0]], [-0.5, -0.5, 0.0], relu=True)  # z_0 > 0 and z_1 > 0 exclude each other
    problem = Problem.of_network(Network([first, Layer([[1.0, 1.0, 1.0]], [0.0], relu=False)]), Box([-1], [1]))
    relaxation = Relaxation(problem)
    assert relaxation.solve([Restriction(0, 0, 0, True), Restriction(0, 0, 1, True)]) is None
    assert relaxation.solve([Restriction(0, 0, 0, True), Restriction(0, 0, 2, False)]) is None
    check(problem, [Restriction(0, 0, 1, True), Restriction(0, 0, 2, False)], relaxation)


@pytest.mark.parametrize("faces", [True, False])
def test_empty_domain(faces: bool, make_network: MakeNetwork) -> None:
    empty = Polytope(Box.full(2, 0, 1), [[1.0, 1.0]], [-1.0])
    problem = Problem.of_network(make_network((2, 4, 1), 0), empty)
    problem = problem if faces else replace(problem, c=np.ones(2))
    relaxation = Relaxation(problem)
    assert relaxation.solve() is None
    assert relaxation.infeasible


@given(sizes=SHAPES, seed=st.integers(0, 2**20))
@settings(max_examples=30, deadline=None)
def test_bound_is_proved(sizes: list[int], seed: int, make_network: MakeNetwork) -> None:
    network = make_network(tuple(sizes), seed)
    box, c = Box.full(sizes[0], -1.0, 1.0), np.random.default_rng(seed).normal(size=sizes[-1])
    relaxation = Relaxation(Problem.of_network(network, box, c))
    assert relaxation.bound == np.inf
    found = relaxation.solve()
    assert found is not None
    assert relaxation.bound == pytest.approx(found.value, rel=1e-6, abs=1e-6)
    assert (network(box.sample(300, np.random.default_rng(0))) @ c).max() <= relaxation.bound


def test_sigma_of_each_place() -> None:
    """On the upper line one number, h/u; where h = z > 0 up to 1; where h = 0 > z down from 1 - z/l."""
    network = Network([Layer([[1.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    box = Box([-1.0], [3.0])
    best = Relaxation(Problem.of_network(network, box)).solve()
    least = Relaxation(Problem.of_network(network, box, [-1.0])).solve([Restriction(0, 0, 0, False)])
    assert best is not None
    assert least is not None
    assert (best.low[0][0][0], best.high[0][0][0]) == pytest.approx((1.0, 1.0))
    assert least.low[0][0][0] == 0.0
    assert least.high[0][0][0] == pytest.approx(1.0 + least.v[0])
    assert least.distance([network.pattern([-0.5])])[0][0] == 0.0


def test_no_time_no_answer(make_network: MakeNetwork) -> None:
    problem = Problem.of_network(make_network((3, 8, 1), 0), Box.full(3, -1, 1))
    relaxation = Relaxation(problem)
    assert relaxation.solve(time_limit=0.0) is None
    assert not relaxation.infeasible
    assert relaxation.solve() is not None
