"""The same model in units that a solver's absolute tolerances can resolve.

    x = s x',   row' = row / r,   c' = c s   with powers of two s and r, which are 1 where nothing is large

Solvers accept rows and bounds that are violated by 1e-6 or so, whatever the numbers in them. Where a pre-activation
reaches 1e9, that is less than double precision itself, and solvers have been seen to prune the optimum. Powers of two
change no digit. What stays within 4096 keeps its unit, and so does the objective: small costs beside a large one would
fall below the solver's dual tolerance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from ..domain import Floats
from ..milp import MatrixModel

LARGEST = 2.0**12


def scale_model(model: MatrixModel) -> tuple[MatrixModel, Floats]:
    """The scaled model and the factors s >= 1 of its columns; the model itself where nothing in it is large.

    Columns are scaled by their finite bounds (integer ones never), rows by the largest coefficient that their scaled
    columns then have. Rows without such a column stay: how exactly the user's own rows hold is the user's choice of
    units.

    >>> import numpy as np
    >>> from omlt_ext import Layer, Network, tighten_bounds
    >>> from omlt_ext.formulations import BigM
    >>> from omlt_ext.milp import network_model
    >>> network = Network([Layer([[2.0**20]], [1.0], relu=False)])
    >>> model = network_model(network, tighten_bounds(network, (0, 1)), BigM(), objective=[1.0])
    >>> scaled, columns = scale_model(model)
    >>> columns, scaled.A.toarray(), scaled.c
    (array([  1., 512.]), array([[-2.048e+03,  1.000e+00]]), array([  0., 512.]))
    """
    magnitude = np.maximum(_finite(model.lower), _finite(model.upper))
    columns = np.where(model.integer, 1.0, power(magnitude))
    if (columns == 1.0).all():
        return model, columns
    rows = row_factors(model, columns)
    scaled = replace(
        model,
        c=model.c * columns,
        A=sparse.csr_array(sparse.diags_array(1.0 / rows) @ model.A @ sparse.diags_array(columns)),
        row_lower=model.row_lower / rows,
        row_upper=model.row_upper / rows,
        lower=model.lower / columns,
        upper=model.upper / columns,
        logic=None if model.logic is None else model.logic.scaled(factors(model.logic.A, columns), columns),
    )
    return scaled, columns


def row_factors(model: MatrixModel, columns: Floats) -> Floats:
    """The factors r >= 1 of the rows, given those of the columns."""
    return factors(sparse.csr_array(model.A), columns)


def factors(A: Any, columns: Floats) -> Floats:
    """The factors of the rows of a CSR matrix, given those of the columns."""
    n = int(A.shape[0])
    if (columns == 1.0).all():
        return np.ones(n)
    size = abs(A.data) * np.where(columns > 1.0, columns, 0.0)[A.indices]
    largest = np.zeros(n)
    np.maximum.at(largest, np.repeat(np.arange(n), np.diff(A.indptr)), size)
    return power(largest * LARGEST)


def power(magnitude: Floats) -> Floats:
    """The smallest power of two s >= 1 with magnitude / s <= LARGEST.

    >>> power(np.array([0.0, 4096.0, 5000.0, 9000.0]))
    array([1., 1., 2., 4.])
    """
    fraction, exponent = np.frexp(np.maximum(magnitude / LARGEST, 1.0))
    return np.ldexp(1.0, exponent - (fraction == 0.5))


def _finite(ends: Floats) -> Floats:
    return np.where(np.isfinite(ends), np.abs(ends), 0.0)
