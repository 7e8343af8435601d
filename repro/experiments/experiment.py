"""Experiment, Arm, Claim: how a question about the paper is declared. Plain values; nothing here trains or counts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from repro.experiments.design import Design
from repro.extensions import load, named
from repro.suggest import did_you_mean
from repro.terms import (
    EPOCHS_TO_TARGET,
    ERRORS,
    GAP,
    HELD_OUT,
    METRICS,
    NAME,
    SEARCH_SEEDS,
    TRAINING_HOURS,
    Artifact,
    View,
)

if TYPE_CHECKING:
    from repro.stats.kinds import ClaimKind

SEARCHED_BY = (HELD_OUT, EPOCHS_TO_TARGET, *ERRORS)
SECTION = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True)
class Measured:
    """What a published number was measured on."""

    data: str  # a Data.source: "imagenet"; "" for a control, which holds on any
    view: View
    text: str  # for people: "ILSVRC-2012 validation, ten views"


@dataclass(frozen=True)
class Claim:
    """A published statement. Make one with the class methods, which name its kind.

    `published` maps a metric to its number: points for an effect, percent for a value, times for a ratio; None where
    the paper gives a direction only. The sign is that of `arm` minus `reference`.
    """

    kind: str  # of the table in stats/kinds.py, or of another package
    arm: str
    reference: str | None
    published: Mapping[str, float | None]
    source: str
    measured: Measured
    runs: tuple[str, ...] = ()  # keys of paper.RUNS: the 2012 run notes behind the number

    def __post_init__(self) -> None:
        named("repro.claims", self.kind)

    @property
    def row(self) -> ClaimKind:
        """What its kind means: rule, unit, wording."""
        found: ClaimKind = load("repro.claims", self.kind)
        return found

    def number(self, metric: str) -> float:
        """The published number. Raises ValueError where there is a direction only."""
        found = self.published[metric]
        if found is None:
            raise ValueError(f"claim {self.kind} on {self.arm!r}: takes a number of {metric}")
        return found

    @property
    def sides(self) -> tuple[str, ...]:
        """The arms that it names."""
        return (self.arm,) if self.reference is None else (self.arm, self.reference)

    @property
    def control(self) -> bool:
        """Whether it is about the bench, not about the paper, and so holds at every setting."""
        return not self.measured.data

    def rounding(self, metric: str) -> float:
        """Half a unit of the last digit that was printed: "six times" is 5.5 to 6.5, 1.4 points are 1.35 to 1.45."""
        digits = f"{self.published[metric]:g}".partition(".")[2]
        return float(0.5 * 10.0 ** -len(digits))

    @property
    def primary(self) -> str:
        """The one metric that the claim is counted by: the first that it gives. The others are secondary."""
        return next(iter(self.published))

    @classmethod
    def effect(
        cls,
        arm: str,
        reference: str,
        *,
        top1: float | None = None,
        top5: float | None = None,
        train: float | None = None,
        source: str,
        measured: Measured,
        runs: tuple[str, ...] = (),
    ) -> Claim:
        """The error of `arm` is so many points above that of `reference` (negative: below)."""
        return cls("effect", arm, reference, _given(top1, top5, train), source, measured, runs)

    @classmethod
    def no_effect(
        cls,
        arm: str,
        reference: str,
        *,
        top1: float | None = None,
        top5: float | None = None,
        source: str,
        measured: Measured,
        runs: tuple[str, ...] = (),
    ) -> Claim:
        """The errors of `arm` and `reference` differ by noise; the numbers are what single runs happened to show."""
        return cls("no_effect", arm, reference, _given(top1, top5, None), source, measured, runs)

    @classmethod
    def at_least(
        cls, arm: str, reference: str, *, top1: float, source: str, measured: Measured, runs: tuple[str, ...] = ()
    ) -> Claim:
        """The error of `arm` is at least so many points above that of `reference` ("over 1%")."""
        return cls("at_least", arm, reference, {"top1_error": top1}, source, measured, runs)

    @classmethod
    def ratio(
        cls, arm: str, reference: str, *, times: float, metric: str = EPOCHS_TO_TARGET, source: str, measured: Measured
    ) -> Claim:
        """`arm` needs so many times the epochs of `reference`: to schedule.stop_train_error, or as `metric` says."""
        return cls("ratio", arm, reference, {metric: times}, source, measured)

    @classmethod
    def slower(cls, arm: str, reference: str, *, source: str, measured: Measured) -> Claim:
        """`arm` takes longer to train than `reference`, whose two towers have a GPU each; no number is given."""
        return cls("slower", arm, reference, {TRAINING_HOURS: None}, source, measured)

    @classmethod
    def value(
        cls,
        arm: str,
        *,
        top1: float | None = None,
        top5: float | None = None,
        source: str,
        measured: Measured,
        runs: tuple[str, ...] = (),
    ) -> Claim:
        """`arm` has this error, percent."""
        return cls("value", arm, None, _given(top1, top5, None), source, measured, runs)

    @classmethod
    def overfits(cls, arm: str, reference: str, *, source: str, measured: Measured) -> Claim:
        """The gap between test and training error is larger for `arm` than for `reference`; no number is given."""
        return cls("overfits", arm, reference, {GAP: None}, source, measured)

    @classmethod
    def worse(cls, arm: str, reference: str, *, metric: str = "top1_error", source: str, measured: Measured) -> Claim:
        """`arm` is worse than `reference` in `metric`; the paper gives no number."""
        return cls("effect", arm, reference, {metric: None}, source, measured)


def _given(top1: float | None, top5: float | None, train: float | None) -> dict[str, float | None]:
    numbers = dict(zip(ERRORS, (top1, top5, train), strict=True))
    return {metric: number for metric, number in numbers.items() if number is not None}


@dataclass(frozen=True)
class Ensemble:
    """Average the stored softmax outputs of `seeds` runs of each arm in `of`, or of as many as it says for each of them
    (section 6; F27)."""

    of: tuple[str, ...]
    seeds: int | tuple[int, ...] = 1
    weights: Literal["uniform", "tuned"] = "uniform"  # tuned: chosen on half of the test images, tested on the other

    @property
    def members(self) -> dict[str, int]:
        """Arm -> how many of its runs take part."""
        each = (self.seeds,) * len(self.of) if isinstance(self.seeds, int) else self.seeds
        return dict(zip(self.of, each, strict=True))

    @property
    def group(self) -> int:
        """Seeds that one ensemble takes up: the most runs of any arm."""
        return max(self.members.values())


@dataclass(frozen=True)
class Arm:
    """A preset plus the few keys it changes; or another way to read the runs of another arm (`view`, `ensemble`)."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    presets: tuple[str, ...] | None = None  # None: wherever the experiment runs
    at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # preset -> more changes
    view: View | None = None  # None: the claim's view
    ensemble: Ensemble | None = None
    note: str = ""
    seeds: Sequence[int] | None = None  # its runs have the first of these; None: 0, 1, ...
    levels: tuple[int, ...] | None = None  # of a row of a design: -1 or +1 of each factor, in order

    def changes_at(self, preset: str) -> dict[str, Any]:
        """Dotted key -> value of all that this arm changes in `preset`."""
        return {**self.changes, **self.at.get(preset, {})}


