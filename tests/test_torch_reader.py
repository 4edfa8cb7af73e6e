"""PyTorch modules and files, against the modules themselves."""

# ruff: noqa: E402 (the skip comes before the imports)

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

import itertools

import torch.nn.functional as F
from torch import nn

from omlt_ext.errors import OmltExtError, ReadError, UnsupportedOperatorError
from omlt_ext.mixed import MixedNetwork
from omlt_ext.readers import load_network


def agree(module, network, shape, rtol=1e-5):
    module.eval()
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    x = torch.randn(20, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        expected = torch.cat([module(point[None]).reshape(1, -1) for point in x]).double().numpy()
    scale = 1.0 + np.abs(expected).max()
    np.testing.assert_allclose(network(x.double().numpy().reshape(20, -1)), expected, atol=rtol * scale)


ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.PReLU(),
    nn.Hardtanh(-0.5, 0.7),
    nn.Identity(),
    nn.Dropout(),
]


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    activation=st.sampled_from([*ACTIVATIONS, nn.Hardsigmoid(), nn.Threshold(0.1, 0.1), nn.BatchNorm1d]),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_random_sequential_modules(sizes, activation, bias, dtype):
    parts = []
    for m, n in itertools.pairwise(sizes):
        parts += [nn.Linear(m, n, bias=bias), activation(n) if isinstance(activation, type) else activation]
    module = nn.Sequential(*parts).to(dtype)
    network = load_network(module)
    assert (network.n_inputs, network.n_outputs) == (sizes[0], sizes[-1])
    agree(module, network, (sizes[0],))


CONVOLUTIONAL = [
    ((2, 7), nn.Sequential(nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2), nn.ReLU(), nn.MaxPool1d(2))),
    (
        (1, 7, 6),
        nn.Sequential(nn.Conv2d(1, 3, (3, 2), padding="same"), nn.BatchNorm2d(3), nn.MaxPool2d(2, ceil_mode=True)),
    ),
    ((2, 5, 5), nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.PReLU(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    ((2, 4, 3), nn.Sequential(nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2), nn.ReLU())),
    ((2, 5, 5), nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False, ceil_mode=True)),
    ((1, 3, 3, 4), nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.AvgPool3d(2), nn.Flatten())),
    ((4, 3, 3), nn.Sequential(nn.PixelShuffle(2), nn.Upsample(scale_factor=2), nn.ZeroPad2d((1, 0, 2, 1)))),
    ((2, 4, 4), nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.ReLU())),
    ((12,), nn.Sequential(nn.Linear(12, 8), nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 2, 2), nn.ReLU(), nn.Flatten())),
]


@pytest.mark.parametrize(("shape", "module"), CONVOLUTIONAL)
def test_convolutions_and_pooling(shape, module):
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    module.eval()
    network = load_network(module, input_shape=shape)
    assert network.input_shape == shape
    assert network.output_shape == tuple(module(torch.zeros(1, *shape)).shape[1:])
    agree(module, network, shape)


