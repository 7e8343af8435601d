"""What the finished runs of a setting say, one number a replicate; reads no more of results/ than it is asked for.

A replicate is a seed; where an ensemble of `k` seeds an arm takes part it is a group of `k` seeds, disjoint from the
next group, and an arm that is no ensemble counts with its mean over the group.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import store
from repro.experiments.experiment import Arm, Experiment
from repro.records import RunRecord, Setting
from repro.stats.intervals import Count
from repro.stats.topk import errors_of_ranks, ranks, topk_errors
from repro.terms import EARLY_ERROR, EPOCHS_TO_BEST, EPOCHS_TO_TARGET, GAP, TRAINING_HOURS, View

if TYPE_CHECKING:
    import numpy as np

Records = Mapping[tuple[str, int], RunRecord]  # (digest, seed) -> a finished run's record

PLACES = {"top1_error": 1, "top5_error": 5, GAP: 1}  # metrics that have an answer for each image: k
COUNTS = (EPOCHS_TO_TARGET, EPOCHS_TO_BEST, TRAINING_HOURS)  # compared by their ratio
IMAGE_REPLICATES = 3  # predictions of so many replicates are read: they tell the images' part well enough
# The training error of an epoch is the mean over its batches as they were trained on: that of the net in the middle of
# the epoch. The records read it at the end (as the 2012 program printed it), half an epoch late for every run.
HALF_AN_EPOCH = 0.5
NEAR_CHANCE = 1.0  # points: a net this close to guessing has not learned; classes of unequal size move chance by less


@dataclass(frozen=True)
class Protocol:
    """How runs are read: the view of arms that name none, how many seeds make a replicate, and whether only the odd
    half of the test images counts, on which tuned ensembles are tested."""

    view: View
    group: int = 1
    half: bool = False

    @classmethod
    def of(cls, view: View, *arms: Arm) -> Protocol:
        """The protocol that suits all of the arms."""
        ensembles = [arm.ensemble for arm in arms if arm.ensemble]
        return cls(
            view, max((one.group for one in ensembles), default=1), any(one.weights == "tuned" for one in ensembles)
        )

    def view_of(self, arm: Arm, metric: str) -> View:
        """The view that an arm's number and its images are read from; the gap's is center, as its training error's."""
        return "center" if metric == GAP else arm.view or self.view


