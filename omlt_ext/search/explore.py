"""The search of an exact method, for a maximum and for a counterexample: root bounds, climbs for points, a tree.

Symbols: t the target; trees minimise -t. What is found goes into an `Incumbent`, which says how large t has to be to be
worth a look, and when there is nothing left to find or prove.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from ..bounds import METHODS, Bounds
from ..domain import Box, Floats, Polytope
from ..errors import InfeasibleError
from ..network import Network
from ..propagation.backend import Backend
from ..propagation.emptiness import is_empty
from ..tightening import Effort, tighten_bounds
from .box_tree import BoxTree
from .heuristic import heuristic
from .incumbent import Incumbent
from .race import Race, Tree
from .relu_tree import ReluTree
from .shared_tree import Lender, SharedTree
from .target import Target

SPLITS = ("auto", "relu", "input")
CLIMB = "gradient_ascent"
FIRST = 16  # batches before the second climb
FEW, SEVERAL = 7, 14  # inputs up to which boxes come first, and up to which they come at all
HEAD = 1e9  # multiplications of the first tree before another way is tried as well
MEMORY = 2**31  # bytes of a tree's open nodes
AGAIN = 4  # each later one comes after so many times more batches than the one before


def explore(
    target: Target,
    incumbent: Incumbent,
    rng: np.random.Generator,
    effort: str | Effort,
    split: str,
    executor: Executor | None = None,
    backend: Backend | None = None,
    *,
    climbed: bool = False,
) -> None:
    """Prove the maximum of t into `incumbent`, whose problem's value is t; until it has enough or its time is over.

    Where its point has been `climbed` for already, the first round of ascent is left out.
    """
    try:
        bounds = root_bounds(target.network, target.domain, effort, incumbent.left)
    except InfeasibleError:
        incumbent.stopped_by = "infeasible"
        return
    incumbent.prove(float(bounds.upper[-1][0]), rigorous=not by_solver(bounds))
    if not climbed:
        climb(incumbent, rng)
    if incumbent.v is None and isinstance(target.domain, Polytope) and is_empty(target.domain):
        incumbent.stopped_by = "infeasible"
        return
    Exploration(target, bounds, incumbent, rng, split, executor=executor, backend=backend).run()
    if incumbent.v is None and incumbent.bound == -np.inf:
        incumbent.stopped_by = "infeasible"


def climb(incumbent: Incumbent, rng: np.random.Generator) -> None:
    """One round of ascent for a better point."""
    if incumbent.goes_on():
        heuristic(CLIMB).search(incumbent.problem, incumbent, rng, 1)


class Exploration:
    """A tree for max t, given bounds of the target's neurons, and climbs now and then; `run` goes on where it was."""

    def __init__(
        self,
        target: Target,
        bounds: Bounds,
        incumbent: Incumbent,
        rng: np.random.Generator,
        split: str = "auto",
        limit_bytes: int = MEMORY,
        executor: Executor | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.incumbent, self.rng = incumbent, rng
        ways = suited(target, split)
        room = limit_bytes // len(ways)

        def plant(way: str) -> Tree:
            if way == "input":
                tree: Lender = BoxTree(target, bounds, room)
            else:
                tree = ReluTree(target, bounds, backend, room, left=lambda: incumbent.left)
            return tree if executor is None else SharedTree(tree, incumbent, executor)

        first = plant(ways[0])
        self.tree = Race(first, lambda: plant(ways[1]), HEAD) if len(ways) > 1 else first
        self.sound = not by_solver(bounds)
        self.before = incumbent.nodes
        self.batches, self.next_climb = 0, FIRST
        self._tell()

    def run(self, nodes: float = np.inf) -> None:
        """Grow the tree, by about so many `nodes`, until it is done or the incumbent has enough."""
        end = self.tree.nodes + nodes
        while self.incumbent.goes_on() and not self.tree.done and self.tree.nodes < end:
            self.tree.grow(-self.incumbent.worth, self._offer)
            self._tell()
            self.batches += 1
            if self.batches == self.next_climb:
                self.next_climb *= AGAIN
                climb(self.incumbent, self.rng)

    def _tell(self) -> None:
        self.incumbent.nodes = self.before + self.tree.nodes
        self.incumbent.prove(self.tree.bound, rigorous=self.sound and self.tree.lps == 0)
        self.incumbent.show()

    @property
    def done(self) -> bool:
        """Whether the tree has nothing left to split."""
        return self.tree.done

    def _offer(self, points: Floats) -> float:
        self.incumbent.offer(points)
        return -self.incumbent.worth


def root_bounds(
    network: Network, domain: Box | Polytope, effort: str | Effort, left: float | None, known: Bounds | None = None
) -> Bounds:
    """`tighten_bounds` in `left` seconds; Ctrl-C, which it answers with what it has, ends the search that asked."""
    bounds = tighten_bounds(network, domain, effort, bounds=known, time_limit=left)
    if any("Ctrl-C" in note for note in bounds.notes):
        raise KeyboardInterrupt
    return bounds


def by_solver(bounds: Bounds) -> bool:
    """Whether some bound rests on a MILP solver's tolerances."""
    code = METHODS.index("milp")
    return any(bool((codes == code).any()) for codes in (*bounds.lower_method, *bounds.upper_method))


def suited(target: Target, split: str) -> tuple[str, ...]:
    """The ways of splitting that are tried: the one that suits first, another one where the first does not end soon.

    Few inputs of nonzero width ask for boxes, which may never end along plateaus of t. Signs suit more of them, but not
    where few directions matter, as in some trained networks of several layers; and with many there are only signs.
    """
    if split != "auto":
        return (split,)
    box = target.domain.box if isinstance(target.domain, Polytope) else target.domain
    free = int((box.width > 0.0).sum())
    if free <= FEW:
        return "input", "relu"
    rows = target.network if target.rows is None else target.rows
    deep = sum(bool(layer.relu.any()) for layer in rows.layers) > 1
    return ("relu", "input") if deep and free <= SEVERAL else ("relu",)
