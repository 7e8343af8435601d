"""Power and peeking: what is promised is what simulated claims, true and false, get."""

import numpy as np
import pytest
from scipy import stats

from repro.stats import most_seeds, peeking_level, seeds_needed
from repro.stats.intervals import over_seeds
from repro.stats.rule import NEGLIGIBLE
from repro.stats.sequential import _power
from repro.stats.verdict import of_effect
from repro.terms import FEWEST_SEEDS

SIMULATIONS = 2000


def simulated(effect: float, spread: float, seeds: int, generator_seed: int) -> np.ndarray:
    """Per-seed effects (SIMULATIONS, seeds), points."""
    noise = np.random.default_rng(generator_seed).standard_normal((SIMULATIONS, seeds))
    return effect + spread * noise


def p_values(effects: np.ndarray, looks: range) -> np.ndarray:
    """Two-sided p of the t-test after each number of seeds, (looks, simulations), by scipy."""
    return np.array([stats.ttest_1samp(effects[:, :seeds], 0.0, axis=1).pvalue for seeds in looks])


def until_decided(effects: np.ndarray, claimed: float, max_seeds: int) -> tuple[list[str], list[float], float]:
    """The verdict and the ends of the interval that each simulated sweep stops with, and the mean number of seeds.

    A sweep adds a seed while the claim is inconclusive by the widened interval, up to `max_seeds`.
    """
    verdicts, ends, used = [], [], 0
    for row in effects.tolist():
        for seeds in range(FEWEST_SEEDS, max_seeds + 1):
            interval = over_seeds(row[:seeds], confidence=1 - peeking_level(max_seeds))
            verdict, _ = of_effect(interval, claimed, seeds, negligible=NEGLIGIBLE)
            if verdict != "inconclusive":
                break
        verdicts.append(verdict)
        ends.append((interval.low, interval.high))
        used += seeds
    return verdicts, ends, used / len(verdicts)


@pytest.mark.parametrize(("spread", "claimed"), [(0.4, 0.4), (0.3, 1.4), (0.5, 0.4)])
def test_peeking_keeps_the_error_rate_and_the_power(spread: float, claimed: float) -> None:
    limit = most_seeds(spread, claimed)
    assert limit is not None
    asserts_an_effect = {"reproduced", "same direction", "contradicted"}

    verdicts, _, _ = until_decided(simulated(0.0, spread, limit, 1), claimed, limit)
    assert sum(verdict in asserts_an_effect for verdict in verdicts) / SIMULATIONS <= 0.05

    verdicts, ends, used = until_decided(simulated(claimed, spread, limit, 2), claimed, limit)
    assert sum(verdict in {"reproduced", "same direction"} for verdict in verdicts) / SIMULATIONS >= 0.80
    assert verdicts.count("not seen") / SIMULATIONS <= 0.05
    assert sum(not low <= claimed <= high for low, high in ends) / SIMULATIONS <= 0.05
    assert used < limit or limit <= 4  # it does stop early


def test_a_fixed_interval_would_not_survive_peeking() -> None:
    """What the wider boundary is for: looking at p < 0.05 after every seed finds effects that are not there."""
    found = p_values(simulated(0.0, 0.4, 20, 3), range(3, 21)).min(axis=0) < 0.05
    assert np.mean(found) > 0.12


def test_more_seeds_by_hand_cost_little_more_than_the_first_look() -> None:
    """A verdict at 3 seeds, another at 5, another at 10: the first at 95%, the others as wide as their setting says."""
    p = p_values(simulated(0.0, 0.4, 10, 6), range(3, 11))[[0, 2, 7]]
    plain = (p < 0.05).any(axis=0)
    widened = (p[0] < 0.05) | (p[1] < peeking_level(5)) | (p[2] < peeking_level(10))
    assert np.mean(plain) > 0.10
    assert np.mean(widened) < 0.085


@pytest.mark.parametrize("looks", [3, 6, 20])
def test_the_peeking_level_spends_five_percent_over_all_looks(looks: int) -> None:
    level = peeking_level(looks)
    effects = np.random.default_rng(4).standard_normal((20_000, looks))  # not the generator behind the boundary
    found = p_values(effects, range(3, looks + 1)).min(axis=0) < level
    assert np.mean(found) == pytest.approx(0.05, abs=0.006)


def test_one_look_needs_no_correction_and_more_looks_need_more() -> None:
    levels = [peeking_level(looks) for looks in (3, 4, 8, 16, 32)]
    assert levels[0] == pytest.approx(0.05, abs=0.003)
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] > 0.05 / 30  # Bonferroni over the looks would be far stricter


