"""What a formulation returns for one layer: columns, sparse rows and logic, read by Pyomo and by the solvers alike.

Symbols: W weight, b bias, z = W h' + b pre-activation with h' the layer's inputs, h post-activation, l <= z <= u
bounds, sigma binary (1: active). A layer's local columns are its inputs 0 .. n_in - 1, then the columns it adds, group
after group. Three kinds of neurons never need a binary: linear ones and ReLUs with l >= 0 have h = z (one column for
both), ReLUs with u <= 0 have h = 0 (no column, no row).

Logic is what rows over such columns cannot say: *indicators*, rows that hold where a binary has a value, and *pairs* of
columns >= 0 of which one is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from .bounds import REMEDY, Bounds
from .curves import Codes, curve
from .domain import Floats, Ints, check_interval
from .network import Bools, Layer, Network
from .propagation.linear import LinearRanges

ZERO = -1  # in `Encoding.output`: this neuron's h is 0 everywhere, there is no column for it
SUBSTITUTED = -2  # in `Encoding.output`: this neuron's h is an affine expression of columns, later layers use those
# (weight (m, n_in), dense or CSR; effort "interval", "crown" or "dual") -> lower (m,), upper (m,) of weight @ h'
RangeOf: TypeAlias = Callable[[Any, str], tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Columns:
    """A group of columns that a layer adds; column i belongs to neuron `neuron[i]`.

    `lower` and `upper` are finite and valid at every point of the network; `integer` columns take whole values. Where a
    neuron has several columns in the group, `key` is their second index: (neuron[i], key[i]) says which one it is.
    """

    name: str
    neuron: Ints
    lower: Floats
    upper: Floats
    integer: bool = False
    key: Ints | None = None

    @property
    def index(self) -> list[Any]:
        """j, or (j, i) where there is a key, for every column."""
        return _index(self.neuron, self.key)


@dataclass(frozen=True, eq=False)
class Rows:
    """A group of rows lower <= matrix @ columns <= upper (an end may be infinite); row i belongs to `neuron[i]`.

    `key`: a second index, as in `Columns`.
    """

    name: str
    neuron: Ints
    matrix: Any  # scipy.sparse.csr_array (m, number of local columns)
    lower: Floats
    upper: Floats
    key: Ints | None = None

    @property
    def index(self) -> list[Any]:
        """j, or (j, i) where there is a key, for every row."""
        return _index(self.neuron, self.key)


@dataclass(frozen=True, eq=False)
class Indicators:
    """Rows that hold wherever a binary has a value: column `binary[i]` = `value` implies row i of `rows`."""

    rows: Rows
    binary: Ints
    value: int


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of columns, both >= 0, of which at most one is not 0: columns `first[i]` and `second[i]` for `neuron[i]`.

    `kind` says how a model is told: "sos1", a special ordered set, or "complements", 0 <= first _|_ second >= 0.
    """

    name: str
    neuron: Ints
    first: Ints
    second: Ints
    kind: str = "sos1"


@dataclass(frozen=True, eq=False)
class Curves:
    """Smooth activations: column `value[i]` is the function `code[i]` of column `argument[i]`, for `neuron[i]`.

    `form[i]`: the form that is written (see `omlt_ext.curves`).
    """

    name: str
    neuron: Ints
    argument: Ints
    value: Ints
    code: Codes
    form: Codes


class Separator(Protocol):
    """Finds rows that cut a point off: a picklable object that belongs to one layer.

    `rounds`: how often to ask it at most before a model is solved; `callback`: ask it at a solver's nodes as well.
    """

    @property
    def rounds(self) -> int: ...

    @property
    def callback(self) -> bool: ...

    def __call__(self, x: Floats) -> Rows:
        """Rows over the layer's local columns that are valid for the layer, and violated by its local point x."""
        ...


@dataclass(frozen=True, eq=False)
class Encoding:
    """One layer as columns, rows and logic. `output[j]` is the local column that carries h_j, `ZERO` or `SUBSTITUTED`.

    `carry`: the local columns that are the next layer's inputs, where those are not simply `output`. `exact` is False
    where points other than the network's own are feasible (a relaxation). `separator` finds cuts for a point.
    `str(encoding)` writes it out as algebra, a line for each column, row, indicator, pair and curve.
    """

    n_in: int
    columns: tuple[Columns, ...]
    rows: tuple[Rows, ...]
    output: Ints
    indicators: tuple[Indicators, ...] = ()
    pairs: tuple[Pairs, ...] = ()
    carry: Ints | None = None
    exact: bool = True
    separator: Separator | None = None
    curves: tuple[Curves, ...] = ()

    @property
    def n_columns(self) -> int:
        """Columns that the layer adds."""
        return sum(group.neuron.size for group in self.columns)

    def names(self) -> list[str]:
        """The name of every local column: x[i] for the inputs, then z[j], h[j], sigma[j], ..."""
        own = [name for group in self.columns for name in _names(group)]
        return [f"x[{i}]" for i in range(self.n_in)] + own

    @property
    def has_logic(self) -> bool:
        """Whether there are indicators or pairs, which not every solver takes."""
        return any(part.rows.neuron.size for part in self.indicators) or any(part.neuron.size for part in self.pairs)

    @property
    def handed_on(self) -> Ints:
        """The local columns that are the next layer's inputs, `ZERO` where such an input is 0."""
        return self.output if self.carry is None else self.carry

    def __str__(self) -> str:
        names = self.names()
        lines = []
        for group in self.columns:
            for name, low, high in zip(_names(group), group.lower, group.upper, strict=True):
                domain = f"in {{{low:g}, ..., {high:g}}}" if group.integer else f"in [{low:g}, {high:g}]"
                lines.append(f"{name} {domain}")
        for rows in self.rows:
            lines += [f"{name}: {row}" for name, row in zip(_names(rows), _algebra(rows, names), strict=True)]
        for part in self.indicators:
            rows = part.rows
            for j, binary, row in zip(rows.neuron, part.binary, _algebra(rows, names), strict=True):
                lines.append(f"{rows.name}[{j}]: {names[binary]} = {part.value} -> {row}")
        for pairs in self.pairs:
            sign = {"sos1": ", {} in SOS1", "complements": " >= 0 _|_ {} >= 0"}[pairs.kind]
            for j, one, other in zip(pairs.neuron, pairs.first, pairs.second, strict=True):
                lines.append(f"{pairs.name}[{j}]: {names[one]}{sign.format(names[other])}")
        for bent in self.curves:
            for j, z, h, code in zip(bent.neuron, bent.argument, bent.value, bent.code, strict=True):
                lines.append(f"{bent.name}[{j}]: {names[h]} = {curve(code).name}({names[z]})")
        said = {ZERO: "0", SUBSTITUTED: "substituted"}
        lines += [f"h[{j}] is {said.get(int(column)) or names[column]}" for j, column in enumerate(self.output)]
        return "\n".join(lines)

    def __deepcopy__(self, memo: object) -> Encoding:
        return self  # frozen


