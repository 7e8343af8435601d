"""Golden losses: thirty training steps of the published nets at reduced width, kept in tests/golden/ as text.

A line holds the loss of one step in float64 and in float32. In float64 every machine has to give the same losses to
PORTABLE. In float32 the same software on the same processor has to give the same losses to the last bit; another
machine only the same first loss, to FIRST. A change of the code that changes a file says why in its commit. To write
them again: python -m tests.test_golden

Why float32 cannot be compared across machines after many steps: losses hang together with the weights linearly (weights
off by 1e-9 part them by 1e-8 at most), until the rounding of float32, 1e-7, lets another number win a max pool or moves
a number across the bend of a ReLU. From there the two runs part: by 30% within thirty steps of cuda-convnet2.
"""

from __future__ import annotations

import hashlib
import os
from operator import attrgetter
from pathlib import Path

import numba
import pytest
import torch
import torch.nn.functional as F

from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import preset
from repro.machine.provenance import processor
from repro.network.model import build
from repro.training.optim import PlateauState, learning_rates, make_optimizer

FOLDER = Path(__file__).parent / "golden"
NETS = (
    "paper", "code-2012", "cuda-convnet2", "caffe-alexnet", "caffenet", "torchvision",
    "cifar-26", "cifar-19", "cifar-18", "cifar-13", "cifar-13-lrn", "cifar-11",
)  # fmt: skip
STEPS, BATCH, CLASSES = 30, 16, 10
# Of the loss. Initial weights off by 1e-15 part the float64 losses by 1e-14 at most, those off by 1e-9 by 1e-8; the
# emulated processors of .ci/run and this one are 5e-15 apart; 1% of LRN's alpha is 5e-5 (cifar-18) to 2 (code-2012).
PORTABLE = 1e-10
# Of the first loss: a float32 sum of n numbers errs by sqrt(n) * 6e-8 or so, and no sum has more than 10,000.
FIRST = 1e-5


def reduced(name: str) -> Config:
    """The preset with an eighth of the maps of each layer, ten classes and, where images are large, 67x67 crops."""
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


def made_images(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten sorts of plaid, one a label, without a random number: the same bits on every machine."""
    crop = config.augment.crop
    sort = torch.arange(BATCH).view(-1, 1, 1, 1) % CLASSES
    channel, row, column = torch.arange(3).view(1, -1, 1, 1), torch.arange(crop).view(-1, 1), torch.arange(crop)
    number = torch.arange(BATCH).view(-1, 1, 1, 1)
    pattern = (row * (1 + sort) + column * (1 + (3 * sort + channel) % 7) + 5 * number) % 32
    uneven = (row * row + 3 * column * column + 7 * row * column * (1 + channel)) % 97  # so that no two windows tie
    scale = 0.0174 if config.data.channel_std else config.data.scale  # torchvision's: about 1 / (255 * 0.226)
    images = ((pattern.double() - 15.5) * 8 + (uneven - 48.0) / 4) * scale
    return images.contiguous(memory_format=torch.channels_last), sort.flatten()


def losses(config: Config, dtype: torch.dtype, steps: int = STEPS) -> list[float]:
    """The loss before each of the steps. In float64 the initial weights are drawn in float64 too: the float32 draws of
    two machines differ by rounding."""
    torch.set_num_threads(1)
    model = build(config, 0).to(dtype).train()
    if dtype == torch.float64:
        for name, layer in model.named_layers():
            layer.initialize(0, name)
    optimizer = make_optimizer(model, config)
    rates = learning_rates(config.schedule, config.optim, 0, PlateauState())
    optimizer.set_learning_rate(rates.weights, rates.biases, rates.layers)
    images, labels = made_images(config)
    images = images.to(dtype)
    found = []
    for step in range(steps):
        model.reseed(0, step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def machine() -> str:
    """What the last bits of float32 depend on. A hypervisor may give several processors one name, so what tells them
    apart goes in as a digest; so do the variables that keep libraries from using some of their instructions."""
    told_apart = ("cpu family", "model", "stepping", "cache size", "flags", "CPU part", "CPU variant", "Features")
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = [line for line in cpuinfo.split("\n\n")[0].splitlines() if line.split("\t")[0].strip() in told_apart]
    limits = ("ATEN_CPU_CAPABILITY", "ONEDNN_", "DNNL_", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NUMBA_CPU_")
    lines += sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(limits))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
    software = f"torch {torch.__version__}, numba {numba.__version__}"
    return f"{software}, {torch.backends.cpu.get_cpu_capability()}, {processor()}, {digest}"


def written(name: str) -> str:
    config = reduced(name)
    columns = zip(losses(config, torch.float64), losses(config, torch.float32), strict=True)
    lines = [f"# {name}, reduced, {STEPS} steps, seed 0: float64, float32", f"# {machine()}"]
    return "\n".join([*lines, *(f"{double!r} {single!r}" for double, single in columns)]) + "\n"


def golden(name: str) -> tuple[bool, list[float], list[float]]:
    """Whether this machine wrote the file, and its float64 and float32 losses."""
    _, where, *lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    doubles, singles = zip(*([float(loss) for loss in line.split()] for line in lines), strict=True)
    return where == f"# {machine()}", list(doubles), list(singles)


@pytest.mark.parametrize("name", NETS)
def test_float64_losses_are_golden_on_every_machine(name: str) -> None:
    _, expected, _ = golden(name)
    assert len(expected) == STEPS
    assert expected[-1] < 0.999 * expected[0], "thirty steps that teach nothing would guard nothing"
    assert losses(reduced(name), torch.float64) == pytest.approx(expected, rel=PORTABLE)


@pytest.mark.parametrize("name", NETS)
def test_float32_losses_are_golden_bitwise_on_the_machine_that_wrote_them(name: str) -> None:
    same_machine, _, expected = golden(name)
    if same_machine:
        assert losses(reduced(name), torch.float32) == expected
    else:
        assert losses(reduced(name), torch.float32, steps=1) == pytest.approx(expected[:1], rel=FIRST)


@pytest.mark.parametrize(
    ("name", "key", "factor"),
    [
        ("cifar-18", "model.norm.alpha", 1.01),  # the least effect of all nets with LRN
        ("cifar-26", "optim.momentum", 1.001),
    ],
)
def test_a_small_change_is_seen_on_every_machine(name: str, key: str, factor: float) -> None:
    """What the float64 losses are for: a key a little off parts them by a hundred times the tolerance in ten steps."""
    config = reduced(name)
    found = losses(override(config, {key: factor * attrgetter(key)(config)}), torch.float64, steps=10)
    assert found != pytest.approx(golden(name)[1][:10], rel=100 * PORTABLE)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for net in NETS:
        (FOLDER / f"{net}.txt").write_text(written(net))
