"""From the finished runs of a setting to judgements: effects, intervals and verdicts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from repro.experiments.experiment import Arm, Claim, Experiment, Measured
from repro.records import Setting
from repro.stats.evidence import COUNTS, IMAGE_REPLICATES, Protocol, Runs
from repro.stats.looks import most_looked_at
from repro.stats.rule import ALPHA, MOST_GUESSES, NEGLIGIBLE, OVERFITS
from repro.stats.sequential import peeking_level, seeds_needed
from repro.stats.values import Effect, Interval, Judgement, Verdict
from repro.terms import EPOCHS_TO_BEST, EPOCHS_TO_TARGET, FEWEST_SEEDS, GAP, TRAINING_HOURS, View

if TYPE_CHECKING:
    import pandas as pd

    from repro.stats.intervals import Images

REDUCED = ("smoke", "cifar10", "tiny")  # presets that end so are smaller networks than any that was published
NOT_SAID = "not said"  # in the words of a Measured: the source does not say what a number was measured on
CHANGED = "changed: "  # begins the words for a value of the preset that a setting changed
CONFIDENCE = 1 - ALPHA  # of a single look
MANY_RUNS = 8  # from here on the interquartile mean leaves out something: two runs at each end


def judge(experiment: Experiment, setting: Setting, results: Path, runs: Runs | None = None) -> list[Judgement]:
    """A judgement for each number of each claim that makes sense at the setting's preset, in order; then the top-1
    effect of every other arm against the first, which no claim names.

    Reads the finished runs of the setting; `runs` saves reading them again where the caller has them.
    Partial settings are fine: seeds count that both arms have, and verdicts wait for all that were asked for. Where the
    setting was looked at more than once, intervals are wide enough to hold after every seed up to the most of its
    looks, and p is larger in proportion. A design has its own judgement (stats.designs), and none here.
    """
    if setting.design:
        return []
    runs = runs or Runs(experiment, setting, results)
    claims = experiment.claims_at(setting.preset)
    return [
        _judge_claim(runs, claim, metric, published)
        for claim in claims
        for metric, published in claim.published.items()
    ] + [_unclaimed(runs, arm, claims) for arm in _without_claim(experiment, setting, claims)]


def holm(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The same judgements with `holm_p`: their p values adjusted for testing so many claims at once (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than the one before it.
    Counted are primary numbers of claims of an effect, whose test is of none: give one setting of each claim. A claim
    that was not evaluated or not tuned, or whose runs are not all there, is none of them.
    """
    judgements = list(judgements)
    tested = sorted((p, at) for at, one in enumerate(judgements) if (p := tested_p(one)) is not None)
    adjusted = 0.0
    for place, (p, at) in enumerate(tested):
        adjusted = min(1.0, max(adjusted, (len(tested) - place) * p))
        judgements[at] = dataclasses.replace(judgements[at], holm_p=adjusted)
    return judgements


def tested_p(one: Judgement) -> float | None:
    """The p of no effect where a judgement is the test of a claimed one, else None."""
    if one.claim is None or one.claim.control or not one.primary or not one.claim.row.tested or one.waits:
        return None
    return one.effect.p if one.effect and one.verdict not in ("not evaluated", "not tuned") else None


def arm_summary(experiment: Experiment, setting: Setting, results: Path, runs: Runs | None = None) -> pd.DataFrame:
    """A row an arm: `arm`, `view`, `seeds`, `censored`, and of each metric `_mean`, `_sd` and, from 8 runs up, `_iqm`.

    Metrics: top1_error, top5_error, train_error (percent), gap (points), epochs_to_target (censored runs count with the
    epochs they had), seconds. An ensemble's `seeds` are its disjoint groups. What is missing is nan.
    """
    import pandas as pd

    runs = runs or Runs(experiment, setting, results)
    rows = []
    for arm in experiment.arms_at(setting.preset):
        view = _view(runs, [arm], _measured_view(experiment, setting))
        columns = {
            metric: list(runs.numbers(arm, metric, Protocol.of(view, arm)).values())
            for metric in ("top1_error", "top5_error", "train_error", GAP)
        }
        counts = list(runs.counts(arm, EPOCHS_TO_TARGET).values())
        own = [] if arm.ensemble else runs.records(arm)
        columns[EPOCHS_TO_TARGET] = [count.epochs for count in counts]
        columns["seconds"] = [record.seconds for record in own]
        row: dict[str, Any] = {
            "arm": arm.name,
            "view": arm.view or view,
            "seeds": len(columns["top1_error"]) if arm.ensemble else len(own),
            "censored": sum(count.censored for count in counts),
        }
        for metric, values in columns.items():
            row |= _summary(metric, values)
        rows.append(row)
    return pd.DataFrame(rows)


