"""The lowering engine: every operation on symbolic tensors against the same operation on arrays."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext.errors import NetworkError, ReadError, ShapeError
from omlt_ext.network import Network
from omlt_ext.readers import piecewise as pw
from omlt_ext.readers.lowering import Lowering
from omlt_ext.readers.symbolic import MAX_ENTRIES, distinct_rows, product
from omlt_ext.readers.windows import (
    average_pool,
    convolution,
    place_windows,
    pool_index,
    transposed_convolution,
)

X = np.random.default_rng(3).standard_normal((40, 6)) * 2


def lower(build, shape=(6,)) -> Network:
    graph = Lowering()
    return graph.to_network({"y": build(graph.input("x", shape))})


def dense(rng, n_out, n_in):
    return rng.standard_normal((n_out, n_in))


UNARY = {
    "relu": (pw.relu, lambda x: np.maximum(x, 0)),
    "abs": (pw.absolute, np.abs),
    "leaky": (lambda t: pw.leaky_relu(t, 0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    "prelu": (
        lambda t: pw.leaky_relu(t, [0.0, 0.2, 1.0, -1.0, 2.0, 0.5]),
        lambda x: np.where(x > 0, x, np.array([0.0, 0.2, 1.0, -1.0, 2.0, 0.5]) * x),
    ),
    "clip": (lambda t: pw.clip(t, -0.5, 1.0), lambda x: np.clip(x, -0.5, 1.0)),
    "relu6": (lambda t: pw.clip(t, 0.0, 6.0), lambda x: np.clip(x, 0, 6)),
    "clip from below": (lambda t: pw.clip(t, -1.0, None), lambda x: np.maximum(x, -1)),
    "clip from above": (lambda t: pw.clip(t, float(np.finfo(np.float32).min), 1.0), lambda x: np.minimum(x, 1)),
    "clip crossed": (lambda t: pw.clip(t, 2.0, 1.0), lambda x: np.full_like(x, 1.0)),
    "no clip": (lambda t: pw.clip(t, None, None), lambda x: x),
    "largest": (
        lambda t: pw.largest(t, np.array([[0, 1, 2], [3, 4, 5], [5, -1, -1]])),
        lambda x: np.stack([x[:, :3].max(1), x[:, 3:].max(1), x[:, 5]], axis=1),
    ),
    "smallest": (lambda t: pw.smallest(t, np.array([[0, 1, 2, 3, 4]])), lambda x: x[:, :5].min(1, keepdims=True)),
    "sum": (lambda t: t.reshape((2, 3)).sum((1,)), lambda x: x.reshape(-1, 2, 3).sum(2)),
    "pick": (
        lambda t: t.pick(np.array([5, -1, 0, 0]), fill=7.0),
        lambda x: np.c_[x[:, 5], x[:, 0] * 0 + 7, x[:, [0, 0]]],
    ),
    "transpose": (lambda t: t.reshape((2, 3)).transpose(), lambda x: x.reshape(-1, 2, 3).transpose(0, 2, 1)),
    "arithmetic": (lambda t: (1.0 - t) * 2.0 / np.arange(1, 7) - 3.0, lambda x: (1 - x) * 2 / np.arange(1, 7) - 3),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("after", [False, True], ids=["of the input", "of a hidden layer"])
def test_each_function_equals_its_formula(name, after):
    lowered, formula = UNARY[name]
    W = dense(np.random.default_rng(0), 6, 6)

    def hidden(t):
        return pw.relu(t.linear(W, (6,)) - 0.3) if after else t

    inside = np.maximum(X @ W.T - 0.3, 0) if after else X
    network = lower(lambda t: lowered(hidden(t)))
    np.testing.assert_allclose(network(X), formula(inside).reshape(len(X), -1), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_programs(data):
    """Chains and residual additions of random operations agree with NumPy, whatever the depths."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    graph = Lowering()
    symbols, arrays = [graph.input("x", (6,))], [X]
    for _ in range(data.draw(st.integers(1, 8))):
        i = data.draw(st.integers(0, len(symbols) - 1))
        j = data.draw(st.integers(0, len(symbols) - 1))
        kind = data.draw(st.sampled_from(["linear", "add", "relu", "max", "min", "abs", "leaky", "clip", "hold"]))
        t, s, x, y = symbols[i], symbols[j], arrays[i], arrays[j]
        if kind == "linear":
            W = dense(rng, 6, 6) / 2
            symbols.append(t.linear(W, (6,)) + 0.1)
            arrays.append(x @ W.T + 0.1)
        elif kind == "add":
            symbols.append(graph.hold(t + s * -0.5))
            arrays.append(x - 0.5 * y)
        elif kind in ("max", "min"):
            symbols.append((pw.maximum if kind == "max" else pw.minimum)(t, s))
            arrays.append((np.maximum if kind == "max" else np.minimum)(x, y))
        elif kind == "hold":
            symbols.append(graph.hold(t))
            arrays.append(x)
        else:
            lowered, formula = UNARY[kind]
            symbols.append(lowered(t))
            arrays.append(formula(x))
    outputs = {"last": symbols[-1], "other": symbols[data.draw(st.integers(0, len(symbols) - 1))]}
    other = next(a for s, a in zip(symbols, arrays, strict=True) if s is outputs["other"])
    network = graph.to_network(outputs)
    expected = np.concatenate([arrays[-1], other], axis=1)
    np.testing.assert_allclose(network(X), expected, atol=1e-9 * (1 + np.abs(expected).max()))
    assert network.output_slices == {"last": slice(0, 6), "other": slice(6, 12)}


