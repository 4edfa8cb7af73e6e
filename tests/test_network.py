"""Layer and Network: frozen values that compute what a plain loop computes, however the weights are stored."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from omlt_ext import Box, Layer, Network
from omlt_ext.errors import NetworkError, ShapeError
from omlt_ext.network import SPARSE_BELOW, compact

Twin = tuple[Network, Network]  # the same network, dense and CSR


@st.composite
def twins(draw: st.DrawFn) -> Twin:
    """Random networks with thin weights, mixed masks of ReLUs and neurons without inputs, dense and CSR."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dense, csr = [], []
    for n_in, n_out in itertools.pairwise(sizes):
        weight = rng.normal(size=(n_out, n_in)) * (rng.random((n_out, n_in)) < 0.6)
        bias, relu = rng.normal(size=n_out), rng.random(n_out) < 0.7
        dense.append(Layer(weight, bias, relu))
        csr.append(Layer(sparse.csr_array(weight), bias, relu))
    return Network(dense), Network(csr)


def by_hand(network: Network, x: np.ndarray) -> list[float]:
    """f(x) neuron by neuron."""
    h = [float(value) for value in x]
    for layer in network.layers:
        z = [
            sum(w * value for w, value in zip(row, h, strict=True)) + b
            for row, b in zip(layer.dense_weight().tolist(), layer.bias.tolist(), strict=True)
        ]
        h = [max(0.0, value) if relu else value for value, relu in zip(z, layer.relu, strict=True)]
    return h


def small() -> Network:
    """|x0 - x1| and x0 + x1 - 1, from two ReLUs and a linear neuron."""
    first = Layer([[1, -1], [-1, 1], [1, 1]], [0, 0, -1], relu=[True, True, False])
    return Network([first, Layer([[1, 1, 0], [0, 0, 1]], [0, 0], relu=False)])


def test_a_network_worked_out_on_paper():
    network = small()
    assert network([3, 1]).tolist() == [2, 3]
    assert network([1, 4]).tolist() == [3, 4]
    assert network([-1, -1]).tolist() == [0, -3]  # the linear neuron passes negative values
    z = network.pre_activations([3, 1])
    assert [part.tolist() for part in z] == [[2, -2, 3], [2, 3]]
    assert (network.n_inputs, network.n_outputs, network.n_relus) == (2, 2, 2)


