"""The network as values: layers, pools, normalization, dropout, and how they fit together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from repro.extensions import named
from repro.suggest import did_you_mean

Step = Literal["activation", "norm", "pool"]
Connect = Literal["tower", "all"]
LAYER_NAME = re.compile(r"[a-z]+[0-9]+")
Norms = Literal["lrn", "batch", "group", "layer"]
Activation = Annotated[str, AfterValidator(lambda name: named("repro.activations", name))]


class Group(BaseModel):
    """A frozen group of values; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Pool(Group):
    """Pooling after a layer. `size` 1 with `stride` 2 keeps every second position: a strided convolution."""

    # "mixed" learns how much of the maximum and of the average, "generalized" the exponent of a mean
    kind: Literal["max", "avg", "mixed", "generalized"] = "max"
    size: int = Field(3, ge=1)
    stride: int = Field(2, ge=1)
    ceil_mode: bool = True  # cuda-convnet covers the whole map (layer.py line 1164); torchvision floors


class Conv(Group):
    """A convolution, or a locally connected layer (`kind` "local": the same window, weights not shared)."""

    kind: Literal["conv", "local"] = "conv"
    name: str = ""
    maps: int = Field(ge=1)  # over all towers together
    kernel: int = Field(ge=1)
    stride: int = Field(1, ge=1)
    pad: int = Field(0, ge=0)
    ceil_mode: bool = False  # the last window may hang over the right and lower edge and reads zeros there
    connect: Connect = "all"  # which towers it reads
    pool: bool | Pool = False  # True: the model's pool
    order: tuple[Step, ...] = ("activation", "norm", "pool")
    init_std: float | Literal["kaiming", "torch"] = 0.01
    init_bias: float | Literal["torch"] = 0.0
    weight_decay: float | None = None  # None: optim.weight_decay

    @field_validator("init_std", "weight_decay")
    @classmethod
    def _non_negative(cls, value: float | str | None) -> float | str | None:
        return non_negative(value)

    @field_validator("order", mode="before")
    @classmethod
    def _order(cls, value: Any) -> Any:
        steps = as_tuple(value)
        if isinstance(steps, tuple) and sorted(map(str, steps)) != ["activation", "norm", "pool"]:
            raise ValueError("order must hold activation, norm and pool once each")
        return steps


class Full(Group):
    """A fully connected layer."""

    kind: Literal["full"] = "full"
    name: str = ""
    maps: int | None = Field(ge=1)  # units over all towers; None: one a class
    connect: Connect = "all"
    activation: bool = True  # False: linear, as the last layer is
    init_std: float | Literal["kaiming", "torch"] = 0.01
    init_bias: float | Literal["torch"] = 0.0
    weight_decay: float | None = None

    @field_validator("init_std", "weight_decay")
    @classmethod
    def _non_negative(cls, value: float | str | None) -> float | str | None:
        return non_negative(value)


Layer = Annotated[Conv | Full, Field(discriminator="kind")]


class Norm(Group):
    """Normalization of the maps. For "lrn" the paper's section 3.3 letters; the other kinds use `layers` only."""

    kind: Norms = "lrn"
    layers: tuple[str, ...] = ("conv1", "conv2")
    size: int = Field(5, ge=1)  # n
    alpha: float = Field(1e-4, ge=0)
    beta: float = Field(0.75, ge=0)
    k: float = Field(2.0, gt=0)
    over_n: bool = False  # True: alpha / n, as layer.py line 1183 divides
    scope: Literal["tower", "all"] = "all"
    same_map: bool = False  # True: a size x size window in the same map (cuda-convnet's `rnorm`)
    learned: Literal["no", "layer", "map"] = "no"  # alpha, beta and k learned: a set a layer of each tower, or a map

    _layers = field_validator("layers", mode="before")(lambda value: as_tuple(value))

    @field_validator("size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the window has a center")
        return value

    @model_validator(mode="after")
    def _learns(self) -> Self:
        if self.learned != "no" and self.kind != "lrn":
            raise ValueError(f'learned: kind "{self.kind}" learns what it needs by itself; set kind to "lrn"')
        return self


