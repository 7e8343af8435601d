"""What a search says on a page: the error against the rate, each comparison at one rate and at each arm's own, and how
many trials a conclusion needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.planning.search import criterion, mean_criterion
from repro.report import words
from repro.report.blocks import Block, Column, table
from repro.report.drawing import figure
from repro.report.figures import DASHES, MANY, MARKERS, PALETTE, canvas
from repro.report.gather import Part
from repro.report.tables import ReportTable
from repro.terms import EPOCHS_TO_BEST, EPOCHS_TO_TARGET

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

COUNTED = (EPOCHS_TO_BEST, EPOCHS_TO_TARGET)  # metrics in epochs; all others are percent
DODGE = "Dodge et al. 2019"
Tried = Mapping[str, Mapping[float, Sequence[float]]]  # arm -> value -> the criterion of its finished runs, percent


def blocks(part: Part, reports: Path) -> list[Block]:
    """Nothing where no search was asked for, or none of its runs is finished."""
    search = part.experiment.search
    tried = scored(part)
    if search is None or not any(tried.values()):
        return []
    chosen = {arm: value for arm, value in part.chosen.items() if value is not None}
    path = f"{part.experiment.name}/{part.setting.name}-rates.png"
    of = words.metric(search.metric) + ("" if search.metric in COUNTED else " (%)")
    alt = f"{of} against {search.key}, a line an arm; the table of the search has the numbers."
    caption = f"{of} against {search.key}: lines through means, points are runs, rings are the values taken."
    shown = figure(path, reports, alt, caption, rates, tried, chosen, search.key, of)
    tables = [best_table(part, tried)]
    if twice := twice_table(part):
        tables.insert(0, twice)
    text = (
        "Both ways of comparing are shown: each arm at the value that its own search found, which the verdict follows, "
        "and both at the value of the reference, as in 2012. A conclusion that only one of them has is one about "
        f"tuning. The expected best of k tried values ({DODGE}) says how many trials an arm needs."
    )
    return [Block("Fair tuning", text, tables, [shown])]


def scored(part: Part) -> Tried:
    """What the finished runs of a search reached; nothing where a run diverged or is not there."""
    search = part.experiment.search
    found: dict[str, dict[float, list[float]]] = {}
    for arm, values in part.searches.items() if search else ():
        assert search is not None
        found[arm] = {}
        for value, runs in values.items():
            reached = [one for run in runs if run is not None and (one := criterion(run, search.metric)) is not None]
            if reached:
                found[arm][float(value)] = reached
    return {arm: dict(sorted(of.items())) for arm, of in found.items()}


def twice_table(part: Part) -> ReportTable | None:
    """Each claim at the common value and at each arm's own; None where no claim was judged."""
    rows: list[list[tuple[str, Any]]] = []
    for one in part.judgements:
        if one.claim is None or one.reference is None or one.estimate is None or one.verdict == "not tuned":
            continue
        same = one.common_verdict is None  # both arms found the same value: there is one comparison
        common, verdict = (one.estimate, one.verdict) if same else (one.common, one.common_verdict)
        hinges = "depends on the learning rate" if one.depends_on_rate else "the same verdict"
        told = "both took the same value" if same else hinges
        rows.append(
            [
                (about := words.subject(one.arm, one.reference), about),
                (words.metric(one.metric), one.metric),
                (words.with_interval(common, one.unit), common.mean if common else None),
                (str(verdict), verdict),
                (words.with_interval(one.estimate, one.unit), one.estimate.mean),
                (one.verdict, one.verdict),
                (told, told),
            ]
        )
    if not rows:
        return None
    columns = [
        Column("what", "what", number=False), Column("metric", "metric", number=False),
        Column("at one value [95% interval]", "common"), Column("verdict", "common_verdict", number=False),
        Column("each at its own [95% interval]", "own"), Column("verdict", "own_verdict", number=False),
        Column("", "told", number=False),
    ]  # fmt: skip
    caption = f"Each comparison of {part.experiment.name} at preset {part.setting.preset}, twice."
    return table(f"{part.setting.name}-twice", caption, columns, rows)


def best_table(part: Part, tried: Tried) -> ReportTable:
    """Expected best of k values tried, a row an arm: exact, from the means of the values that were tried."""
    from repro.stats.curves import expected_best

    means = {arm: [mean_criterion(runs) for runs in of.values()] for arm, of in tried.items() if of}
    most = max(map(len, means.values()))
    rows: list[list[tuple[str, Any]]] = []
    for arm, errors in means.items():
        best = [expected_best(errors, k) if k <= len(errors) else None for k in range(1, most + 1)]
        rows.append([(arm, arm), *((words.number(one), one) for one in best)])
    columns = [Column("arm", "arm", number=False), *(Column(f"k = {k}", f"k_{k}") for k in range(1, most + 1))]
    search = part.experiment.search
    assert search is not None
    unit = "" if search.metric in COUNTED else " (%)"
    caption = f"Expected lowest {words.metric(search.metric)}{unit} of k values tried of {search.key} ({DODGE})."
    return table(f"{part.setting.name}-best-of-k", caption, columns, rows)


def rates(tried: Tried, chosen: Mapping[str, float], key: str, metric: str) -> Drawing:
    """The criterion against the value tried, logarithmic: a line an arm through the means, runs as points, the value
    taken ringed."""
    from matplotlib.ticker import NullFormatter, NullLocator

    made = canvas(4.2)
    axes = made.subplots()
    axes.set_xscale("log")
    for place, (arm, of) in enumerate(tried.items()):
        color, marker = PALETTE[place % MANY], MARKERS[place % MANY]
        means = {value: mean_criterion(runs) for value, runs in of.items()}
        label = arm if of else f"{arm}: no finished run has one"
        axes.plot([*means], [*means.values()], DASHES[place % 4], color=color, linewidth=1.8, label=label)
        for value, runs in of.items():
            axes.plot([value] * len(runs), runs, marker, color=color, markersize=5)
        if chosen.get(arm) in means:
            taken = chosen[arm]
            axes.plot(taken, means[taken], "o", color=color, markerfacecolor="none", markersize=15, markeredgewidth=2)
    ticks = sorted({value for of in tried.values() for value in of})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=key, ylabel=metric)
    made.legend(loc="outside upper center", ncols=min(4, len(tried)))
    return made
