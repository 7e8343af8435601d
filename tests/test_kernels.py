"""Figure 3's question, on kernels where the answer is known."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from repro.report.contents import color_selectivity
from repro.stats.kernels import tower_difference

RUN = Path(__file__).parent.parent / "results" / "runs"


def test_towers_that_differ_are_told_from_towers_that_do_not() -> None:
    generator = np.random.default_rng(0)
    alike = [generator.random(48) for _ in range(5)]
    assert tower_difference(alike).combined_p > 0.05
    unlike = [np.concatenate([one[:24] * 0.3, one[24:]]) for one in alike]
    found = tower_difference(unlike)
    assert (found.significant, found.combined_p) == (5, pytest.approx(1e-4))
    swapped = tower_difference([np.roll(one, 24) for one in unlike])
    assert swapped.apart == pytest.approx(found.apart), "which of the towers it is does not count"


def test_the_p_of_one_run_is_that_of_scipy() -> None:
    share = np.random.default_rng(3).random(16)
    share[:8] += 0.3

    def apart(one: np.ndarray, two: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(one.mean(axis=axis) - two.mean(axis=axis))

    parts = (share[:8], share[8:])
    exact = stats.permutation_test(parts, apart, alternative="greater", n_resamples=np.inf).pvalue
    assert tower_difference([share]).p[0] == pytest.approx(exact, abs=0.01)


def test_the_published_net_does_not_show_it_beyond_chance() -> None:
    kernels = [np.load(path) for path in RUN.glob("*/seed-*/kernels.npy")]
    large = [one for one in kernels if one.shape[-1] == 7]  # of the net of ten ImageNet classes
    assert len(large) == 1
    assert tower_difference([color_selectivity(large[0])]).p[0] == pytest.approx(0.08, abs=0.02)


def test_an_odd_number_of_maps_and_no_run_are_refused() -> None:
    with pytest.raises(ValueError, match="no run"):
        tower_difference([])
    with pytest.raises(ValueError, match="7 maps"):
        tower_difference([np.ones(7)])
