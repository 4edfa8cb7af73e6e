"""A mixed-integer linear model as arrays, with the networks in it known by their columns.

    min or max  c x + offset   where   row_lower <= A x <= row_upper,   lower <= x <= upper,   x_j whole for integer j

and, where a formulation asks for them, pairs and indicators (`logic`). `ModelBuilder` stacks columns, rows and encoded
networks; `network_model` is the model of one network over its box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from .bounds import Bounds
from .domain import Floats, Ints
from .encoding import ZERO, Encoding, Formulation, encode_network
from .errors import ShapeError
from .logic import Logic, no_logic
from .network import Bools, Network
from .plugins import formulation as find_formulation


@dataclass(frozen=True, eq=False)
class EmbeddedNetwork:
    """Where a network's columns stand in a model.

    `inputs` (n_in,) and `outputs` (n_out,) are columns of the model; `groups[k]` maps a group's name ("z", "h",
    "sigma", ...) to its columns in layer k, in the order of that group's neurons in `encodings[k]`. An output that is
    0 everywhere and has no column is `ZERO`. `columns[k]` are the columns of layer k's local ones (`Encoding.names`),
    `ZERO` where an input of the layer is 0 everywhere.
    """

    network: Network
    encodings: tuple[Encoding, ...]
    inputs: Ints
    outputs: Ints
    groups: tuple[dict[str, Ints], ...]
    columns: tuple[Ints, ...]

    @property
    def exact(self) -> bool:
        """Whether the network's own points are the only ones; False for relaxations."""
        return all(encoding.exact for encoding in self.encodings)

    def local(self, k: int, x: Floats) -> Floats:
        """The values of layer k's local columns at a model's point x."""
        columns = self.columns[k]
        return np.where(columns == ZERO, 0.0, x[columns])

    def point(self, x: Floats) -> tuple[Ints, Floats]:
        """(columns, values) that the network takes at the input x: inputs, z, h and binaries of every layer.

        Only groups that mean the same in every formulation are given: z, h, sigma and hbar = max(0, -z).
        """
        columns, values = [self.inputs], [np.asarray(x, dtype=np.float64)]
        zs = self.network.pre_activations(x)
        for z, layer, encoding, groups in zip(zs, self.network.layers, self.encodings, self.groups, strict=True):
            h, hbar = layer.activation(z), np.maximum(-z, 0.0)
            given = {"z": z, "h": h, "sigma": (z > 0).astype(float), "hbar": hbar}
            for group in encoding.columns:
                if group.name in given:
                    columns.append(groups[group.name])
                    values.append(given[group.name][group.neuron])
        return np.concatenate(columns), np.concatenate(values)

    def error(self, x: Floats) -> float:
        """`Network.error` of a model's point x."""
        return self.network.error(x[self.inputs], np.where(self.outputs == ZERO, 0.0, x[self.outputs]))


@dataclass(frozen=True, eq=False)
class MatrixModel:
    """The model as arrays: `c`, `lower`, `upper`, `integer` (columns,), `A` CSR (rows, columns)."""

    c: Floats
    offset: float
    maximize: bool
    A: Any  # scipy.sparse.csr_array (rows, columns)
    row_lower: Floats
    row_upper: Floats
    lower: Floats
    upper: Floats
    integer: Bools
    networks: tuple[EmbeddedNetwork, ...] = ()
    logic: Logic | None = None

    @property
    def n_columns(self) -> int:
        return int(self.c.size)

    @property
    def n_rows(self) -> int:
        return int(self.row_lower.size)

    def value(self, x: Floats) -> float:
        """The objective at x."""
        return float(self.c @ x + self.offset)

    def relax(self) -> MatrixModel:
        """The same model without integrality and without logic."""
        return replace(self, integer=np.zeros_like(self.integer), logic=None)

    def fix(self, columns: Ints, values: Floats) -> MatrixModel:
        """The same model with some columns fixed."""
        lower, upper = self.lower.copy(), self.upper.copy()
        lower[columns] = upper[columns] = values
        return replace(self, lower=lower, upper=upper)

    def with_rows(self, A: Any, lower: Floats, upper: Floats) -> MatrixModel:
        """The same model with more rows lower <= A x <= upper, A (m, columns) CSR."""
        rows = sparse.csr_array(sparse.vstack([self.A, A], format="csr"))
        ends = np.concatenate([self.row_lower, lower]), np.concatenate([self.row_upper, upper])
        return replace(self, A=rows, row_lower=ends[0], row_upper=ends[1])

    def with_objective(self, columns: Ints, coefficients: ArrayLike, *, maximize: bool) -> MatrixModel:
        """The same model with another objective."""
        c = np.zeros(self.n_columns)
        np.add.at(c, columns, np.asarray(coefficients, dtype=np.float64))
        return replace(self, c=c, offset=0.0, maximize=maximize)

    def violation(self, x: Floats) -> float:
        """The largest violation of a row, a bound, integrality or logic at x."""
        activity = self.A @ x
        gaps = [self.row_lower - activity, activity - self.row_upper, self.lower - x, x - self.upper]
        gaps.append(np.abs(x - np.round(x))[self.integer])
        gaps.append(np.array([0.0 if self.logic is None else self.logic.violation(x)]))
        return max((float(gap.max()) for gap in gaps if gap.size), default=0.0)


