"""Side-by-side measurements: interleaved, with medians and spread, on the machine at hand.

A speed claim here is a number beside its spread, its n, the hardware and a baseline measured in the same run. Each
module of this room has `measure(quick=False) -> BenchResult`; `as_group` and `as_json` show the result.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from repro.machine.provenance import packages, processor, processor_features, usable_cores

if TYPE_CHECKING:
    from rich.console import Group

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Row:
    """One measured quantity: the median, the smallest and the largest of `n` samples."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Texts:
    """A table whose rows are no single quantities."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class BenchResult:
    """What one benchmark measured. `targets` says beside a ratio what was aimed at; `notes` what a reader must know."""

    title: str
    rows: list[Row]
    ratios: dict[str, float]
    machine: dict[str, Any]
    targets: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tables: list[Texts] = field(default_factory=list)


def interleaved(measures: Mapping[str, Callable[[], float]], rounds: int) -> Samples:
    """Call every measure once a round and collect what each returns.

    The order turns by one each round, so that a slow drift of the machine (heat, other users) meets all alike.
    """
    assert rounds >= 1 and measures
    samples: Samples = {name: [] for name in measures}
    names = list(measures)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(measures[name]())
    return samples


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Wall-clock seconds of one call of `work`, the mean over `times` calls."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def row(name: str, unit: str, values: Sequence[float]) -> Row:
    """Median, low and high of `values`."""
    return Row(name, unit, statistics.median(values), min(values), max(values), len(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over rounds of above / below: both samples of a round met the same machine, so their ratio is steadier."""
    assert len(above) == len(below)
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def in_child(code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run Python `code` in a fresh process and return what it printed.

    Errors: `RuntimeError` with the child's last lines when it fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        raise RuntimeError(f"a measured child process failed: {done.stderr.strip()[-800:]}")
    return done.stdout


def machine() -> dict[str, Any]:
    """The hardware and software that the numbers belong to, and how busy the machine was at the start."""
    import torch  # here, so that `repro --help` does not pay for it

    features = processor_features()
    bfloat16 = "AMX" if "amx_bf16" in features else "AVX-512" if "avx512_bf16" in features else "emulated"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    facts: dict[str, Any] = {
        "cpu": processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_bfloat16": bfloat16,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_at_start": None if load is None else round(load, 2),
        "packages": packages(("torch", "torchvision", "ffcv", "numpy", "numba")),
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return facts


def as_json(result: BenchResult) -> dict[str, Any]:
    """`{"rows": [{name, unit, median, low, high, n}], "ratios": {...}, "machine": {...}}`, and "tables" where there
    are any."""
    form = {"rows": [vars(each) for each in result.rows], "ratios": result.ratios, "machine": result.machine}
    return {**form, "tables": [vars(each) for each in result.tables]} if result.tables else form


def as_group(result: BenchResult) -> Group:
    """Tables for `rich.print`: the rows, those of text, and the ratios beside their targets."""
    from rich.console import Group
    from rich.table import Table

    rows = Table("measured", "median", "low", "high", "n", "unit", title=result.title)
    for each in result.rows:
        rows.add_row(
            each.name, *(f"{value:,.4g}" for value in (each.median, each.low, each.high)), str(each.n), each.unit
        )
    more = []
    for one in result.tables:
        more.append(Table(*one.columns, title=one.title))
        for cells in one.rows:
            more[-1].add_row(*cells)
    ratios = Table("ratio", "measured", "target")
    for name, value in result.ratios.items():
        ratios.add_row(name, f"{value:.3g}", result.targets.get(name, ""))
    facts = result.machine
    packages = ", ".join(f"{name} {found}" for name, found in facts["packages"].items() if found)
    cores = f"{facts['cores']} cores ({facts['threads']} threads), bfloat16: {facts['cpu_bfloat16']}"
    gpus = [f"GPUs: {', '.join(facts['gpus'])}"] if "gpus" in facts else []
    return Group(rows, *more, ratios, *gpus, f"{facts['cpu']}, {cores}; {packages}", *result.notes)
