"""Arithmetic of the network: shape, parameters, neurons and multiply-adds of every layer, without torch.

The model is built from these shapes and `repro show --model` prints them, so the two cannot disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.config.architecture import Conv, Model, Pool


@dataclass(frozen=True)
class LayerShape:
    """One layer. Maps count over all towers; a full layer has side 1."""

    name: str
    kind: str
    maps_in: int  # maps that one tower reads: its own, or all towers' where the layer connects to all
    side_in: int
    maps: int
    side: int  # after the convolution
    pooled: int  # after the pool; equals side where there is none
    pad: tuple[int, int]  # zeros before and after the image on each axis, the overhang of ceil_mode included
    parameters: int
    neurons: int  # units before the pool
    multiply_adds: int  # of one image forward
    crosses: bool  # its sums read the other tower's maps
    floats_exchanged: int  # values of one image that cross between the towers, forward, normalization included


def output_side(side: int, kernel: int, stride: int, pad: int, ceil_mode: bool) -> tuple[int, int]:
    """Positions along one axis and the zeros to add after the map.

    cuda-convnet: 1 + ceil((2 pad + side - kernel) / stride) (layer.py line 1004), the overhang reads zeros;
    others floor. 224 with kernel 11, stride 4: 55 and an overhang of 3.
    """
    room = 2 * pad + side - kernel
    positions = 1 + (math.ceil(room / stride) if ceil_mode else room // stride)
    return positions, pad + max(0, (positions - 1) * stride - room)


def pooled_side(side: int, pool: Pool) -> int:
    """Positions of the pool along one axis. A window never starts outside the map."""
    positions, _ = output_side(side, pool.size, pool.stride, 0, pool.ceil_mode)
    return positions - 1 if (positions - 1) * pool.stride >= side else positions


def pool_of(layer: Conv, model: Model) -> Pool | None:
    """The layer's own pool, the model's, or none."""
    if isinstance(layer.pool, bool):
        return model.pool if layer.pool else None
    return layer.pool


def norm_exchange(layer: Conv, model: Model, side: int, pooled: int) -> int:
    """Values of one image that response normalization fetches from the other tower.

    With scope "all", the paper's N "the total number of kernels in the layer", the windows of the maps beside the
    border reach size // 2 maps into the other tower, both ways. The 2012 code normalizes inside a tower: nothing.
    """
    values = 0
    for norm in (model.norm, model.spatial_norm):
        if norm and norm.kind == "lrn" and layer.name in norm.layers and norm.scope == "all" and not norm.same_map:
            at = pooled if layer.order.index("pool") < layer.order.index("norm") else side
            values += 2 * min(norm.size // 2, layer.maps // 2) * at**2 * (model.towers - 1)
    return values


def layer_shapes(model: Model, crop: int, classes: int) -> tuple[LayerShape, ...]:
    """Every layer in order, for images of (3, crop, crop). Raises ValueError where a map would vanish."""
    shapes: list[LayerShape] = []
    maps, side, towers = 3, crop, model.towers
    for depth, layer in enumerate(model.layers):
        first = depth == 0
        crosses = towers > 1 and not first and layer.connect == "all"
        read = maps if first or layer.connect == "all" else maps // towers
        width = layer.maps if layer.maps is not None else classes
        exchanged = maps * side * side * (towers - 1) if crosses else 0
        if layer.kind == "full":
            units = read * side * side
            last = layer.maps is None
            if last and crosses:  # the classes live on one device, which fetches the other towers' units
                exchanged = maps * side * side * (towers - 1) // towers
            shapes.append(
                LayerShape(
                    layer.name, "full", read, side, width, 1, 1, (0, 0), width * (units + 1), width,
                    width * units, crosses, exchanged,
                )
            )  # fmt: skip
            maps, side = width, 1
            continue
        out, after = output_side(side, layer.kernel, layer.stride, layer.pad, layer.ceil_mode)
        pool = pool_of(layer, model)
        pooled = pooled_side(out, pool) if pool and out >= 1 else out
        if out < 1 or pooled < 1 or (pool and pool.size > out):
            raise ValueError(f"model.layers.{layer.name}: nothing is left of {side}x{side}; use a larger augment.crop")
        window = read * layer.kernel**2
        copies = out * out if layer.kind == "local" else 1
        shapes.append(
            LayerShape(
                layer.name, layer.kind, read, side, width, out, pooled, (layer.pad, after),
                copies * width * (window + 1), width * out * out, width * out * out * window, crosses,
                exchanged + norm_exchange(layer, model, out, pooled),
            )
        )  # fmt: skip
        maps, side = width, pooled
    return tuple(shapes)
