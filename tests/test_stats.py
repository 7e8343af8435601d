"""Intervals that cover, tests that scipy agrees with, ties, and the written rule at every branch."""

import math
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from repro.stats import Interval
from repro.stats import verdict as rules
from repro.stats.evidence import IMAGE_REPLICATES
from repro.stats.intervals import (
    CONFIDENCE,
    OVER_BOTH,
    OVER_SEEDS,
    Count,
    hierarchical,
    images_only,
    images_part,
    improvement,
    mcnemar,
    one_more,
    over_seeds,
    ratio,
    sign_flips,
    t_p,
)
from repro.stats.rule import NEGLIGIBLE, TOLERANCE
from repro.stats.topk import topk_errors
from repro.stats.verdict import at_least, elsewhere, of_ratio, of_value

# --- coverage -------------------------------------------------------------------------------------------------------

IMAGES = 600
MARGINS = (1.3, 1.2)  # mean margin of reference and arm: the arm is worse
REGIMES = {  # standard deviations of: how much harder an image is for one arm; a run's luck; a run's luck on an image
    "seeds and images both matter": (0.30, 0.03, 0.6),
    "images matter most": (0.60, 0.01, 0.4),
    "seeds matter most": (0.05, 0.15, 0.6),
}
DIFFICULTY, SHARED = 1.2, 0.03  # of an image, for both arms; of a seed, for both arms

of_effect = partial(rules.of_effect, negligible=NEGLIGIBLE)
of_none = partial(rules.of_none, negligible=NEGLIGIBLE)


def simulated_effects(regime: str, seeds: int, generator: np.random.Generator) -> np.ndarray:
    """Effects (seeds, images) in points of two arms that see the same images and share seeds.

    A network is wrong where its margin is below zero; margins are sums of normal parts, so errors are correlated over
    arms by the image's difficulty, over seeds by the arm's taste in images, and over images by the run's luck.
    """
    taste, run, noise = REGIMES[regime]
    draw = generator.standard_normal
    common = DIFFICULTY * draw(IMAGES) + SHARED * draw((seeds, 1))
    reference, arm = (
        margin + common + taste * draw(IMAGES) + run * draw((seeds, 1)) + noise * draw((seeds, IMAGES)) < 0
        for margin in MARGINS
    )
    return 100.0 * (arm.astype(float) - reference)


def true_effect(regime: str) -> float:
    """The effect over all seeds and all images, points, from the normal distribution."""
    spread = math.hypot(DIFFICULTY, SHARED, *REGIMES[regime])
    reference, arm = (stats.norm.cdf(-margin / spread) for margin in MARGINS)
    return 100 * float(arm - reference)


@pytest.mark.slow
@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_cover_the_true_effect_in_93_to_97_percent(regime: str) -> None:
    simulations, generator, truth = 1000, np.random.default_rng(11), true_effect(regime)
    covered = {3: 0, 5: 0, 10: 0}
    for _ in range(simulations):
        effects = simulated_effects(regime, 10, generator)
        for seeds in covered:
            images = images_part(effects[:IMAGE_REPLICATES])
            interval, _ = hierarchical(effects[:seeds].mean(axis=1), images, resamples=499)
            covered[seeds] += interval.low <= truth <= interval.high
    assert {seeds: 0.93 <= count / simulations <= 0.97 for seeds, count in covered.items()} == {
        3: True, 5: True, 10: True
    }, covered  # fmt: skip


def test_what_the_interval_is_for_simpler_ones_miss() -> None:
    """Over three seeds the percentile bootstrap is far too narrow; a t-interval over seeds forgets the images."""
    generator, simulations = np.random.default_rng(12), 800
    percentile = student = 0
    for _ in range(simulations):
        effects = simulated_effects("images matter most", 3, generator).mean(axis=1)
        means = generator.choice(effects, (200, 3)).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        percentile += low <= true_effect("images matter most") <= high
        interval = over_seeds(effects)
        student += interval.low <= true_effect("images matter most") <= interval.high
    assert percentile / simulations < 0.65
    assert student / simulations < 0.90