def test_a_plain_network_keeps_its_layers():
    rng = np.random.default_rng(1)
    graph, weights = Lowering(), [dense(rng, 5, 6), dense(rng, 4, 5), dense(rng, 2, 4)]
    t = graph.input("x", (6,))
    for W in weights[:-1]:
        t = pw.relu(t.linear(W, (len(W),)) + 0.5)
    network = graph.to_network({"y": t.linear(weights[-1], (2,))})
    for layer, W in zip(network.layers, weights, strict=True):
        np.testing.assert_array_equal(layer.weight, W)
    assert [bool(layer.relu.all()) for layer in network.layers] == [True, True, False]


def test_layers_of_a_leaky_network_do_not_carry_the_past():
    """A leaky layer of n neurons is n ReLUs and n linear neurons, at any depth."""
    rng = np.random.default_rng(2)
    graph = Lowering()
    t = graph.input("x", (50,))
    for _ in range(5):
        t = pw.leaky_relu(t.linear(dense(rng, 8, t.size), (8,)) + 0.1, 0.1)
    assert [layer.n_out for layer in graph.to_network({"y": t}).layers] == [16] * 5 + [8]


def test_layers_of_a_residual_network_do_not_carry_the_past():
    rng = np.random.default_rng(2)
    graph = Lowering()
    t = graph.input("x", (8,))
    for _ in range(5):
        block = pw.relu(t.linear(dense(rng, 12, 8), (12,)) + 0.1).linear(dense(rng, 8, 12), (8,))
        t = graph.hold(t + block)
    assert [layer.n_out for layer in graph.to_network({"y": t}).layers] == [20] * 5 + [8]


def test_nothing_is_computed_twice():
    graph = Lowering()
    x = graph.input("x", (3,))
    twice = pw.relu(x) + pw.relu(x.pick(np.array([0, 1, 2])))
    again = pw.relu(pw.relu(twice))
    network = graph.to_network({"y": again.pick(np.array([0, 0, 1]))})
    assert network.n_relus == 4  # max(0, x), needed for two inputs, and max(0, 2 max(0, x))
    np.testing.assert_array_equal(network([1.0, -2.0, 5.0]), [2.0, 2.0, 0.0])


def test_max_of_relu_and_zero_is_free():
    graph = Lowering()
    h = pw.relu(graph.input("x", (3,)))
    assert graph.to_network({"y": pw.maximum(h, graph.constant(np.zeros(3)))}).n_relus == 3


def test_constants_and_unused_inputs():
    graph = Lowering()
    graph.input("unused", (2,))
    network = graph.to_network({"y": pw.relu(graph.constant([[1.0, -2.0]]))})
    np.testing.assert_array_equal(network([5.0, 6.0]), [1.0, 0.0])
    assert network.n_relus == 0
    assert network.output_shape == (1, 2)


def test_outputs_of_several_depths_share_the_last_layer():
    graph = Lowering()
    x = graph.input("x", (2,))
    h = pw.relu(x + 1.0)
    network = graph.to_network({"deep": pw.relu(h * -1.0 + 2.0), "shallow": x * 3.0, "middle": h})
    assert len(network.layers) == 2
    np.testing.assert_array_equal(network.layers[-1].relu, [True, True, False, False, False, False])
    np.testing.assert_allclose(network([0.5, -4.0]), [0.5, 2.0, 1.5, -12.0, 1.5, 0.0])


