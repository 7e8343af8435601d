"""Everything a report shows, read once from results/: settings with their runs, judgements and settings."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from repro import index, store
from repro.config import config, keys, presets
from repro.experiments import paper
from repro.experiments.experiment import Claim, Experiment
from repro.planning.cost import images
from repro.planning.plan import configs, laid_out
from repro.planning.search import choose
from repro.planning.settings import FILE, named
from repro.records import RunRecord, Setting
from repro.report.standing import NO_PLAN, Standing, standing
from repro.terms import FEWEST_SEEDS

if TYPE_CHECKING:
    import pandas as pd

    from repro.stats import DesignJudgement, Judgement
    from repro.stats.curves import Specification

Value = TypeVar("Value")
PAPER = ("section ", "Table ", "Figure ", "footnote ")  # begin the source of a claim that stands in the paper


@dataclass(frozen=True)
class Part:
    """One setting with what came out of it."""

    experiment: Experiment
    setting: Setting  # without the arms that are `outdated`
    config: config.Config  # the preset with the setting's changes, before any arm's own
    runs: Mapping[str, Sequence[RunRecord]]  # arm -> finished runs, by seed
    begun: Mapping[str, int]  # arm -> runs that have epochs but no record yet
    searches: Mapping[str, Mapping[str, Sequence[RunRecord | None]]]  # arm -> tried value -> its runs
    chosen: Mapping[str, float | None]  # arm -> the value that its search found, None while it goes on
    curves: pd.DataFrame  # epochs of all finished runs: arm, seed, epoch (finished epochs, from 1), errors in percent
    summary: pd.DataFrame  # stats.arm_summary
    judgements: Sequence[Judgement]
    outdated: Mapping[str, str]  # arm -> why its runs are left out: it is declared otherwise by now
    damaged: Sequence[store.Damaged]
    design: DesignJudgement | None = None  # of a setting whose arms are the rows of a design
    specifications: Sequence[tuple[Claim, Specification]] = ()  # all ways to judge each claim
    standing: Standing = NO_PLAN  # what a frozen plan says of the setting
    called: str = ""  # the name that a person gave the setting, where one did
    explained: str = ""  # and what they say of it

    @property
    def label(self) -> str:
        """The setting's name for people; files, tables as CSV and addresses have `setting.name`."""
        return self.called or self.setting.name

    @property
    def finished(self) -> int:
        """Finished runs of all arms; a run that two arms share counts once."""
        return len({run.key for runs in self.runs.values() for run in runs})

    @property
    def asked(self) -> int:
        """Runs that the setting asks for; an arm whose Config is not known yet, or not any more, shares none."""
        declared = {arm.name for arm in self.experiment.arms_at(self.setting.preset)}
        unknown = len(self.waiting) + len(declared & self.outdated.keys())
        setting = self.setting
        known = {(digest, seed) for arm, digest in setting.arms.items() for seed in setting.seeds_for(arm)}
        return len(known) + unknown * setting.seeds

    @property
    def waiting(self) -> list[str]:
        """Arms that wait for their search."""
        return [arm for arm in self.setting.searches if arm not in self.setting.arms]

    @property
    def records(self) -> list[RunRecord]:
        """The finished runs, each once."""
        return list({run.key: run for runs in self.runs.values() for run in runs}.values())


