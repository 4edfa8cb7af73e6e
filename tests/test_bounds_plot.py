"""Pictures of bounds: a panel for each layer, every neuron's interval in the colour of its state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omlt_ext import Bounds, Box, Layer, Network, tighten_bounds
from omlt_ext.bounds_plot import COLOURS, MOST_LINES
from omlt_ext.errors import MissingDependencyError

MakeNetwork = Callable[..., Network]


def one_layer(lower: np.ndarray, upper: np.ndarray, relu: bool = True) -> Bounds:
    n = lower.size
    return Bounds.of(Network([Layer(np.ones((n, 1)), np.zeros(n), relu)]), Box([0], [1]), [lower], [upper])


def lines(axes: object) -> dict[str, np.ndarray]:
    """The vertical lines of a panel by colour: (position, l, u)."""
    from matplotlib.colors import to_hex

    names = {to_hex(colour): state for state, colour in COLOURS.items()}
    found = {}
    for collection in axes.collections:
        segments = [path.vertices for path in collection.get_paths()] if hasattr(collection, "get_segments") else []
        if segments:
            ends = np.array(segments)
            assert np.array_equal(ends[:, 0, 0], ends[:, 1, 0])
            found[names[to_hex(collection.get_color()[0])]] = np.column_stack([ends[:, 0, 0], ends[:, :, 1]])
    return found


def test_every_interval_is_drawn_once_by_state() -> None:
    pytest.importorskip("matplotlib")
    lower, upper = np.array([-1.0, 1.0, -3.0, -2.0, 0.5]), np.array([1.0, 3.0, -1.0, 0.5, 0.75])
    (axes,) = one_layer(lower, upper).plot().axes
    drawn = lines(axes)
    assert drawn["inactive"].tolist() == [[0, -3, -1]]
    assert drawn["unstable"].tolist() == [[1, -2, 0.5], [2, -1, 1]]
    assert drawn["active"].tolist() == [[3, 0.5, 0.75], [4, 1, 3]]
    assert axes.get_title() == "layer 0: 1 inactive, 2 unstable, 2 active\nmean width 1.75"
    assert any(line.get_ydata() == [0.0, 0.0] for line in axes.get_lines())
    (axes,) = one_layer(lower, upper, relu=False).plot().axes
    assert list(lines(axes)) == ["linear"]


def test_thousands_of_neurons_share_lines_that_cover_them() -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    lower = -rng.random(20_000) - 0.1
    upper = rng.random(20_000) + 0.1
    (axes,) = one_layer(lower, upper).plot().axes
    drawn = lines(axes)["unstable"]
    assert drawn.shape[0] == MOST_LINES
    assert (drawn[:, 1].min(), drawn[:, 2].max()) == (lower.min(), upper.max())
    assert (np.diff(drawn[:, 0]) > 0).all()
    assert 0 <= drawn[0, 0] < drawn[-1, 0] < 20_000


def test_a_panel_for_each_layer_written_to_a_file(make_network: MakeNetwork, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = tighten_bounds(make_network((3, 5, 6, 7, 2), 0), (-1, 1)).plot()
    assert [axes.get_title().split(":")[0] for axes in figure.axes if axes.get_visible()] == [
        f"layer {k}" for k in range(4)
    ]
    figure.savefig(tmp_path / "bounds.png")
    assert (tmp_path / "bounds.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = one_layer(np.zeros(1), np.ones(1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"omlt-ext\[plot\]"):
        bounds.plot()
