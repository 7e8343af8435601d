"""`repro bench step`: the training step beside what a plain torch script does, and beside the machine's matrix rate.

Every contender lives in a process of its own, as it would in use: with its own allocator and its own peak of memory.
They take turns, so that each meets the same machine. Batches are in memory already: `repro bench loader` measures
those.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from repro.bench import BenchResult, Row, Samples, Texts, interleaved, machine, ratio, row
from repro.config.architecture import Conv, Full, Norm
from repro.config.config import Config
from repro.config.geometry import pool_of
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import Batch, Batches

RATE = 1e-6  # small enough for random labels to leave the weights in the range where they began
SHORTEST = 1.0  # seconds that one sample takes at least
TARGETS = {
    "full_over_plain": "at least 4.5, where the CPU multiplies bfloat16 in hardware",
    "cifar_over_plain": "at least 2.5",
    "full_over_tuned": "at least 1.6",
    "cifar_over_tuned": "at least 2.2",
    "lrn_cost_float32": "at most 1.2",
    "lrn_cost_bfloat16": "at most 1.2",
    "fraction_of_gemm": "at least 0.9",
    "memory_over_plain": "at most 1",
    "jobs_over_one": "more than 1",
}
EVIDENCE = ("cifar10", "tiny", "figure-1", "cifar-26", "cifar-18", "cifar-13")  # presets that evidence is made with
FRACTIONS = {"float32": "at least 0.75", "bfloat16": "at least 0.5"}  # of the matrix rate, of each of them
PARTS = {"products": ("convolution", "mm", "linear"), "LRN": ("_Normalize",), "pools": ("pool",)}  # by names of torch


class Spec(NamedTuple):
    """What a contender's process has to know."""

    kind: str  # ours, plain, tuned, torchvision, gemm
    preset: str
    batch: int
    changes: dict[str, Any]
    threads: int = 0  # 0: torch's choice
    copies: int = 1  # processes that take each step at the same time
    lrn: str = "torch"  # of tuned: nn.LocalResponseNorm, or "last": LastDimensionNorm
    compiled: bool = False  # of tuned: by torch.compile
    profiled: bool = False  # of ours: says at its end what a step is spent on


