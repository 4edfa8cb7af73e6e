"""The pool of open nodes: order, slots that are used again, the way through when memory is full."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext.search.pool import START, Pool


def put(pool: Pool, values: list[float]) -> None:
    """Nodes whose numbers and signs tell their value."""
    v = np.array(values)
    pool.add(v, np.stack([v, -v], axis=1).astype(np.float32), np.sign(v).astype(np.int8)[:, None])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 400), st.lists(st.integers(-9, 9), min_size=1, max_size=900)), max_size=30))
def test_a_sorted_list_does_the_same(steps: list[int | list[int]]) -> None:
    pool, model = Pool(2, 1), []
    for step in steps:
        if isinstance(step, list):
            put(pool, [float(value) for value in step])
            model = sorted([*model, *step])
        else:
            values, numbers, signs = pool.take(step)
            assert values.tolist() == model[:step]
            assert (numbers == np.stack([values, -values], axis=1)).all()
            assert (signs[:, 0] == np.sign(values)).all()
            model = model[step:]
        assert len(pool) == len(model)
        assert pool.least == (model[0] if model else np.inf)


def test_beyond_the_limit_the_newest_come_first_until_half_is_free() -> None:
    pool = Pool(2, 1)
    pool.limit = 100
    put(pool, [float(value) for value in range(101)])
    assert pool.take(2)[0].tolist() == [0.0, 1.0]  # full, and nothing is newer than that
    put(pool, [500.0, 600.0])
    assert pool.take(1)[0].tolist() == [600.0]
    put(pool, [700.0, 1.5])
    assert pool.take(3)[0].tolist() == [500.0, 700.0, 1.5]
    assert pool.least == 2.0
    pool.take(49)
    assert len(pool) == 50
    put(pool, [800.0])
    put(pool, [1.0])
    assert pool.take(2)[0].tolist() == [800.0, 1.0]
    assert pool.take(1)[0].tolist() == [51.0]
    put(pool, [900.0])
    assert pool.take(1)[0].tolist() == [52.0]  # half is free: best first again


def test_depth_first_needs_a_batch_for_each_level() -> None:
    """A binary tree of 2^18 leaves through a pool that holds 512 nodes and a batch for each level."""
    depth, batch, most, leaves = 18, 16, 0, 0
    pool = Pool(2, 1)
    pool.limit = 512
    put(pool, [0.0])
    while len(pool):
        values = pool.take(batch)[0]
        leaves += int((values == depth).sum())
        put(pool, np.repeat(values[values < depth] + 1.0, 2).tolist())
        most = max(most, len(pool))
    assert leaves == 2**depth
    assert 512 < most <= 512 + 2 * batch * depth
    assert pool.values.size == START  # no more room was ever needed
    assert len(pool.heap) <= 2 * START


def test_room_follows_the_memory() -> None:
    assert Pool(100, 100, 2**20).limit < 2**20 // 500
    assert Pool(100, 100, 1).limit == START
