"""Effects against size, specification curves, and sources of variance on the pages of experiments.

An effect along training is free: the stored metrics have it. Against the number of images and the width it takes
settings that differ in nothing else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.config import keys, presets
from repro.config.config import Config
from repro.planning.cost import images
from repro.report import figures, words
from repro.report.blocks import Block, Column, table
from repro.report.drawing import figure
from repro.report.gather import Part
from repro.report.tables import ReportTable
from repro.terms import FEWEST_SEEDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from repro.stats import Judgement
    from repro.stats.curves import Curve, SpecificationCurve
    from repro.stats.values import Unit

FEWEST_EPOCHS = 3  # tested epochs that a curve along training takes
MOST_CURVES = 8  # of one figure


@dataclass(frozen=True)
class Drawn:
    """One curve with what it is about."""

    title: str
    curve: Curve
    published: float | None  # points


# --- of one setting -------------------------------------------------------------------------------------------------


def blocks(part: Part, reports: Path) -> list[Block]:
    """The effects along training of a setting, and its sources of variance where it asks for them."""
    if part.setting.design:
        return []
    found = []
    stem = f"{part.experiment.name}/{part.setting.name}"
    if drawn := along(part):
        alt = f"Effects against epochs of {', '.join(one.title for one in drawn)}, with 95% bands."
        caption = (
            "Each effect on the test error (center view) after every epoch, points; band: 95%, each epoch by itself."
        )
        shown = figure(f"{stem}-along-training.png", reports, alt, caption, effect_curves, drawn, "epochs", False)
        text = (
            "The effect of one net against another changes as both train. Lower rates late in training, and the end "
            "itself, are the setting's choice: the paper's nets trained for about 90 epochs."
        )
        found.append(Block("Effects along training", text, figures=[shown]))
    if part.experiment.factor.split(",")[0] == "seeds" and (sources := sources_table(part)).rows:
        text = (
            "In each row one source of chance varies with the run's seed and the others are fixed. The variances need "
            "not add up to that of `all`: sources interact."
        )
        found.append(Block("Sources of variance", text, [sources]))
    return found


def along(part: Part) -> list[Drawn]:
    """The top-1 effects of a setting after each epoch that all runs were tested in; those of claims first."""
    from repro.stats.curves import along_training

    frame = part.curves.dropna(subset=["test_top1_error"])
    effects = [one for one in part.judgements if one.metric == "top1_error" and one.effect and not one.effect.paired]
    effects.sort(key=lambda one: one.claim is None)
    found: dict[tuple[str, str | None], Drawn] = {}
    for one in effects:
        effect = one.effect
        assert effect is not None
        if min(effect.runs) < 2 or (one.arm, one.reference) in found:
            continue
        sides = []
        for arm, values in ((effect.arm, effect.of_arm), (effect.reference, effect.of_reference)):
            seeds = [part.setting.seeds_for(arm)[place] for place, _ in values]
            mine = frame[(frame["arm"] == arm) & frame["seed"].isin(seeds)]
            sides.append(mine.pivot_table(index="seed", columns="epoch", values="test_top1_error").dropna(axis=1))
        epochs = sorted({int(epoch) for epoch in sides[0].columns} & {int(epoch) for epoch in sides[1].columns})
        if len(epochs) < FEWEST_EPOCHS or min(map(len, sides)) < 2:
            continue
        curve = along_training(epochs, *(side[epochs].to_numpy() for side in sides))
        published = one.published if one.claim and one.claim.kind == "effect" else None
        found[one.arm, one.reference] = Drawn(words.subject(one.arm, one.reference), curve, published)
    return list(found.values())


def sources_table(part: Part) -> ReportTable:
    """A row a source: runs, spread, variance with its interval, and its share of the variance of all."""
    from repro.stats.curves import sources

    errors: dict[str, list[float]] = {}
    for one in part.judgements:
        if one.metric == "top1_error" and one.effect:
            for arm, values in ((one.effect.reference, one.effect.of_reference), (one.effect.arm, one.effect.of_arm)):
                errors.setdefault(arm, [value for _, value in values])
    rows: list[list[tuple[str, Any]]] = []
    whole = None
    for arm, of_arm in errors.items():
        try:
            (found,) = sources({arm: of_arm})
        except ValueError as error:
            why = str(error).partition(": ")[2]
            rows.append([(arm, arm), (str(len(of_arm)), len(of_arm)), (why, None), *[(words.NOTHING, None)] * 2])
            continue
        variance = found.variance
        whole = variance.mean if arm == "all" else whole
        spread, share = math.sqrt(variance.mean), variance.mean / whole if whole else None
        ends = f"[{words.number(variance.low, 3)}, {words.number(variance.high, 3)}]"
        rows.append(
            [
                (arm, arm),
                (str(found.runs), found.runs),
                (words.number(spread), spread),
                (f"{words.number(variance.mean, 3)} {ends}", variance.mean),
                (words.NOTHING if share is None else f"{100 * share:.0f}%", share),
            ]
        )
    columns = [
        Column("what varies", "source", number=False), Column("runs", "n"),
        Column("standard deviation (points)", "sd_points"),
        Column("variance [95% interval]", "variance_points_squared"), Column("share of all", "share"),
    ]  # fmt: skip
    caption = (
        f"Sources of variance of the top-1 error at preset {part.setting.preset}; intervals take errors as normal."
    )
    return table(f"{part.setting.name}-sources", caption, columns, rows)


# --- over the settings of an experiment -----------------------------------------------------------------------------


def blocks_over(parts: Sequence[Part], reports: Path) -> list[Block]:
    """What the settings of one experiment say together: effects against size, and specification curves."""
    parts = [part for part in parts if not part.setting.design]
    found = [block for axis in AXES if (block := _against(axis, parts, reports))]
    if curves := specification_curves(parts):
        name = parts[0].experiment.name
        drawn = [
            figure(
                f"{name}/specifications-{number}.png", reports,
                f"All specifications of {title}, sorted by effect, with the choices that each makes below.",
                f"Every way to judge {title} that the runs allow, sorted by effect.",
                specifications, curve, unit,
            )
            for number, (title, unit, curve) in enumerate(curves, start=1)
        ]  # fmt: skip
        text = (
            "Another setting, rate, length or view would have been a reasonable choice, too. A share is a count of "
            "what was tried, not the chance of anything; each way is judged as if its setting were the claim's."
        )
        found.append(Block("Specification curves", text, [specifications_table(name, curves)], drawn))
    return found


@dataclass(frozen=True)
class Axis:
    """A size that settings may differ in."""

    name: str
    title: str
    label: str
    keys: tuple[str, ...]  # what varies with it, and so may differ: the ends of dotted keys

    def size(self, config: Config) -> float:
        """The size of a net or of its data."""
        if self.name == "images":
            return float(images(config, None)[0])
        maps = [layer.maps for layer in config.model.layers if layer.maps]
        return math.exp(sum(map(math.log, maps)) / len(maps))


AXES = (
    Axis("images", "Effects against the number of images", "training images", ("data.per_class",)),
    Axis("width", "Effects against width", "maps of a layer (geometric mean)", (".maps", ".init_std")),
)


def against(axis: Axis, parts: Iterable[Part]) -> list[tuple[Drawn, list[str]]]:
    """The top-1 effects that several sizes have, each with the settings behind it, which differ in nothing else."""
    from repro.stats.curves import against_size

    groups: dict[tuple[Any, ...], dict[float, tuple[Judgement, str]]] = defaultdict(dict)
    for part in parts:
        flat = keys.flatten(part.config)
        same = tuple((key, repr(value)) for key, value in flat.items() if not key.endswith(axis.keys))
        for one in part.judgements:
            if one.metric == "top1_error" and _standard_error(one) and one.seeds >= FEWEST_SEEDS:
                key = (one.arm, one.reference, part.setting.untuned, same)
                groups[key].setdefault(axis.size(part.config), (one, part.label))
    found = []
    for (arm, reference, *_), sizes in groups.items():
        if len(sizes) < 2:
            continue
        ones = [one for one, _ in sizes.values()]
        effects = [one.estimate.mean for one in ones if one.estimate]
        errors = [_standard_error(one) or 0.0 for one in ones]
        curve = against_size(list(sizes), effects, errors, axis.size(presets.paper()))
        published = ones[0].published if ones[0].claim and ones[0].claim.kind == "effect" else None
        found.append((Drawn(words.subject(arm, reference), curve, published), [name for _, name in sizes.values()]))
    return found


def _standard_error(one: Judgement) -> float | None:
    """Of an effect between independent runs, points; None where it cannot be told, or is 0."""
    effect = one.effect
    if (
        effect is None
        or effect.paired
        or effect.spreads is None
        or not (one.estimate and math.isfinite(one.estimate.mean))
    ):
        return None
    parts = [spread**2 / runs for spread, runs in zip(effect.spreads, effect.runs, strict=True)]
    return math.sqrt(sum(parts) + effect.of_images) or None


def _against(axis: Axis, parts: Sequence[Part], reports: Path) -> Block | None:
    found = against(axis, parts)
    if not found:
        return None
    name = parts[0].experiment.name
    drawn = [one for one, _ in found]
    alt = f"Effects against {axis.label} of {', '.join(one.title for one in drawn)}, with 95% intervals."
    caption = "Bars: 95% of each size by itself; line: least squares on the log of the size, from three sizes up."
    shown = figure(f"{name}/against-{axis.name}.png", reports, alt, caption, effect_curves, drawn, axis.label, True)
    rows: list[list[tuple[str, Any]]] = []
    for one, settings in found:
        curve = one.curve
        at_paper = words.with_interval(curve.at_paper, "points")
        if curve.extrapolated:
            at_paper += " (extrapolated)"
        rows.append(
            [
                (one.title, one.title),
                (", ".join(f"{size:,.0f}" for size in curve.sizes), len(curve.sizes)),
                (", ".join(f"`{setting}`" for setting in settings), ", ".join(settings)),
                (
                    words.with_interval(curve.slope, "points") if curve.slope else curve.reason,
                    curve.slope.mean if curve.slope else None,
                ),
                (at_paper, curve.at_paper.mean if curve.at_paper else None),
                (words.quantity(one.published, "points", 1), one.published),
            ]
        )
    columns = [
        Column("what", "what", number=False), Column("sizes", "sizes"), Column("settings", "settings", number=False),
        Column("points for ten times the size", "slope_points"),
        Column("one more experiment at the paper's size", "at_paper_points"), Column("published", "published_points"),
    ]  # fmt: skip
    caption = (
        f"Effects of {name} against {axis.label}; the last interval but one is of a prediction, if the line goes on."
    )
    text = (
        f"The settings of a row differ in {axis.label} alone. That a line goes on to the paper's size is an assumption "
        "which no interval has in it: such numbers are marked as extrapolated."
    )
    return Block(axis.title, text, [table(f"against-{axis.name}", caption, columns, rows)], [shown])


def specification_curves(parts: Iterable[Part]) -> list[tuple[str, Unit, SpecificationCurve]]:
    """Of each claim that can be judged in two ways or more: what it is about, its unit, and all of them."""
    from repro.stats.curves import specification_curve

    ways: dict[int, list[Any]] = defaultdict(list)
    claims = {}
    for part in parts:
        for claim, one in part.specifications:
            claims[id(claim)] = claim
            ways[id(claim)].append(one)
    found = []
    for key, claim in claims.items():
        if len(ways[key]) > 1:
            title = f"{words.subject(claim.arm, claim.reference)}, {words.metric(claim.primary)}"
            found.append((title, claim.row.unit, specification_curve(ways[key])))
    return found


def specifications_table(name: str, curves: Sequence[tuple[str, Unit, SpecificationCurve]]) -> ReportTable:
    """A row a claim: how many ways, the median effect, and the share of each verdict."""
    rows: list[list[tuple[str, Any]]] = []
    for title, unit, curve in curves:
        shares = ", ".join(f"{verdict} {100 * share:.0f}%" for verdict, share in curve.shares.items())
        ends = [curve.specifications[place].estimate.mean for place in (0, -1)]
        ranged = " to ".join(words.number(end, signed=unit == "points") for end in ends)
        rows.append(
            [
                (title, title),
                (str(len(curve.specifications)), len(curve.specifications)),
                (words.quantity(curve.median, unit), curve.median),
                (ranged, ranged),
                (shares, shares),
            ]
        )
    columns = [
        Column("what", "what", number=False), Column("ways", "ways"), Column("median effect", "median"),
        Column("from, to", "range"), Column("share by verdict", "shares", number=False),
    ]  # fmt: skip
    return table("specifications", f"All ways to judge the claims of {name}.", columns, rows)


# --- figures --------------------------------------------------------------------------------------------------------


def effect_curves(drawn: Sequence[Drawn], label: str, sizes: bool) -> Drawing:
    """A panel a curve: effect against epochs as a band, or against size as bars with the line of the regression."""
    drawn = drawn[:MOST_CURVES]
    columns = min(2, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    made = figures.canvas(0.6 + 2.5 * rows)
    panels = made.subplots(rows, columns, squeeze=False)
    for axes, one in zip(panels.flat, drawn, strict=False):
        at, curve = one.curve.sizes, one.curve
        means = [interval.mean for interval in curve.band]
        finite = [end for interval in curve.band for end in (interval.low, interval.high) if math.isfinite(end)]
        lows, highs = ([getattr(interval, side) for interval in curve.band] for side in ("low", "high"))
        axes.axhline(0, color="0.25", linewidth=1.2)
        if sizes:
            below, above = ([abs(end - mean) for end, mean in zip(ends, means, strict=True)] for ends in (lows, highs))
            axes.errorbar(at, means, [below, above], fmt="o", color=figures.OURS, linewidth=2, capsize=3)
            if curve.line:
                axes.plot(at, [interval.mean for interval in curve.line], "--", color=figures.OURS, linewidth=1.4)
            axes.set_xscale("log")
        else:
            whole = [place for place, end in enumerate(highs) if math.isfinite(end)]
            band = [[values[place] for place in whole] for values in (at, lows, highs)]
            axes.fill_between(*band, color=figures.OURS, alpha=0.2, linewidth=0)
            axes.plot(at, means, color=figures.OURS, linewidth=2)
        if one.published is not None:
            axes.axhline(one.published, color=figures.PUBLISHED, linewidth=1.6, linestyle=":", label="published")
            axes.legend(loc="best")
        axes.set_title(one.title, loc="left", fontsize=11)
        axes.set(xlabel=label, ylabel="effect (points)")
        numbers = [*finite, *means, one.published or 0.0, 0.0]
        room = 0.06 * (max(numbers) - min(numbers) or 1.0)
        axes.set_ylim(min(numbers) - room, max(numbers) + room)
    for axes in list(panels.flat)[len(drawn) :]:
        axes.set_visible(False)
    return made


COLORS = {"reproduced": 2, "same direction": 7, "inconclusive": 6, "not seen": 1, "contradicted": 3}


def specifications(curve: SpecificationCurve, unit: Unit) -> Drawing:
    """All ways to judge one claim, sorted by effect, and below the choices that each of them makes."""
    rows = [(name, value) for name, values in curve.choices.items() for value in values]
    made = figures.canvas(2.6 + 0.22 * len(rows))
    upper, lower = made.subplots(2, 1, sharex=True, height_ratios=[2.2, 0.22 * len(rows) + 0.1])
    upper.axhline(1 if unit == "times" else 0, color="0.25", linewidth=1.2)
    shown = set()
    for place, one in enumerate(curve.specifications):
        color = figures.PALETTE[COLORS.get(one.verdict, 5)]
        estimate = one.estimate
        if math.isfinite(estimate.low) and math.isfinite(estimate.high):
            upper.plot([place, place], [estimate.low, estimate.high], color=color, linewidth=2)
        marker = figures.MARKERS[list(COLORS).index(one.verdict) if one.verdict in COLORS else 5]
        label = None if one.verdict in shown else one.verdict
        shown.add(one.verdict)
        upper.plot(place, estimate.mean, marker, color=color, markersize=6, label=label)
        for row, (name, value) in enumerate(rows):
            chosen = one.choices[name] == value
            lower.plot(
                place, row, "|" if chosen else ".", color="0.1" if chosen else "0.85", markersize=9 if chosen else 3
            )
    if unit == "times":
        upper.set_yscale("log")
    upper.set_ylabel("times" if unit == "times" else "effect (points)")
    upper.legend(loc="best")
    lower.set_yticks(range(len(rows)), [f"{name}: {value}" for name, value in rows], fontsize=9)
    lower.set(ylim=(len(rows) - 0.5, -0.5), xticks=[], xlabel="ways to judge the claim, sorted by effect")
    lower.grid(visible=False)
    return made
