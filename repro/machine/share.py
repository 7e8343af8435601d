"""How many runs at once, and how many threads each: decided from plain numbers, so that it can be tested."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Multiply-adds an image from which a second thread gains on idle cores: one run of the cifar10 net (7.4 million) took
# 1,707 images/s with two threads where each of two runs of one thread took 1,146 (bench/README.md). Of smaller nets no
# gain was measured.
THREADS_FROM = 7e6


@dataclass(frozen=True)
class Share:
    """What a sweep does at once, and why."""

    at_once: int
    threads: int  # of each run
    reason: str


def share(
    cores: int,
    busy: float,
    runs: int,
    multiply_adds: float,
    *,
    fitting: int,
    devices: int = 0,
    asked: int | None = None,
    ranks: int = 1,
) -> Share:
    """As many runs as cores, of one thread each; more threads only where one run is left, its net is large enough to
    gain and cores are idle: two threads on busy cores took 80 images/s where one took 1,464.

    `busy` is how many of the cores others use, `multiply_adds` those of an image of the largest net, `fitting` how many
    such runs the free memory holds, `devices` the CUDA devices, of which each does one run, `asked` what `--jobs`
    says, whatever fits, and `ranks` how many processes share each run.
    """
    if ranks > 1:
        small = devices or multiply_adds < THREADS_FROM
        return Share(1, 1 if small else max(1, (cores - round(busy)) // ranks), f"one run at once over {ranks} ranks")
    at_once = max(1, min(asked or min(devices or cores, fitting), runs))
    of = f"{at_once} of {runs} runs at once"
    if devices:
        return Share(at_once, 1, f"{of} on {devices} CUDA devices")
    if at_once > 1:
        return Share(at_once, 1, f"{of} on {cores} cores, a thread each")
    idle = max(1, cores - round(busy))
    if runs > 1 and not asked and fitting < cores:
        return Share(1, idle, f"{of}: the free memory holds no second; threads on {idle} idle cores")
    if multiply_adds < THREADS_FROM:
        return Share(1, 1, "one run at once, whose net is too small to gain from a second thread")
    if idle == 1:
        return Share(1, 1, f"one run at once, and no second of {cores} cores is idle")
    return Share(1, idle, f"one run at once on {idle} idle cores")


def free_memory() -> float:
    """Bytes that new processes may take, where the system says so; else no bound."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    return float("inf")
