"""The loops of the ascent and of its evaluation as compiled code: a block of rows goes through all steps in the cache.

Symbols as in `ascent` and `crown`. NumPy makes some forty passes over memory in a step of ascent; here they are a few
loops over blocks that stay in a core's cache, three to twenty times as fast. Arrays of a block are flat: number j of
row r stands at j R + r, so that every loop runs over neighbours, and a layer's product is one call of BLAS. Rows whose
value is enough leave the block. Networks are flat as well: weights, biases and relaxations one layer after another.

Importing this module needs numba (the extra "fast"). The functions are compiled when first called, which takes some ten
seconds; numba keeps the result on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import njit

BLOCK = 128  # rows that go together
ONE, ZERO, LEAST = np.float32(1.0), np.float32(0.0), np.float32(1e-12)

Array = Any  # of NumPy, single or double precision, one dimension unless told otherwise

Function = TypeVar("Function", bound=Callable[..., None])


def compiled(function: Function) -> Function:
    """The function as machine code. Products and sums may be fused, nothing is reordered.

    numba keeps what it has made beside this file or in its folder of the user's; where neither can be written it makes
    it again in every process.
    """
    options: Any = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
    try:
        machine: Function = njit(cache=True, **options)(function)
    except RuntimeError:
        machine = njit(**options)(function)
    return machine


def kept() -> bool:
    """Whether an earlier process has left the machine code of the loops."""
    made: Any = ascend_rows
    return any(Path(made.stats.cache_path or "").glob("fused.ascend_rows-*.nbi"))


@compiled
def spread(values: Array, R: int, out: Array) -> None:
    """out[j R + r] = values[j]."""
    for j in range(values.size):
        row, value = out[j * R : (j + 1) * R], values[j]
        for r in range(R):
            row[r] = value


@compiled
def add_products(A: Array, b: Array, R: int, out: Array) -> None:
    """out[r] += sum_j A[j R + r] b[j]."""
    for j in range(b.size):
        row, value = A[j * R : (j + 1) * R], b[j]
        for r in range(R):
            out[r] += row[r] * value


@compiled
def add_magnitudes(A: Array, b: Array, R: int, out: Array) -> None:
    """out[r] += sum_j |A[j R + r]| b[j]."""
    for j in range(b.size):
        row, value = A[j * R : (j + 1) * R], b[j]
        for r in range(R):
            out[r] += abs(row[r]) * value


@compiled
def add_lifted(A: Array, sign: Array, t: Array, R: int, out: Array) -> None:
    """out[r] += sum_j min(A_j, 0) t_j over neurons that are not split."""
    for j in range(t.size):
        row, signs, value = A[j * R : (j + 1) * R], sign[j * R : (j + 1) * R], t[j]
        for r in range(R):
            out[r] += min(row[r], ZERO) * (value if signs[r] == ZERO else ZERO)


@compiled
def back_through(A: Array, x: Array, sign: Array, s: Array, D: Array) -> None:
    """D = A * slope - sign * beta at unstable neurons; x holds alpha, or beta where a neuron is split."""
    for j in range(D.size):
        active = ONE if sign[j] > ZERO else ZERO
        low = x[j] if sign[j] == ZERO else active
        high = s[j] if sign[j] == ZERO else active
        D[j] = (low if A[j] > ZERO else high) * A[j] - sign[j] * x[j]


@compiled
def forward_through(A: Array, x: Array, sign: Array, s: Array, t: Array, z: Array, h: Array) -> None:
    """h = slope z (+ t on the upper side) at unstable neurons."""
    for j in range(z.size):
        active = ONE if sign[j] > ZERO else ZERO
        low = x[j] if sign[j] == ZERO else active
        high = s[j] if sign[j] == ZERO else active
        lifted = t[j] if sign[j] == ZERO else ZERO
        h[j] = z[j] * low if A[j] > ZERO else z[j] * high + lifted


@compiled
def slopes_of(A: Array, sign: Array, z: Array, g: Array) -> None:
    """g = d value / d alpha, or d beta where a neuron is split."""
    for j in range(z.size):
        g[j] = z[j] * (max(A[j], ZERO) if sign[j] == ZERO else -sign[j])


@compiled
def step_up(
    g: Array, mean: Array, square: Array, unit: Array, sign: Array, x: Array, size: float, beta_1: float, beta_2: float
) -> None:
    """Adam's step; slopes end at 1."""
    for j in range(x.size):
        mean[j] = beta_1 * mean[j] + (ONE - beta_1) * g[j]
    for j in range(x.size):
        square[j] = beta_2 * square[j] + (ONE - beta_2) * g[j] * g[j]
    for j in range(x.size):
        y = max(x[j] + size * unit[j] * mean[j] / (np.sqrt(square[j]) + LEAST), ZERO)
        x[j] = min(y, ONE) if sign[j] == ZERO else y


