"""From run directories to verdicts, on made-up runs where the right verdict is known."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from repro import paper, store
from repro.config import config, keys, presets
from repro.experiments.experiment import Arm, Claim, Ensemble, Experiment, Measured, Search
from repro.planning import plan
from repro.records import Errors, RunRecord
from repro.stats import Judgement, arm_summary, holm, judge
from repro.stats.evidence import Runs
from repro.stats.independent import level_of_looks, welch
from repro.terms import EPOCHS_TO_BEST, View

LIKE_PAPER = paper.VALIDATION_2012
HERE = Measured("cifar10", "center", "CIFAR-10, center view")


def experiment(*claims: Claim, arms: Sequence[Arm] = (Arm("with"), Arm("without")), **others: Any) -> Experiment:
    values = {
        "name": "made-up",
        "question": "Is it?",
        "factor": "x",
        "section": "-",
        "presets": ["figure-1", "smoke", "paper"],
    }
    return Experiment(arms=arms, claims=claims, **{**values, **others})


def setting(one: Experiment, seeds: int, preset: str = "figure-1", **others: Any) -> store.Setting:
    digests = {arm.name: f"{arm.name:.<12.12}" for arm in one.arms if not arm.ensemble}
    return store.Setting(one.name, preset, others.pop("changes", {}), seeds, others.pop("arms", digests), **others)


def write_record(results: Path, record: Mapping[str, Any]) -> None:
    """A finished run, with the hashes of the predictions that were written before it."""
    plain = json.dumps(record, default=float)  # numpy's numbers are none of JSON's
    store.write_run(results, msgspec.json.decode(plain, type=RunRecord))


def read_records(results: Path) -> dict[tuple[str, int], RunRecord]:
    """All records, whose names are those of arms and not of Configs."""
    keys = [(path.parts[-3], int(path.parts[-2].removeprefix("seed-"))) for path in results.glob("runs/*/*/run.json")]
    return {key: store.read_run(results, *key) for key in keys}


def write(
    results: Path,
    arm: str,
    errors: Sequence[float | None],
    *,
    preset: str = "figure-1",
    view: View = "center",
    train: Sequence[float] | None = None,
    epochs_to_target: Sequence[float | None] | None = None,
    top5: Sequence[float] | None = None,
    diverged: bool = False,
) -> None:
    """Finished runs of an arm, seed by seed; None leaves a seed out. The arm's name is its digest too."""
    settings = config.to_dict(presets.preset(preset))
    for seed, error in enumerate(errors):
        if error is None:
            continue
        reached = epochs_to_target[seed] if epochs_to_target else None
        record = {
            "digest": f"{arm:.<12.12}", "seed": seed, "config": settings,
            "data": {"name": settings["data"]["source"], "digest": "d"},
            "epochs": 40, "epochs_to_target": reached, "censored": epochs_to_target is not None and reached is None,
            "seconds": 100.0 + seed, "images_per_second": 10.0, "diverged": diverged,
            "train_error": train[seed] if train else None,
            "held_out": None,
            "errors": {view: {"top1_error": error, "top5_error": top5[seed] if top5 else error / 2}},
            "provenance": {}, "placement": "cpu",
        }  # fmt: skip
        write_record(results, record)


def write_predictions(results: Path, arm: str, seed: int, wrong: np.ndarray, view: View = "center") -> None:
    """Predictions of ten classes that are wrong where `wrong` (P,) says, at top 1 and at top 5."""
    label = np.arange(len(wrong)) % 10
    probability = np.tile(np.linspace(0.09, 0.0, 10, dtype=np.float16), (len(wrong), 1))
    probability[np.arange(len(wrong)), label] = np.where(wrong, 0.0, 0.5)
    arrays = {"index": np.arange(len(wrong)), "label": label, "probability": probability}
    store.write_predictions(results, f"{arm:.<12.12}", seed, view, arrays)


def worse(top1: float | None = 1.4, measured: Measured = HERE, **others: Any) -> Claim:
    return Claim.effect("without", "with", top1=top1, source="here", measured=measured, **others)


def only(judgements: Sequence[Judgement]) -> Judgement:
    assert len(judgements) == 1, judgements
    return judgements[0]


# --- effects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        ([1.3, 1.5, 1.4, 1.45], "reproduced"),
        ([0.5, 0.6, 0.5, 0.55], "same direction"),
        ([2.5, -1.0, 1.0, 0.4], "inconclusive"),
        ([0.1, -0.1, 0.05, 0.0], "not seen"),
        ([-0.5, -0.6, -0.5, -0.55], "contradicted"),
    ],
)
def test_an_effect_of_known_size_gets_its_verdict(tmp_path: Path, shift: list[float], verdict: str) -> None:
    one = experiment(worse())
    base = [20.0, 20.07, 19.96, 20.02]
    write(tmp_path, "with", base)
    write(tmp_path, "without", [b + s for b, s in zip(base, shift, strict=True)])
    found = only(judge(one, setting(one, 4), tmp_path))
    assert found.verdict == verdict
    assert found.effect is not None
    assert found.effect.of_reference == tuple(enumerate(base))
    assert found.estimate == found.effect.interval == found.effect.t_interval
    assert found.estimate.method == "Welch t over runs"  # no predictions are stored
    ours = [error for _, error in found.effect.of_arm]
    assert found.effect.p == pytest.approx(stats.ttest_ind(ours, base, equal_var=False).pvalue)
    assert found.effect.permutation_p_smallest == 2 / math.comb(8, 4)
    assert "n = 4 and 4" in found.reason
    assert "1.4" in found.reason


def test_a_verdict_waits_for_all_seeds_that_were_asked_for(tmp_path: Path) -> None:
    value = Claim.value("with", top1=20.0, source="here", measured=HERE)
    one = experiment(worse(), value)
    write(tmp_path, "with", [20.0, 20.1, 19.9, 20.0, 20.05])
    write(tmp_path, "without", [21.3, 21.5, 21.3, 21.45])
    effect, error = judge(one, setting(one, 5), tmp_path)
    assert (effect.verdict, effect.seeds) == ("inconclusive", 4)
    assert "without has 4 of the 5 runs that were asked for" in effect.reason
    assert effect.estimate is not None and effect.estimate.low > 0  # shown all the same
    assert error.seeds == 5 and "asked for" not in error.reason
    assert effect.waits and not error.waits
    assert holm([effect])[0].holm_p is None, "a p would be a look as well"
    whole = judge(one, setting(one, 4), tmp_path)[0]
    assert whole.verdict == "reproduced" and holm([whole])[0].holm_p is not None


