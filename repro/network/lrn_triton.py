"""The CUDA kernels of lrn.py, in Triton: one pass through memory each way, compiled once a dtype for all shapes.

A number's window is `tall` x `wide` places of a (height, width) plane, `step` numbers apart in memory: maps of a tower
are a plane of one row, and the same-map rule has the map's own rows and columns. The backward pass makes the sums of a
window's neighbors again: they lie in the first cache, and the alternative is a second way through memory.
"""

# mypy: ignore-errors

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl

BLOCK = 1024  # numbers a program takes: eight a thread


def normalize(rule, x, g=None):
    """The normalized x, or the gradient of x where `g` is given, by lrn.py's `rule`.

    x, g: (N, C, H, W) float32 or bfloat16; sums and powers are taken in float32. Returns channels-last memory.
    Raises whatever Triton raises where it cannot compile, or has no device.
    """
    _, maps, height, width = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    if rule.same_map:
        plane, window = (height, width, maps), (rule.size, rule.size)
    else:
        plane, window = (1, maps // rule.groups, 1), (1, rule.size)
    given = [each.detach().contiguous(memory_format=torch.channels_last) for each in ((x,) if g is None else (x, g))]
    kernel = _forward if g is None else _backward
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():  # Triton launches on the current device
        kernel[(triton.cdiv(x.numel(), BLOCK),)](
            *given, out, x.numel(), *plane, *window, rule.scale, rule.beta, rule.k, rule.beta == 0.75, rule.relu, BLOCK
        )
    return out


_ANY = ["total", "height", "width", "step", "tall", "wide"]  # no variants for sizes of 1 or divisible by 16


@triton.jit(do_not_specialize=_ANY)
def _forward(
    x, out, total, height, width, step, tall, wide, scale, beta, k,
    square_roots: tl.constexpr, relu: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    at, row, column, inside = _places(total, height, width, step, block)
    value = _value(x + at, inside, relu)
    sums = _sum_squares(x + at, row, column, inside, height, width, step, tall, wide, relu)
    result = value * _power(k + scale * sums, beta, square_roots)
    tl.store(out + at, result.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=_ANY)
def _backward(
    x, g, out, total, height, width, step, tall, wide, scale, beta, k,
    square_roots: tl.constexpr, relu: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    at, row, column, inside = _places(total, height, width, step, block)
    sums = tl.zeros((block,), tl.float32)
    for near in range(tall * wide):
        down, right = near // wide - tall // 2, near % wide - wide // 2
        there = at + (down * width + right) * step
        seen = inside & _within(row + down, height) & _within(column + right, width)
        d = k + scale * _sum_squares(x + there, row + down, column + right, seen, height, width, step, tall, wide, relu)
        f = tl.load(g + there, mask=seen, other=0).to(tl.float32) * _power(d, beta, square_roots)
        sums += f * _value(x + there, seen, relu) / d
    stored = tl.load(x + at, mask=inside, other=0).to(tl.float32)
    d = k + scale * _sum_squares(x + at, row, column, inside, height, width, step, tall, wide, relu)
    f = tl.load(g + at, mask=inside, other=0).to(tl.float32) * _power(d, beta, square_roots)
    result = f - 2 * scale * beta * _value(x + at, inside, relu) * sums
    if relu:
        result = tl.where(stored <= 0, 0.0, result)
    tl.store(out + at, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _places(total, height, width, step, block: tl.constexpr):
    """Offsets of this program's numbers, their rows and columns in the plane, and which of them there are."""
    first = tl.program_id(0).to(tl.int64) * block  # activations may have more than 2^31 numbers
    lane = tl.arange(0, block)
    local = ((first % (height * width * step)).to(tl.int32) + lane) // step
    return first + lane, local // width % height, local % width, first + lane < total


@triton.jit
def _sum_squares(x, row, column, inside, height, width, step, tall, wide, relu: tl.constexpr):
    """Over the window about each number at `x`, cut at the plane's edges; zero where not `inside`."""
    sums = tl.zeros(row.shape, tl.float32)
    for near in range(tall * wide):
        down, right = near // wide - tall // 2, near % wide - wide // 2
        seen = inside & _within(row + down, height) & _within(column + right, width)
        value = _value(x + (down * width + right) * step, seen, relu)
        sums += value * value
    return sums


@triton.jit
def _within(place, length):
    return (place >= 0) & (place < length)


@triton.jit
def _value(x, inside, relu: tl.constexpr):
    value = tl.load(x, mask=inside, other=0).to(tl.float32)
    if relu:
        value = tl.where(value < 0, 0.0, value)  # written so that a NaN stays
    return value


@triton.jit
def _power(d, beta, square_roots: tl.constexpr):
    """d ** -beta. As in the CPU loop, beta 0.75 is two square roots, which are exact to rounding."""
    if square_roots:
        root = tl.sqrt_rn(tl.div_rn(1.0, d))
        power = root * tl.sqrt_rn(root)
    else:
        power = tl.exp2(-beta * tl.log2(d))
    return power