class Runs:
    """The finished runs of one setting, read when first asked for. A damaged run counts as not finished."""

    def __init__(self, experiment: Experiment, setting: Setting, results: Path, records: Records | None = None) -> None:
        self.experiment, self.setting, self.results = experiment, setting, results
        self._given = records
        self._trained: dict[tuple[str, int], bool] = {}
        self._records: dict[tuple[str, int], RunRecord | None] = {}
        self._wrong: dict[tuple[Any, ...], tuple[np.ndarray, dict[int, np.ndarray]] | None] = {}

    def digest(self, arm: str) -> str:
        """Digest of an arm's runs; `arm@reference` is the arm at the value that the reference's search found."""
        return self.setting.arms.get(arm, self.setting.common.get(arm, ""))

    def record(self, arm: str, seed: int) -> RunRecord | None:
        """The record of a finished run of an arm, or None."""
        key = (self.digest(arm), seed)
        if self._given is not None:
            return self._given.get(key)
        if key not in self._records:
            self._records[key] = None
            with suppress(ValueError):  # not there, or the report lists it among the damaged
                self._records[key] = store.read_run(self.results, *key)
        return self._records[key]

    def records(self, arm: Arm) -> list[RunRecord]:
        """Records of the finished runs of an arm, or of an ensemble's members, by arm and seed."""
        names = arm.ensemble.of if arm.ensemble else (arm.name,)
        every = (self.record(name, seed) for name in names for seed in self.setting.seeds_for(name))
        return [record for record in every if record is not None]

    def untrained(self, arm: Arm) -> str | None:
        """In words, where none of the finished runs of an arm learned anything; None where one did, or none is there.

        Learned: did not diverge, and ended more than NEAR_CHANCE below the training error of guessing.
        """
        records = self.records(arm)
        diverged = sum(record.diverged for record in records)
        guessing = sum(not record.diverged and not self.trained(record) for record in records)
        if not records or diverged + guessing < len(records):
            return None
        counts = ((diverged, "diverged"), (guessing, f"ended within {NEAR_CHANCE:g} point of chance"))
        told = " and ".join(f"{count} of {len(records)} runs {what}" for count, what in counts if count)
        return f"arm {arm.name} did not train: {told}"

    def is_tuned(self, arm: str) -> bool:
        """Whether the arm's value was searched for as the experiment declares it by now."""
        search, tried = self.experiment.search, self.setting.searches.get(arm)
        if search is None or not tried:
            return False
        search = search.at(self.setting.preset)
        return self.setting.search_seeds == search.seeds and set(search.values) <= {float(value) for value in tried}

    def failures(self, arm: Arm) -> tuple[int, int]:
        """How many finished runs of an arm, or of an ensemble's members, failed to train, and how many are finished."""
        records = self.records(arm)
        return sum(not self.trained(record) for record in records), len(records)

    def trained(self, record: RunRecord) -> bool:
        """Whether a run learned anything: no number of one that did not stands for its recipe."""
        if record.key not in self._trained:
            self._trained[record.key] = not record.diverged and not self._guesses(record)
        return self._trained[record.key]

    def _guesses(self, record: RunRecord) -> bool:
        error = record.train_error
        if error is None:  # it was not asked for; that of the batches as they were trained on is in the metrics
            epochs = store.read_metrics(self.results, *record.key, record)
            error = epochs[-1].train_error if epochs else None
        return error is not None and _at_chance(error, record)

    def has_view(self, arms: Iterable[Arm], view: View) -> bool:
        """Whether every finished run of the arms was tested with `view`."""
        return all(view in record.errors for arm in arms for record in self.records(arm))

    def numbers(self, arm: Arm, metric: str, protocol: Protocol) -> dict[int, float]:
        """Replicate -> percent (points for the gap), of the replicates that are there in full."""
        found = {}
        for replicate in range(self.replicates(arm, protocol.group)):
            if arm.ensemble or protocol.half:
                tested = self.wrong(arm, metric, protocol, replicate) if metric != GAP else None
                number = None if tested is None else 100 * float(tested[1].mean())
            else:
                view, seeds = protocol.view_of(arm, metric), self._seeds(arm, replicate, protocol.group)
                number = _mean(self._number(arm.name, seed, metric, view) for seed in seeds)
            if number is not None:
                found[replicate] = number
        return found

    def counts(self, arm: Arm, metric: str) -> dict[int, Count]:
        """Seed -> epochs to the target, or to the lowest test error; censored where the run ended before. A run that
        failed to train is censored: it would have taken longer, too. Or hours of training."""
        found = {}
        for seed in self.setting.seeds_for(arm.name):
            record = None if arm.ensemble else self.record(arm.name, seed)
            count = None if record is None else count_of(record, metric, self.results)
            if count is not None:
                found[seed] = count
        return found

    def wrong(self, arm: Arm, metric: str, protocol: Protocol, replicate: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Image index (P,) and how wrong each is (P,) in [0, 1], mean over a group's runs; None where not stored."""
        import numpy as np

        if metric not in PLACES:
            return None
        seeds, view = self._seeds(arm, replicate, protocol.group), protocol.view_of(arm, metric)
        if arm.ensemble:
            members = tuple((name, seed) for name, runs in arm.ensemble.members.items() for seed in seeds[:runs])
            tuned = arm.ensemble.weights == "tuned"
            parts = [self._errors(members, view, tuned=tuned)]
        else:
            parts = [self._errors(((arm.name, seed),), view, tuned=False) for seed in seeds]
        whole = [part for part in parts if part is not None]
        if len(whole) < len(parts):
            return None
        index = whole[0][0]
        if any(len(index) != len(part[0]) or (index != part[0]).any() for part in whole):
            return None
        wrong = np.mean([part[1][PLACES[metric]] for part in whole], axis=0)
        if protocol.half:
            index, wrong = index[index % 2 == 1], wrong[index % 2 == 1]
        return index, wrong

    def replicates(self, arm: Arm, group: int = 1) -> int:
        """How many replicates of `group` seeds each were asked for."""
        names = arm.ensemble.of if arm.ensemble else (arm.name,)
        return min(len(self.setting.seeds_for(name)) for name in names) // group

    def _seeds(self, arm: Arm, replicate: int, group: int) -> Sequence[int]:
        name = arm.ensemble.of[0] if arm.ensemble else arm.name
        return self.setting.seeds_for(name)[replicate * group : (replicate + 1) * group]

    def _number(self, arm: str, seed: int, metric: str, view: View) -> float | None:
        record = self.record(arm, seed)
        if record is None or not self.trained(record):
            return None
        if metric == "train_error":
            return _finite(record.train_error)
        if metric == EARLY_ERROR:
            return self._early_error(record)
        if not (errors := record.errors.get(view)):
            return None
        error, train = _finite(getattr(errors, "top1_error" if metric == GAP else metric)), _finite(record.train_error)
        if metric == GAP:
            return None if error is None or train is None else error - train
        return error

    def _early_error(self, record: RunRecord) -> float | None:
        """Mean training error of the first tenth of the epochs that were asked for, of at least one."""
        first = max(1, int(record.config["schedule"]["epochs"]) // 10)
        epochs = store.read_metrics(self.results, *record.key, record)[:first]
        return _mean([_finite(epoch.train_error) for epoch in epochs]) if len(epochs) == first else None

    def _errors(
        self, members: tuple[tuple[str, int], ...], view: View, *, tuned: bool
    ) -> tuple[np.ndarray, dict[int, np.ndarray]] | None:
        """Image index and per-image errors by k, of a run or of the average of several; kept once read."""
        key = (members, view, tuned)
        if key not in self._wrong:
            self._wrong[key] = self._read_errors(members, view, tuned)
        return self._wrong[key]

    def _read_errors(
        self, members: tuple[tuple[str, int], ...], view: View, tuned: bool
    ) -> tuple[np.ndarray, dict[int, np.ndarray]] | None:
        stored = []
        for arm, seed in members:
            digest, record = self.digest(arm), self.record(arm, seed)
            if record is None or not self.trained(record):
                return None
            try:
                stored.append(store.read_predictions(self.results, digest, seed, view, record))
            except ValueError:
                return None
        index, label = stored[0]["index"], stored[0]["label"]
        shape = stored[0]["probability"].shape
        for one in stored:
            if one["probability"].shape != shape or (one["index"] != index).any() or (one["label"] != label).any():
                return None  # members that were tested on other images or classes cannot be averaged
        probability = stored[0]["probability"] if len(stored) == 1 else average([one["probability"] for one in stored])
        if tuned:
            even = index % 2 == 0
            weights = tuned_weights([one["probability"][even] for one in stored], label[even])
            probability = average([one["probability"][~even] for one in stored], weights)
            index, label = index[~even], label[~even]
        ranked = ranks(probability, label)
        return index, {k: errors_of_ranks(*ranked, k) for k in (1, 5)}


def average(probabilities: list[np.ndarray], weights: list[float] | None = None) -> np.ndarray:
    """Weighted mean (P, classes) float32 of softmax outputs; equal weights unless given."""
    import numpy as np

    weights = weights or [1.0] * len(probabilities)
    total = np.zeros(probabilities[0].shape, dtype=np.float32)
    for probability, weight in zip(probabilities, weights, strict=True):
        total += np.float32(weight) * probability
    return total / np.float32(math.fsum(weights))


def tuned_weights(probabilities: list[np.ndarray], label: np.ndarray) -> list[float]:
    """Weights of the members that lower the top-5 error on these images, which avg-valid.py of 2012 could search for.

    Equal weights, then one weight at a time times 0, 1/2 or 2, kept where the error falls, for three rounds. The rule
    is ours: which search the authors made, if any, is not recorded.
    """
    weights = [1.0] * len(probabilities)

    def error(tried: list[float]) -> float:
        return float(topk_errors(average(probabilities, tried), label, 5).sum())

    best = error(weights)
    for _ in range(3):
        before = list(weights)
        for member in range(len(weights)):
            for factor in (0.0, 0.5, 2.0):
                tried = [*weights[:member], weights[member] * factor, *weights[member + 1 :]]
                if sum(tried) > 0 and (found := error(tried)) < best - 1e-9:
                    best, weights = found, tried
        if weights == before:
            break
    return weights


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return math.fsum(known) / len(known) if found and len(known) == len(found) else None


def _at_chance(error: float, record: RunRecord) -> bool:
    """Whether a top-1 error, percent, is no better than guessing among the classes of the run."""
    return error > 100 * (1 - 1 / record.classes) - NEAR_CHANCE


def count_of(record: RunRecord, metric: str, results: Path | None = None) -> Count | None:
    """How long a run took, in `metric`; None where it has none. EPOCHS_TO_BEST is read off the metrics in `results`."""
    epochs = float(record.epochs)
    if metric == TRAINING_HOURS:
        return Count(record.seconds / 3600)
    if metric == EPOCHS_TO_TARGET:
        reached = record.epochs_to_target
        if reached is None and not record.censored:
            return None  # it had no target
        return Count(epochs, censored=True) if reached is None or record.diverged else Count(reached - HALF_AN_EPOCH)
    assert results is not None, "tests of a run's epochs are in its results"
    tested = {
        float(epoch.epoch): epoch.test_top1_error
        for epoch in store.read_metrics(results, *record.key, record)
        if epoch.test_top1_error is not None
    }
    if not tested:
        return None
    lowest, best = min((error, epoch) for epoch, error in tested.items())
    if record.diverged or _at_chance(lowest, record):  # the first of many errors of guessing is no best
        return Count(epochs, censored=True)
    before = max((epoch for epoch in tested if epoch < best), default=0.0)
    after = min((epoch for epoch in tested if epoch > best), default=math.inf)
    # lowest at the very end: a longer run might have gone lower still, later
    return Count(best, censored=math.isinf(after), between=(before, after))
