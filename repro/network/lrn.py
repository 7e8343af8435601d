"""Response normalization (section 3.3): y = x / (k + a * sum of squares over a window) ** beta.

With t = x * x, d = k + a * window_sum(t) and f = g / d ** beta the gradient is closed:
gx = f - 2 * a * beta * x * window_sum(f * x / d), because a centered window is its own adjoint.
Only x is kept for the backward pass and the rest is made again in cache, so each direction goes through memory once.
On the CPU compiled loops (lrn_loops.py) do it, on CUDA a Triton kernel (lrn_triton.py). Where neither runs, the same
formulas run as torch operations.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from repro.config.architecture import Norm
from repro.network import lrn_loops

NUMBERS_PER_TASK = 2**17  # below this a second thread costs more than it brings
LINES = 16  # positions that one pass of the CPU loop takes together; see bench/README.md


class _Rule(NamedTuple):
    size: int
    scale: float  # a
    beta: float
    k: float
    groups: int
    same_map: bool
    relu: bool


def lrn(
    x: Tensor,
    *,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    groups: int = 1,
    over_n: bool = True,
    relu: bool = False,
) -> Tensor:
    """Normalize across neighboring maps: map i sees i - size // 2 to i + size // 2, cut at the ends of its group.

    x: (N, C, H, W) of any strides, float32, float64 or bfloat16 (computed in float32). Returns the same shape and dtype
    in channels-last memory. `groups` cuts the C maps into towers that do not see each other. `over_n` divides alpha by
    `size` as the 2012 code does (layer.py line 1183; torch and Caffe too); False is the formula as the paper prints it.
    `relu` normalizes the ReLU of x instead, which saves its own way through memory.
    """
    assert size % 2 == 1 and size >= 1, f"size {size} has no center"
    assert x.ndim == 4 and x.shape[1] % groups == 0, f"{tuple(x.shape)} does not split into {groups} groups of maps"
    return _normalize(x, _Rule(size, alpha / size if over_n else alpha, beta, k, groups, False, relu))


def lrn_same_map(
    x: Tensor, *, size: int, alpha: float, beta: float, k: float, over_n: bool = True, relu: bool = False
) -> Tensor:
    """Normalize over a square window of the same map, zero outside the map: `type=rnorm` of the 2012 code (cnorm2).

    x: (N, C, H, W) and `relu` as for `lrn`. `over_n` divides alpha by size * size (layer.py line 1183).
    """
    assert size % 2 == 1 and size >= 1, f"size {size} has no center"
    assert x.ndim == 4, f"{tuple(x.shape)} is not (N, C, H, W)"
    return _normalize(x, _Rule(size, alpha / size**2 if over_n else alpha, beta, k, 1, True, relu))


def squares_around(x: Tensor, norm: Norm, groups: int) -> Tensor:
    """The sum of squares over the window of each value, in plain torch operations: (N, C, H, W) -> the same shape.

    Divided as `norm.over_n` says; autograd follows it, for a net that learns what stands around the sum.
    """
    rule = _Rule(norm.size, 1.0, norm.beta, norm.k, groups, norm.same_map, False)
    terms = (norm.size**2 if norm.same_map else norm.size) if norm.over_n else 1
    return _window_sum(x * x, rule) / terms


def _normalize(x: Tensor, rule: _Rule) -> Tensor:
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if tracing or torch.compiler.is_exporting():  # who reads the export has operations of torch only
        return _forward(rule, x)
    result: Tensor = _Normalize.apply(x, rule)
    return result


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: _Rule) -> Tensor:
        ctx.save_for_backward(x)
        ctx.rule = rule
        return _way(x)(rule, x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _way(x)(ctx.rule, x, g), None


def _way(x: Tensor) -> Callable[..., Tensor]:
    """What does it for x: a function of the rule, x and, for x's gradient, that of the result."""
    if x.device.type == "cpu":
        return _loop
    kernel = _kernel(x.device) if x.is_cuda and x.dtype != torch.float64 else None  # its numbers are float32
    return kernel or _operations


@functools.cache
def _kernel(device: torch.device) -> Callable[..., Tensor] | None:
    """The Triton kernel, tried once on `device`; None, after a warning of one line, where it does not run there."""
    try:
        from repro.network import lrn_triton

        kernel: Callable[..., Tensor] = lrn_triton.normalize
        kernel(_Rule(3, 1.0, 0.75, 1.0, 1, False, False), torch.ones(1, 4, 1, 1, device=device))
    except Exception as error:  # no Triton, no C compiler, or a device too old: each has errors of its own
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"response normalization is slow on {device}: its kernel does not run ({reason})", stacklevel=2)
        return None
    return kernel


