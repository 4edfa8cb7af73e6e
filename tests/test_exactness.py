"""`branch_and_bound` and `verify` against rational arithmetic and MILP solvers, on random and on awkward networks.

Networks of at most twelve ReLUs: drawn, or made to tie, with twins, dead and constant neurons, numbers far from 1,
kinks in the corners of the box, sums of neurons that are alike. Domains have inputs of no width, or rows.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from rational import Partition

from omlt_ext import Box, Layer, Network, branch_and_bound
from omlt_ext.domain import Floats, Polytope
from omlt_ext.formulations import BigM
from omlt_ext.search import Problem
from omlt_ext.solvers import open_solver
from omlt_ext.verification import Disjunct, Property, verify

KINDS = ("drawn", "tied", "twins", "sparse", "dead", "corners", "far", "alike")
SHAPES = ((1, 6), (2, 7), (2, 4, 3), (2, 3, 2, 2), (3, 4), (2, 5), (3, 3, 2), (2, 2, 2, 2), (4, 3))
GOALS = (-1.0, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 1.0)
LARGER = ((3, 5, 5, 1), (5, 8, 1), (4, 8, 1), (2, 4, 4, 4, 1))
ROUNDING = 1e-9  # of the largest numbers: of the network's own evaluation
GAP = 1e-5
LIMIT = 1.0


class Instance(NamedTuple):
    network: Network
    domain: Box | Polytope
    size: float  # of the outputs, about


def instance(seed: int, kind: str | None = None) -> Instance:
    """A network, a domain."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)] if kind is None else kind
    n, *hidden = SHAPES[rng.integers(len(SHAPES))]
    lower = _plain(rng, rng.uniform(-1, 0.5, n))
    box = Box(lower, lower + _plain(rng, rng.uniform(0.1, 1.5, n)) * (rng.random(n) < 0.85))
    layers, before, inside = [], n, box.lower if rng.random() < 0.5 else box.upper
    for width in hidden:
        weight, bias = _plain(rng, rng.normal(size=(width, before))), _plain(rng, rng.normal(size=width))
        if kind == "tied":
            weight, bias = np.sign(np.round(weight)), np.sign(np.round(bias))
        if kind == "twins":
            weight[width // 2 :], bias[width // 2 :] = weight[: width - width // 2], bias[: width - width // 2]
            weight[-1:], bias[-1:] = weight[-1:] * rng.choice([1.0, -1.0, 2.0]), bias[-1:]
        if kind == "sparse":
            weight[rng.random(weight.shape) < 0.6] = 0.0
        if kind == "dead":
            bias[rng.random(width) < 0.4] -= 100.0
        if kind == "corners":
            bias = -(weight @ inside)
        if kind == "far":
            weight, bias = weight * (scale := 2.0 ** rng.integers(-20, 21)), bias * scale
        if kind == "alike":
            weight[:], bias[:] = weight[0], bias[0]
        layers.append(Layer(weight, bias, relu=rng.random(width) < 0.95))
        inside, before = layers[-1](inside), width
    m = int(rng.integers(1, 4))
    weight = _plain(rng, rng.normal(size=(m, before)))
    if kind == "alike":
        weight[:] = rng.choice([-1.0, 1.0], (m, before))
    layers.append(Layer(weight, _plain(rng, rng.normal(size=m)), relu=rng.random() < 0.1))
    network = Network(layers)
    domain: Box | Polytope = box
    if rng.random() < 0.3:
        rows = _plain(rng, rng.normal(size=(int(rng.integers(1, 3)), n)))
        domain = Polytope(box, rows, rows @ (lower + rng.random(n) * box.width) + rng.choice([0.0, 0.1]))
    return Instance(network, domain, 1.0 + float(np.abs(network(box.sample(64, rng))).max()))


def _plain(rng: np.random.Generator, values: Floats) -> Floats:
    """The values, most often with few digits: rational numbers stay short."""
    return values if rng.random() < 0.1 else np.round(64 * values) / 64


def check_maximum(seed: int, kind: str | None = None) -> bool:
    """Whether `branch_and_bound` closes, after its value and its bound have been checked."""
    rng = np.random.default_rng([seed, 1])
    network, domain, size = instance(seed, kind)
    n, m = network.n_inputs, network.n_outputs
    d, c = _plain(rng, rng.normal(size=m)), _plain(rng, rng.normal(size=n) * (rng.random() < 0.3))
    best = Partition(network, domain).largest_least([-c], [-d], [0.0])
    closed = True
    for split in ("relu", "input"):
        found = branch_and_bound(network, domain, d, inputs=c, split=split, gap=GAP, seed=seed, time_limit=LIMIT)
        where = f"seed {seed}, {split}: {found.value} {found.bound} {found.status} against {best}"
        if best is None:
            assert found.value is None or isinstance(domain, Polytope), where
            continue
        assert found.bound is not None, where
        assert found.bound >= float(best) - ROUNDING * size, where
        assert found.value is None or found.value <= float(best) + 1e-5 * size, where
        if found.status == "optimal":
            assert found.value >= float(best) - 2 * GAP * max(1.0, abs(float(best))), where
        closed = closed and found.status == "optimal"
    return closed


def check_verdict(seed: int, kind: str | None = None) -> bool:
    """Whether `verify` settles a property, after its verdict and its bound have been checked."""
    rng = np.random.default_rng([seed, 2])
    network, first, size = instance(seed, kind)
    n, m = network.n_inputs, network.n_outputs
    disjuncts: list[Disjunct] = []
    largest: list[Fraction] = []
    goal = size * GOALS[rng.integers(len(GOALS))]
    parts: dict[int, Partition] = {}
    domain = first
    for i in range(int(rng.integers(1, 4))):
        if i and rng.random() < 0.5:  # overlaps the one before
            box = domain.box if isinstance(domain, Polytope) else domain
            domain = Box(box.lower + _plain(rng, 0.5 * rng.random(n)) * (box.width > 0.5), box.upper + box.width / 4)
        part = parts.setdefault(id(domain), Partition(network, domain))
        k = int(rng.integers(1, 4))
        Gx, Gy = _plain(rng, rng.normal(size=(k, n)) * (rng.random() < 0.3)), _plain(rng, rng.normal(size=(k, m)))
        Gy[-1] = Gy[0] if rng.random() < 0.2 else Gy[-1]
        g = _plain(rng, rng.normal(size=k))
        slack = part.largest_least(Gx, Gy, g)
        if slack is not None:
            g = g - float(slack) + goal - rng.choice([0.0, 0.5])
            slack = part.largest_least(Gx, Gy, g)
            largest.append(slack)
        disjuncts.append(Disjunct(domain, Gy, g, Gx))
    best = max(largest, default=None)
    property = Property(disjuncts)
    settled = True
    for split in ("relu", "input"):
        found = verify(network, property, split=split, seed=seed, time_limit=LIMIT)
        where = f"seed {seed}, {split}: {found} against {None if best is None else float(best)}"
        if best is None:
            assert found.verdict != "sat", where
            settled = settled and found.verdict == "unsat"
            continue
        slack = ROUNDING * size if found.trusts_solver else 0.0
        assert Fraction(found.bound) + Fraction(slack) >= best, where
        if found.verdict == "sat":
            assert float(best) >= -ROUNDING * size, where
            point = found.counterexample
            assert point is not None
            assert property.first_violated(point.x, network(point.x)) == point.disjunct
        elif found.verdict == "unsat":
            assert best < slack, where
        settled = settled and found.verdict == ("sat" if best >= 0 else "unsat")
    return settled


def check_against(solver: str, seed: int) -> None:
    """`branch_and_bound` and a MILP solver on one network of eight ReLUs and more."""
    rng = np.random.default_rng([seed, 3])
    sizes = LARGER[seed % len(LARGER)]
    layers = []
    for k, (n, m) in enumerate(pairwise(sizes)):
        weight, bias = rng.normal(size=(m, n)), rng.normal(size=m)
        if seed % 4 == 3:  # ties
            weight, bias = np.sign(np.round(weight)), np.sign(np.round(bias))
        layers.append(Layer(weight, bias, relu=k < len(sizes) - 2))
    network, box = Network(layers), Box.full(sizes[0], -1.0, 1.0)
    domain: Box | Polytope = Polytope(box, rng.normal(size=(2, sizes[0])), [0.5, 0.0]) if seed % 3 == 2 else box
    problem = Problem.of_network(network, domain, np.ones(1))
    other = open_solver(solver, problem.with_bounds("dual").model(BigM())).solve(gap=1e-9, absolute_gap=1e-9)
    assert other.value is not None
    assert other.bound is not None
    size = max(1.0, abs(other.value))
    split = ("relu", "auto")[seed // 2 % 2]
    found = branch_and_bound(network, domain, split=split, gap=GAP, seed=seed)
    assert found.status == "optimal", f"seed {seed}, {split}"
    assert found.value == pytest.approx(other.value, abs=5e-5 * size), f"seed {seed}, {split}"
    assert found.bound >= other.value - 1e-5 * size, f"seed {seed}, {split}"


BLOCK, TENTH = 32, 10


@pytest.mark.parametrize("first", range(0, 256, BLOCK))
def test_maxima(first):
    assert sum(check_maximum(seed) for seed in range(first, first + BLOCK)) >= BLOCK - 3


@pytest.mark.parametrize("first", range(256, 512, BLOCK))
def test_verdicts(first):
    assert sum(check_verdict(seed) for seed in range(first, first + BLOCK)) >= BLOCK - 8


GUROBI = [("gurobi", "gurobipy", first) for first in range(0, 60, TENTH)]
SCIP = [pytest.param("scip", "pyscipopt", first, marks=pytest.mark.scip) for first in range(60, 110, TENTH)]


@pytest.mark.parametrize(("solver", "package", "first"), [*GUROBI, *SCIP])
def test_maxima_of_milp_solvers(solver, package, first):
    pytest.importorskip(package)
    for seed in range(first, first + TENTH):
        check_against(solver, seed)
