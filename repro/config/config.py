"""Config: one frozen, validated value that holds everything a run's numbers depend on.

Paths, devices, worker counts and progress bars are not in it, so they cannot change a run's name. A dotted key
(`model.norm.beta`, `model.layers.conv3.init_std`) names one value; `override` changes some and validates it all again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from repro.config.architecture import Group, Model, as_tuple, named_layers
from repro.config.geometry import LayerShape, layer_shapes
from repro.extensions import named
from repro.suggest import shortened
from repro.terms import View

Source = Literal["weights", "order", "augment", "dropout", "subset"]
JSON_WORDS = {"none": "null for nothing", "None": "null for nothing", "True": "true", "False": "false"}


class Data(Group):
    """Which images, how they were stored, and what is subtracted from them."""

    source: str  # a name that `repro data list` shows
    size: int = Field(256, ge=8)  # side of the stored square, pixels (section 2)
    resize: Literal["short-crop", "warp"] = "short-crop"  # F29: short side then center crop, or both sides (Caffe)
    storage: Literal["raw", "jpeg", "png"] = "raw"  # F29b; raw and png are lossless
    quality: int | None = Field(None, ge=1, le=100)  # of jpeg
    classes: int = Field(1000, ge=2)
    first_class: int = Field(0, ge=0)  # classes first_class ... first_class + classes - 1 of the prepared set are used
    per_class: int | None = Field(None, ge=1)  # training images of each class; None: all
    test_per_class: int | None = Field(None, ge=1)
    held_out: int = Field(0, ge=0)  # the last stored training images of each class: never trained on, they validate
    subsets: Literal["first", "by-seed"] = "first"  # by-seed: seed i trains on part i of disjoint parts of per_class
    order: Literal["reshuffle", "fixed"] = "reshuffle"  # F15: 2012 shuffled once, when the files were written
    mean: Literal["pixel", "channel", "scalar", "picture", "none"] = "pixel"  # F17; of the whole prepared set
    mean_at: Literal["center", "offset"] = "center"  # F17, `mean` pixel: the mean image's center at every crop offset
    # (2012 code), or cropped and mirrored with the image, so that each pixel loses its own mean (text, Caffe)
    channel_mean: tuple[float, float, float] | None = None  # red, green, blue, 0-255, in place of the set's own
    contrast: Literal["none", "global", "local"] = "none"
    scale: float = Field(1.0, gt=0)  # F18: times this after the mean; 1 keeps 0-255
    channel_std: tuple[float, float, float] | None = None  # red, green, blue: divided by these after the mean
    color_order: Literal["rgb", "bgr"] = "rgb"  # of the planes that the network reads; Caffe's networks read bgr

    _channels = field_validator("channel_mean", "channel_std", mode="before")(lambda value: as_tuple(value))

    @model_validator(mode="after")
    def _channels_when_used(self) -> Self:
        if self.channel_mean is not None and self.mean != "channel":
            raise ValueError(f"channel_mean: used by mean channel only, and mean is {self.mean}")
        if self.channel_std is not None and min(self.channel_std) <= 0:
            raise ValueError(f"channel_std: must be positive, not {list(self.channel_std)}")
        return self

    @model_validator(mode="after")
    def _quality(self) -> Self:
        if (self.storage == "jpeg") != (self.quality is not None):
            raise ValueError("quality: give it exactly when storage is jpeg")
        return self

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if self.subsets == "by-seed" and self.per_class is None:
            raise ValueError("subsets: by-seed takes parts of per_class images, and per_class is null; set both")
        return self


class Color(Group):
    """PCA color noise of section 4.1. `kind` says what multiplies the normal draw along each eigenvector (F13)."""

    kind: Literal["stddev", "eigenvalue", "lighting"] = "stddev"
    strength: float = Field(0.1, gt=0)  # standard deviation of the draw
    divide: bool = False  # training images divided by 1 + strength, as convdata.py does


class ResizedCrop(Group):
    """A random box of the stored image, resized to the crop, as torchvision's RandomResizedCrop draws it (F29).

    `area` is the range of the box's share of the image, drawn evenly; `ratio` that of width to height, even in its
    logarithm. Defaults: torchvision's.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    _ranges = field_validator("area", "ratio", mode="before")(lambda value: as_tuple(value))

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for key, (low, high) in (("area", self.area), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{key}: must be two positive numbers, the smaller first, not {[low, high]}")
        return self


class Augment(Group):
    """What happens to a training image; the crop size also holds for test images."""

    crop: int = Field(224, ge=4)
    random_crop: bool = True
    resized_crop: ResizedCrop | None = None  # F29: random boxes resized to the crop, in place of crops of one size
    mirror: bool = True
    chunk: int = Field(1, ge=1)  # F14: consecutive images that share one crop offset and mirror coin (2012: 32)
    color: Color | None = None

    @model_validator(mode="after")
    def _one_crop(self) -> Self:
        if self.resized_crop and not self.random_crop:
            raise ValueError("resized_crop: is a random crop; leave it null, or set random_crop to true")
        return self


class Optim(Group):
    """Section 5."""

    kind: Annotated[str, AfterValidator(lambda name: named("repro.optimizers", name))] = "momentum"
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    rate_rule: Literal["fixed", "sqrt", "linear"] = (
        "fixed"  # sqrt, linear: learning_rate is that of a batch of 128, and
    )
    # grows with the root of the batch size, or with it (Krizhevsky 2014)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    bias_learning_rate_factor: float = Field(1.0, gt=0)  # F10: 2 in every 2012 file
    bias_weight_decay: bool = True  # F10: False in src/layer.cu line 565
    momentum_form: Literal["paper", "torch"] = "paper"  # F20: is the learning rate inside the velocity?


class Endgame(Group):
    """F11: what the hand-run 2012 schedule did near its end, by hand; epochs count from 0."""

    layer: str = "conv1"
    slow_epoch: int = Field(ge=0)
    slow_learning_rate: float = Field(1e-5, ge=0)
    slow_bias_learning_rate: float | None = Field(None, ge=0)  # None: slow_learning_rate
    freeze_epoch: int = Field(ge=0)
    color_off_epoch: int = Field(ge=0)


class Schedule(Group):
    """How long, and how the learning rate falls. `steps` are epochs, counted from 0, at which it is divided."""

    epochs: int = Field(90, ge=1)
    kind: Literal["plateau", "steps", "dexp", "constant"] = "plateau"
    factor: float = Field(10.0, gt=1)  # each drop divides by it
    patience: int = Field(3, ge=1)  # plateau: epochs without improvement before a drop
    drops: int = Field(3, ge=0)  # plateau: at most so many (section 5)
    steps: tuple[int, ...] = ()
    bias_steps: tuple[int, ...] | None = None  # F10: the bias learning rate's own drops, beside any kind of schedule
    # for the weights; None: as the weights
    dexp_factor: float = Field(250.0, gt=1)  # total division over the run, in `dexp_steps` equal stairs
    dexp_steps: int = Field(4, ge=2)
    bias_dexp_factor: float | None = Field(None, gt=1)  # the bias learning rate's own; None: as the weights
    bias_dexp_steps: int | None = Field(None, ge=2)
    endgame: Endgame | None = None
    stop_train_error: float | None = Field(None, gt=0, lt=100)  # stop once the epoch's training error is at most this

    _steps = field_validator("steps", "bias_steps", mode="before")(lambda value: as_tuple(value))

    @model_validator(mode="after")
    def _steps_when_used(self) -> Self:
        for key, steps in (("steps", self.steps), ("bias_steps", self.bias_steps or ())):
            if list(steps) != sorted(set(steps)) or any(step < 1 for step in steps):
                raise ValueError(f"{key}: must be rising epochs from 1 on, not {list(steps)}")
        if self.steps and self.kind != "steps":
            raise ValueError(f"steps: used by kind steps only, and kind is {self.kind}")
        if self.bias_steps is not None and (self.bias_dexp_factor or self.bias_dexp_steps):
            raise ValueError("bias_steps: contradicts bias_dexp_factor and bias_dexp_steps; give one or the other")
        return self


class Eval(Group):
    """What is measured, and when, beside the error on training images in test mode, at the end. Only `every` is part
    of a run's digest: views are read off a finished run."""

    every: int = Field(1, ge=1)  # test the center view each so many epochs (the plateau watches it)
    views: tuple[View, ...] = ("center", "ten")  # at the end, with predictions kept

    _views = field_validator("views", mode="before")(lambda value: as_tuple(value))


class Pretrain(Group):
    """Train first on other classes of the same set, then keep all layers but the last (Table 2, starred rows)."""

    first_class: int = Field(ge=0)
    classes: int = Field(ge=2)
    epochs: int = Field(ge=1)


class Seeds(Group):
    """Seeds of their own for sources of chance; None: the run's. A run's seed varies only those that are None, so with
    all others given it shows what one source does to the error."""

    weights: int | None = Field(None, ge=0)  # initial
    order: int | None = Field(None, ge=0)  # of the images in each epoch
    augment: int | None = Field(None, ge=0)  # crops, mirrors and color noise
    dropout: int | None = Field(None, ge=0)
    subset: int | None = Field(None, ge=0)  # which part of the images, where data.subsets is by-seed


class Config(Group):
    """Everything a run's numbers depend on, but the seed."""

    model: Model
    data: Data
    augment: Augment = Augment()
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    eval: Eval = Eval()
    precision: Literal["float32", "bfloat16"] = "float32"
    pretrain: Pretrain | None = None
    seeds: Seeds | None = None  # None: the run's seed for all
    weights: str | None = None  # SHA-256 of a file whose weights are evaluated; such a run is not trained

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.augment.crop > self.data.size:
            raise ValueError(
                f"augment.crop: {self.augment.crop} is larger than the stored image (data.size {self.data.size})"
            )
        endgame = self.schedule.endgame
        if endgame and endgame.layer not in {layer.name for layer in self.model.layers}:
            raise ValueError(f"schedule.endgame.layer: no layer is called {endgame.layer!r}")
        self.shapes()
        return self

    def seed_of(self, source: Source, seed: int) -> int:
        """The seed of one source of chance in a run with `seed`."""
        own: int | None = getattr(self.seeds, source, None)
        return seed if own is None else own

    def shapes(self) -> tuple[LayerShape, ...]:
        """Shape, parameters, neurons and multiply-adds of every layer, in order."""
        return layer_shapes(self.model, self.augment.crop, self.data.classes)


def from_dict(values: Mapping[str, Any]) -> Config:
    """A Config from nested plain values. Raises ValueError: one line that names each bad key."""
    for key, text in _texts("", values):
        if re.search("[\ud800-\udfff]", text):  # halves of a character, which JSON can write and no file can hold
            raise ValueError(f"{shortened(key)}: {shortened(ascii(text))} is no valid text")
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise ValueError("; ".join(_explain(entry, values) for entry in error.errors())) from None


def _texts(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """(dotted key, text) of every string, names among them."""
    if isinstance(value, str):
        yield prefix, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            key = f"{prefix}.{name}" if prefix else str(name)
            yield key, str(name)
            yield from _texts(key, part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(prefix, part)


def _explain(entry: Any, values: Mapping[str, Any]) -> str:
    unions = {"conv", "local", "full", "bool", "Pool"}
    at = [part for part in entry["loc"] if not (isinstance(part, str) and part in unions)]
    if at[:2] == ["model", "layers"] and len(at) > 2 and isinstance(values["model"]["layers"], Mapping):
        at[2] = named_layers(values["model"]["layers"])[at[2]]["name"]
    message = entry["msg"].removeprefix("Value error, ")
    key = ".".join(map(str, at))
    if key and ": " in message and message.split(": ")[0].replace(".", "").replace("_", "").isalnum():
        return f"{key}.{message}"  # a validator of the whole part names the key below it
    wrong = entry["input"]
    hint = f"; write {JSON_WORDS[wrong]}" if isinstance(wrong, str) and wrong in JSON_WORDS else ""
    shown = "" if isinstance(wrong, (dict, BaseModel)) else f" (it is {shortened(repr(wrong))}{hint})"
    return f"{key}: {message[0].lower()}{message[1:]}{shown}" if key else message


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values, as JSON would hold them; `from_dict` takes them back."""
    values: dict[str, Any] = json.loads(config.model_dump_json())
    return values


# Keys younger than the first schema of the Config, each with the value that means "as before". At that value a key is
# left out of the digest, so that no run changes its name when the key comes. `*` stands for every layer.
YOUNG_KEYS: dict[str, Any] = {
    "data.held_out": 0,
    "data.subsets": "first",
    "seeds": None,
    "data.mean_at": "center",
    "data.channel_mean": None,
    "data.channel_std": None,
    "data.color_order": "rgb",
    "augment.resized_crop": None,
    "weights": None,
    "optim.kind": "momentum",
    "optim.rate_rule": "fixed",
    "schedule.endgame.slow_bias_learning_rate": None,
    "model.norm.learned": "no",
    "model.spatial_norm.learned": "no",
}


def digest(config: Config, data_digest: str) -> str:
    """Names a run: 12 hex digits of SHA-256 over the Config (without `eval.views`, which are read off a finished run,
    and without YOUNG_KEYS at their neutral values) and the content digest of the prepared data."""
    return _digest_of(to_dict(config), data_digest)


def digest_of(values: Mapping[str, Any], data_digest: str) -> str:
    """`digest` of a Config as a record keeps it, of this version or an older one."""
    return _digest_of(json.loads(json.dumps(values)), data_digest)


def _digest_of(kept: dict[str, Any], data_digest: str) -> str:
    """`digest_of` plain values that may be changed."""
    if isinstance(kept.get("eval"), dict):
        kept["eval"].pop("views", None)
    for key, neutral in YOUNG_KEYS.items():
        _leave_out(kept, key.split("."), neutral)
    text = json.dumps({"config": kept, "data": data_digest}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _leave_out(values: Any, path: list[str], neutral: Any) -> None:
    """Delete the key at `path` from nested values where it is there and neutral; a part that is None has no keys."""
    first, *rest = path
    if not isinstance(values, dict):
        return
    if rest:
        for name in values if first == "*" else (first,):
            _leave_out(values.get(name), rest, neutral)
    elif first in values and values[first] == neutral:
        del values[first]
