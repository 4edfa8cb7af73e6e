"""A whole Pyomo model as a `Problem`, and the points of the problem as points of the whole model.

Symbols: x the columns of the `MatrixModel`. Some are the networks' *own* (z, h, sigma, ...): the forward pass gives
them. The others are w; outputs of networks among them are y, and `elimination` takes out what equations give away:

    w = V v + Y y + t,   y = (f_1(v[I_1]), ..., f_p(v[I_p]))

Rows around the networks become rows on v and y. A row on columns of a network's own is left out, with every other
column that hangs on it (a disjunction's second binary); whether a point satisfies it is asked of the whole model in the
end: `Completion` has the last word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from ..block import ReLUBlock
from ..bounds import Bounds
from ..bridge import CompiledModel
from ..domain import Floats, Ints
from ..errors import InfeasibleError, ModelError, SolverError
from ..milp import EmbeddedNetwork, MatrixModel
from ..mixed import output_range
from ..network import Bools
from ..solvers import HighsSolver
from .elimination import LinearRows, as_bounds, eliminate
from .problem import TOLERANCE, Placed, Problem


@dataclass(frozen=True, eq=False)
class Completion:
    """Points v of a problem as points x of the whole `matrix`: `V`, `Y` CSR and `t` as above, `base` the columns w.

    Calling it says whether the whole model holds at v, to `TOLERANCE`.
    """

    matrix: MatrixModel
    placed: tuple[Placed, ...]
    base: Ints
    V: Any  # scipy.sparse.csr_array
    Y: Any
    t: Floats
    kept: Ints  # the columns of x that v is made of
    asks_more: bool = False  # whether the model has rows or ends on a network's own columns, which the problem has not

    def point(self, v: Floats) -> Floats | None:
        """x at v: a forward pass of every network; HiGHS for columns that this leaves open, None where it cannot."""
        x, y = np.full(self.matrix.n_columns, np.nan), [np.empty(0)]
        for embedded, placed in zip(self.matrix.networks, self.placed, strict=True):
            columns, values = embedded.point(v[placed.inputs])
            x[columns] = values
            y.append(placed.network(v[placed.inputs]))
        x[self.base] = self.V @ v + self.Y @ np.concatenate(y) + self.t
        return self._completed(x) if np.isnan(x).any() else x

    def _completed(self, x: Floats) -> Floats | None:
        known = np.flatnonzero(~np.isnan(x))
        try:
            found = HighsSolver(self.matrix.fix(known, x[known])).solve().x
        except SolverError:
            return None
        if found is not None:
            found[known] = x[known]
            found[self.matrix.integer] = np.round(found[self.matrix.integer])
        return found

    def __call__(self, v: Floats) -> bool:
        x = self.point(v)
        return x is not None and self.matrix.violation(x) <= TOLERANCE


def problem_of(compiled: CompiledModel) -> tuple[Problem, Completion]:
    """The problem that a compiled model is, and the way back.

    Raises `InfeasibleError` where bounds and rows contradict each other before any search, and `ModelError` where the
    objective holds variables of a network's own.
    """
    matrix, networks = compiled.matrix, compiled.matrix.networks
    own = own_columns(matrix)
    if matrix.c[own].any():
        name = compiled.variables[int(np.flatnonzero(own & (matrix.c != 0.0))[0])].name
        raise ModelError(
            f"the objective holds {name}, which lies inside a network; a heuristic sees its inputs and outputs only. "
            "Solve the model with 'omlt_ext.highs', without a heuristic"
        )
    around, hidden, loose = _visible(compiled, own)
    base = np.flatnonzero(~own & ~loose)
    place = np.full(matrix.n_columns, -1)
    place[base] = np.arange(base.size)
    inputs = [place[embedded.inputs] for embedded in networks]
    read = np.zeros(base.size, dtype=bool)
    read[np.concatenate([np.empty(0, dtype=np.int64), *inputs])] = True

    # the columns of the elimination are w and then y; w_j = y_k is its first row for every output
    slices, n_y = _slices(networks), sum(embedded.network.n_outputs for embedded in networks)
    outputs = np.concatenate([np.empty(0, dtype=np.int64), *(place[embedded.outputs] for embedded in networks)])
    links = sparse.hstack([_selection(outputs, base.size), -sparse.eye_array(n_y)], format="csr")
    A = sparse.hstack([matrix.A[around][:, base], sparse.csr_array((around.size, n_y))], format="csr")
    rows = LinearRows(sparse.csr_array(links), np.zeros(n_y), np.zeros(n_y)).and_rows(
        A, matrix.row_lower[around], matrix.row_upper[around]
    )
    integer = np.concatenate([matrix.integer[base], np.zeros(n_y, dtype=bool)])
    never = np.zeros(n_y, dtype=bool)
    free = np.concatenate([~read, never]) & ~integer
    affine, rows = eliminate(rows, free, np.concatenate([read, never]) & ~integer)

    gone = np.setdiff1d(np.arange(base.size), affine.kept)
    lower, upper = (np.concatenate([end, np.full(n_y, side)]) for end, side in _asked(compiled, base, place, gone))
    rows = rows.and_rows(affine.T[gone], lower[gone] - affine.t[gone], upper[gone] - affine.t[gone])
    n = affine.kept.size - n_y  # y is never taken out, and stands last

    def name_of(j: int) -> str:
        column = base[affine.kept[j]] if j < n else base[outputs[j - n]]
        return str(compiled.variables[int(column)].name)

    rows, lower, upper = as_bounds(rows, lower[affine.kept], upper[affine.kept], integer[affine.kept], name_of)
    rows = _bounds_on_outputs(rows, compiled.blocks, lower[n:], upper[n:], n)

    where = {column: i for i, column in enumerate(affine.kept.tolist())}
    copies = sparse.csr_array(affine.T[: base.size])
    placed = tuple(
        Placed(embedded.network, np.array([_source(copies, where, j) for j in at.tolist()]), part)
        for embedded, at, part in zip(networks, inputs, slices, strict=True)
    )
    for block, part in zip(compiled.blocks, placed, strict=True):
        # An output that another network reads may have wider ends than the box that this one was built for.
        box = _bounds(block).box
        for end in (lower, upper):
            np.maximum.at(end, part.inputs, box.lower)
            np.minimum.at(end, part.inputs, box.upper)
    whole_point = copies[:, :n], copies[:, n:], affine.t[: base.size], base[affine.kept[:n]]
    completion = Completion(matrix, placed, base, *whole_point, hidden or _narrowed(matrix, own))
    whole = integer[affine.kept[:n]]
    # Where every forward pass is a point of the model there is nothing to ask of it.
    tied = any(block._around is not None for block in compiled.blocks)  # its ranges follow from the model around it
    asks = completion.asks_more or tied or rows.lower.size > 0 or bool(whole.any())
    sign = 1.0 if matrix.maximize else -1.0
    costs = sign * np.asarray(matrix.c[base] @ copies)
    problem = Problem(
        networks=placed,
        c=costs[:n],
        d=costs[n:],
        offset=sign * (matrix.offset + float(matrix.c[base] @ affine.t[: base.size])),
        R=sparse.csr_array(rows.A[:, :n]),
        S=sparse.csr_array(rows.A[:, n:]),
        row_lower=rows.lower,
        row_upper=rows.upper,
        lower=lower[:n],
        upper=upper[:n],
        integer=whole,
        bounds=tuple(_bounds(block) for block in compiled.blocks),
        held=tuple(_held(block) for block in compiled.blocks),
        confirm=completion if asks else None,
    )
    return problem, completion


def own_columns(matrix: MatrixModel) -> Bools:
    """(columns,): what stands in a network and is no input or output of any."""
    own = np.zeros(matrix.n_columns, dtype=bool)
    for embedded in matrix.networks:
        for groups in embedded.groups:
            for columns in groups.values():
                own[columns] = True
    for embedded in matrix.networks:
        own[embedded.inputs] = own[embedded.outputs] = False
    return own


def _visible(compiled: CompiledModel, own: Bools) -> tuple[Ints, bool, Bools]:
    """(rows around the networks that say something about w, whether there are others, columns that hang on those).

    A column hangs on a network where rows join it to the network's own columns other than through inputs, outputs and
    columns of the objective.
    """
    matrix = compiled.matrix
    A = matrix.A[: compiled.rows_around]
    hidden = (abs(A) @ own.astype(float)) > 0.0
    loose = np.zeros(matrix.n_columns, dtype=bool)
    if hidden.any():
        anchor = matrix.c != 0.0
        for embedded in matrix.networks:
            anchor[embedded.inputs] = anchor[embedded.outputs] = True
        pattern = sparse.csr_array(abs(A))
        reached = own.copy()
        while True:
            rows = (pattern @ reached.astype(float)) > 0.0
            further = (((pattern.T @ rows.astype(float)) > 0.0) & ~anchor) | reached
            if (further == reached).all():
                break
            reached = further
        hidden, loose = rows, reached & ~own
    return np.flatnonzero(~hidden), bool(hidden.any()), loose


def _asked(compiled: CompiledModel, base: Ints, place: Ints, gone: Ints) -> list[tuple[Floats, float]]:
    """Lower and upper ends of w, and for y; without those that a block itself has given to outputs that are gone."""
    lower, upper = compiled.matrix.lower[base].copy(), compiled.matrix.upper[base].copy()
    away = set(gone.tolist())
    for block, embedded in zip(compiled.blocks, compiled.matrix.networks, strict=True):
        if block._request.outputs[0] is None:
            for j, column in enumerate(place[embedded.outputs].tolist()):
                variable, ends = block.outputs[j], block._output_ends[j]
                if variable.fixed or column not in away:
                    continue
                if variable.lb == ends[0]:
                    lower[column] = -np.inf
                if variable.ub == ends[1]:
                    upper[column] = np.inf
    return [(lower, -np.inf), (upper, np.inf)]


def _bounds_on_outputs(rows: LinearRows, blocks: list[ReLUBlock], lower: Floats, upper: Floats, n: int) -> LinearRows:
    """The rows, and one for each bound of an output that the network does not keep by itself."""
    ends: list[tuple[Floats, Floats]] = []
    for block in blocks:
        alone: Bounds | None = block._alone  # what the model around says is what is asked for here, so it cannot count
        assert alone is not None
        ends.append(output_range(block.network, alone.lower[-1], alone.upper[-1]))
    least, most = (np.concatenate([np.empty(0), *side]) for side in zip(*ends, strict=True)) if ends else (lower, upper)
    lower, upper = np.where(lower > least, lower, -np.inf), np.where(upper < most, upper, np.inf)
    crossed = (lower > most + TOLERANCE * np.maximum(1.0, abs(most))) | (
        upper < least - TOLERANCE * np.maximum(1.0, abs(least))
    )
    if crossed.any():
        k = int(np.flatnonzero(crossed)[0])
        raise InfeasibleError(
            f"output {k} of the networks lies in [{least[k]}, {most[k]}], the model asks for [{lower[k]}, {upper[k]}]"
        )
    asked = np.flatnonzero(np.isfinite(lower) | np.isfinite(upper))
    chosen = sparse.csr_array(
        (np.ones(asked.size), (np.arange(asked.size), n + asked)), shape=(asked.size, n + lower.size)
    )
    return rows.and_rows(chosen, lower[asked], upper[asked])


def _bounds(block: ReLUBlock) -> Bounds:
    """The block's bounds. A polytope that they hold on is said by rows of the problem."""
    assert block.activation_bounds is not None
    return replace(block.activation_bounds, polytope=None)


