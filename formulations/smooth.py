"""Smooth activations as nonlinear equations, beside ReLUs in any formulation of theirs.

    sigmoid: h = 1 / (1 + e^-z),   tanh: h = 1 - 2 / (e^2z + 1),   softplus: h = log(1 + e^z),   f(l) <= h <= f(u)

for solvers of nonlinear models: global ones such as SCIP and Gurobi, which also take the binaries of the ReLUs, or
local ones with a formulation of the ReLUs that has none. `omlt_ext.curves` says when which form of an equation is
written.

Source: Schweidtmann and Mitsos, Deterministic global optimization with artificial neural networks embedded, Journal of
Optimization Theory and Applications 180 (2019); here in the full space of variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omlt_ext.bounds import Bounds
from omlt_ext.encoding import Encoding, Formulation, LayerBounds, encode_network
from omlt_ext.network import Bools, Layer, Network
from omlt_ext.plugins import formulation


@dataclass(frozen=True)
class Smooth:
    """One equation for each smooth neuron; ReLUs by the formulation `over`, a name or an object.

    >>> import pyomo.environ as pyo
    >>> from omlt_ext import ReLUBlock
    >>> from omlt_ext.mixed import MixedNetwork
    >>> model = pyo.ConcreteModel()
    >>> network = MixedNetwork(Network([Layer([[2.0]], [0.5], relu=False)]), [[3]])
    >>> model.nn = ReLUBlock(network, input_bounds=(-1, 1), formulation=Smooth())
    >>> print(model.nn.layer[0].curve[0].expr)
    nn.outputs[0]  ==  log(1.0 + exp(nn.layer[0].z[0]))
    """

    over: str | Formulation = "bigm"

    name = "smooth"
    nonlinear = True

    def __post_init__(self) -> None:
        formulation(self.over)

    def encode(self, layer: Layer, bounds: LayerBounds) -> Encoding:
        return formulation(self.over).encode(layer, bounds)

    def encode_network(
        self, network: Network, bounds: Bounds, held: Sequence[Bools] | None = None
    ) -> tuple[Encoding, ...]:
        """The encodings of `over`, which may look at all layers together."""
        return encode_network(network, bounds, formulation(self.over), held)