def test_convolutions_of_windows():
    """A convolution's matrix against the sum that defines it, and its transpose against the inner product."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 1, 3, 2))
    windows = place_windows((5, 6), (3, 2), stride=(2, 1), dilation=(1, 2), pads=(1, 0, 1, 1))
    K = convolution(weight, windows, channels=2, groups=2)
    x = rng.standard_normal((2, 5, 6))
    padded = np.pad(x, [(0, 0), (1, 1), (0, 1)])
    direct = np.zeros((4, *windows.positions))
    for o, p, q in np.ndindex(*direct.shape):
        direct[o, p, q] = (padded[o // 2, 2 * p : 2 * p + 3, q : q + 3 : 2] * weight[o, 0]).sum()
    np.testing.assert_allclose(K @ x.ravel(), direct.ravel(), atol=1e-12)
    y = rng.standard_normal(K.shape[0])
    T = transposed_convolution(weight, windows, channels=4, groups=2)
    np.testing.assert_allclose((T @ y) @ x.ravel(), y @ (K @ x.ravel()))


def test_average_pool_counts():
    windows = place_windows((3,), (2,), stride=(2,), dilation=(1,), pads=(1, 0))
    np.testing.assert_allclose(average_pool(windows, 1, False).toarray(), [[1, 0, 0], [0, 0.5, 0.5]])
    np.testing.assert_allclose(average_pool(windows, 1, True).toarray(), [[0.5, 0, 0], [0, 0.5, 0.5]])


@pytest.mark.parametrize(("same", "first"), [("upper", [0, 1]), ("lower", [-1, 0])])
def test_same_padding_puts_the_odd_cell(same, first):
    windows = place_windows((4,), (2,), stride=(1,), dilation=(1,), pads=(0, 0), same=same)
    assert windows.positions == (4,)
    np.testing.assert_array_equal(pool_index(windows, 1)[0], first)


def test_ceil_mode_starts_no_window_in_the_padding_behind():
    """Size 4, kernel 2, stride 3, padding 1 before and after: the third window would start at 6 - 1 = 5."""
    windows = place_windows((4,), (1,), stride=(3,), dilation=(1,), pads=(1, 1), ceil=True)
    assert windows.positions == (2,)


@pytest.mark.parametrize(
    "make",
    [
        lambda: place_windows((4,), (0,), stride=(1,), dilation=(1,), pads=(0, 0)),
        lambda: place_windows((4,), (5,), stride=(1,), dilation=(1,), pads=(0, 0)),
        lambda: place_windows((4,), (2,), stride=(0,), dilation=(1,), pads=(0, 0)),
        lambda: place_windows((4,), (2,), stride=(1,), dilation=(1,), pads=(0, -1)),
        lambda: lower(lambda t: t.broadcast_to((MAX_ENTRIES, 6))),
        lambda: lower(lambda t: pw.largest(t, np.array([[-1, -1]]))),
        lambda: lower(lambda t: pw.clip(t, float("nan"), 1.0)),
        lambda: Lowering().input("x", (2**20, 2**20)),
    ],
)
def test_what_cannot_be_is_refused(make):
    with pytest.raises(ReadError):
        make()


def test_shapes_and_numbers_are_checked():
    with pytest.raises(ShapeError, match=r"\(2, 5\)"):
        lower(lambda t: t.linear(np.zeros((2, 5)), (2,)))
    with pytest.raises(NetworkError, match="not a finite number"):
        lower(lambda t: t + np.inf)
    graph = Lowering()
    pw.relu(graph.input("x", (2,)))
    with pytest.raises(ReadError, match="'late'"):
        graph.input("late", (2,))


def test_distinct_rows_keep_their_order():
    matrix = sparse.csr_array(np.array([[1.0, 2], [0, 3], [1, 2], [0, 3], [5, 0]]))
    first, which = distinct_rows(matrix, np.array([0.0, 1, 0, 2, 0]))
    np.testing.assert_array_equal(first, [0, 1, 3, 4])
    np.testing.assert_array_equal(which, [0, 1, 0, 2, 3])


def test_product_through_dense_blocks():
    rng = np.random.default_rng(0)
    K, M = dense(rng, 300, 200), np.zeros((200, 900))
    M[:, 100:400] = dense(rng, 200, 300)
    np.testing.assert_allclose(product(K, sparse.csr_array(M)).toarray(), K @ M, atol=1e-10)


def test_large_networks_lower_quickly():
    """784-512x3-10, and a convolutional network of 16,384 ReLUs: well under what a person notices."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    graph = Lowering()
    t = graph.input("x", (784,))
    for _ in range(3):
        t = pw.relu(t.linear(dense(rng, 512, t.size) / 20, (512,)) + 0.1)
    graph.to_network({"y": t.linear(dense(rng, 10, 512), (10,))})
    windows = place_windows((32, 32), (3, 3), stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1))
    graph = Lowering()
    t = graph.input("x", (3, 32, 32))
    t = pw.relu(t.linear(convolution(rng.standard_normal((16, 3, 3, 3)), windows, 3), (16, 32, 32)))
    network = graph.to_network({"y": t})
    assert network.n_relus == 16384
    assert network.layers[0].is_sparse
    assert time.perf_counter() - start < 20  # about 0.5 s on an idle core
