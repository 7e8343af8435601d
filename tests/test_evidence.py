"""What a verdict costs: the arithmetic of designs, simulated too; prices of made-up runs; the published table."""

from __future__ import annotations

import gc
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro.bench import Texts, evidence
from repro.bench.made_up import write_setting
from repro.experiments import registry
from repro.experiments.design import Factor, Screen
from repro.stats import designs, price
from repro.stats.designs import analyze_screen
from repro.stats.independent import welch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "verdicts.md"
BEGIN = "<!-- prices: python -m tests.test_evidence writes this table -->\n"
END = "<!-- end of prices -->\n"
FACTORS = evidence.most_factors(registry.load().experiments.values())  # those of `fidelity`


def screen_of(rows: int, factors: int) -> price.Layout:
    return next(one for size in range(9) if (one := price.layouts("screen", factors)(size)).runs == rows)


def test_a_screen_of_64_rows_takes_an_eighth_of_the_runs_of_one_at_a_time_for_intervals_as_narrow() -> None:
    width = price.half_width(screen_of(64, FACTORS))
    alone = price.as_narrow("one at a time", FACTORS, width)
    shared = price.as_narrow("shared baseline", FACTORS, width)
    assert alone and shared
    assert 64 / alone.runs <= 1 / 8
    assert (FACTORS, alone.runs, shared.runs) == (20, 1280, 514)  # as docs/verdicts.md says
    fewer = price.layouts("one at a time", FACTORS)(alone.arm - 1 - 3)
    assert fewer.arm == alone.arm - 1 and price.half_width(fewer) > width


def test_in_simulation_the_intervals_of_that_screen_are_as_narrow_as_those_of_so_many_pairs_of_arms() -> None:
    """By the very functions that judge: least squares with HC2 errors, and Welch's t. The means of 100 widths are known
    to 1%."""
    generator = np.random.default_rng(21)
    names = [f"f{place}" for place in range(FACTORS)]
    rows = designs.levels(Screen([Factor(name, high={name: 1}) for name in names], ["cifar10"]), FACTORS)
    screened, paired = [], []
    gc.freeze()  # multipletests collects garbage on each call, which takes longer than all the rest
    runs = price.as_narrow("one at a time", FACTORS, price.half_width(screen_of(64, FACTORS)))
    assert runs
    for _ in range(100):
        found = analyze_screen(names, rows, (40 + generator.standard_normal(64)).tolist()).estimates
        screened.append(np.mean([(one.interval.high - one.interval.low) / 2 for one in found if one.interval]))
        interval, _ = welch(generator.standard_normal(runs.arm), generator.standard_normal(runs.reference))
        paired.append((interval.high - interval.low) / 2)
    gc.unfreeze()
    assert np.mean(screened) == pytest.approx(np.mean(paired), rel=0.03)
    assert np.mean(paired) == pytest.approx(price.half_width(runs), rel=0.03)


@pytest.mark.parametrize(
    ("design", "size", "runs", "error", "freedom"),
    [
        ("one at a time", 2, 4 * 10, math.sqrt(2 / 5), 8),  # five runs of each side
        ("shared baseline", 2, 4 * 5 + 10, math.sqrt(1 / 5 + 1 / 10), 0.09 / (0.04 / 4 + 0.01 / 9)),
        ("screen", 3, 64, 0.25, 59),
        ("factorial", 2, 48, 2 / math.sqrt(48), 48 - 1 - 4 - 6),
    ],
)
def test_layouts_for_four_factors(design: price.DesignName, size: int, runs: int, error: float, freedom: float) -> None:
    found = price.layouts(design, 4)(size)
    assert found.runs == runs
    assert (found.error, found.freedom) == pytest.approx((error, freedom))


def test_what_decides_has_the_power_that_it_promises() -> None:
    """A screen for an effect of 0.7 spreads, beside 400 simulated ones: power is known to 2%."""
    found = price.deciding("screen", 20, 0.7)
    assert found
    generator = np.random.default_rng(22)
    rows = designs.levels(Screen([Factor(f"f{n}", high={f"f{n}": 1}) for n in range(20)], ["x"], runs=found.runs), 20)
    beyond = price.half_width(found) / found.error
    told = 0
    for _ in range(400):
        errors = rows[:, 0] * 0.35 + generator.standard_normal(len(rows))
        x = np.column_stack([rows, np.ones(len(rows))])
        fit, squares = np.linalg.lstsq(x, errors, rcond=None)[:2]
        spread = math.sqrt(float(squares[0]) / found.freedom)
        told += abs(2 * fit[0]) / (spread * found.error) > beyond
    assert told / 400 == pytest.approx(price.power(found, 0.7), abs=0.06)
    smaller = screen_of(found.runs // 2, 20) if found.runs > 64 else None
    assert price.power(found, 0.7) >= 0.8 and (smaller is None or price.power(smaller, 0.7) < 0.8)


def test_what_no_number_of_runs_tells() -> None:
    assert price.deciding("one at a time", 1, 1e-4) is None
    with pytest.raises(ValueError, match="no number of runs tells 0 from 0"):
        price.deciding("screen", 20, 0.0)
    with pytest.raises(ValueError, match="give 1 or more"):
        price.layouts("screen", 0)


@pytest.mark.parametrize(("level", "made"), [(40.0, (3, 3, True)), (30.7, (4, 4, False))])
def test_the_price_of_made_up_runs(tmp_path: Path, level: float, made: tuple[int, int, bool]) -> None:
    """An effect of ten points is told from none by three runs of each arm; half of the claimed one by no four."""
    experiment = registry.load().get("lrn-ablation")
    setting = write_setting(tmp_path, experiment, "cifar10", {"with-lrn": 30.0, "no-lrn": level}, seeds=4, spread=1.0)
    found = evidence.prices([experiment], tmp_path, tmp_path / "data")
    (one,) = [each for each in found if each.score.claim.arm == "no-lrn"]
    (other,) = [each for each in found if each.score.claim.arm == "conv1-only"]
    assert one.setting == setting.name and not one.simulated and one.measured
    assert (one.measured.arm, one.measured.reference, one.measured.decided) == made
    assert one.measured.hours == pytest.approx(one.hours * sum(made[:2]))
    assert one.size == 1.4 and set(one.designs) == set(price.DESIGNS)
    assert other.simulated and other.measured is None and other.size == 0.5 and other.spread == evidence.ASSUMED_SPREAD
    cells = dict(zip(evidence.table([one]).columns, evidence.table([one]).rows[0], strict=True))
    assert cells["made"].endswith(f"({made[0]}+{made[1]}{'' if made[2] else ', undecided'})")
    assert evidence.table([replace(one, designs={"screen": math.inf})]).rows[0][-2] == "too many"


def published_table() -> str:
    """The page's table, from results."""
    experiments = list(registry.load().experiments.values())
    found = evidence.prices(experiments, ROOT / "results", ROOT / "no-data")
    made: Texts = evidence.table(one for one in found if one.score.origin == "paper")
    lines = [made.columns, ["---"] * len(made.columns), *made.rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


@pytest.mark.slow
def test_the_published_prices_are_those_of_results() -> None:
    said = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    assert said == published_table(), "write it again: python -m tests.test_evidence"


if __name__ == "__main__":
    before, _, after = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + published_table() + END + after.partition(END)[2])
