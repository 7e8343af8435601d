"""`repro bench evidence`: what a verdict costs, in core-hours, by design; from results/ where runs are.

Nothing is trained. Of each published claim about two arms: the runs after which its interval excluded none or the claim
and went on to do so, as they were made; and what each design would take to tell the claim's size from none with 80%
power, at the spread and the time a run that results/ have. Where no runs of a claim are, both are those of the setting
of the frozen plan REFERENCE: the spread over its arms, and the time by the rates of finished runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from repro.bench import BenchResult, Texts, machine, row
from repro.experiments.design import Screen, factors_at
from repro.experiments.experiment import Experiment
from repro.experiments.registry import load
from repro.folders import data_directory, results_directory
from repro.planning import frozen
from repro.planning.cost import here, training_seconds
from repro.planning.hardware import Hardware
from repro.planning.plan import configs, pretrain_config
from repro.records import RunRecord, Setting
from repro.report import words
from repro.report.gather import Gathered, Part, Score, counted_scores, gather
from repro.stats.evidence import Runs
from repro.stats.judge import _negligible, judge
from repro.stats.price import DESIGNS, DesignName, as_narrow, deciding, half_width, layouts
from repro.terms import FEWEST_SEEDS, TRAINING_HOURS

REFERENCE = "factors"  # the frozen plan whose setting stands for claims without runs
ASSUMED_SPREAD = 0.9  # points, as in docs/designs.md, where no arm has three runs
FACTORS_OF_A_FACTORIAL = 6
ROWS = 64  # of the screen whose intervals are compared
TARGETS = {
    "screen_over_one_at_a_time": "at most 0.125: runs for intervals as narrow, each arm with a reference of its own",
    "screen_over_shared_baseline": "the same, all arms with one reference",
}


class Measured(NamedTuple):
    """Runs of the arm and of its reference, and their core-hours."""

    arm: int
    reference: int
    hours: float
    decided: bool  # from then on; else it is what was spent so far


@dataclass(frozen=True)
class Price:
    """What one claim costs."""

    score: Score
    setting: str  # of the runs, or that is assumed
    simulated: bool  # spread and time are not those of its own runs
    size: float  # points, or the log of a ratio
    spread: float | None  # of runs, in the unit of the size
    hours: float  # core-hours a run
    measured: Measured | None
    search: float | None  # core-hours of the search of both arms; None where there was none
    designs: Mapping[DesignName, float] = field(default_factory=dict)  # runs a claim; inf: too many


def measure(quick: bool = False) -> BenchResult:
    """Prices of the claims in results/, as a table, and the runs of a screen over those of other designs for intervals
    as narrow. `quick` leaves out the claims of others than the paper."""
    facts = machine()
    experiments = list(load().experiments.values())
    found = prices(experiments, results_directory(None), data_directory(None))
    found = [one for one in found if one.score.origin == "paper" or not quick]
    rows = [row(f"a run of {name}", "core-hours", hours) for name, hours in _hours_by_setting(found).items()]
    factors = most_factors(experiments)
    return BenchResult(
        "What a verdict costs", rows, screen_ratios(factors), facts, TARGETS, [explained(factors)], [table(found)]
    )


def prices(experiments: Sequence[Experiment], results: Path, data: Path) -> list[Price]:
    """The price of each claim about two arms, by its primary number at the setting where it is counted."""
    gathered = gather(experiments, results)
    records = {record.key: record for part in gathered.parts for record in part.records}
    reference = _reference(results)
    spreads = _spreads(gathered)
    on = here(results)
    factors = most_factors(experiments)
    found = []
    for score in counted_scores(gathered.scores):
        if score.primary and score.claim.row.paired and not score.claim.control and score.metric != TRAINING_HOURS:
            found.append(_price(score, results, data, records, reference, spreads, on, factors))
    return found


def most_factors(experiments: Iterable[Experiment]) -> int:
    """Factors of the largest screen that is declared, at its preset of fewest; they share a baseline, too."""
    screens = [one.design for one in experiments if isinstance(one.design, Screen)]
    return max((min(len(factors_at(one, at)) for at in one.presets) for one in screens), default=16)


def screen_ratios(factors: int) -> dict[str, float]:
    """Runs of a screen of ROWS over those of other designs that give intervals as narrow for as many factors."""
    screen = next(one for size in range(32) if (one := layouts("screen", factors)(size)).runs >= ROWS)
    width = half_width(screen)
    others: dict[str, DesignName] = {
        "screen_over_one_at_a_time": "one at a time",
        "screen_over_shared_baseline": "shared baseline",
    }
    narrow = {name: as_narrow(design, factors, width) for name, design in others.items()}
    return {name: screen.runs / one.runs for name, one in narrow.items() if one}


def _price(
    score: Score,
    results: Path,
    data: Path,
    records: Mapping[tuple[str, int], RunRecord],
    reference: frozen.Frozen | None,
    spreads: Mapping[tuple[str, str], float],
    on: Hardware,
    factors: int,
) -> Price:
    claim, part, one = score.claim, score.part, score.judgement
    effect = one.effect if one and part else None
    seen = effect is not None and min(effect.runs) >= FEWEST_SEEDS and effect.spreads is not None
    paired = effect is not None and effect.paired
    if part is not None and effect is not None and seen:
        name, hours = part.setting.name, _hours_of(part, score.experiment.trained(claim))
        measured, search = _decided(score, part, results, records), _search_hours(part, claim.sides)
        own = _pooled(effect.spreads or (), effect.runs)
        spread = own if paired else spreads.get((name, score.metric), own)
    else:
        name, hours = _assumed(score, reference, data, on)
        measured, search = None, None
        assumed = ASSUMED_SPREAD if score.metric == "top1_error" else None
        spread = None if paired else spreads.get((_name(reference), score.metric), assumed)
    size = _size(score)
    designs = _by_design(score, abs(size) / spread, factors, paired=paired) if spread else {}
    return Price(score, name, not seen, size, spread, hours, measured, search, designs)


def _size(score: Score) -> float:
    """What has to be told from none: the published size, or what is no longer negligible where none is published."""
    if score.claim.row.unit == "times":
        return math.log(score.published or 2.0)
    if score.published and score.claim.row.power:
        return score.published
    return _negligible(score.experiment, score.claim)


def _by_design(score: Score, effect: float, factors: int, *, paired: bool) -> dict[DesignName, float]:
    """Runs that a claim takes, its share of a design's. Two readings of the same runs need no design; screens and
    factorials are analyzed by top-1 error."""
    if paired:
        from repro.stats.sequential import seeds_needed

        runs = seeds_needed(1.0, effect)
        return {"one at a time": math.inf if runs is None else runs}
    if any(score.experiment.arm(name).ensemble for name in score.claim.sides):
        return {}
    found: dict[DesignName, float] = {}
    for design in DESIGNS:
        if design in ("screen", "factorial") and score.metric != "top1_error":
            continue
        many = FACTORS_OF_A_FACTORIAL if design == "factorial" else factors
        layout = deciding(design, many, effect)
        found[design] = layout.runs / many if layout else math.inf
    return found


def _decided(score: Score, part: Part, results: Path, records: Mapping[tuple[str, int], RunRecord]) -> Measured | None:
    """The fewest runs, first seeds first, from which on the rule's interval was never again inconclusive; else all that
    are there. The reference has its share: as many more as the setting asks."""
    claim, setting = score.claim, part.setting
    spent: list[tuple[bool, Measured]] = []
    for count in range(FEWEST_SEEDS, setting.seeds + 1):
        more = {arm: math.ceil(asked * count / setting.seeds) for arm, asked in setting.seeds_of.items()}
        first = replace(setting, seeds=count, seeds_of=more, looks=())
        judged = judge(score.experiment, first, results, Runs(score.experiment, first, results, records))
        one = next(each for each in judged if each.claim == claim and each.metric == score.metric)
        if one.effect is None or one.estimate is None or one.seeds < FEWEST_SEEDS:
            continue
        margin = _negligible(score.experiment, claim)
        verdict, _ = claim.row.rule(one.estimate, claim, score.metric, one.seeds, margin)
        own = _runs(score.experiment.trained(claim), first, records)
        hours = math.fsum(_core_hours(run) for run in own)
        now = Measured(*one.effect.runs, hours, verdict != "inconclusive")
        if not spent or spent[-1][1][:2] != now[:2]:
            spent.append((now.decided, now))
    if not spent:
        return None
    undecided = [place for place, (decided, _) in enumerate(spent) if not decided]
    first_decided = undecided[-1] + 1 if undecided else 0
    return spent[min(first_decided, len(spent) - 1)][1]


def _runs(arms: Iterable[str], setting: Setting, records: Mapping[tuple[str, int], RunRecord]) -> list[RunRecord]:
    keys = dict.fromkeys((setting.arms[arm], seed) for arm in arms for seed in setting.seeds_for(arm))
    return [records[key] for key in keys if key in records]


def _core_hours(run: RunRecord) -> float:
    return run.seconds * int(run.about("hardware").get("threads") or 1) / 3600


def _hours_of(part: Part, arms: Iterable[str]) -> float:
    return median(_core_hours(run) for arm in arms for run in part.runs.get(arm, ()))


def _search_hours(part: Part, arms: Iterable[str]) -> float | None:
    runs = {
        run.key: run
        for arm in arms
        for tried in part.searches.get(arm, {}).values()
        for run in tried
        if run is not None
    }
    return math.fsum(map(_core_hours, runs.values())) if runs else None


def _spreads(gathered: Gathered) -> dict[tuple[str, str], float]:
    """(setting, metric) -> standard deviation of runs about the mean of their arm, over all arms of three runs or more
    of all experiments at the setting; an arm that several share counts once. Of epochs to the target: of their logs."""
    found: dict[tuple[str, str], dict[str, tuple[float, int]]] = defaultdict(dict)
    for part in gathered.parts:
        for arm in part.summary.to_dict("records"):
            digest, runs = part.setting.arms.get(str(arm["arm"]), ""), int(arm["seeds"])
            for metric in ("top1_error", "train_error", "gap"):
                if digest and runs >= FEWEST_SEEDS and math.isfinite(arm[f"{metric}_sd"]):
                    found[part.setting.name, metric][digest] = float(arm[f"{metric}_sd"]), runs
    pooled = {
        key: _pooled([spread for spread, _ in arms.values()], [runs for _, runs in arms.values()])
        for key, arms in found.items()
    }
    return {key: spread for key, spread in pooled.items() if spread}


def _pooled(spreads: Sequence[float], runs: Sequence[int]) -> float | None:
    freedom = sum(count - 1 for count in runs)
    if not spreads or not freedom:
        return None
    squares = math.fsum(spread**2 * (count - 1) for spread, count in zip(spreads, runs, strict=True))
    return math.sqrt(squares / freedom)


def _reference(results: Path) -> frozen.Frozen | None:
    path = results / frozen.FOLDER / f"{REFERENCE}.json"
    return frozen.read(path) if path.is_file() else None


def _name(reference: frozen.Frozen | None) -> str:
    """Of the setting that a frozen plan asks for."""
    return Setting("any", reference.preset, reference.changes, 0, {}).name if reference else ""


def _assumed(score: Score, reference: frozen.Frozen | None, data: Path, on: Hardware) -> tuple[str, float]:
    """The setting of a claim without runs, that of the frozen plan where the experiment allows it, and core-hours a
    run there; else its smallest preset that is no smoke test."""
    experiment, arm = score.experiment, score.claim.arm
    presets = [at for at in experiment.presets if score.claim in experiment.claims_at(at) and "smoke" not in at]
    preset, changes = presets[0], dict[str, Any]()
    if reference and reference.preset in presets:
        preset, changes = reference.preset, dict(reference.changes)
    ensemble = experiment.arm(arm).ensemble
    member = ensemble.of[0] if ensemble else arm
    try:
        config = configs(experiment, preset, changes, tuned=False)[member]
    except ValueError:  # an arm changes what the plan does
        config, changes = configs(experiment, preset, {}, tuned=False)[member], {}
    trained = [config, *([pretrain_config(config)] if config.pretrain else [])]
    hours = math.fsum(training_seconds(one, data, on) for one in trained) / 3600
    return Setting(experiment.name, preset, changes, 0, {}).name, hours


# ------------------------------------------------------------------------------------------------------- as its reader


def explained(factors: int) -> str:
    """What the columns of the table are."""
    return (
        "Core-hours, and runs in brackets. Made: until the interval excluded none or the claim, or all so far. By "
        f"design: one claim's share, to tell its size from none with 80% power, of {factors} arms with references of "
        f"their own, of as many arms that share one, of a screen of {factors} factors, and of all combinations of "
        f"{FACTORS_OF_A_FACTORIAL}. A star: spread and time are not those of its own runs."
    )


def table(found: Iterable[Price]) -> Texts:
    """A row a claim."""
    columns = ["claim", "setting", "size", "spread", "a run", "made", "search", *DESIGNS]
    return Texts("Core-hours to decide a claim", columns, [_cells(one) for one in found])


def _cells(one: Price) -> list[str]:
    score, claim = one.score, one.score.claim
    unit = claim.row.unit
    size = math.exp(one.size) if unit == "times" else one.size
    section = "" if score.experiment.section == "-" else f"{score.experiment.section}: "
    made = words.NOTHING
    if one.measured:
        runs = f"{one.measured.arm}+{one.measured.reference}"
        made = f"{_hours(one.measured.hours)} ({runs}{'' if one.measured.decided else ', undecided'})"
    return [
        f"{section}{words.subject(claim.arm, claim.reference)}, {words.metric(score.metric)}",
        f"{one.setting}{'*' if one.simulated else ''}",
        words.quantity(size, unit),
        words.NOTHING if one.spread is None else f"{one.spread:.2f}",
        _hours(one.hours),
        made,
        words.NOTHING if one.search is None else _hours(one.search),
        *(_share(one, design) for design in DESIGNS),
    ]


def _share(one: Price, design: DesignName) -> str:
    runs = one.designs.get(design)
    if runs is None:
        return words.NOTHING
    return "too many" if math.isinf(runs) else f"{_hours(runs * one.hours)} ({runs:.3g})"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _hours_by_setting(found: Iterable[Price]) -> dict[str, list[float]]:
    hours = defaultdict(list)
    for one in found:
        if not one.simulated:
            hours[one.setting].append(one.hours)
    return hours
