"""How many runs at once, and how many threads each: decided from plain numbers, so that it can be tested."""

from __future__ import annotations

from dataclasses import dataclass

# Multiply-adds an image from which a second thread gains on idle cores: the cifar10 net (7.4 million) takes 1.4 times the
# images with two (bench/README.md, `jobs_over_one`). Less work than that between two meetings of the threads was not
# measured to gain.
THREADS_FROM = 7e6


@dataclass(frozen=True)
class Share:
    """What a sweep does at once, and why."""

    at_once: int
    threads: int  # of each run
    reason: str


def share(cores: int, busy: float, runs: int, multiply_adds: float, asked: int | None = None) -> Share:
    """As many runs as cores, of one thread each; more threads only where one run is left, its net is large enough to gain
    and cores are idle: threads that wait for each other on busy cores made a run 18 times slower.

    `busy` is how many of the cores others use, `multiply_adds` those of an image of the largest net, `asked` what
    `--jobs` says.
    """
    at_once = max(1, min(asked or cores, runs))
    if asked:
        reason = f"--jobs {asked}" if at_once == asked else f"{runs} left"
    else:
        reason = f"{cores} cores" if at_once == cores else f"{runs} left"
    idle = max(1, cores - round(busy))
    if at_once > 1:
        return Share(at_once, max(1, idle // at_once) if multiply_adds >= THREADS_FROM and asked else 1, reason)
    if idle == 1:
        return Share(1, 1, f"{reason}, no second core is idle")
    if multiply_adds < THREADS_FROM:
        return Share(1, 1, f"{reason}, the net is too small to gain from a second thread")
    return Share(1, idle, f"{reason}, {idle} cores are idle")
