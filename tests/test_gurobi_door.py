"""A network in a native gurobipy model; all of them small enough for the licence that comes with gurobipy."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omlt_ext import Box, Layer, Network, plugins, tighten_bounds
from omlt_ext.encoding import encode_network
from omlt_ext.errors import BoundsError, FormulationError, ModelError, OptionError, ShapeError, SolverError
from omlt_ext.formulations import Auto, BigM
from omlt_ext.tightening.effort import Effort

gurobipy = pytest.importorskip("gurobipy")
from omlt_ext.gurobi import add_network  # noqa: E402

GRB = gurobipy.GRB
MakeNetwork = Callable[..., Network]
Optimum = Callable[..., float]


@pytest.fixture
def model() -> object:
    made = gurobipy.Model(env=gurobipy.Env(params={"OutputFlag": 0, "MIPGap": 0, "Threads": 1}))
    yield made
    made.close()


def exact_formulations() -> list[str]:
    """Those that hold the network's own points only."""
    small = Network([Layer([[1.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    bounds = tighten_bounds(small, (-1, 1))
    found = []
    for name in plugins.names(plugins.FORMULATIONS):
        try:
            encodings = encode_network(small, bounds, plugins.formulation(name))
        except FormulationError:  # for smooth activations only
            continue
        if all(encoding.exact for encoding in encodings):
            found.append(name)
    return found


@pytest.mark.parametrize("name", exact_formulations())
def test_the_optimum_is_that_of_enumeration(
    name: str, model: object, every_state_network: tuple[Network, Box], brute_force: Optimum
) -> None:
    network, box = every_state_network
    x = model.addMVar(2, lb=box.lower, ub=box.upper)
    nn = add_network(model, network, x, formulation=name)
    assert nn.outputs.shape == (3,)
    for c in np.array([[1.0, 0.0, 0.0], [0.3, -1.0, 2.0]]):
        for sense in (GRB.MAXIMIZE, GRB.MINIMIZE):
            model.setObjective(c @ nn.outputs, sense)
            model.optimize()
            truth = brute_force(network, box, c, maximize=sense == GRB.MAXIMIZE)
            assert truth == pytest.approx(model.ObjVal, abs=1e-5)
            assert nn.get_error() < 1e-5


def test_a_batch_shares_encodings_where_the_box_is_the_same(model: object, make_network: MakeNetwork) -> None:
    network = make_network((3, 8, 6, 2), 0, scale=0.7)
    lower = np.array([[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [0.0, -0.5, 0.2]])
    x = model.addMVar((3, 3), lb=lower, ub=np.array([1.0, 1.0, 1.0]))
    nn = add_network(model, network, x, name="net")
    assert (nn.inputs.shape, nn.outputs.shape, len(nn.copies)) == ((3, 3), (3, 2), 3)
    assert nn.copies[0].matrix is nn.copies[1].matrix
    assert nn.copies[0].matrix is not nn.copies[2].matrix
    assert nn.copies[2].layer[0].z.tolist()[0].VarName == "net[2].layer[0].z[0]"
    with pytest.raises(ModelError, match="copies"):
        _ = nn.layer
    model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
    model.addConstr(x[0] == np.array([0.3, -0.2, 0.9]))
    model.optimize()
    assert nn.get_error() < 1e-6
    np.testing.assert_allclose(nn.outputs.X, network(x.X), atol=1e-6)
    together = nn.outputs.X[2].sum()
    one = add_network(model, network, model.addMVar(3, lb=lower[2], ub=1.0))
    model.setObjective(one.outputs.sum(), GRB.MAXIMIZE)
    model.optimize()
    assert together == pytest.approx(model.ObjVal, abs=1e-5)


def test_the_box_is_where_bounds_meet_and_is_enforced(model: object) -> None:
    network = Network([Layer([[1.0, 1.0]], [0.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    x = [model.addVar(lb=-5, ub=1, name="a"), model.addVar(lb=-GRB.INFINITY, ub=GRB.INFINITY, name="b")]
    with pytest.raises(BoundsError, match=r"input 1 \(b\) has bounds \[-inf, inf\]"):
        add_network(model, network, x)
    nn = add_network(model, network, x, input_bounds={1: (-2.0, 3.0)})
    assert nn.copies[0].bounds.box.lower.tolist() == [-5.0, -2.0]
    model.setObjective(nn.outputs.sum() + x[1], GRB.MAXIMIZE)
    model.optimize()
    assert pytest.approx(7.0) == model.ObjVal
    nn.remove()
    nn = add_network(model, network, x, input_bounds=([-1.0, 0.0], [2.0, 0.5]))
    assert nn.copies[0].bounds.box.upper.tolist() == [1.0, 0.5]
    model.setObjective(nn.outputs.sum() - x[0] - x[1], GRB.MAXIMIZE)
    model.optimize()
    assert pytest.approx(1.0) == model.ObjVal  # at x = (-1, 0)
    with pytest.raises(BoundsError, match=r"input 0 \(a\): lower bound"):
        add_network(model, network, x, input_bounds=(2.0, 3.0))
    inner = Network(network.layers, input_box=Box([-9.0, -1.0], [9.0, 1.0]))
    assert add_network(model, inner, x).copies[0].bounds.box.upper.tolist() == [1.0, 1.0]


def test_bounds_of_every_kind(model: object, make_network: MakeNetwork) -> None:
    network, box = make_network((3, 8, 6, 1), 1, scale=0.7), Box.full(3, -1, 1)
    x = model.addMVar(3, lb=-1, ub=1)
    plain = add_network(model, network, x).copies[0].bounds
    better = add_network(model, network, x, bounds="dual").copies[0].bounds
    assert sum(width.sum() for width in better.width()) < sum(width.sum() for width in plain.width())
    dialled = add_network(model, network, x, bounds=Effort("dual", steps=2)).copies[0].bounds
    assert dialled.lower_method[-1][0] == better.lower_method[-1][0]
    given = tighten_bounds(network, box, "lp")
    taken = add_network(model, network, x, bounds=given, formulation=BigM()).copies[0].bounds
    for k in range(3):
        np.testing.assert_array_equal(taken.lower[k], np.maximum(given.lower[k], plain.lower[k]))
    with pytest.raises(BoundsError):  # they hold on [-1, 1] only
        add_network(model, network, model.addMVar(3, lb=-2, ub=1), bounds=given)


def test_remove_leaves_the_model_as_it_was(model: object, make_network: MakeNetwork) -> None:
    network = make_network((2, 6, 5, 1), 2)
    x = model.addMVar(2, lb=-1, ub=1, name="x")
    model.addConstr(x.sum() <= 1.5)
    model.setObjective(x.sum(), GRB.MAXIMIZE)
    model.update()
    before = model.NumVars, model.NumConstrs, model.NumSOS, model.NumGenConstrs, model.NumNZs
    for name in ("bigm", "sos1", "indicator"):
        nn = add_network(model, network, x, formulation=name, input_bounds=(-0.5, 0.5))
        assert model.NumVars > before[0]
        nn.remove()
        assert (model.NumVars, model.NumConstrs, model.NumSOS, model.NumGenConstrs, model.NumNZs) == before
        with pytest.raises(ModelError, match="removed"):
            nn.remove()
        with pytest.raises(ModelError, match="removed"):
            nn.get_error()
    model.optimize()
    assert pytest.approx(1.5) == model.ObjVal


def test_a_start_is_the_networks_own_point(model: object, make_network: MakeNetwork) -> None:
    network = make_network((3, 9, 7, 1), 3, scale=0.7)
    x = model.addMVar((2, 3), lb=-1, ub=1)
    nn = add_network(model, network, x)
    model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
    points = np.array([[0.2, -0.4, 0.6], [1.0, 0.0, -1.0]])
    nn.set_start(points)
    model.Params.SolutionLimit = 1
    model.Params.Heuristics = 0
    model.Params.Presolve = 0
    model.optimize()
    assert pytest.approx(float(network(points).sum()), abs=1e-6) == model.ObjVal
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        nn.set_start(points[0])


def test_statistics_and_names(model: object) -> None:
    layers = [Layer([[1.0], [1.0], [1.0]], [0.0, 5.0, -5.0], relu=True), Layer([[1.0, 1.0, 1.0]], [0.0], relu=False)]
    nn = add_network(model, Network(layers), model.addMVar(1, lb=-1, ub=1, name="x"), name="f")
    out = io.StringIO()
    nn.print_stats(out)
    assert "5 variables (1 binary), 6 constraints, 14 nonzeros" in out.getvalue()
    assert "unstable" in out.getvalue()
    assert nn.layer[0].h.VarName.tolist() == ["f.layer[0].h[0]"]
    assert nn.layer[0].z.VarName.tolist() == ["f.layer[0].z[0]", "f.layer[0].z[1]"]
    assert nn.layer[0].neuron["z"].tolist() == [0, 1]
    with pytest.raises(AttributeError, match="z, h, sigma"):
        _ = nn.layer[0].zeta


def test_what_is_no_model_no_input_or_not_solved(model: object, make_network: MakeNetwork) -> None:
    network = make_network((2, 3, 1), 0)
    x = model.addMVar(2, lb=0, ub=1)
    with pytest.raises(ModelError, match="expected a gurobipy"):
        add_network("model", network, x)
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        add_network(model, network, model.addMVar(3, ub=1))
    with pytest.raises(ModelError, match="input 1 is of type float"):
        add_network(model, network, [x.tolist()[0], 0.5])
    with pytest.raises(FormulationError, match="hexagon"):
        add_network(model, network, x, formulation="hexagon")
    nn = add_network(model, network, x)
    with pytest.raises(SolverError, match="optimize"):
        nn.get_error()


def test_arrays_and_a_lone_variable_are_taken(model: object) -> None:
    weights = [(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
    x = model.addVar(lb=-3, ub=2)
    nn = add_network(model, weights, x)
    model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
    model.optimize()
    assert pytest.approx(3.0) == model.ObjVal


def test_variables_of_another_model_are_refused(model: object, make_network: MakeNetwork) -> None:
    network = make_network((2, 3, 1), 0)
    own = model.addVars(2, ub=1.0)
    add_network(model, network, own)  # not updated before
    other = gurobipy.Model(env=gurobipy.Env(params={"OutputFlag": 0}))
    theirs = [other.addVar(ub=1.0) for _ in range(2)]
    with pytest.raises(ModelError, match="input 0 is no variable of this model"):  # not updated there
        add_network(model, network, theirs)
    other.update()
    assert [variable.index for variable in theirs] == [0, 1]
    with pytest.raises(ModelError, match="input 1 is no variable of this model"):
        add_network(model, network, [own[0], theirs[1]])
    with pytest.raises(ModelError, match="input 0,1 is no variable of this model"):
        add_network(model, network, [[own[0], theirs[1]], [own[0], own[1]]])
    other.close()
    gone = model.addVar(ub=1.0)
    model.update()
    model.remove(gone)
    with pytest.raises(ModelError, match="input 1 is no variable of this model"):
        add_network(model, network, [own[0], gone])


@pytest.mark.parametrize("kind", [GRB.SEMICONT, GRB.SEMIINT])
def test_a_semi_continuous_input_may_be_0(kind: str, model: object) -> None:
    network = Network([Layer([[-1.0]], [1.0], relu=True), Layer([[1.0]], [0.0], relu=False)])  # max(0, 1 - x)
    x = model.addVar(lb=2.0, ub=5.0, vtype=kind)
    nn = add_network(model, network, [x])
    box = nn.copies[0].bounds.box
    assert (box.lower.tolist(), box.upper.tolist()) == ([0.0], [5.0])
    model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
    model.optimize()
    assert pytest.approx(1.0) == model.ObjVal  # at 0
    assert nn.get_error() < 1e-6
    nn.remove()
    nn = add_network(model, network, [x], input_bounds=(1.0, 4.0))  # asked for: 0 is out, although below the range
    assert nn.copies[0].bounds.box.lower.tolist() == [1.0]
    model.setObjective(-1.0 * x, GRB.MAXIMIZE)
    model.optimize()
    assert pytest.approx(-2.0) == model.ObjVal
    assert nn.stale_inputs() == []


def cut_network(make_network: MakeNetwork) -> Network:
    return make_network((4, 10, 10, 2), 0, scale=0.7)


@pytest.mark.parametrize("batch", [False, True])
def test_cuts_on_the_relaxation_of_the_whole_model(batch: bool, model: object, make_network: MakeNetwork) -> None:
    network = cut_network(make_network)
    x = model.addMVar((2, 4) if batch else 4, lb=-1, ub=1)
    model.addConstr(x.sum() <= 0.5)
    plain = add_network(model, network, x)
    model.setObjective(plain.outputs.sum(), GRB.MAXIMIZE)
    model.optimize()
    truth = model.ObjVal
    plain.remove()
    model.update()
    before = model.NumConstrs
    nn = add_network(model, network, x, formulation="ideal_cuts")
    model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
    out = io.StringIO()
    nn.print_stats(out)
    assert "no cuts yet: call add_cuts()" in out.getvalue()
    model.update()
    rows = model.NumConstrs
    none = nn.add_cuts(rounds=0)
    assert (none.before, none.rounds, none.cuts, none.status) == (pytest.approx(none.after), 0, 0, "rounds")
    late = nn.add_cuts(time_limit=0)
    assert (late.cuts, late.status) == (0, "time_limit")
    one = nn.add_cuts(rounds=1)
    assert one.before == pytest.approx(none.before)
    assert (one.rounds, one.status) == (1, "rounds")
    done = nn.add_cuts()
    assert done.before == pytest.approx(one.after)
    assert done.before > done.after + 1e-3
    assert done.after > truth - 1e-6
    assert 0 < done.cuts <= done.found
    assert model.NumConstrs == rows + one.cuts + done.cuts
    relaxed = model.relax()
    relaxed.optimize()
    assert done.after == pytest.approx(relaxed.ObjVal)  # those left out were slack
    model.optimize()
    assert pytest.approx(truth, abs=1e-5) == model.ObjVal
    assert nn.get_error() < 1e-5
    out = io.StringIO()
    nn.print_stats(out)
    assert f"{one.cuts + done.cuts} cuts are constraints, 0 were given" in out.getvalue()
    nn.remove()
    assert (model.NumConstrs, model.NumVars) == (before, x.size)


def test_cuts_hold_at_points_of_the_network(model: object, make_network: MakeNetwork) -> None:
    network = cut_network(make_network)
    x = model.addMVar(4, lb=-1, ub=1)
    nn = add_network(model, network, x, formulation="ideal_cuts")
    model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
    assert nn.add_cuts().cuts > 0
    for point in np.random.default_rng(0).uniform(-1, 1, (10, 4)):
        x.LB = x.UB = point
        model.optimize()
        assert model.Status == GRB.OPTIMAL
        np.testing.assert_allclose(nn.outputs.X, network(point), atol=1e-5)


def test_the_callback_gives_cuts_to_the_nodes(make_network: MakeNetwork) -> None:
    network = cut_network(make_network)
    bounds, values = [], []
    for with_cuts in (False, True):
        params = {"OutputFlag": 0, "Threads": 1, "MIPGap": 0, "Cuts": 0, "Presolve": 0, "Heuristics": 0}
        model = gurobipy.Model(env=gurobipy.Env(params=params))
        x = model.addMVar(4, lb=-1, ub=1)
        nn = add_network(model, network, x, formulation="ideal_cuts")
        model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
        model.Params.NodeLimit = 1
        model.optimize(*([nn.callback] if with_cuts else []))
        bounds.append(model.ObjBound)
        model.Params.NodeLimit = GRB.INFINITY
        model.reset()
        calls = []
        if with_cuts:
            assert model.Params.PreCrush == 1
            cut = nn.callback
            model.optimize(lambda running, where, cut=cut, calls=calls: (calls.append(where), cut(running, where)))
            out = io.StringIO()
            nn.print_stats(out)
            assert "0 cuts are constraints" in out.getvalue()
            assert ", 0 were given" not in out.getvalue()
            assert calls
        else:
            model.optimize()
        values.append(model.ObjVal)
        assert nn.get_error() < 1e-5
        model.close()
    assert bounds[1] < bounds[0] - 1e-3
    assert values[0] == pytest.approx(values[1], abs=1e-5)


def test_cuts_that_cannot_be(model: object, make_network: MakeNetwork) -> None:
    x = model.addMVar(2, lb=-1, ub=1)
    plain = add_network(model, make_network((2, 3, 1), 0), x)
    with pytest.raises(ModelError, match="'bigm' has no cuts"):
        plain.add_cuts()
    with pytest.raises(ModelError, match="'bigm' has no cuts"):
        _ = plain.callback
    active = Network([Layer([[1.0, 1.0]], [9.0], relu=True), Layer([[1.0]], [0.0], relu=False)])
    nn = add_network(model, active, x, formulation="ideal_cuts")
    done = nn.add_cuts()
    assert (done.rounds, done.cuts, done.status) == (0, 0, "converged")
    for wrong in ({"rounds": -1}, {"rounds": 1.5}, {"rounds": True}, {"time_limit": -1.0}, {"time_limit": "long"}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            nn.add_cuts(**wrong)
    model.setObjectiveN(x[0].item(), 1)
    with pytest.raises(ModelError, match="2 objectives"):
        nn.add_cuts()
    nn.remove()
    with pytest.raises(ModelError, match="removed"):
        nn.add_cuts()


def test_a_model_whose_relaxation_has_no_optimum(model: object, make_network: MakeNetwork) -> None:
    x, free = model.addMVar(2, lb=-1, ub=1), model.addVar()
    nn = add_network(model, make_network((2, 5, 1), 0), x, formulation="ideal_cuts")
    model.setObjective(free, GRB.MAXIMIZE)
    done = nn.add_cuts()
    assert (done.before, done.after, done.cuts) == (None, None, 0)
    assert "unbounded" in done.status
    model.addConstr(x.sum() >= 3)
    assert "infeasible" in nn.add_cuts().status


def test_a_relaxation_is_marked(model: object, make_network: MakeNetwork) -> None:
    network, x = make_network((2, 6, 1), 0), model.addMVar(2, lb=-1, ub=1)
    for name, marked in (("triangle", True), ("bigm", False)):
        out = io.StringIO()
        add_network(model, network, x, formulation=name).print_stats(out)
        assert ("a relaxation: other points" in out.getvalue()) is marked


def test_auto_by_name_is_the_advice_for_gurobi(model: object, make_network: MakeNetwork) -> None:
    network, x = make_network((2, 6, 1), 0), model.addMVar(2, lb=-1, ub=1)
    named = add_network(model, network, x, formulation="auto")
    assert named.formulation == Auto("gurobi")
    assert model.NumSOS > 0
    assert model.NumBinVars == 0
    named.remove()
    given = add_network(model, network, x, formulation=Auto("highs"))
    assert given.formulation == Auto("highs")
    assert model.NumSOS == 0
    assert model.NumBinVars > 0


def test_default_names_are_free_and_can_be_read_again(model: object, make_network: MakeNetwork, tmp_path: Path) -> None:
    network = make_network((2, 3, 1), 0)
    x = model.addMVar((2, 2), lb=-1, ub=1, name="x")
    for inputs in (x, x[0], x):
        nn = add_network(model, network, inputs, formulation="partition")
    model.setObjective(nn.outputs.sum(), GRB.MAXIMIZE)
    model.update()
    names = [variable.VarName for variable in model.getVars()]
    assert len(set(names)) == len(names)
    assert {name.split(".")[0] for name in names[4:]} == {"nn[0]", "nn[1]", "nn_1", "nn_2[0]", "nn_2[1]"}
    model.optimize()
    model.write(str(tmp_path / "model.lp"))
    again = gurobipy.read(str(tmp_path / "model.lp"), env=gurobipy.Env(params={"OutputFlag": 0}))
    assert {variable.VarName for variable in again.getVars()} <= set(names)
    again.optimize()
    assert again.ObjVal == pytest.approx(model.ObjVal, abs=1e-6)


@pytest.mark.parametrize(
    ("point", "error", "text"),
    [
        ([0.0, np.nan], ModelError, "coordinate 1 of the point is not finite"),
        ([np.inf, 0.0], ModelError, "coordinate 0 of the point is not finite"),
        (["a", "b"], ModelError, "not an array of numbers"),
        ([[0.0], [0.0, 1.0]], ModelError, "not an array of numbers"),
        ([1j, 0.0], ModelError, "complex"),
        (None, ShapeError, r"shape \(\)"),
        ({"x": 1.0}, ModelError, "not an array of numbers"),
        ([0.0, 0.0, 0.0], ShapeError, r"shape \(3,\)"),
    ],
)
def test_a_start_that_is_no_point(
    point: object, error: type[Exception], text: str, model: object, make_network: MakeNetwork
) -> None:
    nn = add_network(model, make_network((2, 3, 1), 0), model.addMVar(2, lb=-1, ub=1))
    with pytest.raises(error, match=text):
        nn.set_start(point)


def test_inputs_in_whatever_they_are_kept(model: object, make_network: MakeNetwork) -> None:
    network = make_network((3, 4, 1), 0)
    x = model.addVars(3, lb=-1, ub=1)
    array = model.addMVar(3, lb=-1, ub=1)
    model.update()
    one_each = [array[i : i + 1] for i in range(3)]
    kept = {
        "tupledict": (x, x),
        "values": (x.values(), x),
        "iterator": (iter(x.values()), x),
        "select": (x.select(), x),
        "by number": ({2: x[2], 0: x[0], 1: x[1]}, x),
        "by name": ({"input": x}, x),
        "in order": (dict(zip("cab", x.values(), strict=True)), x),
        "array": (np.array(list(x.values()), dtype=object), x),
        "elements": ([array[0], array[1], array[2]], dict(enumerate(array.tolist()))),
        "slices": (one_each, dict(enumerate(array.tolist()))),
        "mixed": ([x[0], array[1], one_each[2]], {0: x[0], 1: array.tolist()[1], 2: array.tolist()[2]}),
    }
    for name, (given, expected) in kept.items():
        nn = add_network(model, network, given)
        assert all(own.sameAs(expected[i]) for i, own in enumerate(nn.inputs.tolist())), name
        nn.remove()
    batch = add_network(model, network, [array, x.values()])
    assert batch.inputs.shape == (2, 3)
    single = make_network((1, 4, 1), 0)
    assert add_network(model, single, one_each).inputs.shape == (3, 1)
    assert add_network(model, single, [x[0]]).inputs.shape == (1,)
    named = Network(network.layers, input_slices={"a": slice(0, 2), "b": slice(2, 3)})
    nn = add_network(model, named, {"b": x[2], "a": [x[0], array[1]]})
    assert nn.inputs.tolist()[2].sameAs(x[2])
    with pytest.raises(ShapeError, match="'a': 1 given, the network has 2"):
        add_network(model, named, {"b": x[2], "a": x[0]})


def test_what_is_no_variable_is_named(model: object, make_network: MakeNetwork) -> None:
    network = make_network((2, 3, 1), 0)
    x = model.addMVar(2, lb=-1, ub=1)
    a, b = x.tolist()
    wrong = {
        "input 1 is of type LinExpr": [a, 2 * b],
        "input 0 is of type MLinExpr": 2 * x,
        "input 0 is of type float": [0.5, b],
        "input 0 is of type str": "ab",
        "input 0 is of type NoneType": None,
        "input 1 is of type QuadExpr": [a, a * b],
    }
    for text, given in wrong.items():
        with pytest.raises(ModelError, match=text):
            add_network(model, network, given)
    for given in ([[a, b], [a]], [a, [b]], [[a, [b]], [a, b]], [], [[]], [[[a, b]]]):
        with pytest.raises(ShapeError, match="the network takes"):
            add_network(model, network, given)


def test_widened_inputs_are_found(model: object, make_network: MakeNetwork) -> None:
    network = make_network((2, 3, 1), 0)
    x = model.addMVar((2, 2), lb=-1, ub=1)
    nn, one = add_network(model, network, x), add_network(model, network, x[0], input_bounds=([-1, -0.5], [1, 1]))
    assert (nn.stale_inputs(), one.stale_inputs()) == ([], [])
    x[0, 1].LB = -2.0  # `one` holds this end by a constraint
    x[1, 0].UB = 0.5
    model.update()
    assert (nn.stale_inputs(), one.stale_inputs()) == ([(0, 1)], [])
    x[0, 1].UB = 3.0
    model.update()
    assert (nn.stale_inputs(), one.stale_inputs()) == ([(0, 1)], [1])
    out = io.StringIO()
    one.print_stats(out)
    assert "inputs [1] have wider bounds than the network was added for" in out.getvalue()


def test_the_repr_is_short(model: object, make_network: MakeNetwork) -> None:
    network = make_network((2, 3, 1), 0)
    nn = add_network(model, network, model.addMVar(2, lb=-1, ub=1))
    assert repr(nn) == f"GurobiNetwork({network!r}, formulation 'bigm', inputs (2,))"
    nn.remove()
    assert repr(nn).endswith(", removed)")


def test_without_gurobipy_the_error_names_the_extra() -> None:
    """In a process that cannot import it."""
    script = (
        "import sys\n"
        "import omlt_ext\n"
        "sys.modules['gurobipy'] = None\n"
        "from omlt_ext.errors import MissingDependencyError\n"
        "from omlt_ext.gurobi import add_network\n"
        "try:\n"
        "    add_network(None, None, None)\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "omlt-ext[gurobi]" in done.stdout
