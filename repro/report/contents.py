"""What stands on the pages, as plain values that every format prints: tables, lists, marks."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repro.config import keys, presets
from repro.experiments import arithmetic, paper
from repro.experiments.experiment import Claim
from repro.planning.search import criterion, mean_criterion
from repro.records import RunRecord
from repro.report import words
from repro.report.figures import Mark
from repro.report.gather import Gathered, Part, Score, counted_scores
from repro.report.tables import ReportTable
from repro.stats import Interval, Judgement
from repro.stats.looks import most_looked_at
from repro.stats.rule import TOLERANCE
from repro.stats.values import VERDICTS
from repro.terms import ERRORS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def n_of(part: Part, arm: str) -> str:
    """`3 of 5`: finished runs of an arm among those asked for."""
    return f"{len(part.runs[arm])} of {len(part.setting.seeds_for(arm))}" if arm in part.runs else words.NOTHING


def setting_line(part: Part) -> str:
    """`cifar10, 10 classes, crops of 24 pixels, at most 30 epochs`: what a verdict of this setting holds for."""
    data, schedule = part.config.data, part.config.schedule
    images = f"{data.source}, {data.classes} classes, crops of {part.config.augment.crop} pixels"
    return f"{images}, at most {schedule.epochs} epochs"


def progress(part: Part) -> str:
    """`6 of 24 runs are finished`."""
    return f"{part.finished} of {words.count(part.asked, 'run')} {'is' if part.asked == 1 else 'are'} finished"


def unfinished(part: Part) -> str:
    """` (1 begun; 6 arms wait for their search)`, or nothing."""
    begun, waiting = sum(part.begun.values()), len(part.waiting)
    told = [f"{begun} begun"] if begun else []
    if waiting:
        told.append(f"{words.count(waiting, 'arm')} {'waits for its' if waiting == 1 else 'wait for their'} search")
    return f" ({'; '.join(told)})" if told else ""


def setting_names(gathered: Gathered) -> list[tuple[str, str, str]]:
    """Name of each setting for people, what it stands for, and the name that files have where it is another:
    `("cifar10-20ep", "20 epochs; preset cifar10 with schedule.epochs = 20", "cifar10+1e8217")`."""
    return [
        (
            part.label,
            f"{f'{part.explained}; ' if part.explained else ''}preset {part.setting.preset}"
            f"{f' with {words.changes(part.setting.changes)}' if part.setting.changes else ''}",
            part.setting.name if part.called else "",
        )
        for _, part in sorted({part.setting.name: part for part in gathered.parts}.items())
    ]


def views(part: Part) -> str:
    """The views that the table of arms shows errors of: `ten views`, or each arm's where they differ."""
    of = dict(zip(part.summary["arm"], part.summary["view"], strict=True))
    if len(set(of.values())) == 1:
        return words.view(next(iter(of.values())))
    return ", ".join(f"{words.view(view)} ({arm})" for arm, view in of.items())


def command(part: Part) -> str:
    """The line that does the setting again."""
    if part.setting.frozen:
        return f"repro run --plan results/plans/{part.setting.frozen}.json"
    at = ["--setting", part.called] if part.called else ["--preset", part.setting.preset]
    words_of_it = ["repro", "run", part.experiment.name, *at, "--seeds", str(part.setting.seeds)]
    if part.setting.design:
        words_of_it = [*words_of_it[:-2], "--design", part.setting.design]
    if most := most_looked_at(part.setting.looks):
        words_of_it += ["--until-decided", "--max-seeds", str(most)]
    if part.setting.untuned or (part.experiment.search and not part.setting.searches):
        words_of_it.append("--untuned")
    for key, value in () if part.called else part.setting.changes.items():
        words_of_it += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words_of_it)


def verdict(judgement: Judgement | None) -> str:
    """The verdict, marked where it hinges on the learning rate that both arms have."""
    if judgement is None:
        return "not evaluated"
    return f"{judgement.verdict}, depends on the learning rate" if judgement.depends_on_rate else judgement.verdict


def leading(parts: Sequence[Part]) -> Part | None:
    """The setting that a page begins with: the largest with a verdict on arms that were tuned, else one with runs that
    a frozen plan asked for, else the largest with any verdict, else the largest; None where there is none."""

    def rank(part: Part) -> int:
        verdicts = {one.verdict for one in part.judgements if one.claim} - {"not evaluated"}
        if verdicts - {"not tuned"}:
            return 0
        return 1 if part.setting.frozen and part.finished else 2 if verdicts else 3

    return min(parts, key=rank, default=None)


