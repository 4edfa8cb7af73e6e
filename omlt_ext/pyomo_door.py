"""What Pyomo's factories expect of a solver, whatever it solves with, and of a transformation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pyomo.common.collections import Bunch
from pyomo.core.base.transformation import Transformation
from pyomo.opt import TerminationCondition

Self = TypeVar("Self", bound="PyomoSolver")

TERMINATION = {
    "optimal": TerminationCondition.optimal,
    "infeasible": TerminationCondition.infeasible,
    "unbounded": TerminationCondition.unbounded,
    "infeasible_or_unbounded": TerminationCondition.infeasibleOrUnbounded,
    "time_limit": TerminationCondition.maxTimeLimit,
    "interrupted": TerminationCondition.userInterrupt,
}


class ModelTransformation(Transformation):
    """A transformation whose keywords are not cloned with the model, as Pyomo would: an executor cannot be."""

    def _create_using(self, model: Any, **keywords: Any) -> Any:
        copy = model.clone()
        self._apply_to(copy, **keywords)
        return copy


class PyomoSolver:
    """A solver that needs nothing outside this process; `options` may be given to it and added to before `solve`."""

    options: Bunch

    def take_options(self, defaults: dict[str, Any]) -> dict[str, Any]:
        """Keep the constructor's `options`; return its other keywords."""
        self.options = Bunch()
        for name, value in (defaults.pop("options", None) or {}).items():
            self.options[name] = value
        return renamed({name: value for name, value in defaults.items() if name != "type"})

    def available(self, exception_flag: bool = True) -> bool:
        return True

    def license_is_valid(self) -> bool:
        return True

    def version(self) -> tuple[int, ...]:
        from . import __version__

        return tuple(int(part) for part in __version__.split("."))

    def warm_start_capable(self) -> bool:
        return True

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


def renamed(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords with Pyomo's own name of the time limit replaced by ours.

    >>> renamed({"timelimit": 10})
    {'time_limit': 10}
    """
    return {("time_limit" if name == "timelimit" else name): value for name, value in keywords.items()}