# ----------------------------------------------------------------------------- torch operations, for every other device


def _operations(rule: _Rule, x: Tensor, g: Tensor | None = None) -> Tensor:
    return _forward(rule, x) if g is None else _backward(rule, x, g)


def _forward(rule: _Rule, x: Tensor) -> Tensor:
    v = _values(rule, x)
    return (v * (rule.k + rule.scale * _window_sum(v * v, rule)) ** -rule.beta).to(x.dtype)


def _backward(rule: _Rule, x: Tensor, g: Tensor) -> Tensor:
    v = _values(rule, x)
    d = rule.k + rule.scale * _window_sum(v * v, rule)
    f = g * d**-rule.beta
    gx = (f - 2 * rule.scale * rule.beta * v * _window_sum(f * v / d, rule)).to(x.dtype)
    return torch.where(x <= 0, 0, gx) if rule.relu else gx


def _values(rule: _Rule, x: Tensor) -> Tensor:
    v = x.to(torch.promote_types(x.dtype, torch.float32))
    return F.relu(v) if rule.relu else v


def _window_sum(t: Tensor, rule: _Rule) -> Tensor:
    reach = rule.size // 2
    if rule.same_map:
        return F.avg_pool2d(t, rule.size, stride=1, padding=reach, divisor_override=1)
    maps = t.shape[1] // rule.groups
    padded = F.pad(t.reshape(t.shape[0], rule.groups, maps, *t.shape[2:]), (0, 0, 0, 0, reach, reach))
    return torch.stack([padded[:, :, near : near + maps] for near in range(rule.size)]).sum(0).flatten(1, 2)


# ---------------------------------------------------------------------------------------- compiled loops, for the CPU


def _loop(rule: _Rule, x: Tensor, g: Tensor | None = None) -> Tensor:
    """The normalized x, or x's gradient when `g` is given.

    Memory is seen as (blocks, numbers): a block is LINES positions, or a whole image for the same-map rule.
    """
    count, maps, height, width = x.shape
    positions, own = count * height * width * rule.groups, maps // rule.groups
    if rule.same_map:
        step, within, line, block = maps, width * maps, width * maps, height * width * maps
    else:
        lines = next(lines for lines in range(LINES, 0, -1) if positions % lines == 0)
        step, within, line, block = 1, own, 0, lines * own
    shape = (x.numel() // block, block)
    out = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
    arrays = [_array(each.permute(0, 2, 3, 1), shape) for each in ((x,) if g is None else (x, g))]
    dtype = "float64" if x.dtype == torch.float64 else "float32"
    numbers = np.array([rule.scale, rule.beta, rule.k, 0 if rule.relu else -np.inf], dtype=dtype)
    masks = _masks(rule.size, block, within, step, dtype)
    kernel: Callable[..., None] = lrn_loops.forward if g is None else lrn_loops.backward
    run = functools.partial(kernel, *arrays, _array(out.permute(0, 2, 3, 1), shape), numbers, masks, step, line)
    threads = torch.get_num_threads()
    tasks = min(2 * threads, shape[0], x.numel() // NUMBERS_PER_TASK) if threads > 1 else 1
    if tasks <= 1:
        run(0, shape[0])
    else:  # torch's own threads wait meanwhile
        cuts = [shape[0] * task // tasks for task in range(tasks + 1)]
        list(_threads(threads, os.getpid()).map(run, cuts[:-1], cuts[1:]))
    return out  # no view: a ReLU may work on it in place


@functools.lru_cache(32)
def _masks(size: int, block: int, within: int, step: int, dtype: str) -> np.ndarray:
    """(size, block): 1 where a number has that neighbor, `step` apart, within its own stretch of numbers, else 0."""
    near = np.arange(block) % within // step + np.arange(size)[:, None] - size // 2
    return ((near >= 0) & (near < within // step)).astype(dtype)


@functools.cache
def _threads(count: int, process: int) -> ThreadPoolExecutor:
    """Workers of this process: a fork does not carry them over."""
    return ThreadPoolExecutor(count, thread_name_prefix="lrn")


def _array(channels_last: Tensor, shape: tuple[int, int]) -> np.ndarray:
    rows = channels_last.detach().contiguous().view(shape)
    return (rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows).numpy()
