"""Weights that others trained, put into a network of a Config and evaluated: the whole pipeline without training.

    repro evaluate --weights alexnet.safetensors --layout torchvision

A file is read as numbers only, never as a pickle. docs/weights.md says how to make one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from repro import store
from repro.config.config import Config, digest
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import open_data
from repro.machine.cuda import make_exact
from repro.network.model import Network
from repro.network.towers import place
from repro.planning.plan import Run
from repro.records import RunRecord
from repro.training.events import Listener
from repro.training.execute import Machine, Opened, choose_devices, evaluate_views

LayoutName = Literal["torchvision", "caffe"]
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
READERS = (".safetensors", ".npz", ".pt", ".pth")
SHOWN = 3  # names that an error lists


@dataclass(frozen=True)
class Layout:
    """Which network a file is for unless another is named, and what it calls each layer's weights and biases.

    Both layouts store what the network here stores: a convolution as (maps, maps read, height, width), where a layer
    that reads one of two towers reads half of them; a full layer as (units, inputs), map after map, row after row.
    """

    preset: str
    names: Mapping[str, tuple[str, str]]  # layer -> weights, biases


TORCHVISION = (
    *(f"features.{number}" for number in (0, 3, 6, 8, 10)),
    *(f"classifier.{number}" for number in (1, 4, 6)),
)
LAYOUTS: dict[LayoutName, Layout] = {
    # torchvision/models/alexnet.py: places in its two Sequential
    "torchvision": Layout(
        "torchvision",
        {layer: (f"{name}.weight", f"{name}.bias") for layer, name in zip(LAYERS, TORCHVISION, strict=True)},
    ),
    # models/bvlc_alexnet/train_val.prototxt: the blobs of each layer by number
    "caffe": Layout("caffe-alexnet", {layer: (f"{layer}.0", f"{layer}.1") for layer in LAYERS}),
}


def evaluate_weights(
    path: Path,
    layout: LayoutName,
    *,
    source: str | None,
    preset_name: str | None,
    changes: Mapping[str, Any],
    machine: Machine,
    emit: Listener,
) -> RunRecord:
    """Evaluate the weights of a file on the test images of `source` and store a run's record of it; returns the record.

    The network is that of a preset (None: the layout's own) with `changes`, with one class for each that the file has;
    `source` is a prepared set's (None: the preset's). The record is a run's with no epochs, whose Config names the
    file by its hash; a view whose predictions are stored is not predicted again.
    Raises ValueError, one line, for a file that cannot be read or does not fit, and for data that is not prepared.
    """
    tensors = read(path)
    config = fitting(layout, tensors, preset_name, source, changes)
    config = override(config, {"weights": hashlib.sha256(path.read_bytes()).hexdigest()})
    whole = network(config, tensors, layout, path).float()
    prepared = open_data(config.data, machine.data)
    there, has = len(prepared.manifest.classes), config.data.classes
    if there != has and "data.classes" not in changes:
        raise ValueError(
            f"{path} tells {has} classes apart, and {config.data.source} has {there}; give --data a set of the same "
            f"classes, or --set data.classes={has} where its first {has} are the same"
        )
    name = digest(config, prepared.manifest.digest)
    devices = choose_devices(machine.devices, config.model.towers)
    make_exact()
    opened = Opened(Run(config, 0, name, config.eval.views), machine, prepared, place(whole, devices), devices)
    record = opened.record(
        epochs=0,
        epochs_to_target=None,
        censored=False,
        seconds=0.0,
        images_per_second=0.0,
        diverged=False,
        held_out=None,
        errors=evaluate_views(opened, emit),
    )
    store.write_run(machine.results, record)
    identity = {"file": path.name, "layout": layout, "preset": preset_name or LAYOUTS[layout].preset}
    store.write_weights(machine.results, name, identity)
    return record


def read(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a file, by its ending: .safetensors, .npz, or .pt and .pth, of which only tensors are read.

    Raises ValueError, one line, for another ending, a file that is damaged, and one that holds more than tensors.
    """
    ending = path.suffix.lower()
    if ending == ".caffemodel":
        raise ValueError(f"{path}: convert it to .npz first; docs/weights.md says how")
    if ending not in READERS:
        raise ValueError(f"{path}: is none of {', '.join(READERS)}; docs/weights.md says how to make one")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        if ending == ".safetensors":
            return safetensors.torch.load_file(path)
        if ending == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own errors for a file that is not its own or is damaged
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path}: cannot be read as {ending} ({type(error).__name__}: {reason})") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path}: holds more than tensors by name; save the state_dict alone")
    return dict(found)


def fitting(
    layout: LayoutName,
    tensors: Mapping[str, Tensor],
    preset_name: str | None = None,
    source: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Config:
    """The Config that the weights are for: the preset's network with as many classes as they have biases for."""
    known = LAYOUTS[layout]
    last = tensors.get(known.names[LAYERS[-1]][1])
    chosen: dict[str, Any] = {"data.source": source} if source else {}
    if last is not None and last.ndim == 1 and len(last) > 1:
        chosen["data.classes"] = len(last)
    return override(preset(preset_name or known.preset), chosen | dict(changes or {}))


def network(config: Config, tensors: Mapping[str, Tensor], layout: LayoutName, path: Path) -> Network:
    """The network of `config` with the weights of `tensors`, in their dtype and memory. `path` is named in errors.

    Raises ValueError, one line, for names that are missing or too many, and for tensors of another shape or kind.
    """
    names = LAYOUTS[layout].names
    unknown = [layer.name for layer in config.model.layers if layer.name not in names]
    if unknown or len(config.model.layers) != len(names):
        raise ValueError(f"--layout {layout}: is for the layers {', '.join(names)}; choose a preset that has these")
    wanted = [name for pair in names.values() for name in pair]
    for what, wrong in (
        ("lacks", [name for name in wanted if name not in tensors]),
        ("has also", [name for name in tensors if name not in wanted]),
    ):
        if wrong:
            more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
            raise ValueError(f"{path}: {what} {', '.join(wrong[:SHOWN])}{more}; --layout {layout} is {wanted[0]} ...")
    with torch.device("meta"):
        made = Network(config)
    shapes = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    state = {}
    for layer, pair in names.items():
        for part, name in zip(("weight", "bias"), pair, strict=True):
            tensor, shape = tensors[name], shapes[f"{layer}.{part}"]
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{path}: {name} is {tuple(tensor.shape)}, and the network's {layer} needs {shape}")
            if not tensor.is_floating_point():
                raise ValueError(f"{path}: {name} holds {tensor.dtype}, not floating-point numbers")
            state[f"{layer}.{part}"] = tensor
    made.load_state_dict(state, assign=True)
    return made.to(memory_format=torch.channels_last)
