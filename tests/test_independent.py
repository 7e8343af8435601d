"""Arms of independent runs: intervals that cover, power that comes true, numbers that scipy agrees with."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtr

from repro.stats.endpoints import VISIBLE, failure_rate, rates_differ_visibly, same_rate_p
from repro.stats.evidence import IMAGE_REPLICATES
from repro.stats.independent import (
    OVER_RUNS,
    OVER_RUNS_AND_IMAGES,
    baseline_runs,
    images_of_difference,
    independent_ratio,
    level_of_looks,
    of_few,
    one_more_pair,
    runs_needed,
    shuffles,
    welch,
    welch_power,
)
from repro.stats.intervals import Count
from repro.terms import FEWEST_SEEDS
from tests.test_stats import DIFFICULTY, IMAGES, MARGINS, REGIMES, SHARED, true_effect

# --- what is simulated, here and in tests/simulations.py --------------------------------------------------------------

SIZES = ((3, 3), (5, 5), (6, 15), (3, 10))  # runs of the arm and of its reference
SPREAD = 0.9  # points: standard deviation of the errors of runs
REST = 20.0  # points: a run's luck on an image; images are as many as those of tests/test_stats.py
DOMINANT = {"runs": 0.1, "both": 0.6, "images": 2.0}  # standard deviation, points, of what images add to the effect
Law = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def normal(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Luck of runs: mean 0, standard deviation 1."""
    return generator.standard_normal(shape)


