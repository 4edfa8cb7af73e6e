"""ReLUBlock as a Pyomo user meets it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.fbbt.fbbt import fbbt
from pyomo.gdp import Disjunct, Disjunction

from omlt_ext import Bounds, Box, Layer, Network, ReLUBlock, tighten_bounds
from omlt_ext.bridge import compile_model
from omlt_ext.errors import BoundsError, FormulationError, ModelError, ReadError, ShapeError
from omlt_ext.formulations import BigM

MakeNetwork = Callable[..., Network]
MAXIMUM = 7.002286230014214  # of y[0] + 0.1 x[2] below, by Gurobi, SCIP and HiGHS


@pytest.fixture
def network(make_network: MakeNetwork) -> Network:
    return make_network((3, 6, 5, 2), 0)


def small_model(network: Network) -> pyo.ConcreteModel:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.y = pyo.Var(range(2))
    model.nn = ReLUBlock(network, inputs=model.x, outputs=model.y)
    model.side = pyo.Constraint(expr=model.x[0] + model.x[1] <= 0.5)
    model.cost = pyo.Objective(expr=model.y[0] + 0.1 * model.x[2], sense=pyo.maximize)
    return model


def solve(model: pyo.ConcreteModel, solver: str = "omlt_ext.highs") -> float:
    results = pyo.SolverFactory(solver).solve(model)
    assert results.solver.termination_condition == pyo.TerminationCondition.optimal
    return float(pyo.value(next(model.component_data_objects(pyo.Objective, active=True))))


def truth_of_grid(network: Network) -> float:
    """A lower bound on MAXIMUM from points on a grid, evaluated by the network alone."""
    axis = np.linspace(-1, 1, 41)
    points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    points = points[points[:, 0] + points[:, 1] <= 0.5]
    return float((network(points)[:, 0] + 0.1 * points[:, 2]).max())


def test_given_variables_are_used_without_copies(network: Network) -> None:
    model = small_model(network)
    assert all(model.nn.inputs[i] is model.x[i] for i in range(3))
    assert all(model.nn.outputs[j] is model.y[j] for j in range(2))
    assert model.nn.layer[2].z[0] is model.y[0]
    names = {constraint.local_name for constraint in model.nn.component_objects(pyo.Constraint)}
    assert not {name for name in names if "link" in name or "input" in name}
    best = solve(model)
    assert best == pytest.approx(MAXIMUM, abs=1e-6)
    assert truth_of_grid(network) <= best + 1e-9
    assert model.nn.get_error() < 1e-9


SOLVERS = [
    "highs",
    "appsi_highs",
    "gurobi",
    "gurobi_direct",
    *(pytest.param(name, marks=pytest.mark.scip) for name in ("scip", "scip_direct")),
]


@pytest.mark.parametrize("solver", SOLVERS)
def test_other_solvers_agree(network: Network, solver: str) -> None:
    if not pyo.SolverFactory(solver).available(exception_flag=False):
        pytest.skip(f"{solver} is not available")
    model = small_model(network)
    assert solve(model, solver) == pytest.approx(MAXIMUM, abs=1e-5)
    assert model.nn.get_error() < 1e-5


def test_names_are_stable_and_complete(network: Network) -> None:
    def names(model: pyo.ConcreteModel) -> list[str]:
        variables = [v.name for v in model.component_data_objects(pyo.Var)]
        return variables + [c.name for c in model.component_data_objects(pyo.Constraint)]

    first, second = small_model(network), small_model(network)
    assert names(first) == names(second)
    states = first.nn.activation_bounds
    for k, layer in enumerate(network.layers):
        block = first.nn.layer[k]
        assert list(block.h.keys()) == list(range(layer.n_out))
        assert list(block.sigma.keys()) == np.flatnonzero(states.unstable[k]).tolist()
        assert list(block.z.keys()) == np.flatnonzero(~states.stable_inactive[k]).tolist()
    assert first.nn.layer[0].affine[0].name == "nn.layer[0].affine[0]"


def test_every_variable_takes_the_networks_values(network: Network) -> None:
    model = small_model(network)
    solve(model)
    x = np.array([model.x[i].value for i in range(3)])
    for k, (z, layer) in enumerate(zip(network.pre_activations(x), network.layers, strict=True)):
        h = layer.activation(z)
        block = model.nn.layer[k]
        assert all(abs(variable.value - z[j]) < 1e-6 for j, variable in block.z.items())
        assert all(abs(variable.value - h[j]) < 1e-6 for j, variable in block.h.items())
        assert all(round(variable.value) == (z[j] > 0) for j, variable in block.sigma.items() if abs(z[j]) > 1e-6)


def test_own_inputs_and_outputs(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.side = pyo.Constraint(expr=model.nn.inputs[0] + model.nn.inputs[1] <= 0.5)
    model.cost = pyo.Objective(expr=model.nn.outputs[0] + 0.1 * model.nn.inputs[2], sense=pyo.maximize)
    assert solve(model) == pytest.approx(MAXIMUM, abs=1e-6)


def test_network_with_its_own_box_needs_nothing_else(network: Network) -> None:
    boxed = Network(network.layers, input_box=Box.full(3, -1, 1))
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(boxed)
    assert [variable.bounds for variable in model.nn.inputs.values()] == [(-1.0, 1.0)] * 3


def test_expressions_and_numbers_are_linked(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.a, model.b = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 2))
    model.twice = pyo.Var()
    model.nn = ReLUBlock(
        network, inputs=[model.a - 0.5 * model.b, model.a, 0.3], outputs=[model.twice / 2, model.twice]
    )
    assert model.nn.inputs[1] is model.a
    assert model.nn.inputs[0].bounds == (-1.0, 1.0)
    assert model.nn.outputs[1] is model.twice
    model.free = pyo.Constraint(expr=model.twice <= 100)
    model.nn.output_link.deactivate()
    model.cost = pyo.Objective(expr=model.twice)
    solve(model)
    x = [pyo.value(model.a - 0.5 * model.b), model.a.value, 0.3]
    assert network(x)[1] == pytest.approx(model.twice.value, abs=1e-6)


@pytest.mark.parametrize("kind", ["list", "dict", "array", "reference"])
def test_ways_to_give_inputs(network: Network, kind: str) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(["a", "b", "c"], bounds=(-1, 1))
    members = list(model.x.values())
    given = {
        "list": members,
        "dict": {2: members[2], 0: members[0], 1: members[1]},
        "array": np.array(members, dtype=object),
        "reference": pyo.Reference(model.x[:]),
    }[kind]
    model.nn = ReLUBlock(network, inputs=given)
    assert [model.nn.inputs[i].name for i in range(3)] == ["x[a]", "x[b]", "x[c]"]


def test_named_inputs_of_a_network_with_several(network: Network) -> None:
    two = Network(network.layers, input_slices={"left": slice(0, 1), "right": slice(1, 3)})
    model = pyo.ConcreteModel()
    model.left, model.right = pyo.Var(bounds=(0, 1)), pyo.Var([5, 7], bounds=(0, 2))
    model.nn = ReLUBlock(two, inputs={"right": model.right, "left": model.left})
    assert [model.nn.inputs[i].name for i in range(3)] == ["left", "right[5]", "right[7]"]


def test_narrower_input_bounds_are_enforced(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-10, 10))
    model.nn = ReLUBlock(network, inputs=model.x, input_bounds={0: (-1, 1), 2: (0, 2)})
    assert model.nn.activation_bounds.box.lower.tolist() == [-1.0, -10.0, 0.0]
    assert list(model.nn.input_box.keys()) == [0, 2]
    model.cost = pyo.Objective(expr=model.x[0])
    assert solve(model) == pytest.approx(-1.0)


def test_user_bounds_are_never_touched_and_still_hold(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.y = pyo.Var(range(2), bounds=(None, 2.0))
    model.nn = ReLUBlock(network, inputs=model.x, outputs=model.y)
    model.cost = pyo.Objective(expr=model.y[0], sense=pyo.maximize)
    model.ease = pyo.Constraint(expr=model.y[1] >= -1e3)
    assert [variable.bounds for variable in model.y.values()] == [(None, 2.0)] * 2
    results = pyo.SolverFactory("omlt_ext.highs").solve(model, load_solutions=False)
    assert results.solver.termination_condition == pyo.TerminationCondition.infeasible  # y[1] is never below 6


def test_relu_outputs_given_as_variables(make_network: MakeNetwork) -> None:
    relu = make_network((2, 4, 3), 5, relu_output=True)
    dead = Network([*relu.layers[:-1], Layer(-np.abs(relu.layers[-1].weight), [-1.0, 0.5, 0.2], relu=True)])
    model = pyo.ConcreteModel()
    model.x, model.y = pyo.Var(range(2), bounds=(-1, 1)), pyo.Var(range(3), bounds=(-5, 5))
    model.nn = ReLUBlock(dead, inputs=model.x, outputs=model.y)
    assert model.nn.activation_bounds.stable_inactive[1][0]
    for j in range(3):
        for sense in (pyo.minimize, pyo.maximize):
            model.del_component("cost")
            model.cost = pyo.Objective(expr=model.y[j], sense=sense)
            for solver in ("omlt_ext.highs", "appsi_highs"):
                value = solve(model, solver)
                assert model.nn.get_error() < 1e-6
                assert value == pytest.approx(dead([v.value for v in model.x.values()])[j], abs=1e-6)


@pytest.mark.parametrize("copy", [lambda m: m.clone(), lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_stand_alone(network: Network, copy: Callable[[pyo.ConcreteModel], pyo.ConcreteModel]) -> None:
    model = small_model(network)
    twin = copy(model)
    assert twin.nn.inputs[0] is twin.x[0]
    assert twin.nn.outputs[0] is twin.y[0]
    assert twin.nn.layer[2].z[0] is twin.y[0]
    for solver in ("omlt_ext.highs", "appsi_highs"):
        assert solve(twin, solver) == pytest.approx(MAXIMUM, abs=1e-6)
    assert model.x[0].value is None
    twin.x[0].setub(0.0)
    twin.nn.rebuild()
    assert model.nn.activation_bounds.box.upper[0] == 1.0
    assert solve(twin) <= MAXIMUM + 1e-9


def test_indexed_and_nested_blocks(network: Network) -> None:
    model = pyo.ConcreteModel()

    def hour(block: pyo.Block, t: int) -> None:
        block.x = pyo.Var(range(3), bounds=(-1, 1))
        block.inner = pyo.Block()
        block.inner.nn = ReLUBlock(network, inputs=block.x)

    model.hour = pyo.Block(range(4), rule=hour)
    model.ramp = pyo.Constraint(range(3), rule=lambda m, t: m.hour[t].x[0] + m.hour[t + 1].inner.nn.outputs[1] <= 8)
    total = sum(model.hour[t].inner.nn.outputs[0] for t in range(4))
    model.cost = pyo.Objective(expr=total, sense=pyo.maximize)
    ours = solve(model)
    assert max(model.hour[t].inner.nn.get_error() for t in range(4)) < 1e-6
    assert solve(model.clone(), "appsi_highs") == pytest.approx(ours, abs=1e-4 * abs(ours))


def test_several_blocks_share_inputs(network: Network, make_network: MakeNetwork) -> None:
    other = make_network((3, 4, 1), 9)
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.one, model.two = ReLUBlock(network, inputs=model.x), ReLUBlock(other, inputs=model.x)
    model.cost = pyo.Objective(expr=model.one.outputs[0] - model.two.outputs[0], sense=pyo.maximize)
    value = solve(model)
    x = [variable.value for variable in model.x.values()]
    assert value == pytest.approx(network(x)[0] - other(x)[0], abs=1e-6)


def test_abstract_models(network: Network) -> None:
    abstract = pyo.AbstractModel()
    abstract.x = pyo.Var(range(3), bounds=(-1, 1))
    abstract.nn = ReLUBlock(network, inputs=abstract.x)
    abstract.side = pyo.Constraint(rule=lambda m: m.x[0] + m.x[1] <= 0.5)
    abstract.cost = pyo.Objective(rule=lambda m: m.nn.outputs[0] + 0.1 * m.x[2], sense=pyo.maximize)
    instance = abstract.create_instance()
    assert instance.nn.inputs[0] is instance.x[0]
    assert solve(instance) == pytest.approx(MAXIMUM, abs=1e-6)


def test_rebuild_takes_the_bounds_again(network: Network) -> None:
    model = small_model(network)
    wide = model.nn.activation_bounds
    for variable in model.x.values():
        variable.setlb(-0.1)
        variable.setub(0.1)
    assert model.nn.stale_inputs() == []
    model.nn.rebuild()
    assert model.nn.activation_bounds.n_unstable < wide.n_unstable
    model.x[1].setub(2.0)
    assert model.nn.stale_inputs() == [1]
    with pytest.raises(ModelError, match=r"input 1 .* call nn.rebuild"):
        pyo.SolverFactory("omlt_ext.highs").solve(model)
    model.nn.rebuild()
    assert model.nn.activation_bounds.box.upper[1] == 2.0
    solve(model)
    assert model.nn.get_error() < 1e-6


def test_rebuild_keeps_own_inputs_and_outputs(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.side = pyo.Constraint(expr=model.nn.inputs[0] + model.nn.inputs[1] <= 0.5)
    model.cost = pyo.Objective(expr=model.nn.outputs[0] + 0.1 * model.nn.inputs[2], sense=pyo.maximize)
    best = solve(model)
    before = model.nn.outputs[0].bounds
    model.nn.inputs[2].setub(0.0)
    model.nn.outputs[1].setub(9.0)
    model.nn.rebuild()
    assert model.nn.outputs[1].ub == 9.0
    assert model.nn.outputs[0].ub <= before[1]
    assert solve(model) <= best + 1e-6
    model.nn.rebuild(input_bounds=(-1, 1))
    model.nn.outputs[1].setub(None)
    assert solve(model) == pytest.approx(best, abs=1e-6)


def test_failed_rebuild_leaves_the_block(network: Network) -> None:
    model = small_model(network)
    model.x[0].setub(None)
    with pytest.raises(BoundsError, match=r"nn: input 0 \(x\[0\]\) has bounds \[-1.0, inf\]"):
        model.nn.rebuild()
    model.x[0].setub(1)
    assert solve(model) == pytest.approx(MAXIMUM, abs=1e-6)


def test_given_bounds_are_intersected(network: Network) -> None:
    box = Box.full(3, -1, 1)
    crown = tighten_bounds(network, box)
    tight = Bounds.of(network, box, [lo * 0.999 for lo in crown.lower], crown.upper)
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=box, bounds=tight, effort="interval")
    assert np.all(model.nn.activation_bounds.upper[1] <= crown.upper[1])


def test_set_values_from_is_a_feasible_start(network: Network) -> None:
    model = small_model(network)
    model.nn.set_values_from([0.1, -0.2, 0.3])
    assert model.nn.get_error() == 0.0
    for row in model.nn.component_data_objects(pyo.Constraint, active=True):
        body = pyo.value(row.body)
        assert row.lb is None or body >= row.lb - 1e-9
        assert row.ub is None or body <= row.ub + 1e-9


def test_print_stats(network: Network) -> None:
    model = small_model(network)
    text = io.StringIO()
    model.nn.print_stats(file=text)
    assert "3-6-5-2" in text.getvalue()
    assert f"({model.nn.activation_bounds.n_unstable} binary)" in text.getvalue()


def test_pprint_and_display_work(network: Network) -> None:
    model = small_model(network)
    text = io.StringIO()
    model.pprint(ostream=text)
    solve(model)
    model.display(ostream=text)
    assert "relu_active" in text.getvalue()


def test_rewritten_rows_become_ordinary_constraints(network: Network) -> None:
    model = small_model(network)
    solve(model)
    row = next(iter(model.nn.layer[0].relu_above.values()))
    neuron = row.index()
    row.set_value(model.nn.layer[0].h[neuron] == 0.5)
    assert row.equality
    assert pyo.SolverFactory("omlt_ext.highs").solve(model).solver.termination_condition == "optimal"
    assert model.nn.layer[0].h[neuron].value == pytest.approx(0.5, abs=1e-6)


def test_row_expressions_are_pyomo_expressions() -> None:
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(Network([Layer([[3.0, -2.0]], [0.5], relu=True)]), input_bounds=(0, 1))
    texts = [str(row.expr) for row in model.nn.layer[0].component_data_objects(pyo.Constraint)]
    assert texts[1] == "-3.0*nn.inputs[0] + 2.0*nn.inputs[1] + nn.layer[0].z[0]  ==  0.5"


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({}, BoundsError, r"nn: input 0, like 2 others, has bounds \[-inf, inf\]; a network needs a finite box"),
        ({"input_bounds": (1, 0)}, BoundsError, "lower bound 1.0 lies above upper bound 0.0"),
        ({"input_bounds": (0, np.inf)}, BoundsError, "must be finite"),
        ({"input_bounds": {7: (0, 1)}}, BoundsError, "7 is no input; they are numbered 0 to 2"),
        ({"input_bounds": (0, 1), "inputs": [1.0, 2.0]}, ShapeError, "inputs: 2 given, the network has 3"),
        ({"input_bounds": (0, 1), "inputs": 17}, ShapeError, "inputs: 1 given"),
        ({"input_bounds": (0, 1), "inputs": ["a", "b", "c"]}, ModelError, "'a' is no variable"),
        ({"input_bounds": (0, 1), "effort": "heroic"}, BoundsError, "unknown effort 'heroic'"),
        ({"input_bounds": (0, 1), "formulation": "hexagon"}, FormulationError, "no formulation named 'hexagon'"),
        ({"input_bounds": (0, 1), "formulation": BigM}, FormulationError, "is no formulation"),
        ({"input_bounds": (0, 1), "colour": 3}, TypeError, "colour"),
    ],
)
def test_bad_requests(network: Network, keywords: dict[str, object], error: type[Exception], message: str) -> None:
    model = pyo.ConcreteModel()
    with pytest.raises(error, match=message):
        model.nn = ReLUBlock(network, **keywords)


def test_variables_without_bounds_are_named(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(0, None))
    with pytest.raises(BoundsError, match=r"input 0 \(x\[0\]\), like 2 others, has bounds \[0.0, inf\]"):
        model.nn = ReLUBlock(network, inputs=model.x)


def test_whatever_load_network_reads(tmp_path: Path, network: Network) -> None:
    network.save(tmp_path / "net.onnx")
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.nn = ReLUBlock(tmp_path / "net.onnx", model.x)
    assert model.nn.network.n_relus == network.n_relus
    with pytest.raises(ReadError, match="no such file"):
        ReLUBlock("absent.onnx")


def test_slices_and_iterators_as_inputs(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var([1, 2], range(3), bounds=(-1, 1))
    model.one = ReLUBlock(network, inputs=model.x[1, :])
    model.two = ReLUBlock(network, inputs=(model.x[2, i] for i in range(3)))
    assert [variable.name for variable in model.one.inputs.values()] == ["x[1,0]", "x[1,1]", "x[1,2]"]
    assert [variable.name for variable in model.two.inputs.values()] == ["x[2,0]", "x[2,1]", "x[2,2]"]


def test_dicts_with_other_keys_are_refused(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    with pytest.raises(ShapeError, match="the keys"):
        model.nn = ReLUBlock(network, inputs={"c": model.x[2], "a": model.x[0], "b": model.x[1]})


def test_a_rule_must_assign_the_block(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    with pytest.raises(ModelError, match="must assign a ReLUBlock, not return it"):
        model.hour = pyo.Block(range(2), rule=lambda b, t: ReLUBlock(network, inputs=model.x))


def test_inputs_without_weights_need_no_value() -> None:
    network = Network([Layer([[1.0, 0.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    model = pyo.ConcreteModel()
    model.nn = ReLUBlock(network, input_bounds=(-1, 1))
    model.cost = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    pyo.SolverFactory("appsi_highs").solve(model)
    assert model.nn.inputs[1].value is None
    assert model.nn.get_error() < 1e-9


@pytest.mark.parametrize("transformation", ["gdp.bigm", "gdp.hull"])
def test_inside_a_disjunct(network: Network, transformation: str) -> None:
    """Either the network decides y[0], or y[0] = -50, which the network never gives."""
    for use_network, best in ((True, None), (False, -50.0)):
        model = pyo.ConcreteModel()
        model.x, model.y = pyo.Var(range(3), bounds=(-1, 1)), pyo.Var(range(2), bounds=(-100, 100))
        model.on, model.off = Disjunct(), Disjunct()
        model.on.nn = ReLUBlock(network, inputs=model.x, outputs=model.y)
        model.off.fixed = pyo.Constraint(expr=model.y[0] == -50.0)
        model.choice = Disjunction(expr=[model.on, model.off])
        model.side = pyo.Constraint(expr=model.x[0] + model.x[1] <= 0.5)
        model.cost = pyo.Objective(expr=model.y[0] + 0.1 * model.x[2], sense=pyo.maximize)
        model.choice_made = pyo.LogicalConstraint(expr=(model.on if use_network else model.off).indicator_var)
        pyo.TransformationFactory("core.logical_to_linear").apply_to(model)
        pyo.TransformationFactory(transformation).apply_to(model)
        value = solve(model)
        assert value == pytest.approx(MAXIMUM if best is None else best + 0.1, abs=1e-5)


def test_fbbt_runs_and_keeps_the_optimum(network: Network) -> None:
    model = small_model(network)
    fbbt(model)
    assert solve(model) == pytest.approx(MAXIMUM, abs=1e-6)


def test_deleted_and_renamed_rows(network: Network) -> None:
    model = small_model(network)
    model.nn.layer[0].del_component("affine")
    compile_model(model)
    scaled = small_model(network)
    scaled.scaling_factor = pyo.Suffix(direction=pyo.Suffix.EXPORT)
    scaled.scaling_factor[scaled.y[0]] = 10.0
    renamed = pyo.TransformationFactory("core.scale_model").create_using(scaled)
    with pytest.raises(ModelError, match="deleted or renamed"):
        compile_model(renamed)


def test_one_sided_input_bounds(network: Network) -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(3), bounds=(-1, 1))
    model.nn = ReLUBlock(network, inputs=model.x, input_bounds={0: (None, 0.5)})
    assert model.nn.activation_bounds.box.upper.tolist() == [0.5, 1.0, 1.0]


def test_values_must_be_there(network: Network) -> None:
    model = small_model(network)
    with pytest.raises(ModelError, match=r"nn.inputs\[0\] has no value"):
        model.nn.get_error()
    with pytest.raises(ShapeError, match=r"takes \(3,\)"):
        model.nn.set_values_from([1.0])
    with pytest.raises(ModelError, match="coordinate 2 of the point is not finite"):
        model.nn.set_values_from([0.1, 0.2, np.nan])


def test_bounds_of_another_network_are_refused(network: Network, make_network: MakeNetwork) -> None:
    other = tighten_bounds(make_network((3, 4, 2), 1), (-1, 1))
    model = pyo.ConcreteModel()
    with pytest.raises(BoundsError):
        model.nn = ReLUBlock(network, input_bounds=(-1, 1), bounds=other)


def test_bounds_for_a_smaller_box_are_refused(network: Network) -> None:
    small = tighten_bounds(network, (-0.1, 0.1))
    model = pyo.ConcreteModel()
    with pytest.raises(BoundsError):
        model.nn = ReLUBlock(network, input_bounds=(-1, 1), bounds=small)


@pytest.mark.parametrize("formulation", ["bigm", "reduced_space"])
def test_inputs_that_stand_in_no_row_need_no_value(formulation: str) -> None:
    """The only neuron that looks at the second input is inactive: solvers never see that variable."""
    hidden = Layer([[1.0, 1.0], [1.0, 0.0]], [-5.0, 0.0], relu=True)
    model = pyo.ConcreteModel()
    model.x = pyo.Var(range(2), bounds=(-1, 1))
    network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    model.nn = ReLUBlock(network, inputs=model.x, formulation=formulation)
    model.goal = pyo.Objective(expr=model.nn.outputs[0], sense=pyo.maximize)
    pyo.SolverFactory("appsi_highs").solve(model)
    assert model.x[1].value is None
    assert model.nn.get_error() < 1e-9
