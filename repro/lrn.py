"""Response normalization (section 3.3): y = x / (k + a * sum of squares over a window) ** beta.

With t = x * x, d = k + a * window_sum(t) and f = g / d ** beta the gradient is closed:
gx = f - 2 * a * beta * x * window_sum(f * x / d), because a centered window is its own adjoint.
Only x is kept for the backward pass and the rest is made again in cache, so each direction reads and writes memory once.
On the CPU a numba loop runs over blocks of channels-last memory; elsewhere the same formulas run as torch operations,
which torch.compile fuses on CUDA.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, types
from numba.extending import overload
from torch import Tensor

NUMBERS_PER_TASK = 2**17  # below this a second thread costs more than it brings


class _Rule(NamedTuple):
    size: int
    scale: float  # a
    beta: float
    k: float
    groups: int
    same_map: bool


def lrn(
    x: Tensor, *, size: int, alpha: float, beta: float, k: float, groups: int = 1, over_n: bool = True
) -> Tensor:
    """Normalize across neighboring maps: the window of map i is i - size // 2 .. i + size // 2, cut at its group's ends.

    x: (N, C, H, W) of any strides, float32, float64 or bfloat16 (computed in float32). Returns the same shape and dtype in
    channels-last memory. `groups` cuts the C maps into towers that do not see each other. `over_n` divides alpha by `size`
    as the 2012 code does (layer.py line 1182; torch and Caffe too); False is the formula as the paper prints it.
    """
    assert size % 2 == 1 and size >= 1, f"size {size} has no center"
    assert x.ndim == 4 and x.shape[1] % groups == 0, f"{tuple(x.shape)} does not split into {groups} groups of maps"
    return _normalize(x, _Rule(size, alpha / size if over_n else alpha, beta, k, groups, False))


def lrn_same_map(x: Tensor, *, size: int, alpha: float, beta: float, k: float, over_n: bool = True) -> Tensor:
    """Normalize over a square window of the same map, zero outside the map: `type=rnorm` of the 2012 code (cnorm2).

    x: (N, C, H, W) as for `lrn`. `over_n` divides alpha by size * size (layer.py line 1186).
    """
    assert size % 2 == 1 and size >= 1, f"size {size} has no center"
    assert x.ndim == 4, f"{tuple(x.shape)} is not (N, C, H, W)"
    return _normalize(x, _Rule(size, alpha / size**2 if over_n else alpha, beta, k, 1, True))


def _normalize(x: Tensor, rule: _Rule) -> Tensor:
    result: Tensor = _Normalize.apply(x, rule)  # type: ignore[no-untyped-call]
    return result


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: _Rule) -> Tensor:
        ctx.save_for_backward(x)
        ctx.rule = rule
        return _loop(rule, x) if x.device.type == "cpu" else _fused(_forward, x.is_cuda)(rule, x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return (_loop if x.device.type == "cpu" else _fused(_backward, x.is_cuda))(ctx.rule, x, g), None


# ----------------------------------------------------------------------------- torch operations, for every other device


@functools.cache
def _fused(function: Callable[..., Tensor], cuda: bool) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=False) if cuda else function


def _forward(rule: _Rule, x: Tensor) -> Tensor:
    v = x.to(torch.promote_types(x.dtype, torch.float32))
    return (v * (rule.k + rule.scale * _window_sum(v * v, rule)) ** -rule.beta).to(x.dtype)


def _backward(rule: _Rule, x: Tensor, g: Tensor) -> Tensor:
    v = x.to(torch.promote_types(x.dtype, torch.float32))
    d = rule.k + rule.scale * _window_sum(v * v, rule)
    f = g * d**-rule.beta
    return (f - 2 * rule.scale * rule.beta * v * _window_sum(f * v / d, rule)).to(x.dtype)


def _window_sum(t: Tensor, rule: _Rule) -> Tensor:
    reach = rule.size // 2
    if rule.same_map:
        return F.avg_pool2d(t, rule.size, stride=1, padding=reach, divisor_override=1)
    maps = t.shape[1] // rule.groups
    padded = F.pad(t.unflatten(1, (rule.groups, maps)), (0, 0, 0, 0, reach, reach))
    return torch.stack([padded[:, :, near : near + maps] for near in range(rule.size)]).sum(0).flatten(1, 2)


# ---------------------------------------------------------------------------------------------- numba loops, for the CPU


def _loop(rule: _Rule, x: Tensor, g: Tensor | None = None) -> Tensor:
    """The normalized x, or x's gradient when `g` is given."""
    count, maps, height, width = x.shape
    # A block holds what windows can reach: a whole image for the same-map rule, else one group's maps at one position.
    blocks = count if rule.same_map else count * height * width * rule.groups
    steps = (width * maps, maps) if rule.same_map else (0, 1)  # numbers between neighbors: down, and right or across maps
    out = torch.empty((count, height, width, maps), dtype=x.dtype)
    arrays = [_as_blocks(each.permute(0, 2, 3, 1), blocks) for each in ((x,) if g is None else (x, g))]
    wide = np.float64 if x.dtype == torch.float64 else np.float32
    numbers = np.array([rule.scale, rule.beta, rule.k], dtype=wide)
    kernel = _forward_blocks if g is None else _backward_blocks
    run = functools.partial(kernel, *arrays, _as_blocks(out, blocks), numbers, steps, rule.size // 2)
    threads = torch.get_num_threads()
    tasks = min(2 * threads, blocks, x.numel() // NUMBERS_PER_TASK) if threads > 1 else 1
    if tasks <= 1:
        run(0, blocks)
    else:
        cuts = [blocks * task // tasks for task in range(tasks + 1)]
        list(_threads(threads, os.getpid()).map(run, cuts[:-1], cuts[1:]))
    return out.permute(0, 3, 1, 2)


@functools.cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Workers of this process: a fork does not carry them over."""
    return ThreadPoolExecutor(count, thread_name_prefix="lrn")


def _as_blocks(channels_last: Tensor, blocks: int) -> np.ndarray:
    rows = channels_last.detach().contiguous().view(blocks, -1)
    return (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).numpy()


_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})  # a NaN stays a NaN


@_compiled
def _forward_blocks(x, out, numbers, steps, reach, first, last):  # type: ignore[no-untyped-def]
    scale, beta, k = numbers
    v = np.empty(x.shape[1], numbers.dtype)
    t, u, d = np.empty_like(v), np.empty_like(v), np.empty_like(v)
    for block in range(first, last):
        _read(x[block], v)
        for i in range(len(v)):
            t[i] = v[i] * v[i]
        _sum_windows(t, u, d, steps, reach)
        for i in range(len(v)):
            d[i] = k + scale * d[i]
        _times_power(v, d, beta)
        _write(v, out[block])


@_compiled
def _backward_blocks(x, g, out, numbers, steps, reach, first, last):  # type: ignore[no-untyped-def]
    scale, beta, k = numbers
    factor = numbers.dtype.type(2) * scale * beta
    v = np.empty(x.shape[1], numbers.dtype)
    t, u, d, f = np.empty_like(v), np.empty_like(v), np.empty_like(v), np.empty_like(v)
    for block in range(first, last):
        _read(x[block], v)
        _read(g[block], f)
        for i in range(len(v)):
            t[i] = v[i] * v[i]
        _sum_windows(t, u, d, steps, reach)
        for i in range(len(v)):
            d[i] = k + scale * d[i]
        _times_power(f, d, beta)
        for i in range(len(v)):
            t[i] = f[i] * v[i] / d[i]
        _sum_windows(t, u, d, steps, reach)
        for i in range(len(v)):
            f[i] -= factor * v[i] * d[i]
        _write(f, out[block])


@_compiled
def _sum_windows(t, u, total, steps, reach):  # type: ignore[no-untyped-def]
    down, right = steps
    if down == 0:
        _slide(t, total, right, reach)
        return
    _slide(t, u, down, reach)
    for first in range(0, len(t), down):  # a row of the image
        _slide(u[first : first + down], total[first : first + down], right, reach)


@_compiled
def _slide(t, total, step, reach):  # type: ignore[no-untyped-def]
    total[:] = t
    for gap in range(step, min(reach * step, len(t) - 1) + 1, step):
        later, late_total = t[gap:], total[gap:]  # slices: an index i + gap, which might be negative, is not vectorized
        for i in range(len(later)):
            total[i] += later[i]
        for i in range(len(later)):
            late_total[i] += t[i]


@_compiled
def _times_power(v, d, beta):  # type: ignore[no-untyped-def]
    if beta == 0.75:  # every published net; square roots run in the vector unit, powers do not
        for i in range(len(v)):
            root = np.sqrt(np.float32(1) / d[i])
            v[i] *= root * np.sqrt(root)
    else:
        for i in range(len(v)):
            v[i] *= d[i] ** -beta


def _read(stored, row): ...  # type: ignore[no-untyped-def]
def _write(row, stored): ...  # type: ignore[no-untyped-def]


@overload(_read)
def _read_overload(stored, row):  # type: ignore[no-untyped-def]
    def plain(stored, row):  # type: ignore[no-untyped-def]
        row[:] = stored

    def bfloat16(stored, row):  # type: ignore[no-untyped-def]
        bits = row.view(np.uint32)
        for i in range(len(row)):
            bits[i] = np.uint32(stored[i]) << np.uint32(16)  # a bfloat16 is the upper half of a float32

    return bfloat16 if stored.dtype == types.uint16 else plain


@overload(_write)
def _write_overload(row, stored):  # type: ignore[no-untyped-def]
    def plain(row, stored):  # type: ignore[no-untyped-def]
        stored[:] = row

    def bfloat16(row, stored):  # type: ignore[no-untyped-def]
        bits = row.view(np.uint32)
        for i in range(len(row)):  # to the nearest, ties to even, as torch rounds
            up = np.uint32(0x7FFF) + ((bits[i] >> np.uint32(16)) & np.uint32(1))
            stored[i] = np.uint16((bits[i] + up) >> np.uint32(16))

    return bfloat16 if stored.dtype == types.uint16 else plain