def test_a_drop_that_is_set_for_both_arms_sets_their_best_epoch(tmp_path: Path) -> None:
    claim = Claim.ratio("without", "with", times=2.0, metric=EPOCHS_TO_BEST, source="here", measured=HERE)
    one = experiment(claim)
    steps = {"schedule.kind": "steps", "schedule.steps": [3]}
    for arm, best in (("with", (4, 5, 4)), ("without", (5, 4, 5))):
        write(tmp_path, arm, [20.0, 20.5, 20.2], train=[10.0] * 3)
        for seed, epoch in enumerate(best):
            path = store.run_directory(tmp_path, f"{arm:.<12.12}", seed)
            record = json.loads((path / "run.json").read_text())
            record["config"] = config.to_dict(keys.override(presets.preset("figure-1"), steps))
            (path / "run.json").write_text(json.dumps(record))
            errors = [60.0 - at if at <= epoch else 70.0 for at in range(1, 7)]
            lines = [{"epoch": at, "train_error": 50.0, "test_top1_error": error} for at, error in enumerate(errors, 1)]
            (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = judge(one, setting(one, 3), tmp_path)[0]
    assert found.verdict == "not evaluated" and "the schedule sets the time" in found.reason
    early = store.run_directory(tmp_path, "with........", 0) / "metrics.jsonl"
    early.write_text(early.read_text().replace('"test_top1_error": 58.0', '"test_top1_error": 50.0'))
    assert judge(one, setting(one, 3), tmp_path)[0].verdict != "not evaluated"


def test_predictions_bring_the_images_in(tmp_path: Path) -> None:
    """Both arms are wrong on images of their own, the same for every seed: seeds agree, and images could differ."""
    one = experiment(worse())
    for arm, start in (("with", 0), ("without", 200)):
        errors = []
        for seed in range(3):
            wrong = np.zeros(1000, dtype=bool)
            wrong[start : start + 200 + (14 if arm == "without" else 0)] = True
            wrong[900 + seed : 901 + seed + seed % 2] = True  # one image in error, or two
            errors.append(100 * wrong.mean())
            write_predictions(tmp_path, arm, seed, wrong)
        write(tmp_path, arm, errors)
    found = only(judge(one, setting(one, 3), tmp_path))
    assert found.effect is not None
    assert found.effect.interval is not None
    assert found.effect.interval.method == "Welch t over runs, with images"
    half = (found.effect.interval.high - found.effect.interval.low) / 2
    assert half == pytest.approx(1.96 * 100 * math.sqrt(0.414) / math.sqrt(1000), rel=0.1)
    assert found.effect.t_interval is not None
    assert found.effect.t_interval.high - found.effect.t_interval.low < 0.3
    assert found.effect.mcnemar_p is None, "it is of two networks, and these are six"
    assert found.verdict == "inconclusive"  # the runs alone would have said: reproduced


@pytest.mark.parametrize(("seeds", "words"), [(1, "one run per arm"), (2, "two runs per arm")])
def test_fewer_than_three_seeds_get_images_only_and_no_verdict(tmp_path: Path, seeds: int, words: str) -> None:
    one = experiment(worse(top1=20.0))
    for seed in range(seeds):
        write_predictions(tmp_path, "with", seed, np.arange(500) < 100)
        write_predictions(tmp_path, "without", seed, np.arange(500) < 200)
    write(tmp_path, "with", [20.0] * seeds)
    write(tmp_path, "without", [40.0] * seeds)
    found = only(judge(one, setting(one, 3), tmp_path))
    assert found.estimate is not None
    assert found.estimate.method == f"images only, {words}"
    assert 10 < found.estimate.low < 20 < found.estimate.high < 30
    assert (found.verdict, found.seeds) == ("inconclusive", seeds)
    assert words in found.reason
    assert found.effect is not None
    assert found.effect.p is None


def test_two_runs_vary_with_all_of_their_images(tmp_path: Path) -> None:
    """Not only with what the two have in common: the interval is of these networks."""
    one = experiment(Claim.value("with", top1=20.0, source="here", measured=HERE), arms=[Arm("with")])
    generator = np.random.default_rng(2)
    wrongs = [generator.random(1000) < 0.2 for _ in range(2)]
    for seed, wrong in enumerate(wrongs):
        write_predictions(tmp_path, "with", seed, wrong)
    write(tmp_path, "with", [100 * wrong.mean() for wrong in wrongs])
    found = only(judge(one, setting(one, 3), tmp_path))
    assert found.estimate is not None
    error = 100 * np.mean(wrongs, axis=0).std(ddof=1) / math.sqrt(1000)
    assert (found.estimate.high - found.estimate.low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_one_run_without_predictions_has_a_mean_and_no_ends(tmp_path: Path) -> None:
    one = experiment(worse())
    write(tmp_path, "with", [20.0])
    write(tmp_path, "without", [21.0])
    found = only(judge(one, setting(one, 3), tmp_path))
    assert found.estimate is not None
    assert (found.estimate.mean, found.estimate.low, found.estimate.high) == (1.0, -math.inf, math.inf)
    assert found.estimate.method == "no interval, one run per arm"
    assert found.verdict == "inconclusive"


def test_nothing_finished_is_not_evaluated(tmp_path: Path) -> None:
    one = experiment(worse())
    found = only(judge(one, setting(one, 3), tmp_path))
    assert (found.verdict, found.estimate, found.seeds) == ("not evaluated", None, 0)
    write(tmp_path, "with", [20.0, 21.0])
    found = only(judge(one, setting(one, 3), tmp_path))
    assert found.reason == "no finished run of without"


def test_runs_that_are_there_count_whatever_the_other_arm_has(tmp_path: Path) -> None:
    one = experiment(worse())
    write(tmp_path, "with", [20.0, None, 21.0, 22.0, 23.0, 24.0])
    write(tmp_path, "without", [21.0, 99.0, 22.5, 23.2, None, 99.0])
    damaged = store.run_directory(tmp_path, "with........", 4) / "run.json"
    damaged.write_text("{")
    found = only(judge(one, setting(one, 5), tmp_path))  # seed 5 was not asked for in this setting
    assert found.effect is not None
    assert [seed for seed, _ in found.effect.of_reference] == [0, 2, 3]
    assert [seed for seed, _ in found.effect.of_arm] == [0, 1, 2, 3]
    assert (found.seeds, found.effect.runs, found.effect.paired) == (3, (4, 3), False)
    assert found.effect.probability_of_improvement is not None
    assert 0 <= found.effect.probability_of_improvement <= 0.5  # ours is the worse arm


def test_records_that_are_given_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = experiment(worse())
    write(tmp_path, "with", [20.0, 20.7, 19.6])
    write(tmp_path, "without", [21.4, 22.1, 21.1])
    records, at = read_records(tmp_path), setting(one, 3)
    expected = judge(one, at, tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(store, "read_run", refuse)
    assert judge(one, at, tmp_path, Runs(one, at, tmp_path, records)) == expected


def test_only_three_pairs_of_predictions_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = experiment(worse())
    generator = np.random.default_rng(1)
    for arm, rate in (("with", 0.20), ("without", 0.22)):
        wrongs = [generator.random(200) < rate for _ in range(8)]
        for seed, wrong in enumerate(wrongs):
            write_predictions(tmp_path, arm, seed, wrong)
        write(tmp_path, arm, [100 * wrong.mean() for wrong in wrongs])
    read = []
    reader = store.read_predictions
    monkeypatch.setattr(store, "read_predictions", lambda *args: read.append(args[1:3]) or reader(*args))
    found = only(judge(one, setting(one, 8), tmp_path))
    assert found.seeds == 8
    assert len(read) == len(set(read)) == 6


def test_training_error_needs_no_images(tmp_path: Path) -> None:
    claim = Claim.effect("without", "with", train=2.0, source="here", measured=HERE)
    one = experiment(claim)
    write(tmp_path, "with", [20.0, 20.1, 20.2], train=[10.0, 10.1, 9.9])
    write(tmp_path, "without", [20.0, 20.1, 20.2], train=[12.1, 11.9, 12.0])
    found = judge(one, setting(one, 3), tmp_path)
    assert (found[0].metric, found[0].verdict) == ("train_error", "reproduced")
    assert found[1].claim is None  # the top-1 effect, which no claim names
    assert found[1].verdict == "not evaluated"
    assert found[1].estimate is not None


def test_early_learning_is_read_off_the_first_tenth_of_the_epochs(tmp_path: Path) -> None:
    one = experiment(Claim.worse("without", "with", metric="early_error", source="here", measured=HERE))
    for arm, start in (("with", 80.0), ("without", 85.0)):  # of 60 epochs, the first six
        write(tmp_path, arm, [20.0, 20.1, 19.9], train=[10.0] * 3)
        for seed in range(3):
            path = store.run_directory(tmp_path, f"{arm:.<12.12}", seed) / "metrics.jsonl"
            errors = [start - seed / 10 - epoch for epoch in range(6)] + [10.0] * 30
            path.write_text(
                "".join(f'{{"epoch": {epoch}, "train_error": {error}}}\n' for epoch, error in enumerate(errors, 1))
            )
    found = judge(one, setting(one, 3), tmp_path)[0]
    assert (found.metric, found.verdict) == ("early_error", "same direction")
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(5.0)


def test_a_direction_gets_no_further_than_same_direction(tmp_path: Path) -> None:
    one = experiment(Claim.worse("without", "with", source="here", measured=HERE))
    write(tmp_path, "with", [20.0, 20.7, 19.6])
    write(tmp_path, "without", [22.0, 22.6, 21.7])
    found = only(judge(one, setting(one, 3), tmp_path))
    assert (found.verdict, found.published, found.seeds_needed) == ("same direction", None, None)


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        ([0.02, 0.025, 0.015], "reproduced"),  # not the published direction, and as small
        ([-0.04, -0.05, -0.03], "reproduced"),
        ([0.9, 1.0, 0.95], "contradicted"),
        ([-0.9, -1.0, -0.95], "contradicted"),
        ([1.5, -1.0, 0.4], "inconclusive"),
    ],
)
def test_no_difference_beyond_noise_is_judged_by_equivalence(tmp_path: Path, shift: list[float], verdict: str) -> None:
    one = experiment(Claim.no_effect("without", "with", top1=-0.04, source="here", measured=HERE))
    write(tmp_path, "with", [20.0] * 3)
    write(tmp_path, "without", [20.0 + points for points in shift])
    found = only(judge(one, setting(one, 3), tmp_path))
    assert (found.verdict, found.published, found.seeds_needed) == (verdict, -0.04, None)
    assert "published: no difference beyond noise (-0.04 points)" in found.reason


# --- other kinds ----------------------------------------------------------------------------------------------------


def test_at_least(tmp_path: Path) -> None:
    one = experiment(Claim.at_least("without", "with", top1=1.0, source="here", measured=HERE))
    write(tmp_path, "with", [20.0, 20.1, 19.9])
    write(tmp_path, "without", [22.0, 22.1, 21.9])
    found = only(judge(one, setting(one, 3), tmp_path))
    assert found.verdict == "reproduced"
    assert "at least +1 points" in found.reason


def test_overfits_compares_gaps(tmp_path: Path) -> None:
    one = experiment(Claim.overfits("without", "with", source="here", measured=HERE))
    write(tmp_path, "with", [20.0, 21.0, 20.5], train=[18.0, 19.0, 18.4])  # gaps of 2
    write(tmp_path, "without", [21.0, 22.0, 21.5], train=[10.0, 11.2, 10.4])  # gaps of 11: it overfits
    found = judge(one, setting(one, 3), tmp_path)[0]
    assert found.metric == "gap"
    assert found.verdict == "same direction"
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(9.0, abs=0.2)
    write(tmp_path, "without", [21.0, 22.0, 21.5], train=[15.0, 16.2, 15.4])
    underfit = judge(one, setting(one, 3), tmp_path)[0]
    assert underfit.verdict == "not evaluated"
    assert "both arms underfit: the wider gap between test and training error is 6.0 points" in underfit.reason


def test_a_gap_and_its_images_are_of_the_center_view(tmp_path: Path) -> None:
    """The arms are wrong on other images there, and on the same ones in the ten views that the claim names."""
    measured = Measured("cifar10", "ten", "CIFAR-10, ten views")
    one = experiment(Claim.overfits("without", "with", source="here", measured=measured))
    for arm, start, train in (("with", 0, 10.0), ("without", 200, 8.0)):
        write(tmp_path, arm, [20.0] * 3, train=[train] * 3)
        for seed in range(3):
            write_predictions(tmp_path, arm, seed, (np.arange(1000) >= start) & (np.arange(1000) < start + 200))
            write_predictions(tmp_path, arm, seed, np.arange(1000) < 100, "ten")
            record = store.read_run(tmp_path, f"{arm:.<12.12}", seed)
            record.errors["ten"] = Errors(10.0, 10.0)
            store.write_run(tmp_path, record)
    found = judge(one, setting(one, 3), tmp_path)[0]
    assert found.metric == "gap"
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(2.0)
    half = (found.estimate.high - found.estimate.low) / 2
    assert half == pytest.approx(1.96 * 100 * math.sqrt(0.4) / math.sqrt(1000), rel=0.1)


def ratio_of(times: float, **others: Any) -> Claim:
    return Claim.ratio("tanh", "relu", times=times, source="here", measured=HERE, **others)


RELU_TANH = (Arm("relu"), Arm("tanh"))


@pytest.mark.parametrize(
    ("tanh", "verdict", "reason"),
    [
        ([30.5, 31.5, 29.5], "reproduced", "published: 6 times"),
        ([10.0, 11.0, 9.8], "same direction", "excludes 1 and the published"),
        ([None, None, 33.0], "same direction", "no upper end"),
        ([5.5, 5.6, 5.8], "not seen", "excludes the published"),
        ([2.5, 2.6, 2.7], "contradicted", "other direction"),
    ],
)
def test_ratios_and_runs_that_never_get_there(
    tmp_path: Path, tanh: list[float | None], verdict: str, reason: str
) -> None:
    one = experiment(ratio_of(6.0), arms=RELU_TANH)
    write(tmp_path, "relu", [30.0] * 3, epochs_to_target=[5.4, 5.7, 5.5])  # read in the middle of the epoch: 4.9, ...
    write(tmp_path, "tanh", [30.0] * 3, epochs_to_target=tanh)
    found = only(judge(one, setting(one, 3), tmp_path))  # arms that stop at a set error have no top-1 effect
    assert (found.verdict, found.unit) == (verdict, "times")
    assert reason in found.reason
    assert found.estimate is not None
    censored = None in tanh
    assert math.isinf(found.estimate.high) == censored
    assert found.effect is not None
    assert (found.effect.permutation_p is None) == censored  # bounds are no effects
    assert (found.effect.probability_of_improvement is None) == censored
    assert (found.seeds_needed is None) == censored


def test_a_claim_whose_runs_had_no_target_is_not_evaluated(tmp_path: Path) -> None:
    one = experiment(ratio_of(6.0), arms=RELU_TANH)
    write(tmp_path, "relu", [30.0] * 3)
    write(tmp_path, "tanh", [30.0] * 3)
    found = only(judge(one, setting(one, 3), tmp_path))
    assert (found.verdict, found.seeds) == ("not evaluated", 0)
    assert "epochs_to_target" in found.reason


def write_epochs(results: Path, arm: str, tested: Sequence[Mapping[int, float]], train: float = 20.0) -> None:
    """The epochs of each seed's run: epoch -> test top-1 error, percent."""
    for seed, errors in enumerate(tested):
        lines = [
            {"epoch": epoch, "train_error": train, "test_top1_error": error} for epoch, error in sorted(errors.items())
        ]
        path = store.run_directory(results, f"{arm:.<12}", seed) / "metrics.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


STUCK = {3: 90.0, 6: 90.0, 9: 90.0}  # what a net that learned nothing of ten classes shows
LEARNING = {3: 60.0, 6: 40.0, 9: 45.0}


@pytest.mark.parametrize("metric", ["epochs_to_target", EPOCHS_TO_BEST])
@pytest.mark.parametrize("dead", ["at chance", "diverged"])
@pytest.mark.parametrize("side", ["tanh", "relu"])
def test_a_side_that_did_not_train_is_not_evaluated(tmp_path: Path, metric: str, dead: str, side: str) -> None:
    """Its first test is its lowest error too, so that it would seem to get there sooner than a net that learns."""
    claims = [ratio_of(2.0, metric=metric), Claim.worse("tanh", "relu", source="here", measured=HERE)]
    one = experiment(*claims, Claim.value("tanh", top1=90.0, source="here", measured=HERE), arms=RELU_TANH)
    for arm in ("relu", "tanh"):
        if arm == side:
            never, diverged = [None] * 3, dead == "diverged"
            write(tmp_path, arm, [90.0] * 3, train=[89.9, 90.0, 91.5], epochs_to_target=never, diverged=diverged)
            write_epochs(tmp_path, arm, [STUCK] * 3)
        else:
            write(tmp_path, arm, [40.0, 41.0, 40.5], train=[20.0] * 3, epochs_to_target=[6.0, 6.5, 6.2])
            write_epochs(tmp_path, arm, [LEARNING] * 3)
    found = judge(one, setting(one, 3), tmp_path)
    of_side = [each for each in found if side in (each.arm, each.reference)]
    assert len(of_side) == (3 if side == "tanh" else 2)
    for each in of_side:
        assert each.verdict == "not evaluated"
        assert f"arm {side} did not train: 3 of 3 runs {'diverged' if dead == 'diverged' else 'ended'}" in each.reason
    assert [each.holm_p for each in holm(found)] == [None] * len(found)


def test_one_run_that_did_not_train_is_censored_and_the_others_count(tmp_path: Path) -> None:
    one = experiment(ratio_of(2.0, metric=EPOCHS_TO_BEST), arms=RELU_TANH)
    write(tmp_path, "relu", [40.0] * 5, train=[20.0] * 5)
    write_epochs(tmp_path, "relu", [LEARNING] * 5)
    write(tmp_path, "tanh", [40.0] * 4 + [90.0], train=[20.0] * 4 + [90.0])
    write_epochs(tmp_path, "tanh", [LEARNING] * 4 + [STUCK])
    found = judge(one, setting(one, 5), tmp_path)[0]
    assert found.estimate is not None
    assert math.isinf(found.estimate.high)
    assert "1 of 10 runs censored" in found.estimate.method


def test_a_run_that_did_not_train_is_in_no_mean_and_is_counted_beside_it(tmp_path: Path) -> None:
    one = experiment(worse())
    write(tmp_path, "with", [20.0, 20.1, 19.9, 20.0, 20.05])
    write(tmp_path, "without", [21.4, 21.5, 90.0, 21.45, 21.3], train=[10.0, 10.0, 90.0, 10.0, 10.0])
    found = only(judge(one, setting(one, 5), tmp_path))
    assert found.verdict == "reproduced"
    assert found.failed == (("without", 1, 5),)
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(1.4025)


def test_no_verdict_where_the_arms_fail_visibly_unlike(tmp_path: Path) -> None:
    one = experiment(worse())
    write(tmp_path, "with", [20.0, 20.1, 19.9, 20.0, 20.05])
    write(tmp_path, "without", [21.4, 90.0, 90.0, 21.45, 21.3], train=[10.0, 90.0, 90.0, 10.0, 10.0])
    found = only(judge(one, setting(one, 5), tmp_path))
    assert found.verdict == "not evaluated"
    assert found.estimate is not None
    assert "2 of 5 runs of the arm failed to train, 0 of 5 of its reference" in found.reason


# --- tuning ---------------------------------------------------------------------------------------------------------


def test_arms_without_a_search_of_their_own_are_not_tuned(tmp_path: Path) -> None:
    one = experiment(worse(), search=Search(seeds=(1000, 1001)))
    write(tmp_path, "with", [20.0, 20.1, 19.9])
    write(tmp_path, "without", [21.4, 21.5, 21.3])
    bare = only(judge(one, setting(one, 3), tmp_path))
    assert (bare.verdict, bare.effect is not None) == ("not tuned", True)
    assert holm([bare])[0].holm_p is None
    searches = {arm: {"0.001": f"{arm:.<12.12}"} for arm in ("with", "without")}
    old = only(judge(one, setting(one, 3, searches=searches, search_seeds=(1000,)), tmp_path))
    assert old.verdict == "not tuned", "by a search of one seed, where two are declared"
    tuned = only(judge(one, setting(one, 3, searches=searches, search_seeds=(1000, 1001)), tmp_path))
    assert (tuned.verdict, tuned.common, tuned.depends_on_rate) == ("reproduced", None, False)


def test_a_verdict_that_the_common_rate_would_change_says_so(tmp_path: Path) -> None:
    """At its own rate the arm is better; at the reference's it is worse, as published."""
    one = experiment(worse(), search=Search())
    searches = {arm: {"0.001": f"{arm:.<12.12}"} for arm in ("with", "without")}
    asked = setting(
        one, 3, searches=searches, search_seeds=(1000, 1001), common={"without@with": "at-common..."}
    )  # fmt: skip
    write(tmp_path, "with", [20.0, 20.1, 19.9])
    write(tmp_path, "without", [18.4, 18.5, 18.3])
    write(tmp_path, "at-common", [21.4, 21.5, 21.3])
    found = only(judge(one, asked, tmp_path))
    assert (found.verdict, found.common_verdict, found.depends_on_rate) == ("contradicted", "reproduced", True)
    assert found.common is not None
    assert found.common.mean == pytest.approx(1.4)


def test_five_guesses_among_ten_classes_are_not_judged(tmp_path: Path) -> None:
    one = experiment(worse(top1=1.4, top5=1.2))
    write(tmp_path, "with", [20.0, 20.1, 19.9])
    write(tmp_path, "without", [21.4, 21.5, 21.3])
    first, fifth = judge(one, setting(one, 3), tmp_path)
    assert (first.verdict, fifth.verdict) == ("reproduced", "not evaluated")
    assert "five guesses among 10 classes" in fifth.reason


@pytest.mark.parametrize(("classes", "error", "dead"), [(10, 89.5, True), (10, 88.5, False), (200, 99.0, True)])
def test_chance_is_that_of_the_classes(tmp_path: Path, classes: int, error: float, dead: bool) -> None:
    """Also where no training error was asked for: the metrics have that of the batches."""
    one = experiment(worse())
    write(tmp_path, "with", [20.0, 20.7, 19.6])
    write(tmp_path, "without", [error] * 3)
    write_epochs(tmp_path, "without", [{1: error}] * 3, train=error)
    records = read_records(tmp_path)
    for record in records.values():
        record.config["data"]["classes"] = classes
    at = setting(one, 3)
    assert (only(judge(one, at, tmp_path, Runs(one, at, tmp_path, records))).verdict == "not evaluated") == dead


def test_runs_without_any_training_error_count_as_trained(tmp_path: Path) -> None:
    one = experiment(worse())
    for arm, errors in (("with", [20.0, 20.1, 19.9]), ("without", [21.4, 21.5, 21.3])):
        write(tmp_path, arm, errors)
        for seed in range(3):
            (store.run_directory(tmp_path, f"{arm:.<12}", seed) / "metrics.jsonl").write_text('{"epoch": 1}\n')
    assert only(judge(one, setting(one, 3), tmp_path)).verdict == "reproduced"


def test_epochs_to_the_lowest_error_are_read_off_the_epochs(tmp_path: Path) -> None:
    one = experiment(ratio_of(2.0, metric=EPOCHS_TO_BEST), arms=RELU_TANH)
    for every, verdict in ((1, "reproduced"), (10, "inconclusive")):  # tests far apart say little about where it was
        for arm, bests in (("relu", [50, 60, 50]), ("tanh", [100, 120, 100])):
            tests = range(every, 201, every)
            write_epochs(tmp_path, arm, [{epoch: 30.0 + abs(epoch - best) / 10 for epoch in tests} for best in bests])
            write(tmp_path, arm, [30.0] * 3)
        found = judge(one, setting(one, 3), tmp_path)[0]
        assert found.estimate is not None
        assert (found.estimate.mean, found.verdict) == (pytest.approx(2.0), verdict)


def test_a_value_is_bound_to_its_setting(tmp_path: Path) -> None:
    claim = Claim.value("alexnet", top1=40.7, top5=18.2, source="Table 2", measured=LIKE_PAPER)
    one = experiment(claim, arms=[Arm("alexnet")])
    errors = {"top5": [18.1, 18.3, 18.2]}
    write(tmp_path, "alexnet", [40.6, 40.9, 40.7], preset="paper", view="ten", **errors)
    found = judge(one, setting(one, 3, "paper"), tmp_path)
    assert [each.verdict for each in found] == ["reproduced", "reproduced"]
    assert all(each.same_setting and each.differences == () for each in found)
    smoke = tmp_path / "smoke"
    write(smoke, "alexnet", [40.6, 40.9, 40.7], preset="smoke", view="ten", **errors)
    found = judge(one, setting(one, 3, "smoke"), smoke)
    assert [each.verdict for each in found] == ["not evaluated", "not evaluated"]
    assert found[0].estimate is not None  # our number is shown all the same
    assert found[0].differences == ("data: photos, not imagenet", "setting: preset smoke")
    center = tmp_path / "center"
    write(center, "alexnet", [40.6, 40.9, 40.7], preset="paper", view="center", **errors)
    found = judge(one, setting(one, 3, "paper"), center)
    assert found[0].differences == ("evaluation: center, not ten",)
    assert found[0].verdict == "not evaluated"


def test_a_value_that_is_missed(tmp_path: Path) -> None:
    claim = Claim.value("alexnet", top1=40.7, source="Table 2", measured=LIKE_PAPER)
    one = experiment(claim, arms=[Arm("alexnet")])
    write(tmp_path, "alexnet", [45.0, 45.2, 45.1], preset="paper", view="ten")
    found = only(judge(one, setting(one, 3, "paper"), tmp_path))
    assert found.verdict == "not seen"
    assert "higher" in found.reason


# --- setting --------------------------------------------------------------------------------------------------------


def test_a_reduced_setting_never_claims_to_have_tested_the_full_one(tmp_path: Path) -> None:
    one = experiment(worse(measured=LIKE_PAPER))
    write(tmp_path, "with", [20.0, 20.1, 19.9], preset="smoke", view="ten")
    write(tmp_path, "without", [21.4, 21.5, 21.3], preset="smoke", view="ten")
    found = only(judge(one, setting(one, 3, "smoke", changes={"optim.batch_size": 64}), tmp_path))
    assert found.verdict == "same direction"
    assert "holds the published number; away from the claim's own setting" in found.reason
    assert not found.same_setting
    assert found.differences == (
        "data: photos, not imagenet", "setting: preset smoke", "changed: optim.batch_size = 64"
    )  # fmt: skip
    assert "says nothing of ILSVRC-2012 validation, ten views" in found.reason


@pytest.mark.parametrize(("preset", "differences"), [("cifar-26", ()), ("cifar10", ("setting: preset cifar10",))])
def test_the_data_alone_do_not_make_the_setting(tmp_path: Path, preset: str, differences: tuple[str, ...]) -> None:
    """Both presets are of CIFAR-10; one is the published network, the other a small AlexNet."""
    claim = Claim.value("net", top1=26.0, source="layers-80sec", measured=paper.CIFAR_TEST)
    one = experiment(claim, arms=[Arm("net")], presets=["cifar-26", "cifar10"])
    write(tmp_path, "net", [25.8, 26.1, 26.0], preset=preset)
    found = only(judge(one, setting(one, 3, preset), tmp_path))
    assert found.differences == differences
    assert found.verdict == ("not evaluated" if differences else "reproduced")


def test_a_claim_without_its_setting_is_never_the_same_setting(tmp_path: Path) -> None:
    one = experiment(worse(measured=paper.NOT_SAID))
    for arm in ("with", "without"):
        write(tmp_path, arm, [20.0, 20.7, 19.6], preset="paper", view="ten")
    found = only(judge(one, setting(one, 3, "paper"), tmp_path))
    assert not found.same_setting
    assert "published without its setting" in found.differences[0]


def test_an_arm_that_only_reads_another_view(tmp_path: Path) -> None:
    arms = [Arm("center", view="center"), Arm("ten", view="ten")]
    claim = Claim.effect("ten", "center", top1=-1.5, source="footnote 5", measured=LIKE_PAPER)
    one = experiment(claim, arms=arms)
    settings = config.to_dict(presets.preset("paper"))
    for seed, (center, ten) in enumerate([(39.0, 37.5), (39.4, 37.8), (38.8, 37.4)]):
        errors = {"center": {"top1_error": center, "top5_error": 18.0}, "ten": {"top1_error": ten, "top5_error": 17.0}}
        write_record(tmp_path, {
            "digest": "one.........", "seed": seed, "config": settings, "data": {"name": "imagenet", "digest": "d"},
            "epochs": 1, "epochs_to_target": None, "censored": False, "seconds": 1.0, "images_per_second": 1.0,
            "diverged": False, "train_error": None, "held_out": None, "errors": errors, "provenance": {},
            "placement": "cpu",
        })  # fmt: skip
    shared = setting(one, 3, "paper", arms={"center": "one.........", "ten": "one........."})
    found = only(judge(one, shared, tmp_path))
    assert (found.verdict, found.same_setting) == ("reproduced", True)
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(-1.5)


# --- ensembles ------------------------------------------------------------------------------------------------------


def write_members(results: Path, arm: str, seeds: int, images: int = 400, sure: float = 1.0) -> list[np.ndarray]:
    """Noisy predictions of ten classes, so that an average is better than one."""
    label = np.arange(images) % 10
    errors, kept = [], []
    for seed in range(seeds):
        generator = np.random.default_rng([seed, *arm.encode()])
        logits = generator.standard_normal((images, 10))
        logits[np.arange(images), label] += sure
        probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        arrays = {"index": np.arange(images), "label": label, "probability": probability.astype(np.float16)}
        store.write_predictions(results, f"{arm:.<12.12}", seed, "center", arrays)
        kept.append(arrays["probability"])
        errors.append(100 * float((arrays["probability"].argmax(axis=1) != label).mean()))
    write(results, arm, errors)
    return kept


def test_an_ensemble_averages_stored_predictions_in_disjoint_groups(tmp_path: Path) -> None:
    arms = [Arm("one"), Arm("two", ensemble=Ensemble(of=("one",), seeds=2))]
    one = experiment(
        Claim.effect("two", "one", top1=-5.0, source="Table 2", measured=HERE), arms=arms, presets=["figure-1"]
    )
    kept = write_members(tmp_path, "one", 7)
    found = only(judge(one, setting(one, 7), tmp_path))
    assert found.seeds == 3  # seeds 0 to 5 in pairs; seed 6 has no partner
    label = np.arange(400) % 10
    expected = []
    for group in range(3):
        pair = [probability.astype(np.float32) for probability in kept[2 * group : 2 * group + 2]]
        together = 100 * ((sum(pair) / 2).argmax(axis=1) != label).mean()
        alone = np.mean([100 * (probability.argmax(axis=1) != label).mean() for probability in pair])
        expected.append(together - alone)
    assert found.effect is not None
    pairs = zip(found.effect.of_arm, found.effect.of_reference, strict=True)
    assert [two - alone for (_, two), (_, alone) in pairs] == pytest.approx(expected, abs=0.3)  # float16 ties
    assert found.estimate is not None
    assert found.estimate.mean < 0
    assert found.effect.mcnemar_p is None  # the reference is a mean of two networks
    assert only(judge(one, setting(one, 1), tmp_path)).verdict == "not evaluated"
    frame = arm_summary(one, setting(one, 7), tmp_path).set_index("arm")
    assert frame.loc["two", "seeds"] == 3
    assert frame.loc["two", "top1_error_mean"] < frame.loc["one", "top1_error_mean"]


def test_an_ensemble_may_take_more_runs_of_one_arm_than_of_another(tmp_path: Path) -> None:
    arms = [Arm("a"), Arm("b"), Arm("three", ensemble=Ensemble(of=("a", "b"), seeds=(2, 1)))]
    one = experiment(
        Claim.effect("three", "a", top1=-4.0, source="Table 2", measured=HERE), arms=arms, presets=["figure-1"]
    )
    of_a, of_b = (write_members(tmp_path, name, 6) for name in ("a", "b"))
    found = next(judgement for judgement in judge(one, setting(one, 6), tmp_path) if judgement.claim)
    assert found.seeds == 3
    label = np.arange(400) % 10
    for group in range(3):  # two of a and the first of the group's two of b
        three = [*of_a[2 * group : 2 * group + 2], of_b[2 * group]]
        together = 100 * (sum(each.astype(np.float32) for each in three).argmax(axis=1) != label).mean()
        assert found.effect is not None
        assert found.effect.of_arm[group][1] == pytest.approx(together, abs=0.3)  # float16 ties


def write_times(results: Path, arm: str, hours: Sequence[float], placement: str, towers: int, host: str = "a") -> None:
    """Finished runs that took so long."""
    settings = config.to_dict(presets.preset("figure-1"))
    settings["model"]["towers"] = towers
    for seed, time in enumerate(hours):
        record = {
            "digest": f"{arm:.<12.12}", "seed": seed, "config": settings, "data": {"name": "cifar10", "digest": "d"},
            "epochs": 40, "epochs_to_target": None, "censored": False, "seconds": 3600 * time,
            "images_per_second": 10.0, "diverged": False, "train_error": 20.0, "held_out": None,
            "errors": {"center": {"top1_error": 30.0, "top5_error": 5.0}},
            "provenance": {"hardware": {"cpu": host}}, "placement": placement,
        }  # fmt: skip
        write_record(results, record)


@pytest.mark.parametrize(
    ("placement", "host", "hours", "verdict", "reason"),
    [
        ("cuda:0,cuda:1", "a", [5.5, 5.6, 5.4], "same direction", "published: longer"),
        ("cuda:0,cuda:1", "a", [4.0, 4.1, 3.9], "contradicted", "excludes 1 in the other direction"),
        ("cuda:0,cuda:1", "a", [4.0, 6.2, 5.1], "inconclusive", "holds 1"),
        ("cuda:0", "a", [5.5, 5.6, 5.4], "not evaluated", "both towers ran on cuda:0; the claim is of a GPU each"),
        ("cpu,cpu", "a", [5.5, 5.6, 5.4], "not evaluated", "both towers ran on cpu,cpu"),
        ("cuda:0,cuda:1", "b", [5.5, 5.6, 5.4], "not evaluated", "2 machines"),
    ],
)
def test_a_claim_of_time_is_about_two_gpus_of_one_machine(
    tmp_path: Path, placement: str, host: str, hours: list[float], verdict: str, reason: str
) -> None:
    arms = [Arm("two-gpus"), Arm("one-gpu", {"model.towers": 1})]
    claim = Claim.slower("one-gpu", "two-gpus", source="section 3.2", measured=HERE)
    one = experiment(claim, arms=arms, presets=["figure-1"])
    write_times(tmp_path, "two-gpus", [5.0, 5.1, 4.9], placement, 2)
    write_times(tmp_path, "one-gpu", hours, "cuda:0", 1, host)
    found = next(judgement for judgement in judge(one, setting(one, 3), tmp_path) if judgement.claim)
    assert (found.verdict, found.unit) == (verdict, "times")
    assert reason in found.reason
    assert found.estimate is not None
    assert found.estimate.mean == pytest.approx(np.prod(np.array(hours) / [5.0, 5.1, 4.9]) ** (1 / 3), rel=1e-6)


def test_tuned_weights_are_tested_on_the_other_half(tmp_path: Path) -> None:
    """One good member, one that is noise: tuning finds out on the even images, and both sides count on the odd ones."""
    arms = [
        Arm("good"),
        Arm("noise"),
        Arm("equal", ensemble=Ensemble(of=("good", "noise"))),
        Arm("tuned", ensemble=Ensemble(of=("good", "noise"), weights="tuned")),
    ]
    claim = Claim.effect("tuned", "equal", top1=-2.0, source="avg-valid.py", measured=HERE)
    one = experiment(claim, arms=arms, presets=["figure-1"])
    good = write_members(tmp_path, "good", 3, sure=2.5)
    write_members(tmp_path, "noise", 3, sure=0.0)
    found = judge(one, setting(one, 3), tmp_path)[0]
    assert found.estimate is not None
    assert found.estimate.mean < 0
    frame = arm_summary(one, setting(one, 3), tmp_path).set_index("arm")
    label = (np.arange(400) % 10)[1::2]
    alone = np.mean([100 * (probability[1::2].argmax(axis=1) != label).mean() for probability in good])
    assert frame.loc["tuned", "top1_error_mean"] <= frame.loc["equal", "top1_error_mean"]
    assert frame.loc["tuned", "top1_error_mean"] == pytest.approx(alone, abs=6)


def test_members_that_saw_other_images_are_not_averaged(tmp_path: Path) -> None:
    arms = [Arm("a"), Arm("b"), Arm("both", ensemble=Ensemble(of=("a", "b")))]
    one = experiment(Claim.effect("both", "a", top1=-1.0, source="x", measured=HERE), arms=arms, presets=["figure-1"])
    write_members(tmp_path, "a", 3)
    write_members(tmp_path, "b", 3, images=300)
    found = judge(one, setting(one, 3), tmp_path)[0]
    assert found.verdict == "not evaluated"
    assert "ensemble" in found.reason


# --- many claims, many looks ----------------------------------------------------------------------------------------


def test_holm_adjusts_over_all_claims_of_a_report(tmp_path: Path) -> None:
    arms = [Arm("with"), *(Arm(name) for name in "abc")]
    claims = [Claim.effect(name, "with", top1=1.0, source="here", measured=HERE) for name in "abc"]
    one = experiment(*claims, arms=arms)
    write(tmp_path, "with", [20.0, 20.1, 19.9])
    for name, shift in zip("abc", ([1.0, 1.1, 1.05], [1.0, 2.0, 1.5], [0.1, -0.1, 0.2]), strict=True):
        write(tmp_path, name, [20.0 + points for points in shift])
    found = holm(judge(one, setting(one, 3), tmp_path))
    raw = [each.effect.p for each in found if each.effect and each.effect.p is not None]
    assert [each.holm_p for each in found] == pytest.approx(
        [min(1.0, 3 * raw[0]), max(3 * raw[0], 2 * raw[1]), max(2 * raw[1], raw[2])]
    )
    assert holm([]) == []


def test_looking_after_every_seed_widens_the_interval_as_the_stopping_rule_does(tmp_path: Path) -> None:
    one = experiment(worse())
    shift = [1.3, 1.5, 1.4, 1.45]
    write(tmp_path, "with", [20.0, 20.1, 19.9, 20.05])
    write(tmp_path, "without", [20.0 + points for points in shift])
    fixed = only(judge(one, setting(one, 4), tmp_path))
    peeked = only(judge(one, setting(one, 4, looks=(20, 4)), tmp_path))
    assert fixed.estimate is not None
    assert peeked.estimate is not None
    assert peeked.estimate.low < fixed.estimate.low
    both = [20.0 + points for points in shift], [20.0, 20.1, 19.9, 20.05]
    assert peeked.estimate == welch(*both, confidence=1 - level_of_looks(20))[0]
    assert "more than one look" in peeked.reason


def test_p_is_as_much_larger_as_the_level_of_a_look_is_smaller(tmp_path: Path) -> None:
    """So that it is below 0.05 where the widened interval excludes none, and Holm's adjustment starts from it."""
    one = experiment(worse())
    write(tmp_path, "with", [20.0] * 4)
    for shift, excludes in (([1.3, 0.4, 0.9, 0.6], False), ([1.3, 1.0, 0.9, 1.2], True)):
        write(tmp_path, "without", [20.0 + points for points in shift])
        fixed, peeked = (
            only(holm(judge(one, setting(one, 4, **looks), tmp_path))) for looks in ({}, {"looks": (20, 4)})
        )
        assert fixed.effect is not None
        assert peeked.effect is not None
        assert fixed.effect.p is not None
        assert peeked.effect.p == peeked.holm_p == pytest.approx(fixed.effect.p * 0.05 / level_of_looks(20))
        assert fixed.effect.p < 0.05
        assert (peeked.effect.p < 0.05) == excludes
        assert peeked.estimate is not None
        assert (peeked.estimate.low > 0) == excludes
    write(tmp_path, "without", [20.1, 19.9, 20.2, 19.8])
    assert only(holm(judge(one, setting(one, 4, looks=(20, 4)), tmp_path))).holm_p == 1.0  # and never above 1


def test_seeds_needed_come_from_the_spread_seen(tmp_path: Path) -> None:
    one = experiment(worse(top1=0.4))
    write(tmp_path, "with", [20.0] * 4)
    write(tmp_path, "without", [20.9, 20.1, 20.5, 19.7])
    found = only(judge(one, setting(one, 4), tmp_path))
    assert found.verdict == "inconclusive"
    assert found.seeds_needed is not None
    assert found.seeds_needed > 10


def test_the_plan_counts_the_images_in_both_numbers_of_seeds(tmp_path: Path) -> None:
    """Each arm is wrong on images of its own: other images would move the effect by 2 points, whatever the seeds."""
    one = experiment(worse(top1=6.5))
    for arm, start in (("with", 0), ("without", 200)):
        errors = []
        for seed, more in enumerate((0, 40, 80)):
            wrong = np.zeros(1000, dtype=bool)
            wrong[start : start + 200] = True
            wrong[900 : 900 + (more if arm == "without" else 0)] = True
            errors.append(100 * wrong.mean())
            write_predictions(tmp_path, arm, seed, wrong)
        write(tmp_path, arm, errors)
    (row,) = plan.power([one], plan.Plan((setting(one, 3),), (), (), (), frozenset()), tmp_path)
    assert row["needed"] > 10
    assert row["max_seeds"] is None or row["max_seeds"] >= row["needed"]


# --- summary --------------------------------------------------------------------------------------------------------


def test_a_row_an_arm(tmp_path: Path) -> None:
    one = experiment(worse())
    errors = [20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 90.0]
    write(tmp_path, "with", errors, train=[10.0] * 8)
    write(tmp_path, "without", [30.0, 32.0], epochs_to_target=[7.0, None])
    frame = arm_summary(one, setting(one, 8), tmp_path).set_index("arm")
    assert list(frame.index) == ["with", "without"]
    row: Mapping[str, Any] = frame.loc["with"]
    assert row["seeds"] == 8
    assert row["top1_error_mean"] == pytest.approx(np.mean(errors))
    assert row["top1_error_sd"] == pytest.approx(np.std(errors, ddof=1))
    assert row["top1_error_iqm"] == pytest.approx(23.5)  # one odd run does not move it
    assert row["gap_mean"] == pytest.approx(np.mean(errors) - 10)
    row = frame.loc["without"]
    assert (row["seeds"], row["censored"], row["epochs_to_target_mean"]) == (2, 1, (6.5 + 40.0) / 2)
    assert math.isnan(row["top1_error_iqm"])
    assert math.isnan(row["train_error_mean"])


def test_no_runs_make_an_empty_row(tmp_path: Path) -> None:
    one = experiment(worse())
    frame = arm_summary(one, setting(one, 3), tmp_path)
    assert frame["seeds"].tolist() == [0, 0]
    assert frame["top1_error_mean"].isna().all()