def measure(quick: bool = False) -> BenchResult:
    """Step rates, peak memory, the cost of response normalization and the share of the matrix rate.

    `quick` measures small nets in small batches: it shows that everything runs, its ratios mean nothing.
    """
    facts = machine()
    in_hardware = torch.cuda.is_available() or facts["cpu_bfloat16"] != "emulated"
    best, other = ("bfloat16", "float32") if in_hardware else ("float32", "bfloat16")
    full, cifar, batch, rounds = ("smoke", "smoke", 8, 2) if quick else ("paper", "cifar10", 128, 5)
    rows: list[Row] = []
    ratios: dict[str, float] = {}
    notes: list[str] = []

    def group(net: str, specs: dict[str, Spec]) -> tuple[Samples, dict[str, dict[str, float]]]:
        samples, closing = take_turns(specs, rounds)
        for name, spec in specs.items():
            if spec.kind != "gemm":
                rates = [spec.copies * spec.batch / seconds for seconds in samples[name]]
                rows.append(row(f"{net} net, batch {spec.batch}: {name}", "images/s", rates))
        return samples, closing

    def with_and_without(net: str, precision: str, size: int) -> dict[str, Spec]:
        changes = {"precision": precision}
        return {
            f"ours, {precision}": Spec("ours", net, size, changes),
            f"ours, {precision}, no LRN": Spec("ours", net, size, {**changes, "model.norm": None}),
        }

    def lrn_cost(samples: Samples, precision: str) -> float:
        return ratio(samples[f"ours, {precision}"], samples[f"ours, {precision}, no LRN"])

    tuned_ones = {net: _tuned_specs(net, batch, in_hardware) for net in (full, cifar)}
    if not quick and (why := _cannot_compile(tuned_ones[cifar])):
        notes.append(f"torch.compile does not work here, and its contenders are left out: {why}")
    if quick or notes:
        tuned_ones = {net: _without_compiled(specs) for net, specs in tuned_ones.items()}

    beside = {"plain torch": Spec("plain", full, batch, {}), "gemm": Spec("gemm", full, batch, {"precision": best})}
    samples, closing = group("full", {**with_and_without(full, best, batch), **beside, **tuned_ones[full]})
    mine = f"ours, {best}"
    bounds = [batch * operations(preset(full)) / rate for rate in samples["gemm"]]
    rows.append(row("full net, bound: its multiply-adds at the matrix rate", "images/s", [batch / s for s in bounds]))
    rows.append(row(f"matrix product, {best}", "GFLOP/s", [rate / 1e9 for rate in samples["gemm"]]))
    for name in (mine, "plain torch"):
        rows.append(row(f"full net, batch {batch}: {name}, peak memory", "MiB", [closing[name]["peak_mib"]]))
    ratios["full_over_plain"] = ratio(samples["plain torch"], samples[mine])
    ratios["full_over_tuned"] = min(ratio(samples[name], samples[mine]) for name in tuned_ones[full])
    ratios["fraction_of_gemm"] = ratio(bounds, samples[mine])
    ratios["memory_over_plain"] = closing[mine]["peak_mib"] / closing["plain torch"]["peak_mib"]
    ratios[f"lrn_cost_{best}"] = lrn_cost(samples, best)
    if not quick:
        group("full", {"torchvision.models.alexnet": Spec("torchvision", "torchvision", batch, {})})
    # an emulated product takes five times as long: a smaller batch keeps the measurement short
    samples, _ = group("full", with_and_without(full, other, batch if in_hardware else batch // 4))
    ratios[f"lrn_cost_{other}"] = lrn_cost(samples, other)

    plain = {"plain torch": Spec("plain", cifar, batch, {})}
    both = {**with_and_without(cifar, "float32", batch), **with_and_without(cifar, "bfloat16", batch)}
    samples, _ = group("cifar", {**plain, **both, **tuned_ones[cifar]})
    ratios["cifar_over_plain"] = ratio(samples["plain torch"], samples[mine])
    ratios["cifar_over_tuned"] = min(ratio(samples[name], samples[mine]) for name in tuned_ones[cifar])
    for precision in (best, other):
        ratios[f"cifar_lrn_cost_{precision}"] = lrn_cost(samples, precision)

    spent, fractions = (
        ([], {}) if torch.cuda.is_available() else bounds_of(("smoke",) if quick else EVIDENCE, facts, rounds)
    )
    ratios |= fractions

    jobs = 1 if torch.cuda.is_available() else min(4, facts["cores"])
    if jobs > 1:
        one = Spec("ours", cifar, batch, {}, threads=facts["cores"])
        several = one._replace(threads=facts["cores"] // jobs, copies=jobs)
        samples, _ = group("cifar", {"one run on all cores": one, f"{jobs} runs at once": several})
        ratios["jobs_over_one"] = jobs * ratio(samples["one run on all cores"], samples[f"{jobs} runs at once"])
    if not in_hardware:
        notes.append("No bfloat16 products in this CPU: torch emulates them, so torch is compared with in float32.")
    title = "Training step" + (", quick: sizes too small to judge" if quick else "")
    targets = TARGETS | {name: FRACTIONS[name.rpartition("_")[2]] for name in fractions}
    return BenchResult(title, rows, ratios, facts, targets, notes, spent)


def bounds_of(presets: Sequence[str], facts: dict[str, Any], rounds: int) -> tuple[list[Texts], dict[str, float]]:
    """Of each preset, on one thread: its rate, the share of the matrix rate, what a step is spent on. Where products
    take most of it, they are what runs below the matrix rate; the rest has no products to run beside."""
    cells, fractions = [], {}
    for name in presets:
        config = preset(name)
        for precision in FRACTIONS if facts["cpu_bfloat16"] != "emulated" else ("float32",):
            mine = Spec("ours", name, config.optim.batch_size, {"precision": precision}, threads=1, profiled=True)
            samples, closing = take_turns({"ours": mine, "gemm": mine._replace(kind="gemm", profiled=False)}, rounds)
            bounds = [mine.batch * operations(config) / rate for rate in samples["gemm"]]
            fraction = fractions[f"fraction_{name}_{precision}"] = ratio(bounds, samples["ours"])
            rate = row("", "images/s", [mine.batch / seconds for seconds in samples["ours"]]).median
            parts = [f"{100 * closing['ours'][part]:.0f}%" for part in (*PARTS, "rest")]
            cells.append([name, precision, str(mine.batch), f"{rate:,.0f}", f"{fraction:.2f}", *parts])
    columns = ["preset", "precision", "batch", "images/s, a thread", "of the matrix rate", *PARTS, "rest"]
    return [Texts("What bounds a step", columns, cells)], fractions


def shares(work: Callable[[int], object]) -> dict[str, float]:
    """The share of a step on the CPU that each of PARTS and the rest take, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        work(1)
    took = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    total = sum(took.values())
    parts = {
        part: sum(time for name, time in took.items() if any(word in name for word in words)) / total
        for part, words in PARTS.items()
    }
    return {**parts, "rest": 1 - sum(parts.values())}


def _tuned_specs(net: str, batch: int, in_hardware: bool) -> dict[str, Spec]:
    """What the best torch script may be on this machine; the fastest is what ours is compared with."""
    last = Spec("tuned", net, batch, {}, lrn="last")
    found = {
        "tuned torch, float32": last,
        "tuned torch, float32, torch's LRN": last._replace(lrn="torch"),
        "tuned torch, float32, compiled": last._replace(compiled=True),
    }
    if in_hardware:
        half = {"precision": "bfloat16"}
        found |= {
            "tuned torch, bfloat16": last._replace(changes=half),
            "tuned torch, bfloat16, compiled": last._replace(changes=half, compiled=True),
        }
    return found


def _without_compiled(specs: dict[str, Spec]) -> dict[str, Spec]:
    return {name: spec for name, spec in specs.items() if not spec.compiled}


def _cannot_compile(specs: dict[str, Spec]) -> str | None:
    """Why torch.compile fails for some of these contenders; None where it works."""
    try:
        take_turns({name: spec for name, spec in specs.items() if spec.compiled}, 1)
    except RuntimeError as error:
        return str(error)
    return None


def take_turns(specs: dict[str, Spec], rounds: int) -> tuple[Samples, dict[str, dict[str, float]]]:
    """Samples by contender (seconds a step; for gemm FLOP/s), and what each said when it closed."""
    with ExitStack() as stack:
        running = {name: stack.enter_context(_Contender(spec)) for name, spec in specs.items()}
        samples = interleaved({name: contender.sample for name, contender in running.items()}, rounds)
        return samples, {name: contender.close() for name, contender in running.items()}


class _Contender:
    """Child processes that take a sample for each line they are sent, and say what it cost when the lines end."""

    def __init__(self, spec: Spec) -> None:
        command = [sys.executable, "-m", __name__, json.dumps(spec._asdict())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.processes = [subprocess.Popen(command, **pipes) for _ in range(spec.copies)]  # type: ignore[call-overload]

    def __enter__(self) -> _Contender:
        try:
            self._read()
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        for process in self.processes:
            process.kill()
            process.stdin.close()
            process.stdout.close()
            process.wait()

    def _read(self) -> list[dict[str, float]]:
        lines = [process.stdout.readline() for process in self.processes]
        for line, process in zip(lines, self.processes, strict=True):
            if not line:
                raise RuntimeError(f"a measured process ended with status {process.wait()}")
        return [json.loads(line) for line in lines]

    def sample(self) -> float:
        for process in self.processes:
            print(file=process.stdin, flush=True)
        return max(answer["sample"] for answer in self._read())

    def close(self) -> dict[str, float]:
        for process in self.processes:
            process.stdin.close()
        answers = self._read()
        return {name: sum(answer[name] for answer in answers) for name in answers[0]}


# ------------------------------------------------------------------------------------------------ inside the contender


class Contender(NamedTuple):
    """A warmed-up contender: takes a sample, says at the end what it cost."""

    sample: Callable[[], float]
    close: Callable[[], dict[str, float]]


def prepare(spec: Spec) -> Contender:
    """Build the contender, warm it up, and choose how many steps make a sample."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if spec.threads:
        torch.set_num_threads(spec.threads)
    if spec.kind == "gemm":
        work, flops = gemm(spec.changes["precision"], device)
    else:
        makers = {"ours": ours, "plain": plain, "tuned": tuned, "torchvision": plain_torchvision}
        work, flops = makers[spec.kind](spec, device), 0.0
        work(1)
    times = max(1, round(SHORTEST / _seconds(work, 1, device)))

    def sample() -> float:
        took = _seconds(work, times, device)
        return flops / took if spec.kind == "gemm" else took

    def close() -> dict[str, float]:
        return {"peak_mib": _peak_mib(device)} | (shares(work) if spec.profiled else {})

    return Contender(sample, close)


def main(spec: Spec) -> None:
    """Answer each line of standard input with a sample, and its end with what the contender cost."""
    contender = prepare(spec)
    _answer({})
    for _ in sys.stdin:
        _answer({"sample": contender.sample()})
    _answer(contender.close())


def _answer(values: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def operations(config: Config) -> float:
    """Floating-point operations of one image's step: two for each multiply-add, forward, and backward to weights and
    to inputs, but for the images themselves. (torch's flop counter forgets groups in the gradient of weights.)"""
    shapes = config.shapes()
    return 2.0 * (3 * sum(shape.multiply_adds for shape in shapes) - shapes[0].multiply_adds)


def _seconds(work: Callable[[int], object], times: int, device: torch.device) -> float:
    start = time.perf_counter()
    work(times)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:  # the kernel's ru_maxrss also remembers the parent, from before exec
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def ours(spec: Spec, device: torch.device) -> Callable[[int], object]:
    """`train_epoch` over a batch in memory, so many times."""
    from repro.machine.speed import keep_freed_memory
    from repro.network.model import build
    from repro.training.checkpoint import Training
    from repro.training.optim import make_optimizer
    from repro.training.step import make_step
    from repro.training.train import train_epoch

    keep_freed_memory()
    config = override(preset(spec.preset), spec.changes)
    model = build(config, seed=0).to(device)
    optimizer = make_optimizer(model, config)
    optimizer.set_learning_rate(RATE, RATE)
    step = make_step(model, optimizer, config.precision, device)
    images, labels = _images(config, spec.batch)
    batch = Batch(torch.arange(spec.batch), images.contiguous(memory_format=torch.channels_last), labels)

    class InMemory:
        def __init__(self, times: int) -> None:
            self.times = times

        def epoch(self, epoch: int, *, start: int, color: bool) -> Batches:
            return Batches(iter([batch] * self.times), lambda: None)

    def run(times: int) -> None:
        training = Training("bench", config, 0, model, optimizer, device)
        train_epoch(training, InMemory(times), step, emit=lambda event: None, save=lambda: None)  # type: ignore[arg-type]

    return run


def plain(spec: Spec, device: torch.device) -> Callable[[int], object]:
    """The same net as people write it: float32, NCHW, nn.LocalResponseNorm, torch.optim.SGD."""
    config = override(preset(spec.preset), spec.changes)
    return _plain_loop(nn.Sequential(*_plain_modules(config)), config, spec.batch, device)


def tuned(spec: Spec, device: torch.device) -> Callable[[int], object]:
    """The same net by the best that a user of torch would write: channels last, autocast, fused SGD, the allocator
    settings of ours."""
    from repro.machine.speed import keep_freed_memory

    keep_freed_memory()
    config = override(preset(spec.preset), spec.changes)
    model = nn.Sequential(*_plain_modules(config, spec.lrn))
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optim = config.optim
    momentum, decay = optim.momentum, optim.weight_decay
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=momentum, weight_decay=decay, fused=True)
    forward = torch.compile(model) if spec.compiled else model
    stored, answers = _images(config, spec.batch)
    images, labels = stored.to(device, memory_format=torch.channels_last), answers.to(device)
    loss_of = nn.CrossEntropyLoss()

    def run(times: int) -> None:
        for _ in range(times):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                logits = forward(images)
            loss_of(logits.float(), labels).backward()
            optimizer.step()

    return run


class LastDimensionNorm(nn.Module):
    """nn.LocalResponseNorm along the last dimension of channels-last memory, in float32: the squares times a band of
    ones in place of a pool over a fourth dimension, roots in place of a power."""

    band: Tensor

    def __init__(self, size: int, alpha: float, beta: float, k: float, maps: int) -> None:
        super().__init__()
        assert beta == 0.75, "roots stand for this power alone"
        self.scale, self.k = alpha / size, k
        place = torch.arange(maps)
        self.register_buffer("band", ((place[:, None] - place).abs() <= size // 2).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            values = x.float().permute(0, 2, 3, 1)
            root = torch.rsqrt(self.k + self.scale * (values * values) @ self.band)
            return (values * root * root.sqrt()).permute(0, 3, 1, 2).to(x.dtype)


class Float32Norm(nn.LocalResponseNorm):
    """torch's own in float32: on the CPU it does not run in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def _norm(kind: str, norm: Norm, maps: int) -> nn.Module:
    """Response normalization as people write it (plain), with torch's in float32, or over the last dimension."""
    rule = norm.size, norm.alpha, norm.beta, norm.k
    if kind == "last":
        return LastDimensionNorm(*rule, maps)
    return {"plain": nn.LocalResponseNorm, "torch": Float32Norm}[kind](*rule)


def plain_torchvision(spec: Spec, device: torch.device) -> Callable[[int], object]:
    """torchvision's AlexNet in the same plain loop."""
    from torchvision.models import alexnet

    return _plain_loop(alexnet(), preset(spec.preset), spec.batch, device)


def _plain_loop(model: nn.Module, config: Config, batch: int, device: torch.device) -> Callable[[int], object]:
    model = model.to(device).train()
    optim = config.optim
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=optim.momentum, weight_decay=optim.weight_decay)
    loss_of = nn.CrossEntropyLoss()
    stored, answers = _images(config, batch)

    def run(times: int) -> None:
        for _ in range(times):
            images, labels = stored.to(device), answers.to(device)
            optimizer.zero_grad()
            loss_of(model(images), labels).backward()
            optimizer.step()

    return run


def _plain_modules(config: Config, lrn: str = "plain") -> Iterator[nn.Module]:
    """Section 3.5 as modules, in the preset's sizes; only what the measured presets hold. `lrn`: see `_norm`."""
    model = config.model
    assert model.activation == "relu" and model.spatial_norm is None
    flat = False
    for shape in config.shapes():
        layer = model.layer(shape.name)
        if isinstance(layer, Full):
            if not flat:
                yield nn.Flatten()
                flat = True
            yield nn.Linear(shape.maps_in * shape.side_in**2, shape.maps)
            yield from [nn.ReLU(inplace=True)] if layer.activation else []
        else:
            yield from _plain_convolution(config, layer, shape.maps_in, shape.pad, lrn)
        if model.dropout and layer.name in model.dropout.layers:
            yield nn.Dropout(model.dropout.probability)


def _plain_convolution(
    config: Config, layer: Conv, maps_in: int, pad: tuple[int, int], lrn: str
) -> Iterator[nn.Module]:
    model = config.model
    assert layer.kind == "conv"
    groups = model.towers if layer.connect == "tower" else 1
    before, after = pad
    if before != after:
        yield nn.ZeroPad2d((before, after, before, after))
    inside = before if before == after else 0
    yield nn.Conv2d(maps_in * groups, layer.maps, layer.kernel, layer.stride, inside, groups=groups)
    for step in layer.order:
        if step == "activation":
            yield nn.ReLU(inplace=True)
        elif step == "norm" and model.norm and layer.name in model.norm.layers:
            norm = model.norm
            yield _norm(lrn, norm, layer.maps)
        elif step == "pool" and (pool := pool_of(layer, model)):
            yield nn.MaxPool2d(pool.size, pool.stride, ceil_mode=pool.ceil_mode)


def gemm(precision: str, device: torch.device) -> tuple[Callable[[int], object], float]:
    """Square matrix products, and the operations of one."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    out = torch.empty_like(a)

    def run(times: int) -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    run(2)
    return run, 2.0 * side**3


def _images(config: Config, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    side = config.augment.crop
    images = torch.randn(batch, 3, side, side, generator=generator) * 60  # spread of pixels about their mean
    return images, torch.randint(config.data.classes, (batch,), generator=generator)


if __name__ == "__main__":
    main(Spec(**json.loads(sys.argv[1])))
