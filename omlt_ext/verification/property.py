"""Properties: what a counterexample is, as a union of linear systems over inputs and outputs.

Symbols: x inputs (n_in,), y = f(x) outputs (n_out,). Disjunct k holds at (x, y) where x lies in its domain, a box
l <= x <= u or a polytope A x <= b within one, and Gx x + Gy y <= g. A property is "sat" if some x has a disjunct that
holds at (x, f(x)); such an x is a counterexample. Otherwise it is "unsat", and the network is verified.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..domain import Box, Floats, Polytope, numbers
from ..errors import BoundsError, OptionError, ShapeError
from ..network import Bools, Network
from .ball import L1Ball
from .exact import rows_hold


@dataclass(frozen=True, eq=False, init=False)
class Disjunct:
    """The points (x, y) with x in `domain` and Gx x + Gy y <= g, strictly where `strict`.

    `domain` is a `Box`, a `Polytope` or a pair (lower, upper) of shape (n_in,); `Gy` (m, n_out), `g` (m,), `Gx`
    (m, n_in), zero where not given; `strict` (m,) bool or one bool for all. There may be no rows (m = 0): then every x
    of the domain is a counterexample. Raises `ShapeError` and `BoundsError`, naming the row.

    >>> disjunct = Disjunct(Box([0.0], [1.0]), Gy=[[1.0, -1.0]], g=[0.0])  # y_0 <= y_1
    >>> disjunct.holds([0.5], [2.0, 3.0]), disjunct.holds([0.5], [3.0, 2.0]), disjunct.holds([2.0], [2.0, 3.0])
    (True, False, False)
    """

    domain: Box | Polytope
    Gx: Floats
    Gy: Floats
    g: Floats
    strict: Bools

    def __init__(
        self,
        domain: Box | Polytope | Iterable[ArrayLike],
        Gy: ArrayLike,
        g: ArrayLike,
        Gx: ArrayLike | None = None,
        strict: bool | ArrayLike = False,
    ) -> None:
        where = domain if isinstance(domain, Box | Polytope) else _pair(domain)
        outputs, sides = _frozen(Gy, "Gy"), _frozen(g, "g")
        inputs = _frozen(np.zeros((sides.size, where.n)) if Gx is None else Gx, "Gx")
        shapes = f"Gx {inputs.shape}, Gy {outputs.shape} and g {sides.shape}"
        if outputs.ndim != 2 or sides.ndim != 1 or inputs.shape != (sides.size, where.n) or len(outputs) != len(inputs):
            raise ShapeError(f"the rows have the shapes {shapes}; they must be (m, {where.n}), (m, n_out) and (m,)")
        if outputs.shape[1] == 0:
            raise ShapeError("Gy has no columns; it needs one for each output of the network, also where m = 0")
        bad = ~(np.isfinite(inputs).all(axis=1) & np.isfinite(outputs).all(axis=1) & np.isfinite(sides))
        if bad.any():
            raise BoundsError(f"row {int(np.flatnonzero(bad)[0])} of Gx x + Gy y <= g is not finite; leave the row out")
        mask = np.asarray(strict)
        if mask.dtype != np.bool_ or mask.shape not in ((), sides.shape):
            raise ShapeError(f"strict is {mask.dtype} of shape {mask.shape}; it must be one bool or ({sides.size},)")
        mask = np.array(np.broadcast_to(mask, sides.shape))
        mask.setflags(write=False)
        for name, value in (("domain", where), ("Gx", inputs), ("Gy", outputs), ("g", sides), ("strict", mask)):
            object.__setattr__(self, name, value)

    @property
    def box(self) -> Box:
        return self.domain.box if isinstance(self.domain, Polytope) else self.domain

    @property
    def n_rows(self) -> int:
        return int(self.g.size)

    def holds(self, x: ArrayLike, y: ArrayLike) -> bool:
        """Whether x lies in the domain and all rows hold at (x, y), in exact arithmetic; not where y is not finite."""
        point, values = (numbers(part, name, ShapeError) for part, name in ((x, "x"), (y, "y")))
        if point.shape != (self.domain.n,) or values.shape != self.Gy.shape[1:]:
            wanted = f"({self.domain.n},) and {self.Gy.shape[1:]}"
            raise ShapeError(f"x and y have the shapes {point.shape} and {values.shape}; they must be {wanted}")
        if not (self.box.contains(point) and np.isfinite(values).all()):  # NaN lies in no box
            return False
        if isinstance(self.domain, Polytope) and not rows_hold([(self.domain.A, point)], self.domain.b):
            return False
        return rows_hold([(self.Gx, point), (self.Gy, values)], self.g, self.strict)

    def __repr__(self) -> str:
        return f"Disjunct({self.domain!r}, {self.n_rows} row{'s' * (self.n_rows != 1)})"


@dataclass(frozen=True, eq=False, init=False)
class Property:
    """What a counterexample is: a point where at least one of `disjuncts` holds.

    `n_inputs` and `n_outputs` are those of the network, and must be given where there are no disjuncts: such a property
    has no counterexample. With `ball`, x must lie in that l1 ball as well; rows are then over outputs alone. Raises
    `ShapeError` where disjuncts are of different sizes.

    >>> unsafe = Property([Disjunct(([0.0], [1.0]), Gy=[[-1.0]], g=[-2.0])])  # y >= 2
    >>> unsafe
    <Property of 1 input and 1 output, 1 disjunct>
    >>> unsafe.violated([1.0], [2.0]), unsafe.violated([1.0], [1.9]), unsafe.violated([1.1], [2.0])
    (True, False, False)
    """

    disjuncts: tuple[Disjunct, ...]
    n_inputs: int
    n_outputs: int
    ball: L1Ball | None

    def __init__(
        self,
        disjuncts: Iterable[Disjunct],
        n_inputs: int | None = None,
        n_outputs: int | None = None,
        ball: L1Ball | None = None,
    ) -> None:
        parts = tuple(disjuncts)
        for k, part in enumerate(parts):
            if not isinstance(part, Disjunct):
                raise OptionError(f"disjunct {k} of the property is of type {type(part).__name__}, not Disjunct")
        if not parts and (n_inputs is None or n_outputs is None):
            raise ShapeError("a property without disjuncts needs n_inputs and n_outputs")
        n_in = parts[0].domain.n if n_inputs is None else int(n_inputs)
        n_out = parts[0].Gy.shape[1] if n_outputs is None else int(n_outputs)
        for k, part in enumerate(parts):
            if (part.domain.n, part.Gy.shape[1]) != (n_in, n_out):
                sizes = f"{part.domain.n} inputs and {part.Gy.shape[1]} outputs"
                raise ShapeError(f"disjunct {k} has {sizes}, the property {n_in} and {n_out}")
            if ball is not None and (isinstance(part.domain, Polytope) or part.Gx.any()):
                raise OptionError(f"disjunct {k} has rows over inputs; beside an l1 ball only boxes are possible")
        if ball is not None and ball.n != n_in:
            raise ShapeError(f"the ball has {ball.n} coordinates, the property {n_in} inputs")
        for name, value in (("disjuncts", parts), ("n_inputs", n_in), ("n_outputs", n_out), ("ball", ball)):
            object.__setattr__(self, name, value)

    def first_violated(self, x: ArrayLike, y: ArrayLike) -> int | None:
        """The position of the first disjunct that holds at x (n_in,), y (n_out,), or None; exactly compared."""
        held = (k for k, disjunct in enumerate(self.disjuncts) if disjunct.holds(x, y))
        k = next(held, None)
        return None if k is not None and self.ball is not None and not self.ball.contains(x) else k

    def violated(self, x: ArrayLike, y: ArrayLike) -> bool:
        """Whether x (n_in,) with the outputs y (n_out,) is a counterexample; exactly compared."""
        return self.first_violated(x, y) is not None

    def check(self, network: Network) -> None:
        """Raise `ShapeError` unless the property is about networks of this size."""
        theirs, ours = (network.n_inputs, network.n_outputs), (self.n_inputs, self.n_outputs)
        if theirs != ours:
            raise ShapeError(
                f"the property is about {ours[0]} inputs and {ours[1]} outputs, the network has {theirs[0]} and "
                f"{theirs[1]}; is it the property of another network?"
            )

    def searched(self, network: Network, k: int) -> tuple[Network, Box | Polytope, Floats]:
        """(network, domain, Gx) of disjunct k over the inputs u that a search splits.

        u is x itself, unless there is a ball: then u = (p, q) and x = center + p - q. `point(u)` gives x.
        """
        self.check(network)
        disjunct = self.disjuncts[k]
        if self.ball is None:
            return network, disjunct.domain, disjunct.Gx
        return self.ball.before(network), self.ball.domain(disjunct.box), np.zeros((disjunct.n_rows, 2 * self.n_inputs))

    def point(self, u: Floats) -> Floats:
        """The network's inputs x (n_in,) for the searched inputs u."""
        return u if self.ball is None else self.ball.point(u)

    def __repr__(self) -> str:
        counts = ((self.n_inputs, "input"), (self.n_outputs, "output"), (len(self.disjuncts), "disjunct"))
        x, y, k = (f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
        return f"<Property of {x} and {y}, {k}{', in an l1 ball' if self.ball else ''}>"


def _pair(domain: Iterable[ArrayLike]) -> Box:
    try:
        lower, upper = domain
    except (TypeError, ValueError):
        raise BoundsError(f"expected a Box, a Polytope or a pair (lower, upper), not {domain!r}") from None
    return Box(lower, upper)


def _frozen(values: ArrayLike, name: str) -> Floats:
    """`values` as a read-only array; one that nobody can write to is shared: disjuncts may be many."""
    array = numbers(values, name, BoundsError)
    if array.flags.writeable or array.base is not None:
        array = np.array(array)
        array.setflags(write=False)
    return array