@pytest.mark.parametrize(("spread", "claimed"), [(0.4, 0.4), (0.5, 0.4), (0.4, 0.7)])
def test_seeds_needed_have_the_power_that_they_promise(spread: float, claimed: float) -> None:
    seeds = seeds_needed(spread, claimed)
    assert seeds is not None
    found, fewer = (p_values(simulated(claimed, spread, n, 5), range(n, n + 1)) < 0.05 for n in (seeds, seeds - 1))
    assert np.mean(found) >= 0.78  # 80% less the noise of 2,000 simulations
    assert np.mean(fewer) < 0.82


def test_seeds_needed_grow_with_spread_and_shrink_with_the_claim() -> None:
    assert seeds_needed(0.1, 1.4) == 3
    assert seeds_needed(0.4, -0.4) == seeds_needed(0.4, 0.4)
    assert seeds_needed(0.0, 0.4) == 3
    numbers = [seeds_needed(spread, 0.4) or 0 for spread in (0.2, 0.4, 0.8, 1.6)]
    assert numbers == sorted(set(numbers))


def test_a_small_test_set_cannot_be_made_up_by_seeds() -> None:
    """400 images that decide differently in a tenth of cases: 0.4 points are below what they resolve."""
    assert seeds_needed(0.4, 0.4, images=0.25) is None
    some = seeds_needed(0.4, 0.4, images=0.01)
    assert some is not None
    assert some > (seeds_needed(0.4, 0.4) or 0)


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="claimed effect is 0"):
        seeds_needed(0.4, 0.0)
    with pytest.raises(ValueError, match="zero or more"):
        seeds_needed(-1.0, 0.4)
    with pytest.raises(ValueError, match="give at least 3"):
        peeking_level(2)


@pytest.mark.parametrize("images", [0.0, 0.01])
@pytest.mark.parametrize(
    ("spread", "claimed", "seeds"), [(0.4, 0.4, 3), (0.4, 0.4, 10), (1.0, -0.3, 25), (0.1, 1.0, 4)]
)
def test_power_is_that_of_the_noncentral_t(spread: float, claimed: float, seeds: int, images: float) -> None:
    expected = []
    for part in (0.0, images):
        of_seeds = spread**2 / seeds
        size, freedom = claimed / (of_seeds + part) ** 0.5, (seeds - 1) * (1 + part / of_seeds) ** 2
        beyond = stats.t.isf(0.025, freedom)
        expected.append(stats.nct.sf(beyond, freedom, size) + stats.nct.cdf(-beyond, freedom, size))
    assert _power(seeds, spread, claimed, 0.05, images) == pytest.approx(min(expected), abs=1e-9)


def test_power_is_a_number_where_it_is_certain() -> None:
    """scipy's noncentral t is nan on the far side at some large effects, and a nan is not less than any power."""
    for seeds in (3, 4, 11, 31, 101, 384):
        for claimed in np.linspace(0.05, 15, 60):
            assert 0 < _power(seeds, 0.5, claimed, 0.05, 0.02) <= 1
    needed = seeds_needed(0.5, 0.4, images=0.02)  # hundreds: on the way there it is certain without the images
    assert needed is not None
    assert _power(needed - 1, 0.5, 0.4, 0.05, 0.02) < 0.8 <= _power(needed, 0.5, 0.4, 0.05, 0.02)


def test_most_seeds_is_more_than_a_single_look_needs() -> None:
    assert (most_seeds(0.4, 0.4) or 0) > (seeds_needed(0.4, 0.4) or 0)
    assert most_seeds(5.0, 0.1) is None


@pytest.mark.parametrize("claimed", [0.4, 0.7, 1.0])
@pytest.mark.parametrize("images", [0.0, 0.01, 0.02, 0.05])
def test_most_seeds_count_the_images_as_a_single_look_does(claimed: float, images: float) -> None:
    """A sweep that stops at fewer seeds than one look needs cannot have the power; with none enough it has no end."""
    once, most = seeds_needed(0.5, claimed, images=images), most_seeds(0.5, claimed, images=images)
    if once is None:
        assert most is None
    assert (once or 10_001) >= (seeds_needed(0.5, claimed) or 10_001)  # and more variance never takes fewer
    if most is not None:
        assert once is not None
        assert most >= once
        assert _power(most, 0.5, claimed, peeking_level(most), images) >= 0.8
