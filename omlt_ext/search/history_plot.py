"""A picture of a search: the value of the best point and the bound, as they were at each time."""

from __future__ import annotations

import importlib.util
from typing import Any

import pandas as pd

from ..errors import MissingDependencyError


def plot_history(history: pd.DataFrame, *, title: str = "", label: str = "objective") -> Any:
    """A matplotlib `Figure` of a history (seconds, value, bound): both as steps over time.

    The figure belongs to no window: show it in a notebook, or save it with `savefig`. Raises `MissingDependencyError`
    without matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("plots need matplotlib; install it with: pip install 'omlt-ext[plot]'")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, color in (("bound", "tab:red"), ("value", "tab:blue")):
        axes.step(history.seconds, history[name], where="post", label=name, color=color)
    axes.set(xlabel="seconds", ylabel=label, title=title)
    axes.legend()
    return figure
