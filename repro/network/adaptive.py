"""Normalization and pooling whose constants the net learns: questions of readers, in nobody's net of 2012.

A constant is kept as the logarithm of itself over its first value, that of the Config: no step makes it negative, and
small steps from zero lose nothing to rounding. Each tower has constants of its own, which makes them the same on one
device as on two; weight decay leaves them alone (optim.py).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.config.architecture import Norm, Pool
from repro.network.lrn import squares_around

FIRST_POWER = 3.0
SMALLEST = 1e-6  # of the largest value of a map: what the generalized mean takes for smaller values, zeros included


class LearnedResponseNorm(nn.Module):
    """Section 3.3 with alpha, beta and k learned, a set a layer of each tower or a set a map.

    forward: (N, maps, H, W) -> the same shape. With `reads`, the maps come with those of the other tower that the
    windows look at, in front or behind; what comes out for these is of no use, and towers.py cuts it off.
    """

    def __init__(self, norm: Norm, maps: int, towers: int, column: int, columns: int) -> None:
        super().__init__()
        whole = norm.scope == "all"
        self.norm, self.column = norm, column
        self.groups = 1 if whole else towers // columns
        self.reads = norm.size // 2 if whole and not norm.same_map else 0
        self.maps = maps // columns
        sets = self.maps if norm.learned == "map" else towers // columns
        self.log_alpha, self.log_beta, self.log_k = (nn.Parameter(torch.zeros(sets)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        norm, wide = self.norm, x.shape[1]
        alpha, beta, k = (
            first * self._of_maps(log, wide)
            for first, log in ((norm.alpha, self.log_alpha), (norm.beta, self.log_beta), (norm.k, self.log_k))
        )
        around = squares_around(values, norm, self.groups)
        return (values * (k + alpha * around) ** -beta).to(x.dtype)

    def _of_maps(self, log: Tensor, wide: int) -> Tensor:
        """What each of `wide` maps has of exp(log), as (wide, 1, 1)."""
        ahead = wide - self.maps if self.column else 0
        own = log.exp().repeat_interleave(self.maps // len(log))
        return F.pad(own[None], (ahead, wide - self.maps - ahead), mode="replicate")[0][:, None, None]

    def extra_repr(self) -> str:
        return f"constants learned, a set a {self.norm.learned}, groups={self.groups}"


class LearnedPooling(nn.Module):
    """Pooling with one learned number for each tower's layer: (N, maps, H, W) -> (N, maps, pooled, pooled).

    "mixed": s * maximum + (1 - s) * average (Lee, Gallagher, Tu 2016), s a sigmoid that starts at 1/2.
    "generalized": (average of x^p) ^ (1/p) of what is positive (Radenovic, Tolias, Chum 2018), p from 3, as theirs.
    """

    reads = 0

    def __init__(self, pool: Pool, towers: int) -> None:
        super().__init__()
        self.pool = pool
        self.logit_or_log_p = nn.Parameter(torch.zeros(towers))

    def forward(self, x: Tensor) -> Tensor:
        learned = self.logit_or_log_p.repeat_interleave(x.shape[1] // len(self.logit_or_log_p))[:, None, None]
        if self.pool.kind == "mixed":
            share = learned.sigmoid().to(x.dtype)
            return share * pooled(F.max_pool2d, self.pool, x) + (1 - share) * pooled(F.avg_pool2d, self.pool, x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        largest = values.detach().amax((2, 3), keepdim=True).clamp_min(SMALLEST)  # x^p of large values overflows
        power = FIRST_POWER * learned.exp()
        mean = pooled(F.avg_pool2d, self.pool, (values / largest).clamp_min(SMALLEST) ** power)
        return (largest * mean.clamp_min(2.0**-126) ** (1 / power)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.pool.kind} {self.pool.size}x{self.pool.size}, stride {self.pool.stride}, learned"


def pooled(rule: Callable[..., Tensor], pool: Pool, x: Tensor) -> Tensor:
    """`rule` over the windows of `pool`; an average is of the part of a window inside the map."""
    return rule(x, pool.size, pool.stride, ceil_mode=pool.ceil_mode)
