"""Recall of each class, its balance, and the report of pruning, against counting by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_problems import dense_network

from omlt_ext import Layer, Network
from omlt_ext.pruning import prune
from omlt_ext.pruning.recall import Recall, intensification


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), classes=st.integers(2, 6))
def test_recall_is_counted(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    outputs, labels = rng.normal(size=(n, classes)), rng.integers(0, classes, n)
    found = Recall.of(outputs, labels)
    right = [int(np.argmax(row)) == label for row, label in zip(outputs, labels, strict=True)]
    assert found.accuracy == pytest.approx(sum(right) / n)
    for c in range(classes):
        mine = [hit for hit, label in zip(right, labels, strict=True) if label == c]
        assert (found.recall[c] == pytest.approx(sum(mine) / len(mine))) if mine else math.isnan(found.recall[c])
    if found.accuracy > 0:
        shares = np.bincount(labels, minlength=classes) / n
        assert np.nansum(shares * found.balance) == pytest.approx(0.0, abs=1e-12)  # accuracy is their mean


@settings(max_examples=30, deadline=None)
@given(alpha=st.floats(-3, 3), seed=st.integers(0, 1000))
def test_the_slope_of_a_line_through_the_origin(alpha: float, seed: int) -> None:
    b = np.random.default_rng(seed).uniform(-0.3, 0.3, 5)
    before, after = Recall(0.5, 0.5 * (1 + b)), Recall(0.25, 0.25 * (1 + alpha * b))
    assert intensification(before, after) == pytest.approx(alpha, abs=1e-9)


def test_no_slope_where_there_is_no_balance() -> None:
    some, even = Recall(0.5, np.array([0.25, 0.75])), Recall(0.5, np.array([0.5, 0.5]))
    nothing = Recall(0.0, np.array([0.0, 0.0]))
    assert math.isnan(intensification(even, some))
    assert math.isnan(intensification(nothing, some))
    assert math.isnan(intensification(some, nothing))
    assert intensification(some, even) == 0.0
    absent = Recall(0.5, np.array([0.25, 0.75, np.nan]))  # a class without samples does not count
    assert intensification(absent, absent) == 1.0


def pruned(sparsity: float = 0.5, **options: object):
    network = dense_network((4, 6, 5, 3), 0)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 4))
    return network, X, prune(network, sparsity=sparsity, data=(X, network(X).argmax(axis=1)), **options)


def test_the_report_counts_the_networks() -> None:
    network, X, found = pruned(0.6)
    table = found.report.to_frame()
    for k, layer in enumerate(network.layers):
        row, after = table.loc[k], found.network.layers[k]
        assert row.tolist() == [
            k,
            layer.n_out,
            after.n_out,
            layer.relu.sum(),
            after.relu.sum(),
            layer.nnz,
            found.masks[k].sum(),
            after.nnz,
        ]
    assert table["relus_after"].sum() == found.network.n_relus
    d = int(table["weights_before"].sum())
    assert found.report.reached == pytest.approx(round(0.6 * d) / d)
    assert found.report.error == pytest.approx(np.abs(found.unfolded(X) - network(X)).max())
    before, after = found.report.accuracy
    assert before == 1.0  # labels are the dense network's own answers
    assert after == pytest.approx((found.network(X).argmax(axis=1) == network(X).argmax(axis=1)).mean())
    table.loc[:, "neurons_before"] = 0
    assert found.report.to_frame()["neurons_before"].sum() == 14  # a copy was given out


def test_test_data_judge() -> None:
    network, X, _ = pruned()
    labels = network(X).argmax(axis=1)
    wrong = (labels + 1) % 3
    found = prune(network, sparsity=0.3, data=(X, labels), test=(X[:10], wrong[:10])).report
    assert found.samples == 10
    assert found.accuracy[0] == 0.0
    assert found.alpha is None


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["classes", "values", "none"])
def test_json_takes_every_report(sparsity: float, kind: str) -> None:
    network = dense_network((4, 6, 5, 3), 0)
    X = np.random.default_rng(1).normal(size=(8, 4))
    data = {"classes": (X, np.zeros(8, int)), "values": X, "none": None}[kind]
    found = prune(network, sparsity=sparsity, data=data).report
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["method"] == "Magnitude()"
    assert told["reached"] == pytest.approx(sparsity, abs=0.02)
    assert told["weights_before"] == 4 * 6 + 6 * 5 + 5 * 3
    assert len(told["layers"]) == 3
    assert (told["accuracy_before"] is None) == (kind != "classes")
    assert (told["loss_after"] is None) == (kind == "none")
    assert (told["error"] == 0.0) == (sparsity == 0.0 and kind != "none")
    if kind == "classes":
        assert told["recall_after"][1:] == [None, None]  # no sample of these classes
    text = str(found)
    assert f"69 weights -> {told['weights_after']}, 14 neurons -> {told['neurons_after']}" in text
    assert ("accuracy" in text) == (kind == "classes")
    assert "nan" not in text


def test_a_network_that_becomes_constant_has_no_hidden_neurons_left() -> None:
    _, _, found = pruned(1.0)
    table = found.report.to_frame()
    assert len(found.network.layers) == 1
    assert table["neurons_after"].tolist() == [0, 0, 3]
    assert table["relus_after"].tolist() == [0, 0, 0]
    assert found.report.reached == 1.0


def test_a_network_without_weights_has_lost_none() -> None:
    found = prune(Network([Layer(np.zeros((1, 2)), [1.0], relu=False)]), sparsity=0.5).report
    assert found.reached == 0.0
    assert "0 weights -> 0" in str(found)