@given(twin=twins(), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_evaluation_agrees_with_a_plain_loop(twin: Twin, seed: int):
    points = np.random.default_rng(seed).normal(size=(5, twin[0].n_inputs))
    expected = [by_hand(twin[0], x) for x in points]
    for network in twin:
        batch = network(points)
        assert batch.shape == (5, network.n_outputs)
        np.testing.assert_allclose(batch, expected, rtol=1e-12, atol=1e-12)
        for x, y in zip(points, batch, strict=True):
            assert network(x).shape == (network.n_outputs,)
            np.testing.assert_allclose(network(x), y, rtol=1e-12, atol=1e-12)
        for z, one in zip(network.pre_activations(points), network.pre_activations(points[0]), strict=True):
            np.testing.assert_allclose(z[0], one, rtol=1e-12, atol=1e-12)


@given(twin=twins(), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_the_affine_map_of_a_points_pattern_is_the_network_there(twin: Twin, seed: int):
    for x in np.random.default_rng(seed).normal(size=(4, twin[0].n_inputs)):
        for network in twin:
            pattern = network.pattern(x)
            A, c = network.affine_map(pattern)
            assert A.shape == (network.n_outputs, network.n_inputs)
            assert c.shape == (network.n_outputs,)
            np.testing.assert_allclose(A @ x + c, network(x), rtol=1e-10, atol=1e-10)
            zs = network.pre_activations(x)
            for active, z, layer in zip(pattern, zs, network.layers, strict=True):
                assert np.array_equal(active, (z > 0) | ~layer.relu)


def test_the_affine_map_of_a_pattern_on_paper():
    A, c = small().affine_map([[True, False, False], [False, False]])  # x0 > x1; linear neurons cannot be switched off
    assert A.tolist() == [[1, -1], [1, 1]]
    assert c.tolist() == [0, -1]
    A, c = small().affine_map([[0, 0, 1], [1, 1]])
    assert A.tolist() == [[0, 0], [1, 1]]


def test_patterns_of_a_batch_and_at_a_kink():
    first, last = small().pattern([[3, 1], [1, 3], [2, 2]])
    assert first.tolist() == [[True, False, True], [False, True, True], [False, False, True]]
    assert last.all()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([], "0 layers, the network 2"),
        ([[1, 1, 1]], "1 layers, the network 2"),
        ([[1, 1, 1], [1, 1], [1]], "3 layers, the network 2"),
        ([[1, 1, 1], [1]], r"pattern of layer 1 has shape \(1,\), not \(2,\)"),
        ([np.ones((4, 3)), np.ones((4, 2))], r"pattern of layer 0 has shape \(4, 3\)"),
        ([[1, np.nan, 1], [1, 1]], "pattern of layer 0 must hold True and False"),
        ([[0.5, -3, 2], [1, 1]], "pattern of layer 0 must hold True and False"),  # pre-activations by mistake
        ([["on", "off", "on"], [1, 1]], "pattern of layer 0 is not"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(pattern, message):
    with pytest.raises(ShapeError, match=message):
        small().affine_map(pattern)


@pytest.mark.parametrize("taker", [small(), small().layers[0]], ids=["network", "layer"])
@pytest.mark.parametrize(
    "x", [3.0, None, [], [1], [1, 2, 3], np.zeros((2, 3)), np.zeros((3, 2, 2)), "ab", [[1, 2], [3]], np.array([1j, 0])]
)
def test_points_that_do_not_fit_are_refused(taker, x):
    with pytest.raises(ShapeError, match="the point"):
        taker(x)


def test_an_empty_batch_gives_an_empty_batch():
    assert small()(np.zeros((0, 2))).shape == (0, 2)


def test_nan_in_the_point_is_nan_in_every_output_that_depends_on_it():
    weight = np.array([[1.0, 1.0], [0.0, 1.0]])
    for stored in (weight, sparse.csr_array(weight)):
        y = Network([Layer(stored, [0, 0], relu=True)])([[np.nan, 1.0], [2.0, 1.0]])
        assert np.isnan(y[0, 0])  # max(0, NaN) is NaN, never 0
        assert y[1].tolist() == [3, 1]
    assert not small().pattern([np.nan, 1])[0][:2].any()


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.coo_array, sparse.csc_matrix])
def test_the_callers_arrays_are_copied(form: Callable[..., object]):
    weight = form(np.array([[1.0, 0.0], [0.0, 2.0]]))
    bias, relu = np.array([1.0, 2.0]), np.array([True, False])
    layer = Layer(weight, bias, relu)
    (weight.data if sparse.issparse(weight) else weight)[:] = 9
    bias[:], relu[:] = 9, False
    assert layer.dense_weight().tolist() == [[1, 0], [0, 2]]
    assert layer.bias.tolist() == [1, 2]
    assert layer.relu.tolist() == [True, False]
    assert bias.flags.writeable


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("copied", [lambda layer: layer, lambda layer: pickle.loads(pickle.dumps(layer)), copy.copy])
def test_a_layer_is_frozen_and_so_are_its_copies(form, copied):
    layer = copied(Layer(form([[1.0, 2.0]]), [0.0], relu=True))
    W = layer.weight
    arrays = [W.data, W.indices, W.indptr] if layer.is_sparse else [W]
    for array in (*arrays, layer.bias, layer.relu):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    for field in dataclasses.fields(Layer):
        with pytest.raises(AttributeError):
            setattr(layer, field.name, 1)


def test_a_network_is_frozen():
    network = small()
    for field in dataclasses.fields(Network):
        with pytest.raises(AttributeError):
            setattr(network, field.name, ())
    with pytest.raises(AttributeError):
        del network.layers


@given(twin=twins())
@settings(max_examples=30, deadline=None)
def test_copies(twin: Twin):
    for network in twin:
        assert copy.deepcopy(network) is network
        assert copy.deepcopy(network.layers[0]) is network.layers[0]
        again = pickle.loads(pickle.dumps(network))
        assert again.summary() == network.summary()
        x = np.linspace(-1, 1, network.n_inputs)
        assert again(x).tobytes() == network(x).tobytes()


def test_everything_that_is_known_of_a_network_survives_pickling():
    network = Network(
        small().layers,
        input_shape=(1, 2),
        output_shape=(2, 1),
        input_box=Box([0, 0], [1, 2]),
        input_slices={"a": slice(0, 1), "b": slice(1, 2)},
        output_slices={"y": slice(0, 2)},
        source="a test",
    )
    again = pickle.loads(pickle.dumps(network))
    for field in ("input_shape", "output_shape", "input_slices", "output_slices", "source"):
        assert getattr(again, field) == getattr(network, field)
    assert repr(again.input_box) == "Box([0. 0.], [1. 2.])"
    assert again.input_shape == (1, 2)


def test_defaults():
    network = small()
    assert (network.input_shape, network.output_shape, network.input_box) == ((2,), (2,), None)
    assert network.input_slices == {"input": slice(0, 2)}
    assert network.output_slices == {"output": slice(0, 2)}
    assert repr(network) == "<Network 2-3-2 from arrays>"


def test_summary():
    csr = Layer(sparse.csr_array(np.eye(3)), np.zeros(3), relu=True)
    last = Layer([[1, 0, 1]], [0], relu=False)
    text = Network([csr, last], input_box=Box.full(3, 0, 1), source="a test").summary()
    assert text.splitlines() == [
        "network from a test: 3 inputs, 1 output, 3 ReLUs, 5 nonzero weights",
        "  layer  inputs  neurons  ReLUs  nonzeros  stored",
        "      0       3        3      3         3  CSR",
        "      1       3        1      0         2  dense",
        "  input box: Box([0. 0. 0.], [1. 1. 1.])",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2, 3])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.coo_array])