def heavy(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """The same with the tails of Student's t with 3 degrees of freedom."""
    return generator.standard_t(3, shape) / math.sqrt(3)


def contaminated(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Normal, but one run in ten is 10 points worse (SPREAD points are 1); mean 0."""
    return generator.standard_normal(shape) + 10 / SPREAD * ((generator.random(shape) < 0.1) - 0.1)


def simulated_runs(
    sizes: tuple[int, int], spreads: tuple[float, float], laws: tuple[Law, Law], of_images: float, simulations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors (simulations, runs) of two arms without a difference, and the images' variance that would be estimated.

    `of_images` is the standard deviation of what images add to the effect, points. In the normal layout the three mean
    squares behind `images_of_difference` are independent chi-squares, which are drawn directly.
    """
    generator = np.random.default_rng(15)
    arm, reference = (
        spread * law(generator, (simulations, runs)) for runs, spread, law in zip(sizes, spreads, laws, strict=True)
    )
    arm += of_images * generator.standard_normal((simulations, 1))
    read = [min(runs, IMAGE_REPLICATES) for runs in sizes]
    seen = IMAGES * of_images**2 + sum(REST**2 / runs for runs in read)
    variance = seen * generator.chisquare(IMAGES - 1, simulations) / (IMAGES - 1)
    for runs in read:
        freedom = (IMAGES - 1) * (runs - 1)
        variance -= REST**2 / runs * generator.chisquare(freedom, simulations) / freedom
    return arm, reference, np.maximum(variance, 0.0) / IMAGES


def welch_p(arm: np.ndarray, reference: np.ndarray, images: np.ndarray | float = 0.0) -> np.ndarray:
    """Two-sided p of `welch` for each row (simulations, runs); nan is a run that is not there, and below two runs p is
    nan. The interval holds the truth where p of the errors less the truth is above 5%."""
    counts = [np.isfinite(side).sum(axis=1) for side in (arm, reference)]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.nansum(side, axis=1) / count for side, count in zip((arm, reference), counts, strict=True)]
        parts = [
            np.nansum((side - mean[:, None]) ** 2, axis=1) / (count - 1) / count
            for side, mean, count in zip((arm, reference), means, counts, strict=True)
        ]
        found = []
        for extra in (0.0, images):
            total = parts[0] + parts[1] + extra
            freedom = total**2 / sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
            found.append(2 * stdtr(freedom, -np.abs(means[0] - means[1]) / np.sqrt(total)))
    return np.asarray(np.maximum(*found))


def networks(regime: str, sizes: tuple[int, int], generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Errors (runs, images) in points of two arms of independent runs, by the margins of tests/test_stats.py."""
    taste, run, noise = REGIMES[regime]
    difficulty = np.float32(DIFFICULTY) * generator.standard_normal(IMAGES, dtype=np.float32)

    def errors(margin: float, runs: int) -> np.ndarray:
        of_arm = np.float32(margin) + difficulty + np.float32(taste) * generator.standard_normal(IMAGES, np.float32)
        luck = np.float32(math.hypot(run, SHARED)) * generator.standard_normal((runs, 1), np.float32)
        luck = luck + np.float32(noise) * generator.standard_normal((runs, IMAGES), np.float32)
        return np.float32(100) * (of_arm + luck < 0)

    theirs, ours = (errors(margin, runs) for margin, runs in zip(MARGINS, sizes[::-1], strict=True))
    return ours, theirs


def networks_covered(regime: str, sizes: tuple[int, int], simulations: int) -> tuple[float, float]:
    """How often the intervals of networks hold the true effect: with the images' part, and without it."""
    generator = np.random.default_rng(16)
    arm, reference = np.empty((simulations, sizes[0])), np.empty((simulations, sizes[1]))
    images = np.empty(simulations)
    for row in range(simulations):
        ours, theirs = networks(regime, sizes, generator)
        arm[row], reference[row] = ours.mean(axis=1), theirs.mean(axis=1)
        images[row] = images_of_difference(ours[:IMAGE_REPLICATES], theirs[:IMAGE_REPLICATES])
    arm -= true_effect(regime)
    with_images, without = welch_p(arm, reference, images), welch_p(arm, reference)
    return float(np.mean(with_images > 0.05)), float(np.mean(without > 0.05))


def lost(
    sizes: tuple[int, int], rates: tuple[float, float], simulations: int, *, worst: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Errors (simulations, runs) of arms without a difference, nan where a run failed: by chance, or the worst."""
    generator = np.random.default_rng(17)
    sides = []
    for runs, rate in zip(sizes, rates, strict=True):
        luck = generator.standard_normal((simulations, runs))
        fails = luck > stats.norm.isf(rate) if worst else generator.random(luck.shape) < rate
        sides.append(np.where(fails, np.nan, SPREAD * luck))
    return sides[0], sides[1]


def withheld(arm: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether the rule on failure rates withholds the verdict, for each row (simulations, runs)."""
    failed = [np.isnan(side).sum(axis=1) for side in (arm, reference)]
    runs = arm.shape[1], reference.shape[1]
    rule = {
        (ours, theirs): rates_differ_visibly(ours, runs[0], theirs, runs[1]) is not None
        for ours, theirs in {*zip(*(side.tolist() for side in failed), strict=True)}
    }
    return np.array([rule[pair] for pair in zip(*(side.tolist() for side in failed), strict=True)])


def three_left(arm: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Whether each arm has the three trained runs that a verdict takes, for each row (simulations, runs)."""
    trained = [np.isfinite(side).sum(axis=1) for side in (arm, reference)]
    return np.asarray(np.minimum(*trained) >= FEWEST_SEEDS)


# --- coverage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dominant", DOMINANT)
def test_intervals_of_independent_runs_cover_the_true_effect(sizes: tuple[int, int], dominant: str) -> None:
    for spreads in ((SPREAD, SPREAD), (3 * SPREAD, SPREAD), (SPREAD, 3 * SPREAD)):
        drawn = simulated_runs(sizes, spreads, (normal, normal), DOMINANT[dominant], 2000)
        assert 0.92 <= np.mean(welch_p(*drawn) > 0.05) <= 0.975, spreads
    drawn = simulated_runs(sizes, (SPREAD, SPREAD), (heavy, heavy), DOMINANT[dominant], 2000)
    assert 0.92 <= np.mean(welch_p(*drawn) > 0.05) <= 0.99


def test_without_the_images_part_the_interval_misses() -> None:
    drawn = simulated_runs((5, 5), (SPREAD, SPREAD), (normal, normal), DOMINANT["images"], 2000)
    assert np.mean(welch_p(*drawn[:2]) > 0.05) < 0.6


@pytest.mark.parametrize("regime", REGIMES)
def test_intervals_of_networks_that_share_test_images_cover(regime: str) -> None:
    with_images, _ = networks_covered(regime, (3, 5), 400)
    assert 0.92 <= with_images <= 0.98


# --- intervals and tests ----------------------------------------------------------------------------------------------


def test_the_images_part_is_what_runs_do_not_average_out() -> None:
    """Known: 50 + 50 points squared of the arms' tastes over P images; neither difficulty nor the luck of runs."""
    generator = np.random.default_rng(1)
    draw = generator.standard_normal
    found = []
    for _ in range(200):
        difficulty = 30 * draw(500)
        arm, reference = (
            difficulty + math.sqrt(50) * draw(500) + draw((runs, 1)) + rest * draw((runs, 500))
            for runs, rest in ((2, 20), (4, 35))
        )
        found.append(images_of_difference(arm, reference))
    assert np.mean(found) == pytest.approx(100 / 500, rel=0.1)


def test_one_run_keeps_its_own_luck_and_whole_keeps_everything() -> None:
    generator = np.random.default_rng(2)
    one, many = generator.standard_normal((1, 400)), generator.standard_normal((5, 400))
    whole = images_of_difference(one, many, whole=True)
    assert whole == pytest.approx(float((one.mean(axis=0) - many.mean(axis=0)).var(ddof=1)) / 400)
    rest_of_many = images_of_difference(one, many) - whole
    assert rest_of_many == pytest.approx(-0.2 / 400, rel=0.1)
    assert images_of_difference(many, many) == 0.0  # floored
    assert images_of_difference(many[:, :1], one[:, :1]) == 0.0
    with pytest.raises(ValueError, match="400 images, its reference on 399"):
        images_of_difference(many, one[:, :-1])


numbers = st.lists(st.floats(0, 100), min_size=2, max_size=9)


@given(numbers, numbers)
def test_without_images_it_is_the_welch_test_of_scipy(arm: list[float], reference: list[float]) -> None:
    assume(min(np.std(arm), np.std(reference)) > 1e-3)  # else scipy warns
    expected = stats.ttest_ind(arm, reference, equal_var=False)
    low, high = expected.confidence_interval(0.9)
    interval, p = welch(arm, reference, confidence=0.9)
    assert (interval.low, interval.high, p) == pytest.approx((low, high, expected.pvalue), rel=1e-6, abs=1e-9)
    assert interval.method == OVER_RUNS


@given(numbers, numbers, st.floats(0, 10))
def test_images_never_narrow_the_interval_nor_lower_p(arm: list[float], reference: list[float], images: float) -> None:
    alone, p_alone = welch(arm, reference)
    interval, p = welch(arm, reference, images)
    assert interval.low <= alone.low and interval.high >= alone.high and p >= p_alone
    assert interval.method == (OVER_RUNS_AND_IMAGES if images > 0 else OVER_RUNS)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (interval.low > 0 or interval.high < 0)


def test_runs_without_a_spread_are_no_division_by_zero() -> None:
    assert welch([2.0, 2.0], [2.0, 2.0])[1] == 1.0
    interval, p = welch([3.0, 3.0], [2.0, 2.0])
    assert (interval.low, interval.high, p) == (1.0, 1.0, 0.0)
    interval, _ = welch([3.0, 3.0], [2.0, 2.0], 0.25)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.5, rel=1e-3)  # images alone: normal


def test_one_run_has_no_spread_and_says_so() -> None:
    with pytest.raises(ValueError, match="1 and 5 runs"):
        welch_power(1, 5, 0.9, 0.9, 1.4)
    with pytest.raises(ValueError, match="a spread takes two runs an arm"):
        welch([1.0], [2.0, 3.0])


def test_simulated_p_is_that_of_the_interval_in_use() -> None:
    arm, reference, images = simulated_runs((3, 10), (SPREAD, 2.0), (normal, heavy), 0.6, 20)
    ours = [welch(*row)[1] for row in zip(arm, reference, images, strict=True)]
    assert welch_p(arm, reference, images) == pytest.approx(ours)


def test_few_runs_have_an_interval_of_images_only() -> None:
    interval = of_few([3.0], [2.0], 0.25)
    assert (interval.mean, interval.images_only, interval.method) == (1.0, True, "images only, one run per arm")
    assert interval.high == pytest.approx(1 + 1.96 * 0.5, rel=1e-3)
    assert of_few([3.0], [2.0, 2.0], 0.25).method == "images only, 1 against 2 runs"


def test_one_more_pair_falls_into_its_prediction_interval() -> None:
    generator, held = np.random.default_rng(3), 0
    for _ in range(1000):
        arm, reference = 3 * generator.standard_normal(5), generator.standard_normal(9)
        interval = one_more_pair(arm[:4], reference[:8])
        held += interval.low <= arm[4] - reference[8] <= interval.high
    assert 0.93 <= held / 1000 <= 0.97


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (4, 6), (6, 6)])
def test_exact_shuffles_are_those_of_scipy(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(4)
    for _ in range(5):
        arm, reference = (generator.integers(0, 9, runs).astype(float).tolist() for runs in sizes)  # with ties
        p, smallest = shuffles(arm, reference)
        expected = stats.permutation_test(
            (arm, reference), lambda one, two, axis: np.sum(one, axis=axis), vectorized=True
        )
        assert p == pytest.approx(expected.pvalue)
        assert smallest == 2 / math.comb(sum(sizes), sizes[0])


def test_random_shuffles_agree_with_those_of_scipy() -> None:
    generator = np.random.default_rng(5)
    arm, reference = generator.standard_normal(8) + 0.8, generator.standard_normal(12)
    p, smallest = shuffles(arm.tolist(), reference.tolist())
    expected = stats.permutation_test(
        (arm, reference),
        lambda one, two, axis: np.mean(one, axis=axis) - np.mean(two, axis=axis),
        vectorized=True,
        rng=np.random.default_rng(6),
    )
    assert p == pytest.approx(expected.pvalue, abs=0.012)
    assert smallest == 2 / 10_000
    assert shuffles(arm.tolist(), reference.tolist())[0] == p


# --- times ------------------------------------------------------------------------------------------------------------


def counts(*epochs: float) -> list[Count]:
    return [Count(value) for value in epochs]


def test_the_ratio_is_welch_on_logs() -> None:
    arm, reference = (6.0, 7.0, 6.5, 8.0), (1.0, 1.2, 1.1)
    expected = stats.ttest_ind(np.log(arm), np.log(reference), equal_var=False)
    interval, p = independent_ratio(counts(*arm), counts(*reference))
    low, high = np.exp(expected.confidence_interval(0.95))
    assert (interval.low, interval.high, p) == pytest.approx((low, high, expected.pvalue))
    assert interval.mean == pytest.approx(stats.gmean(arm) / stats.gmean(reference))


@pytest.mark.parametrize(("censored", "ends"), [("arm", (True, False)), ("reference", (False, True))])
def test_a_censored_run_opens_the_end_that_it_does_not_bound(censored: str, ends: tuple[bool, bool]) -> None:
    sides = {"arm": counts(6.0, 7.0, 6.5), "reference": counts(1.0, 1.2, 1.1, 1.3)}
    sides[censored][0] = Count(sides[censored][0].epochs, censored=True)
    interval, p = independent_ratio(**sides)
    assert (interval.low > 0, interval.high < math.inf, p) == (*ends, None)
    assert interval.method.endswith(", 1 of 7 runs censored")


def test_the_ratio_holds_what_any_times_between_the_tests_would_give() -> None:
    generator = np.random.default_rng(7)
    tests = [[Count(value, between=(value - 2, value + 2)) for value in side] for side in ((8, 10, 8), (4, 6, 4, 4, 6))]
    interval, p = independent_ratio(*tests)
    assert p is not None
    for _ in range(300):
        inside = [counts(*(generator.uniform(*one.between) for one in side if one.between)) for side in tests]
        other, other_p = independent_ratio(*inside)
        assert interval.low <= other.low and other.high <= interval.high and other_p is not None and other_p <= p
    assert independent_ratio(tests[0], [Count(2.0, between=(0.0, 4.0)), *tests[1]])[0].high == math.inf


def test_fewer_than_three_times_have_no_ends() -> None:
    interval, p = independent_ratio(counts(6.0, 6.0), counts(1.0, 1.0, 1.0))
    assert (interval.low, interval.high, p) == (0.0, math.inf, None)
    assert interval.mean == pytest.approx(6.0)


# --- power ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sizes", "spreads"), [((5, 5), (0.9, 0.9)), ((5, 15), (0.9, 0.9)), ((4, 8), (1.2, 0.5))])
@pytest.mark.parametrize("of_images", [0.0, 0.5])
def test_promised_power_is_what_simulated_arms_get(
    sizes: tuple[int, int], spreads: tuple[float, float], of_images: float
) -> None:
    arm, reference, images = simulated_runs(sizes, spreads, (normal, normal), of_images, 4000)
    if of_images == 0:
        images[:] = 0
    simulated = np.mean(welch_p(arm + 1.4, reference, images) < 0.05)
    assert simulated == pytest.approx(welch_power(*sizes, *spreads, 1.4, images=of_images**2), abs=0.02)


def test_runs_needed_are_the_fewest_with_80_percent_power() -> None:
    for contrasts in (1, 4):
        runs = runs_needed(0.9, 0.9, 1.4, contrasts=contrasts)
        assert runs is not None
        powers = [welch_power(n, baseline_runs(n, contrasts), 0.9, 0.9, 1.4) for n in (runs - 1, runs)]
        assert powers[0] < 0.8 <= powers[1]
    assert runs_needed(0.9, 0.9, 0.3, images=1.0) is None  # the test set is too small
    assert runs_needed(0.0, 0.0, 0.3) == 3
    with pytest.raises(ValueError, match="claimed effect is 0"):
        runs_needed(0.9, 0.9, 0.0)


def test_a_shared_baseline_has_root_k_times_the_runs() -> None:
    assert [baseline_runs(5, contrasts) for contrasts in (1, 2, 4, 9)] == [5, 8, 10, 15]


@pytest.mark.parametrize(("most", "contrasts"), [(3, 1), (6, 1), (3, 9), (8, 9)])
def test_all_looks_at_independent_runs_together_err_in_five_percent(most: int, contrasts: int) -> None:
    sizes = (most, baseline_runs(most, contrasts))
    arm, reference, _ = simulated_runs(sizes, (SPREAD, SPREAD), (normal, normal), 0.0, 20_000)
    looks = [(runs, baseline_runs(runs, contrasts)) for runs in range(3, most + 1)]
    smallest = np.min([welch_p(arm[:, :ours], reference[:, :theirs]) for ours, theirs in looks], axis=0)
    errs = np.mean(smallest < level_of_looks(most, contrasts))
    assert 0.03 <= errs <= 0.056  # at one contrast the level is that of pairs: room for unequal spreads
    if contrasts > 4:
        assert errs == pytest.approx(0.05, abs=0.006)


def test_fewer_than_three_runs_have_no_look() -> None:
    with pytest.raises(ValueError, match="a verdict takes 3 runs"):
        level_of_looks(2)


# --- runs that fail ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 40).flatmap(lambda runs: st.tuples(st.integers(0, runs), st.just(runs))))
def test_the_failure_rate_has_the_exact_interval_of_scipy(case: tuple[int, int]) -> None:
    interval = failure_rate(*case)
    expected = stats.binomtest(*case).proportion_ci(method="exact")
    assert (interval.low / 100, interval.high / 100) == pytest.approx((expected.low, expected.high), abs=1e-9)


def tables(most: int) -> Sequence[tuple[int, int, int, int]]:
    """Some failures among runs of an arm and of its reference."""
    generator = np.random.default_rng(8)
    runs = generator.integers(1, most, (60, 2))
    return [(int(generator.integers(0, a + 1)), int(a), int(generator.integers(0, b + 1)), int(b)) for a, b in runs]


def test_equal_failure_rates_have_the_p_of_fisher() -> None:
    for failed, runs, other, others in tables(25):
        expected = stats.fisher_exact([[failed, runs - failed], [other, others - other]]).pvalue
        assert same_rate_p(failed, runs, other, others) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("case", "withheld"),
    [
        ((0, 5, 0, 5), False),
        ((1, 5, 0, 5), False),
        ((2, 5, 0, 5), True),
        ((4, 5, 0, 5), True),
        ((2, 5, 2, 5), False),
        ((1, 5, 1, 15), False),
        ((2, 5, 0, 15), True),
        ((3, 10, 0, 10), True),
        ((6, 30, 0, 30), True),  # 20 points apart, and sure
        ((5, 30, 0, 30), False),
    ],
)
def test_a_verdict_is_withheld_where_failure_rates_differ_visibly(
    case: tuple[int, int, int, int], withheld: bool
) -> None:
    why, mirrored = rates_differ_visibly(*case), rates_differ_visibly(*case[2:], *case[:2])
    assert (why is not None, mirrored is not None) == (withheld, withheld)
    if why:
        assert f"{case[0]} of {case[1]} runs of the arm failed" in why


def test_more_failures_than_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="6 failed of 5 runs"):
        failure_rate(6, 5)
    assert VISIBLE < 100 / 3  # one failure in three runs against none is visible


@pytest.mark.parametrize("worst", [False, True])
def test_intervals_among_trained_runs_cover_with_one_run_in_ten_lost(worst: bool) -> None:
    arm, reference = lost((5, 5), (0.1, 0.0), 4000, worst=worst)
    given = ~withheld(arm, reference) & three_left(arm, reference)
    assert 0.93 <= np.mean(welch_p(arm, reference)[given] > 0.05) <= 0.97
    dead = np.nan_to_num(arm, nan=50.0) - 5.0 * (1 - worst)  # as an ordinary mean, whose truth is a tenth of 50 points
    if not worst:
        assert np.mean(welch_p(dead, reference) > 0.05) < 0.65
