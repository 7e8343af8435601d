"""The CPU loops of lrn.py, compiled by numba at the first call and kept in its cache on disk.

Arrays are (blocks, lines, line), in float32, float64, or bfloat16 held as uint16. A block's working values stay in the
core's cache, in lines that end in zeros so that a window may reach past an end. No index is a sum such as i + shift:
numba would check it for being negative, and then not vectorize.
"""

# mypy: ignore-errors

from functools import partial

import numpy as np
from llvmlite import ir
from numba import njit, types  # noqa: TID253
from numba.extending import intrinsic  # noqa: TID253

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})  # a NaN stays a NaN


@_compiled
def forward(x, out, numbers, size, step, same_map, first, last):
    """Normalize blocks first .. last - 1 of x into out. numbers: a, beta, k; step: from a number to its neighbor."""
    scale, beta, k = numbers
    padded, between, flat, terms, sums = _scratch(x, numbers, size, step, same_map)
    lines, length = x.shape[1:]
    for block in range(first, last):
        for line in range(lines):
            for i in range(length):
                terms[line, i] = _wide(x[block, line, i]) * _wide(x[block, line, i])
        _sum_windows(padded, between, flat, terms.shape[1], step, size, same_map)
        for line in range(lines):
            if beta == 0.75:  # every published net; square roots run in the vector unit, powers do not
                for i in range(length):
                    root = np.sqrt(np.float32(1) / (k + scale * sums[line, i]))
                    y = _wide(x[block, line, i]) * root * np.sqrt(root)
                    out[block, line, i] = _narrow(y, x[block, line, i])
            else:
                for i in range(length):
                    y = _wide(x[block, line, i]) * (k + scale * sums[line, i]) ** -beta
                    out[block, line, i] = _narrow(y, x[block, line, i])


@_compiled
def backward(x, g, out, numbers, size, step, same_map, first, last):
    """As `forward`, but out becomes the gradient of x, given g, that of the result."""
    scale, beta, k = numbers
    factor = numbers.dtype.type(2) * scale * beta
    padded, between, flat, terms, sums = _scratch(x, numbers, size, step, same_map)
    lines, length = x.shape[1:]
    f = np.empty((lines, length), numbers.dtype)
    for block in range(first, last):
        for line in range(lines):
            for i in range(length):
                terms[line, i] = _wide(x[block, line, i]) * _wide(x[block, line, i])
        _sum_windows(padded, between, flat, terms.shape[1], step, size, same_map)
        for line in range(lines):
            if beta == 0.75:
                for i in range(length):
                    inverse = np.float32(1) / (k + scale * sums[line, i])
                    root = np.sqrt(inverse)
                    f[line, i] = _wide(g[block, line, i]) * root * np.sqrt(root)
                    terms[line, i] = f[line, i] * _wide(x[block, line, i]) * inverse
            else:
                for i in range(length):
                    d = k + scale * sums[line, i]
                    f[line, i] = _wide(g[block, line, i]) * d**-beta
                    terms[line, i] = f[line, i] * _wide(x[block, line, i]) / d
        _sum_windows(padded, between, flat, terms.shape[1], step, size, same_map)
        for line in range(lines):
            for i in range(length):
                gx = f[line, i] - factor * _wide(x[block, line, i]) * sums[line, i]
                out[block, line, i] = _narrow(gx, x[block, line, i])


@_compiled
def _scratch(x, numbers, size, step, same_map):
    """Working arrays of one block. `terms` and `sums` show `padded` and `flat` line by line."""
    lines, length = x.shape[1:]
    gap = size // 2 * step
    stride = length + gap
    total = lines * stride
    top = gap + size // 2 * stride if same_map else gap
    padded, between = np.zeros(total + 2 * top, numbers.dtype), np.empty(total + 2 * gap, numbers.dtype)
    flat = np.empty(total, numbers.dtype)
    return padded, between, flat, padded[top : top + total].reshape(lines, stride), flat.reshape(lines, stride)


@_compiled
def _sum_windows(padded, between, flat, stride, step, size, same_map):
    if same_map:
        _add_shifted(padded, between, stride, size)
        _add_shifted(between, flat, step, size)
    else:
        _add_shifted(padded, flat, step, size)


@_compiled
def _add_shifted(t, total, step, size):
    total[:] = t[: len(total)]
    for shift in range(1, size):
        near = t[shift * step :]
        for i in range(len(total)):
            total[i] += near[i]


@intrinsic
def _wide(context, stored):
    """A bfloat16, held as uint16, is the upper half of a float32."""

    def extend(target, builder, signature, values):
        bits = builder.shl(builder.zext(values[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())

    if stored == types.uint16:
        return types.float32(stored), extend
    return stored(stored), lambda target, builder, signature, values: values[0]


@intrinsic
def _narrow(context, value, stored):
    """`value` as the type of `stored`; to bfloat16 rounded to nearest, ties to even, as torch rounds."""

    def cut(target, builder, signature, values):
        whole, constant = ir.IntType(32), partial(ir.Constant, ir.IntType(32))
        bits = builder.bitcast(values[0], whole)
        odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
        bits = builder.add(bits, builder.add(odd, constant(0x7FFF)))
        return builder.trunc(builder.lshr(bits, constant(16)), ir.IntType(16))

    if stored == types.uint16:
        return types.uint16(value, stored), cut
    return value(value, stored), lambda target, builder, signature, values: values[0]
