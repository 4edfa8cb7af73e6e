"""Every `.nnet` network of the collision avoidance set: shapes, boxes, and labels on samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from omlt_ext.readers import load_network

DATA = Path(os.environ.get("OMLT_EXT_OUTSIDE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FILES = sorted((DATA / "collision_avoidance").glob("*.nnet"))

pytestmark = [pytest.mark.outside, pytest.mark.skipif(not FILES, reason="the collision avoidance networks are absent")]


def test_all_sixty_are_there():
    assert len(FILES) == 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shapes_boxes_and_labels(path):
    network = load_network(path)
    assert (network.n_inputs, network.n_outputs) == (6, 1)
    assert network.input_box.n == 6
    least = network(network.input_box.sample(10_000, np.random.default_rng(0))).min()
    if path.stem.endswith("UNSAT"):  # no input of the box gives an output <= 0
        assert least > 0
