"""`repro doctor --cuda`: does what the CPU computes hold on the CUDA devices of this machine?

Each check runs the program's own code on a device and compares it with the CPU, or with itself. Without a device a
check runs what a CPU can (Triton's interpreter, two towers on `cpu,cpu`) and says what that leaves open.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import Loader, make_loader, open_data
from repro.machine.cuda import arithmetic, make_exact
from repro.machine.provenance import usable_cores
from repro.network.lrn import _loop, _Rule
from repro.network.model import Drop, build
from repro.network.towers import place
from repro.training.optim import make_optimizer
from repro.training.step import make_step

Status = Literal["holds", "fails", "not checked"]
CPU = torch.device("cpu")
STEPS = 12  # of a small network: some for each learning rate, and those before a graph is recorded
ROUNDING = 5e-3  # of the way of a layer in STEPS steps; a tenth of alpha more is 0.1, other placements on a CPU 1e-4
BFLOAT16_ROUNDING = 0.5  # the same, where products keep 8 bits: 0.3 on the CPU
KERNEL_ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 8e-3}  # of response normalization, as its tests have it
EXACT_PRODUCT = 2e-5  # of the largest sum of 1024 float32 products; TF32 errs by some 3e-4
SECONDS = 10.0  # of each throughput


class BrokenError(Exception):
    """A check does not hold; the message says by how much."""


class Check(NamedTuple):
    """`run` takes a device, returns what it found, and raises BrokenError (or anything else) where the check fails."""

    name: str
    run: Callable[[torch.device], str]
    unseen: str  # what it leaves open without a device
    on_cpu: bool  # whether it shows anything there


class Outcome(NamedTuple):
    """One line of what `repro doctor --cuda` prints."""

    name: str
    status: Status
    found: str
    unseen: str  # empty on a device


def diagnose(emit: Callable[[str], None] = lambda name: None) -> list[Outcome]:
    """The outcome of every check on the first CUDA device, or on the CPU where there is none. `emit` hears the name of
    each before it runs."""
    make_exact()
    device = torch.device("cuda:0") if torch.cuda.is_available() else CPU
    outcomes = []
    for check in CHECKS:
        emit(check.name)
        outcomes.append(outcome(check, device))
    return outcomes


def outcome(check: Check, device: torch.device) -> Outcome:
    """What one check comes to; an error in it is its outcome, as the others are still wanted."""
    if device.type == "cpu" and not check.on_cpu:
        return Outcome(check.name, "not checked", "-", check.unseen)
    unseen = check.unseen if device.type == "cpu" else ""
    try:
        return Outcome(check.name, "holds", check.run(device), unseen)
    except BrokenError as broken:
        return Outcome(check.name, "fails", str(broken), unseen)
    except Exception as error:
        return Outcome(check.name, "fails", f"{type(error).__name__}: {error}".splitlines()[0], unseen)


# -------------------------------------------------------------------------------------------------------- the checks


def float32_products(device: torch.device) -> str:
    """Matrix products and convolutions are not rounded to TF32."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1024, 1024, generator=generator) for _ in range(2))
    x, weight = torch.randn(4, 64, 16, 16, generator=generator), torch.randn(64, 64, 4, 4, generator=generator)
    worst = max(
        _error(a.to(device) @ b.to(device), a.double() @ b.double()),
        _error(torch.conv2d(x.to(device), weight.to(device)), torch.conv2d(x.double(), weight.double())),
    )
    if worst > EXACT_PRODUCT or arithmetic()["tf32"]:
        raise BrokenError(f"error {worst:.1e} of the largest, more than {EXACT_PRODUCT:.0e}")
    return f"error {worst:.1e} of the largest"


def normalization_kernel(device: torch.device) -> str:
    """The Triton kernel has the numbers of the CPU loop, both ways."""
    if device.type != "cpu":
        return compare_kernel(device, 8)
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = f"import torch, {__name__} as checks; print(checks.compare_kernel(torch.device('cpu'), 1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise BrokenError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return f"in Triton's interpreter: {done.stdout.strip()}"


