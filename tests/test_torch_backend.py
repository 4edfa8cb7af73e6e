"""The ascent by torch: the same bounds as by NumPy up to single precision, and as valid, since NumPy evaluates them."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from omlt_ext import Box, Effort, Layer, Network, Polytope, branch_and_bound, tighten_bounds
from omlt_ext.errors import MissingDependencyError, OptionError
from omlt_ext.network import compact
from omlt_ext.propagation.backend import open_backend

MakeNetwork = Callable[..., Network]


def thin(network: Network, sizes: float = 1.2) -> Network:
    """The large weights only, kept as CSR."""
    layers = [compact(np.where(np.abs(y.weight) > sizes, y.weight, 0.0)) for y in network.layers]
    return Network([Layer(w, y.bias, y.relu) for w, y in zip(layers, network.layers, strict=True)])


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
@pytest.mark.parametrize("kind", ["dense", "csr", "polytope"])
@pytest.mark.parametrize("rung", ["dual", "split"])
def test_torch_agrees_with_numpy(make_network: MakeNetwork, rung: str, kind: str) -> None:
    pytest.importorskip("torch")
    network, box = make_network((8, 30, 30, 4), 2), Box.full(8, -1, 1)
    network = thin(network) if kind == "csr" else network
    assert any(layer.is_sparse for layer in network.layers) == (kind == "csr")
    points = box.sample(20_000, np.random.default_rng(0))
    domain: Box | Polytope = box
    if kind == "polytope":
        domain = Polytope(box, [[1.0] * 8], [0.5])
        points = points[points.sum(axis=1) <= 0.5]
    ours = tighten_bounds(network, domain, Effort(rung, leaves=4))
    theirs = tighten_bounds(network, domain, Effort(rung, leaves=4, backend="torch"))
    crown = tighten_bounds(network, domain, "crown")
    for k, z in enumerate(network.pre_activations(points)):
        width = ours.width()[k]
        assert (np.abs(theirs.lower[k] - ours.lower[k]) <= 1e-3 * width).all()
        assert (np.abs(theirs.upper[k] - ours.upper[k]) <= 1e-3 * width).all()
        assert (z >= theirs.lower[k] - 1e-9).all()
        assert (z <= theirs.upper[k] + 1e-9).all()
        assert (theirs.lower[k] >= crown.lower[k]).all()
    assert theirs.width()[2].sum() < crown.width()[2].sum()


@pytest.mark.torch
def test_a_search_by_torch_proves_the_same(make_network: MakeNetwork) -> None:
    pytest.importorskip("torch")
    network, box = make_network((10, 15, 15, 1), 5), Box.full(10, -1, 1)
    plain, theirs = (branch_and_bound(network, box, split="relu", backend=name) for name in ("numpy", "torch"))
    assert plain.status == theirs.status == "optimal"
    assert theirs.value == pytest.approx(plain.value, abs=1.01e-4 * max(1.0, abs(plain.value)))
    assert theirs.bound >= plain.value - 1e-9
    again = pickle.loads(pickle.dumps(open_backend("torch")))  # what a worker gets
    assert again.device == open_backend("torch").device


@pytest.mark.torch
def test_a_device_that_is_not_there() -> None:
    pytest.importorskip("torch")
    with pytest.raises(OptionError, match="torch has no device 'nowhere' here"):
        open_backend("torch", "nowhere")


def test_without_torch_the_extra_is_named(make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"omlt-ext\[torch\]"):
        tighten_bounds(make_network((3, 4, 2), 0), (-1, 1), Effort(backend="torch"))
