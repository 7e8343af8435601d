"""A step replayed as a graph, or moved by one launch for many parameters, has the numbers of the plain one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import preset
from repro.network.model import Drop, Network, build
from repro.training.optim import Optimizer, make_optimizer
from repro.training.step import WARM, GraphStep, make_step

CPU = torch.device("cpu")
RATES = [0.01] * 6 + [0.001] * 3  # a graph holds its rates
SIZES = [8, 8, 8, 8, 8, 3, 8, 8, 3]  # an epoch's last batch is short


def made(config: Config) -> tuple[Network, Optimizer]:
    model = build(config, 0).train()
    return model, make_optimizer(model, config)


def train(config: Config, model: Network, optimizer: Optimizer, step: Callable[..., object]) -> list[float]:
    """The losses of some steps, each with images and a mask of its own; conv1 is frozen in the last two."""
    found = []
    for number, (rate, size) in enumerate(zip(RATES, SIZES, strict=True)):
        optimizer.set_learning_rate(rate, 2 * rate)
        if number >= 7:
            for name, slot in optimizer.slots.items():
                slot.rate = 0.0 if name.startswith("conv1") else slot.rate
        generator = torch.Generator().manual_seed(number)
        images = 60 * torch.randn(size, 3, config.augment.crop, config.augment.crop, generator=generator)
        labels = torch.randint(config.data.classes, (size,), generator=generator)
        model.reseed(0, number)
        loss, wrong = step(images.contiguous(memory_format=torch.channels_last), labels)
        found += [float(loss), int(wrong)]
    return found


def test_a_replayed_step_has_the_numbers_of_the_plain_one() -> None:
    """A stand-in for CUDA records a step without doing it, and replays it on the same memory."""
    config = preset("smoke")
    model, optimizer = made(config)
    expected = train(config, model, optimizer, make_step(model, optimizer, "float32", CPU))
    other, other_optimizer = made(config)
    plain, recorded, replayed = [], [], []

    def beside(work: Callable[[], object]) -> object:
        plain.append(work)
        return work()

    def record(work: Callable[[], None]) -> Callable[[], None]:
        recorded.append(work)
        masks = {drop: drop.held for drop in other.modules() if isinstance(drop, Drop)}

        def replay() -> None:
            replayed.append(work)
            for drop, mask in masks.items():  # a graph has the memory itself
                drop.held = mask
            work()
            for drop in masks:
                drop.held = None

        return replay

    inner = make_step(other, other_optimizer, "float32", CPU)
    step = GraphStep(inner, other, other_optimizer, beside, record)  # type: ignore[arg-type]
    assert train(config, other, other_optimizer, step) == expected
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert len(plain) == WARM + 2, "the short batches take the plain step"
    assert len(recorded) == 3, "again for other rates, and for a frozen layer"
    assert len(replayed) == 4


def test_a_graph_is_for_one_cuda_device_only() -> None:
    model, optimizer = made(preset("smoke"))
    assert not isinstance(make_step(model, optimizer, "float32", CPU, graph=True), GraphStep)
    assert isinstance(make_step(model, optimizer, "float32", torch.device("cuda"), graph=True), GraphStep)


@pytest.mark.parametrize("form", ["paper", "torch"])
def test_parameters_moved_by_one_launch_have_the_numbers_of_each_moved_alone(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = override(preset("smoke"), {"optim.momentum_form": form, "optim.bias_weight_decay": False})
    model, optimizer = made(config)
    alone = train(config, model, optimizer, make_step(model, optimizer, "float32", CPU))
    other, together = made(config)
    monkeypatch.setattr(together, "apart", lambda part: False)
    assert train(config, other, together, make_step(other, together, "float32", CPU)) == alone
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    together.set_learning_rate(0.01, 0.02)
    sizes = sorted(len(parts) for parts, _, _ in together._groups().values())
    assert sizes == [8, 8], "weights and biases"


def test_masks_are_drawn_on_the_cpu_whatever_the_device() -> None:
    drop = next(part for part in build(preset("smoke"), 0).modules() if isinstance(part, Drop) and part.dropout)
    drop.train()
    drop.seed = 5
    x = torch.ones(4, 6)
    expected = torch.rand(4, 6, generator=torch.Generator().manual_seed(5)) < 0.5
    assert torch.equal(drop(x), x * expected)
    assert drop.mask(torch.device("cpu")).dtype == torch.bool
