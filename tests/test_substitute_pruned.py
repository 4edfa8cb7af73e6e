"""TransformationFactory("omlt_ext.substitute_pruned"): the copies go in, the model around stays, and back."""

import numpy as np
import pyomo.environ as pyo
import pytest
from search_problems import dense_network

from omlt_ext import Box, ReLUBlock, tighten_bounds
from omlt_ext.errors import BoundsError, ModelError, OptionError, ShapeError


def substitute(model, **keywords):
    transformation = pyo.TransformationFactory("omlt_ext.substitute_pruned")
    transformation.apply_to(model, **keywords)
    return transformation


def one_block(seed=0, **keywords):
    """max f(x), x0 + x1 <= 1, and a second output that has to be large enough."""
    network = dense_network((3, 8, 6, 2), seed)
    model = pyo.ConcreteModel("plant")
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.nn = ReLUBlock(network, inputs=model.x, **keywords)
    model.budget = pyo.Constraint(expr=model.x[0] + model.x[1] <= 1)
    model.gain = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    return model, network


def solve(model):
    pyo.SolverFactory("omlt_ext.highs").solve(model)
    return pyo.value(model.gain)


def rows(model):
    """The written model, line by line, without what differs from run to run."""
    return sorted(
        f"{c.name}: {c.lower} <= {c.body.to_string()} <= {c.upper}"
        for c in model.component_data_objects(pyo.Constraint, active=True)
    )


def test_the_copy_is_what_is_solved_and_undoing_gives_the_same_rows_again():
    model, network = one_block()
    before, inputs = rows(model), list(model.nn.inputs.values())
    dense = solve(model)
    done = substitute(model, sparsity=0.6)
    copy = model.nn.network
    assert copy is done.pruned["nn"].network
    assert list(map(id, model.nn.inputs.values())) == list(map(id, inputs))
    found = solve(model)
    x = [model.x[i].value for i in range(3)]
    assert copy(x)[0] == pytest.approx(found, abs=1e-6)
    assert model.x[0].value + model.x[1].value <= 1 + 1e-6
    done.apply_to(model, undo=True)
    assert rows(model) == before
    assert model.nn.network is network
    assert [model.nn.outputs[j].value for j in range(2)] == pytest.approx(network(x))
    assert solve(model) == pytest.approx(dense, abs=1e-6)


def test_the_report_counts_what_is_saved():
    model, _ = one_block()
    row = substitute(model, sparsity=0.7).report.iloc[0]
    assert (row.block, row.relus_before, row.weights_before) == ("nn", 14, 3 * 8 + 8 * 6 + 6 * 2)
    assert row.weights_after <= 26
    assert row.relus_after == model.nn.network.n_relus
    assert row.unstable_after == model.nn.activation_bounds.n_unstable


def test_sparsity_zero_changes_nothing_but_the_object():
    model, _ = one_block(1)
    value = solve(model)
    substitute(model, sparsity=0.0)
    assert solve(model) == pytest.approx(value, abs=1e-6)


