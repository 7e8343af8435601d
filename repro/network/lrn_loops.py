"""The CPU loops of lrn.py, compiled by numba at the first call and kept in its cache on disk.

Arrays are (blocks, numbers), in float32, float64, or bfloat16 held as uint16. A block's working values stay in the
core's cache, as one flat line each: the vector unit wants loops longer than the few maps of a tower. A window that
reaches past an end of its maps (or rows) meets a mask of zero there; an infinity or NaN gets past it, but then the run
has diverged. No index is a sum such as i + shift: numba would check it for being negative, and then not vectorize.
"""

# mypy: ignore-errors

import numpy as np
from numba import njit

from repro.machine.compiled import keep_compiled
from repro.network.bfloat16 import narrow, wide

keep_compiled()
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})  # a NaN stays a NaN


@_compiled
def forward(x, out, numbers, masks, step, line, first, last):
    """Normalize blocks first .. last - 1 of x into out.

    numbers: a, beta, k, and the floor to which smaller values of x are raised. masks (size, numbers of a block): 0
    where a place of a number's window is outside. step: from a number to its neighbor; line: to the row below, or 0.
    """
    scale, beta, k, floor = numbers
    padded, between, terms, sums = _scratch(x, masks, step, line)
    for block in range(first, last):
        values, result = x[block], out[block]
        for i in range(len(terms)):
            terms[i] = _raised(values[i], floor) * _raised(values[i], floor)
        _sum_windows(padded, between, sums, masks, step, line)
        if beta == 0.75:  # every published net; square roots run in the vector unit, powers do not
            for i in range(len(terms)):
                root = np.sqrt(np.float32(1) / (k + scale * sums[i]))
                result[i] = narrow(_raised(values[i], floor) * root * np.sqrt(root), values[i])
        else:
            for i in range(len(terms)):
                result[i] = narrow(_raised(values[i], floor) * (k + scale * sums[i]) ** -beta, values[i])


@_compiled
def backward(x, g, out, numbers, masks, step, line, first, last):
    """As `forward`, but out becomes the gradient of x, given g, that of the result."""
    scale, beta, k, floor = numbers
    factor, zero = numbers.dtype.type(2) * scale * beta, numbers.dtype.type(0)
    padded, between, terms, sums = _scratch(x, masks, step, line)
    f = np.empty_like(sums)
    for block in range(first, last):
        values, gradient, result = x[block], g[block], out[block]
        for i in range(len(terms)):
            terms[i] = _raised(values[i], floor) * _raised(values[i], floor)
        _sum_windows(padded, between, sums, masks, step, line)
        if beta == 0.75:
            for i in range(len(terms)):
                inverse = np.float32(1) / (k + scale * sums[i])
                root = np.sqrt(inverse)
                f[i] = wide(gradient[i]) * root * np.sqrt(root)
                terms[i] = f[i] * _raised(values[i], floor) * inverse
        else:
            for i in range(len(terms)):
                d = k + scale * sums[i]
                f[i] = wide(gradient[i]) * d**-beta
                terms[i] = f[i] * _raised(values[i], floor) / d
        _sum_windows(padded, between, sums, masks, step, line)
        for i in range(len(terms)):
            gx = f[i] - factor * _raised(values[i], floor) * sums[i]
            result[i] = narrow(zero if wide(values[i]) <= floor else gx, values[i])


@_compiled
def _raised(stored, floor):
    """The number, or `floor` if that is more; written so that a NaN stays."""
    number = wide(stored)
    return floor if number < floor else number


@_compiled
def _scratch(x, masks, step, line):
    """Working arrays of one block. `terms` is the middle of `padded`, whose ends stay zero."""
    total, reach = x.shape[1], len(masks) // 2
    padded, between = np.zeros(total + 2 * reach * step, masks.dtype), np.zeros(total + 2 * reach * line, masks.dtype)
    return padded, between, padded[reach * step : reach * step + total], np.empty(total, masks.dtype)


@_compiled
def _sum_windows(padded, between, sums, masks, step, line):
    """sums: of the window about each of the terms in `padded`; with a line, of the rows above and below too."""
    total, reach = len(sums), len(masks) // 2
    rows = between[reach * line : reach * line + total] if line else sums
    inside = masks[0]
    for i in range(total):
        rows[i] = padded[i] * inside[i]
    for place in range(1, len(masks)):
        near, inside = padded[place * step :], masks[place]
        for i in range(total):
            rows[i] += near[i] * inside[i]
    if line:
        sums[:] = between[:total]
        for place in range(1, len(masks)):
            near = between[place * line :]
            for i in range(total):
                sums[i] += near[i]
