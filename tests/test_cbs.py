"""The Combinatorial Brain Surgeon against the formulas it comes from, written out with dense matrices."""

import itertools
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omlt_ext import Layer, Network
from omlt_ext.errors import OptionError, SolverError
from omlt_ext.pruning import Data, prune
from omlt_ext.pruning.cbs import CBS, _random_start
from omlt_ext.pruning.exact_selection import LARGEST, exact_selection
from omlt_ext.pruning.gradients import curvature_gradients
from omlt_ext.pruning.method import Task, keep_largest
from omlt_ext.pruning.swaps import Selection, search, swap
from omlt_ext.pruning.weight_update import Update, updated
from omlt_ext.pruning.weights import Weights

SEEDS = st.integers(0, 10_000)


def task_of(sizes, seed, share=0.5, *, n=30, labels=False, layers=False, dead=0.0):
    """One step of pruning that lets `share` of the weights go; `dead`: the share that is 0 from an earlier step."""
    rng = np.random.default_rng(seed)
    stack = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        stack.append(Layer(rng.normal(size=(n_out, n_in)), 0.3 * rng.normal(size=n_out), relu=k < len(sizes) - 2))
    weights = Weights.of(Network(stack))
    if dead:
        weights = weights.at(weights.network_with(np.where(rng.random(weights.d) < dead, 0.0, weights.vector)))
    X = rng.normal(size=(n, sizes[0]))
    data = Data.of((X, rng.integers(0, sizes[-1], n)) if labels else X, weights.network)
    parts = weights.slices if layers else (slice(0, weights.d),)
    sizes_of = [part.stop - part.start for part in parts]
    groups = tuple((part, size - round(share * size)) for part, size in zip(parts, sizes_of, strict=True))
    return Task(weights, share, groups, data, rng)


def selection_of(task, damp=0.1):
    gradients = curvature_gradients(task.weights, task.network, task.samples, task.rng)
    return Selection(gradients, task.w, damp)


def hessian(selection):
    G = selection.gradients.columns(np.arange(selection.w.size))
    return G.T @ G / G.shape[0] + selection.damp * np.eye(selection.w.size)


def quadratic_form(selection, gone):
    part = np.where(gone, selection.w, 0.0)
    return part @ hessian(selection) @ part


def group_of(task):
    group = np.empty(task.w.size, dtype=int)
    for k, (part, _) in enumerate(task.groups):
        group[part] = k
    return np.where(task.w != 0.0, group, -1)


@given(SEEDS, st.floats(0.05, 0.95), st.booleans(), st.sampled_from([0.0, 1e-3, 10.0]))
@settings(max_examples=25, deadline=None)
def test_a_swap_changes_the_quadratic_form_by_its_terms(seed, share, labels, damp):
    task = task_of((3, 4, 2), seed, share, labels=labels)
    selection, rng = selection_of(task, damp), np.random.default_rng(seed)
    gone = rng.random(task.w.size) < share
    gone[[0, 1]] = True, False
    i, j = rng.choice(np.flatnonzero(gone)), rng.choice(np.flatnonzero(~gone))
    alpha, beta = selection.terms(gone)
    (first, second) = selection.effects(np.array([i, j])).T
    swapped = gone.copy()
    swapped[[i, j]] = False, True
    before, after = quadratic_form(selection, gone), quadratic_form(selection, swapped)
    scale = 1e-9 * max(1.0, before, after)
    assert selection.cost(gone) == pytest.approx(before, abs=scale)
    assert after - before == pytest.approx(-alpha[i] + beta[j] - 2.0 * first @ second, abs=scale)


@given(SEEDS, st.booleans(), st.sampled_from([0.0, 0.3]), st.sampled_from([2, 7, 1000]))
@settings(max_examples=25, deadline=None)
def test_a_pass_of_swaps_lowers_the_form_and_keeps_the_counts_of_every_group(seed, layers, dead, window):
    task = task_of((4, 5, 3), seed, layers=layers, dead=dead)
    selection, keep = selection_of(task), keep_largest(np.abs(task.w), task)
    changed = swap(selection, keep, group_of(task), window)
    before, after = (quadratic_form(selection, ~kept & (task.w != 0.0)) for kept in (keep, changed))
    assert after < before if (changed != keep).any() else after == before
    assert not (changed & (task.w == 0.0)).any()
    for part, _ in task.groups:
        assert changed[part].sum() == keep[part].sum()