# --- intervals ------------------------------------------------------------------------------------------------------


def test_the_images_part_is_what_seeds_share() -> None:
    """Known components: 100 points squared over images, 400 of the rest, so 100 / P of the mean is shared."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(200):
        effects = 10 * generator.standard_normal(500) + 20 * generator.standard_normal((4, 500))
        part = images_part(effects)
        assert part is not None
        found.append(part.variance)
    assert np.mean(found) == pytest.approx(100 / 500, rel=0.05)


def test_one_seed_gives_all_of_the_variance_to_images() -> None:
    effects = np.random.default_rng(2).choice([-100.0, 0.0, 100.0], (1, 1000), p=[0.05, 0.85, 0.10])
    part = images_part(effects)
    assert part is not None
    interval = images_only([effects.mean()], part)
    assert interval.method == "images only, one run per arm"
    error = effects.std() / math.sqrt(1000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_without_images_the_interval_is_the_t_interval() -> None:
    values = [1.0, 1.3, 0.9, 1.2]
    interval, p = hierarchical(values, None)
    expected = stats.ttest_1samp(values, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert (interval.low, interval.high, p) == pytest.approx((low, high, expected.pvalue))
    assert interval.method == OVER_SEEDS


def test_images_widen_the_interval_and_p_agrees_with_it() -> None:
    generator = np.random.default_rng(3)
    for _ in range(40):
        effects = simulated_effects("images matter most", 4, generator)
        interval, p = hierarchical(effects.mean(axis=1), images_part(effects))
        assert interval.method == OVER_BOTH
        assert interval.high - interval.low > 0
        if abs(p - 0.05) > 0.01:  # at the very edge the resamples decide one and the sum the other
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_is_never_inside_the_t_interval_over_seeds(regime: str, seeds: int) -> None:
    """It has one more source of variance than the t-interval, so it must not see an effect that the other does not."""
    generator = np.random.default_rng(13)
    for _ in range(60):
        effects = simulated_effects(regime, seeds, generator)
        over_both, p = hierarchical(effects.mean(axis=1), images_part(effects))
        plain = over_seeds(effects.mean(axis=1))
        assert over_both.low <= plain.low
        assert over_both.high >= plain.high
        assert p >= t_p(effects.mean(axis=1))


def test_the_same_runs_give_the_same_interval() -> None:
    effects = simulated_effects("seeds and images both matter", 3, np.random.default_rng(4))
    assert hierarchical(effects.mean(axis=1), images_part(effects)) == hierarchical(
        effects.mean(axis=1), images_part(effects)
    )


def test_equal_effects_have_no_width() -> None:
    assert hierarchical([0.0, 0.0, 0.0], None) == (Interval(0.0, 0.0, 0.0, OVER_SEEDS), 1.0)
    assert hierarchical([1.0, 1.0, 1.0], None)[1] == 0.0
    assert hierarchical([0.0, 0.0, 0.0], images_part(np.zeros((3, 50))))[0].high == 0.0


def test_one_more_run_falls_into_its_interval() -> None:
    values = np.random.default_rng(5).standard_normal((4000, 6))
    inside = 0
    for row in values:
        interval = one_more(row[:5])
        inside += interval.low <= row[5] <= interval.high
    assert inside / len(values) == pytest.approx(CONFIDENCE, abs=0.012)


# --- tests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_sign_flips_are_those_of_scipy(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    for shift in (0.0, 0.5, -2.0):
        effects = (shift + generator.standard_normal(seeds)).round(1)  # rounded: some flips tie
        expected = stats.permutation_test(
            (effects, np.zeros(seeds)),
            lambda one, two, axis: np.sum(one - two, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        )
        p, smallest = sign_flips(effects)
        assert p == pytest.approx(expected.pvalue)
        assert smallest == 2 / 2**seeds


def test_many_seeds_are_flipped_at_random() -> None:
    effects = np.random.default_rng(1).standard_normal(16) + 0.3
    p, smallest = sign_flips(effects)
    assert p == pytest.approx(stats.ttest_1samp(effects, 0.0).pvalue, abs=0.03)
    assert smallest == 2 / 10_000


def test_three_seeds_cannot_give_a_small_permutation_p() -> None:
    p, smallest = sign_flips([5.0, 5.1, 5.2])
    assert p == smallest == 0.25


def test_mcnemar_is_the_binomial_test_of_the_images_that_differ() -> None:
    arm = np.array([1.0] * 30 + [0.0] * 70)
    reference = np.array([0.0] * 20 + [1.0] * 10 + [1.0] * 5 + [0.0] * 65)
    expected = stats.binomtest(20, 25, 0.5).pvalue
    assert mcnemar([(arm, reference)]) == pytest.approx(expected)
    assert mcnemar([(arm, reference)] * 3) == pytest.approx(2 * expected)
    assert mcnemar([(arm, arm)]) == 1.0


def test_probability_of_improvement_counts_pairs() -> None:
    assert improvement([1, 2], [3, 4]) == 1.0
    assert improvement([3, 4], [1, 2]) == 0.0
    one, two = [1, 2, 3, 2.5], [2, 2, 2]
    assert improvement(one, two) == pytest.approx(stats.mannwhitneyu(two, one, method="asymptotic").statistic / 12)


# --- ratios ---------------------------------------------------------------------------------------------------------


def counts(arm: list[float], reference: list[float], arm_censored: bool = False, reference_censored: bool = False):
    return [(Count(a, arm_censored), Count(b, reference_censored)) for a, b in zip(arm, reference, strict=True)]


def test_a_ratio_is_the_t_interval_of_logs() -> None:
    interval, p = ratio(counts([30, 36, 33], [6, 5.5, 5]))
    logs = np.log([5, 36 / 5.5, 6.6])
    expected = stats.ttest_1samp(logs, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert (interval.mean, interval.low, interval.high) == pytest.approx(
        (math.exp(logs.mean()), math.exp(low), math.exp(high))
    )
    assert p == pytest.approx(expected.pvalue)


def test_a_censored_arm_bounds_the_ratio_from_below_only() -> None:
    pairs = [*counts([30, 31], [5, 6]), *counts([40], [6], arm_censored=True)]
    interval, p = ratio(pairs)
    assert interval.low > 1
    assert math.isinf(interval.high)
    assert "1 of 3 pairs censored" in interval.method
    assert p is None  # the pairs are bounds, and the spread of bounds is not that of the times


def test_a_censored_reference_bounds_it_from_above_and_both_say_nothing() -> None:
    interval, p = ratio(counts([5, 6, 5], [40, 40, 40], reference_censored=True))
    assert interval.low == 0.0
    assert interval.high < 1
    assert p is None
    interval, p = ratio(counts([40, 40, 40], [40, 40, 40], arm_censored=True, reference_censored=True))
    assert (interval.low, interval.high, p) == (0.0, math.inf, None)


def test_censoring_cannot_make_up_a_direction() -> None:
    """Arms stopped at 10 epochs against references of 20: the ratio seems to be 1/2 and may be anything above."""
    interval, p = ratio(counts([10, 10, 10], [20, 21, 22], arm_censored=True))
    assert math.isinf(interval.high)
    assert p is None
    assert of_ratio(interval, 6.0, 3)[0] == "inconclusive"


def test_equal_pairs_on_a_grid_of_tests_are_not_sure() -> None:
    """Lowest at the tests of epoch 24 and 12 in all three pairs, tested every 3 epochs."""
    arm, reference = Count(24, between=(21, 27)), Count(12, between=(9, 15))
    interval, p = ratio([(arm, reference)] * 3)
    assert interval.mean == pytest.approx(2.0)
    assert interval.low < 21 / 15
    assert interval.high > 27 / 9
    assert p is not None
    assert p > 0.01
    assert of_ratio(interval, 2.0, 3)[0] == "inconclusive"
    sharp, p = ratio([(Count(24), Count(12))] * 3)
    assert (sharp.low, sharp.high, p) == (pytest.approx(2.0), pytest.approx(2.0), 0.0)


def test_a_time_at_the_first_test_may_be_anything_before_it() -> None:
    interval, p = ratio([(Count(12, between=(9, 15)), Count(3, between=(0, 6)))] * 3)
    assert interval.low > 0
    assert (interval.high, p) == (math.inf, None)


def test_any_times_between_the_tests_have_their_interval_inside() -> None:
    generator = np.random.default_rng(14)
    for _ in range(300):
        times = generator.uniform(5, 40, (2, int(generator.integers(3, 8))))
        tests = 3 * np.round(times / 3)
        grid = [[Count(test, between=(test - 3, test + 3)) for test in side] for side in tests.tolist()]
        wide, p = ratio(list(zip(*grid, strict=True)))
        exact, exact_p = ratio(counts(*times.tolist()))
        assert wide.low <= exact.low
        assert wide.high >= exact.high
        if p is not None:
            assert exact_p is not None
            assert p >= exact_p


def test_censored_ratios_keep_the_lower_end_honest() -> None:
    """True ratio 6; runs end at 4.5 times the reference's mean, so many are censored: the interval still holds 6."""
    generator = np.random.default_rng(6)
    held = 0
    for _ in range(600):
        reference = 5 * np.exp(0.2 * generator.standard_normal(4))
        arm = 30 * np.exp(0.2 * generator.standard_normal(4))
        pairs = [
            (Count(min(a, 25.0), bool(a > 25)), Count(b)) for a, b in zip(arm.tolist(), reference.tolist(), strict=True)
        ]
        interval, _ = ratio(pairs)
        held += interval.low <= 6 <= interval.high
    assert held / 600 >= 0.93


