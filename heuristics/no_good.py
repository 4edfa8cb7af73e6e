"""Activation patterns that are taken out of a mixed-integer model, and the problem that one of them leaves.

Symbols: s the binaries of the networks in a model, s* their values at a point, z_j(v) the pre-activations of the sparse
networks, affine where the pattern is fixed.

    no-good cut       sum_{i: s*_i = 0} s_i + sum_{i: s*_i = 1} (1 - s_i) >= 1
    within a pattern  z_j(v) >= 0 (j active),  z_j(v) <= 0 (j inactive)   as rows on v beside the dense networks
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from omlt_ext.domain import Floats, Ints
from omlt_ext.encoding import Formulation
from omlt_ext.errors import OptionError
from omlt_ext.milp import MatrixModel
from omlt_ext.network import Bools
from omlt_ext.search.problem import Problem

from .milp import start_of
from .sign_rows import Patterns, Region


class NoGoods:
    """Patterns of a problem's binaries, in the model that a formulation makes, that may not be taken any more.

    >>> from omlt_ext import Box, Layer, Network
    >>> from omlt_ext.formulations import BigM
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 0.0], relu=True), Layer([[1.0, 2.0]], [0.0], relu=False)])
    >>> cuts = NoGoods(Problem.of_network(network, Box([-1], [1])).with_bounds(), BigM())
    >>> cuts.take_out(np.array([0.5]))
    >>> cuts.allow(np.array([0.9])), cuts.allow(np.array([-0.9]))
    (False, True)

    Raises `OptionError` where the formulation has no binaries for unstable neurons.
    """

    def __init__(self, problem: Problem, formulation: Formulation) -> None:
        self.problem, self.model = problem, problem.model(formulation)
        own = np.zeros(self.model.n_columns, dtype=bool)
        for embedded in self.model.networks:
            for groups in embedded.groups:
                for columns in groups.values():
                    own[columns] = True
        self.binaries: Ints = np.flatnonzero(own & self.model.integer)
        self.patterns: dict[bytes, Bools] = {}
        self.last: Bools | None = None
        if not self.binaries.size and any(bounds.n_unstable for bounds in problem.bounds or ()):
            raise OptionError(
                f"the formulation {formulation.name!r} has no binaries for neurons, and a pattern is cut off by those; "
                "choose 'bigm', or mode='observe'"
            )

    def at(self, v: Floats) -> Bools:
        """The pattern at v (n,)."""
        x = np.zeros(self.model.n_columns)
        columns, values = start_of(self.model, self.problem, v)
        x[columns] = values
        return np.asarray(x[self.binaries] > 0.5)

    def see(self, model: MatrixModel, x: Floats) -> None:
        """Note the last point of a solver."""
        self.last = x[self.binaries] > 0.5

    def take_out(self, v: Floats) -> None:
        """Take the pattern at v out, and that of the last point seen.

        They are not the same where a neuron is at the border of its region and a solver takes its other side.
        """
        for pattern in [self.at(v)] if self.last is None else [self.at(v), self.last]:
            self.patterns[pattern.tobytes()] = pattern
        self.last = None

    def allow(self, v: Floats) -> bool:
        """Whether the pattern at v may still be taken."""
        return self.at(v).tobytes() not in self.patterns

    def restrict(self, model: MatrixModel) -> MatrixModel:
        """The model, one of the same columns, with the cuts."""
        if not self.patterns:
            return model
        taken = np.stack(list(self.patterns.values()))
        place = sparse.csr_array(
            (np.ones(self.binaries.size), (np.arange(self.binaries.size), self.binaries)),
            shape=(self.binaries.size, model.n_columns),
        )
        A = sparse.csr_array(sparse.csr_array(np.where(taken, -1.0, 1.0)) @ place)
        return model.with_rows(A, 1.0 - taken.sum(axis=1), np.full(len(taken), np.inf))


def within(problem: Problem, other: Problem, pattern: Patterns) -> Problem:
    """A problem, with the region that `pattern` is of the networks of `other` as rows on v; its bounds stay valid."""
    region = Region(other, pattern, np.ones(other.n))
    A, lower, upper = region.rows(np.arange(region.sign.size))
    return replace(
        problem,
        R=sparse.csr_array(sparse.vstack([problem.R, A])),
        S=sparse.csr_array(sparse.vstack([problem.S, sparse.csr_array((lower.size, problem.S.shape[1]))])),
        row_lower=np.concatenate([problem.row_lower, lower]),
        row_upper=np.concatenate([problem.row_upper, upper]),
    )
