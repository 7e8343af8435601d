"""What a ratio of epochs depends on: when the error is read, the rates that were tried, variants of the two arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.report import words
from repro.report.blocks import Block, Column, table
from repro.report.gather import Part
from repro.terms import EPOCHS_TO_TARGET

if TYPE_CHECKING:
    from repro.records import RunRecord
    from repro.stats.intervals import Count
    from repro.stats.values import Interval

Row = tuple[str, Sequence["Count"], Sequence["Count"]]  # how it is read; the counts of the arm and of its reference


def blocks(part: Part, reports: Path) -> list[Block]:
    """Nothing where no ratio of epochs to a target was judged."""
    from repro.stats.independent import independent_ratio

    found = []
    for one in part.judgements:
        if one.claim is None or one.metric != EPOCHS_TO_TARGET or one.reference is None or one.estimate is None:
            continue
        rows: list[list[tuple[str, Any]]] = []
        for how, ours, theirs in ways(part, one.arm, one.reference):
            ratio, _ = independent_ratio(ours, theirs)
            runs = f"{len(ours)} and {len(theirs)}"
            rows.append([(how, how), (shown(ratio, ours, theirs), ratio.mean), (runs, runs)])
        columns = [
            Column("how", "how", number=False), Column("times [95% interval]", "times"), Column("runs", "runs"),
        ]  # fmt: skip
        what = words.subject(one.arm, one.reference)
        caption = f"{what}: epochs to the target, read and compared in other ways."
        text = (
            "The verdict follows the first row. A run that never got to the target counts as longer than its last "
            "epoch, which makes a ratio a bound. Rows of a search are of its own runs and seeds."
        )
        name = f"{part.setting.name}-{one.arm}-sensitivity"
        found.append(Block("What the ratio depends on", text, [table(name, caption, columns, rows)]))
    return found


def shown(ratio: Interval, ours: Sequence[Count], theirs: Sequence[Count]) -> str:
    """`7.37 times [6.94, 7.83]`; a bound where a run of one side is censored, nothing where those of both are."""
    above, below = (any(count.censored for count in side) for side in (ours, theirs))
    if above and below:
        return words.NOTHING
    if len(ours) < 3 or len(theirs) < 3:
        return ("over " if above else "under " if below else "") + f"{words.number(ratio.mean)} times"
    return words.with_interval(ratio, "times")


def ways(part: Part, arm: str, reference: str) -> Iterator[Row]:
    """The judged comparison, then each with one thing changed, where there are runs of both sides."""
    from dataclasses import replace

    from repro.stats.evidence import HALF_AN_EPOCH

    ours, theirs = (counts(part.runs.get(name, ())) for name in (arm, reference))
    yield "as judged: in the middle of an epoch", ours, theirs
    late = [
        [replace(count, epochs=count.epochs + (0 if count.censored else HALF_AN_EPOCH)) for count in side]
        for side in (ours, theirs)
    ]
    yield "at the end of an epoch, as the program of 2012 printed it", late[0], late[1]
    for one, other in ((arm, reference), (reference, arm)):
        taken = part.chosen.get(other)
        fixed = counts(searched(part, other, taken))
        for value in sorted(map(float, part.searches.get(one, ()))):
            sides = (counts(searched(part, one, value)), fixed)
            first, second = sides if one == arm else sides[::-1]
            if first and second:
                yield f"search: {one} at {value:g}, {other} at {taken:g}", first, second
    for of_arm in variants(part, arm, reference):
        for of_reference in variants(part, reference, arm):
            if (of_arm, of_reference) != (arm, reference):
                first, second = (counts(part.runs.get(name, ())) for name in (of_arm, of_reference))
                if first and second:
                    yield f"{of_arm} against {of_reference}", first, second


def variants(part: Part, name: str, other: str) -> list[str]:
    """The arm and those that change what it changes and more, without all that `other` changes beyond it."""
    preset = part.setting.preset
    arms = {arm.name: arm.changes_at(preset).items() for arm in part.experiment.arms_at(preset) if not arm.ensemble}
    apart = arms[other] - arms[name]
    return [
        each for each, changes in arms.items()
        if each == name or (each != other and changes >= arms[name] and not (apart and changes >= apart))
    ]  # fmt: skip


def searched(part: Part, arm: str, value: float | None) -> list[RunRecord]:
    """The finished runs of an arm's search at a value."""
    tried = part.searches.get(arm, {})
    return [run for text, runs in tried.items() if value == float(text) for run in runs if run is not None]


def counts(records: Sequence[RunRecord]) -> list[Count]:
    """Epochs to the target, censored where it was not reached; nothing for a run that had none."""
    from repro.stats.evidence import count_of

    return [found for record in records if (found := count_of(record, EPOCHS_TO_TARGET)) is not None]
