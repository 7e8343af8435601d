"""A design on a page: its effects with intervals, what they are aliased with, and the half-normal plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.report import figures, words
from repro.report.blocks import Block, Column, table
from repro.report.drawing import Figure, figure
from repro.report.gather import Part
from repro.report.tables import ReportTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from repro.stats import DesignJudgement
    from repro.stats.designs import Analysis, Contrast

ALPHA = 0.05  # of a Holm p, in words


def blocks(part: Part, reports: Path) -> list[Block]:
    """What a setting of a design says; nothing of any other setting."""
    found = part.design
    if found is None:
        return []
    tables = [effects_table(part, found)] if found.analysis else []
    if any(len(chain) > 1 for chain in found.aliases.chains):
        tables.append(alias_table(part, found))
    return [Block("Effects of the design", text(part, found), tables, list(_figures(part, found, reports)))]


def text(part: Part, found: DesignJudgement) -> str:
    """What kind of design it is, how many of its runs are there, and what holds for all of its effects."""
    kind, arms = part.setting.design, len(part.experiment.arms)
    of = f"{words.count(len(found.factors), 'factor')} at two levels"
    told = [
        f"A screen of resolution IV: {of} in {arms} runs, laid out by pyDOE."
        if kind == "screen"
        else f"A factorial: all {arms} combinations of {of}, {words.count(found.asked // arms, 'run')} of each."
    ]
    if not part.experiment.search or part.setting.untuned:
        told.append("Every row trains at the preset's own learning rate, so an effect is one at that rate.")
    else:
        told.append(f"Every combination has its own best {part.experiment.search.key}, found before.")
    told.append(
        f"The plan {part.setting.frozen} asked for it before its runs were made."
        if part.setting.frozen
        else "No frozen plan asked for it: exploratory."
    )
    one = found.analysis
    if one is None:
        told.append(f"{found.finished} of {found.asked} runs are finished, and the effects wait for all.")
    else:
        told.append(f"{one.failed} of {words.count(one.runs, 'run')} did not train.")
        if one.reason:
            told.append(f"No estimate: {one.reason}.")
        elif one.spread is not None:
            told.append(
                f"Top-1 error, {words.view(found.view)}; spread of runs about the fit {words.number(one.spread)} "
                f"points, {one.freedom} degrees of freedom; the test images are the same for all."
            )
            if one.leak and one.failed:
                told.append(
                    f"Lost runs let a point of an interaction move a main effect by up to {one.leak:.2f} points."
                )
        if kind == "screen":
            told.append("Main effects are clear of one another and of interactions of two factors.")
    return " ".join(told)


def effects_table(part: Part, found: DesignJudgement) -> ReportTable:
    """A row an effect: interval, p, Holm p, what it says, and how often each level fails to train."""
    one = found.analysis
    assert one is not None
    failures = {each.name: each for each in one.failures}
    levels = {each.name: each for each in found.factors}
    rows: list[list[tuple[str, Any]]] = []
    for name in [each.name for each in one.estimates] or list(levels):
        estimate = next((each for each in one.estimates if each.name == name), None)
        interval = estimate.interval if estimate else None
        failed = failures.get(name)
        factor = levels.get(name)
        rows.append(
            [
                (name, name),
                (words.changes(factor.low), words.changes(factor.low)) if factor else (words.NOTHING, None),
                (words.changes(factor.high), words.changes(factor.high)) if factor else (words.NOTHING, None),
                (words.with_interval(interval, "points"), interval.mean if interval else None),
                (words.NOTHING, None) if estimate is None else (words.probability(estimate.p), estimate.p),
                (words.NOTHING, None) if estimate is None else (words.probability(estimate.holm_p), estimate.holm_p),
                (said := says(estimate, interaction=factor is None), said),
                _lost(failed.low if failed else None),
                _lost(failed.high if failed else None),
                (words.probability(failed.p), failed.p) if failed else (words.NOTHING, None),
            ]
        )
    columns = [
        Column("effect", "effect", number=False), Column("low", "low", number=False),
        Column("high", "high", number=False), Column("high less low [95% interval]", "effect_points"),
        Column("p", "p"), Column("p (Holm)", "holm_p"), Column("says", "says", number=False),
        Column("did not train, low", "failed_low"), Column("high", "failed_high"), Column("p, equally", "failed_p"),
    ]  # fmt: skip
    caption = (
        f"Effects of {part.experiment.name} at preset {part.setting.preset} on the top-1 error; of two factors: how "
        "much larger the effect of the first is at the high level of the second."
    )
    return table(f"{part.setting.name}-effects", caption, columns, rows)


def says(estimate: Any, *, interaction: bool) -> str:
    """An effect in words, by its Holm p: `lowers the error`; of an interaction whether one depends on the other."""
    if estimate is None:
        return "no estimate"
    if estimate.interval is None:
        return f"withheld: {estimate.withheld}"
    if estimate.holm_p is None or estimate.holm_p >= ALPHA:
        return "not told from none"
    if interaction:
        return "one depends on the other"
    return "raises the error" if estimate.interval.mean > 0 else "lowers the error"


def _lost(counts: tuple[int, int] | None) -> tuple[str, float | None]:
    return (words.NOTHING, None) if counts is None else (f"{counts[0]} of {counts[1]}", counts[0] / counts[1])


def alias_table(part: Part, found: DesignJudgement) -> ReportTable:
    """A row a column of the design that several interactions share: it cannot say which of them matters."""
    rows: list[list[tuple[str, Any]]] = [
        [(str(number), number), (shown := " = ".join(chain), shown)]
        for number, chain in enumerate(found.aliases.chains, start=1)
    ]
    columns = [Column("chain", "chain"), Column("interactions that it cannot tell apart", "interactions", number=False)]
    caption = f"Aliases of {part.experiment.name} at preset {part.setting.preset}; every main effect is clear of them."
    return table(f"{part.setting.name}-aliases", caption, columns, rows)


def _figures(part: Part, found: DesignJudgement, reports: Path) -> list[Figure]:
    one = found.analysis
    if one is None or not one.estimates:
        return []
    stem = f"{part.experiment.name}/{part.setting.name}"
    shown = [(each.name, each.interval) for each in one.estimates if each.interval]
    drawn = [
        figure(
            f"{stem}-effects.png", reports,
            "The effects of the design with their 95% intervals, a row each; the table has the same numbers.",
            "Effects on the top-1 error, points: the high level less the low one.",
            effects, shown,
        )
    ] if shown else []  # fmt: skip
    if one.lenth_margin is not None:
        drawn.append(
            figure(
                f"{stem}-half-normal.png", reports,
                "Sizes of all contrasts against half-normal quantiles, with Lenth's margin as a line.",
                "Half-normal plot: contrasts on the line are as large as chance makes them; beyond the dashed line "
                "(Lenth's margin) one is active. It uses no residuals: a second opinion.",
                half_normal, one.contrasts, one.lenth_margin,
            )
        )  # fmt: skip
    return drawn


def effects(shown: Sequence[tuple[str, Any]]) -> Drawing:
    """Effects with intervals, points, a row each; those of a Screen's withheld factors are not among them."""
    made = figures.canvas(1.0 + 0.24 * len(shown))
    axes = made.subplots()
    axes.axvline(0, color="0.25", linewidth=1.2)
    for row, (_, interval) in enumerate(shown):
        axes.plot([interval.low, interval.high], [row, row], color=figures.OURS, linewidth=2.2)
        axes.plot(interval.mean, row, "o", color=figures.OURS, markersize=6)
    axes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=10)
    axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel="effect on the top-1 error (points; bars: 95% intervals)")
    axes.grid(axis="y", visible=False)
    return made


