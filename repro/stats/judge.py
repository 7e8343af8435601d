"""From the finished runs of a block to judgements: effects, intervals and words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.ablation import EPOCHS_TO_BEST, EPOCHS_TO_TARGET, FEWEST_SEEDS, GAP, Ablation, Arm, Claim, Measured, View
from repro.stats.evidence import COUNTS, IMAGE_REPLICATES, Records, Runs
from repro.stats.sequential import ALPHA, peeking_level, seeds_needed
from repro.stats.values import Effect, Interval, Judgement, Word, unit_of
from repro.store import Block

if TYPE_CHECKING:
    import pandas as pd

    from repro.stats.intervals import Count, Images

REDUCED = ("smoke", "cifar10", "tiny")  # presets that end so are smaller networks than any that was published
NOT_SAID = "not said"  # in the words of a Measured: the source does not say what a number was measured on
CONFIDENCE = 1 - ALPHA  # of a single look
MANY_RUNS = 8  # from here on the interquartile mean leaves out something: two runs at each end


def judge(ablation: Ablation, block: Block, results: Path, records: Records | None = None) -> list[Judgement]:
    """A judgement for each number of each claim that makes sense at the block's preset, in order; then the top-1
    effect of every other arm against the first, which no claim names.

    Reads the finished runs of the block; `records` saves reading their records again where the caller has them.
    Partial blocks are fine: seeds count that both arms have, and words wait for all that were asked for. Where the
    block was looked at more than once, intervals are wide enough to hold after every seed up to its `max_seeds`, and p
    is larger in proportion.
    """
    runs = Runs(ablation, block, results, records)
    confidence = CONFIDENCE if block.max_seeds is None else 1 - peeking_level(block.max_seeds)
    claims = ablation.claims_at(block.preset)
    return [
        _judge_claim(runs, claim, metric, published, confidence)
        for claim in claims
        for metric, published in claim.published.items()
    ] + [_unclaimed(runs, arm, claims, confidence) for arm in _without_claim(ablation, block, claims)]


def holm(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The same judgements with `holm_p`: their p values adjusted for testing so many claims at once (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than the one before it.
    A claim that was not evaluated (a side did not train), or whose runs are not all there, is none of them.
    """
    judgements = list(judgements)
    tested = sorted(
        (one.effect.p, at)
        for at, one in enumerate(judgements)
        if one.word != "not evaluated" and not one.waits and one.effect and one.effect.p is not None
    )
    adjusted = 0.0
    for place, (p, at) in enumerate(tested):
        adjusted = min(1.0, max(adjusted, (len(tested) - place) * p))
        judgements[at] = dataclasses.replace(judgements[at], holm_p=adjusted)
    return judgements


def arm_summary(ablation: Ablation, block: Block, results: Path, records: Records | None = None) -> pd.DataFrame:
    """A row an arm: `arm`, `view`, `seeds`, `censored`, and of each metric `_mean`, `_sd` and, from 8 runs up, `_iqm`.

    Metrics: top1_error, top5_error, train_error (percent), gap (points), epochs_to_target (censored runs count with the
    epochs they had), seconds. An ensemble's `seeds` are its disjoint groups. What is missing is nan.
    """
    import pandas as pd

    runs = Runs(ablation, block, results, records)
    rows = []
    for arm in ablation.arms_at(block.preset):
        view = _view(runs, [arm], _measured_view(ablation, block))
        columns = {
            metric: list(runs.numbers(arm, metric, view, group=_group(arm), half=_tuned(arm)).values())
            for metric in ("top1_error", "top5_error", "train_error", GAP)
        }
        counts = list(runs.counts(arm, EPOCHS_TO_TARGET).values())
        own = [] if arm.ensemble else runs.records(arm)
        columns[EPOCHS_TO_TARGET] = [count.epochs for count in counts]
        columns["seconds"] = [record["seconds"] for record in own]
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


