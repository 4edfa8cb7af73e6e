"""Components found by name: through entry points, so that another package can add one without touching this one."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from .encoding import Formulation
from .errors import FormulationError, OmltExtError, OptionError

FORMULATIONS = "omlt_ext.formulations"
HEURISTICS = "omlt_ext.heuristics"
PRUNING = "omlt_ext.pruning"


@cache
def names(group: str) -> tuple[str, ...]:
    """The names that installed packages register in an entry-point group."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


@cache
def load(group: str, name: str) -> Any:
    """The object that a package registered as `name` in `group`; `OmltExtError` lists the names there are."""
    found = [point for point in entry_points(group=group) if point.name == name]
    if not found:
        raise OmltExtError(f"no {name!r} in the group {group!r}; installed: {', '.join(names(group)) or 'none'}")
    return found[0].load()


def component(group: str, choice: object, what: str, needs: str) -> Any:
    """The object of `group` that is called `choice`, made with its defaults, or the object itself.

    `what` it is called in messages, and the method that it `needs`, written as "prune(task)". Raises `OptionError` for
    an unknown name and for an object without that method.
    """
    if isinstance(choice, str):
        if choice not in names(group):
            known = ", ".join(map(repr, names(group))) or "none"
            raise OptionError(f"unknown {what} {choice!r}; choose one of {known}")
        return load(group, choice)()
    if isinstance(choice, type) or not callable(getattr(choice, needs.partition("(")[0], None)):
        raise OptionError(f"{choice!r} is no {what}: it needs a method {needs}")
    return choice


def formulation(choice: str | Formulation) -> Formulation:
    """A formulation by name ("bigm") or the object itself.

    >>> formulation("bigm")
    BigM()
    >>> formulation("hexagon")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    omlt_ext.errors.FormulationError: no formulation named 'hexagon'; installed: ...bigm...
    """
    if not isinstance(choice, str):
        complete = callable(getattr(choice, "encode", None)) and isinstance(getattr(choice, "name", None), str)
        if not complete or isinstance(choice, type):
            raise FormulationError(f"{choice!r} is no formulation: it needs a name and a method encode(layer, bounds)")
        return choice
    if choice not in names(FORMULATIONS):
        known = ", ".join(names(FORMULATIONS)) or "none"
        raise FormulationError(f"no formulation named {choice!r}; installed: {known}")
    made: Formulation = load(FORMULATIONS, choice)()
    return made