def _summary(metric: str, values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    cut = len(values) // 4 if len(values) >= MANY_RUNS else 0
    return {
        f"{metric}_mean": float(np.mean(values)) if values else math.nan,
        f"{metric}_sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        f"{metric}_iqm": float(np.mean(sorted(values)[cut:-cut])) if cut else math.nan,
    }


def _confidence(runs: Runs, arms: Sequence[Arm]) -> float:
    """Of an interval: wider where the setting is looked at more than once, by the simulation of pairs or of arms whose
    runs are independent."""
    most = most_looked_at(runs.setting.looks)
    if most is None:
        return CONFIDENCE
    if len(arms) < 2 or _same_runs(runs, *arms):
        return 1 - peeking_level(most)
    from repro.stats.independent import level_of_looks

    asked = len(runs.setting.seeds_for(arms[0].name)), len(runs.setting.seeds_for(arms[1].name))
    return 1 - level_of_looks(most, _contrasts(asked))


def _judge_claim(runs: Runs, claim: Claim, metric: str, published: float | None) -> Judgement:
    arms = [runs.experiment.arm(name) for name in claim.sides]
    confidence = _confidence(runs, arms)
    view = _view(runs, arms, claim.measured.view)
    unit = claim.row.unit
    differences = _differences(runs, arms, claim.measured, view, metric)
    blank = Judgement(
        claim, claim.arm, claim.reference, metric, unit, published, None, None, 0, "not evaluated", "", False,
        differences, failed=_failed(runs, arms),
    )  # fmt: skip
    if not claim.row.paired:
        assert published is not None
        return _judge_value(runs, blank, arms[0], view, published, confidence)
    effect = _effect(runs, arms[0], arms[1], metric, view, confidence)
    if effect.interval is None:
        reason = _untrained(runs, arms) or _missing(runs, arms, metric, view)
        return dataclasses.replace(blank, effect=effect, reason=reason)
    found = dataclasses.replace(blank, estimate=effect.interval, effect=effect, seeds=effect.seeds)
    if unfit := _unfit(runs, arms, claim, metric):
        return dataclasses.replace(found, reason=_reason(found, unfit, confidence))
    negligible = _negligible(runs.experiment, claim)
    waits = _waits(runs, arms)
    verdict, rule = _verdict(claim, metric, effect.interval, effect.seeds, negligible, here=not differences)
    if why := _untuned(runs, arms):
        verdict, rule = "not tuned", why
    elif waits and effect.seeds >= FEWEST_SEEDS:
        verdict, rule = "inconclusive", f"{waits}, and the verdict waits for all"
    common, common_verdict = None, None
    beside = f"{claim.arm}@{claim.reference}"
    if beside in runs.setting.common and not effect.paired:
        other = _effect(runs, dataclasses.replace(arms[0], name=beside), arms[1], metric, view, confidence)
        common = other.interval
        if common and other.seeds >= FEWEST_SEEDS and verdict not in ("not tuned",):
            common_verdict, _ = _verdict(claim, metric, common, other.seeds, negligible, here=not differences)
    needed = None
    if published and effect.spreads is not None and claim.row.power:
        needed = _needed(effect, math.log(published) if unit == "times" else published)
    found = dataclasses.replace(
        found,
        verdict=verdict,
        same_setting=not differences,
        waits=bool(waits),
        seeds_needed=needed,
        common=common,
        common_verdict=common_verdict,
    )
    return dataclasses.replace(found, reason=_reason(found, rule, confidence))


def _verdict(
    claim: Claim, metric: str, interval: Interval, seeds: int, negligible: float, *, here: bool
) -> tuple[Verdict, str]:
    """The verdict by the rule of the claim's kind; `here`: in the setting of the claim."""
    from repro.stats import verdict as rules

    found = claim.row.rule(interval, claim, metric, seeds, negligible)
    return found if here else rules.elsewhere(found)


def _negligible(experiment: Experiment, claim: Claim) -> float:
    """Points that are as good as none: NEGLIGIBLE, and at most half of the smallest effect that is claimed here."""
    claimed = [other.published.get("top1_error") for other in experiment.claims if other.row.sized]
    sizes = [abs(size) for size in claimed if size]
    return min([NEGLIGIBLE, *(size / 2 for size in sizes)])


def _unfit(runs: Runs, arms: Sequence[Arm], claim: Claim, metric: str) -> str | None:
    """Why the runs that are there cannot answer the claim, or None where they can."""
    if why := _untrained(runs, arms) or _scheduled(runs, arms, metric) or _one_device(runs, arms, metric):
        return why
    counts = [runs.failures(arm) for arm in arms]
    if all(total for _, total in counts):
        from repro.stats.endpoints import rates_differ_visibly

        (arm, reference) = counts
        if why := rates_differ_visibly(*arm, *reference):
            return why
    if metric == "top5_error":
        classes = [record.classes for arm in arms for record in runs.records(arm)]
        if classes and MOST_GUESSES * min(classes) < 5:
            return f"five guesses among {min(classes)} classes are more than a tenth of them"
    if claim.row.overfits:
        gaps = [list(runs.numbers(arm, GAP, Protocol("center")).values()) for arm in arms]
        widest = max(math.fsum(of_arm) / len(of_arm) for of_arm in gaps if of_arm)
        if widest < OVERFITS:
            return (
                f"both arms underfit: the wider gap between test and training error is {widest:.1f} points, and "
                f"overfitting is judged from {OVERFITS:g} on"
            )
    return None


def _untuned(runs: Runs, arms: Sequence[Arm]) -> str | None:
    """Why a comparison of two arms that are trained apart hinges on one rate for both; None where each has its own."""
    search = runs.experiment.search
    digests = {runs.digest(name) for arm in arms for name in (arm.ensemble.of if arm.ensemble else (arm.name,))}
    if len(digests) < 2 or any(arm.ensemble for arm in arms):
        return None
    if search is None or all(runs.is_tuned(arm.name) for arm in arms):
        return None
    return "not each arm had the search that is declared, and a rate that suits one may not suit the other"


def _waits(runs: Runs, arms: Sequence[Arm]) -> str:
    """`no-lrn has 4 of 6 runs`, for an arm whose runs are not all there; nothing where they are."""
    names = dict.fromkeys(name for arm in arms for name in (arm.ensemble.of if arm.ensemble else (arm.name,)))
    for name in names:
        asked = len(runs.setting.seeds_for(name))
        there = sum(runs.record(name, seed) is not None for seed in runs.setting.seeds_for(name))
        if there < asked:
            return f"{name} has {there} of the {asked} runs that were asked for"
    return ""


def _failed(runs: Runs, arms: Sequence[Arm]) -> tuple[tuple[str, int, int], ...]:
    counts = {arm.name: runs.failures(arm) for arm in arms}
    return tuple((name, failed, total) for name, (failed, total) in counts.items() if failed)


def _needed(effect: Effect, claimed: float) -> int | None:
    """Runs of the arm that tell the claimed effect from none, with as many of the reference in proportion as now."""
    assert effect.spreads is not None
    if effect.paired:
        return seeds_needed(effect.spreads[0], claimed, images=effect.of_images)
    from repro.stats.independent import runs_needed

    return runs_needed(*effect.spreads, claimed, contrasts=_contrasts(effect.runs), images=effect.of_images)


def _contrasts(runs: tuple[int, int]) -> int:
    """How many arms share the reference, judged by its number of runs."""
    arm, reference = runs
    return max(1, round((reference / arm) ** 2)) if arm else 1


def _judge_value(runs: Runs, blank: Judgement, arm: Arm, view: View, published: float, confidence: float) -> Judgement:
    """The mean error of an arm against a published one. Bound to its data, evaluation and setting: else not
    evaluated."""
    from repro.stats.intervals import RUNS_IN_WORDS, images_only, over_seeds

    protocol = Protocol.of(view, arm)
    assert blank.claim is not None
    values = list(runs.numbers(arm, blank.metric, protocol).values())
    if not values:
        reason = _untrained(runs, [arm]) or _missing(runs, [arm], blank.metric, view)
        return dataclasses.replace(blank, reason=reason)
    if len(values) >= FEWEST_SEEDS:
        estimate = over_seeds(values, confidence=confidence)
    else:
        tested = [runs.wrong(arm, blank.metric, protocol, at) for at in range(len(values))]
        images = _images([None if one is None else (one[0], 100 * one[1]) for one in tested], whole=True)
        if images:
            estimate = images_only(values, images, confidence=confidence)
        else:
            estimate = _open(values, RUNS_IN_WORDS[len(values)])
    found = dataclasses.replace(blank, estimate=estimate, seeds=len(values))
    if dead := _untrained(runs, [arm]):
        return dataclasses.replace(found, reason=_reason(found, dead, confidence))
    waits = _waits(runs, [arm])
    if blank.differences:
        verdict: Verdict = "not evaluated"
        rule = "an error is bound to its data, evaluation and setting, and these differ"
    else:
        verdict, rule = blank.claim.row.rule(estimate, blank.claim, blank.metric, len(values), 0.0)
        if waits and len(values) >= FEWEST_SEEDS:
            verdict, rule = "inconclusive", f"{waits}, and the verdict waits for all"
    found = dataclasses.replace(found, verdict=verdict, same_setting=not blank.differences, waits=bool(waits))
    return dataclasses.replace(found, reason=_reason(found, rule, confidence))


def effect_between(runs: Runs, arm: Arm, reference: Arm, metric: str, view: View) -> Effect:
    """The effect of one arm against another, whether or not a claim names the two; `view` is for arms that name none.
    Its interval is as wide as the looks at the setting ask."""
    return _effect(runs, arm, reference, metric, view, _confidence(runs, [arm, reference]))


def _unclaimed(runs: Runs, arm: Arm, claims: Sequence[Claim]) -> Judgement:
    first = runs.experiment.arms_at(runs.setting.preset)[0]
    view = _view(runs, [arm, first], claims[0].measured.view if claims else "center")
    effect = _effect(runs, arm, first, "top1_error", view, _confidence(runs, [arm, first]))
    reason = "no claim names it" if effect.interval else _missing(runs, [arm, first], "top1_error", view)
    return Judgement(
        None, arm.name, first.name, "top1_error", "points", None, effect.interval, effect,
        effect.seeds, "not evaluated", reason, False, (),
    )  # fmt: skip


def _without_claim(experiment: Experiment, setting: Setting, claims: Sequence[Claim]) -> list[Arm]:
    """Arms after the first whose top-1 effect no claim gives; a ratio's arms stop early, at an error set beforehand."""
    first, *others = experiment.arms_at(setting.preset)
    named = {claim.arm for claim in claims if "top1_error" in claim.published and claim.reference == first.name}
    named |= {name for claim in claims if EPOCHS_TO_TARGET in claim.published for name in claim.sides}
    return [arm for arm in others if arm.name not in named]


def _effect(runs: Runs, arm: Arm, reference: Arm, metric: str, view: View, confidence: float) -> Effect:
    """The effect on one metric. Two arms that read the same runs are paired; the runs of others are independent: what
    two arms share by their seed is gone by the end of training (docs/verdicts.md)."""
    if metric in COUNTS:
        return _ratio(runs, arm, reference, metric, confidence)
    if _same_runs(runs, arm, reference):
        return _paired(runs, arm, reference, metric, view, confidence)
    from repro.stats import independent, intervals

    ours, theirs = (runs.numbers(side, metric, Protocol(view)) for side in (arm, reference))
    plain = _plain(arm, reference, metric, ours, theirs, paired=False)
    if not (ours and theirs):
        return plain
    one, two = list(ours.values()), list(theirs.values())
    few = min(len(one), len(two)) < FEWEST_SEEDS
    wrong = [_wrong(runs, side, metric, view, replicates) for side, replicates in ((arm, ours), (reference, theirs))]
    images = None
    if wrong[0] is not None and wrong[1] is not None and _same_images(wrong[0][0], wrong[1][0]):
        images = independent.images_of_difference(wrong[0][1], wrong[1][1], whole=few)
    if few and images is None:
        interval, p = _open([fmean(one) - fmean(two)], independent.few_in_words(len(one), len(two))), None
    elif few:
        interval, p = independent.of_few(one, two, images or 0.0, confidence=confidence), None
    else:
        interval, p = independent.welch(one, two, images or 0.0, confidence=confidence)
    effect = dataclasses.replace(plain, interval=interval, p=_for_looks(p, confidence))
    if min(len(one), len(two)) < 2:
        return effect
    shuffled, smallest = independent.shuffles(one, two)
    return dataclasses.replace(
        effect,
        spreads=(_spread(one), _spread(two)),
        of_images=images if images and not few else 0.0,
        t_interval=independent.welch(one, two, confidence=confidence)[0],
        one_pair=None if few else independent.one_more_pair(one, two),
        permutation_p=shuffled,
        permutation_p_smallest=smallest,
        probability_of_improvement=intervals.improvement(one, two),
    )


def _same_runs(runs: Runs, arm: Arm, reference: Arm) -> bool:
    """Whether both read the same runs, by other views or as an ensemble."""
    if arm.ensemble or reference.ensemble:
        return True
    if not runs.digest(arm.name) == runs.digest(reference.name) != "":
        return False
    return not set(runs.setting.seeds_for(arm.name)).isdisjoint(runs.setting.seeds_for(reference.name))


def _plain(
    arm: Arm, reference: Arm, metric: str, ours: Mapping[int, float], theirs: Mapping[int, float], *, paired: bool
) -> Effect:
    both = tuple(ours.items()), tuple(theirs.items())
    return Effect(metric, arm.name, reference.name, paired, (len(ours), len(theirs)), *both, None)


def _wrong(runs: Runs, arm: Arm, metric: str, view: View, replicates: Iterable[int]) -> tuple[Any, Any] | None:
    """Image index (P,) and errors in points (runs, P) of a few runs, as many as tell the images' part; None where one
    has no stored predictions or was tested on other images."""
    import numpy as np

    found = [runs.wrong(arm, metric, Protocol(view), replicate) for replicate in list(replicates)[:IMAGE_REPLICATES]]
    whole = [one for one in found if one is not None]
    if not whole or len(whole) < len(found) or any(not _same_images(one[0], whole[0][0]) for one in whole):
        return None
    return whole[0][0], 100 * np.stack([one[1] for one in whole])


def _same_images(one: Any, two: Any) -> bool:
    return len(one) == len(two) and bool((one == two).all())


def _paired(runs: Runs, arm: Arm, reference: Arm, metric: str, view: View, confidence: float) -> Effect:
    """The effect of another way to read the same runs."""
    from repro.stats import intervals

    protocol = Protocol.of(view, arm, reference)
    ours, theirs = (runs.numbers(side, metric, protocol) for side in (arm, reference))
    paired = sorted(ours.keys() & theirs.keys())
    ours, theirs = ({seed: side[seed] for seed in paired} for side in (ours, theirs))
    points = [ours[seed] - theirs[seed] for seed in paired]
    plain = _plain(arm, reference, metric, ours, theirs, paired=True)
    if not paired:
        return plain
    both = []
    for seed in paired[:IMAGE_REPLICATES]:
        one, two = (runs.wrong(side, metric, protocol, seed) for side in (arm, reference))
        if one is not None and two is not None and _same_images(one[0], two[0]):
            both.append((one, two))
    many = len(paired) >= FEWEST_SEEDS
    images = _images([(one[0], 100 * (one[1] - two[1])) for one, two in both], whole=not many)
    p = None
    if many:
        interval, p = intervals.hierarchical(points, images, confidence=confidence)
    elif images:
        interval = intervals.images_only(points, images, confidence=confidence)
    else:
        interval = _open(points, intervals.RUNS_IN_WORDS[len(points)])
    effect = dataclasses.replace(plain, interval=interval, p=_for_looks(p, confidence))
    if both and metric != GAP and protocol.group == 1:  # McNemar is of two networks
        effect = dataclasses.replace(effect, mcnemar_p=intervals.mcnemar([(one[1], two[1]) for one, two in both]))
    if len(paired) < 2:
        return effect
    flips, smallest = intervals.sign_flips(points)
    return dataclasses.replace(
        effect,
        spreads=(_spread(points), _spread(points)),
        of_images=images.variance if images and many else 0.0,
        t_interval=intervals.over_seeds(points, confidence=confidence),
        one_pair=intervals.one_more(points) if many else None,
        permutation_p=flips,
        permutation_p_smallest=smallest,
        probability_of_improvement=intervals.improvement([*ours.values()], [*theirs.values()]),
    )


def _ratio(runs: Runs, arm: Arm, reference: Arm, metric: str, confidence: float) -> Effect:
    from repro.stats import independent, intervals

    ours, theirs = runs.counts(arm, metric), runs.counts(reference, metric)
    epochs = [{seed: count.epochs for seed, count in side.items()} for side in (ours, theirs)]
    plain = _plain(arm, reference, metric, *epochs, paired=False)
    if not (ours and theirs):
        return plain
    interval, p = independent.independent_ratio([*ours.values()], [*theirs.values()], confidence=confidence)
    effect = dataclasses.replace(plain, interval=interval, p=_for_looks(p, confidence))
    whole = not any(count.censored for side in (ours, theirs) for count in side.values())
    if not whole or effect.seeds < 2:
        return effect
    logs = [[math.log(one) for one in side.values()] for side in epochs]
    shuffled, smallest = independent.shuffles(*logs)
    return dataclasses.replace(
        effect,
        spreads=(_spread(logs[0]), _spread(logs[1])),
        permutation_p=shuffled,
        permutation_p_smallest=smallest,
        probability_of_improvement=intervals.improvement(*(list(side.values()) for side in epochs)),
    )


def _for_looks(p: float | None, confidence: float) -> float | None:
    """p on the scale on which 0.05 is the level of this look: below it where the widened interval excludes none."""
    return None if p is None else min(1.0, p * ((1 - CONFIDENCE) / (1 - confidence)))


def _images(effects: Sequence[tuple[Any, Any] | None], *, whole: bool) -> Images | None:
    """The images' part of effects on the same images, points; None where some are missing or on others.

    `whole`: all that other images would change for these networks, not only what their seeds share.
    """
    import numpy as np

    from repro.stats.intervals import images_part

    there = [one for one in effects if one is not None]
    if not there or len(there) < len(effects):
        return None
    index = there[0][0]
    if any(len(one[0]) != len(index) or (one[0] != index).any() for one in there):
        return None
    points = np.stack([one[1] for one in there])
    return images_part(points.mean(axis=0, keepdims=True) if whole else points)


def _open(values: Sequence[float], runs: str) -> Interval:
    return Interval(math.fsum(values) / len(values), -math.inf, math.inf, f"no interval, {runs}")


def _spread(values: Sequence[float]) -> float:
    return stdev(values)


def _measured_view(experiment: Experiment, setting: Setting) -> View:
    claims = experiment.claims_at(setting.preset)
    return claims[0].measured.view if claims else "center"


def _view(runs: Runs, arms: Sequence[Arm], measured: View) -> View:
    """The view that arms which name none are read with: the claim's, or center where some run lacks it."""
    return measured if runs.has_view([arm for arm in arms if not arm.view], measured) else "center"


def _differences(runs: Runs, arms: Sequence[Arm], measured: Measured, view: View, metric: str) -> tuple[str, ...]:
    """What our runs differ in from where the claim was measured, in words; a control holds everywhere."""
    if not measured.data:
        return ()
    found = []
    records = [record for arm in arms for record in runs.records(arm)]
    for source in sorted({record.source for record in records} - {measured.data}):
        found.append(f"data: {source}, not {measured.data}")
    read = {view for arm in arms if not arm.view}
    if metric in ("top1_error", "top5_error") and read - {measured.view}:
        found.append(f"evaluation: {view}, not {measured.view}")
    if runs.setting.preset.endswith(REDUCED):
        found.append(f"setting: preset {runs.setting.preset}")
    found += [
        f"{CHANGED}{key} = {value}"
        for key, value in runs.setting.changes.items()
        if key != "eval.views" and (key, value) != ("data.source", measured.data)
    ]
    if NOT_SAID in measured.text:
        found.append(f"published without its setting ({measured.text})")
    return tuple(found)


def _untrained(runs: Runs, arms: Sequence[Arm]) -> str | None:
    """A network that failed to train is no evidence about its configuration: why a side is none, where none of its runs
    learned. Our number is shown all the same."""
    return next((why for arm in arms if (why := runs.untrained(arm))), None)


def _scheduled(runs: Runs, arms: Sequence[Arm], metric: str) -> str | None:
    """Why the epoch of the lowest test error is the schedule's doing: all runs have theirs after a drop."""
    if metric != EPOCHS_TO_BEST:
        return None
    steps = [record.config["schedule"]["steps"] for arm in arms for record in runs.records(arm)]
    drop = max((epochs[0] for epochs in steps if epochs), default=None)
    if drop is None or any(count.epochs <= drop for arm in arms for count in runs.counts(arm, metric).values()):
        return None
    return f"both arms lower the rate after {drop} epochs, and every run is best after that: the schedule sets the time"


def _one_device(runs: Runs, arms: Sequence[Arm], metric: str) -> str | None:
    """Why times say nothing of two GPUs: a run of two towers had one device, or the runs were on several machines."""
    if metric != TRAINING_HOURS:
        return None
    records = [record for arm in arms for record in runs.records(arm)]
    for record in records:
        if record.towers == 2 and len({name for name in record.placement.split(",") if name.startswith("cuda")}) < 2:
            return f"both towers ran on {record.placement}; the claim is of a GPU each"
    machines = {str(record.about("hardware")) for record in records}
    return f"the runs are of {len(machines)} machines or states of one" if len(machines) > 1 else None


def _missing(runs: Runs, arms: Sequence[Arm], metric: str, view: View) -> str:
    for arm in arms:
        if not runs.records(arm):
            return f"no finished run of {arm.name}"
    if any(arm.ensemble for arm in arms):
        return f"too few seeds, or no stored predictions of the {view} view, for a whole ensemble"
    if metric in COUNTS:
        return f"no pair of finished runs has {metric}"
    where = "center" if metric == GAP else arms[0].view or view
    return f"no pair of finished runs has {metric} of the {where} view"


def _reason(blank: Judgement, rule: str, confidence: float) -> str:
    """One sentence: the numbers, the rule, and where it was not tested as it was measured."""
    claim, interval = blank.claim, blank.estimate
    assert claim is not None and interval is not None
    effect = blank.effect
    runs = f"{blank.seeds}" if effect is None or effect.paired else " and ".join(map(str, effect.runs))
    unit = {"points": " points", "percent": "%", "times": " times"}[blank.unit]
    sign = "+" if blank.unit == "points" else ""
    numbers = f"{interval.mean:{sign}.2f}{unit} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}], n = {runs}"
    if confidence != CONFIDENCE:
        numbers += ", widened for more than one look"
    if blank.published is None:
        against = f"published: {claim.row.bare}"
    else:
        against = f"published: {claim.row.sentence.format(f'{blank.published:{sign}g}{unit}')}"
    where = ""
    changed = [one for one in blank.differences if one.startswith(CHANGED)]  # a page names them once
    told = [one for one in blank.differences if one not in changed]
    told += [f"{len(changed)} of the preset's values changed"] if changed else []
    if told and claim.row.paired:
        where = f"; this says nothing of {claim.measured.text}: {'; '.join(told)}"
    elif told:
        where = f": {'; '.join(told)}"
    return f"{numbers}; {against}; {rule}{where}"