@dataclass(frozen=True)
class Search:
    """How each arm finds its own value of `key`: the one with the lowest mean of `metric` over `seeds`.

    The grid is `values`, or the preset's own value times each of `factors`. A best value at an edge of the grid extends
    it by a step, the ratio of the two values at that edge, at most `extensions` times. `metric` is by default the error
    on held-out images, which nothing else reads; epochs_to_target is for claims about just that. The seeds are not
    among those of a comparison, so that the choice does not favor them. With `epochs`, the runs of the search end after
    so many, if the arm's own runs are not shorter.
    """

    key: str = "optim.learning_rate"
    factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    values: tuple[float, ...] = ()
    metric: str = HELD_OUT  # or train_error, top1_error, top5_error, epochs_to_target
    epochs: int | None = None
    seeds: tuple[int, ...] = (SEARCH_SEEDS, SEARCH_SEEDS + 1)
    extensions: int = 3

    def at(self, preset: str) -> Search:
        """The search at a preset: at a smoke preset two values and one seed, to show in seconds what tuning does."""
        if not preset.endswith("smoke"):
            return self
        return replace(self, factors=self.factors[:2], values=self.values[:2], seeds=self.seeds[:1], extensions=0)

    def grid(self, own: float) -> tuple[float, ...]:
        """The values that are tried first; `own` is the preset's."""
        return self.values or tuple(_rounded(own * factor) for factor in self.factors)

    def beyond(self, tried: Sequence[float], best: float, own: float) -> float | None:
        """The next value, where the best of those tried lies at an edge and may be passed; else None."""
        values = sorted(tried)
        if len(values) < 2 or len(values) - len(self.grid(own)) >= self.extensions:
            return None
        if best == values[0]:
            return _rounded(best * best / values[1])
        return _rounded(best * best / values[-2]) if best == values[-1] else None


