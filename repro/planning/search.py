"""A declared search: the runs that try its values, and the value that they choose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from repro import store
from repro.config.config import Config
from repro.config.keys import override
from repro.experiments.experiment import Search
from repro.records import RunRecord
from repro.terms import EPOCHS_TO_TARGET, HELD_OUT


def trials(search: Search, config: Config, values: Iterable[float], per_class: int) -> dict[float, Config]:
    """Value -> Config of the runs that try it, for an arm of that Config.

    A search by held-out images holds some out where the Config does not: a tenth of the `per_class` training images
    that a class has, of those that are not used where some are not.
    """
    epochs = min(search.epochs or config.schedule.epochs, config.schedule.epochs)
    every: dict[str, Any] = {"schedule.epochs": epochs, "eval.views": ["center"]}  # what `choose` reads
    if search.metric == HELD_OUT and not config.data.held_out:
        held_out = every["data.held_out"] = max(1, per_class // 10)
        if config.data.per_class:
            every["data.per_class"] = min(config.data.per_class, per_class - held_out)
    return {value: override(config, {search.key: value, **every}) for value in values}


def finished_trials(tried: Mapping[str, str], seeds: Iterable[int], results: Path) -> dict[str, list[RunRecord | None]]:
    """Tried value -> the records of its runs, a seed each; None where one is not finished."""

    def record(name: str, seed: int) -> RunRecord | None:
        with suppress(ValueError):  # not there, or damaged: `repro run` makes it again
            return store.read_run(results, name, seed)
        return None

    return {value: [record(name, seed) for seed in seeds] for value, name in tried.items()}


def choose(search: Search, tried: Mapping[str, Sequence[RunRecord | None]]) -> float | None:
    """The value whose runs have the lowest mean criterion, or None while one is missing. A value with a run that has
    none (it diverged, or never reached the target) comes after those without. Among equals, the lower error on training
    images wins, then the smaller value."""
    ranked = []
    for value, records in tried.items():
        if any(record is None for record in records):
            return None
        found = (
            [criterion(record, metric) for record in records if record] for metric in (search.metric, "train_error")
        )
        ranked.append((*(mean_criterion(values) for values in found), float(value)))
    return min(ranked)[-1]


def mean_criterion(values: Sequence[float | None]) -> float:
    """The mean over the seeds of a search; infinite where a run has no criterion."""
    return math.inf if None in values else fmean(value for value in values if value is not None)


def criterion(record: RunRecord, metric: str) -> float | None:
    """What a run of a search is ranked by, lower is better; None: it diverged, or never reached the target."""
    if record.diverged:
        return None
    if metric == HELD_OUT:
        return record.held_out.top1_error if record.held_out else None
    of = record if metric in (EPOCHS_TO_TARGET, "train_error") else record.errors["center"]
    found: float | None = getattr(of, metric)
    return found