def _judge_claim(runs: Runs, claim: Claim, metric: str, published: float | None, confidence: float) -> Judgement:
    from repro.stats import verdict

    arms = [runs.ablation.arm(name) for name in claim.sides]
    view = _view(runs, arms, claim.measured.view)
    unit = unit_of(claim.kind)
    differences = _differences(runs, arms, claim.measured, view, metric)
    blank = Judgement(
        claim,
        claim.arm,
        claim.reference,
        metric,
        unit,
        published,
        None,
        None,
        0,
        "not evaluated",
        "",
        False,
        differences,
    )
    if claim.kind == "value":
        assert published is not None
        return _judge_value(runs, blank, arms[0], view, published, confidence)
    effect = _effect(runs, arms[0], arms[1], metric, view, confidence)
    if effect.interval is None:
        return dataclasses.replace(blank, effect=effect, reason=_missing(runs, arms, metric, view))
    seeds, interval = effect.seeds, effect.interval
    if dead := _untrained(runs, arms) or _scheduled(runs, arms, metric):
        reason = _reason(blank, interval, seeds, dead, confidence)
        return dataclasses.replace(blank, estimate=interval, effect=effect, seeds=seeds, reason=reason)
    asked = runs.block.seeds // max(map(_group, arms))
    word, rule = verdict.too_early(seeds, asked) or _word(claim, published, interval, seeds)
    needed = None
    if published and effect.spread is not None and claim.kind != "no_effect":  # noise is not to be told from none
        claimed = math.log(published) if unit == "times" else published
        needed = seeds_needed(effect.spread, claimed, images=effect.of_images) if claimed else None
    return dataclasses.replace(
        blank,
        estimate=interval,
        effect=effect,
        seeds=seeds,
        word=word,
        reason=_reason(blank, interval, seeds, rule, confidence),
        same_setting=not differences,
        waits=seeds < asked,
        seeds_needed=needed,
    )


def _word(claim: Claim, published: float | None, interval: Interval, seeds: int) -> tuple[Word, str]:
    from repro.stats import verdict

    if claim.kind == "no_effect":
        return verdict.of_none(interval, seeds)
    if claim.kind == "at_least":
        assert published is not None
        return verdict.at_least(interval, published, seeds)
    if claim.kind == "ratio":
        assert published is not None
        return verdict.of_ratio(interval, published, seeds)
    return verdict.of_effect(interval, published, seeds)


def _judge_value(runs: Runs, blank: Judgement, arm: Arm, view: View, published: float, confidence: float) -> Judgement:
    """The mean error of an arm against a published one. Bound to its data, evaluation and scale: else not evaluated."""
    from repro.stats import verdict
    from repro.stats.intervals import RUNS_IN_WORDS, images_only, over_seeds

    group, half = _group(arm), _tuned(arm)
    values = list(runs.numbers(arm, blank.metric, view, group=group, half=half).values())
    if not values:
        return dataclasses.replace(blank, reason=_missing(runs, [arm], blank.metric, view))
    if len(values) >= FEWEST_SEEDS:
        estimate = over_seeds(values, confidence=confidence)
    else:
        tested = [runs.wrong(arm, blank.metric, view, at, group=group, half=half) for at in range(len(values))]
        images = _images([None if one is None else (one[0], 100 * one[1]) for one in tested], whole=True)
        if images:
            estimate = images_only(values, images, confidence=confidence)
        else:
            estimate = _open(values, RUNS_IN_WORDS[len(values)])
    asked = runs.block.seeds // group
    if dead := _untrained(runs, [arm]):
        reason = _reason(blank, estimate, len(values), dead, confidence)
        return dataclasses.replace(blank, estimate=estimate, seeds=len(values), reason=reason)
    if blank.differences:
        word: Word = "not evaluated"
        rule = "an error is bound to its data, evaluation and scale, and these differ"
    else:
        word, rule = verdict.too_early(len(values), asked) or verdict.of_value(
            estimate, published, blank.metric, len(values)
        )
    return dataclasses.replace(
        blank,
        estimate=estimate,
        seeds=len(values),
        word=word,
        reason=_reason(blank, estimate, len(values), rule, confidence),
        same_setting=not blank.differences,
        waits=len(values) < asked,
    )