def compare_kernel(device: torch.device, times: int) -> str:
    """Compare on shapes `times` as large as the interpreter does at a bearable speed."""
    from repro.network import lrn_triton

    kernel: Callable[..., Tensor] = lrn_triton.normalize
    worst = dict.fromkeys(KERNEL_ROUNDING, 0.0)
    for rule, maps in (
        (_Rule(3, 1e-4, 0.75, 2.0, 2, False, True), 12),
        (_Rule(5, 1e-4, 0.6, 1.0, 1, False, False), 6),
        (_Rule(3, 1e-3, 0.75, 1.0, 1, True, False), 5),
    ):
        for dtype, allowed in KERNEL_ROUNDING.items():
            generator = torch.Generator().manual_seed(0)
            shape = (2 * times, maps * times, 5, 7)
            x, g = ((100 * torch.randn(shape, generator=generator)).to(dtype) for _ in range(2))
            for given in ((x,), (x, g)):
                found = kernel(rule, *(each.to(device) for each in given))
                error = _error(found, _loop(rule, *given).double())
                worst[dtype] = max(worst[dtype], error)
                if not error <= allowed:
                    raise BrokenError(f"{rule}, {dtype}: error {error:.1e} of the largest, more than {allowed:.0e}")
    return ", ".join(f"{str(dtype).removeprefix('torch.')} within {error:.1e}" for dtype, error in worst.items())


def augmentation(device: torch.device) -> str:
    """Images that the device finishes are bitwise those of the CPU's one pass, in training and in every view."""
    config = override(preset("smoke"), {"augment.color": {"kind": "stddev", "strength": 0.1}})
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        prepared = open_data(config.data, Path(folder))
        here, there = (
            make_loader(prepared, config, "train", seed=0, kind="torch", device=each) for each in (None, device)
        )
        for one, other in ((here.epoch(1), there.epoch(1)), (here.views("ten"), there.views("ten"))):
            with closing(one), closing(other):
                for expected, found in zip(one, other, strict=True):
                    count += len(expected.image)
                    if not torch.equal(expected.image, found.image.cpu()):
                        raise BrokenError(f"off by up to {float((expected.image - found.image.cpu()).abs().max()):.1e}")
    return f"{count} images bitwise equal"


def dropout_masks(device: torch.device) -> str:
    """A mask does not depend on the device."""
    model = build(preset("smoke"), 0).train()
    model.reseed(0, 1)
    drops = [part for part in model.modules() if isinstance(part, Drop) and part.dropout]
    for drop in drops:
        x = torch.ones(64, 512)
        if not torch.equal(drop(x), drop(x.to(device)).cpu()):
            raise BrokenError("masks differ")
    return f"{len(drops)} masks equal"


def like_the_cpu(device: torch.device) -> str:
    """A small network trains as on the CPU, within rounding."""
    config = preset("smoke")
    return _compare(ways(config, ("cpu",)), ways(config, (str(device),)), ROUNDING)


def two_devices(device: torch.device) -> str:
    """Two towers on two devices train as on one, within rounding; with one device, both are on it."""
    config, count = preset("smoke"), torch.cuda.device_count() if device.type == "cuda" else 0
    pair = ("cuda:0", f"cuda:{min(1, count - 1)}") if count else ("cpu", "cpu")
    return f"{','.join(pair)}: {_compare(ways(config, pair[:1]), ways(config, pair), ROUNDING)}"


def repeats(device: torch.device) -> str:
    """The same run twice gives the same bits."""
    one, two = (ways(preset("smoke"), (str(device),)) for _ in range(2))
    return _compare(one, two, 0.0)


def bfloat16(device: torch.device) -> str:
    """Products in bfloat16 train as those in float32, within the few bits that they have."""
    config, where = preset("smoke"), (str(device),)
    return _compare(ways(config, where), ways(override(config, {"precision": "bfloat16"}), where), BFLOAT16_ROUNDING)


def graph_step(device: torch.device) -> str:
    """A replayed step trains as the plain one."""
    where = (str(device),)
    return _compare(ways(preset("smoke"), where), ways(preset("smoke"), where, graph=True), ROUNDING)


def small_step_rate(device: torch.device) -> str:
    """Whether `--graph` pays for a small network."""
    config = preset("smoke")
    plain, graph = (_step_rate(config, device, graph=graph) for graph in (False, True))
    return f"smoke: {plain:.0f} images/s plain, {graph:.0f} with --graph"


def throughput(device: torch.device) -> str:
    """The loader keeps up with the step of the paper's network: else the device waits."""
    from repro.bench.loader import benched, write_tree
    from repro.data.prepare.prepare import prepare

    config, workers = benched("raw"), usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        tree = write_tree(Path(folder) / "tree", 1024)
        prepare("bench", source=tree, directory=Path(folder), size=config.data.size, storage="raw", quality=None)
        prepared = open_data(config.data, Path(folder))
        loader = make_loader(prepared, config, "train", seed=0, workers=workers, device=device)
        input_rate = _input_rate(loader, device)
    found = f"input {input_rate:.0f} images/s with {workers} workers, step"
    for precision in ("float32", "bfloat16"):
        rate = _step_rate(override(config, {"precision": precision}), device)
        found += f" {rate:.0f} in {precision},"
        if rate > input_rate:
            raise BrokenError(f"{found} the device waits for images")
    return found.rstrip(",")


