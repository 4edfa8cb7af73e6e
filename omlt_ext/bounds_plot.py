"""A picture of bounds: where the neurons of each layer may be, and which of them are decided."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import MissingDependencyError

if TYPE_CHECKING:
    from .bounds import Bounds

COLOURS = {"inactive": "tab:blue", "unstable": "tab:orange", "active": "tab:green", "linear": "tab:gray"}
MOST_LINES = 1000  # neurons of a layer that are drawn one by one


def plot(bounds: Bounds) -> Any:
    """A matplotlib `Figure`: a panel for each layer with the interval [l, u] of every neuron, by state and centre.

    Titles count the states and give the mean width; a dashed line stands at z = 0. Of layers with more than
    `MOST_LINES` neurons each line stands for several neighbours, from their least l to their greatest u. The figure
    belongs to no window: show it in a notebook, or save it with `savefig`. Raises `MissingDependencyError` without
    matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("plots need matplotlib; install it with: pip install 'omlt-ext[plot]'")
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    frame = bounds.to_frame()
    depth = len(bounds.lower)
    columns = min(depth, 3)
    rows = -(-depth // columns)
    figure = Figure(figsize=(1.0 + 3.8 * columns, 0.6 + 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[depth:]:
        axes.set_visible(False)
    for k, (axes, (_, layer)) in enumerate(zip(panels[:depth], frame.groupby("layer"), strict=True)):
        first = 0
        for state, colour in COLOURS.items():
            chosen = layer[layer.state == state]
            _intervals(axes, first, chosen.lower.to_numpy(), chosen.upper.to_numpy(), colour)
            first += len(chosen)
        axes.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
        axes.margins(x=0.02)
        axes.xaxis.get_major_locator().set_params(integer=True)
        counts = ", ".join(f"{count} {state}" for state in COLOURS if (count := int((layer.state == state).sum())))
        axes.set_title(f"layer {k}: {counts}\nmean width {np.mean(layer.upper - layer.lower):.4g}", fontsize="medium")
        axes.set_xlabel("neurons, by state and centre")
        axes.set_ylabel("z")
    present = [state for state in COLOURS if (frame.state == state).any()]
    handles = [Line2D([], [], color=COLOURS[state], linewidth=3.0, label=state) for state in present]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _intervals(axes: Any, first: int, lower: Any, upper: Any, colour: str) -> None:
    """A vertical line from l to u for each neuron, from position `first` on."""
    if lower.size == 0:
        return
    order = np.argsort(lower + upper, kind="stable")
    starts = np.unique(np.linspace(0, lower.size, min(lower.size, MOST_LINES), endpoint=False).astype(int))
    low, high = np.minimum.reduceat(lower[order], starts), np.maximum.reduceat(upper[order], starts)
    at = first + 0.5 * (starts + np.append(starts[1:], lower.size) - 1)
    axes.vlines(at, low, high, color=colour, linewidth=2.0 if lower.size < 100 else 1.0)
    axes.scatter(at, 0.5 * (low + high), s=2.0, color="black", linewidths=0.0, zorder=3)