class ModelBuilder:
    """Collects columns and rows; `add_network` adds the encodings of a network on given columns."""

    def __init__(self) -> None:
        self.lower: list[Floats] = []
        self.upper: list[Floats] = []
        self.integer: list[Bools] = []
        self.n_columns = 0
        self._data: list[Floats] = []
        self._indices: list[Ints] = []
        self._counts: list[Ints] = []
        self._row_lower: list[Floats] = []
        self._row_upper: list[Floats] = []
        self._networks: list[EmbeddedNetwork] = []
        self._pairs: list[tuple[Ints, Ints]] = []
        self._indicators: list[tuple[Ints, int, tuple[Ints, Floats, Ints], Floats, Floats]] = []

    def add_columns(self, lower: Floats, upper: Floats, integer: bool | Bools = False) -> Ints:
        """Add columns and return their numbers."""
        self.lower.append(np.asarray(lower, dtype=np.float64))
        self.upper.append(np.asarray(upper, dtype=np.float64))
        self.integer.append(np.broadcast_to(np.asarray(integer, dtype=bool), np.shape(lower)))
        first, self.n_columns = self.n_columns, self.n_columns + len(lower)
        return np.arange(first, self.n_columns)

    def add_rows(self, matrix: Any, columns: Ints, lower: Floats, upper: Floats) -> None:
        """Add the rows of a CSR matrix whose column i is the model's column `columns[i]` (`ZERO`: left out)."""
        indices, data, counts = renumbered(matrix, columns)
        self._indices.append(indices)
        self._data.append(data)
        self._counts.append(counts)
        self._row_lower.append(np.asarray(lower, dtype=np.float64))
        self._row_upper.append(np.asarray(upper, dtype=np.float64))

    def add_pairs(self, first: Ints, second: Ints) -> None:
        """Add pairs of columns >= 0 of which at most one is not 0."""
        self._pairs.append((first, second))

    def add_indicators(
        self, binary: Ints, value: int, matrix: Any, columns: Ints, lower: Floats, upper: Floats
    ) -> None:
        """Add rows as `add_rows` does that hold only where the column `binary` of each has the value 0 or 1."""
        self._indicators.append((binary, value, renumbered(matrix, columns), lower, upper))

    def add_network(
        self,
        network: Network,
        encodings: Sequence[Encoding],
        inputs: Ints,
        *,
        groups: Sequence[dict[str, Ints]] | None = None,
        outputs: Ints | None = None,
        keep_row: Sequence[dict[str, Bools]] | None = None,
        logic: bool = True,
    ) -> EmbeddedNetwork:
        """Add every layer's columns, rows and logic; return where they stand.

        `groups` names columns that exist already, by layer and group, with bounds of their own; `outputs` columns that
        carry the outputs where those exist; `keep_row` masks of the rows to write, by layer and group of rows. Without
        them all are made here. `logic=False` leaves pairs and indicators out: something else in the model says them.
        """
        carry, all_groups, local = inputs, [], []
        for k, encoding in enumerate(encodings):
            if groups is None:
                own = [self.add_columns(g.lower, g.upper, g.integer) for g in encoding.columns]
            else:
                own = [groups[k][g.name] for g in encoding.columns]
            columns = np.concatenate([carry, *own])
            for rows in encoding.rows:
                mask = None if keep_row is None else keep_row[k][rows.name]
                if mask is None or mask.all():
                    self.add_rows(rows.matrix, columns, rows.lower, rows.upper)
                else:
                    self.add_rows(rows.matrix[mask], columns, rows.lower[mask], rows.upper[mask])
            if logic:
                self._add_logic(encoding, columns)
            handed = encoding.output if k == len(encodings) - 1 else encoding.handed_on
            carry = np.where(handed == ZERO, ZERO, columns[handed])
            local.append(columns)
            all_groups.append({g.name: at for g, at in zip(encoding.columns, own, strict=True)})
        embedded = EmbeddedNetwork(
            network,
            tuple(encodings),
            inputs,
            carry if outputs is None else outputs,
            tuple(all_groups),
            tuple(local),
        )
        self._networks.append(embedded)
        return embedded

    def _add_logic(self, encoding: Encoding, columns: Ints) -> None:
        for pairs in encoding.pairs:
            self.add_pairs(columns[pairs.first], columns[pairs.second])
        for part in encoding.indicators:
            rows = part.rows
            self.add_indicators(columns[part.binary], part.value, rows.matrix, columns, rows.lower, rows.upper)

    def _logic(self) -> Logic | None:
        if not self._pairs and not self._indicators:
            return None
        none = no_logic(self.n_columns)
        pairs = [np.concatenate([none.first, *side]) for side in zip(*self._pairs, strict=True)]
        first, second = pairs or (none.first, none.second)
        if not self._indicators:
            return replace(none, first=first, second=second) if first.size else None
        binary, value, parts, lower, upper = zip(*self._indicators, strict=True)
        indices, data, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
        starts = np.concatenate([[0], np.cumsum(counts)])
        logic = Logic(
            first,
            second,
            np.concatenate(binary),
            np.repeat(np.array(value, dtype=np.int64), [at.size for at in binary]),
            sparse.csr_array((data, indices, starts), shape=(counts.size, self.n_columns)),
            np.concatenate(lower),
            np.concatenate(upper),
        )
        return logic if logic else None

    def model(self, c: Floats | None = None, offset: float = 0.0, *, maximize: bool = False) -> MatrixModel:
        """The finished model."""
        lower, upper = (np.concatenate([*ends, np.empty(0)]) for ends in (self.lower, self.upper))
        counts = np.concatenate([np.zeros(1, dtype=np.int32), *self._counts])
        data = np.concatenate([*self._data, np.empty(0)])
        indices = np.concatenate([*self._indices, np.empty(0, dtype=np.int32)])
        kind = np.int32 if data.size < 2**31 else np.int64  # one width for both, or SciPy converts the longer one
        A = sparse.csr_array((data, indices, np.cumsum(counts, dtype=kind)), shape=(counts.size - 1, self.n_columns))
        A.sum_duplicates()
        return MatrixModel(
            c=np.zeros(self.n_columns) if c is None else c,
            offset=offset,
            maximize=maximize,
            A=A,
            row_lower=np.concatenate([*self._row_lower, np.empty(0)]),
            row_upper=np.concatenate([*self._row_upper, np.empty(0)]),
            lower=lower,
            upper=upper,
            integer=np.concatenate([*self.integer, np.empty(0, dtype=bool)]),
            networks=tuple(self._networks),
            logic=self._logic(),
        )


