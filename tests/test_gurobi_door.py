"""A network in a native gurobipy model; all of them small enough for the licence that comes with gurobipy."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from omlt_ext import Box, Layer, Network, plugins, tighten_bounds
from omlt_ext.encoding import encode_network
from omlt_ext.errors import BoundsError, FormulationError, ModelError, ShapeError, SolverError
from omlt_ext.formulations import BigM
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