@dataclass(frozen=True)
class Score:
    """One metric of one claim: the paper's number, and ours in one setting, or none."""

    experiment: Experiment
    claim: Claim
    metric: str
    part: Part | None = None
    judgement: Judgement | None = None

    @property
    def setting(self) -> Setting | None:
        """The setting of ours."""
        return self.part.setting if self.part else None

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.part.label if self.part else ""

    @property
    def primary(self) -> bool:
        """Whether the claim is counted by this number."""
        return self.metric == self.claim.primary

    @property
    def standing(self) -> str:
        """`confirmatory` or `exploratory`; empty where nothing was judged."""
        if self.part is None or self.judgement is None or self.verdict == "not evaluated":
            return ""
        return self.part.standing.of(self.judgement)

    @property
    def origin(self) -> str:
        """Who says so: the `paper`, its authors' run `notes`, or `others`."""
        if self.claim.source.startswith(PAPER):
            return "paper"
        return "notes" if self.claim.source.startswith("2012 run notes") else "others"

    @property
    def published(self) -> float | None:
        """The paper's number."""
        return self.claim.published[self.metric]

    @property
    def noted(self) -> float | None:
        """The 2012 run notes' number for the same thing: an error, or the difference of two."""
        notes: list[float | None] = [getattr(paper.RUNS[run], self.metric, None) for run in self.claim.runs]
        known = [note for note in notes if note is not None]
        if len(known) < len(notes):
            return None
        if not self.claim.row.paired:
            return known[0] if known else None
        return known[0] - known[1] if len(known) == 2 else None

    @property
    def rank(self) -> tuple[int, bool]:
        """How much there is to say, the least is the most: runs that suffice, by a plan that was frozen before others;
        runs that do not (yet); arms that were not tuned; nothing that was judged."""
        one = self.judgement
        if one is None or one.verdict == "not evaluated":
            return 4, False
        few = one.waits or one.seeds < FEWEST_SEEDS
        return 2 * (one.verdict == "not tuned") + few, self.standing != "confirmatory"

    @property
    def verdict(self) -> str:
        """The verdict."""
        return self.judgement.verdict if self.judgement else "not evaluated"


@dataclass(frozen=True)
class Gathered:
    """All of it. `damaged` names what was left out and why, with paths relative to results/."""

    experiments: Sequence[Experiment]
    parts: Sequence[Part]
    scores: Sequence[Score]
    damaged: Sequence[store.Damaged]

    def of(self, name: str) -> list[Part]:
        """The settings of one experiment."""
        return [part for part in self.parts if part.experiment.name == name]


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: a million objects that all stay are otherwise searched again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def gather(experiments: Sequence[Experiment], results: Path) -> Gathered:
    """Read results/ once. What cannot be read is in `damaged`; nothing is raised for it."""
    from repro import stats

    settings, damaged = store.read_settings(results)
    try:
        names = {one.printed: one for one in named(results).values()}
    except ValueError as error:
        names = {}
        damaged.append(store.Damaged(results / FILE, str(error)))
    with _uncollected():
        records, broken = store.finished_runs(results)
    read = {record.key: record for record in records}
    of_digest = {record.digest: record for record in records}
    known = {experiment.name: experiment for experiment in experiments}
    parts = []
    for setting in settings:
        path = store.setting_path(results, setting)
        if setting.experiment not in known:
            damaged.append(
                store.Damaged(path, f"no experiment {setting.experiment!r} is registered; give its --include")
            )
            continue
        try:
            part = _part(known[setting.experiment], setting, read, of_digest, broken, results)
            if given := names.get(setting.name):
                part = replace(part, called=given.name, explained=given.text)
            parts.append(part)
        except ValueError as error:
            damaged.append(store.Damaged(path, str(error)))
    index.of(results).save()
    parts.sort(key=_order)
    counted = [one for score in counted_scores(_scores(experiments, parts)) if (one := score.judgement)]
    adjusted = {id(one): after for one, after in zip(counted, stats.holm(counted), strict=True)}
    parts = [replace(part, judgements=[adjusted.get(id(one), one) for one in part.judgements]) for part in parts]
    left_out = [_relative(each, results) for each in damaged + broken]
    left_out += [each for part in parts for each in part.damaged]
    return Gathered(experiments, parts, _scores(experiments, parts), list(dict.fromkeys(left_out)))


def _order(part: Part) -> tuple[str, int, int, str]:
    """Settings of an experiment from the largest setting, in images trained on, down; then as the presets are
    listed."""
    trained_on = images(part.config, None)[0] * part.config.schedule.epochs
    return (part.experiment.name, -trained_on, list(presets.PRESETS).index(part.setting.preset), part.setting.name)