def test_corrected_terms_choose_what_comparing_all_swaps_one_by_one_chooses():
    task = task_of((3, 4, 2), 5)
    selection, keep = selection_of(task), keep_largest(np.abs(task.w), task)
    gone, untouched = ~keep, np.ones(task.w.size, dtype=bool)
    while True:
        costs = {}
        for i, j in itertools.product(np.flatnonzero(gone & untouched), np.flatnonzero(~gone & untouched)):
            other = gone.copy()
            other[[i, j]] = False, True
            costs[i, j] = quadratic_form(selection, other)
        i, j = min(costs, key=costs.get)
        if costs[i, j] >= quadratic_form(selection, gone):
            break
        gone[[i, j]], untouched[[i, j]] = (False, True), False
    np.testing.assert_array_equal(swap(selection, keep, group_of(task), 1000), ~gone)
    assert (gone == keep).any()  # there were swaps


def test_the_search_returns_the_pass_with_the_smallest_training_loss():
    task = task_of((6, 12, 8, 3), 9, 0.6, n=30, labels=True)  # few samples: the form is no guide for long
    selection, start = selection_of(task, 1e-3), keep_largest(np.abs(task.w), task)
    losses = {}

    def loss(keep):
        losses[keep.tobytes()] = task.samples.loss(task.weights.network_with(np.where(keep, task.w, 0.0)))
        return losses[keep.tobytes()]

    found = search(selection, start, group_of(task), loss, passes=20, window=6)
    assert losses[found.tobytes()] == min(losses.values()) < losses[start.tobytes()]
    assert len(losses) > 3


@pytest.mark.parametrize(("n", "share"), [(200, 0.6), (5, 0.6), (200, 0.0), (200, 1.0), (1, 0.3)])
@pytest.mark.parametrize("damp", [1e-4, 1.0])
def test_the_update_is_that_of_the_inverse_hessian(n, share, damp):
    task = task_of((3, 5, 2), 3, share, n=n)
    selection = selection_of(task, damp)
    keep = keep_largest(np.abs(task.w), task)
    inverse, gone = np.linalg.inv(hessian(selection)), np.flatnonzero(~keep)
    multipliers = np.linalg.solve(inverse[np.ix_(gone, gone)], task.w[gone])
    update = Update(selection.gradients, task.w, keep)
    np.testing.assert_allclose(update.delta(damp), -inverse[:, gone] @ multipliers, rtol=1e-6, atol=1e-8)


def test_products_in_several_blocks_are_the_same(monkeypatch):
    task = task_of((4, 6, 2), 3, 0.3, n=4)
    selection, keep = selection_of(task), keep_largest(np.abs(task.w), task)
    whole = Update(selection.gradients, task.w, keep).delta(0.1)
    monkeypatch.setattr("omlt_ext.pruning.weight_update.BLOCK_BYTES", 200)
    np.testing.assert_allclose(Update(selection.gradients, task.w, keep).delta(0.1), whole, atol=1e-12)


@given(SEEDS, st.floats(0.1, 0.95), st.booleans())
@settings(max_examples=15, deadline=None)
def test_an_updated_network_has_no_larger_training_loss(seed, share, labels):
    task = task_of((4, 6, 3), seed, share, labels=labels)
    selection, keep = selection_of(task), keep_largest(np.abs(task.w), task)

    def loss(w):
        return task.samples.loss(task.weights.network_with(w))

    w = updated(Update(selection.gradients, task.w, keep), (0.01, 1.0), loss)
    assert loss(w) <= loss(np.where(keep, task.w, 0.0))
    assert (w[~keep] == 0.0).all()


def masks_of(task):
    """Every mask of weights that go, with as many of each group as the task asks for."""
    parts = []
    for part, kept in task.groups:
        alive = part.start + np.flatnonzero(task.w[part])
        parts.append(list(itertools.combinations(alive, max(0, alive.size - kept))))
    for chosen in itertools.product(*parts):
        gone = np.zeros(task.w.size, dtype=bool)
        gone[[i for some in chosen for i in some]] = True
        yield gone


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("layers", "dead", "share"), [(False, 0.0, 0.5), (True, 0.0, 0.4), (False, 0.3, 0.6)])
def test_the_exact_selection_is_the_best_of_all(seed, layers, dead, share):
    task = task_of((2, 3, 3), seed, share, layers=layers, dead=dead)
    selection = selection_of(task)
    H = hessian(selection)
    least = min(np.where(gone, task.w, 0.0) @ H @ np.where(gone, task.w, 0.0) for gone in masks_of(task))
    keep = exact_selection(selection, task)
    assert selection.cost(~keep & (task.w != 0.0)) == pytest.approx(least, rel=1e-5)
    assert not (keep & (task.w == 0.0)).any()
    for part, kept in task.groups:
        assert keep[part].sum() == min(kept, np.count_nonzero(task.w[part]))


def test_the_local_search_never_beats_the_exact_selection_and_often_reaches_it():
    reached = 0
    for seed in range(8):
        task = task_of((3, 4, 2), seed)
        selection = selection_of(task)
        keep = keep_largest(np.abs(task.w), task)
        found = search(selection, keep, group_of(task), lambda k, s=selection: s.cost(~k), passes=50, window=50)
        local, exact = selection.cost(~found), selection.cost(~exact_selection(selection, task))
        assert exact <= local * (1.0 + 1e-9)
        reached += local <= exact * (1.0 + 1e-6)
    assert reached >= 4


