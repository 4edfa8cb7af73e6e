"""One family of errors: each derives from OmltExtError, keeps its standard base, and survives a process pool."""

from __future__ import annotations

import inspect
import pickle

import pytest

from omlt_ext import OmltExtError, errors

FAMILY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


def make(kind: type[OmltExtError]) -> OmltExtError:
    if kind is errors.UnsupportedOperatorError:
        return kind("node 'n' is a Sin", node="n", operator="Sin")
    return kind("layer 2, neuron 7: bounds [1.0, 0.0]")


def test_the_family_is_found():
    assert {errors.OmltExtError, errors.NetworkError, errors.UnsupportedOperatorError} <= set(FAMILY)


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_is_one_of_the_family(kind):
    assert issubclass(kind, OmltExtError)
    assert kind.__doc__
    with pytest.raises(OmltExtError):
        raise make(kind)


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_pickles(kind):
    error = make(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.args == error.args


def test_the_node_and_its_operator_survive_pickling():
    again = pickle.loads(pickle.dumps(make(errors.UnsupportedOperatorError)))
    assert (again.node, again.operator) == ("n", "Sin")


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        (errors.NetworkError, ValueError),
        (errors.ShapeError, ValueError),
        (errors.BoundsError, ValueError),
        (errors.OptionError, ValueError),
        (errors.UnsupportedOperatorError, errors.ReadError),
        (errors.ImportCheckError, errors.ReadError),
        (errors.MissingDependencyError, ImportError),
        (errors.SolverError, RuntimeError),
    ],
)
def test_code_that_catches_the_standard_error_catches_ours(kind, standard):
    with pytest.raises(standard, match=r"."):
        raise make(kind)