def test_a_weight_that_is_no_number_is_named(form, row, value):
    weight = np.zeros((4, 3))
    weight[row, 2] = value
    weight[3, 0] = 1.0  # row 1 stays empty: the row of a CSR entry must skip it
    with pytest.raises(NetworkError, match=rf"weight\[{row}, 2\] is not a finite number"):
        Layer(form(weight), np.zeros(4), relu=True)


def test_duplicates_that_sum_to_no_number_are_named():
    weight = sparse.coo_array(([np.inf, -np.inf], ([1, 1], [0, 0])), shape=(2, 1))
    with pytest.raises(NetworkError, match=r"weight\[1, 0\]"):
        Layer(weight, [0, 0], relu=True)


@pytest.mark.parametrize(
    ("weight", "bias", "relu", "message"),
    [
        ([[1.0]], [np.nan], True, r"bias\[0\] is nan"),
        ([[1.0], [1.0]], [0, -np.inf], True, r"bias\[1\] is -inf"),
        ([[1.0]], [0, 0], True, r"bias has shape \(2,\), weight \(1, 1\); bias must be \(1,\)"),
        ([[1.0]], 0, True, r"bias has shape \(\)"),
        ([[1.0]], ["a"], True, "bias is not an array of numbers"),
        ([[1.0], [1.0]], [[0], [0, 1]], True, "bias is not an array of numbers"),
        ([1.0, 2.0], [0], True, r"weight has shape \(2,\); it must be \(n_out, n_in\)"),
        (1.0, [0], True, r"weight has shape \(\)"),
        (np.zeros((1, 1, 1)), [0], True, r"weight has shape \(1, 1, 1\)"),
        (sparse.coo_array(np.array([1.0, 2.0])), [0, 0], True, r"shape \(2,\)"),
        ([["a"]], [0], True, "weight is not an array of numbers"),
        ([[1.0], [1.0, 2.0]], [0, 0], True, "weight is not an array of numbers"),
        (np.array([[1j]]), [0], True, "complex"),  # its real part alone would be another network
        (sparse.csr_array(np.array([[1j]])), [0], True, "complex"),
        ([[1.0]], [0], [True, False], r"relu has shape \(2,\); it must be one bool or \(1,\)"),
        ([[1.0]], [0], [[True]], r"relu has shape \(1, 1\)"),
        ([[1.0]], [0], "False", "relu is not"),  # true to NumPy
        ([[1.0]], [0], [np.nan], "relu must hold True and False only"),  # true to NumPy
        ([[1.0]], [0], None, "relu must hold True and False only"),
    ],
)
def test_what_is_no_layer_is_refused(weight, bias, relu, message):
    with pytest.raises(NetworkError, match=message):
        Layer(weight, bias, relu)


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ([], {}, "at least one layer"),
        ([Layer([[1, 1]], [0], True), Layer([[1, 1]], [0], True)], {}, "layer 0 has 1 outputs, layer 1 takes 2 inputs"),
        ([Layer(np.zeros((0, 2)), [], True)], {}, "layer 0 has 2 inputs and 0 outputs"),
        ([Layer(np.zeros((2, 0)), [0, 0], True)], {}, "layer 0 has 0 inputs and 2 outputs"),
        ([Layer([[1]], [0], True), Layer(np.zeros((0, 1)), [], True)], {}, "layer 1 has 1 inputs and 0 outputs"),
        ([([[1.0]], [0.0])], {}, "layer 0 is of type tuple, not Layer; load_network"),
        (Layer([[1.0]], [0], True), {}, "layers must be a list of Layers"),
        (None, {}, "layers must be a list of Layers"),
        (small().layers, {"input_shape": (3,)}, r"input_shape \(3,\) does not hold 2 numbers"),
        (small().layers, {"output_shape": (2, 2)}, r"output_shape \(2, 2\) does not hold 2 numbers"),
        (small().layers, {"input_shape": (-1, -2)}, r"input_shape \(-1, -2\)"),
    ],
)
def test_what_is_no_network_is_refused(layers, options, message):
    with pytest.raises(NetworkError, match=message):
        Network(layers, **options)


