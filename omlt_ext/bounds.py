"""Bounds: what interval arithmetic, CROWN, LPs and MILPs produce and what formulations consume.

For layer k, lower[k] <= z^k <= upper[k] holds for the pre-activations z^k at every x of the domain. Each side of each
neuron carries the method that gave it, each neuron the seconds spent on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .archive import read_archive, write_archive
from .domain import Box, Floats, Polytope, as_box, check_interval, numbers
from .errors import BoundsError, OptionError, ReadError, ShapeError
from .network import Bools, Network

REMEDY = "; tighten_bounds(network, box) gives bounds that hold"
METHODS = ("given", "interval", "crown", "dual", "split", "lp", "milp", "feasibility")
Codes = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower and upper bounds of every pre-activation of a network over a box.

    `lower[k]` and `upper[k]` have shape (n_k,). `relu[k]` is the layer's mask of ReLU neurons: only those can be
    unstable. `box` is where the bounds hold. `lower_method[k]` and `upper_method[k]` index `METHODS`. Build them with
    `Bounds.of`, which checks them; a missing, infinite or crossed bound raises `BoundsError` naming layer and neuron.
    `seconds[k]` (n_k,) is the time spent on each neuron. Where `polytope` is given, the bounds hold on that part of the
    box only. `notes` say why a run ended early and what it lost; none if it did all it was asked.

    >>> from omlt_ext import Box, Layer, Network
    >>> network = Network([Layer([[1.0], [1.0], [1.0]], [0.0, 2.0, -2.0], relu=True)])
    >>> bounds = Bounds.of(network, Box([-1], [1]), lower=[[-1, 1, -3]], upper=[[1, 3, -1]])
    >>> bounds.unstable, bounds.stable_active, bounds.stable_inactive
    ((array([ True, False, False]),), (array([False,  True, False]),), (array([False, False,  True]),))
    """

    lower: tuple[Floats, ...]
    upper: tuple[Floats, ...]
    relu: tuple[Bools, ...]
    box: Box
    lower_method: tuple[Codes, ...]
    upper_method: tuple[Codes, ...]
    seconds: tuple[Floats, ...]
    polytope: Polytope | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        network: Network,
        box: Box,
        lower: Sequence[ArrayLike],
        upper: Sequence[ArrayLike],
        method: str = "given",
        *,
        polytope: Polytope | None = None,
    ) -> Bounds:
        """Checked bounds for `network` over `box`, or the part of it in `polytope`; all are marked with `method`."""
        if not len(lower) == len(upper) == len(network.layers):
            counts = f"{len(lower)} lower and {len(upper)} upper"
            raise ShapeError(f"{counts} layers of bounds for a network of {len(network.layers)} layers")
        box = as_box(box, network.n_inputs)
        if method not in METHODS:
            raise OptionError(f"method {method!r} is none of {', '.join(METHODS)}")
        ends: list[list[Floats]] = []
        for side in (lower, upper):
            arrays = [np.array(numbers(v, f"a bound of layer {k}", BoundsError)) for k, v in enumerate(side)]
            for k, (values, layer) in enumerate(zip(arrays, network.layers, strict=True)):
                if values.shape != (layer.n_out,):
                    raise ShapeError(f"bounds of layer {k} have shape {values.shape}, not ({layer.n_out},)")
                values.setflags(write=False)
            ends.append(arrays)
        for k, (lo, hi) in enumerate(zip(*ends, strict=True)):
            check_interval(lo, hi, lambda j, k=k: f"layer {k}, neuron {j}", REMEDY)
        code = METHODS.index(method)
        codes = tuple(_frozen(np.full(layer.n_out, code, dtype=np.int8)) for layer in network.layers)
        polytope = None if polytope is None else polytope.within(box)
        relu = tuple(layer.relu for layer in network.layers)
        seconds = tuple(_frozen(np.zeros(layer.n_out)) for layer in network.layers)
        return cls(tuple(ends[0]), tuple(ends[1]), relu, box, codes, codes, seconds, polytope)

    @property
    def stable_active(self) -> tuple[Bools, ...]:
        """ReLUs with l >= 0: h = z everywhere in the box."""
        return tuple(mask & (lo >= 0) for mask, lo in zip(self.relu, self.lower, strict=True))

    @property
    def stable_inactive(self) -> tuple[Bools, ...]:
        """ReLUs with u <= 0 (and not l >= 0): h = 0 everywhere in the box."""
        sides = zip(self.relu, self.lower, self.upper, strict=True)
        return tuple(mask & (hi <= 0) & (lo < 0) for mask, lo, hi in sides)

    @property
    def unstable(self) -> tuple[Bools, ...]:
        """ReLUs with l < 0 < u: these need a binary variable."""
        sides = zip(self.relu, self.lower, self.upper, strict=True)
        return tuple(mask & (lo < 0) & (hi > 0) for mask, lo, hi in sides)

    @property
    def n_unstable(self) -> int:
        return sum(int(mask.sum()) for mask in self.unstable)

    def width(self) -> tuple[Floats, ...]:
        """u - l of every neuron, layer by layer."""
        return tuple(hi - lo for lo, hi in zip(self.lower, self.upper, strict=True))

    def intersect(self, other: Bounds) -> Bounds:
        """The tighter of both, side by side, each with the method that gave it.

        The result holds on the common part of both domains. Crossed ends by rounding alone cannot happen with outward
        rounded bounds; where they do cross, one of the two was invalid and `BoundsError` says where.
        """
        if len(self.relu) != len(other.relu) or not all(map(np.array_equal, self.relu, other.relu)):
            raise ShapeError("only bounds of the same network can be intersected")
        lower, upper, low_by, high_by, seconds = [], [], [], [], []
        for k in range(len(self.lower)):
            higher = other.lower[k] > self.lower[k]
            tighter = other.upper[k] < self.upper[k]
            lower.append(_frozen(np.where(higher, other.lower[k], self.lower[k])))
            upper.append(_frozen(np.where(tighter, other.upper[k], self.upper[k])))
            low_by.append(_frozen(np.where(higher, other.lower_method[k], self.lower_method[k])))
            high_by.append(_frozen(np.where(tighter, other.upper_method[k], self.upper_method[k])))
            seconds.append(_frozen(self.seconds[k] + other.seconds[k]))
            check_interval(lower[-1], upper[-1], lambda j, k=k: f"layer {k}, neuron {j}")
        box = self.box if self.box is other.box else self.box.intersect(other.box)
        polytopes = [bounds.polytope for bounds in (self, other) if bounds.polytope is not None]
        if len(polytopes) == 2 and polytopes[0].same(polytopes[1]):
            polytopes.pop()
        A, b = ([getattr(polytope, name) for polytope in polytopes] for name in ("A", "b"))
        polytope = Polytope(box, np.concatenate(A), np.concatenate(b)) if polytopes else None
        notes = self.notes + tuple(note for note in other.notes if note not in self.notes)
        sides, methods = (tuple(lower), tuple(upper)), (tuple(low_by), tuple(high_by))
        return Bounds(*sides, self.relu, box, *methods, tuple(seconds), polytope, notes)

    def to_frame(self) -> pd.DataFrame:
        """One row a neuron: layer, neuron, relu, lower, upper, state, lower_method, upper_method, seconds."""
        names = np.array(METHODS)
        parts = []
        for k, mask in enumerate(self.relu):
            state = np.select(
                [~mask, self.stable_active[k], self.stable_inactive[k]],
                ["linear", "active", "inactive"],
                "unstable",
            )
            columns = {
                "layer": k,
                "neuron": np.arange(mask.size),
                "relu": mask,
                "lower": self.lower[k],
                "upper": self.upper[k],
                "state": state,
                "lower_method": names[self.lower_method[k]],
                "upper_method": names[self.upper_method[k]],
                "seconds": self.seconds[k],
            }
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> str:
        """Per layer: neurons, states and mean width, as text."""
        lines = ["  layer  neurons  linear  active  inactive  unstable  mean width"]
        for k, mask in enumerate(self.relu):
            counts = [mask.size, int((~mask).sum()), int(self.stable_active[k].sum())]
            counts += [int(self.stable_inactive[k].sum()), int(self.unstable[k].sum())]
            n, linear, active, inactive, unstable = counts
            width = float(np.mean(self.upper[k] - self.lower[k]))
            lines.append(f"  {k:5d}  {n:7d}  {linear:6d}  {active:6d}  {inactive:8d}  {unstable:8d}  {width:10.4g}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """A matplotlib `Figure`: for each layer its neurons' intervals, sorted, coloured by state.

        Raises `MissingDependencyError` without matplotlib (the extra `plot`).
        """
        from .bounds_plot import plot

        return plot(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write to a NumPy archive (.npz) that `Bounds.load` reads back, bit for bit."""
        write_archive(path, self.arrays())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `save` writes, by name."""
        arrays: dict[str, NDArray[Any]] = {"box_lower": self.box.lower, "box_upper": self.box.upper}
        arrays["notes"] = np.array(self.notes, dtype=np.str_)
        if self.polytope is not None:
            arrays |= {"polytope_A": self.polytope.A, "polytope_b": self.polytope.b}
        for k in range(len(self.lower)):
            arrays |= {f"lower_{k}": self.lower[k], f"upper_{k}": self.upper[k], f"relu_{k}": self.relu[k]}
            arrays |= {f"lower_method_{k}": self.lower_method[k], f"upper_method_{k}": self.upper_method[k]}
            arrays[f"seconds_{k}"] = self.seconds[k]
        return arrays

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Bounds:
        """Read what `save` wrote; `ReadError` for anything else."""
        file = read_archive(path)
        depth = sum(name.startswith("relu_") for name in file)
        if depth == 0:
            raise ReadError(f"{path}: not a file of bounds (it holds no layer)")
        kinds = {"lower": "f8", "upper": "f8", "relu": "?", "lower_method": "i1", "upper_method": "i1", "seconds": "f8"}
        for k in range(depth):  # older files know no times
            file.setdefault(f"seconds_{k}", np.zeros(np.shape(file.get(f"relu_{k}", ()))))
        try:
            columns = {g: tuple(_frozen(file[f"{g}_{k}"]) for k in range(depth)) for g in kinds}
            box = Box(file["box_lower"], file["box_upper"])
            polytope = Polytope(box, file["polytope_A"], file["polytope_b"]) if "polytope_A" in file else None
            notes = tuple(map(str, file.get("notes", np.empty(0)).tolist()))
        except (KeyError, ValueError) as error:
            raise ReadError(f"{path}: not a file of bounds ({error})") from None
        for k, relu in enumerate(columns["relu"]):
            fits = relu.ndim == 1 and all(columns[g][k].shape == relu.shape for g in kinds)
            codes = np.stack([columns[g][k] for g in kinds if g.endswith("method")]) if fits else np.zeros(0)
            known = ((codes >= 0) & (codes < len(METHODS))).all()
            if not (fits and known and all(columns[g][k].dtype == np.dtype(kind) for g, kind in kinds.items())):
                raise ReadError(f"{path}: the arrays of layer {k} do not belong together; the file is damaged")
        for k, (lo, hi) in enumerate(zip(columns["lower"], columns["upper"], strict=True)):
            check_interval(lo, hi, lambda j, k=k: f"{path}: layer {k}, neuron {j}")
        return cls(box=box, polytope=polytope, notes=notes, **columns)

    def part(self, layers: slice, box: Box, polytope: Polytope | None = None) -> Bounds:
        """The bounds of some layers, as those of a network of its own whose inputs live in `box` or `polytope`."""
        names = ("lower", "upper", "relu", "lower_method", "upper_method", "seconds")
        cut = {name: getattr(self, name)[layers] for name in names}
        return Bounds(box=box, polytope=polytope, notes=self.notes, **cut)

    @property
    def domain(self) -> Box | Polytope:
        """Where the bounds hold."""
        return self.box if self.polytope is None else self.polytope

    def check_network(self, network: Network) -> None:
        """Raise `BoundsError` unless these are bounds for a network of this shape."""
        if len(self.relu) != len(network.layers) or any(
            not np.array_equal(mask, layer.relu) for mask, layer in zip(self.relu, network.layers, strict=True)
        ):
            raise BoundsError(f"these bounds belong to another network than {network!r}")

    def __deepcopy__(self, memo: object) -> Bounds:
        return self  # frozen

    def __setstate__(self, state: dict[str, Any]) -> None:
        for arrays in state.values():
            for array in arrays if type(arrays) is tuple else ():
                array.setflags(write=False)  # pickled arrays come back writable
        self.__dict__.update(state)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