CHECKS = (
    Check("float32 is float32", float32_products, "TF32 is turned off; products on a device", True),
    Check("response normalization", normalization_kernel, "the compiled kernel on a device", True),
    Check("augmentation", augmentation, "the same operations on a device, its stream and pinned memory", True),
    Check("dropout masks", dropout_masks, "their copy to a device; they are drawn on the CPU", True),
    Check("trains as the CPU", like_the_cpu, "all of it", False),
    Check("two devices", two_devices, "copies between two CUDA devices", True),
    Check("the same bits twice", repeats, "cuDNN's and cuBLAS's algorithms", True),
    Check("bfloat16", bfloat16, "products of a device", True),
    Check("graph step", graph_step, "all of it; a stand-in is tested", False),
    Check("speed of a small step", small_step_rate, "all of it", False),
    Check("input keeps up", throughput, "all of it; `repro bench loader` measures the CPU", False),
)


# ---------------------------------------------------------------------------------------------- what they are made of


def ways(config: Config, where: tuple[str, ...], graph: bool = False) -> dict[str, Tensor]:
    """How far each parameter moves in STEPS steps from the weights of seed 0, on the CPU; the rate falls halfway."""
    device = torch.device(where[0])
    start = build(config, 0).state_dict()
    model = place(build(config, 0), where).train()
    optimizer = make_optimizer(model, config)
    step = make_step(model, optimizer, config.precision, device, graph)
    for number in range(STEPS):
        rate = 0.01 if number < STEPS // 2 else 0.001
        optimizer.set_learning_rate(rate, 2 * rate)
        images, labels = _batch(config, 32, number)
        model.reseed(0, number)
        step(images.to(device), labels.to(device))
    return {name: value.cpu() - start[name] for name, value in model.state_dict().items()}


def _batch(config: Config, count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = 60 * torch.randn(count, 3, config.augment.crop, config.augment.crop, generator=generator)
    labels = torch.randint(config.data.classes, (count,), generator=generator)
    return images.contiguous(memory_format=torch.channels_last), labels


def _compare(expected: dict[str, Tensor], found: dict[str, Tensor], allowed: float) -> str:
    """Each parameter's way, a vector, and how far the other ended from it."""
    worst = max(float((found[name] - way).norm() / way.norm()) for name, way in expected.items())
    if not worst <= allowed:  # a NaN is more than anything
        raise BrokenError(f"after {STEPS} steps a layer is off by {worst:.1e} of its way, more than {allowed:.0e}")
    return f"after {STEPS} steps weights are " + (f"within {worst:.1e} of their way" if worst else "equal")


def _error(found: Tensor, exact: Tensor) -> float:
    """The largest difference over the largest number."""
    return float((found.cpu().double() - exact).abs().max() / exact.abs().max())


def _step_rate(config: Config, device: torch.device, graph: bool = False) -> float:
    """Images a second of the training step alone."""
    model = build(config, 0).to(device).train()
    optimizer = make_optimizer(model, config)
    optimizer.set_learning_rate(1e-6, 1e-6)
    step = make_step(model, optimizer, config.precision, device, graph)
    images, labels = (part.to(device) for part in _batch(config, config.optim.batch_size, 0))
    counter = iter(range(10**9))

    def work() -> int:
        model.reseed(0, next(counter))
        step(images, labels)
        return len(images)

    return _rate(work, device)


def _input_rate(loader: Loader, device: torch.device) -> float:
    """Images a second that arrive on the device."""

    def sizes() -> Iterator[int]:
        epoch = 0
        while True:
            with closing(loader.epoch(epoch)) as batches:
                yield from (len(batch.image) for batch in batches)
            epoch += 1

    with closing(sizes()) as coming:  # type: ignore[type-var]
        return _rate(lambda: next(coming), device)


def _rate(work: Callable[[], int], device: torch.device) -> float:
    for _ in range(10):
        work()
    torch.cuda.synchronize(device)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        count += sum(work() for _ in range(10))
        torch.cuda.synchronize(device)
    return count / (time.perf_counter() - start)
