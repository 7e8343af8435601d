"""What a sweep can finish in a given time, the most useful runs first."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Sequence

from repro.planning.plan import Run

LENGTHS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_in(text: str) -> float:
    """`30m`, `1.5h`, `90s`, `2d` in seconds. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", text.strip())
    if not found or not float(found[1]):
        raise ValueError(f"--budget {text}: write a number and its unit, as 30m, 1.5h or 2d")
    return float(found[1]) * LENGTHS[found[2]]


def within(runs: Sequence[Run], time: float, at_once: int, seconds_of: Callable[[Run], float]) -> list[Run]:
    """The runs that end within `time` seconds when so many go on at once, in the order to do them: searches before
    comparisons, those of claims first, and a seed of all arms before the next seed; what does not fit is passed over.
    """
    order = sorted(range(len(runs)), key=lambda index: (not runs[index].search, index))  # a plan has the rest in order
    ends = [0.0] * at_once
    chosen = []
    for index in order:
        end = ends[0] + seconds_of(runs[index])
        if end <= time:
            heapq.heapreplace(ends, end)
            chosen.append(runs[index])
    return chosen
