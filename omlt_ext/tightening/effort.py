"""How hard to tighten: a preset of the ladder, or the fine dials between presets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..domain import Ints
from ..errors import BoundsError, OptionError
from ..network import Bools
from ..propagation.backend import BACKENDS
from ..propagation.interval import Range

LADDER = ("interval", "crown", "dual", "split", "lp", "milp")
ALIASES = {"naive": "interval", "weak": "lp", "strong": "milp"}
SOLVERS = ("highs", "scip", "gurobi")


@dataclass(frozen=True)
class Effort:
    """A rung of the ladder and what each rung on the way to it may spend.

    `rung`: "interval" ("naive" in the literature of optimisation-based bound tightening), "crown", "dual", "split",
    "lp" ("weak") or "milp" ("strong"). Every rung below is climbed first, so bounds nest along the ladder.

    * `steps` of dual ascent (at least 0). `leaves`: into how many parts the split rung divides the box for each bound,
      at least 1; with 1 the rung is left out.
    * `neurons`: "all"; "unstable": only ReLUs whose sign is open (and the last layer); or k: only the k widest of each
      layer. `layers`: only these layers, counted from 0. Both are for the last rung; those below work on all neurons.
      `stop_at_sign`: leave a ReLU alone as soon as its sign is decided, be its bounds wide.
    * `seconds` for the whole run and `seconds_per_solve` for each LP or MILP; None: no limit.
    * `gap`: a MILP ends when its bound lies within gap times the neuron's width of the best point found.
    * `chunk_rows`: neurons that one task works on; None: what suits the rung. A task is what an executor's worker
      gets, and each LP or MILP task starts one model. Results depend on it a little, on the workers not at all.
    * `formulation` of the MILPs; one that has cuts, such as "ideal_cuts", cuts the LPs as well. `solver` of LPs and
      MILPs ("highs", "scip", "gurobi"), `backend` of the dual ascent ("numpy", "numba", "torch") and, for torch,
      its `device`.

    Raises `OptionError` for values outside these ranges, `BoundsError` for an unknown rung.

    >>> Effort("lp", neurons="unstable", seconds=60).rungs
    ('interval', 'crown', 'dual', 'split', 'lp')
    >>> Effort("weak", leaves=1) == Effort("lp", leaves=1)
    True
    """

    rung: str = "dual"
    steps: int = 12
    leaves: int = 32
    neurons: str | int = "all"
    layers: tuple[int, ...] | None = None
    stop_at_sign: bool = False
    seconds: float | None = None
    seconds_per_solve: float | None = None
    gap: float = 1e-3
    chunk_rows: int | None = None
    formulation: str = "bigm"
    solver: str = "highs"
    backend: str = "numpy"
    device: str = "cpu"

    def __post_init__(self) -> None:
        rung = ALIASES.get(self.rung, self.rung) if isinstance(self.rung, str) else self.rung
        if rung not in LADDER:
            names = ", ".join(map(repr, (*LADDER, *ALIASES)))
            raise BoundsError(f"unknown effort {self.rung!r}; choose one of {names}, or an Effort")
        values: dict[str, Any] = {"rung": rung}
        values |= {name: self._whole(name, least) for name, least in (("steps", 0), ("leaves", 1))}
        if self.chunk_rows is not None:
            values["chunk_rows"] = self._whole("chunk_rows", 1)
        if not isinstance(self.neurons, str):
            values["neurons"] = self._whole("neurons", 1)
        elif self.neurons not in ("all", "unstable"):
            raise OptionError(f"neurons is {self.neurons!r}; it must be 'all', 'unstable' or a number of neurons")
        if self.layers is not None:
            layers = tuple(self.layers) if isinstance(self.layers, Iterable) else (self.layers,)
            if not all(isinstance(k, Integral) and k >= 0 for k in layers):
                raise OptionError(f"layers is {self.layers!r}; it must be numbers of layers, counted from 0")
            values["layers"] = tuple(int(k) for k in layers)
        if not isinstance(self.stop_at_sign, bool | np.bool_):
            raise OptionError(f"stop_at_sign is {self.stop_at_sign!r}; it must be True or False")
        values["stop_at_sign"] = bool(self.stop_at_sign)
        values |= {name: self._limit(name) for name in ("seconds", "seconds_per_solve")}
        values["gap"] = self._number("gap")
        for name, known in (("solver", SOLVERS), ("backend", BACKENDS)):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(map(repr, known))}")
        for name, value in values.items():  # plain numbers of Python: efforts are compared, and written into files
            object.__setattr__(self, name, value)

    def _whole(self, name: str, least: int) -> int:
        value: Any = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {least}")
        return int(value)

    def _number(self, name: str) -> float:
        value: Any = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0.0:
            raise OptionError(f"{name} is {value!r}; it must be a number of at least 0")
        return float(value)

    def _limit(self, name: str) -> float | None:
        """Seconds, None also for an infinite limit."""
        limit = None if getattr(self, name) is None else self._number(name)
        return None if limit == np.inf else limit

    @classmethod
    def of(cls, effort: str | Effort) -> Effort:
        """An `Effort` from a preset's name, or the object itself."""
        return effort if isinstance(effort, Effort) else cls(effort)

    @property
    def rungs(self) -> tuple[str, ...]:
        """The rungs that are climbed, from the lowest on."""
        climbed = LADDER[: LADDER.index(self.rung) + 1]
        return tuple(rung for rung in climbed if rung != "split" or self.leaves > 1)

    def within(self, seconds: float | None) -> Effort:
        """The same effort, ended after `seconds` at the latest."""
        limits = [limit for limit in (self.seconds, replace(self, seconds=seconds).seconds) if limit is not None]
        return replace(self, seconds=min(limits, default=None))

    def select(self, rung: str, k: int, z: Range, relu: Bools, *, last: bool) -> Ints:
        """The neurons of layer k that a rung works on, given what is known of them."""
        top = rung == self.rung
        if top and self.layers is not None and k not in self.layers:
            return np.empty(0, dtype=np.int64)
        width = z.upper - z.lower
        open_ = relu & (z.lower < 0.0) & (z.upper > 0.0)
        chosen = width > 0.0
        if self.stop_at_sign:
            chosen &= open_ | ~relu
        if top and self.neurons == "unstable" and not last:
            chosen &= open_
        at = np.flatnonzero(chosen)
        if top and isinstance(self.neurons, int) and at.size > self.neurons:
            at = np.sort(at[np.argsort(-width[at], kind="stable")[: self.neurons]])
        return at
