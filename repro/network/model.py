"""The network of 2012, driven by Config.model: what each layer computes, in the order that an image meets it.

On one device there is one column, which holds the maps of both towers side by side: a layer that reads its own tower
only is then a grouped convolution. On two devices there are two columns (towers.py), which run the very same steps; a
step says in `reads` how far into the other column's maps it looks. Parameters are named after the layers of the Config
(`conv1.weight`, `fc8.bias`); tower 1 comes first along their first dimension, so either placement reads the other's.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.config.architecture import Conv, Dropout, Full, Norm, Pool
from repro.config.config import Config
from repro.config.geometry import LayerShape, pool_of
from repro.extensions import load
from repro.network.adaptive import LearnedPooling, LearnedResponseNorm, pooled
from repro.network.lrn import lrn, lrn_same_map

ALL = -1  # reads every map of the other column
GROUP_SIZE = 16  # maps that share one statistic in group normalization (Wu & He 2018 find 16 a channel group best)


def identity(x: Tensor) -> Tensor:
    """Activation `none`; the network leaves the step out."""
    return x


def abs_tanh(x: Tensor) -> Tensor:
    """|tanh(x)|, which section 3.1 names."""
    return torch.tanh(x).abs()


def build(config: Config, seed: int) -> Network:
    """The network of `config` on the CPU in float32 and channels-last memory, with the initial weights of `seed`.

    Each tensor's draw depends on the seed and its layer's name only, so arms that share a layer of one shape share its
    initial weights, whatever else they change.
    """
    network = Network(config)
    for name, layer in network.named_layers():
        layer.initialize(config.seed_of("weights", seed), name)
    return network.to(memory_format=torch.channels_last)


class Network(nn.Module):
    """One column of the network: all of it, or one of two towers.

    forward: (N, 3, crop, crop) -> logits (N, classes).
    """

    def __init__(self, config: Config, column: int = 0, columns: int = 1) -> None:
        super().__init__()
        self.config, self.column, self.columns = config, column, columns
        self.names = tuple(layer.name for layer in config.model.layers)
        for shape in config.shapes():
            last = shape.name == self.names[-1]
            if last and column:  # the classes live on the first device
                continue
            setattr(self, shape.name, MapLayer(config, shape, column, 1 if last else columns))

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, crop, crop) -> (N, units of the last hidden layer), as the last layer reads them (Figure 4)."""
        x = images
        for name in self.names[:-1]:
            x = self.layer(name)(x)
        return x.flatten(1)

    def output(self, features: Tensor) -> Tensor:
        """(N, units) that `features` returned -> logits (N, classes)."""
        logits: Tensor = self.layer(self.names[-1])(features)
        return logits

    def layer(self, name: str) -> MapLayer:
        """The layer called `name`."""
        found = getattr(self, name)
        assert isinstance(found, MapLayer)
        return found

    def named_layers(self) -> Iterator[tuple[str, MapLayer]]:
        """Name and layer, in order; the second of two columns has no last layer."""
        return ((name, self.layer(name)) for name in self.names if hasattr(self, name))

    def kernels(self) -> np.ndarray:
        """The first layer's weights (maps, 3, kernel, kernel), tower 1 first (Figure 3)."""
        return self.layer(self.names[0]).weight.detach().float().cpu().numpy()

    def parts(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Parameter name -> its parts, one a column: here, one."""
        return {name: (parameter,) for name, parameter in self.named_parameters()}

    def reseed(self, *keys: int, rows: tuple[int, int] | None = None) -> None:
        """Make the dropout masks of the next pass a function of `keys` (seed, step, ...): call it before each
        training step, and a resumed run and both placements draw the same masks. `rows`: the images are those from
        the first of these two numbers on, of a batch of so many as the second."""
        for name, layer in self.named_layers():
            layer.drop.seed, layer.drop.rows = seed_of(*keys, name), rows


class MapLayer(nn.Module):
    """A convolution, locally connected or fully connected layer, then its `steps`; `columns` share its maps evenly."""

    def __init__(self, config: Config, shape: LayerShape, column: int, columns: int) -> None:
        super().__init__()
        model = config.model
        self.spec = spec = model.layer(shape.name)
        self.shape = shape
        own = spec.connect == "tower" and shape.name != model.layers[0].name
        self.reads = 0 if own else ALL
        self.groups = model.towers // columns if own else 1
        maps = shape.maps // columns
        window = spec.kernel if isinstance(spec, Conv) else shape.side_in
        self.fan_in = shape.maps_in * window**2
        if isinstance(spec, Full):
            self.weight = nn.Parameter(torch.empty(maps, self.fan_in))
        elif spec.kind == "local":
            self.weight = nn.Parameter(torch.empty(maps, shape.side**2, self.fan_in))
        else:
            self.weight = nn.Parameter(torch.empty(maps, shape.maps_in, window, window))
        self.bias = nn.Parameter(torch.empty(self.weight.shape[: 2 if spec.kind == "local" else 1]))
        dropout = model.dropout if model.dropout and spec.name in model.dropout.layers else None
        self.drop = Drop(dropout, column, columns)
        self.steps = nn.ModuleList([*_steps(config, spec, shape, column, columns), self.drop])

    def forward(self, x: Tensor) -> Tensor:
        x = self.connect(x)
        for step in self.steps:
            x = step(x)
        return x

    def connect(self, x: Tensor) -> Tensor:
        """The weighted sums: (N, maps_in, side_in, side_in) -> (N, maps, side, side), or (N, units) -> (N, units)."""
        spec = self.spec
        if isinstance(spec, Full):
            return self._full(x.flatten(1))
        before, after = self.shape.pad
        pad = before
        if before != after:  # ceil_mode: the last window hangs over the right and lower edge
            x, pad = F.pad(x, (before, after, before, after)), 0
        if spec.kind == "local":
            return self._local(F.unfold(x, spec.kernel, padding=pad, stride=spec.stride))
        return F.conv2d(x, self.weight, self.bias, spec.stride, pad, groups=self.groups)

    def _full(self, x: Tensor) -> Tensor:
        if self.groups == 1:
            return F.linear(x, self.weight, self.bias)
        towers = zip(x.chunk(self.groups, 1), self.weight.chunk(self.groups), self.bias.chunk(self.groups), strict=True)
        return torch.cat([F.linear(*tower) for tower in towers], 1)

    def _local(self, windows: Tensor) -> Tensor:
        """As a convolution, but each position has weights and biases of its own. windows: (N, fan-in, positions)."""
        towers, side = self.groups, self.shape.side
        weight = self.weight.view(towers, -1, side**2, self.fan_in)
        sums = torch.einsum("ngwp,gmpw->ngmp", windows.view(windows.shape[0], towers, self.fan_in, side**2), weight)
        return (sums.flatten(1, 2) + self.bias).view(windows.shape[0], -1, side, side)

    def initialize(self, seed: int, name: str) -> None:
        """Draw the initial weights; `seed` and `name` fix the draw, the Config its spread (section 5)."""
        bound = 1 / math.sqrt(self.fan_in)  # nn.Conv2d and nn.Linear draw from U(-bound, bound)
        generator = torch.Generator().manual_seed(seed_of(seed, name))
        with torch.no_grad():
            if self.spec.init_std == "torch":
                self.weight.uniform_(-bound, bound, generator=generator)
            else:
                std = math.sqrt(2 / self.fan_in) if self.spec.init_std == "kaiming" else self.spec.init_std
                self.weight.normal_(generator=generator).mul_(std)
            if self.spec.init_bias == "torch":
                self.bias.uniform_(-bound, bound, generator=generator)
            else:
                self.bias.fill_(self.spec.init_bias)


def _steps(config: Config, spec: Conv | Full, shape: LayerShape, column: int, columns: int) -> list[nn.Module]:
    model = config.model
    if isinstance(spec, Full):
        return [Activation(model.activation)] if spec.activation and model.activation != "none" else []
    steps: list[nn.Module] = []
    for step in spec.order:
        if step == "activation" and model.activation != "none":
            steps.append(Activation(model.activation))
        elif step == "norm":
            chosen = [norm for norm in (model.norm, model.spatial_norm) if norm and spec.name in norm.layers]
            steps += [_normalization(norm, shape.maps, model.towers, column, columns) for norm in chosen]
        elif step == "pool" and (pool := pool_of(spec, model)):
            learned = pool.kind in ("mixed", "generalized")
            steps.append(LearnedPooling(pool, model.towers // columns) if learned else Pooling(pool))
    for before, after in itertools.pairwise(tuple(steps)):
        if isinstance(after, ResponseNorm) and isinstance(before, Activation) and before.name == "relu":
            steps.remove(before)  # the normalization does it on its own way through memory
            after.relu = True
    return steps


class Activation(nn.Module):
    reads = 0

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.function: Callable[[Tensor], Tensor] = load("repro.activations", name)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        return self.name


class Pooling(nn.Module):
    """Max, or the average over the part of the window inside the map, as cuda-convnet's PoolLayer takes it."""

    reads = 0

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return pooled(F.max_pool2d if self.pool.kind == "max" else F.avg_pool2d, self.pool, x)

    def extra_repr(self) -> str:
        return f"{self.pool.kind} {self.pool.size}x{self.pool.size}, stride {self.pool.stride}"


class ResponseNorm(nn.Module):
    """Section 3.3: each value over a power of the squares around it, in neighboring maps or in its own map.

    `relu`: of the ReLU of each value."""

    def __init__(self, norm: Norm, towers: int, columns: int) -> None:
        super().__init__()
        self.norm, self.relu = norm, False
        whole = norm.scope == "all"
        self.groups = 1 if whole else towers // columns
        self.reads = norm.size // 2 if whole and not norm.same_map else 0

    def forward(self, x: Tensor) -> Tensor:
        rule = lrn_same_map if self.norm.same_map else functools.partial(lrn, groups=self.groups)
        norm = self.norm
        return rule(x, size=norm.size, alpha=norm.alpha, beta=norm.beta, k=norm.k, over_n=norm.over_n, relu=self.relu)

    def extra_repr(self) -> str:
        of = ", of the ReLU" if self.relu else ""
        return ("same map" if self.norm.same_map else f"across maps, groups={self.groups}") + of


def _normalization(norm: Norm, maps: int, towers: int, column: int, columns: int) -> nn.Module:
    """`maps` are those of all towers. Statistics of the later kinds never cross towers, so that placements agree."""
    if norm.kind == "lrn" and norm.learned != "no":
        return LearnedResponseNorm(norm, maps, towers, column, columns)
    if norm.kind == "lrn":
        return ResponseNorm(norm, towers, columns)
    if norm.kind == "batch":
        return nn.BatchNorm2d(maps // columns)
    groups = towers * max(1, maps // towers // GROUP_SIZE) if norm.kind == "group" else towers
    return nn.GroupNorm(groups // columns, maps // columns)


class Drop(nn.Module):
    """Section 4.2: masked in training, times (1 - probability) in test; inverted divides by that in training instead.

    The mask is drawn for all columns and the whole batch and each takes its part, and on the CPU, so it does not depend
    on the placement.
    """

    def __init__(self, dropout: Dropout | None, column: int, columns: int) -> None:
        super().__init__()
        self.dropout, self.column, self.columns = dropout, column, columns
        self.seed: int | None = None
        self.rows: tuple[int, int] | None = None  # first image here and size of a batch of which others have the rest
        self.held: Tensor | None = None  # a mask that somebody else fills, in place of a new one (graph.py)
        self.shape: tuple[int, ...] = ()  # of the last mask

    def forward(self, x: Tensor) -> Tensor:
        if self.dropout is None:
            return x
        keep = 1 - self.dropout.probability
        if not self.training:
            return x if self.dropout.inverted else x * keep
        self.shape = tuple(x.shape)
        mask = self.mask(x.device) if self.held is None else self.held
        return x * mask / keep if self.dropout.inverted else x * mask

    def mask(self, device: torch.device) -> Tensor:
        """The bool mask of `seed` in the shape of the last one, drawn on the CPU and sent to `device`."""
        assert self.dropout is not None
        assert self.seed is not None, "call reseed(seed, step) before a training step"
        generator = torch.Generator().manual_seed(self.seed)
        first, size = self.rows or (0, self.shape[0])
        whole = (size, self.shape[1] * self.columns, *self.shape[2:])
        mask = torch.rand(whole, generator=generator) < 1 - self.dropout.probability
        mask = mask.chunk(self.columns, 1)[self.column][first : first + self.shape[0]]
        # a copy from memory that is not pinned would wait for all that the device has still to do
        return mask.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else mask.to(device)

    def extra_repr(self) -> str:
        return "none" if self.dropout is None else f"probability={self.dropout.probability}"


def seed_of(*keys: int | str) -> int:
    """63 bits that depend on all of `keys`."""
    return int.from_bytes(hashlib.sha256(repr(keys).encode()).digest()[:8]) >> 1
