"""Effort: every dial does what its docstring says, and values outside its range are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from omlt_ext import Bounds, Box, Effort, Layer, Network, tighten_bounds
from omlt_ext.errors import BoundsError, FormulationError, OptionError
from omlt_ext.tightening.effort import LADDER

MakeNetwork = Callable[..., Network]
BOX = (-1, 1)


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Network:
    """Two hidden layers of ten; all is unstable after the first."""
    return make_network((5, 10, 10, 3), 1)


def changed(first: Bounds, second: Bounds) -> list[list[int]]:
    """The neurons of each layer whose bounds differ."""
    return [
        np.flatnonzero((first.lower[k] != second.lower[k]) | (first.upper[k] != second.upper[k])).tolist()
        for k in range(len(first.lower))
    ]


def total_width(bounds: Bounds) -> float:
    return sum(float(width.sum()) for width in bounds.width())


def test_presets_aliases_and_rungs() -> None:
    assert Effort() == Effort("dual") == Effort.of("dual")
    assert [Effort(alias).rung for alias in ("naive", "weak", "strong")] == ["interval", "lp", "milp"]
    for position, rung in enumerate(LADDER):
        assert Effort(rung).rungs == LADDER[: position + 1]
    assert Effort("lp", leaves=1).rungs == ("interval", "crown", "dual", "lp")
    chosen = Effort("lp", steps=3)
    assert Effort.of(chosen) is chosen


def test_numbers_of_numpy_are_plain_numbers() -> None:
    """Efforts are compared and written into files: NumPy's numbers must not make another effort."""
    drawn = Effort(
        steps=np.int64(7), neurons=np.int32(3), seconds=np.float32(2), layers=np.arange(2), gap=np.float64(0)
    )
    plain = Effort(steps=7, neurons=3, seconds=2.0, layers=(0, 1), gap=0.0)
    assert drawn == plain
    assert repr(drawn) == repr(plain)


def test_more_steps_of_ascent_are_tighter(network: Network) -> None:
    widths = [total_width(tighten_bounds(network, BOX, Effort(steps=steps))) for steps in (0, 2, 20)]
    assert widths[0] > widths[1] > widths[2]


def test_more_leaves_are_tighter(network: Network) -> None:
    widths = [total_width(tighten_bounds(network, BOX, Effort("split", leaves=leaves))) for leaves in (1, 4, 16)]
    assert widths[0] > widths[1] > widths[2]
    assert widths[0] == total_width(tighten_bounds(network, BOX, "dual"))


def test_only_the_widest_neurons(network: Network) -> None:
    before = tighten_bounds(network, BOX, "crown")
    after = tighten_bounds(network, BOX, Effort("dual", neurons=2, layers=[1]))
    widest = np.argsort(-before.width()[1], kind="stable")[:2]
    assert changed(before, after)[:2] == [[], sorted(widest.tolist())]


def test_only_unstable_neurons_and_the_last_layer() -> None:
    rng = np.random.default_rng(5)
    first = Layer(rng.normal(size=(8, 4)), rng.normal(size=8), True)
    # Of the second layer some are stable, one is linear, all have a width that ascent reduces.
    second = Layer(rng.normal(size=(6, 8)), [0, 0, 0, 40, -40, 0], [True, True, True, True, True, False])
    network = Network([first, second, Layer(rng.normal(size=(2, 6)), np.zeros(2), False)])
    before = tighten_bounds(network, BOX, "crown")
    assert changed(before, tighten_bounds(network, BOX, "dual"))[1:] == [[0, 1, 2, 3, 4, 5], [0, 1]]
    assert changed(before, tighten_bounds(network, BOX, Effort(neurons="unstable")))[1:] == [[0, 1, 2], [0, 1]]
    signs = tighten_bounds(network, BOX, Effort("dual", stop_at_sign=True))
    assert changed(before, signs)[1:] == [[0, 1, 2, 5], [0, 1]]


def test_only_some_layers_on_the_last_rung(network: Network) -> None:
    before = tighten_bounds(network, BOX, "dual")
    after = tighten_bounds(network, BOX, Effort("split", layers=[2], leaves=8))
    assert changed(before, after) == [[], [], [0, 1, 2]]
    for layers in ((3,), (0, 9)):
        with pytest.raises(OptionError, match=r"the network has the layers 0 to 2"):
            tighten_bounds(network, BOX, Effort(layers=layers))
    assert changed(before, tighten_bounds(network, BOX, Effort("split", layers=()))) == [[], [], []]


@pytest.mark.parametrize("rung", ["dual", "split", "lp", "milp"])
def test_a_sign_that_is_decided_is_enough(make_network: MakeNetwork, rung: str) -> None:
    """The same neurons become stable at less effort; bounds of the stable ones stay wider."""
    network, box = make_network((6, 12, 12, 2), 3), Box.ball(np.full(6, 0.2), 0.25)
    full = tighten_bounds(network, box, Effort(rung, leaves=8))
    quick = tighten_bounds(network, box, Effort(rung, leaves=8, stop_at_sign=True))
    assert 0 < full.n_unstable < network.n_relus
    assert total_width(quick) > total_width(full) * (1.0 - 1e-9 if rung == "dual" else 1.0)
    # Wider bounds of stable neurons do not matter below; signs may differ only where one just misses zero.
    assert abs(quick.n_unstable - full.n_unstable) <= 1


