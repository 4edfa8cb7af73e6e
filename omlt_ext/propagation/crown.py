"""CROWN: linear relaxation of every ReLU, substituted backward to the inputs, all neurons of a layer at once.

Symbols: z^i = W_i h^{i-1} + b_i, h^i = max(0, z^i) at ReLUs, h^i = z^i at linear neurons, h^{-1} = x in [lo, hi];
l <= z <= u bounds of a layer; C (m, n_k) target rows; A, D coefficients of h^i, z^i; c constants (m,); e errors (m,).

Relaxation of an unstable neuron, l < 0 < u:  alpha z <= h <= s z + t  with alpha in [0, 1], s = u/(u-l), t = -s l.
alpha = 1 if u > -l, else 0: the smaller of the two triangles (Singh et al., An abstract domain for certifying neural
networks, 2019; Zhang et al., Efficient neural network robustness certification, 2018). Stable and linear neurons have
alpha = s = 1 or 0 and t = 0.

Backward pass for a lower bound of C z^k (C = [I; -I] gives both bounds of a layer):

    A = C W_k, c = C b_k;  for i = k-1, ..., 0:  P = max(A, 0), N = min(A, 0), D = P alpha_i + N s_i,
    c = c + N t_i + D b_i, A = D W_i;  value = c + P lo + N hi

Validity in floating point. Throughout, C z^k >= A h^i + c - e holds for the exact z^k and h^i at every real x of the
box, where the floats A, c and e stand for themselves: what a step rounds is put into e once, and the next step starts
from the rounded numbers as exact ones. With H = max |h^{i-1}| and Z = max |z^i|, both known from the bounds:

  * s is u/(u-l) rounded up and t is -s l rounded up. The line is then >= 0 at l and >= u at u, so it covers the ReLU.
  * D is one product an entry: off by at most 2u |D_j| + TINY, which changes the function by 2u |D| Z + TINY sum(Z).
    (alpha, s in {0, 1} are exact: Z counts as 0 at stable and linear neurons.)
  * A = D W_i is off by at most gamma |D| |W_i| entry by entry, which changes the function by gamma |D| (|W_i| H):
    one matrix-vector product. Underflow: TINY n_i sum(H).
  * c: gamma (|D| |b_i| + |N| t_i), and gamma(2) |c| for the two additions.
  * value: gamma |A| max(|lo|, |hi|) and gamma(3) |c| likewise.

All of it is in e before the value is lowered by e and by one float more; `rounding` says how the rounding of e itself
is paid. Overflow ends as inf or NaN in e or in the value, which is read as "no bound", and the interval bound stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from ..bounds import Bounds
from ..domain import Box, Floats, Polytope, as_domain
from ..network import Layer, Network, Weight, dense
from .interval import Range, activation_range, affine_range, checked, collect, given, interval
from .rounding import EPS, TINY, absolute_product, gamma, nonzeros, round_down, row_blocks

CONSTANT = gamma(2.0)  # of |c| in every step, for two additions


@dataclass(frozen=True)
class Relaxation:
    """alpha z <= h <= s z + t for every neuron of one layer, and |z| where the slopes are not exact.

    `magnitude` has shape (n,): max(|l|, |u|) at unstable neurons and 0 elsewhere. `alpha`, `s` and `t` are (n,), or
    (m, n) to give each target row its own. So is `shift`: what is added to the coefficients of z, for multipliers of
    z_j >= 0 (then shift <= 0) or z_j <= 0 (shift >= 0) at neurons where alpha = s is 0 or 1 and t = 0. The bound then
    holds where these signs do.
    """

    alpha: Floats
    s: Floats
    t: Floats
    magnitude: Floats
    shift: Floats | None = None


@dataclass(frozen=True)
class AffineError:
    """|fl(D W) h + fl(D b) - D (W h + b)| <= |D| row + constant for every D, over the range of h: `row` is (n,)."""

    row: Floats
    constant: float


def crown(
    network: Network,
    domain: Box | Polytope | Iterable[ArrayLike],
    bounds: Bounds | None = None,
    *,
    chunk_bytes: int = 2**28,
) -> Bounds:
    """Bounds of every pre-activation over the domain's box by CROWN, never wider than `interval`'s.

    They are valid in exact arithmetic, for a polytope because its box holds it.
    Starts from `interval(network, domain, bounds)`, with `bounds` known already on the domain. Then, layer by layer,
    each side is the best of that, of the interval recomputed from the tighter layer before, and of the backward pass.
    The rows of a layer go through the pass in chunks whose work arrays stay near `chunk_bytes`. The first layer is
    affine in x: its interval is as tight as can be.
    Raises `BoundsError` where a bound overflows or contradicts the given ones, `ShapeError` where the box does not fit.

    >>> from omlt_ext import Layer
    >>> hidden = Layer([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], relu=True)
    >>> network = Network([hidden, Layer([[1.0, 1.0]], [0.0], relu=False)])
    >>> bounds = crown(network, Box.full(2, -1, 1))  # max(0, x + y) + max(0, x - y) <= (x + y)/2 + 1 + (x - y)/2 + 1
    >>> print(f"{bounds.lower[1][0]:.6f} {bounds.upper[1][0]:.6f}")
    0.000000 3.000000
    """
    box, _ = as_domain(domain, network.n_inputs)
    relaxations: list[Relaxation] = []
    errors: list[AffineError] = []

    def by_crown(k: int, ranges: Sequence[Range], p: Floats, q: Floats) -> Range | None:
        errors.append(affine_error(network.layers[k], p, q))
        if k == 0:
            return None
        relaxations.append(relax(network.layers[k - 1], ranges[k - 1]))
        return backward_range(network, k, relaxations, errors, box, chunk_bytes)

    return layer_by_layer(network, interval(network, domain, bounds), by_crown)


def layer_by_layer(
    network: Network, start: Bounds, improve: Callable[[int, Sequence[Range], Floats, Floats], Range | None]
) -> Bounds:
    """Bounds of every layer, each side the best of `start`, of the interval and of what `improve` gives.

    `improve(k, ranges, p, q)` is called for k = 0, 1, ... in turn: `ranges` are those of the layers before k and what
    is known of layer k so far, [p, q] the range of layer k's inputs. The interval is recomputed from the layer before.
    """
    ranges: list[Range] = []
    p, q = start.box.lower, start.box.upper
    for k, layer in enumerate(network.layers):
        z = given(start, k)
        if k > 0:
            z = checked(z.meet(affine_range(layer, p, q)), k)
        better = improve(k, [*ranges, z], p, q)
        ranges.append(z if better is None else checked(z.meet(better), k))
        p, q = activation_range(layer, ranges[-1])
    return collect(ranges, network, start.box, start.polytope)


@np.errstate(over="ignore", under="ignore")
def relax(layer: Layer, z: Range) -> Relaxation:
    """The relaxation of a layer whose pre-activations lie in z, slopes and intercepts rounded to the safe side."""
    low, high = z.lower, z.upper
    unstable = layer.relu & (low < 0.0) & (high > 0.0)
    passes = ~layer.relu | (low >= 0.0)
    below = np.nextafter(high - low, 0.0)  # <= u - l in exact arithmetic, also where u - l overflows
    rising = np.nextafter(np.divide(high, below, out=np.zeros_like(high), where=unstable), np.inf)
    s = np.where(unstable, np.minimum(rising, 1.0), passes.astype(np.float64))  # u/(u-l) < 1
    t = np.where(unstable, np.nextafter(-s * low, np.inf), 0.0)
    alpha = np.where(unstable, (high > -low).astype(np.float64), s)
    return Relaxation(alpha, s, t, np.where(unstable, np.maximum(-low, high), 0.0))


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def affine_error(layer: Layer, p: Floats, q: Floats) -> AffineError:
    """What the backward step through a layer rounds at most, when its inputs h lie in [p, q]."""
    H = np.maximum(np.abs(p), np.abs(q))
    column = float(nonzeros(layer.weight, axis=0).max(initial=0))  # products in one entry of D W
    row = gamma(column) * absolute_product(layer.weight, H) + gamma(layer.n_out + 2.0) * np.abs(layer.bias)
    return AffineError(row + TINY * (layer.n_in + 2.0), TINY * (layer.n_out + 1.0) * (1.0 + float(H.sum())))


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def backward(
    network: Network,
    k: int,
    C: Weight,
    relaxations: Sequence[Relaxation],
    errors: Sequence[AffineError],
    box: Box,
    polytope: Polytope | None = None,
    mu: Floats | None = None,
) -> Floats:
    """Lower bounds (m,) of C z^k over the box for target rows C (m, n_k), dense or CSR; -inf where it overflows.

    `relaxations[i]` for i < k and `errors[i]` for i <= k must hold on the domain. Any alpha in [0, 1] at the unstable
    neurons gives a valid bound. With multipliers `mu` (m, p), all >= 0, of the rows of `polytope` the bound holds
    within it: mu (A_P x - b_P) <= 0 there.

    >>> from omlt_ext import Layer
    >>> network = Network([Layer([[2.0, -1.0]], [3.0], relu=False)])
    >>> box = Box.full(2, 0, 1)
    >>> error = affine_error(network.layers[0], box.lower, box.upper)
    >>> print(backward(network, 0, np.array([[1.0], [-1.0]]), [], [error], box).round(9))
    [ 2. -5.]
    """
    layer = network.layers[k]
    A, c = dense(C @ layer.weight), C @ layer.bias
    e = abs(C) @ errors[k].row + errors[k].constant
    for i in range(k - 1, -1, -1):
        layer, ease = network.layers[i], relaxations[i]
        lifted = _rowwise(np.minimum(A, 0.0), ease.t)
        D = np.where(A > 0.0, ease.alpha, ease.s)
        D *= A  # exact where slopes are 0 or 1, and only there is a shift: one rounding in each entry
        if ease.shift is not None:
            D += ease.shift
        lost = step_error(layer, ease, errors[i])
        e += CONSTANT * np.abs(c) + lost.lift * np.abs(lifted)
        e += lost.constant
        c = c + lifted + D @ layer.bias
        A = dense(D @ layer.weight)
        e += np.abs(D, out=D) @ lost.row
    return over_box(A, c, e, box, polytope, mu)


class StepError(NamedTuple):
    """What a backward step through a ReLU layer rounds: `row` (n,) weighs |D|, `lift` the lifted part; `CONSTANT` c."""

    row: Floats
    lift: float
    constant: float


def step_error(layer: Layer, ease: Relaxation, error: AffineError) -> StepError:
    """That of a layer with this relaxation, whose inputs `error` is for."""
    constant = TINY * float(ease.magnitude.sum()) + error.constant
    return StepError(EPS * ease.magnitude + error.row, gamma(layer.n_out + 2.0), constant)


def over_box(
    A: Floats, c: Floats, e: Floats, box: Box, polytope: Polytope | None = None, mu: Floats | None = None
) -> Floats:
    """Lower bounds (m,) of A x + c - e over the box, within the polytope's rows if these have multipliers.

    A and e are changed.
    """
    if polytope is not None and mu is not None:
        far = np.maximum(np.abs(box.lower), np.abs(box.upper))
        sides = mu @ np.abs(polytope.b)
        e += gamma(polytope.b.size + 2.0) * (np.abs(A) @ far + mu @ (np.abs(polytope.A) @ far) + sides)
        e += gamma(2.0) * np.abs(c) + TINY * (polytope.b.size + 1.0) * (1.0 + float(far.sum()))
        c, A = c - mu @ polytope.b, A + mu @ polytope.A
    value = c + (np.maximum(A, 0.0) @ box.lower + np.minimum(A, 0.0) @ box.upper)
    reach = np.abs(A, out=A) @ np.maximum(np.abs(box.lower), np.abs(box.upper))
    e += gamma(3.0) * np.abs(c) + gamma(box.n + 3.0) * reach + TINY * (box.n + 1.0)
    return round_down(value, e)


def backward_range(
    network: Network,
    k: int,
    relaxations: Sequence[Relaxation],
    errors: Sequence[AffineError],
    box: Box,
    chunk_bytes: int = 2**28,
) -> Range:
    """Both bounds of every pre-activation of layer k, some rows at a time."""
    n = network.layers[k].n_out
    lower, upper = np.empty(n), np.empty(n)
    widest = max(layer.n_in for layer in network.layers[: k + 1])
    # A lower and an upper row for each neuron; A, D and two temporaries of the same shape live at once.
    for rows in row_blocks(n, 2 * 4 * widest, chunk_bytes):
        C = both_signs(rows, n)
        lower[rows], upper[rows] = np.split(backward(network, k, C, relaxations, errors, box), 2)
    return Range.by("crown", lower, -upper)


def _rowwise(A: Floats, t: Floats) -> Floats:
    """A t for t (n,), or for t (m, n) the product of each row of A with its own."""
    return A @ t if t.ndim == 1 else np.einsum("ij,ij->i", A, t)


def both_signs(rows: slice, n: int) -> Weight:
    """Target rows [I; -I] for the neurons `rows` of n, as CSR.

    >>> both_signs(slice(1, 2), 3).toarray()
    array([[ 0.,  1.,  0.],
           [ 0., -1.,  0.]])
    """
    m = rows.stop - rows.start
    signs, picked = np.repeat([1.0, -1.0], m), np.tile(np.arange(rows.start, rows.stop), 2)
    return sparse.csr_array((signs, (np.arange(2 * m), picked)), shape=(2 * m, n))