def _rounded(value: float) -> float:
    """Without the last digits of binary arithmetic, which would make two names of one value."""
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class Experiment:
    """One question. Raises ValueError, when made, where it contradicts itself.

    The first arm is the baseline: effects that no claim names are taken against it. With a design and no arms, the
    rows of the design are what runs; with both, `--design` asks for them.
    """

    name: str
    question: str
    factor: str  # dotted key, or words when an experiment changes no key
    section: str  # of the paper, as "3.3"; "-" for readers' questions
    arms: Sequence[Arm]
    presets: Sequence[str]  # the first is the default
    claims: Sequence[Claim] = ()
    confounds: Sequence[str] = ()  # what else differs, in the 2012 comparison or in ours
    search: Search | None = None
    design: Design | None = None
    artifacts: Sequence[Artifact] = ()  # drawn from finished runs: Figure 3, Figure 4
    discussion: Path | None = None  # Markdown beside the declaration; the registry finds it

    def __post_init__(self) -> None:
        lists: dict[str, Sequence[str] | None] = {
            "presets": self.presets,
            "confounds": self.confounds,
            "artifacts": self.artifacts,
            **{f"arm {arm.name!r}: presets": arm.presets for arm in self.arms},
        }
        for what, given in lists.items():
            if isinstance(given, str):  # a string is a sequence, too: of its letters
                raise ValueError(f"{what}: {given!r} is a string; write a list, [{given!r}]")
        names = [arm.name for arm in self.arms]
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: use lower-case letters, digits and hyphens")
        if not self.question.rstrip().endswith("?"):
            raise ValueError("question: must be a question that ends in '?'")
        if self.section != "-" and not SECTION.fullmatch(self.section):
            raise ValueError(f"section {self.section!r}: write a section of the paper as '3.3', or '-' for none")
        if not (self.arms or self.design) or not self.presets:
            raise ValueError("arms and presets: give at least one of each")
        for preset in self.design.presets if self.design else ():
            if preset not in self.presets:
                raise ValueError(f"design: {preset!r} is not among the presets of the experiment")
        if self.search and not (self.search.values or self.search.factors):
            raise ValueError("search: give the values to try, or factors of the preset's own")
        if self.search and self.search.metric not in SEARCHED_BY:
            raise ValueError(f"search: cannot go by {self.search.metric!r}; use {', '.join(SEARCHED_BY)}")
        for seed in self.search.seeds if self.search else ():
            if seed < SEARCH_SEEDS:
                raise ValueError(f"search: the comparison may use seed {seed}; give {SEARCH_SEEDS} or more")
        for artifact in self.artifacts:
            if artifact not in get_args(Artifact):
                raise ValueError(f"artifacts: no {artifact!r}{did_you_mean(artifact, get_args(Artifact))}")
        for name in names:
            if names.count(name) > 1 or not NAME.fullmatch(name):
                raise ValueError(f"arm {name!r}: names are unique, of lower-case letters, digits and hyphens")
        for claim in self.claims:
            for side in claim.sides:
                if side not in names:
                    raise ValueError(f"claim: there is no arm {side!r}{did_you_mean(side, names)}")
            if not claim.published:
                raise ValueError(f"claim on {claim.arm!r}: gives no number and no metric")
            for metric, number in claim.published.items():
                if metric not in METRICS:
                    raise ValueError(f"claim on {claim.arm!r}: no metric {metric!r}{did_you_mean(metric, METRICS)}")
                if number is not None and not (isinstance(number, (int, float)) and math.isfinite(number)):
                    raise ValueError(f"claim on {claim.arm!r}: {metric} is {number!r}; give a finite number, as 1.4")
            if claim.measured.view not in get_args(View):
                raise ValueError(f"claim on {claim.arm!r}: no view {claim.measured.view!r}")
        for arm in self.arms:
            if arm.view is not None and arm.view not in get_args(View):
                raise ValueError(f"arm {arm.name!r}: no view {arm.view!r}{did_you_mean(arm.view, get_args(View))}")
            seeds = arm.ensemble.seeds if arm.ensemble else 1
            if arm.ensemble and not isinstance(seeds, int) and len(seeds) != len(arm.ensemble.of):
                raise ValueError(f"arm {arm.name!r}: give an ensemble one number of seeds, or one for each arm")
            if arm.ensemble and min(arm.ensemble.members.values(), default=0) < 1:
                raise ValueError(f"arm {arm.name!r}: an ensemble takes at least one seed of each arm")
            for name in arm.ensemble.of if arm.ensemble else ():
                if name not in names or self.arm(name).ensemble:
                    raise ValueError(f"arm {arm.name!r}: cannot average arm {name!r}{did_you_mean(name, names)}")
            for preset in (*(arm.presets or ()), *arm.at):
                if preset not in self.presets:
                    raise ValueError(f"arm {arm.name!r}: {preset!r} is not among the presets of the experiment")
        for preset in self.presets:
            if self.design and not self.arms:
                if preset not in self.design.presets:
                    raise ValueError(f"presets: at {preset!r} there is no design; leave it out, or give it one")
            elif all(arm.ensemble for arm in self.arms_at(preset)):
                raise ValueError(f"presets: at {preset!r} there is no arm to train; leave it out, or give it one")

    @property
    def laid_out(self) -> Design | None:
        """The design, where its rows are the arms."""
        return self.design if self.arms and all(arm.levels is not None for arm in self.arms) else None

    def arm(self, name: str) -> Arm:
        """The arm called `name`. Raises ValueError with a suggestion."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(f"{self.name} has no arm {name!r}{did_you_mean(name, [arm.name for arm in self.arms])}")

    def arms_at(self, preset: str) -> list[Arm]:
        """The arms that make sense at `preset`, in order."""
        return [arm for arm in self.arms if arm.presets is None or preset in arm.presets]

    def trained(self, claim: Claim) -> tuple[str, ...]:
        """The arms whose runs a claim reads: its sides, or the members of a side that is an ensemble."""
        arms = [self.arm(name) for name in claim.sides]
        return tuple(name for arm in arms for name in (arm.ensemble.of if arm.ensemble else (arm.name,)))

    def claims_at(self, preset: str) -> list[Claim]:
        """The claims whose arms make sense at `preset`, in order."""
        names = {arm.name for arm in self.arms_at(preset)}
        return [claim for claim in self.claims if names.issuperset(claim.sides)]
