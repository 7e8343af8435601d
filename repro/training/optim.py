"""The update rule of 2012 and the learning rate's way down (section 5).

Rule: v <- momentum * v - weight_decay * rate * w - rate * gradient; w <- w + v. The rate is inside the velocity, so
after a drop the old steps run out at the old rate; torch's form multiplies the whole velocity by the new rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from repro.config.config import Config, Optim, Schedule
from repro.extensions import load
from repro.network.model import Network
from repro.network.towers import TwoTowers, cut, join

RULE_BATCH = 128  # images of the batch that a learning rate is of, where it grows with the batch
POWERS = {"fixed": 0.0, "sqrt": 0.5, "linear": 1.0}  # of the batch, by optim.rate_rule


@dataclass(frozen=True)
class Rates:
    """Learning rates of one epoch; `layers` overrides both for the layers it names, weights first."""

    weights: float
    biases: float
    layers: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class Slot:
    """One parameter: its parts over the devices, their velocities, and what the Config says of it."""

    layer: str
    bias: bool
    decay: float
    parts: tuple[nn.Parameter, ...]
    velocity: tuple[Tensor, ...]
    rate: float = 0.0


_Group = tuple[torch.device, float, float]  # device, rate, decay


class Optimizer:
    """Momentum as `config.optim` says it, for either placement; make it with `make_optimizer`. Another rule is a
    subclass with a `move` of its own."""

    def __init__(self, slots: dict[str, Slot], config: Optim) -> None:
        self.slots, self.config = slots, config

    def set_learning_rate(
        self, weights: float, biases: float, layers: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        """The rates of the next steps; `layers` overrides both for the layers it names, weights first."""
        for slot in self.slots.values():
            slot.rate = (layers or {}).get(slot.layer, (weights, biases))[slot.bias]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for slot in self.slots.values():
            for part in slot.parts:
                part.grad = None

    def gradients(self) -> list[Tensor]:
        """The gradient of every part of a parameter, in fixed order: of zeros where no pass has made one."""
        parts = [part for slot in self.slots.values() for part in slot.parts]
        for part in parts:
            if part.grad is None:
                part.grad = torch.zeros_like(part)
        return [part.grad for part in parts if part.grad is not None]

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter once. A rate of zero freezes the parameter and its velocity."""
        for slot in self.slots.values():
            if slot.rate and self.apart(slot.parts[0]):
                self.move(slot)
        for (_, rate, decay), (parts, velocities, gradients) in self._groups().items():
            inside, outside = (-rate, 1.0) if self.config.momentum_form == "paper" else (1.0, -rate)
            torch._foreach_mul_(velocities, self.config.momentum)
            torch._foreach_add_(velocities, gradients, alpha=inside)
            torch._foreach_add_(velocities, parts, alpha=inside * decay)
            torch._foreach_add_(parts, velocities, alpha=outside)

    def move(self, slot: Slot) -> None:
        """One step of one parameter."""
        for part, velocity in zip(slot.parts, slot.velocity, strict=True):
            assert part.grad is not None, f"{slot.layer} has no gradient"
            inside, outside = (-slot.rate, 1.0) if self.config.momentum_form == "paper" else (1.0, -slot.rate)
            velocity.mul_(self.config.momentum).add_(part.grad, alpha=inside).add_(part, alpha=inside * slot.decay)
            part.add_(velocity, alpha=outside)

    def _groups(self) -> dict[_Group, tuple[list[Tensor], list[Tensor], list[Tensor]]]:
        """Parameters, velocities and gradients that one launch moves: those of one device and one rule."""
        groups: dict[_Group, tuple[list[Tensor], list[Tensor], list[Tensor]]] = {}
        for slot in self.slots.values():
            if slot.rate == 0 or self.apart(slot.parts[0]):
                continue
            for part, velocity in zip(slot.parts, slot.velocity, strict=True):
                assert part.grad is not None, f"{slot.layer} has no gradient"
                group = groups.setdefault((part.device, slot.rate, slot.decay), ([], [], []))
                for members, tensor in zip(group, (part, velocity, part.grad), strict=True):
                    members.append(tensor)
        return groups

    def apart(self, part: Tensor) -> bool:
        """Whether a parameter is moved alone: on the CPU, where its numbers then stay in cache, and by another rule."""
        return part.device.type == "cpu" or type(self).move is not Optimizer.move

    def state_dict(self) -> dict[str, Any]:
        """The velocities by parameter name, the same in both placements. Rates are a function of the epoch."""
        return {name: join(slot.velocity) for name, slot in self.slots.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Read what either placement wrote."""
        assert state.keys() == self.slots.keys(), f"state of {sorted(state)}, parameters {sorted(self.slots)}"
        for name, slot in self.slots.items():
            for velocity, stored in zip(slot.velocity, cut(state[name], len(slot.velocity)), strict=True):
                velocity.copy_(stored)


def make_optimizer(model: Network | TwoTowers, config: Config) -> Optimizer:
    """The optimizer of `config` for `model`, with velocities of zero. Set the learning rate before the first step."""
    slots = {}
    for name, parts in model.parts().items():
        layer = name.split(".")[0]
        bias = parts[0].ndim == 1 or name == f"{layer}.bias"
        decay = config.model.layer(layer).weight_decay
        decay = config.optim.weight_decay if decay is None else decay
        constant = name.split(".")[-1] not in ("weight", "bias")  # of adaptive.py: decay would pull it towards 1
        if constant or (bias and not config.optim.bias_weight_decay):
            decay = 0.0
        slots[name] = Slot(layer, bias, decay, parts, tuple(torch.zeros_like(part) for part in parts))
    made: Optimizer = load("repro.optimizers", config.optim.kind)(slots, config.optim)
    return made


@dataclass(frozen=True)
class PlateauState:
    """What the plateau schedule remembers: plain numbers, so that a checkpoint holds it as JSON."""

    best_error: float | None = None
    waited: int = 0  # epochs since the best error or the last drop
    drops: int = 0


def update_plateau(schedule: Schedule, state: PlateauState, error: float, epochs: int = 1) -> PlateauState:
    """The state after a test that found this error (percent), `epochs` after the last one.

    Section 5: the rate is divided when the error stops improving with the current rate. How long they waited is not
    said; here it is `schedule.patience` epochs since the best error or the last drop.
    """
    if state.best_error is None or error < state.best_error:
        return PlateauState(error, 0, state.drops)
    waited = state.waited + epochs
    if waited >= schedule.patience and state.drops < schedule.drops:
        return PlateauState(state.best_error, 0, state.drops + 1)
    return PlateauState(state.best_error, waited, state.drops)


def learning_rates(schedule: Schedule, optim: Optim, epoch: int, plateau: PlateauState) -> Rates:
    """The rates of `epoch`, counted from 0. `plateau` is used by kind plateau only."""
    start = optim.learning_rate * (optim.batch_size / RULE_BATCH) ** POWERS[optim.rate_rule]
    bias_start = start * optim.bias_learning_rate_factor
    if schedule.kind == "plateau":
        weights = biases = schedule.factor**plateau.drops
    elif schedule.kind == "steps":
        weights = biases = _drops(schedule, epoch, schedule.steps)
    elif schedule.kind == "dexp":
        weights = _stairs(schedule, epoch, schedule.dexp_factor, schedule.dexp_steps)
        own_factor = schedule.bias_dexp_factor or schedule.dexp_factor
        biases = _stairs(schedule, epoch, own_factor, schedule.bias_dexp_steps or schedule.dexp_steps)
    else:
        weights = biases = 1.0
    if schedule.bias_steps is not None:
        biases = _drops(schedule, epoch, schedule.bias_steps)
    endgame = schedule.endgame
    slowed = {}
    if endgame and epoch >= endgame.freeze_epoch:
        slowed = {endgame.layer: (0.0, 0.0)}
    elif endgame and epoch >= endgame.slow_epoch:
        slow, slow_bias = endgame.slow_learning_rate, endgame.slow_bias_learning_rate
        slowed = {endgame.layer: (slow, slow if slow_bias is None else slow_bias)}
    return Rates(start / weights, bias_start / biases, slowed)


def _drops(schedule: Schedule, epoch: int, steps: tuple[int, ...]) -> float:
    """What the rate is divided by once those of `steps` that are not after `epoch` have passed."""
    return float(schedule.factor ** sum(epoch >= step for step in steps))


def _stairs(schedule: Schedule, epoch: int, factor: float, steps: int) -> float:
    """cuda-convnet2's `dexp`, a discretized exponential: stairs of equal length, the last one divided by `factor`."""
    stair = epoch * steps // schedule.epochs
    return float(factor ** (stair / (steps - 1)))
