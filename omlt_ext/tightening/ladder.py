"""The effort ladder: each step starts from the one before and gives bounds that are at least as tight."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from numpy.typing import ArrayLike

from ..bounds import Bounds
from ..domain import Box
from ..errors import BoundsError, NetworkError
from ..network import Network
from ..propagation import crown, dual, interval

EFFORTS = MappingProxyType({"interval": interval, "naive": interval, "crown": crown, "dual": dual})


def tighten_bounds(
    network: Network,
    domain: Box | Iterable[ArrayLike],
    effort: str = "dual",
    *,
    bounds: Bounds | None = None,
) -> Bounds:
    """Bounds l <= z <= u of every pre-activation of a network over a box, as tight as `effort` asks.

    `domain` is a `Box`, or a pair (lower, upper), each a number or n_in numbers. Efforts: "interval" (also "naive"),
    interval arithmetic; "crown", a linear relaxation of every ReLU, never wider; "dual" (default), the same with its
    slopes optimised for each bound, close to the LP over the relaxation. All are valid in exact arithmetic for the
    float64 weights, provided that given bounds are. `bounds`, known already on the domain or on a larger box, are
    intersected layer by layer and make later layers tighter. Raises `BoundsError` for an unknown effort, for bounds
    that overflow and for given bounds that do not hold on the domain, `ShapeError` for a domain of the wrong size,
    `NetworkError` for anything but a `Network`.

    >>> from omlt_ext import Layer
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> for effort in ("interval", "crown", "dual"):
    ...     print(f"{tighten_bounds(network, (-1, 1), effort).upper[1][0]:.6f}")
    4.000000
    3.000000
    3.000000
    """
    if not isinstance(network, Network):
        raise NetworkError(f"expected a Network, not {type(network).__name__}; load_network makes one")
    if effort not in tuple(EFFORTS):
        raise BoundsError(f"unknown effort {effort!r}; choose one of {', '.join(map(repr, EFFORTS))}")
    return EFFORTS[effort](network, domain, bounds)