def _part(
    experiment: Experiment,
    setting: Setting,
    read: Mapping[tuple[str, int], RunRecord],
    of_digest: Mapping[str, RunRecord],
    broken: Sequence[store.Damaged],
    results: Path,
) -> Part:
    from repro import stats
    from repro.stats.evidence import Runs
    from repro.stats.specifications import specifications

    base = keys.override(presets.preset(setting.preset), setting.changes)
    if setting.design:
        (experiment,) = laid_out([experiment], setting.preset, setting.design)
    searches: dict[str, dict[str, list[RunRecord | None]]] = {}
    chosen: dict[str, float | None] = {}
    if search := experiment.search:
        for arm, tried in setting.searches.items():
            seeds = setting.search_seeds
            searches[arm] = {value: [read.get((digest, seed)) for seed in seeds] for value, digest in tried.items()}
            chosen[arm] = choose(search, searches[arm])
    outdated = _outdated(experiment, setting, of_digest)
    setting = replace(setting, arms=_without(setting.arms, outdated), searches=_without(setting.searches, outdated))
    runs, begun = {}, {}
    for arm, digest in setting.arms.items():
        runs[arm] = [read[digest, seed] for seed in setting.seeds_for(arm) if (digest, seed) in read]
        missing = [seed for seed in setting.seeds_for(arm) if (digest, seed) not in read]
        begun[arm] = sum((store.run_directory(results, digest, seed) / "metrics.jsonl").is_file() for seed in missing)
    damaged = [store.Damaged(store.setting_path(results, setting), reason) for reason in outdated.values()]
    ours = {*setting.arms.values(), *(name for tried in setting.searches.values() for name in tried.values())}
    damaged += [each for each in broken if each.path.parent.parent.name in ours]
    frame, short = _curves(setting, runs, results)
    distinct = {run.key: run for of_arm in runs.values() for run in of_arm}  # arms share runs
    known = index.of(results)
    looked = [
        known.checked(run, f"predictions-{view}.npz", partial(store.damaged_predictions, results, run, view))
        for run in distinct.values()
        for view in run.errors
    ]
    for artifact in experiment.artifacts:
        name = f"{artifact}.{'npy' if artifact == 'kernels' else 'npz'}"
        wrong = [
            known.checked(run, name, partial(store.damaged_artifact, results, *run.key, artifact, run))
            for run in distinct.values()
        ]
        looked += [store.Damaged(Path(line.split(": ")[0]), line) for line in wrong if line]
    damaged += [*short, *(each for each in looked if each)]
    evidence = Runs(experiment, setting, results, read)  # predictions are read once for all that follows
    return Part(
        experiment,
        setting,
        base,
        runs,
        begun,
        _without(searches, outdated),
        _without(chosen, outdated),
        frame,
        stats.arm_summary(experiment, setting, results, evidence),
        stats.judge(experiment, setting, results, evidence),
        outdated,
        [_relative(each, results) for each in dict.fromkeys(damaged)],
        stats.judge_design(experiment, setting, results, evidence) if setting.design else None,
        specifications(experiment, setting, results, evidence),
        standing(experiment, setting, results),
    )


def _outdated(experiment: Experiment, setting: Setting, of_digest: Mapping[str, RunRecord]) -> dict[str, str]:
    """Arms of a setting whose runs are not those that the experiment declares by now, each with what to say of it.

    A page describes runs by the declaration, so it must not show those of another. The setting says what was declared
    when it was asked for; where an old one does not, a run of each Config does, which `of_digest` has.
    """
    today = configs(experiment, setting.preset, setting.changes, tuned=bool(setting.searches))
    found = {}
    for arm in {**setting.arms, **setting.searches}:
        if arm not in today:
            found[arm] = f"arm {arm!r} is not declared any more"
            continue
        if arm in setting.declared:
            same = setting.declared[arm] == config.digest(today[arm], "")
        else:
            searched = experiment.search.key if experiment.search and setting.searches.get(arm) else None
            run = of_digest.get(setting.arms.get(arm, ""))
            same = run is None or _same(today[arm], run, searched)
        if not same:
            found[arm] = f"arm {arm!r} is declared otherwise since these runs; run it again"
    return found