def renumbered(matrix: Any, columns: Ints) -> tuple[Ints, Floats, Ints]:
    """Column numbers, coefficients and entries a row of a CSR matrix whose column i is `columns[i]`."""
    indices, data, counts = columns.astype(np.int32)[matrix.indices], matrix.data, np.diff(matrix.indptr)
    if (columns == ZERO).any():
        keep = indices != ZERO
        rows = np.repeat(np.arange(counts.size), counts)[keep]
        indices, data, counts = indices[keep], data[keep], np.bincount(rows, minlength=counts.size)
    return indices, data, counts


def network_model(
    network: Network,
    bounds: Bounds,
    formulation: str | Formulation,
    *,
    objective: ArrayLike | None = None,
    maximize: bool = True,
) -> MatrixModel:
    """The model of one network over the box of `bounds`: max or min objective . f(x); no objective is 0.

    `formulation`: by name or object.

    >>> from omlt_ext import Box, Layer, Network, tighten_bounds
    >>> from omlt_ext.formulations import BigM
    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[2.0]], [1.0], relu=False)])
    >>> bounds = tighten_bounds(network, Box([0, 0], [1, 1]), effort="interval")
    >>> model = network_model(network, bounds, BigM(), objective=[1.0])
    >>> model.n_columns, model.n_rows, int(model.integer.sum())
    (6, 5, 1)
    """
    builder = ModelBuilder()
    inputs = builder.add_columns(bounds.box.lower, bounds.box.upper)
    embedded = builder.add_network(network, encode_network(network, bounds, find_formulation(formulation)), inputs)
    model = builder.model(maximize=maximize)
    if objective is None:
        return model
    weights = np.asarray(objective, dtype=np.float64)
    if weights.shape != (network.n_outputs,):
        raise ShapeError(f"objective has shape {weights.shape}; it weighs the {network.n_outputs} outputs")
    present = embedded.outputs != ZERO
    return model.with_objective(embedded.outputs[present], weights[present], maximize=maximize)