def test_an_exact_selection_is_for_small_networks():
    task = task_of((7, 7, 2), 0)
    assert task.w.size > LARGEST
    with pytest.raises(OptionError, match=r"at most 48 weights.*has 63; use exact=False"):
        CBS(exact=True).prune(task)


def test_an_exact_selection_without_a_proof_says_so(monkeypatch):
    monkeypatch.setattr("omlt_ext.pruning.exact_selection.SECONDS", 0.0)
    with pytest.raises(SolverError, match="use exact=False"):
        CBS(exact=True).prune(task_of((4, 5, 4, 1), 0))


@given(SEEDS, st.floats(0.0, 1.0), st.booleans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_random_starts_keep_the_right_number_of_every_group(seed, share, layers, labels):
    task = task_of((5, 6, 3), seed, share, layers=layers, labels=labels, dead=0.2)
    keep = _random_start(task)
    for part, kept in task.groups:
        assert keep[part].sum() == min(kept, np.count_nonzero(task.w[part]))


def test_random_starts_prefer_large_weights_and_differ():
    task = task_of((20, 30, 10), 1, 0.5)
    plain, size = keep_largest(np.abs(task.w), task), np.abs(task.w)
    first, second = _random_start(task), _random_start(task)
    assert (first != second).any()
    assert 0.8 < (first & plain).sum() / plain.sum() < 1.0
    assert size[first].mean() > 1.5 * size[~first].mean()


@given(SEEDS, st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_cbs_prunes_as_many_weights_as_were_asked_for(seed, sparsity, layers, labels, update):
    task = task_of((4, 6, 3), seed, labels=labels)
    data = (task.samples.inputs, task.samples.labels) if labels else task.samples.inputs
    method = CBS(update=update, starts=3, passes=4)
    scope = "layer" if layers else "global"
    pruned = prune(task.network, method, sparsity, data, scope=scope, steps=2, seed=seed)
    sizes = [layer.weight.size for layer in task.network.layers]
    gone = [np.count_nonzero(~mask) for mask in pruned.masks]
    assert gone == [round(sparsity * size) for size in sizes] if layers else sum(gone) == round(sparsity * sum(sizes))
    again = prune(task.network, method, sparsity, data, scope=scope, steps=2, seed=seed)
    for one, other in zip(pruned.unfolded.layers, again.unfolded.layers, strict=True):
        np.testing.assert_array_equal(one.dense_weight(), other.dense_weight())
        np.testing.assert_array_equal(one.dense_weight() != 0.0, pruned.masks[pruned.unfolded.layers.index(one)])


def test_what_cbs_learns_from_is_lost_to_magnitude():
    """Weights to an input that is 0 in all samples cost nothing, however large they are."""
    rng = np.random.default_rng(0)
    weight = np.hstack([rng.normal(size=(5, 3)), np.full((5, 1), 4.0)])
    network = Network([Layer(weight, np.zeros(5), True), Layer(rng.normal(size=(2, 5)), np.zeros(2), False)])
    X = np.hstack([rng.normal(size=(40, 3)), np.zeros((40, 1))])
    method = CBS(damp=1e-6, update=False)
    pruned = prune(network, method, 5 / 30, X)
    assert not pruned.masks[0][:, 3].any()
    np.testing.assert_allclose(pruned.unfolded(X), network(X), atol=1e-12)
    assert prune(network, "magnitude", 5 / 30).masks[0][:, 3].all()
    exact = prune(network, replace(method, exact=True), 5 / 30, X)
    np.testing.assert_array_equal(exact.masks[0], pruned.masks[0])


@pytest.mark.parametrize("labels", [True, False])
def test_of_the_training_loss_cbs_costs_no_more_than_magnitude_and_less_with_the_update(labels):
    rng = np.random.default_rng(3)
    network = task_of((8, 30, 20, 4), 3).network
    X = rng.normal(size=(300, 8))
    data = Data.of((X, network(X).argmax(axis=1)) if labels else X, network)
    given = (X, data.labels) if labels else X
    plain, selected, moved, gradual = (
        data.loss(prune(network, method, 0.7, given, steps=steps).unfolded)
        for method, steps in (("magnitude", 1), (CBS(update=False), 1), (CBS(), 1), (CBS(), 6))
    )
    assert gradual < moved < selected < plain


def test_on_trained_digits_cbs_beats_magnitude_and_its_update_is_worth_most():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    X, y = load_digits(return_X_y=True)
    train, test = (X[:1200] / 16.0, y[:1200]), (X[1200:] / 16.0, y[1200:])
    trained = MLPClassifier(
        (40, 40), max_iter=60, learning_rate_init=0.005, random_state=0, tol=0.0, n_iter_no_change=60
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged: the loss is small, and that is enough
        trained.fit(*train)
    stack = list(zip(trained.coefs_, trained.intercepts_, strict=True))
    network = Network([Layer(W.T, b, relu=k < len(stack) - 1) for k, (W, b) in enumerate(stack)])
    plain, selected, moved, gradual = (
        (prune(network, method, 0.9, train, steps=steps).network(test[0]).argmax(axis=1) == test[1]).mean()
        for method, steps in (("magnitude", 1), (CBS(update=False), 1), (CBS(), 1), (CBS(), 5))
    )
    assert plain + 0.05 < selected < moved < gradual
    assert gradual > 0.8


def test_neither_the_hessian_nor_all_gradients_are_formed():
    task = task_of((100, 200, 100, 10), 0, 0.5, n=600)
    whole = 8 * 600 * task.w.size
    assert whole > 190e6
    tracemalloc.start()
    try:
        CBS(passes=2).prune(task)
        assert tracemalloc.get_traced_memory()[1] < whole / 2
    finally:
        tracemalloc.stop()


def test_without_any_effect_magnitudes_decide():
    network = Network([Layer([[1.0, -3.0, 2.0]], [-100.0], True), Layer([[1.0], [2.0]], [0.0, 0.0], False)])
    X = np.ones((4, 3))  # the neuron is off
    pruned = prune(network, CBS(), 3 / 5, X)
    assert [mask.tolist() for mask in pruned.masks] == [[[False, True, True]], [[False], [False]]]


def test_softened_classes_have_the_curvature_of_the_cross_entropy():
    task = task_of((3, 4, 3), 1, n=2, labels=True)
    y = task.network(task.samples.inputs)
    y = y - y.mean(axis=1, keepdims=True)
    p = np.exp(y / y.std())
    p /= p.sum(axis=1, keepdims=True)
    covariance = np.einsum("nc,cd->ncd", p, np.eye(3)) - np.einsum("nc,nd->ncd", p, p)
    last = task.weights.slices[-1]  # its gradients are r_n h_n', h the last hidden layer
    h = task.network.layers[0](task.samples.inputs)
    exact = sum(np.kron(C, np.outer(v, v)) for C, v in zip(covariance, h, strict=True)) / 2
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(4000):
        G = curvature_gradients(task.weights, task.network, task.samples, rng).columns(np.arange(last.start, last.stop))
        total = total + G.T @ G / 2
    assert np.abs(total / 4000 - exact).max() <= 0.1 * np.abs(exact).max()


def test_the_empirical_fisher_matrix_is_of_the_gradients_at_the_labels():
    task = task_of((3, 4, 3), 1, n=6, labels=True)
    G = curvature_gradients(task.weights, task.network, task.samples, task.rng, kind="empirical")
    w = task.w + 1e-6 * np.arange(task.w.size)
    moved = task.samples.losses(task.weights.network_with(w)(task.samples.inputs))
    change = moved - task.samples.losses(task.network(task.samples.inputs))
    np.testing.assert_allclose(G.times(w - task.w), change, rtol=1e-3, atol=1e-10)
    task = replace(task, rng=np.random.default_rng(0))
    assert (CBS(curvature="empirical").prune(task) != 0.0).sum() == task.groups[0][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damp": 0.0}, "damp is 0.0"),
        ({"damp": float("nan")}, "damp is nan"),
        ({"starts": 0}, "starts is 0"),
        ({"passes": -1}, "passes is -1"),
        ({"window": 0}, "window is 0"),
        ({"samples": 2.5}, "samples is 2.5"),
        ({"update": 1}, "update is 1"),
        ({"exact": None}, "exact is None"),
        ({"curvature": "hessian"}, "curvature is 'hessian'; it must be one of 'softened', 'empirical'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        CBS(**options)


def test_numbers_that_overflow_and_damping_that_vanishes_are_named():
    network = Network([Layer([[1e200, 1.0]], [0.0], True), Layer([[1e200]], [0.0], False)])
    with pytest.raises(OptionError, match="overflow on these data"):
        CBS().prune(
            Task(
                Weights.of(network),
                0.5,
                ((slice(0, 3), 2),),
                Data(np.ones((3, 2)), values=np.ones((3, 1))),
                np.random.default_rng(0),
            )
        )
    network = Network([Layer(np.ones((1, 5)), [0.0], False)])  # four columns of ones: four equal rows in the products
    weights = Weights.of(network)
    gradients = curvature_gradients(weights, network, Data.of(np.ones((4, 5)), network), np.random.default_rng(0))
    with pytest.raises(OptionError, match=r"damping of 1.0e-40 .* take more"):
        Update(gradients, weights.vector, np.arange(5) > 0).delta(1e-40)