def test_twice_starts_from_the_dense_network_and_one_undo_suffices():
    model, network = one_block()
    substitute(model, sparsity=0.9)
    again = substitute(model, sparsity=0.5)
    other, _ = one_block()
    once = substitute(other, sparsity=0.5)
    for ours, theirs in zip(again.pruned["nn"].masks, once.pruned["nn"].masks, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again.apply_to(model, undo=True)
    assert model.nn.network is network
    with pytest.raises(ModelError, match="nothing to undo"):
        again.apply_to(model, undo=True)


def test_bounds_that_were_given_come_back():
    network = dense_network((3, 8, 6, 2), 0)
    tight = tighten_bounds(network, Box.full(3, -1, 1), "dual")
    model, _ = one_block(bounds=tight)
    before = model.nn.activation_bounds
    substitute(model, sparsity=0.5)
    substitute(model, undo=True)
    for k in range(3):
        np.testing.assert_array_equal(model.nn.activation_bounds.lower[k], before.lower[k])
        np.testing.assert_array_equal(model.nn.activation_bounds.upper[k], before.upper[k])


def chain():
    """The output of one network is an input of the next, which was declared first."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    model.first = ReLUBlock(dense_network((2, 5, 1), 3), inputs=model.x)
    model.second = ReLUBlock(dense_network((2, 5, 1), 4), inputs=[model.first.outputs[0], model.x[1]])
    model.gain = pyo.Objective(expr=model.second.outputs[0], sense=pyo.maximize)
    return model


@pytest.mark.parametrize("sparsity", [0.3, 0.6, 0.9])
def test_networks_one_behind_the_other_fit_each_other(sparsity):
    model = chain()
    dense = solve(model)
    done = substitute(model, sparsity=sparsity)
    assert not model.first.stale_inputs()
    assert not model.second.stale_inputs()
    found = solve(model)
    x = [model.x[0].value, model.x[1].value]
    middle = model.first.network(x)[0]
    assert model.second.network([middle, x[1]])[0] == pytest.approx(found, abs=1e-5)
    done.apply_to(model, undo=True)
    assert not model.second.stale_inputs()
    assert solve(model) == pytest.approx(dense, abs=1e-5)


def test_a_copy_of_the_model_is_left_alone_and_can_go_back_itself():
    model, network = one_block()
    sparse = pyo.TransformationFactory("omlt_ext.substitute_pruned").create_using(model, sparsity=0.5)
    assert model.nn.network is network
    assert sparse.nn.network is not network
    clone = sparse.clone()
    substitute(clone, undo=True)
    assert clone.nn.network is network
    assert sparse.nn.network is not network


@pytest.mark.parametrize("method", ["undecayed", "cbs"])
def test_methods_that_learn_get_points_of_the_box_where_no_data_are_given(method):
    model, _ = one_block()
    drawn = substitute(model, method=method, sparsity=0.5, seed=3).pruned["nn"]
    again = substitute(model, method=method, sparsity=0.5, seed=3).pruned["nn"]
    for ours, theirs in zip(drawn.unfolded.layers, again.unfolded.layers, strict=True):
        np.testing.assert_array_equal(ours.dense_weight(), theirs.dense_weight())


def test_data_can_be_each_blocks_own():
    model, rng = chain(), np.random.default_rng(0)
    data = {name: (rng.uniform(-1, 1, (50, 2)), rng.normal(size=50)) for name in ("first", "second")}
    assert set(substitute(model, method="gradient", data=data).pruned) == {"first", "second"}
    with pytest.raises(OptionError, match="data for 'third'"):
        substitute(model, method="gradient", data={"third": data["first"]})


def test_what_cannot_be_leaves_the_model_as_it_was():
    model, network = one_block()
    before = rows(model)
    for keywords, error in (
        ({"sparsity": 2.0}, OptionError),
        ({"method": "scissors"}, OptionError),
        ({"method": "gradient", "data": np.ones((4, 5))}, ShapeError),
        ({"method": "gradient"}, OptionError),
        ({"undo": 1}, OptionError),
    ):
        with pytest.raises(error):
            substitute(model, **keywords)
    with pytest.raises(TypeError, match="sparcity"):
        substitute(model, sparcity=0.5)
    assert rows(model) == before
    assert model.nn.network is network
    with pytest.raises(ModelError, match="no active ReLUBlock"):
        substitute(pyo.ConcreteModel())


@pytest.mark.parametrize("earlier", [None, 0.3])
def test_a_block_that_cannot_be_built_leaves_the_model_as_it_was(earlier):
    model = chain()
    model.third = ReLUBlock(dense_network((1, 3, 1), 5), inputs=[model.x[0]])
    if earlier is not None:
        substitute(model, sparsity=earlier)
    blocks = model.first, model.second, model.third
    networks, before = [block.network for block in blocks], rows(model)
    for j in (1, 0):  # the first block has been replaced by then; none has
        model.x[j].setlb(None)
        with pytest.raises(BoundsError, match=rf"x\[{j}\]"):
            substitute(model, sparsity=0.9)
        model.x[j].setlb(-1)
        assert [block.network for block in blocks] == networks
        assert rows(model) == before
    if earlier is not None:
        substitute(model, undo=True)
        assert [block.network.n_relus for block in blocks] == [5, 5, 3]


def test_rebuilding_with_another_network_asks_for_the_same_inputs_and_outputs():
    model, _ = one_block()
    other = dense_network((3, 4, 2), 7)
    model.nn.rebuild(network=other)
    x = [0.2, -0.3, 0.5]
    model.nn.set_values_from(x)
    assert [model.nn.outputs[j].value for j in range(2)] == pytest.approx(other(x))
    with pytest.raises(ShapeError, match=r"nn has \(3, 2\) inputs and outputs, the new network \(3, 1\)"):
        model.nn.rebuild(network=dense_network((3, 4, 1), 7))
    assert model.nn.network is other