def headlines(part: Part) -> list[tuple[str, str]]:
    """Verdict and sentence for the primary number of each claim that has one of ours."""
    found = []
    for one in part.judgements:
        if one.claim is None or one.metric != one.claim.primary or one.estimate is None:
            continue
        sentence = (
            f"{words.subject(one.arm, one.reference)}, {words.metric(one.metric)} "
            f"{words.with_interval(one.estimate, one.unit)} ({runs_of(one)}); published: "
            f"{words.published(one.claim, one.metric)}, {one.claim.source}."
        )
        waits = " The verdict waits for the runs that are not there yet." if one.waits else ""
        found.append((verdict(one), sentence + waits))
    return found


def runs_of(one: Judgement) -> str:
    """`5 and 15 runs`: of the arm and of its reference."""
    if one.effect is None or one.effect.paired:
        return words.count(one.seeds, "run")
    return f"{' and '.join(map(str, one.effect.runs))} runs"


def arms_table(part: Part) -> ReportTable:
    """A row an arm: its runs, its errors, beside each metric the effect on it, and the verdicts of its claims."""
    first = str(part.summary["arm"].iloc[0]) if len(part.summary) else ""
    effects: dict[tuple[str, str], list[Judgement]] = {}
    for one in part.judgements:
        if one.reference is not None and one.estimate is not None:
            effects.setdefault((one.arm, one.metric), []).append(one)
    measured = [metric for metric in ERRORS if part.summary[f"{metric}_mean"].notna().any()]
    metrics = list(dict.fromkeys([*measured, *(metric for _, metric in effects)]))
    columns = ["arm", "runs"]
    for metric in metrics:
        unit = next((of[0].unit for (_, each), of in effects.items() if each == metric), None)
        columns += [f"{words.metric(metric)} (%)"] if metric in measured else []
        columns += [f"{words.metric(metric).removesuffix(' error')}: effect ({unit})"] if unit else []
    rows = []
    for row in part.summary.to_dict("records"):
        arm, cells = row["arm"], [row["arm"], n_of(part, row["arm"])]
        for metric in metrics:
            if metric in measured:
                cells.append(words.mean_and_spread(row.get(f"{metric}_mean"), row.get(f"{metric}_sd")))
            if any(each == metric for _, each in effects):
                cells.append("\n".join(_effect_cell(one, first) for one in effects.get((arm, metric), ())))
        rows.append([*cells, _verdicts(part, arm)])
    caption = f"{part.experiment.question} Preset {part.setting.preset}; mean ± standard deviation over n runs."
    return ReportTable(
        f"{part.setting.name}-arms", caption, [*columns, "verdict"], rows, _with_units(part.summary),
        frozenset(range(2, len(columns))),
    )  # fmt: skip


def _effect_cell(one: Judgement, first: str) -> str:
    """`+1.40 [+0.90, +1.90]`, with the reference where that is not the first arm."""
    assert one.estimate is not None
    shown = words.with_interval(one.estimate, one.unit).replace(f" {one.unit}", "", 1)
    return shown if one.reference == first else f"{shown} against {one.reference}"


def _verdicts(part: Part, arm: str) -> str:
    """The verdict of the primary number of each claim on an arm, a line each."""
    mine = [one for one in part.judgements if one.claim and one.arm == arm and one.metric == one.claim.primary]
    several = len({(one.metric, one.reference) for one in mine}) > 1
    lines = dict.fromkeys(
        f"{words.metric(one.metric).removesuffix(' error')}, against {one.reference}: {verdict(one)}"
        if several
        else verdict(one)
        for one in mine
    )
    return "\n".join(lines) or words.NOTHING


def _with_units(summary: pd.DataFrame) -> pd.DataFrame:
    """The same columns, units in their names: `top1_error_percent_mean`, `gap_points_sd`."""
    units = {"error": "error_percent", "gap": "gap_points"}

    def renamed(column: str) -> str:
        metric, _, statistic = column.rpartition("_")
        head, _, last = metric.rpartition("_")
        return "_".join(filter(None, (head, units.get(last, last), statistic)))

    return summary.rename(columns=renamed)


def claims_table(part: Part) -> ReportTable:
    """A row a number of a claim, or an effect no claim names."""
    rows = [
        [
            words.subject(one.arm, one.reference),
            words.metric(one.metric),
            words.NOTHING if one.claim is None else words.published(one.claim, one.metric),
            words.with_interval(one.estimate, one.unit),
            str(one.seeds),
            words.NOTHING if one.claim is None else verdict(one),
            words.NOTHING if one.claim is None else part.standing.of(one),
            words.probability(one.holm_p),
            words.NOTHING if one.seeds_needed is None else str(one.seeds_needed),
        ]
        for one in part.judgements
    ]
    columns = ["what", "metric", "published", "ours [95% interval]", "n", "verdict", "standing", "p (Holm)", "n needed"]
    caption = f"{part.experiment.question} Preset {part.setting.preset}; effects in points, arm minus reference."
    return ReportTable(
        f"{part.setting.name}-claims", caption, columns, rows, judgements_frame([part]), frozenset({2, 3, 4, 7, 8})
    )


