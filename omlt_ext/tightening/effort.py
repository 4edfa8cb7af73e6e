"""How hard to tighten: a preset of the ladder, or the fine dials between presets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..encoding import Ints
from ..errors import BoundsError, OptionError
from ..network import Bools
from ..propagation.interval import Range

LADDER = ("interval", "crown", "dual", "split", "lp", "milp")
ALIASES = {"naive": "interval", "weak": "lp", "strong": "milp"}
SOLVERS = ("highs", "gurobi")
BACKENDS = ("numpy", "torch")


@dataclass(frozen=True)
class Effort:
    """A rung of the ladder and what each rung on the way to it may spend.

    `rung`: "interval" ("naive" in the literature of optimisation-based bound tightening), "crown", "dual", "split",
    "lp" ("weak") or "milp" ("strong"). Every rung below is climbed first, so bounds nest along the ladder.

    * `steps` of dual ascent (at least 0). `leaves`: into how many parts the split rung divides the box for each bound,
      at least 1; with 1 the rung is left out.
    * `neurons`: "all"; "unstable": only ReLUs whose sign is open (and the last layer); or k: only the k widest of each
      layer. `layers`: only these layers, counted from 0. Both apply from the rung "dual" on: what is below costs
      nothing to speak of. `stop_at_sign`: leave a ReLU alone as soon as its sign is decided.
    * `seconds` for the whole run and `seconds_per_solve` for each LP or MILP; None: no limit.
    * `gap`: a MILP ends when its bound lies within gap times the neuron's width of the best point found.
    * `chunk_rows`: neurons that one task works on; None: what suits the rung. A task is what an executor's worker
      gets, and each LP task starts one model. Results depend on it to rounding, on the workers not at all.
    * `formulation` of the MILPs, `solver` of LPs and MILPs ("highs", "gurobi"), `backend` of the dual ascent
      ("numpy", "torch") and, for torch, its `device`.

    Raises `OptionError` for values outside these ranges, `BoundsError` for an unknown rung.

    >>> Effort("lp", neurons="unstable", seconds=60).rungs
    ('interval', 'crown', 'dual', 'split', 'lp')
    >>> Effort("weak", leaves=1) == Effort("lp", leaves=1)
    True
    """

    rung: str = "dual"
    steps: int = 20
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
        object.__setattr__(self, "rung", rung)
        self._check_whole("steps", 0)
        self._check_whole("leaves", 1)
        if self.chunk_rows is not None:
            self._check_whole("chunk_rows", 1)
        if isinstance(self.neurons, str | bool):
            if self.neurons not in ("all", "unstable"):
                raise OptionError(f"neurons is {self.neurons!r}; it must be 'all', 'unstable' or a number of neurons")
        else:
            self._check_whole("neurons", 1)
        if self.layers is not None:
            layers = tuple(self.layers) if isinstance(self.layers, Iterable) else (self.layers,)
            if not all(isinstance(k, Integral) and k >= 0 for k in layers):
                raise OptionError(f"layers is {self.layers!r}; it must be numbers of layers, counted from 0")
            object.__setattr__(self, "layers", tuple(int(k) for k in layers))
        for name in ("seconds", "seconds_per_solve", "gap"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and value >= 0.0):
                raise OptionError(f"{name} is {value!r}; it must be a number of at least 0")
        for name, known in (("solver", SOLVERS), ("backend", BACKENDS)):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(map(repr, known))}")

    def _check_whole(self, name: str, least: int) -> None:
        value: Any = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise OptionError(f"{name} is {value!r}; it must be a whole number of at least {least}")

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
        limits = [limit for limit in (self.seconds, seconds) if limit is not None]
        return replace(self, seconds=min(limits, default=None))

    def select(self, k: int, z: Range, relu: Bools, *, last: bool) -> Ints:
        """The neurons of layer k that are worked on, given what is known of them."""
        if self.layers is not None and k not in self.layers:
            return np.empty(0, dtype=np.int64)
        width = z.upper - z.lower
        chosen = width > 0.0
        if not last and (self.stop_at_sign or self.neurons == "unstable"):
            unstable = relu & (z.lower < 0.0) & (z.upper > 0.0)
            chosen &= unstable if self.neurons == "unstable" else unstable | ~relu
        at = np.flatnonzero(chosen)
        if isinstance(self.neurons, int) and at.size > self.neurons:
            at = np.sort(at[np.argsort(-width[at], kind="stable")[: self.neurons]])
        return at
