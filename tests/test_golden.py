"""Golden losses: thirty training steps of the published nets at reduced width, kept in tests/golden/ as text.

The same software on the same processor has to give the same losses to the last bit; other software or another
processor, the same to rounding. A change of the code that changes a file says why in its commit. To write them again:

    python -m tests.test_golden
"""

from __future__ import annotations

import platform
from pathlib import Path

import numba
import pytest
import torch
import torch.nn.functional as F

from repro.config import Config, override
from repro.model import build
from repro.optim import PlateauState, learning_rates, make_optimizer
from repro.presets import preset

FOLDER = Path(__file__).parent / "golden"
NETS = (
    "paper", "code-2012", "cuda-convnet2", "caffe-alexnet", "caffenet", "torchvision",
    "cifar-26", "cifar-19", "cifar-18", "cifar-13", "cifar-13-lrn", "cifar-11",
)  # fmt: skip
STEPS, BATCH, CLASSES = 30, 16, 10
ROUNDING = 1e-4  # of the loss: initial weights off by 1e-7 part by 2e-6 within the thirty steps, measured


def reduced(name: str) -> Config:
    """The preset with an eighth of the maps of each layer, ten classes and, where pictures are large, 67x67 crops."""
    config = preset(name)
    changes: dict[str, object] = {
        f"model.layers.{layer.name}.maps": layer.maps // 8 for layer in config.model.layers if layer.maps is not None
    }
    for layer in config.model.layers:  # fewer inputs, wider weights: each layer's sums keep their spread, about
        if isinstance(layer.init_std, float) and layer.name != "conv1":
            changes[f"model.layers.{layer.name}.init_std"] = layer.init_std * (4 if config.augment.crop > 64 else 3)
    if config.augment.crop > 64:
        changes |= {"augment.crop": 67, "data.size": 67, "data.classes": CLASSES}
    return override(config, changes)


def pictures(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten sorts of plaid, one a label, without a random number: the same bits on every machine."""
    crop = config.augment.crop
    sort = torch.arange(BATCH).view(-1, 1, 1, 1) % CLASSES
    channel, row, column = torch.arange(3).view(1, -1, 1, 1), torch.arange(crop).view(-1, 1), torch.arange(crop)
    number = torch.arange(BATCH).view(-1, 1, 1, 1)
    pattern = (row * (1 + sort) + column * (1 + (3 * sort + channel) % 7) + 5 * number) % 32
    uneven = (row * row + 3 * column * column + 7 * row * column * (1 + channel)) % 97  # so that no two windows tie
    scale = 0.0174 if config.data.channel_std else config.data.scale  # torchvision's: about 1 / (255 * 0.226)
    images = ((pattern.float() - 15.5) * 8 + (uneven - 48.0) / 4) * scale
    return images.contiguous(memory_format=torch.channels_last), sort.flatten()


def losses(name: str) -> list[float]:
    """The loss before each of the steps."""
    torch.set_num_threads(1)
    config = reduced(name)
    model = build(config, 0).train()
    optimizer = make_optimizer(model, config)
    rates = learning_rates(config.schedule, config.optim, 0, PlateauState())
    optimizer.set_learning_rate(rates.weights, rates.biases, rates.layers)
    images, labels = pictures(config)
    found = []
    for step in range(STEPS):
        model.reseed(0, step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def machine() -> str:
    """What the last bits depend on."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            processor = line.split(":")[1].strip()
            break
    software = f"torch {torch.__version__}, numba {numba.__version__}"
    return f"{software}, {torch.backends.cpu.get_cpu_capability()}, {processor}"


def written(name: str) -> str:
    lines = [f"# {name}, reduced, {STEPS} steps, seed 0", f"# {machine()}", *(f"{loss!r}" for loss in losses(name))]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NETS)
def test_losses_are_golden(name: str) -> None:
    _, where, *golden = (FOLDER / f"{name}.txt").read_text().splitlines()
    found, expected = losses(name), [float(line) for line in golden]
    assert len(expected) == STEPS
    assert expected[-1] < 0.999 * expected[0], "thirty steps that teach nothing would guard nothing"
    if where == f"# {machine()}":
        assert found == expected
    else:
        assert found == pytest.approx(expected, rel=ROUNDING)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for net in NETS:
        (FOLDER / f"{net}.txt").write_text(written(net))