def half_normal(contrasts: Sequence[Contrast], margin: float) -> Drawing:
    """Sizes of contrasts against the half-normal quantiles where they would stand if nothing mattered."""
    made = figures.canvas(4.6)
    axes = made.subplots()
    quantiles = [one.quantile for one in contrasts]
    sizes = [abs(one.effect) for one in contrasts]
    axes.plot(quantiles, sizes, "o", color=figures.OURS, markersize=5)
    middle = len(sizes) // 2
    slope = sizes[middle] / quantiles[middle]
    axes.plot([0, quantiles[-1]], [0, slope * quantiles[-1]], color="0.5", linewidth=1.2)
    axes.axhline(margin, color="0.25", linewidth=1.2, linestyle="--")
    for one in contrasts:
        if abs(one.effect) > margin:
            head, *others = one.name.split(" = ")
            label = f"{head} = ..." if others else head
            axes.annotate(
                label, (one.quantile, abs(one.effect)), xytext=(-6, 0), textcoords="offset points", ha="right",
                va="center", fontsize=10,
            )  # fmt: skip
    axes.set(xlabel="half-normal quantile", ylabel="size of the contrast (points)", xlim=(0, None), ylim=(0, None))
    return made


def rows_for_terminal(found: Analysis | None) -> list[dict[str, str]]:
    """The effects of one design, a row each: heading -> text."""
    return [
        {
            "effect": one.name,
            "high less low [95% interval]": words.with_interval(one.interval, "points"),
            "p (Holm)": words.probability(one.holm_p),
            "says": says(one, interaction=" x " in one.name),
        }
        for one in (found.estimates if found else ())
    ]
