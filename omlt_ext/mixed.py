"""Networks with smooth neurons (sigmoid, tanh, softplus) beside ReLUs and linear ones, for nonlinear formulations.

A `MixedNetwork` is a *skeleton*, the `Network` in which its smooth neurons are linear, and a code for each neuron that
says which function its pre-activation goes through. It is no `Network`, and nothing written for piecewise-linear
networks takes it: asking for its `layers` raises, so that no algorithm can take a smooth neuron for a linear one.

Symbols: z = W h' + b pre-activation, h post-activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .curves import CURVES, Codes, curve, evaluate, image
from .domain import Box, Floats, numbers
from .errors import NetworkError, UnsupportedOperatorError
from .network import Layer, Network

REMEDY = 'ReLUBlock(network, formulation="smooth") or formulation="complementarity" writes them for nonlinear solvers'


@dataclass(frozen=True, eq=False, init=False)
class MixedNetwork:
    """A network with smooth neurons: call it to evaluate it.

    `skeleton`: the `Network` of its layers, smooth neurons linear. `codes[k]` (n_k,): 0 for ReLUs and linear neurons of
    layer k, 1 for sigmoid, 2 for tanh, 3 for softplus. Raises `NetworkError` where they do not fit each other, where a
    ReLU has a code, and where no neuron has one.

    >>> skeleton = Network([Layer([[1.0], [1.0]], [0.0, 0.0], relu=[True, False]), Layer([[1.0, 1.0]], [0.0], False)])
    >>> network = MixedNetwork(skeleton, [[0, 1], [0]])
    >>> network([[2.0], [0.0]])
    array([[2.88079708],
           [0.5       ]])
    >>> network.layers
    Traceback (most recent call last):
    ...
    omlt_ext.errors.UnsupportedOperatorError: the network is not piecewise linear: layer 0 has 1 sigmoid neuron; ...
    """

    skeleton: Network
    codes: tuple[Codes, ...]

    def __init__(self, skeleton: Network, codes: Sequence[ArrayLike]) -> None:
        if not isinstance(skeleton, Network):
            raise NetworkError(f"the skeleton must be a Network, not of type {type(skeleton).__name__}")
        if len(codes) != len(skeleton.layers):
            raise NetworkError(f"{len(codes)} layers of codes for a network of {len(skeleton.layers)} layers")
        checked = tuple(
            _codes(given, k, layer) for k, (given, layer) in enumerate(zip(codes, skeleton.layers, strict=True))
        )
        if not any(part.any() for part in checked):
            raise NetworkError("no neuron has a smooth activation; use the Network itself")
        object.__setattr__(self, "skeleton", skeleton)
        object.__setattr__(self, "codes", checked)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Raises `UnsupportedOperatorError`: what asks for layers takes every neuron for a ReLU or a linear one."""
        refuse(self)

    def save(self, path: object) -> NoReturn:
        """Raises `UnsupportedOperatorError`: there is no writer; pickle it, or keep the source."""
        refuse(self)

    def pattern(self, x: object) -> NoReturn:
        """Raises `UnsupportedOperatorError`: smooth neurons have no activation pattern."""
        refuse(self)

    def affine_map(self, pattern: object) -> NoReturn:
        """Raises `UnsupportedOperatorError`: a network with smooth neurons is affine nowhere."""
        refuse(self)

    @property
    def n_inputs(self) -> int:
        return self.skeleton.n_inputs

    @property
    def n_outputs(self) -> int:
        return self.skeleton.n_outputs

    @property
    def n_relus(self) -> int:
        """Number of ReLU neurons in all layers."""
        return self.skeleton.n_relus

    @property
    def n_smooth(self) -> int:
        """Number of smooth neurons in all layers."""
        return sum(int(np.count_nonzero(part)) for part in self.codes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.skeleton.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.skeleton.output_shape

    @property
    def input_box(self) -> Box | None:
        return self.skeleton.input_box

    @property
    def input_slices(self) -> dict[str, slice]:
        return self.skeleton.input_slices

    @property
    def output_slices(self) -> dict[str, slice]:
        return self.skeleton.output_slices

    @property
    def source(self) -> str:
        return self.skeleton.source

    def activation(self, k: int, z: Floats) -> Floats:
        """h of layer k at its pre-activations z, (n_k,) or (batch, n_k)."""
        return evaluate(self.codes[k], self.skeleton.layers[k].activation(z))

    def image(self, k: int, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """The range of h of layer k where lower <= z <= upper, rounded outward."""
        layer = self.skeleton.layers[k]
        return image(self.codes[k], layer.activation(lower), layer.activation(upper))

    def __call__(self, x: ArrayLike) -> Floats:
        """f(x): (n_inputs,) -> (n_outputs,), (batch, n_inputs) -> (batch, n_outputs)."""
        return self.activation(len(self.codes) - 1, self.pre_activations(x)[-1])

    def error(self, x: ArrayLike, y: ArrayLike) -> float:
        """How far y is from f(x): max_j |y_j - f_j(x)| / (1 + |f(x)|_inf), for one point."""
        truth = self(x)
        return float(np.abs(np.asarray(y) - truth).max() / (1.0 + np.abs(truth).max()))

    def pre_activations(self, x: ArrayLike) -> tuple[Floats, ...]:
        """z of every layer at x, each (n,) or (batch, n)."""
        h: Any = x
        stack = []
        for k, layer in enumerate(self.skeleton.layers):
            z = layer.pre_activation(h)
            stack.append(z)
            h = self.activation(k, z)
        return tuple(stack)

    def parts(self) -> list[slice]:
        """The layers cut after each one that has smooth neurons: within a part only the last layer has any.

        >>> skeleton = Network([Layer([[1.0]], [0.0], relu) for relu in (True, False, True, False)])
        >>> MixedNetwork(skeleton, [[0], [1], [0], [0]]).parts()
        [slice(0, 2, None), slice(2, 4, None)]
        """
        ends = [k + 1 for k, part in enumerate(self.codes) if part.any()]
        ends = sorted({*ends, len(self.codes)})
        return [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]

    def summary(self) -> str:
        """The skeleton's table of layers, and a line for the smooth neurons, which it counts as linear."""
        held = (describe_layer(k, part) for k, part in enumerate(self.codes) if part.any())
        return "\n".join([self.skeleton.summary(), *(f"  {line}" for line in held)])

    def __repr__(self) -> str:
        widths = "-".join(str(n) for n in (self.n_inputs, *(part.size for part in self.codes)))
        return f"<MixedNetwork {widths} with {_count(self.n_smooth, 'smooth neuron')} from {self.source}>"

    def __deepcopy__(self, memo: object) -> MixedNetwork:
        return self  # frozen

    def __reduce__(self) -> tuple[object, ...]:
        return MixedNetwork, (self.skeleton, self.codes)


AnyNetwork: TypeAlias = Network | MixedNetwork


def piecewise_linear(network: object) -> Network:
    """`network` if it is a `Network`; `UnsupportedOperatorError` for a mixed one, `NetworkError` for anything else."""
    if isinstance(network, MixedNetwork):
        refuse(network)
    if not isinstance(network, Network):
        raise NetworkError(f"expected a Network, not {type(network).__name__}; load_network makes one")
    return network


def refuse(network: MixedNetwork) -> NoReturn:
    """Raise `UnsupportedOperatorError`: which layer, how many neurons, which function, and what takes them."""
    k, name = first_smooth(network)
    message = f"the network is not piecewise linear: {describe(network)}; {REMEDY}"
    raise UnsupportedOperatorError(message, node=f"layer {k}", operator=name)


def describe(network: MixedNetwork) -> str:
    """The first layer with smooth neurons, and how many there are of each kind."""
    k, _ = first_smooth(network)
    return describe_layer(k, network.codes[k])


def describe_layer(k: int, codes: Codes) -> str:
    """How many smooth neurons of each kind layer k has, as text.

    >>> describe_layer(2, np.array([0, 1, 2, 2]))
    'layer 2 has 1 sigmoid neuron and 2 tanh neurons'
    """
    counts = ((int((codes == code).sum()), curve(code).name) for code in range(1, len(CURVES)))
    *others, last = [_count(n, f"{name} neuron") for n, name in counts if n]
    return f"layer {k} has {', '.join(others)}{' and ' if others else ''}{last}"


def first_smooth(network: MixedNetwork) -> tuple[int, str]:
    """The first layer with smooth neurons, and the function of the first of them."""
    k = next(k for k, part in enumerate(network.codes) if part.any())
    return k, curve(int(network.codes[k][network.codes[k] > 0][0])).name


def skeleton_of(network: AnyNetwork) -> Network:
    """The network's layers as a `Network`: itself, or a mixed one's skeleton."""
    return network.skeleton if isinstance(network, MixedNetwork) else network


def activation(network: AnyNetwork, k: int, z: Floats) -> Floats:
    """h of layer k at its pre-activations z."""
    return network.activation(k, z) if isinstance(network, MixedNetwork) else network.layers[k].activation(z)


def output_range(network: AnyNetwork, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """The range of the outputs, for pre-activations of the last layer between lower and upper."""
    if isinstance(network, MixedNetwork):
        return network.image(len(network.codes) - 1, lower, upper)
    last = network.layers[-1]
    return last.activation(lower), last.activation(upper)


def relabelled(
    network: AnyNetwork,
    *,
    input_shape: tuple[int, ...] | None = None,
    input_box: Box | None = None,
    source: str | None = None,
) -> AnyNetwork:
    """The same network with another input shape, box or source, each where it is given."""
    old = skeleton_of(network)
    new = Network(
        old.layers,
        input_shape=input_shape or old.input_shape,
        output_shape=old.output_shape,
        input_box=old.input_box if input_box is None else input_box,
        input_slices=old.input_slices,
        output_slices=old.output_slices,
        source=source or old.source,
    )
    return MixedNetwork(new, network.codes) if isinstance(network, MixedNetwork) else new


def _codes(given: ArrayLike, k: int, layer: Layer) -> Codes:
    values = numbers(given, f"the codes of layer {k}", NetworkError)
    if values.shape != (layer.n_out,):
        raise NetworkError(f"the codes of layer {k} have shape {values.shape}, not ({layer.n_out},)")
    if not np.isin(values, range(len(CURVES))).all():
        raise NetworkError(f"the codes of layer {k} must be whole numbers from 0 to {len(CURVES) - 1}")
    codes = values.astype(np.int8)
    both = layer.relu & (codes > 0)
    if both.any():
        j = int(np.flatnonzero(both)[0])
        raise NetworkError(f"layer {k}, neuron {j}: a ReLU cannot have the activation {curve(codes[j]).name!r} as well")
    codes.setflags(write=False)
    return codes


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
