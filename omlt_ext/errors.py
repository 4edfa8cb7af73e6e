"""One exception family: each message says which object, at which index, with which value, and what to do."""

from __future__ import annotations


class OmltExtError(Exception):
    """Base of every error that this package raises on purpose."""


class NetworkError(OmltExtError, ValueError):
    """A network that cannot be one: NaN or infinite weights, shapes that do not follow each other."""


class ShapeError(OmltExtError, ValueError):
    """An array, a list of variables or a point has the wrong shape for the network."""


class BoundsError(OmltExtError, ValueError):
    """A bound is missing, infinite, NaN, or its lower end lies above its upper end."""


class InfeasibleError(BoundsError):
    """No point is left: what was asked of the inputs and the outputs cannot hold together."""


class ReadError(OmltExtError, ValueError):
    """A file or an object cannot be read: missing, empty, truncated, malformed, or unsafe to open."""


class UnsupportedOperatorError(ReadError):
    """A network holds something that is not piecewise linear, or that no reader lowers yet.

    `node` is the name of the offending node (or its position), `operator` the operator's name.
    """

    def __init__(self, message: str, *, node: str, operator: str) -> None:
        super().__init__(message)
        self.node = node
        self.operator = operator

    def __reduce__(self) -> tuple[object, ...]:
        return (_unsupported, (str(self), self.node, self.operator))


def _unsupported(message: str, node: str, operator: str) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(message, node=node, operator=operator)


class ImportCheckError(ReadError):
    """The lowered network and the source's own evaluator disagree on a point: the import is refused."""


class MissingDependencyError(OmltExtError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class FormulationError(OmltExtError, ValueError):
    """A formulation cannot be found, or cannot encode the layer it was given."""


class ModelError(OmltExtError, ValueError):
    """A Pyomo model cannot take the path it was sent down: nonlinear, unbounded inputs, changed bounds."""


class SolverError(OmltExtError, RuntimeError):
    """A solver failed, or its answer disagrees with the network by more than the stated tolerance."""


class LicenceError(SolverError):
    """A commercial solver has no licence here, or none for a model of this size."""


class OptionError(OmltExtError, ValueError):
    """An argument, a weight of an objective or a setting has a value that it cannot have."""