def test_a_box_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="1 coordinates, the network 2 inputs"):
        Network(small().layers, input_box=Box([0], [1]))


def test_sparse_weights_become_canonical_csr():
    entries = ([1.0, 2.0, 3.0, 0.0], [1, 1, 1, 0], [0, 2, 4])  # a duplicate, a stored zero, columns out of order
    layer = Layer(sparse.csr_array(entries, shape=(2, 2)), [0, 0], relu=True)
    assert layer.is_sparse
    assert layer.nnz == 2
    assert layer.dense_weight().tolist() == [[0, 3], [0, 3]]
    assert layer.weight.has_canonical_format


@pytest.mark.parametrize("weight", [[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0]]])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_weights_in_either_form_on_request(form, weight):
    layer = Layer(form(np.array(weight)), np.zeros(len(weight)), relu=True)
    assert layer.dense_weight().tolist() == weight
    csr = layer.csr_weight()
    assert csr.format == "csr"
    assert csr.toarray().tolist() == weight
    assert csr.nnz == layer.nnz == np.count_nonzero(weight)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.coo_array])
def test_compact_keeps_what_is_thin_as_csr(form):
    thin = np.eye(8)  # one eighth of it is not zero
    assert 1 / 8 < SPARSE_BELOW < 0.9
    assert sparse.issparse(compact(form(thin)))
    assert compact(form(thin)).toarray().tolist() == thin.tolist()
    full = np.arange(1.0, 10).reshape(3, 3)
    assert not sparse.issparse(compact(form(full)))
    assert compact(form(full)).tolist() == full.tolist()


def test_weights_of_any_memory_order_and_precision():
    weight = np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32))
    layer = Layer(weight[::-1, ::-1], np.array([1, 2], dtype=np.int8), relu=np.array([1, 0]))
    assert layer.weight.dtype == layer.bias.dtype == np.float64
    assert layer.weight.flags.c_contiguous
    assert layer([1, 0, 0]).tolist() == [7, 5]
    assert layer.relu.tolist() == [True, False]