def judgements_frame(parts: Iterable[Part]) -> Any:
    """Raw numbers of judgements, a row each."""
    import pandas as pd

    columns = [
        "experiment", "preset", "setting", "arm", "reference", "metric", "unit", "published", "estimate", "low", "high",
        "method", "n", "verdict", "standing", "same_setting", "p", "holm_p", "seeds_needed",
    ]  # fmt: skip
    rows = [
        [
            part.experiment.name, part.setting.preset, part.setting.name, one.arm, one.reference, one.metric, one.unit,
            one.published, *_four(one.estimate), one.seeds, one.verdict if one.claim else None,
            part.standing.of(one) if one.claim else None, one.same_setting,
            one.effect.p if one.effect else None, one.holm_p, one.seeds_needed,
        ]
        for part in parts
        for one in part.judgements
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _four(estimate: Interval | None) -> tuple[float | str | None, ...]:
    return (estimate.mean, estimate.low, estimate.high, estimate.method) if estimate else (None,) * 4


def searched(part: Part) -> str:
    """What was searched for before the runs of a setting, by what it tried; nothing where there was no search."""
    search = part.experiment.search
    if not search or not part.setting.searches:
        return ""
    tried = sorted({float(value) for of_arm in part.setting.searches.values() for value in of_arm})
    return (
        f"Searched first: `{search.key}` among {', '.join(map(str, tried))}, for each arm on its own, by "
        f"{words.metric(search.metric)} at seed{'s' * (len(part.setting.search_seeds) > 1)} "
        f"{' and '.join(map(str, part.setting.search_seeds))}, not of the comparison."
    )


def search_table(part: Part) -> ReportTable:
    """What each arm's search tried, and which value it took; no rows where there was no search."""
    import pandas as pd

    search = part.experiment.search
    metrics = list(dict.fromkeys([search.metric, "train_error"])) if search else []  # the second decides a tie
    rows, raw = [], []
    for arm, tried in part.searches.items():
        for value, tries in tried.items():
            taken = part.chosen[arm] == float(value)
            found = [[None if run is None else criterion(run, metric) for run in tries] for metric in metrics]
            scored = (", ".join(map(_scored, tries, of_metric)) for of_metric in found)
            rows.append([arm, value, *scored, _taken(float(value), tried) if taken else ""])
            means = (mean_criterion(of_metric) for of_metric in found)
            raw.append([arm, float(value), *means, None not in tries, taken])
    key, length = (search.key, f" of at most {search.epochs} epochs" if search.epochs else "") if search else ("", "")
    frame = pd.DataFrame(raw, columns=["arm", "value", *metrics, "finished", "taken"])
    runs = f"a run a value and seed{length}"
    caption = f"The search of {part.experiment.name} for {key} at preset {part.setting.preset}, {runs}."
    columns = ["arm", key, *map(words.metric, metrics), ""]
    return ReportTable(
        f"{part.setting.name}-search", caption, columns, rows, frame, frozenset(range(1, 2 + len(metrics)))
    )


def _taken(value: float, tried: Iterable[str]) -> str:
    """`taken`; of the first or the last of the values tried, what that leaves open."""
    values = sorted(map(float, tried))
    edge = {values[0]: "smallest", values[-1]: "largest"}.get(value) if len(values) > 1 else None
    return f"taken, the {edge} tried: a better one may lie beyond" if edge else "taken"


def _scored(run: RunRecord | None, found: float | None) -> str:
    if run is None:
        return "not finished"
    return words.number(found) if found is not None else "diverged" if run.diverged else "never reached"


def tests_table(part: Part) -> ReportTable:
    """What other tests say of each effect, a row each; docs/verdicts.md has what to mind about them."""
    import pandas as pd

    rows, raw = [], []
    for one in part.judgements:
        effect = one.effect
        if effect is None or effect.t_interval is None:
            continue
        smallest = words.probability(effect.permutation_p_smallest)
        rows.append(
            [
                words.subject(one.arm, one.reference),
                words.metric(one.metric),
                *(", ".join(words.number(value) for _, value in side) for side in (effect.of_arm, effect.of_reference)),
                words.with_interval(effect.t_interval, one.unit),
                words.with_interval(effect.one_pair, one.unit),
                words.probability(effect.mcnemar_p),
                words.NOTHING
                if effect.permutation_p is None
                else f"{words.probability(effect.permutation_p)} ({smallest})",
                words.probability(effect.probability_of_improvement),
            ]
        )
        raw.append(
            [
                one.arm, one.reference, one.metric, one.unit, *_four(effect.t_interval)[:3],
                *_four(effect.one_pair)[1:3], effect.p, effect.mcnemar_p, effect.permutation_p,
                effect.permutation_p_smallest, effect.probability_of_improvement,
            ]
        )  # fmt: skip
    columns = [
        "what", "metric", "runs of the arm",
        "runs of the reference", "t-interval over runs", "one more pair", "McNemar p",
        "permutation p (smallest possible)", "probability of improvement",
    ]  # fmt: skip
    names = [
        "arm", "reference", "metric", "unit", "t_mean", "t_low", "t_high", "one_pair_low", "one_pair_high", "p",
        "mcnemar_p", "permutation_p", "permutation_p_smallest", "probability_of_improvement",
    ]  # fmt: skip
    caption = f"Other tests of {part.experiment.name} at preset {part.setting.preset}; effects are arm minus reference."
    frame = pd.DataFrame(raw, columns=names)
    return ReportTable(f"{part.setting.name}-tests", caption, columns, rows, frame, frozenset(range(2, 9)))


def cost_table(part: Part) -> ReportTable:
    """Time of the finished runs, an arm a row, and one for those of the search."""
    import pandas as pd

    rows, raw = [], []
    tried = {run.key: run for of_arm in part.searches.values() for runs in of_arm.values() for run in runs if run}
    for arm, runs in [*part.runs.items(), ("search", list(tried.values()))]:
        if not runs:
            continue
        seconds = [run.seconds for run in runs]
        speed = [run.images_per_second for run in runs]
        cores = sum(run.seconds * _threads(run) for run in runs) / 3600
        epochs = sum(run.epochs for run in runs) / len(runs)
        mean, rate = sum(seconds) / len(runs), sum(speed) / len(runs)
        rows.append([arm, str(len(runs)), f"{epochs:.1f}", words.duration(mean), f"{rate:,.0f}", f"{cores:.2f}"])
        raw.append([arm, len(runs), epochs, mean, rate, cores])
    columns = ["arm", "runs", "epochs a run", "time a run", "images per second", "core-hours in all"]
    names = ["arm", "runs", "epochs_mean", "seconds_mean", "images_per_second_mean", "core_hours"]
    frame = pd.DataFrame(raw, columns=names)
    caption = f"Cost of {part.experiment.name} at preset {part.setting.preset}: training alone, without the tests."
    return ReportTable(f"{part.setting.name}-cost", caption, columns, rows, frame, frozenset(range(1, 6)))


def color_selectivity(kernels: np.ndarray) -> np.ndarray:
    """Share of each kernel's energy that is color, (maps,) from 0 to 1, of first-layer weights (maps, 3, k, k).

    Gray is what the three channels have in common at a position, color what is left: 0 for a kernel that sees no color,
    1 for one that sees nothing else. The measure is ours; section 6.1 gives none.
    """
    import numpy as np

    color = kernels - kernels.mean(axis=1, keepdims=True)
    energy: np.ndarray = (kernels**2).sum(axis=(1, 2, 3))
    share: np.ndarray = (color**2).sum(axis=(1, 2, 3)) / np.maximum(energy, 1e-30)
    return share


def selectivity_table(part: Part, kernels: Mapping[str, Sequence[np.ndarray]]) -> ReportTable:
    """How color-selective each tower is, an arm a row, from the first-layer kernels (maps, 3, k, k) of its runs."""
    import numpy as np
    import pandas as pd

    from repro.stats.kernels import tower_difference

    rows: list[list[str]] = []
    raw: list[list[Any]] = []
    for arm, of_runs in kernels.items():
        halves = [np.split(color_selectivity(each), 2) for each in of_runs]
        towers = [(float(one.mean()), float(two.mean())) for one, two in halves]
        if towers:
            apart = [abs(one - two) for one, two in towers]
            numbers = [*np.transpose(towers), apart]
            spread = [float(np.std(values, ddof=1)) if len(towers) > 1 else None for values in numbers]
            means = [float(np.mean(values)) for values in numbers]
            told = tower_difference([color_selectivity(each) for each in of_runs])
            pairs = zip(means, spread, strict=True)
            cells = [f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}" for mean, sd in pairs]
            cells += [f"{told.significant} of {len(towers)}", words.probability(told.combined_p)]
            rows.append([arm, str(len(towers)), *cells])
            raw.append([arm, len(towers), *means, told.significant, told.combined_p])
    columns = ["arm", "runs", "tower 1", "tower 2", "apart (absolute)", "runs with p < 0.05", "p, all runs"]
    names = [
        "arm", "runs", "tower_1_share_mean", "tower_2_share_mean", "apart_share_mean", "runs_significant", "combined_p",
    ]  # fmt: skip
    caption = (
        "Color selectivity of the first layer: the share of the kernels' energy that is color (0: none, 1: all). "
        "p: by permutation of the kernels over the towers."
    )
    frame = pd.DataFrame(raw, columns=names)
    return ReportTable(f"{part.setting.name}-selectivity", caption, columns, rows, frame, frozenset(range(1, 7)))


def exchange_table(part: Part) -> ReportTable:
    """What the two towers fetch from each other, a row a layer: by our graph here and at full size, and by section 3.5.

    A table without rows unless the experiment asks about the towers. tests/test_towers.py counts the same bytes in the
    tensors of a forward pass.
    """
    import pandas as pd

    columns = ["layer", "bytes of an image, here", "at full size", "section 3.5"]
    names = ["layer", "bytes_here", "bytes_full_size", "reads_both_towers_in_the_paper"]
    raw: list[tuple[str, int, int, bool]] = []
    if part.experiment.factor == "model.towers":
        full = {shape.name: 4 * shape.floats_exchanged for shape in presets.code_2012().shapes()}
        for shape in part.config.shapes():
            there = full.get(shape.name, 0)
            raw.append((shape.name, 4 * shape.floats_exchanged, there, there > 0))
    rows = [[name, f"{here:,}", f"{big:,}", "reads both" if both else "reads its own"] for name, here, big, both in raw]
    caption = "Bytes of one image that cross between the towers in a forward pass; the backward pass returns as many."
    frame = pd.DataFrame(raw, columns=names)
    return ReportTable(f"{part.setting.name}-exchange", caption, columns, rows, frame, frozenset({1, 2}))


def _threads(run: RunRecord) -> int:
    return int(run.about("hardware").get("threads") or 1)


def setting_table(part: Part) -> ReportTable:
    """What differs from the paper's setting: keys of the Config, those of layers gathered in one row a key."""
    import pandas as pd

    changed = keys.diff(presets.paper(), part.config)
    changed = {key: pair for key, pair in changed.items() if not key.startswith("eval.")}
    rows = [[key, _short(before), _short(here)] for key, (before, here) in condense(changed).items()]
    frame = pd.DataFrame(rows, columns=["key", "paper", "here"])
    caption = f"What differs from the paper's setting at preset {part.setting.preset}, before any arm's own changes."
    return ReportTable(f"{part.setting.name}-setting", caption, ["key", "paper", "here"], rows, frame)


def condense(changed: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """The same differences, gathered over layers: `{"maps of conv1, conv2": ("96, 256", "32, 64")}`.

    What matters to a reader comes first: data and crop, then the layers, then the rest.
    """
    layers: dict[str, dict[str, tuple[Any, Any]]] = {}
    rest: dict[str, tuple[Any, Any]] = {}
    for key, pair in changed.items():
        path = key.split(".")
        if key.startswith("model.layers.") and len(path) > 3:
            layers.setdefault(".".join(path[3:]), {})[path[2]] = pair
        else:
            rest[key] = pair
    gathered = {
        f"{key} of {', '.join(found)}": tuple(
            ", ".join(_short(pair[side]) for pair in found.values()) for side in (0, 1)
        )
        for key, found in layers.items()
    }
    first = ("data.", "augment.", "schedule.", "optim.")
    ordered = sorted(rest, key=lambda key: next((at for at, part in enumerate(first) if key.startswith(part)), 9))
    return {
        **{key: rest[key] for key in ordered if key.startswith(first)},
        **gathered,
        **{key: rest[key] for key in ordered if not key.startswith(first)},
    }


def _short(value: Any) -> str:
    """A value; of a part what tells it from others: `max 3 stride 2`, `lrn 5`."""
    if isinstance(value, Mapping):
        told = [value.get(key) for key in ("kind", "maps", "kernel", "size", "probability")]
        stride = [f"stride {value['stride']}"] if "stride" in value else []
        return " ".join([str(one) for one in told if one is not None] + stride)
    return "none" if value is None else words.plain(value)


def provenance(part: Part) -> list[tuple[str, str]]:
    """Where the numbers came from; each value with the number of runs where they are not all alike."""
    rows: dict[str, list[str]] = {}
    for run in part.records:
        git, hardware = run.about("git"), run.about("hardware")
        commit = git.get("commit") or "not in a checkout"
        accelerators = ", ".join(hardware.get("accelerators", [])) or "none"
        found = {
            "code": f"commit {commit[:12]}{', with changes not committed' if git.get('changed') else ''}",
            "packages": ", ".join(f"{name} {number}" for name, number in run.about("packages").items() if number),
            "Python": str(run.provenance.get("python", "not recorded")),
            "processor": f"{hardware.get('processor', 'not recorded')}; threads a run: {_threads(run)}",
            "accelerators": accelerators,
            "placement": run.placement,
            "precision": run.config["precision"],
            "data": f"{run.data.name}, digest {run.data.digest[:16]}",
        }
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
    return [(name, _counted(values)) for name, values in rows.items()]


def _counted(values: Sequence[str]) -> str:
    counts = Counter(values)
    if len(counts) == 1:
        return values[0]
    return "; ".join(f"{value} ({words.count(many, 'run')})" for value, many in sorted(counts.items()))


def section(score: Score) -> str:
    """`§3.3 `, or nothing where the question is not the paper's."""
    return "" if score.experiment.section == "-" else f"\N{SECTION SIGN}{score.experiment.section} "


def score_line(score: Score) -> str:
    """What one row of the scoreboard is about; for an error, where the published one was measured."""
    about = words.subject(score.claim.arm, score.claim.reference)
    return f"{about} ({score.claim.measured.text})" if not score.claim.row.paired else about


def effect_marks(part: Part) -> list[Mark]:
    """The rows of a setting's effect plot: every judgement that has an estimate."""
    return [
        Mark(
            f"{words.subject(one.arm, one.reference)}\n{words.metric(one.metric)} (n = {one.seeds})",
            one.unit,
            one.estimate,
            one.published,
            Score(part.experiment, one.claim, one.metric).noted if one.claim else None,
            one.claim is not None and one.claim.row.bound,
            one.same_setting if one.claim else None,
            _tolerance(one.claim, one.metric),
        )
        for one in part.judgements
        if one.estimate is not None
    ]


def _tolerance(claim: Claim | None, metric: str) -> float | None:
    """Points about a published error within which a whole interval counts as reproduced; None of a comparison."""
    return TOLERANCE.get(metric) if claim and claim.row.unit == "percent" else None


def tally(scores: Sequence[Score]) -> str:
    """How many of the numbers were evaluated, after what they are: `: 5 of 41 numbers evaluated`."""
    first = counted_scores(scores)
    evaluated = sum(score.verdict != "not evaluated" for score in first)
    return f": {evaluated} of {words.count(len(first), 'number')} evaluated"


def arithmetic_table() -> ReportTable:
    """The paper's numbers that its network decides, without a run."""
    import pandas as pd

    found = arithmetic.judged()
    wrong = sum(not one.holds for one in found)
    rows = [[one.what, one.source, one.printed, one.found, "holds" if one.holds else "does not hold"] for one in found]
    raw = [[one.what, one.source, one.printed, one.found, one.holds] for one in found]
    caption = f"Numbers that follow from the network, judged without a run: {wrong} of {len(found)} do not hold."
    columns = ["what", "source", "printed", "the network has", "verdict"]
    frame = pd.DataFrame(raw, columns=["what", "source", "printed", "found", "holds"])
    return ReportTable("arithmetic", caption, columns, rows, frame, frozenset({2, 3}))


def standing_line(part: Part) -> str:
    """Whether a frozen plan asked for the setting, and what differs from it."""
    plan, deviations = part.standing.plan, part.standing.deviations
    if not plan:
        return "Exploratory: no frozen plan asked for it before its runs were made."
    if not deviations:
        return f"Confirmatory: the plan `{plan}`, frozen before these runs, asked for it; its endpoints are marked."
    return f"Exploratory: it differs from the plan `{plan}` that asked for it: {'; '.join(deviations)}."


def controlled(scores: Sequence[Score]) -> str:
    """How the controls came out, after what they are: `: 1 as it must be, 1 undecided`."""
    first = [score for score in counted_scores(scores) if score.verdict != "not evaluated"]
    counts = Counter(
        "as it must be"
        if score.verdict in ("reproduced", "same direction")
        else "AGAINST what must be"
        if score.verdict == "contradicted" or (score.verdict == "not seen" and score.claim.kind != "no_effect")
        else "undecided"
        for score in first
    )
    return "".join(
        f"{', ' if place else ': '}{many} {what}" for place, (what, many) in enumerate(sorted(counts.items()))
    )


def forest_marks(scores: Sequence[Score]) -> list[Mark]:
    """The rows of the forest plot: one a claim, of its first metric (top-1 where it has that) that was measured."""
    rows: dict[int, Mark] = {}
    for score in counted_scores(score for score in scores if score.judgement and score.judgement.estimate):
        one, claim = score.judgement, score.claim
        assert score.setting and one and one.estimate
        if not claim.row.paired and not one.same_setting:
            continue  # an error on other data lies nowhere near; the table shows it with what differs
        label = f"{section(score)}{score_line(score)}, {words.metric(score.metric)}"
        label += f"\n{score.experiment.name}, {score.label} (n = {one.seeds}): {verdict(one)}"
        mark = Mark(
            label, one.unit, one.estimate, score.published, score.noted, claim.row.bound, one.same_setting,
            _tolerance(claim, score.metric), mark_key(score),
        )  # fmt: skip
        rows.setdefault(id(claim), mark)
    return [*rows.values(), *_unclaimed(scores)]


def _unclaimed(scores: Sequence[Score]) -> list[Mark]:
    """The top-1 effects of claimed arms whose claim is about another number: they may run against the paper."""
    counted = counted_scores(score for score in scores if score.judgement and score.judgement.estimate)
    found: dict[tuple[str, str, str | None], Mark] = {}
    for score in counted:
        claim, part = score.claim, score.part
        assert part is not None
        for one in part.judgements:
            same = (one.arm, one.reference) == (claim.arm, claim.reference)
            if same and one.claim is None and one.metric == "top1_error" and one.estimate:
                label = f"{section(score)}{words.subject(one.arm, one.reference)}, {words.metric(one.metric)}"
                label += f"\n{part.experiment.name}, {part.label} (n = {one.seeds}): no claim"
                mark = Mark(label, one.unit, one.estimate, None, same_setting=None)
                found.setdefault((part.experiment.name, one.arm, one.reference), mark)
    return list(found.values())


def summary(scores: Sequence[Score]) -> str:
    """How many comparisons were evaluated, with which verdicts, and what is left of them when so many were made."""
    scores = [score for score in scores if not score.claim.control]
    first = counted_scores(scores)
    counts = Counter(score.verdict for score in first)
    judged = len(first) - counts["not evaluated"]
    told = ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict] and verdict != "not evaluated"
    )
    elsewhere = sum(
        score.verdict != "not evaluated" and score.judgement is not None and not score.judgement.same_setting
        for score in first
    )
    if elsewhere:
        told += (
            f"; {'all' if elsewhere == judged else elsewhere} of them at another setting or on other data than claimed"
        )
    bare = sum(score.published is None for score in first)
    tested = [score.judgement.holm_p for score in scores if score.judgement and score.judgement.holm_p is not None]
    small = sum(p < 0.05 for p in tested)
    return (
        f"Of {len(first)} comparisons with what was published ({bare} of them with a direction only), {judged} were "
        f"evaluated{': ' + told if told else ''}. "
        + (f"Adjusted for {len(tested)} tests of no effect (Holm), {_have(small)} p below 0.05." if tested else "")
    ).strip()


