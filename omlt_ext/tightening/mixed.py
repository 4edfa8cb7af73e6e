"""Bounds of networks with smooth neurons: the ladder on each part, and the functions' ranges between parts.

Symbols: l <= z <= u bounds of the pre-activations of a part's last layer, f its activations, [f(l), f(u)] the box of
the next part's inputs, rounded outward.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from numpy.typing import ArrayLike

from ..bounds import Bounds
from ..domain import Box, Polytope, as_domain
from ..errors import BoundsError
from ..mixed import AnyNetwork
from ..network import Network
from ..propagation.interval import check_given
from .effort import Effort
from .ladder import tighten_bounds


def tighten_mixed(
    network: AnyNetwork,
    domain: Box | Polytope | Iterable[ArrayLike],
    effort: str | Effort = "dual",
    *,
    bounds: Bounds | None = None,
) -> Bounds:
    """`tighten_bounds`, also for a `MixedNetwork`: bounds of the pre-activations of its skeleton's layers.

    The network is cut after each layer with smooth neurons, and every rung works on one part after the other: what
    neurons have in common is lost at a cut, nothing else. The arguments are those of `tighten_bounds`, and so are the
    errors.

    >>> from omlt_ext import Layer
    >>> from omlt_ext.mixed import MixedNetwork
    >>> skeleton = Network([Layer([[3.0]], [0.0], relu=False), Layer([[2.0]], [1.0], relu=True)])
    >>> bounds = tighten_mixed(MixedNetwork(skeleton, [[2], [0]]), (-1, 1))
    >>> print(f"{bounds.lower[1][0]:.6f} {bounds.upper[1][0]:.6f}")
    -0.990110 2.990110
    """
    if isinstance(network, Network):
        return tighten_bounds(network, domain, effort, bounds=bounds)
    box, polytope = as_domain(domain, network.n_inputs)
    check_given(bounds, network.skeleton, box, polytope)
    chosen, begin = Effort.of(effort), time.time()
    here: Box | Polytope = box if polytope is None else polytope
    found: list[Bounds] = []
    for layers in network.parts():
        # given bounds hold at what the network reaches in the box, which is all that bounds of later parts are about
        known = (
            None if bounds is None else bounds.part(layers, *((here, None) if isinstance(here, Box) else (box, here)))
        )
        try:
            piece = Network(network.skeleton.layers[layers])
            found.append(tighten_bounds(piece, here, _within(chosen, layers, begin), bounds=known))
        except BoundsError as error:
            at = f" (counting from layer {layers.start}, where a part begins)" if layers.start else ""
            raise type(error)(f"{error}{at}") from None
        here = Box(*network.image(layers.stop - 1, found[-1].lower[-1], found[-1].upper[-1]))
    names = ("lower", "upper", "relu", "lower_method", "upper_method", "seconds")
    joined = {name: tuple(values for part in found for values in getattr(part, name)) for name in names}
    notes = tuple(dict.fromkeys(note for part in found for note in part.notes))
    return Bounds(box=box, polytope=polytope, notes=notes, **joined)


def _within(effort: Effort, layers: slice, begin: float) -> Effort:
    """The effort for some of the layers, in what is left of its time."""
    if effort.layers is not None:
        chosen = tuple(k - layers.start for k in effort.layers if layers.start <= k < layers.stop)
        effort = replace(effort, layers=chosen)
    return effort if effort.seconds is None else effort.within(max(0.0, effort.seconds - (time.time() - begin)))
