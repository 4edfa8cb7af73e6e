"""What the comparison of all formulations recommends, for the solver that will read the model.

case_studies/04_formulations measures every formulation with several bounds on forty problems. Three things paid there:

* linear and stable neurons substituted away (`ReducedSpace`), unless layers are sparse, where products would fill up;
* big-M for HiGHS, which knows no sets; SOS1 sets for SCIP and Gurobi;
* bounds of linear outputs no tighter than interval arithmetic over the last layer. No constant M is made of them, and
  a tight bound of the objective's own column cuts the LP's optimum off along a face, on which branching sees little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from omlt_ext.bounds import Bounds
from omlt_ext.encoding import Encoding, Formulation, LayerBounds, encode_network
from omlt_ext.errors import OptionError
from omlt_ext.network import Bools, Layer, Network
from omlt_ext.propagation.interval import affine_range

from .bigm import BigM
from .reduced_space import ReducedSpace
from .sos1 import SOS1

OVER: dict[str, Formulation] = {"highs": BigM(), "scip": SOS1(), "gurobi": SOS1()}


@dataclass(frozen=True)
class Auto:
    """The recommended formulation for `solver`: "highs", "scip" or "gurobi".

    That of "highs" has rows and binaries only, so that every solver for mixed-integer linear models reads it.
    Raises `OptionError` for another solver.

    >>> from omlt_ext import Box, tighten_bounds
    >>> network = Network([Layer([[1.0], [-1.0]], [0.0, 2.0], relu=True), Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> bounds = tighten_bounds(network, Box([-1], [1]))
    >>> print(encode_network(network, bounds, Auto("gurobi"))[0])  # 2 - x > 0 is substituted, max(0, x) is a set
    z[0] in [-1, 1]
    h[0] in [0, 1]
    hbar[0] in [0, 1]
    affine[0]: -x[0] + z[0] = 0
    parts[0]: -z[0] + h[0] - hbar[0] = 0
    one_of[0]: h[0], hbar[0] in SOS1
    h[0] is h[0]
    h[1] is substituted
    """

    solver: str = "highs"

    name = "auto"

    def __post_init__(self) -> None:
        if self.solver not in OVER:
            raise OptionError(f"solver is {self.solver!r}; choose one of {', '.join(map(repr, OVER))}")

    def for_solver(self, solver: str) -> Formulation:
        """The advice for `solver`: for doors that know who will read the model and were given the name "auto"."""
        return replace(self, solver=solver)

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        """One layer alone has nothing to substitute."""
        return OVER[self.solver].encode(layer, bounds)

    def encode_network(
        self, network: Network, bounds: Bounds, held: Sequence[Bools] | None = None
    ) -> tuple[Encoding, ...]:
        over = OVER[self.solver]
        chosen = over if any(layer.is_sparse for layer in network.layers) else ReducedSpace(over)
        return encode_network(network, _loosened(network, bounds, held), chosen, held)


def _loosened(network: Network, bounds: Bounds, held: Sequence[Bools] | None) -> Bounds:
    """The bounds, with those of linear outputs moved out to what the last layer's inputs leave; held ones stay."""
    last = network.layers[-1]
    free = ~last.relu if held is None else ~last.relu & ~held[-1]
    p, q = bounds.box.lower, bounds.box.upper
    if len(network.layers) > 1:
        p, q = (network.layers[-2].activation(end[-2]) for end in (bounds.lower, bounds.upper))
    wide = affine_range(last, p, q)
    free &= np.isfinite(wide.lower) & np.isfinite(wide.upper)
    lower = np.where(free, np.minimum(bounds.lower[-1], wide.lower), bounds.lower[-1])
    upper = np.where(free, np.maximum(bounds.upper[-1], wide.upper), bounds.upper[-1])
    return replace(bounds, lower=(*bounds.lower[:-1], lower), upper=(*bounds.upper[:-1], upper))
