"""The door for users of OMLT: our formulations in an `OmltBlock`, by changing one line. Needs the extra `omlt`.

What OMLT asks of a formulation is four names (`input_indexes`, `output_indexes`, `_set_block`, `_build_formulation`).
The work is done by a `ReLUBlock` on the variables of OMLT's block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyomo.environ as pyo

from .block import ReLUBlock
from .bounds import Bounds
from .encoding import Formulation
from .errors import ModelError
from .inputs import given_box
from .plugins import formulation as find_formulation
from .readers import load_network
from .readers.omlt import affine_parts, scaling_map

Index = tuple[int, ...]


class NetworkFormulation:
    """A network for `OmltBlock().build_formulation(...)`, with any formulation of this package.

    `network`: an OMLT `NetworkDefinition`, with its scaling and its input bounds, or anything else that `load_network`
    reads. `formulation`, `bounds`, `effort` and `input_bounds` as for `ReLUBlock`; the box is where the definition's
    own bounds and `input_bounds` meet.

    The block has, as with OMLT's own formulations, the variables `inputs` and `outputs`, unscaled, under OMLT's
    indexes, and `scaled_inputs` and `scaled_outputs`, which are expressions here. `layer[k].z[j]`, `layer[k].h[j]` and
    `layer[k].sigma[j]` are those of the `ReLUBlock` that stands in the block as `relu`; `relu.get_error()` and the
    other methods work, and so do all solvers and transformations of this package. Call `relu.rebuild()` after the
    bounds of the inputs were widened.

    Raises `BoundsError`, when it is built, where an input has no finite bounds.

    >>> from omlt import OmltBlock
    >>> from omlt_ext import Layer, Network
    >>> network = Network([Layer([[1.0, -1.0]], [0.0], relu=True), Layer([[2.0]], [1.0], relu=False)])
    >>> m = pyo.ConcreteModel()
    >>> m.nn = OmltBlock()
    >>> m.nn.build_formulation(NetworkFormulation(network, "bigm", input_bounds=(0, 1)))
    >>> m.most = pyo.Objective(expr=m.nn.outputs[0], sense=pyo.maximize)
    >>> results = pyo.SolverFactory("omlt_ext.highs").solve(m)
    >>> pyo.value(m.nn.outputs[0]), m.nn.relu.get_error()
    (3.0, 0.0)
    """

    def __init__(
        self,
        network: object,
        formulation: str | Formulation = "bigm",
        *,
        bounds: Bounds | None = None,
        effort: str = "crown",
        input_bounds: object = None,
    ) -> None:
        self.network = load_network(network, smooth=True)
        self.formulation = find_formulation(formulation)
        self._scaling = getattr(network, "scaling_object", None)
        self._bounds, self._effort, self._input_bounds = bounds, effort, input_bounds
        self._block: Any = None

    @property
    def block(self) -> Any:
        """OMLT's block that this was built on, None before."""
        return self._block

    @property
    def input_indexes(self) -> list[Index]:
        """Every index of the inputs, row by row, as OMLT writes them: tuples."""
        return list(np.ndindex(*(self.network.input_shape or (1,))))

    @property
    def output_indexes(self) -> list[Index]:
        """Every index of the outputs, row by row."""
        return list(np.ndindex(*(self.network.output_shape or (1,))))

    def _set_block(self, block: Any) -> None:
        if self._block is not None:
            raise ModelError(
                f"this NetworkFormulation was built on {self._block.name} already; make one for each block"
            )
        self._block = block

    def _build_formulation(self) -> None:
        block, network = self._block, self.network
        low, high = given_box(self._input_bounds, network.n_inputs)
        if network.input_box is not None:
            low, high = np.maximum(low, network.input_box.lower), np.minimum(high, network.input_box.upper)
        for variable, least, most in zip(block.inputs.values(), low.tolist(), high.tolist(), strict=True):
            variable.setlb(least if np.isfinite(least) else None)
            variable.setub(most if np.isfinite(most) else None)
        block.relu = ReLUBlock(
            network,
            inputs=list(block.inputs.values()),
            outputs=list(block.outputs.values()),
            bounds=self._bounds,
            effort=self._effort,
            formulation=self.formulation,
        )
        block.layer = Layers(block.relu)
        scaled = scaling_map(self._scaling, "get_scaled_input_expressions", network.input_shape)
        unscaled = scaling_map(self._scaling, "get_unscaled_output_expressions", network.output_shape)
        factor, offset = (part.ravel() for part in affine_parts(scaled, network.input_shape))
        block.scaled_inputs = _affine_of(block.inputs, factor, offset)
        factor, offset = (part.ravel() for part in affine_parts(unscaled, network.output_shape))
        if factor.all():
            block.scaled_outputs = _affine_of(block.outputs, 1.0 / factor, -offset / factor)


class Layers:
    """`layer[k]` of a `ReLUBlock` as it is now: `rebuild` makes them anew."""

    def __init__(self, block: ReLUBlock) -> None:
        self._block = block

    def __getitem__(self, k: int) -> Any:
        return self._block.layer[k]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self._block.layer)


def _affine_of(variables: Any, factor: Any, offset: Any) -> Any:
    terms = zip(variables.items(), factor.tolist(), offset.tolist(), strict=True)
    return pyo.Expression(variables.index_set(), initialize={i: a * variable + b for (i, variable), a, b in terms})
