"""The rows of the partition formulation, as text; its LP between big-M and the convex hull; the choices of groups."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from single_neuron import directions, exact_slack, hull_max, random_neuron, relaxed_max

from omlt_ext import Box, Layer, Network, tighten_bounds
from omlt_ext.encoding import LayerBounds
from omlt_ext.errors import FormulationError, OptionError
from omlt_ext.formulations import Balas, BigM, Partition
from omlt_ext.formulations.groups import split_rows
from omlt_ext.formulations.partition import BY
from omlt_ext.milp import network_model
from omlt_ext.solvers import HighsSolver

LAYER = Layer([[4, -2, 3, -3]], [-2.0], True)
KNOWN = LayerBounds(np.array([-6.0]), np.array([4.0]), np.zeros(4), np.ones(4))


def test_unstable_neuron() -> None:
    assert str(Partition(groups=2).encode(LAYER, KNOWN)).splitlines() == [
        "z[0] in [-6, 4]",
        "h[0] in [0, 4]",
        "sigma[0] in {0, ..., 1}",
        "part[0,0] in [-5, 0]",
        "part[0,1] in [0, 7]",
        "part_copy[0,0] in [0, 5]",
        "part_copy[0,1] in [0, 7]",
        "relu_above[0]: 0 <= -z[0] + h[0]",
        "relu_active[0]: -z[0] + h[0] + 6 sigma[0] <= 6",
        "relu_inactive[0]: h[0] - 4 sigma[0] <= 0",
        "part_sum[0,0]: 2 x[1] + 3 x[3] + part[0,0] = 0",
        "part_sum[0,1]: -4 x[0] - 3 x[2] + part[0,1] = 0",
        "affine_sum[0]: z[0] - part[0,0] - part[0,1] = -2",
        "part_active[0,0]: -part[0,0] + part_copy[0,0] <= 5",
        "part_active[0,1]: -part[0,1] + part_copy[0,1] <= 0",
        "part_inactive[0,0]: -5 sigma[0] + part_copy[0,0] <= 0",
        "part_inactive[0,1]: -7 sigma[0] + part_copy[0,1] <= 0",
        "relu_parts[0]: h[0] + 7 sigma[0] - part_copy[0,0] - part_copy[0,1] <= 0",
        "h[0] is h[0]",
    ]


def test_one_group_is_big_m() -> None:
    assert str(Partition(groups=1).encode(LAYER, KNOWN)) == str(BigM().encode(LAYER, KNOWN))


def test_a_neuron_with_one_live_weight_is_big_m() -> None:
    layer = Layer([[1.0, 0.0, 2.0]], [-0.5], True)
    known = LayerBounds(np.array([-0.5]), np.array([0.5]), np.zeros(3), np.array([1.0, 1.0, 0.0]))
    assert str(Partition(groups="all").encode(layer, known)) == str(BigM().encode(layer, known))


@pytest.mark.parametrize("seed", range(8))
def test_its_lp_lies_between_big_m_and_the_hull(seed: int) -> None:
    network, known = random_neuron(seed)
    for a in directions(5, seed):
        values = [relaxed_max(network, known, Partition(n, by="order"), a) for n in (1, 5)]
        two = [relaxed_max(network, known, Partition(2, by=by), a) for by in BY]
        hull, big_m = hull_max(network, known.box, a), relaxed_max(network, known, BigM(), a)
        assert values == pytest.approx([big_m, hull], abs=1e-6)
        assert relaxed_max(network, known, Partition("all"), a) == pytest.approx(hull, abs=1e-6)
        assert hull - 1e-6 <= min(two)
        assert max(two) <= big_m + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_its_rows_hold_at_the_networks_points_in_exact_arithmetic(seed: int) -> None:
    network, known = random_neuron(seed)
    layer, box, up = network.layers[0], known.box, network.layers[0].weight[0] > 0
    encoding = network_model(network, known, Partition(3)).networks[0].encodings[0]
    weights = -next(rows for rows in encoding.rows if rows.name == "part_sum").matrix.toarray()[:, : layer.n_in]
    least = [Fraction(value) for value in encoding.columns[3].lower]
    for x in [box.lower, box.upper, np.where(up, box.lower, box.upper), *box.sample(5, np.random.default_rng(seed))]:
        sums = [sum(Fraction(w) * Fraction(v) for w, v in zip(row, x, strict=True)) for row in weights]
        copies = [s - low for s, low in zip(sums, least, strict=True)]
        assert exact_slack(encoding, layer, x, lambda s, k=(sums, copies): [*k[0], *(s * c for c in k[1])]) >= 0


@pytest.mark.parametrize("seed", range(3))
def test_finer_groups_are_never_weaker(seed: int) -> None:
    network, known = random_neuron(2 * seed, n=8)
    for a in directions(8, seed):
        values = [relaxed_max(network, known, Partition(n, by="order"), a) for n in (1, 2, 4, 8)]
        assert max(np.diff(values)) < 1e-7
        assert values[3] == pytest.approx(relaxed_max(network, known, Balas(), a), abs=1e-6)


def test_bounds_of_the_sums_see_the_layers_before(make_network: Callable[..., Network]) -> None:
    network = make_network((3, 12, 12, 1), 0)
    known = tighten_bounds(network, Box.full(3, -1, 1), effort="crown")
    values = [relaxed_max(network, known, Partition(2, effort=e), np.zeros(3)) for e in ("interval", "crown", "dual")]
    assert values[1] < values[0] - 1e-3
    assert values[2] <= values[1] + 1e-9


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("groups", [2, 3, "all"])
def test_every_choice_of_groups_is_exact(
    by: str,
    groups: int | str,
    every_state_network: tuple[Network, Box],
    brute_force: Callable[..., float],
) -> None:
    network, box = every_state_network
    known, c = tighten_bounds(network, box, effort="crown"), np.array([0.3, -1.0, 2.0])
    for maximize in (True, False):
        model = network_model(network, known, Partition(groups, by=by), objective=c, maximize=maximize)
        found = HighsSolver(model, {"mip_rel_gap": 0.0}).solve().value
        assert found == pytest.approx(brute_force(network, box, c, maximize=maximize), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from(BY), st.sampled_from([2, 3, 7, "all"]))
@settings(deadline=None, max_examples=60)
def test_groups_share_the_weights_out(seed: int, by: str, groups: int | str) -> None:
    rng = np.random.default_rng(seed)
    W = rng.integers(-2, 3, size=(4, 6)) * rng.choice([0.5, 1.0], size=(4, 6))
    live = rng.random(6) < 0.8
    matrix, row, group = split_rows(sparse.csr_array(W), live, groups, by, 1)
    split = np.unique(row)
    together = sparse.csr_array((np.ones(row.size), (row, np.arange(row.size))), shape=(4, row.size)) @ matrix
    np.testing.assert_array_equal(together.toarray()[split], W[split])
    assert (np.bincount(row)[split] >= 2).all()
    assert len({*zip(row.tolist(), group.tolist(), strict=True)}) == row.size
    whole = np.setdiff1d(np.arange(4), split)
    alive = (W != 0) & live
    if by != "equal_range" and by != "order":
        assert (alive[whole].sum(axis=1) <= 1).all()
    if by == "equal_size":
        for j in split:
            sizes = [np.count_nonzero(part[live]) for part in matrix.toarray()[row == j]]
            assert max(sizes) - min(sizes) <= 1
            assert len(sizes) == (alive[j].sum() if groups == "all" else min(int(groups), alive[j].sum()))


def test_the_choices() -> None:
    W, live = sparse.csr_array([[9.0, 1.0, -5.0, 2.0, 8.0, 3.0]]), np.ones(6, dtype=bool)
    chosen = {by: split_rows(W, live, 2, by, 0)[0].toarray()[0] for by in BY}
    assert chosen["equal_size"].tolist() == [0, 1, -5, 2, 0, 0]
    assert chosen["equal_range"].tolist() == [0, 1, -5, 0, 0, 0]
    assert chosen["uneven"].tolist() == [0, 0, -5, 0, 8, 3]
    assert chosen["order"].tolist() == [9, 1, -5, 0, 0, 0]
    assert np.count_nonzero(chosen["random"]) == 3


def test_groups_by_hand() -> None:
    text = str(Partition(groups=((0, 1), (2,), (3,))).encode(LAYER, KNOWN))
    assert "part_sum[0,0]: -4 x[0] + 2 x[1] + part[0,0] = 0" in text
    assert "part_sum[0,2]: 3 x[3] + part[0,2] = 0" in text
    with pytest.raises(FormulationError, match="the groups hold 2 inputs, the layer has 4"):
        Partition(groups=((0,), (1,))).encode(LAYER, KNOWN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "0 groups; give a number from 1 on"),
        ({"groups": True}, "True groups"),
        ({"groups": 2.5}, "2.5 groups"),
        ({"groups": "many"}, "'many' groups"),
        ({"groups": ((0, 1), (1, 2))}, "must hold each of the layer's inputs"),
        ({"groups": ()}, "must hold each of the layer's inputs"),
        ({"by": "size"}, "by is 'size'; choose one of 'equal_size'"),
        ({"effort": "lp"}, "effort is 'lp'; choose one of 'interval'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Partition(**options)  # type: ignore[arg-type]


def test_numbers_of_numpy_and_wrong_seeds() -> None:
    assert Partition(np.int64(2)) == Partition(2)
    for seed in (-1, "a", 1.5):
        with pytest.raises(OptionError, match="seed is"):
            Partition(by="random", seed=seed)  # type: ignore[arg-type]