class Dropout(Group):
    """Section 4.2: units of the named layers are dropped after their activation."""

    probability: float = Field(0.5, gt=0, lt=1)
    layers: tuple[str, ...] = ("fc6", "fc7")
    inverted: bool = False  # False: outputs times (1 - probability) at test time, as text and code both do

    _layers = field_validator("layers", mode="before")(lambda value: as_tuple(value))


class Model(Group):
    """The network. `layers` is written as a mapping name -> layer; convolutions come before full layers."""

    towers: int = Field(2, ge=1, le=2)
    layers: tuple[Layer, ...]
    activation: Activation = "relu"
    norm: Norm | None = Norm()
    spatial_norm: Norm | None = None  # a second norm right after the first: 2012's `cnorm2`
    pool: Pool = Pool()
    dropout: Dropout | None = Dropout()

    @field_validator("layers", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple(named_layers(value))
        if not isinstance(value, (tuple, list)):
            raise ValueError("must be a mapping from the name of each layer to its values")
        return tuple(value)

    @field_serializer("layers")
    def _as_mapping(self, layers: tuple[Layer, ...]) -> dict[str, Any]:
        return {layer.name: layer.model_dump(exclude={"name"}) for layer in layers}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = {layer.name for layer in self.layers}
        if not self.layers or not isinstance(self.layers[-1], Full) or self.layers[-1].maps is not None:
            raise ValueError("layers: the last layer must be full with maps null (one output a class)")
        for layer in self.layers[:-1]:
            if layer.maps is None:
                raise ValueError(f"layers.{layer.name}.maps: only the last layer may leave it null")
            if layer.maps % self.towers:
                raise ValueError(f"layers.{layer.name}.maps: {layer.maps} does not divide by {self.towers} towers")
        for name in names:
            if not LAYER_NAME.fullmatch(name):
                raise ValueError(f"layers.{name}: a layer's name is letters and a number, like conv6")
        if self.dropout and self.layers[-1].name in self.dropout.layers:
            raise ValueError(f"dropout.layers: {self.layers[-1].name} is the last layer; its outputs are the classes")
        if self.layers[-1].connect != "all":
            raise ValueError(f"layers.{self.layers[-1].name}.connect: the last layer must read all towers")
        for key, part in (("norm", self.norm), ("spatial_norm", self.spatial_norm), ("dropout", self.dropout)):
            for name in part.layers if part else ():
                if name not in names:
                    raise ValueError(f"{key}.layers: no layer is called {name!r}{did_you_mean(name, names)}")
                if key != "dropout" and isinstance(self.layer(name), Full):
                    raise ValueError(f"{key}.layers: {name} is a full layer; normalization is for convolutions")
        return self

    def layer(self, name: str) -> Conv | Full:
        """The layer called `name`."""
        return next(layer for layer in self.layers if layer.name == name)


def non_negative(value: float | str | None) -> float | str | None:
    """Refuse negative numbers; pass names through."""
    if isinstance(value, float) and value < 0:
        raise ValueError("must be zero or more")
    return value


def named_layers(layers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layers of a mapping as plain values with their names, convolutions first, without those that are None."""
    named = []
    for name, layer in layers.items():
        if layer is None:  # an arm that removes a layer
            continue
        if not isinstance(layer, (Mapping, Group)):
            raise ValueError(f"{name}: must be a mapping of the layer's values, or null for no such layer")
        part = layer.model_dump() if isinstance(layer, Group) else dict(layer)
        named.append({"kind": "full" if "kernel" not in part else "conv", **part, "name": name})
    return sorted(named, key=lambda part: part["kind"] == "full")  # stable: conv6 follows conv5


def as_tuple(value: Any) -> Any:
    """JSON has lists where a Config has tuples."""
    return tuple(value) if isinstance(value, list) else value