@pytest.mark.parametrize("rung", ["lp", "milp"])
def test_seconds_per_solve_leave_what_was_known(network: Network, rung: str) -> None:
    start = tighten_bounds(network, BOX, Effort("split", leaves=4))
    cut = tighten_bounds(network, BOX, Effort(rung, leaves=4, seconds_per_solve=0.0))
    full = tighten_bounds(network, BOX, Effort(rung, leaves=4))
    for k in range(3):
        assert (start.lower[k] <= cut.lower[k]).all()
        assert (cut.upper[k] <= start.upper[k]).all()
        assert (cut.width()[k] >= full.width()[k] * (1.0 - 3e-3) - 1e-5).all()  # a MILP ends within its gap


def test_a_gap_lets_milps_end_early(network: Network) -> None:
    exact = tighten_bounds(network, BOX, Effort("milp", leaves=1, gap=0.0))
    loose = tighten_bounds(network, BOX, Effort("milp", leaves=1, gap=0.2))
    assert total_width(loose) > total_width(exact)
    # Each side may miss by a fifth of the width that was known, which is at most the dual rung's.
    known = tighten_bounds(network, BOX, "dual")
    for k in range(3):
        assert (loose.upper[k] - exact.upper[k] <= 0.2 * known.width()[k] + 1e-5).all()


def test_chunks_change_bounds_a_little_at_most(network: Network) -> None:
    whole = tighten_bounds(network, BOX, Effort("split", leaves=4))
    parts = tighten_bounds(network, BOX, Effort("split", leaves=4, chunk_rows=3))
    for k in range(3):
        np.testing.assert_allclose(parts.lower[k], whole.lower[k], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(parts.upper[k], whole.upper[k], rtol=1e-3, atol=1e-3)


def test_seconds_meet_the_time_limit(network: Network) -> None:
    assert Effort(seconds=5).within(3).seconds == Effort(seconds=3).within(5).seconds == 3
    assert Effort().within(None).seconds is Effort().within(float("inf")).seconds is None
    for found in (
        tighten_bounds(network, BOX, Effort(seconds=0)),
        tighten_bounds(network, BOX, "dual", time_limit=0),
    ):
        assert changed(found, tighten_bounds(network, BOX, "crown")) == [[], [], []]
        assert "stopped at the time limit" in found.notes[0]


@pytest.mark.parametrize(
    ("dial", "value", "says"),
    [
        ("steps", -1, "steps is -1; it must be a whole number of at least 0"),
        ("steps", 2.5, "steps is 2.5"),
        ("steps", True, "steps is True"),
        ("leaves", 0, "leaves is 0; it must be a whole number of at least 1"),
        ("neurons", "most", "neurons is 'most'; it must be 'all', 'unstable' or a number"),
        ("neurons", 0, "neurons is 0"),
        ("neurons", True, "neurons is True"),
        ("neurons", None, "neurons is None"),
        ("layers", [-1], "layers is [-1]"),
        ("layers", 0.5, "layers is 0.5"),
        ("layers", "01", "layers is '01'"),
        ("stop_at_sign", "no", "stop_at_sign is 'no'; it must be True or False"),
        ("seconds", -1, "seconds is -1; it must be a number of at least 0"),
        ("seconds", float("nan"), "seconds is nan"),
        ("seconds", "5", "seconds is '5'"),
        ("seconds_per_solve", -0.5, "seconds_per_solve is -0.5"),
        ("gap", None, "gap is None"),
        ("gap", float("nan"), "gap is nan"),
        ("chunk_rows", 0, "chunk_rows is 0"),
        ("solver", "glpk", "solver is 'glpk'; choose one of 'highs'"),
        ("backend", "jax", "backend is 'jax'; choose one of 'numpy', 'numba', 'torch'"),
    ],
)
def test_values_that_a_dial_does_not_have(dial: str, value: object, says: str) -> None:
    assert dial in {field.name for field in fields(Effort)}
    with pytest.raises(OptionError, match=re.escape(says)):
        Effort(**{dial: value})


def test_what_the_ladder_cannot_use_is_refused_before_the_work(network: Network) -> None:
    with pytest.raises(BoundsError, match="unknown effort 'heroic'"):
        Effort("heroic")
    with pytest.raises(BoundsError, match="unknown effort 3"):
        Effort(3)
    with pytest.raises(FormulationError, match="nonsense"):
        tighten_bounds(network, BOX, Effort("milp", formulation="nonsense", seconds=0))
    for limit in (-1, float("nan"), "5"):
        with pytest.raises(OptionError, match="seconds is"):
            tighten_bounds(network, BOX, time_limit=limit)
    with pytest.raises(OptionError, match="must be an executor"):
        tighten_bounds(network, BOX, executor=4)