@dataclass(frozen=True, eq=False)
class LayerBounds:
    """Bounds that one layer's encoding may use: of its pre-activations and of its inputs.

    `held` (n_out,), where given, marks neurons whose range does not follow from the ranges of the layer's inputs (it
    comes from the model around the network): the encoding has to enforce it. A `Draft` does. `ranges` bounds linear
    functions of the layer's inputs, better than the inputs' own ranges do; None where those say all that is known.
    """

    lower: Floats
    upper: Floats
    input_lower: Floats
    input_upper: Floats
    held: Bools | None = None
    ranges: RangeOf | None = None


class Formulation(Protocol):
    """A way to write h = max(0, z): a frozen object with a name and one method that encodes one layer.

    One that depends on the solver has `for_solver(name)`, which a door to one solver asks where it was given by name.
    One that looks at all layers together has `encode_network(network, bounds, held)` as well, which is then called
    instead and returns a tuple of encodings. One that also writes smooth activations says so with `nonlinear = True`,
    one whose encodings may have separators with `separates = True`.
    """

    @property
    def name(self) -> str: ...

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding: ...


def encode_network(
    network: Network, bounds: Bounds, formulation: Formulation, held: Sequence[Bools] | None = None
) -> tuple[Encoding, ...]:
    """The encoding of every layer of `network` under `bounds`; `held[k]` as in `LayerBounds`."""
    bounds.check_network(network)
    whole = getattr(formulation, "encode_network", None)
    if whole is not None:
        return tuple(whole(network, bounds, held))
    return tuple(
        formulation.encode(layer, known)
        for layer, known in zip(network.layers, layer_bounds(network, bounds, held), strict=True)
    )


def layer_bounds(network: Network, bounds: Bounds, held: Sequence[Bools] | None = None) -> list[LayerBounds]:
    """What the encoding of each layer may use; `BoundsError` names layer and neuron of a bad bound."""
    low, high = bounds.box.lower, bounds.box.upper
    found = []
    for k, layer in enumerate(network.layers):
        z_low, z_high = bounds.lower[k], bounds.upper[k]
        check_interval(z_low, z_high, lambda j, k=k: f"layer {k}, neuron {j}", REMEDY)
        mask = held[k] if held is not None and held[k].any() else None
        ranges = LinearRanges(network, bounds, k) if k else None
        found.append(LayerBounds(z_low, z_high, low, high, mask, ranges))
        low, high = layer.activation(z_low), layer.activation(z_high)
    return found


def _index(neuron: Ints, key: Ints | None) -> list[Any]:
    return neuron.tolist() if key is None else list(zip(neuron.tolist(), key.tolist(), strict=True))


def _names(group: Columns | Rows) -> list[str]:
    """name[j], or name[j,i] where there is a key."""
    if group.key is None:
        return [f"{group.name}[{j}]" for j in group.neuron]
    return [f"{group.name}[{j},{i}]" for j, i in zip(group.neuron, group.key, strict=True)]


def _algebra(rows: Rows, names: Sequence[str]) -> list[str]:
    """Every row as a line of algebra."""
    lines = []
    for i in range(rows.neuron.size):
        start, stop = rows.matrix.indptr[i : i + 2]
        terms = zip(rows.matrix.indices[start:stop], rows.matrix.data[start:stop], strict=True)
        body = _sum([(names[column], float(value)) for column, value in sorted(terms)])
        lines.append(_between(rows.lower[i], body, rows.upper[i]))
    return lines


def _sum(terms: Sequence[tuple[str, float]]) -> str:
    text = ""
    for name, value in terms:
        sign = "-" if value < 0 else "+"
        size = "" if abs(value) == 1 else f"{abs(value):g} "
        text += f"{'-' if sign == '-' else ''}{size}{name}" if not text else f" {sign} {size}{name}"
    return text or "0"


def _between(lower: float, body: str, upper: float) -> str:
    if lower == upper:
        return f"{body} = {lower:g}"
    left = "" if lower == -np.inf else f"{lower:g} <= "
    right = "" if upper == np.inf else f" <= {upper:g}"
    return f"{left}{body}{right}"