# --- ties -----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=6),
    st.integers(0, 3),
    st.integers(1, 4),
)
def test_a_tie_costs_what_random_breaking_costs_on_average(scores: list[list[int]], label: int, k: int) -> None:
    expected = []
    for row in scores:
        orders = list(permutations(range(4)))  # classes in a random order, then a stable sort by score
        right = sum(label in sorted(order, key=lambda at: -row[at])[:k] for order in orders)
        expected.append(1 - right / len(orders))
    found = topk_errors(np.array(scores, dtype=np.float16), np.full(len(scores), label), k)
    assert found == pytest.approx(expected)


def test_a_net_that_says_the_same_of_all_classes_guesses() -> None:
    probability, label = np.full((7, 1000), 0.001, dtype=np.float16), np.arange(7)
    assert topk_errors(probability, label, 1) == pytest.approx(0.999)
    assert topk_errors(probability, label, 5) == pytest.approx(0.995)
    assert topk_errors(np.zeros((3, 4), dtype=np.float16), np.zeros(3, dtype=int), 5) == pytest.approx(0.0)


def test_a_diverged_net_is_wrong() -> None:
    assert topk_errors(np.full((2, 10), np.nan), np.array([0, 1]), 5).tolist() == [1.0, 1.0]


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(7)
    probability, label = generator.random((50, 10)), generator.integers(0, 10, 50)
    whole = topk_errors(probability, label, 5)
    monkeypatch.setattr("repro.stats.topk.CHUNK", 30)
    assert topk_errors(probability, label, 5).tolist() == whole.tolist()


