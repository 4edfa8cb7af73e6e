"""Disjuncts as trees search them: targets, and bounds at the roots, of which disjuncts over one domain share the most.

Symbols: t_k = min_i (g_i - Gx_i x - Gy_i f(x)) over the rows i of disjunct k. The rows of all disjuncts with the same
domain are the outputs of one network; so all layers before are bounded once.

A linear last layer W h + b is folded into the rows. Their weights -Gy W and sides g - Gy b are rounded then, as sums of
n_out products and one number more, so that a slack is off by at most gamma(n_out + 2) (|Gy| (|W| |h| + |b|) + |g|), and
by that of |Gx| |x| where there is no other layer. A proof has to reach below that, the disjunct's *margin*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..bounds import Bounds
from ..domain import Box, Floats, Polytope
from ..errors import InfeasibleError
from ..network import Layer, Network
from ..propagation.emptiness import is_empty
from ..propagation.interval import activation_range, affine_range, collect, given
from ..propagation.one_row import crown_one_row
from ..propagation.rounding import TINY, absolute_product, gamma
from ..search.explore import root_bounds
from ..search.target import Target, with_rows
from ..tightening import Effort
from .inside import inner_point
from .property import Property


class Roots:
    """Disjuncts `members` over one domain; `rows` is the network of their slacks, those of disjunct k at `at[k]`.

    `bounds` are those of `rows`, as far as they are known; `empty`: the domain is seen to hold no point. `domain` is
    one that holds those of all members, where they differ.
    """

    def __init__(self, network: Network, property: Property, members: Sequence[int], domain: Box | None = None) -> None:
        self.members = tuple(members)
        self.searched, own, self.Gx = property.searched(network, members[0])
        self.domain = own if domain is None else domain
        parts = [_rows(property, k) for k in members]
        self.Gy, self.g = (np.concatenate(part) for part in zip(*parts, strict=True))
        if self.Gx.shape[0] != self.g.size:  # several disjuncts, all with Gx = 0, or one without rows
            self.Gx = np.zeros((self.g.size, self.searched.n_inputs))
        self.rows = Network(with_rows(self.searched, -self.Gx, -self.Gy, self.g))
        ends = np.cumsum([0, *(g.size for _, g in parts)]).tolist()
        self.at = {k: slice(a, b) for k, a, b in zip(members, ends, ends[1:], strict=False)}
        self.bounds: Bounds | None = None
        self.effort: str | Effort | None = None  # that gave them
        self.empty = False

    def tighten(self, effort: str | Effort, left: float | None) -> None:
        """Bounds of the rows, starting from those that are known."""
        if effort == self.effort:
            return
        first = self.effort is None
        if first and isinstance(self.domain, Polytope) and self.domain.b.size > 1 and self.inner is None:
            self.empty = is_empty(self.domain)  # what a single row excludes, the bounds see
        try:
            self.bounds, self.effort = root_bounds(self.rows, self.domain, effort, left, self.bounds), effort
            if effort == "crown" and isinstance(self.domain, Polytope) and self.domain.b.size == 1:
                self.bounds = crown_one_row(self.rows, self.bounds)
        except InfeasibleError:
            self.empty = True

    @cached_property
    def inner(self) -> Floats | None:
        """A point well inside a polytope, if it has one."""
        return inner_point(self.domain) if isinstance(self.domain, Polytope) else None

    def bound(self, k: int) -> float:
        """At least the largest t of disjunct k, up to its margin."""
        if self.empty:
            return -np.inf
        return np.inf if self.bounds is None else float(self.bounds.upper[-1][self.at[k]].min())

    def margin(self, k: int) -> float:
        """How far from t_k that of the target can be, by the rounding of its weights."""
        last, at, bounds = self.searched.layers[-1], self.at[k], self.bounds
        if last.relu.any() or bounds is None:
            return 0.0
        Gy, size = np.abs(self.Gy[at]), np.abs(self.g[at])
        before = len(self.searched.layers) - 2
        if before >= 0:
            p, q = activation_range(self.rows.layers[before], given(bounds, before))
        else:
            p, q = bounds.box.lower, bounds.box.upper
            size = size + np.abs(self.Gx[at]) @ np.maximum(np.abs(p), np.abs(q))
        h = np.maximum(np.abs(p), np.abs(q))[: last.n_in]
        size = size + Gy @ (absolute_product(last.weight, h) + np.abs(last.bias))
        n = last.n_out + 2.0
        return float((gamma(n) * size).max()) + TINY * n * (last.n_in + 1.0) * (1.0 + float(h.sum()))

    def target(self, k: int) -> Target:
        """max t_k."""
        *layers, last = self.rows.layers
        at = self.at[k]
        return Target.minimum(Network([*layers, Layer(last.weight[at], last.bias[at], relu=False)]), self.domain)

    def target_bounds(self, target: Target, k: int, effort: str | Effort, left: float | None) -> Bounds:
        """Bounds of all layers of a target: those of the rows, and of the layers that make a minimum of them."""
        assert self.bounds is not None
        ranges = [given(self.bounds, i) for i in range(len(self.rows.layers))]
        ranges[-1] = ranges[-1].take(np.arange(self.rows.n_outputs)[self.at[k]])
        known = len(ranges)
        layers = target.network.layers
        for before, layer in zip(layers[known - 1 :], layers[known:], strict=False):
            ranges.append(affine_range(layer, *activation_range(before, ranges[-1])))
        polytope = self.domain if isinstance(self.domain, Polytope) else None
        bounds = collect(ranges, target.network, self.bounds.box, polytope)
        chosen = Effort.of(effort)
        if known == len(layers) or chosen.rung in ("interval", "crown"):
            return bounds
        new = replace(chosen, rung="dual", layers=tuple(range(known, len(layers))))
        return root_bounds(target.network, self.domain, new, left, bounds)


def shared_roots(network: Network, property: Property, members: Iterable[int]) -> Iterator[Roots]:
    """The disjuncts `members`: those with the same domain together; those with rows over inputs alone."""
    groups: dict[object, list[int]] = {}
    for k in members:
        disjunct = property.disjuncts[k]
        groups.setdefault(k if disjunct.Gx.any() else _key(disjunct.domain), []).append(k)
    for members in groups.values():
        yield Roots(network, property, members)


def _key(domain: Box | Polytope) -> tuple[bytes, ...]:
    box = domain.box if isinstance(domain, Polytope) else domain
    rows = (domain.A.tobytes(), domain.b.tobytes()) if isinstance(domain, Polytope) else ()
    return box.lower.tobytes(), box.upper.tobytes(), *rows


def _rows(property: Property, k: int) -> tuple[Floats, Floats]:
    """(Gy, g) of disjunct k; where it has no rows, one that always holds, 0 <= 1."""
    disjunct = property.disjuncts[k]
    if disjunct.n_rows == 0:
        return np.zeros((1, property.n_outputs)), np.ones(1)
    return disjunct.Gy, disjunct.g


def above(bound: float, margin: float) -> float:
    """A float that is at least bound + margin."""
    return float(np.nextafter(bound + margin, np.inf)) if margin > 0.0 else bound
