"""PyTorch and Keras files that other packages test with, against PyTorch and Keras."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from omlt_ext.readers import load_network

DATA = Path(os.environ.get("OMLT_EXT_OUTSIDE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
MODELS = DATA / "peer_models"

pytestmark = [pytest.mark.outside, pytest.mark.skipif(not MODELS.is_dir(), reason="the models are absent")]


@pytest.mark.torch
def test_a_pickled_sequential():
    torch = pytest.importorskip("torch")
    path = MODELS / "diabetes__pytorch.pt"
    network = load_network(path)
    assert [layer.n_out for layer in network.layers] == [20, 20, 1]
    module = torch.load(path, weights_only=False).eval()  # this file is known
    x = np.random.default_rng(0).normal(size=(50, 10))
    with torch.no_grad():
        expected = module(torch.from_numpy(x).float()).numpy()
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_keras_file():
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    path = MODELS / "keras_linear_131_relu.keras"
    network = load_network(path)
    assert [layer.n_out for layer in network.layers] == [3, 1]
    x = np.linspace(-3.0, 3.0, 20)[:, None]
    expected = keras.ops.convert_to_numpy(keras.saving.load_model(path, compile=False)(x))
    np.testing.assert_allclose(network(x), expected, rtol=1e-5, atol=1e-5)