@pytest.mark.parametrize(("classes", "sharpness", "points"), [(10, 3.0, 0.05), (10, 6.0, 0.2), (1000, 4.0, 0.05)])
def test_ties_that_float16_makes_hardly_move_the_error(classes: int, sharpness: float, points: float) -> None:
    """Stored predictions are float16: neighbors tie, and below 6e-8 all are zero, which very sure nets run into."""
    generator = np.random.default_rng(8)
    label = generator.integers(0, classes, 4000)
    logits = sharpness * generator.standard_normal((4000, classes))
    logits[np.arange(4000), label] += 1.5 * sharpness
    exact = np.exp(logits - logits.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    for k in (1, 5):
        fine, coarse = topk_errors(exact, label, k), topk_errors(exact.astype(np.float16), label, k)
        assert 100 * abs(fine.mean() - coarse.mean()) < points


# --- the rule -------------------------------------------------------------------------------------------------------


def interval(low: float, high: float, mean: float | None = None) -> Interval:
    return Interval((low + high) / 2 if mean is None else mean, low, high, "made up")


@pytest.mark.parametrize(
    ("low", "high", "published", "verdict"),
    [
        (1.0, 1.8, 1.4, "reproduced"),
        (0.2, 1.0, 1.4, "same direction"),  # too small
        (2.0, 3.0, 1.4, "same direction"),  # too large
        (0.1, 9.0, 1.4, "same direction"),  # holds it, and over twice it in its middle
        (-0.2, 1.6, 1.4, "inconclusive"),
        (-0.2, 0.5, 1.4, "not seen"),
        (-0.9, -0.1, 1.4, "contradicted"),
        (0.0, 1.6, 1.4, "inconclusive"),  # an end on zero holds it
        (0.5, 1.4, 1.4, "reproduced"),  # an end on the number holds it
        (0.2, 1.0, None, "same direction"),
        (-0.2, 0.4, None, "not seen"),
        (-0.2, 0.6, None, "inconclusive"),
        (-1.0, -0.2, None, "contradicted"),
        (-0.2, 0.3, 0.0, "reproduced"),
        (0.1, 0.4, 0.0, "reproduced"),
        (0.1, 0.9, 0.0, "contradicted"),
        (-0.9, 0.9, 0.0, "inconclusive"),
    ],
)
def test_effects(low: float, high: float, published: float | None, verdict: str) -> None:
    assert of_effect(interval(low, high), published, 5)[0] == verdict
    if published is not None:  # the claim and its mirror image
        assert of_effect(interval(-high, -low), -published, 5)[0] == verdict


@pytest.mark.parametrize(("low", "high", "verdict"), [(1.41, 2.0, "reproduced"), (1.46, 2.0, "same direction")])
def test_a_published_number_stands_for_what_rounds_to_it(low: float, high: float, verdict: str) -> None:
    assert of_effect(interval(low, high), 1.4, 5, rounding=0.05)[0] == verdict
    assert of_effect(interval(-high, -low), -1.4, 5, rounding=0.05)[0] == verdict
    assert of_effect(interval(-0.5, 1.36), 1.4, 5, rounding=0.05)[0] == "inconclusive"
    assert of_effect(interval(-0.5, 1.34), 1.4, 5, rounding=0.05)[0] == "not seen"
    assert of_ratio(interval(low + 4.8, low + 6, 6.4), 6.0, 5, rounding=0.5)[0] == "reproduced"
    assert of_ratio(interval(6.6, 8.0, 7.3), 6.0, 5, rounding=0.5)[0] == "same direction"


def test_what_is_negligible_depends_on_the_claim() -> None:
    assert rules.of_none(interval(-0.3, 0.3), 5, negligible=0.5)[0] == "reproduced"
    assert rules.of_none(interval(-0.3, 0.3), 5, negligible=0.2)[0] == "inconclusive"
    assert rules.of_effect(interval(-0.3, 0.3), None, 5, negligible=0.2)[0] == "inconclusive"


def test_away_from_the_setting_of_the_claim_no_size_is_reproduced() -> None:
    here = of_effect(interval(1.0, 1.8), 1.4, 5)
    assert (here[0], elsewhere(here)[0]) == ("reproduced", "same direction")
    assert elsewhere(here)[1].startswith(here[1])
    for other in (of_effect(interval(-1.0, 1.8), 1.4, 5), of_effect(interval(-1.0, -0.2), 1.4, 5)):
        assert elsewhere(other) == other


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.1, 1.9, "reproduced"),
        (1.0, 1.9, "reproduced"),
        (0.4, 1.9, "same direction"),
        (0.2, 0.8, "same direction"),
        (-0.2, 1.4, "inconclusive"),
        (-0.2, 0.8, "not seen"),
        (-0.9, -0.1, "contradicted"),
    ],
)
def test_at_least(low: float, high: float, verdict: str) -> None:
    assert at_least(interval(low, high), 1.0, 5)[0] == verdict
    assert at_least(interval(-high, -low), -1.0, 5)[0] == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (4.0, 9.0, "reproduced"),
        (2.0, 4.0, "same direction"),
        (8.0, 12.0, "same direction"),
        (1.5, 816.7, "same direction"),  # 35 times in its middle: holds 6, and is not its size
        (1.5, 90.0, "reproduced"),  # 11.6 times
        (4.0, math.inf, "same direction"),  # censored: no size
        (8.0, math.inf, "same direction"),
        (0.5, math.inf, "inconclusive"),
        (0.5, 9.0, "inconclusive"),
        (0.5, 3.0, "not seen"),
        (0.2, 0.8, "contradicted"),
        (0.0, 0.8, "contradicted"),
        (0.0, math.inf, "inconclusive"),
    ],
)
def test_ratios(low: float, high: float, verdict: str) -> None:
    mean = 5.0 if math.isinf(high) else math.sqrt(max(low, 0.1) * high)
    assert of_ratio(interval(low, high, mean), 6.0, 5)[0] == verdict
    flipped = interval(0.0 if math.isinf(high) else 1 / high, 1 / low if low else math.inf, 1 / mean)
    assert of_ratio(flipped, 1 / 6, 5)[0] == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (40.2, 41.0, "reproduced"),
        (39.8, 41.6, "reproduced"),
        (39.0, 41.0, "inconclusive"),
        (37.0, 45.0, "inconclusive"),
        (42.0, 43.0, "not seen"),
        (38.0, 39.0, "not seen"),
    ],
)
def test_values(low: float, high: float, verdict: str) -> None:
    assert of_value(interval(low, high), 40.7, "top1_error", 5)[0] == verdict


