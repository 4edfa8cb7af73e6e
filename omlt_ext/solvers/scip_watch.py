"""SCIP's events as a `Watch`: new points and bounds while a solve runs; pyscipopt has to be there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..domain import Floats
from .scip_model import INFINITE
from .seam import Watch


def watcher() -> Any:
    """An event handler that tells a `Watch` of points and bounds; what the watch raises comes out of `end`."""
    import pyscipopt

    events: Any = pyscipopt.SCIP_EVENTTYPE
    kinds = (events.BESTSOLFOUND, events.LPSOLVED, events.NODESOLVED)

    class Watcher(pyscipopt.Eventhdlr):  # type: ignore[misc, name-defined, unused-ignore]
        watch: Watch | None = None
        stopped = False
        caught: tuple[Any, ...] = ()
        error: BaseException | None = None

        def begin(self, x: list[Any], scaling: Floats, watch: Watch | None) -> None:
            self.x, self.scaling, self.watch, self.stopped, self.error = x, scaling, watch, False, None

        def end(self) -> None:
            self.x, self.watch, error, self.error = [], None, self.error, None
            if error is not None:
                raise error

        def eventinit(self) -> None:
            self.caught = () if self.watch is None else kinds
            for event in self.caught:
                self.model.catchEvent(event, self)

        def eventexit(self) -> None:
            for event in self.caught:
                self.model.dropEvent(event, self)

        def eventexec(self, event: Any) -> None:
            if self.watch is None or self.stopped:
                return
            point = None
            if event.getType() == events.BESTSOLFOUND:
                best = self.model.getBestSol()
                point = np.array([self.model.getSolVal(best, variable) for variable in self.x]) * self.scaling
            bound = float(self.model.getDualbound())
            try:
                enough = self.watch(point, bound if abs(bound) < INFINITE else float(np.copysign(np.inf, bound)))
            except BaseException as error:  # SCIP's C code cannot pass it on
                self.error, enough = error, True
            if enough:
                self.stopped = True
                self.model.interruptSolve()

    return Watcher()