def _unclaimed(runs: Runs, arm: Arm, claims: Sequence[Claim], confidence: float) -> Judgement:
    first = runs.ablation.arms_at(runs.block.preset)[0]
    view = _view(runs, [arm, first], claims[0].measured.view if claims else "center")
    effect = _effect(runs, arm, first, "top1_error", view, confidence)
    reason = "no claim names it" if effect.interval else _missing(runs, [arm, first], "top1_error", view)
    return Judgement(
        None, arm.name, first.name, "top1_error", "points", None, effect.interval, effect,
        effect.seeds, "not evaluated", reason, False, (),
    )  # fmt: skip


def _without_claim(ablation: Ablation, block: Block, claims: Sequence[Claim]) -> list[Arm]:
    """Arms after the first whose top-1 effect no claim gives; a ratio's arms stop early, at an error set beforehand."""
    first, *others = ablation.arms_at(block.preset)
    named = {claim.arm for claim in claims if "top1_error" in claim.published and claim.reference == first.name}
    named |= {name for claim in claims if EPOCHS_TO_TARGET in claim.published for name in claim.sides}
    return [arm for arm in others if arm.name not in named]


def _effect(runs: Runs, arm: Arm, reference: Arm, metric: str, view: View, confidence: float) -> Effect:
    if metric in COUNTS:
        return _ratio(runs, arm, reference, metric, confidence)
    from repro.stats import intervals

    group, half = max(_group(arm), _group(reference)), _tuned(arm) or _tuned(reference)
    ours = runs.numbers(arm, metric, view, group=group, half=half)
    theirs = runs.numbers(reference, metric, view, group=group, half=half)
    paired = sorted(ours.keys() & theirs.keys())
    points = [ours[seed] - theirs[seed] for seed in paired]
    plain = Effect(metric, arm.name, reference.name, len(paired), tuple(zip(paired, points, strict=True)), None)
    if not paired:
        return plain
    both = []
    for seed in paired[:IMAGE_REPLICATES]:
        one, two = (runs.wrong(side, metric, view, seed, group=group, half=half) for side in (arm, reference))
        if one is not None and two is not None and len(one[0]) == len(two[0]) and (one[0] == two[0]).all():
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
    if several := len(paired) > 1:
        flips, smallest = intervals.sign_flips(points)
    effect = dataclasses.replace(
        plain,
        interval=interval,
        spread=_spread(points),
        of_images=images.variance if images and many else 0.0,
        t_interval=intervals.over_seeds(points, confidence=confidence) if several else None,
        one_pair=intervals.one_more(points) if many else None,
        p=_for_looks(p, confidence),
        permutation_p=flips if several else None,
        permutation_p_smallest=smallest if several else None,
        probability_of_improvement=intervals.improvement([*ours.values()], [*theirs.values()]) if several else None,
    )
    if both and metric != GAP and group == 1:  # McNemar is of two networks
        effect = dataclasses.replace(effect, mcnemar_p=intervals.mcnemar([(one[1], two[1]) for one, two in both]))
    return effect


def _ratio(runs: Runs, arm: Arm, reference: Arm, metric: str, confidence: float) -> Effect:
    from repro.stats import intervals

    ours, theirs = runs.counts(arm, metric), runs.counts(reference, metric)
    paired = sorted(ours.keys() & theirs.keys())
    pairs = [(ours[seed], theirs[seed]) for seed in paired]
    times = tuple((seed, one.epochs / two.epochs) for seed, (one, two) in zip(paired, pairs, strict=True))
    plain = Effect(metric, arm.name, reference.name, len(paired), times, None)
    if not paired:
        return plain
    interval, p = intervals.ratio(pairs, confidence=confidence)
    logs = [math.log(ratio) for _, ratio in times]
    whole = not any(count.censored for pair in pairs for count in pair)
    flips, smallest = intervals.sign_flips(logs) if whole and len(logs) > 1 else (None, None)
    return dataclasses.replace(
        plain,
        interval=interval,
        spread=_spread(logs) if whole else None,
        p=_for_looks(p, confidence),
        permutation_p=flips,
        permutation_p_smallest=smallest,
        probability_of_improvement=_sooner(ours.values(), theirs.values()) if len(logs) > 1 and whole else None,
    )