def _have(count: int) -> str:
    return {0: "none has", 1: "1 has"}.get(count, f"{count} have")


def mark_key(score: Score) -> str:
    """What ties a row of the scoreboard to its mark in the forest; a name that HTML may have."""
    claim, setting = score.claim, score.setting.name if score.setting else ""
    of = f"{score.experiment.name}-{claim.arm}-{claim.reference or ''}-{score.metric}-{setting}"
    return re.sub(r"[^a-z0-9-]+", "-", of.lower())


def board_groups(scores: Sequence[Score]) -> list[list[Score]]:
    """The scores of each claim at each setting, or of a claim that has none; in the order of the scores."""
    groups: dict[tuple[int, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((id(score.claim), score.setting.name if score.setting else ""), []).append(score)
    return list(groups.values())


def evaluated(group: Sequence[Score]) -> bool:
    """Whether a number of a row of the scoreboard has a verdict."""
    return any(score.verdict != "not evaluated" for score in group)


def scoreboard(scores: Sequence[Score], name: str, caption: str, *, only: bool | None = None) -> ReportTable:
    """A row a claim and setting, verdict first; all metrics of a claim in one row. `only`: those that were evaluated,
    or those that were not."""
    rows = []
    for group in board_groups(scores):
        if only is not None and evaluated(group) is not only:
            continue
        first = group[0]
        link = f"[{first.experiment.name}]({first.experiment.name}.md)" if first.setting else first.experiment.name
        seeds = dict.fromkeys(str(score.judgement.seeds) for score in group if score.judgement)
        rows.append(
            [
                board_verdict(group),
                f"{section(first)}{link}",
                score_line(first),
                _lines(group, lambda score: words.published(score.claim, score.metric)),
                _lines(group, lambda score: words.quantity(score.noted, score.claim.row.unit)),
                _lines(group, _estimate),
                "\n".join(seeds) or words.NOTHING,
                f"`{first.label}`" if first.setting else words.NOTHING,
                board_standing(group),
            ]
        )
    return ReportTable(name, caption, BOARD, rows, scores_frame(scores), frozenset({6}))


BOARD = (
    "verdict", "experiment", "claim", "published", "2012 runs", "ours [95% interval]", "n", "setting", "standing",
)  # fmt: skip


def board_verdict(group: Sequence[Score]) -> str:
    """The verdict of a row, a line a metric where they differ."""
    verdicts = [verdict(score.judgement) for score in group]
    return verdicts[0] if len(set(verdicts)) == 1 else _lines(group, lambda score: verdict(score.judgement))


def board_standing(group: Sequence[Score]) -> str:
    """`confirmatory` or `exploratory`, of a row's primary number."""
    return next((score.standing for score in group if score.primary and score.standing), words.NOTHING)


def scores_frame(scores: Iterable[Score]) -> Any:
    """Raw numbers of the scoreboard, a row a number of a claim and setting."""
    import pandas as pd

    columns = [
        "section", "experiment", "arm", "reference", "metric", "unit", "source", "measured_on", "published",
        "run_notes_2012",
        "setting", "standing", "estimate", "low", "high", "method", "n", "verdict", "same_setting", "holm_p",
        "seeds_needed",
    ]  # fmt: skip
    rows = []
    for score in scores:
        claim, one = score.claim, score.judgement
        judged = (
            [one.seeds, one.verdict, one.same_setting, one.holm_p, one.seeds_needed] if one else [0, "not evaluated"]
        )
        rows.append(
            [
                score.experiment.section, score.experiment.name, claim.arm, claim.reference, score.metric,
                claim.row.unit, claim.source, claim.measured.text, score.published, score.noted,
                score.setting.name if score.setting else None, score.standing or None,
                *_four(one.estimate if one else None),
                *judged, *[None] * (5 - len(judged)),
            ]
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _estimate(score: Score) -> str:
    if score.judgement is None:
        return words.NOTHING
    return words.with_interval(score.judgement.estimate, score.judgement.unit)


def _lines(scores: Sequence[Score], text: Any) -> str:
    """A line a metric, named where there are several; one dash where there is nothing at all."""
    found = [text(score) for score in scores]
    if set(found) == {words.NOTHING}:
        return words.NOTHING
    if len(scores) == 1:
        return found[0] if scores[0].metric == "top1_error" else f"{words.metric(scores[0].metric)}: {found[0]}"
    return "\n".join(
        f"{words.metric(score.metric).removesuffix(' error')}: {line}"
        for score, line in zip(scores, found, strict=True)
    )


def paper_table(gathered: Gathered) -> ReportTable:
    """The paper's Tables 1 and 2 with ours beside: a row for each setting that asked for the same number."""
    import pandas as pd

    rows, raw = [], []
    for row in paper.TABLES:
        same = [
            score
            for score in gathered.scores
            if not score.claim.row.paired
            and row.top1_error is not None
            and score.claim.published == {"top1_error": row.top1_error, "top5_error": row.top5_error}
        ]
        by_setting = {(score.experiment.name, score.setting.name): score for score in same if score.setting}
        for score in by_setting.values() or [None]:
            mine = [
                one for one in same if score and one.setting == score.setting and one.experiment == score.experiment
            ]
            estimates = {one.metric: one.judgement.estimate for one in mine if one.judgement}
            ours = [words.with_interval(estimates.get(metric), "percent") for metric in ("top1_error", "top5_error")]
            where = f"{score.experiment.name}, `{score.label}`" if score and score.setting else words.NOTHING
            paper_says = [words.quantity(number, "percent", 1) for number in (row.top1_error, row.top5_error)]
            rows.append([row.table, row.who, row.measured, *paper_says, *ours, where])
            means = [
                estimate.mean if (estimate := estimates.get(metric)) else None
                for metric in ("top1_error", "top5_error")
            ]
            raw.append([row.table, row.who, row.measured, row.top1_error, row.top5_error, *means, where])
    columns = [
        "table",
        "model",
        "measured on",
        "top-1, paper",
        "top-5, paper",
        "top-1, ours",
        "top-5, ours",
        "our runs",
    ]
    names = [
        "table", "model", "measured_on", "paper_top1_error_percent", "paper_top5_error_percent", "top1_error_percent",
        "top5_error_percent", "runs",
    ]  # fmt: skip
    frame = pd.DataFrame(raw, columns=names)
    caption = "Tables 1 and 2 of the paper, ours beside them at the setting of our runs (errors in percent)."
    return ReportTable("paper-tables", caption, columns, rows, frame, frozenset({3, 4, 5, 6}))
