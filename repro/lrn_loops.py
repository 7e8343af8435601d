"""The CPU loops of lrn.py, compiled by numba at the first call and kept in its cache on disk.

Arrays are (blocks, lines, line), in float32, float64, or bfloat16 held as uint16. A block's working values stay in the
core's cache, in lines that end in zeros so that a window may reach past an end. Loops run over slices, because numba
checks an index such as i + shift for being negative, and then does not vectorize.
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
    t, u, d, top, stride = _scratch(x, numbers, size, step, same_map)
    for block in range(first, last):
        for line in range(x.shape[1]):
            v, squares = x[block, line], t[top + line * stride :]
            for i in range(len(v)):
                squares[i] = _wide(v[i]) * _wide(v[i])
        _sum_windows(t, u, d, stride, step, size, same_map)
        for line in range(x.shape[1]):
            v, y, sums = x[block, line], out[block, line], d[line * stride :]
            if beta == 0.75:  # every published net; square roots run in the vector unit, powers do not
                for i in range(len(v)):
                    root = np.sqrt(np.float32(1) / (k + scale * sums[i]))
                    y[i] = _narrow(_wide(v[i]) * root * np.sqrt(root), v[i])
            else:
                for i in range(len(v)):
                    y[i] = _narrow(_wide(v[i]) * (k + scale * sums[i]) ** -beta, v[i])


@_compiled
def backward(x, g, out, numbers, size, step, same_map, first, last):
    """As `forward`, but out becomes the gradient of x, given g, that of the result."""
    scale, beta, k = numbers
    factor = numbers.dtype.type(2) * scale * beta
    t, u, d, top, stride = _scratch(x, numbers, size, step, same_map)
    f = np.empty_like(d)
    for block in range(first, last):
        for line in range(x.shape[1]):
            v, squares = x[block, line], t[top + line * stride :]
            for i in range(len(v)):
                squares[i] = _wide(v[i]) * _wide(v[i])
        _sum_windows(t, u, d, stride, step, size, same_map)
        for line in range(x.shape[1]):
            v, w, terms = x[block, line], g[block, line], t[top + line * stride :]
            kept, sums = f[line * stride :], d[line * stride :]
            if beta == 0.75:
                for i in range(len(v)):
                    inverse = np.float32(1) / (k + scale * sums[i])
                    root = np.sqrt(inverse)
                    kept[i] = _wide(w[i]) * root * np.sqrt(root)
                    terms[i] = kept[i] * _wide(v[i]) * inverse
            else:
                for i in range(len(v)):
                    kept[i] = _wide(w[i]) * (k + scale * sums[i]) ** -beta
                    terms[i] = kept[i] * _wide(v[i]) / (k + scale * sums[i])
        _sum_windows(t, u, d, stride, step, size, same_map)
        for line in range(x.shape[1]):
            v, gx, kept, sums = x[block, line], out[block, line], f[line * stride :], d[line * stride :]
            for i in range(len(v)):
                gx[i] = _narrow(kept[i] - factor * _wide(v[i]) * sums[i], v[i])


@_compiled
def _scratch(x, numbers, size, step, same_map):
    """Working arrays; line l of the first, which is padded, starts at top + l * stride, of the last at l * stride."""
    gap = size // 2 * step
    stride = x.shape[2] + gap
    total = x.shape[1] * stride
    top = gap + size // 2 * stride if same_map else gap
    padded = np.zeros(total + 2 * top, numbers.dtype)
    return padded, np.empty(total + 2 * gap, numbers.dtype), np.empty(total, numbers.dtype), top, stride


@_compiled
def _sum_windows(t, u, total, stride, step, size, same_map):
    if same_map:
        _add_shifted(t, u, stride, size)
        _add_shifted(u, total, step, size)
    else:
        _add_shifted(t, total, step, size)


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