def test_a_value_says_on_which_side_it_is_missed() -> None:
    assert "higher" in of_value(interval(42.0, 43.0), 40.7, "top1_error", 5)[1]
    assert "lower" in of_value(interval(38.0, 39.0), 40.7, "top1_error", 5)[1]
    assert of_value(interval(18.9, 19.1), 18.2, "top5_error", 5)[0] == "not seen"  # top-5 runs lie closer
    assert TOLERANCE["top5_error"] < TOLERANCE["top1_error"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_are_inconclusive_whatever_they_show(seeds: int) -> None:
    words = "one run per arm" if seeds == 1 else "two runs per arm"
    for verdict, why in (
        of_effect(interval(1.3, 1.5), 1.4, seeds),
        at_least(interval(1.3, 1.5), 1.0, seeds),
        of_none(interval(-0.1, 0.1), seeds),
        of_ratio(interval(5.0, 7.0), 6.0, seeds),
        of_value(interval(40.6, 40.8), 40.7, "top1_error", seeds),
    ):
        assert verdict == "inconclusive"
        assert words in why


ENDS = st.floats(-20, 20, allow_nan=False).map(lambda value: round(value, 2))


@given(ENDS, ENDS, ENDS | st.none())
def test_verdicts_exclude_each_other_and_mean_what_they_say(one: float, two: float, published: float | None) -> None:
    low, high = sorted((one, two))
    verdict, why = of_effect(interval(low, high), published, 5)
    assert why
    direction = 1 if published is None or published >= 0 else -1
    claimed_side = (low > 0) if direction > 0 else (high < 0)
    other_side = (high < 0) if direction > 0 else (low > 0)
    holds_zero = low <= 0 <= high
    if published == 0:
        assert (verdict == "reproduced") == (low >= -NEGLIGIBLE and high <= NEGLIGIBLE)
        assert verdict in {"reproduced", "contradicted", "inconclusive"}
        return
    assert (verdict == "contradicted") == other_side
    assert (verdict in {"reproduced", "same direction"}) == claimed_side
    assert (verdict in {"inconclusive", "not seen"}) == holds_zero
    if published is not None:
        holds_published = low <= published <= high
        if verdict == "reproduced":
            assert holds_published
            assert abs(low + high) / 2 <= 2 * abs(published)
        if holds_zero:
            assert (verdict == "inconclusive") == holds_published