def _same(settings: config.Config, run: RunRecord, searched: str | None) -> bool:
    """Whether a run had these settings, but for what its arm's search chose. Keys that came into the Config since then
    had their default; of a run that has a key which is gone by now, nobody can say."""
    try:
        before = config.from_dict(run.config)
    except ValueError:
        return True
    if searched:
        settings = keys.override(settings, {searched: keys.flatten(before)[searched]})
    return config.digest(before, "") == config.digest(settings, "")


def _without(values: Mapping[str, Value], left_out: Container[str]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if name not in left_out}


CURVES = ("epoch", "train_error", "test_top1_error")


def _curves(
    setting: Setting, runs: Mapping[str, Sequence[RunRecord]], results: Path
) -> tuple[pd.DataFrame, list[store.Damaged]]:
    """Part.curves, and the files that lack epochs which their runs had: those are left out of it."""
    import pandas as pd

    first: dict[tuple[str | int, ...], str] = {}  # arms that read the same runs, by another view, are one line
    for arm, digest in setting.arms.items():
        first.setdefault((digest, *setting.own_seeds.get(arm, ())), arm)
    arms: list[str] = []
    seeds: list[int] = []
    values: dict[str, list[float | None]] = {name: [] for name in CURVES}
    damaged = []
    for arm in first.values():
        for run in runs[arm]:
            epochs = store.read_metrics(results, *run.key, run)
            if len(epochs) != run.epochs:
                path = store.run_directory(results, *run.key) / "metrics.jsonl"
                damaged.append(store.Damaged(path, f"{len(epochs)} of {run.epochs} epochs can be read"))
                continue
            arms += [arm] * len(epochs)
            seeds += [run.seed] * len(epochs)
            for name, column in values.items():
                column += [getattr(epoch, name) for epoch in epochs]
    frame = pd.DataFrame({"arm": arms, "seed": seeds, **values})
    return frame.astype({"epoch": int, "train_error": float, "test_top1_error": float}), damaged


def _scores(experiments: Iterable[Experiment], parts: Iterable[Part]) -> list[Score]:
    scores = []
    of = defaultdict(list)
    for part in parts:
        of[part.experiment.name].append(part)
    for experiment in sorted(experiments, key=lambda each: (_section(each.section), each.name)):
        for claim in experiment.claims:
            for metric in claim.published:
                found = [
                    Score(experiment, claim, metric, part, judgement)
                    for part in of[experiment.name]
                    for judgement in part.judgements
                    if judgement.claim == claim and judgement.metric == metric
                ]
                scores += found or [Score(experiment, claim, metric)]
    return scores


def counted_scores(scores: Iterable[Score]) -> list[Score]:
    """Of each number of a claim the score that counts: at the largest setting among those with the most to say."""
    best: dict[tuple[int, str], Score] = {}
    for score in scores:
        key = (id(score.claim), score.metric)
        if key not in best or score.rank < best[key].rank:
            best[key] = score
    return list(best.values())


def _section(section: str) -> tuple[int, ...]:
    """Sections in the paper's order; readers' questions ("-") come last."""
    return tuple(int(part) for part in section.split(".")) if section[0].isdigit() else (99,)


def _relative(damaged: store.Damaged, results: Path) -> store.Damaged:
    """Reports must not depend on where results/ is."""
    path = damaged.path.relative_to(results)
    reason = damaged.reason.removeprefix(f"{damaged.path}: ").replace(f"{results}/", "")
    return store.Damaged(path, reason)
