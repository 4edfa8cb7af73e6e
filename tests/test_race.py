"""Races of trees that stand still or end after so many batches."""

from __future__ import annotations

import numpy as np

from omlt_ext.domain import Floats
from omlt_ext.search.race import SHARE, Offer, Race


class Steps:
    """A tree whose batches cost `cost`, and whose bound falls to 0 in `needs` of them."""

    lps = 0

    def __init__(self, cost: float, needs: int) -> None:
        self.cost, self.needs = cost, needs
        self.nodes, self.work = 0, 0.0

    @property
    def bound(self) -> float:
        return float(self.needs - self.nodes)

    @property
    def done(self) -> bool:
        return self.nodes >= self.needs

    def grow(self, enough: float, offer: Offer) -> None:
        self.nodes += 1
        self.work += self.cost


def none(points: Floats) -> float:
    return np.inf


def run(race: Race, batches: int = 10_000) -> None:
    for _ in range(batches):
        if race.done:
            return
        race.grow(np.inf, none)


def test_a_first_tree_that_ends_soon_is_alone() -> None:
    race = Race(Steps(1.0, 10), lambda: Steps(1.0, 1), 10.0)
    run(race)
    assert race.done
    assert (len(race.trees), race.nodes, race.work) == (1, 10, 10.0)


def test_the_second_gets_half_of_the_work_and_may_end_first() -> None:
    race = Race(Steps(3.0, 10**9), lambda: Steps(2.0, 500), 30.0)
    run(race)
    first, second = race.trees
    assert race.done
    assert second.done
    assert second.work == 1000.0
    assert abs(second.work - SHARE * first.work) <= 3.0
    assert race.bound == second.bound == 0.0
    assert race.nodes == first.nodes + second.nodes


def test_neither_is_left() -> None:
    race = Race(Steps(1.0, 1000), lambda: Steps(1.0, 10**9), 0.0)
    run(race)
    assert race.done
    assert race.trees[0].done
    assert race.work <= 1.5 * 1000 + 2