def _held(block: ReLUBlock) -> tuple[Bools, ...]:
    """Neurons whose range may not follow from the network alone: models of the problem have to hold them."""
    tight, alone = _bounds(block), block._alone
    assert alone is not None
    pairs = zip(tight.lower, tight.upper, alone.lower, alone.upper, strict=True)
    return tuple((low > wide_low) | (high < wide_high) for low, high, wide_low, wide_high in pairs)


def _narrowed(matrix: MatrixModel, own: Bools) -> bool:
    """Whether a network's own column has narrower bounds than its encoding gave it, or is whole only here."""
    for embedded in matrix.networks:
        for encoding, groups in zip(embedded.encodings, embedded.groups, strict=True):
            for group in encoding.columns:
                at = groups[group.name]
                inside = own[at]
                narrower = (matrix.lower[at] > group.lower) | (matrix.upper[at] < group.upper)
                if (inside & (narrower | (matrix.integer[at] & (not group.integer)))).any():
                    return True
    return False


def _slices(networks: tuple[EmbeddedNetwork, ...]) -> list[slice]:
    ends = np.cumsum([0, *(embedded.network.n_outputs for embedded in networks)]).tolist()
    return [slice(first, last) for first, last in pairwise(ends)]


def _selection(columns: Ints, n: int) -> Any:
    """(columns.size, n): row i picks column columns[i]."""
    return sparse.csr_array((np.ones(columns.size), (np.arange(columns.size), columns)), shape=(columns.size, n))


def _source(copies: Any, where: dict[int, int], j: int) -> int:
    """The column of v that input column j of w is, or was before it went for a copy of it."""
    return where[j] if j in where else int(copies.indices[copies.indptr[j]])
