"""Factor, Screen, Factorial: how a design is declared, that varies several things at once. Plain values.

Each row of a design is a run like any other: a preset, some changes, and a seed. `repro.stats.designs` lays the rows
out and says what they tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

from repro.suggest import did_you_mean
from repro.terms import NAME

MOST_FACTORS = 6  # of a Factorial: 64 cells
TIMES = " x "  # between the factors of an interaction


@dataclass(frozen=True)
class Factor:
    """Two levels of one thing, as changes of a preset. Raises ValueError where both are the same."""

    name: str
    low: Mapping[str, Any] = field(default_factory=dict)  # dotted key -> value; nothing: as the preset
    high: Mapping[str, Any] = field(default_factory=dict)
    at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # preset -> more changes of the high level
    presets: tuple[str, ...] | None = None  # None: wherever the design runs

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"factor {self.name!r}: use lower-case letters, digits and hyphens")
        if dict(self.low) == dict(self.high) and not self.at:
            raise ValueError(f"factor {self.name!r}: low and high are the same; give one of them changes")

    def changes(self, level: int, preset: str) -> dict[str, Any]:
        """Dotted key -> value of what this factor changes in `preset` at level -1 or +1."""
        return dict(self.low) if level < 0 else {**self.high, **self.at.get(preset, {})}


@dataclass(frozen=True)
class Screen:
    """Many factors in few runs: a two-level fractional factorial of resolution IV, one run a row.

    Main effects are clear of one another and of all two-factor interactions; those are aliased with one another.
    """

    factors: Sequence[Factor]
    presets: Sequence[str]  # the first is the default
    runs: int = 64

    def __post_init__(self) -> None:
        _check(self.factors, self.presets)
        if self.runs < 8 or self.runs & (self.runs - 1):
            raise ValueError(f"runs: {self.runs} is no power of two from 8 on")
        fewest, most = self.runs.bit_length(), self.runs // 2
        for preset in self.presets:
            count = len(factors_at(self, preset))
            if count < fewest:
                raise ValueError(f"factors: {count} fit into {self.runs} runs as a Factorial; declare that")
            if count > most:
                raise ValueError(f"runs: {self.runs} hold {most} factors at resolution IV, not {count}")

    @property
    def kind(self) -> Literal["screen"]:
        """As `--design` and file names have it."""
        return "screen"

    @property
    def rows(self) -> int:
        """Combinations of levels."""
        return self.runs

    @property
    def repeats(self) -> int:
        """Runs of each row."""
        return 1


@dataclass(frozen=True)
class Factorial:
    """All combinations of a few factors, `runs` of each: main effects, and every two-factor interaction by itself.

    Run r of each cell has seed r, as the arms of an experiment have, so that cells share runs with other experiments.
    """

    factors: Sequence[Factor]
    presets: Sequence[str]  # the first is the default
    runs: int = 3  # of each cell

    def __post_init__(self) -> None:
        _check(self.factors, self.presets)
        for preset in self.presets:
            count = len(factors_at(self, preset))
            if not 2 <= count <= MOST_FACTORS:
                raise ValueError(f"factors: give 2 to {MOST_FACTORS}, or declare a Screen; here are {count}")
        if self.runs < 1:
            raise ValueError(f"runs: {self.runs} of each cell; give 1 or more")

    @property
    def kind(self) -> Literal["factorial"]:
        """As `--design` and file names have it."""
        return "factorial"

    @property
    def rows(self) -> int:
        """Combinations of levels."""
        return int(2 ** len(self.factors))

    @property
    def repeats(self) -> int:
        """Runs of each row."""
        return self.runs


Design = Screen | Factorial


def factors_at(design: Design, preset: str) -> list[Factor]:
    """The factors that make sense at `preset`, in order."""
    return [one for one in design.factors if one.presets is None or preset in one.presets]


def effects_of(design: Design) -> list[str]:
    """What a design is asked: the effect of each factor and, of a Factorial, of each pair of them."""
    names = [factor.name for factor in design.factors]
    pairs = list(combinations(names, 2)) if isinstance(design, Factorial) else []
    return [*names, *(TIMES.join(pair) for pair in pairs)]


def _check(factors: Sequence[Factor], presets: Sequence[str]) -> None:
    """What holds for every design. Raises ValueError."""
    if isinstance(presets, str) or not presets:
        raise ValueError(f"presets: {presets!r} is no list of names; write ['cifar10']")
    names = [factor.name for factor in factors]
    for factor in factors:
        if names.count(factor.name) > 1:
            raise ValueError(f"factor {factor.name!r}: is given twice; names are unique")
        for preset in (*factor.at, *(factor.presets or ())):
            if preset not in presets:
                raise ValueError(
                    f"factor {factor.name!r}: {preset!r} is not among the presets of the design"
                    f"{did_you_mean(preset, presets)}"
                )