@compiled
def largest_of(A: Array, R: int, out: Array) -> None:
    """out[r] = max_j |A[j R + r]|."""
    out[:] = ZERO
    for j in range(A.size // R):
        row = A[j * R : (j + 1) * R]
        for r in range(R):
            out[r] = max(out[r], abs(row[r]))


@compiled
def keep_rows(x: Array, k: int, R: int, keep: Array, rest: int) -> None:
    """Leave only the rows keep[:rest] of a block in its arrays, in place."""
    for j in range(k):
        for q in range(rest):
            x[j * rest + q] = x[j * R + keep[q]]


@compiled
def gather(source: Array, first: int, R: int, out: Array) -> None:
    """out[j R + r] = source[first + r, j]."""
    for r in range(R):
        for j in range(source.shape[1]):
            out[j * R + r] = source[first + r, j]


@compiled
def ascend_rows(
    flat: Any,
    polytope: Any,
    rows: Array,
    constant: Array,
    signs: Array,
    stop: Any,
    pace: Any,
    numbers: Array,
    values: Array,
) -> None:
    """Dual ascent from `numbers` (m, u + p), in place: the best seen, with their `values` (m,).

    `rows` (m, n_K); `signs` (m, u), or (m, 0) where nothing is split; the other groups are those of the module `flat`.
    """
    weights, transposed, bias, s, t, widths, unstable = flat
    A_P, b_P, unit_P = polytope
    enough, pairs = stop
    sizes, beta_1, beta_2 = pace
    m, k = numbers.shape
    K, u, p, steps, split = unstable.size, s.size, b_P.size, sizes.size, signs.shape[1] > 0
    widest, total, B = widths.max(), widths.sum(), min(BLOCK, m)
    A_all, D_all = np.empty(B * total, np.float32), np.empty(B * widest, np.float32)
    h_all, g_all = np.empty(B * widest, np.float32), np.empty(B * widest, np.float32)
    now, sign, unit = np.empty(B * k, np.float32), np.empty(B * k, np.float32), np.empty(B * k, np.float32)
    mean, square = np.empty(B * k, np.float32), np.empty(B * k, np.float32)
    s_all, t_all, b_all = np.empty(B * u, np.float32), np.empty(B * u, np.float32), np.empty(B * bias.size, np.float32)
    c_all, largest_all = np.empty(B, np.float32), np.empty(B, np.float32)
    keep, of = np.empty(B, np.int64), np.empty(B, np.int64)
    values[:] = -np.inf
    width = 0
    for first in range(0, m, B):
        R = min(B, m - first)
        for r in range(R):
            of[r] = first + r
        gather(numbers, first, R, now)
        sign[: R * u] = ZERO
        sign[R * u :] = ONE
        if split:
            gather(signs, first, R, sign)
        mean[:] = ZERO
        square[:] = ZERO
        unit[:] = ONE
        for step in range(steps + 1):
            if width != R:
                width = R
                spread(s, R, s_all)
                spread(t, R, t_all)
                spread(bias, R, b_all)
            c, largest = c_all[:R], largest_all[:R]
            # backward
            at, a, w, b = total - widths[K], u, weights.size, bias.size
            A = A_all[B * at : B * at + R * widths[K]]
            for r in range(R):
                c[r] = constant[of[r]]
                for j in range(widths[K]):
                    A[j * R + r] = rows[of[r], j]
            for i in range(K - 1, -1, -1):
                n, below, v = widths[i + 1], widths[i], unstable[i]
                at, a, w, b = at - below, a - v, w - n * below, b - n
                D, mine = D_all[: R * n], slice(R * a, R * (a + v))
                back_through(A[: R * v], now[mine], sign[mine], s_all[mine], D[: R * v])
                D[R * v :] = A[R * v :]
                add_lifted(A, sign[mine], t[a : a + v], R, c)
                add_products(D, bias[b : b + n], R, c)
                A = A_all[B * at : B * at + R * below]
                np.dot(transposed[w : w + n * below].reshape(below, n), D.reshape(n, R), A.reshape(below, R))
            for q in range(p):
                mu = now[R * (u + q) : R * (u + q + 1)]
                for r in range(R):
                    c[r] -= mu[r] * b_P[q]
                for j in range(widths[0]):
                    row, value = A[j * R : (j + 1) * R], A_P[q, j]
                    for r in range(R):
                        row[r] += mu[r] * value
            for j in range(widths[0]):
                row = A[j * R : (j + 1) * R]
                for r in range(R):
                    c[r] -= abs(row[r])
            for r in range(R):
                if c[r] > values[of[r]]:
                    values[of[r]] = c[r]
                    for j in range(k):
                        numbers[of[r], j] = now[j * R + r]
            if step == steps:
                break
            # forward from the minimiser, a step for each layer's multipliers on the way
            y, size = h_all[: R * widths[0]], sizes[step]
            for j in range(y.size):
                y[j] = -ONE if A[j] > ZERO else (ONE if A[j] < ZERO else ZERO)
            if p > 0 and step == 0:
                largest_of(A, R, largest)
            for q in range(p):
                mine, g = slice(R * (u + q), R * (u + q + 1)), g_all[:R]
                if step == 0:
                    unit[mine] = largest * unit_P[q]
                g[:] = -b_P[q]
                add_products(y, A_P[q], R, g)
                step_up(g, mean[mine], square[mine], unit[mine], sign[mine], now[mine], size, beta_1, beta_2)
            at, a, w, b = 0, 0, 0, 0
            for i in range(K):
                n, below, v = widths[i + 1], widths[i], unstable[i]
                at += below
                A, z, mine = A_all[B * at : B * at + R * n], D_all[: R * n], slice(R * a, R * (a + v))
                h = h_all[: R * below].reshape(below, R)
                np.dot(weights[w : w + n * below].reshape(n, below), h, z.reshape(n, R))
                z += b_all[R * b : R * (b + n)]
                if split and step == 0:
                    largest_of(A[: R * v], R, largest)
                    for j in range(R * a, R * (a + v)):
                        if sign[j] != ZERO:
                            unit[j] = largest[j % R]
                g = g_all[: R * v]
                slopes_of(A[: R * v], sign[mine], z[: R * v], g)
                forward_through(A[: R * v], now[mine], sign[mine], s_all[mine], t_all[mine], z[: R * v], h_all[: R * v])
                h_all[R * v : R * n] = z[R * v :]
                step_up(g, mean[mine], square[mine], unit[mine], sign[mine], now[mine], size, beta_1, beta_2)
                a, w, b = a + v, w + n * below, b + n
            if step % 4 == 3:
                rest = 0
                for r in range(R):
                    other = pairs[of[r]]
                    if not (values[of[r]] > enough[of[r]] or values[other] > enough[other]):
                        keep[rest] = r
                        rest += 1
                if rest == 0:
                    break
                if 4 * rest <= 3 * R:  # copying pays
                    for x in (now, mean, square, unit, sign):
                        keep_rows(x, k, R, keep, rest)
                    for q in range(rest):
                        of[q] = of[keep[q]]
                    R = rest


@compiled
def evaluate_rows(flat: Any, errors: Any, rows: Array, numbers: Array, signs: Array, passed: Any) -> None:
    """Backward passes in double precision as in `crown.backward`, into the arrays of `passed`.

    Its c and e (m,) hold what the target rows begin with, and at the end the constants and errors over the inputs.
    """
    _, transposed, bias, s, t, widths, unstable = flat
    row_errors, gammas, constants = errors
    c_all, e_all, coefficients, inputs = passed
    m, K, u = c_all.size, unstable.size, s.size
    widest, total, B = widths.max(), widths.sum(), min(BLOCK, m)
    A_all, D_all = np.empty(B * widest), np.empty(B * widest)
    x_all, sign_all, s_all, lifted_all = np.empty(B * u), np.zeros(B * u), np.empty(B * u), np.empty(B)
    width = 0
    for first in range(0, m, B):
        R = min(B, m - first)
        if width != R:
            width = R
            spread(s, R, s_all)
        c, e, lifted = c_all[first : first + R], e_all[first : first + R], lifted_all[:R]
        for r in range(R):
            for j in range(u):
                x_all[j * R + r] = numbers[first + r, j]
        sign_all[:] = 0.0
        if signs.shape[1] > 0:
            gather(signs, first, R, sign_all)
        for j in range(R * u):  # multipliers that are not numbers end as 0
            x_all[j] = x_all[j] if x_all[j] > 0.0 else 0.0
            x_all[j] = 1.0 if sign_all[j] == 0.0 and x_all[j] > 1.0 else x_all[j]
        A, at, a, w, b = A_all[: R * widths[K]], total - widths[K], u, transposed.size, bias.size
        gather(rows, first, R, A)
        for i in range(K - 1, -1, -1):
            n, below, v = widths[i + 1], widths[i], unstable[i]
            at, a, w, b = at - below, a - v, w - n * below, b - n
            D, mine = D_all[: R * n], slice(R * a, R * (a + v))
            for r in range(R):
                for j in range(v):
                    coefficients[first + r, a + j] = A[j * R + r]
            back_through(A[: R * v], x_all[mine], sign_all[mine], s_all[mine], D[: R * v])
            D[R * v :] = A[R * v :]
            lifted[:] = 0.0
            add_lifted(A, sign_all[mine], t[a : a + v], R, lifted)
            for r in range(R):
                e[r] += gammas[0] * abs(c[r]) + gammas[i + 1] * abs(lifted[r]) + constants[i]
                c[r] += lifted[r]
            lifted[:] = 0.0
            add_products(D, bias[b : b + n], R, lifted)
            c += lifted
            add_magnitudes(D, row_errors[b : b + n], R, e)
            A = A_all[: R * below]
            np.dot(transposed[w : w + n * below].reshape(below, n), D.reshape(n, R), A.reshape(below, R))
        for r in range(R):
            for j in range(widths[0]):
                inputs[first + r, j] = A[j * R + r]
