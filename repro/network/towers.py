"""The two towers on two devices (section 3.2): one process, one module, ordinary autograd, as the 2012 program ran.

Each device holds one column of the network and runs the steps of model.py on it. What crosses is copied where a step
says so: all maps before a layer that reads all towers, the last hidden units before the classes, and the few
neighboring maps that a response normalization over all maps looks at. CUDA launches are asynchronous, so the two
columns overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repro.network.model import ALL, Network


def place(model: Network, devices: tuple[str, ...]) -> Network | TwoTowers:
    """`model` on one device, or its towers on two ("cpu", "cpu" included). The weights and state_dict stay the same.

    Raises ValueError when a device does not exist, or when two are given to a network that has not two towers.
    """
    if not 1 <= len(devices) <= 2:
        raise ValueError(f"devices: give one or two, not {len(devices)}")
    found = tuple(_device(name) for name in devices)
    if len(found) == 1:
        return model.to(found[0])
    if model.config.model.towers != 2:
        raise ValueError(f"devices: {devices} are two, and model.towers is {model.config.model.towers}; give one")
    return TwoTowers(model, found)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"devices: there is no device {name!r} here ({str(error).splitlines()[0]})") from None
    return device


class TwoTowers(nn.Module):
    """A network of two towers, one on each of two devices. Logits are on the first, where the classes live.

    forward: (N, 3, crop, crop) on any device -> logits (N, classes). `exchanged` holds, after a forward pass, the bytes
    of one image that each layer fetched from the other tower.
    """

    def __init__(self, model: Network, devices: tuple[torch.device, ...]) -> None:
        super().__init__()
        self.config, self.devices, self.names = model.config, devices, model.names
        dtype = next(model.parameters()).dtype
        self.columns = nn.ModuleList(
            Network(model.config, column, len(devices)).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for column, device in enumerate(devices)
        )
        self.exchanged: dict[str, int] = {}
        self.load_state_dict(model.state_dict())
        self.train(model.training)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, crop, crop) -> (N, units of the last hidden layer) on the first device."""
        return self._fetch(self.names[-1], self._hidden(images), 0, ALL).flatten(1)

    def output(self, features: Tensor) -> Tensor:
        """(N, units) that `features` returned -> logits (N, classes), on the first device."""
        return self._column(0).output(features)

    def kernels(self) -> np.ndarray:
        """The first layer's weights (maps, 3, kernel, kernel), tower 1 first (Figure 3)."""
        return np.concatenate([self._column(place).kernels() for place in range(len(self.devices))])

    def reseed(self, *keys: int, rows: tuple[int, int] | None = None) -> None:
        """As Network.reseed."""
        for place in range(len(self.devices)):
            self._column(place).reseed(*keys, rows=rows)

    def parts(self) -> dict[str, tuple[nn.Parameter, ...]]:
        """Parameter name -> its parts, tower 1 first; the last layer has one part."""
        found: dict[str, tuple[nn.Parameter, ...]] = {}
        for place in range(len(self.devices)):
            for name, parameter in self._column(place).named_parameters():
                found[name] = (*found.get(name, ()), parameter)
        return found

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As one device has it: both towers' maps along the first dimension, on the first device."""
        assert not args and not kwargs, "give no arguments"
        first, second = (self._column(place).state_dict() for place in range(2))
        return {name: join((value, second[name])) if name in second else value for name, value in first.items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Read what either placement wrote. Raises as nn.Module.load_state_dict."""
        assert strict and not assign, "only the whole state, copied"
        last = f"{self.names[-1]}."
        for place in range(len(self.devices)):
            own = {name: cut(value, 2)[place] for name, value in state.items() if not name.startswith(last)}
            whole = {name: value for name, value in state.items() if name.startswith(last) and place == 0}
            self._column(place).load_state_dict({**own, **whole})

    def _hidden(self, images: Tensor) -> list[Tensor]:
        self.exchanged = {}
        columns = [images.to(device) for device in self.devices]
        for name in self.names[:-1]:
            layers = [self._column(place).layer(name) for place in range(len(self.devices))]
            if name != self.names[0]:
                columns = [self._fetch(name, columns, place, layers[0].reads) for place in range(len(columns))]
            columns = [layer.connect(x) for layer, x in zip(layers, columns, strict=True)]
            for steps in zip(*(layer.steps for layer in layers), strict=True):
                reads = getattr(steps[0], "reads", 0)
                wide = [self._fetch(name, columns, place, reads) for place in range(len(columns))]
                after = [step(x) for step, x in zip(steps, wide, strict=True)]
                if reads:  # keep the own maps, and in memory of their own, for a ReLU in place
                    own = columns[0].shape[1]
                    after = [after[0][:, :own].clone(), after[1][:, -own:].clone()]
                columns = after
        return columns

    def _fetch(self, layer: str, columns: list[Tensor], place: int, reads: int) -> Tensor:
        """The column at `place` with the `reads` nearest maps of the other one (ALL: every map) where they belong."""
        if reads == 0:
            return columns[place]
        other = columns[1 - place]
        if reads != ALL:
            other = other[:, :reads] if place == 0 else other[:, -reads:]
        self.exchanged[layer] = self.exchanged.get(layer, 0) + other.numel() // len(other) * other.element_size()
        other = other.to(self.devices[place])
        return torch.cat((columns[place], other) if place == 0 else (other, columns[place]), 1)

    def _column(self, place: int) -> Network:
        column = self.columns[place]
        assert isinstance(column, Network)
        return column


def join(parts: tuple[Tensor, ...]) -> Tensor:
    """The parts of one tensor, put together along the maps on the first one's device; a counter is the same in each."""
    return torch.cat([part.to(parts[0].device) for part in parts]) if parts[0].ndim else parts[0]


def cut(whole: Tensor, parts: int) -> tuple[Tensor, ...]:
    """What `join` put together."""
    return whole.chunk(parts) if whole.ndim else (whole,) * parts
