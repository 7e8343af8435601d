"""How many runs at once, and how many threads each: decided from plain numbers, so that it can be tested."""

from __future__ import annotations

from dataclasses import dataclass

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


def share(cores: int, busy: float, runs: int, multiply_adds: float, asked: int | None = None) -> Share:
    """As many runs as cores, of one thread each; more threads only where one run is left, its net is large enough to
    gain and cores are idle: two threads on busy cores took 80 images/s where one took 1,464.

    `busy` is how many of the cores others use, `multiply_adds` those of an image of the largest net, `asked` what
    `--jobs` says.
    """
    at_once = max(1, min(asked or cores, runs))
    if at_once > 1:
        return Share(at_once, 1, f"{at_once} of {runs} runs at once on {cores} cores, a thread each")
    idle = max(1, cores - round(busy))
    if multiply_adds < THREADS_FROM:
        return Share(1, 1, "one run, too small to gain from a second thread")
    if idle == 1:
        return Share(1, 1, f"one run, and no second of {cores} cores is idle")
    return Share(1, idle, f"one run on {idle} idle cores")