def _for_looks(p: float | None, confidence: float) -> float | None:
    """p on the scale on which 0.05 is the level of this look: below it where the widened interval excludes none."""
    return None if p is None else min(1.0, p * ((1 - CONFIDENCE) / (1 - confidence)))


def _sooner(arm: Iterable[Count], reference: Iterable[Count]) -> float:
    from repro.stats import intervals

    return intervals.improvement([count.epochs for count in arm], [count.epochs for count in reference])


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


def _spread(values: Sequence[float]) -> float | None:
    import numpy as np

    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _group(arm: Arm) -> int:
    return arm.ensemble.seeds if arm.ensemble else 1


def _tuned(arm: Arm) -> bool:
    return arm.ensemble is not None and arm.ensemble.weights == "tuned"


def _measured_view(ablation: Ablation, block: Block) -> View:
    claims = ablation.claims_at(block.preset)
    return claims[0].measured.view if claims else "center"


def _view(runs: Runs, arms: Sequence[Arm], measured: View) -> View:
    """The view that arms which name none are read with: the claim's, or center where some run lacks it."""
    return measured if runs.has_view([arm for arm in arms if not arm.view], measured) else "center"


def _differences(runs: Runs, arms: Sequence[Arm], measured: Measured, view: View, metric: str) -> tuple[str, ...]:
    """What our runs differ in from where the claim was measured, in words."""
    found = []
    records = [record for arm in arms for record in runs.records(arm)]
    for source in sorted({record["config"]["data"]["source"] for record in records} - {measured.data}):
        found.append(f"data: {source}, not {measured.data}")
    read = {view for arm in arms if not arm.view}
    if metric in ("top1_error", "top5_error") and read - {measured.view}:
        found.append(f"evaluation: {view}, not {measured.view}")
    if runs.block.preset.endswith(REDUCED):
        found.append(f"scale: preset {runs.block.preset}")
    found += [
        f"changed: {key} = {value}"
        for key, value in runs.block.changes.items()
        if key != "eval.views" and (key, value) != ("data.source", measured.data)
    ]
    if NOT_SAID in measured.text:
        found.append(f"published without its setting ({measured.text})")
    return tuple(found)


def _untrained(runs: Runs, arms: Sequence[Arm]) -> str | None:
    """Why a side says nothing of its recipe: none of its runs learned. Our number is shown all the same."""
    return next((why for arm in arms if (why := runs.untrained(arm))), None)


def _scheduled(runs: Runs, arms: Sequence[Arm], metric: str) -> str | None:
    """Why the epoch of the lowest test error is the schedule's doing: all runs have theirs after a drop."""
    if metric != EPOCHS_TO_BEST:
        return None
    steps = [record["config"]["schedule"]["steps"] for arm in arms for record in runs.records(arm)]
    drop = max((epochs[0] for epochs in steps if epochs), default=None)
    if drop is None or any(count.epochs <= drop for arm in arms for count in runs.counts(arm, metric).values()):
        return None
    return f"both arms lower the rate after {drop} epochs, and every run is best after that: the schedule sets the time"


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


def _reason(blank: Judgement, interval: Interval, seeds: int, rule: str, confidence: float) -> str:
    """One sentence: the numbers, the rule, and where it was not tested as it was measured."""
    claim = blank.claim
    assert claim is not None
    unit = {"points": " points", "percent": "%", "times": " times"}[blank.unit]
    sign = "+" if blank.unit == "points" else ""
    numbers = f"{interval.mean:{sign}.2f}{unit} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}], n = {seeds}"
    if confidence != CONFIDENCE:
        numbers += ", widened for more than one look"
    if blank.published is None:
        against = "published: larger" if claim.kind == "overfits" else "published: worse"
    elif claim.kind == "no_effect":
        against = f"published: no difference beyond noise ({blank.published:+g}{unit})"
    else:
        against = f"published: {'at least ' if claim.kind == 'at_least' else ''}{blank.published:{sign}g}{unit}"
    where = ""
    if blank.differences and claim.kind != "value":
        where = f"; this says nothing of {claim.measured.text}: {'; '.join(blank.differences)}"
    elif blank.differences:
        where = f": {'; '.join(blank.differences)}"
    return f"{numbers}; {against}; {rule}{where}"