class Functional(nn.Module):
    """Most functional forms, in-place operators, shape arithmetic and a residual connection."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.randn(8))

    def forward(self, x):
        h = F.relu(self.first(x))
        h = h + torch.relu_(self.second(h))  # the same layer twice
        h = self.second(h).relu() * self.scale - 0.5
        a, b = h.chunk(2, dim=1)
        h = torch.cat([b, a.flip(1), torch.ones(x.size(0), 1)], dim=-1)
        h = F.leaky_relu(h, 0.1).clamp(-1.0, 2.0).abs()
        h = torch.maximum(h, 0.3 - h) + torch.minimum(h, torch.full_like(h, 0.2))
        h = h.view(x.shape[0], 3, 3).permute(0, 2, 1) @ torch.arange(9.0).reshape(3, 3).to(h)
        h = torch.stack([h.amax(1), h.mean(1), h.sum(dim=-1), h.select(2, 0), h.max(dim=2).values], 1)
        h = F.pad(h, (1, 1), value=0.25)
        h += F.dropout(h, 0.3, self.training)
        h = torch.where(torch.tensor([True, False, True, True, True]), h, -2 * h)
        return F.hardtanh(h.unsqueeze(1).squeeze(1).transpose(1, 2) / 3).reshape(x.size(0), -1)[:, 1:-1]


def test_functional_forms():
    module = Functional()
    agree(module, load_network(module), (6,))


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.ReLU()).train()
    module[2].eval()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    network = load_network(module)
    assert [part.training for part in module] == [True, True, False, True]
    assert all(torch.equal(values, before[name]) for name, values in module.state_dict().items())
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    agree(module, network, (3,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_read_exactly(dtype):
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).to(dtype)
    network = load_network(module)
    np.testing.assert_array_equal(network.layers[0].weight, module[0].weight.detach().double().numpy())
    agree(module.double(), network, (4,))


def test_modules_that_only_run_in_single_precision():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x):
            return self.linear(x.float())

    module = Fixed().train()
    agree(module, load_network(module), (3,))
    assert load_network(module.train()).n_outputs == 2
    assert module.training


def test_weights_that_are_computed():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.ReLU())
    agree(module, load_network(module), (3,))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile itself
def test_compiled_modules_are_unwrapped():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    agree(module, load_network(torch.compile(module)), (3,))


@pytest.mark.parametrize("final", [nn.Softmax(dim=1), nn.LogSoftmax(dim=-1), nn.Sigmoid()])
def test_logits(final):
    body = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    module = nn.Sequential(body, final)
    agree(body, load_network(module, logits=True), (4,))
    with pytest.raises(UnsupportedOperatorError, match="logits=True"):
        load_network(module)
    with pytest.raises(UnsupportedOperatorError, match="aten"):
        load_network(nn.Sequential(body, final, nn.Linear(3, 1)), logits=True)


class Curved(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return torch.tanh(self.linear(x)) + F.softplus(x, beta=3.0) - x.sigmoid() + torch.sigmoid(torch.ones(4))


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2), nn.Softplus(2.0)),
        nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3), nn.Sigmoid()),
        Curved(),
    ],
)
def test_smooth_activations_are_read_on_request(module):
    network = load_network(module, smooth=True)
    assert isinstance(network, MixedNetwork)
    agree(module, network, (4,))
    with pytest.raises(UnsupportedOperatorError, match="smooth=True"):
        load_network(module)


def test_a_file_with_smooth_activations(tmp_path):
    module = nn.Sequential(nn.Linear(4, 5), nn.Softplus(), nn.Linear(5, 3))
    torch.save(module, tmp_path / "net.pt")
    network = load_network(tmp_path / "net.pt", smooth=True)
    agree(module, network, (4,))
    assert network.source == "net.pt"
    with pytest.raises(UnsupportedOperatorError, match="threshold of 20"):
        load_network(nn.Sequential(nn.Linear(4, 5), nn.Softplus(threshold=2.0)), smooth=True)


class Branch(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else -super().forward(x)


class Number(nn.Linear):
    def forward(self, x):
        return super().forward(x) * float(x[0, 0])


class Product(nn.Linear):
    def forward(self, x):
        return super().forward(x) * x


class Noise(nn.Linear):
    def forward(self, x):
        return super().forward(x) + torch.rand(3)


class Mask(nn.Linear):
    def forward(self, x):
        return torch.where(x > 0, super().forward(x), x)


class Rounded(nn.Linear):
    def forward(self, x):
        return super().forward(x).to(torch.int64).to(x.dtype)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.Tanh()), "submodule '1', node 'tanh': the operator aten.tanh"),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "layer_norm"),
        (nn.Sequential(nn.Linear(3, 3), nn.Softmax(1), nn.ReLU()), "softmax"),
        (Branch(3, 3), "control flow|Control flow"),
        (Number(3, 3), "Control flow"),
        (Product(3, 3), "aten.mul.Tensor of two tensors that both depend on the input"),
        (Noise(3, 3), "aten.rand.default is random"),
        (Mask(3, 3), "aten.gt"),
        (Rounded(3, 3), "rounds"),
        (nn.Sequential(nn.Linear(3, 3), nn.Threshold(0.5, 0.0)), "jumps at its threshold"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)), "batch|running statistics"),
    ],
)
def test_what_is_not_piecewise_linear_is_refused_by_name(module, message, capfd):
    with pytest.raises(OmltExtError, match=message):
        load_network(module)
    assert capfd.readouterr() == ("", "")


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.count += 1
        return self.linear(x) + self.count


class Constant(nn.Linear):
    def forward(self, x):
        return self.bias[None] + 0.0


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), None, r"'0' \(Conv2d\), does not tell .* give input_shape"),
        (nn.ReLU(), None, "give input_shape"),
        (nn.Linear(3, 3), (4,), "does not run on a batch of shape"),
        (nn.Linear(3, 3), (0,), "must hold positive numbers"),
        (nn.Linear(3, 3), (), "must hold positive numbers"),
        (nn.Sequential(nn.LazyLinear(2)), (3,), "'0.weight' has no shape yet"),
        (nn.GRU(3, 3), (2, 3), "gives a tuple"),
        (Pair(3, 3), None, "gives a tuple"),
        (Counter(), None, "changes its own buffer 'count'"),
        (Constant(3, 3), None, "does not depend on its input"),
        (nn.Linear(3, 3, dtype=torch.complex64), None, "complex"),
    ],
)
def test_modules_that_cannot_be_run(module, shape, message):
    with pytest.raises(ReadError, match=message):
        load_network(module, input_shape=shape)


def test_weights_that_are_not_numbers():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    module[0].weight.data[1, 2] = float("nan")
    with pytest.raises(ReadError, match=r"parameter '0.weight' holds nan at \(1, 2\)"):
        load_network(module)
    module[0].weight.data[1, 2] = 1.0
    module[1].running_var[0] = float("nan")
    with pytest.raises(ReadError, match=r"buffer '1.running_var' holds nan"):
        load_network(module)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(ReadError, match="TorchScript"):
        load_network(scripted)
    torch.jit.save(scripted, tmp_path / "scripted.pt")
    with pytest.raises(ReadError, match="TorchScript archive, which holds code"):
        load_network(tmp_path / "scripted.pt")


def test_files_of_plain_layers(tmp_path):
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)
    )
    path = tmp_path / "net.pt"
    torch.save(module, path)
    network = load_network(path, input_shape=(1, 6, 6))
    assert network.source == "net.pt"
    agree(module, network, (1, 6, 6))


class Touch:
    """Unpickled, it creates a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("how", ["torch", "pickle", "module"])
def test_a_file_never_runs_code(tmp_path, suffix, how):
    path, canary = tmp_path / f"evil{suffix}", tmp_path / "canary"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Touch(canary), protocol=2))
    else:
        module = nn.Sequential(nn.Linear(2, 2))
        module.extra = Touch(canary)
        torch.save(module if how == "module" else Touch(canary), path)
    with pytest.raises(ReadError, match="which is not loaded because it might run code"):
        load_network(path)
    assert not canary.exists()
    if how != "pickle":
        torch.load(path, weights_only=False)  # the file would have done it
        assert canary.exists()


def test_other_files_are_refused_with_a_remedy(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ReadError, match=r"the weights alone \(a state_dict\).* load_network\(module\)"):
        load_network(path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(ReadError, match="holds a Tensor"):
        load_network(path)
    torch.save(nn.Sequential(Branch(2, 2)), path)
    with pytest.raises(ReadError, match=r"asks for .*Branch, which is not loaded"):
        load_network(path)


def test_truncated_files(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), tmp_path / "net.pt")
    whole = (tmp_path / "net.pt").read_bytes()
    for size in (1, 2, 60, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        with pytest.raises(ReadError, match=r"cut\.pt"):
            load_network(tmp_path / "cut.pt")
