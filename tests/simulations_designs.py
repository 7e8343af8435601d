"""The simulated numbers of designs: `python -m tests.simulations_designs` prints them; so does `tests.simulations`."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from repro import store
from repro.experiments.design import Factor, Screen
from repro.stats import designs
from repro.stats.designs import analyze_screen

SIMULATIONS = 500  # of each row: a mean power is known to about 1%
PUBLISHED = "cifar10+3c6ba0"  # the setting of the published results in which factors are compared
EFFECTS = np.array([0.5, 0.6, 0.7, 0.8])  # points, of either sign
INTERACTION = 0.5  # points, of either sign, of each pair of factors that interacts
RUNS_AN_ARM = 5


def published_spread() -> tuple[float, int]:
    """Standard deviation of runs about the mean of their arm, ten views, points, over all arms of PUBLISHED with three
    runs or more; and how many arms."""
    results = Path(__file__).parents[1] / "results"
    settings = [store.read_setting(path) for path in sorted((results / "experiments").glob(f"*/{PUBLISHED}.json"))]
    digests = {digest for setting in settings for digest in setting.arms.values()}
    table = pd.read_csv(results / "runs.csv")
    own = table[table.digest.isin(digests) & (table.view == "ten") & (table.seed < 1000)]
    arms = own.groupby("digest").top1_error_percent.agg(["var", "count"]).query("count >= 3")
    return float(np.sqrt(np.average(arms["var"], weights=arms["count"] - 1))), len(arms)


def active_effects(factors: int, generator: np.random.Generator) -> np.ndarray:
    """Effects (factors,), points: EFFECTS with random signs at random places, else 0."""
    effects = np.zeros(factors)
    places = generator.choice(factors, len(EFFECTS), replace=False)
    effects[places] = EFFECTS * generator.choice([-1.0, 1.0], len(EFFECTS))
    return effects


def screened(
    spread: float, factors: int, *, interactions: int = 0, lost: int = 0, covariance: str = designs.COVARIANCE
) -> tuple[np.ndarray, ...]:
    """Screens of 64 runs with so many pairs that interact, of which `lost` random ones do not train: true effects, p,
    and whether the interval holds the effect, each (SIMULATIONS, factors)."""
    generator = np.random.default_rng(31)
    names = [f"f{place}" for place in range(factors)]
    rows = designs.levels(Screen([Factor(name, high={name: 1}) for name in names], ["cifar10"]), len(names))
    truths, ps, held = [], [], []
    before, designs.COVARIANCE = designs.COVARIANCE, covariance
    for _ in range(SIMULATIONS):
        effects = active_effects(factors, generator)
        errors = 40 + rows @ effects / 2 + spread * generator.standard_normal(len(rows))
        for _ in range(interactions):
            one, two = generator.choice(factors, 2, replace=False)
            errors += generator.choice([-1.0, 1.0]) * INTERACTION / 4 * rows[:, one] * rows[:, two]
        seen: list[float | None] = errors.tolist()
        for place in generator.choice(len(rows), lost, replace=False):
            seen[place] = None
        found = analyze_screen(names, rows, seen).estimates
        truths.append(effects)
        ps.append([1.0 if one.p is None else one.p for one in found])
        held.append([
            one.interval is None or one.interval.low <= effect <= one.interval.high
            for one, effect in zip(found, effects, strict=True)
        ])  # fmt: skip
    designs.COVARIANCE = before
    return np.array(truths), np.array(ps), np.array(held)


def one_at_a_time(spread: float, factors: int) -> tuple[np.ndarray, ...]:
    """The same of RUNS_AN_ARM runs of the baseline and of an arm for each factor, by Welch's test."""
    generator = np.random.default_rng(32)
    truths = np.array([active_effects(factors, generator) for _ in range(SIMULATIONS)])
    baseline = spread * generator.standard_normal((SIMULATIONS, 1, RUNS_AN_ARM))
    arms = truths[:, :, None] + spread * generator.standard_normal((SIMULATIONS, factors, RUNS_AN_ARM))
    found = stats.ttest_ind(arms, baseline, axis=2, equal_var=False)
    ends = found.confidence_interval(0.95)
    return truths, found.pvalue, (ends.low <= truths) & (truths <= ends.high)


def row(name: str, runs: int, truths: np.ndarray, ps: np.ndarray, held: np.ndarray) -> str:
    """A row of the table: power at each effect and at all of them, false positives, and coverage, percent."""
    power = [np.mean(ps[np.isclose(np.abs(truths), effect)] < 0.05) for effect in EFFECTS]
    shares = [*power, np.mean(power), np.mean(ps[truths == 0] < 0.05), held.mean()]
    return f"| {name} | {runs} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |\n"


def withheld(spread: float) -> str:
    """How often a factor whose high level fails in a third of its runs is withheld or the whole design gives nothing,
    and how often a factor that has nothing to do with failures is, percent."""
    generator = np.random.default_rng(33)
    names = [f"f{place}" for place in range(19)]
    rows = designs.levels(Screen([Factor(name, high={name: 1}) for name in names], ["cifar10"]), len(names))
    own, others, none = 0, 0, 0
    for _ in range(SIMULATIONS):
        fails = (rows[:, 0] > 0) & (generator.random(len(rows)) < 1 / 3)
        errors = 40 + spread * generator.standard_normal(len(rows))
        found = analyze_screen(
            names, rows, [None if lost else error for lost, error in zip(fails, errors, strict=True)]
        )
        none += not found.estimates
        own += not found.estimates or bool(found.estimates[0].withheld)
        others += sum(bool(one.withheld) for one in found.estimates[1:])
    shares = {
        "a factor that fails in a third of its high runs is withheld": own / SIMULATIONS,
        "of these, no estimate at all": none / max(own, 1),
        "each other factor is withheld": others / 18 / max(SIMULATIONS - none, 1),
    }
    return ", ".join(f"{name} {100 * share:.1f}%" for name, share in shares.items())


def print_designs() -> None:
    """Power, false positives and coverage of designs."""
    gc.freeze()  # multipletests collects garbage on each call, which takes longer than all the rest
    spread, arms = published_spread()
    write = sys.stdout.write
    write(f"spread of runs: {spread:.2f} points over {arms} arms at {PUBLISHED}; 0.90 is what was assumed\n")
    for points in (0.9, spread):
        write(f"| spread {points:.2f} | runs | {' | '.join(map(str, EFFECTS))} | all | false | held |\n")
        write(row("16 factors, one at a time", 17 * RUNS_AN_ARM, *one_at_a_time(points, 16)))
        for covariance in ("HC3", designs.COVARIANCE):
            write(row(f"16 factors, screen, {covariance}", 64, *screened(points, 16, covariance=covariance)))
        write(row("the same, four interactions", 64, *screened(points, 16, interactions=4)))
        write(row("19 factors, and 6 runs lost", 64, *screened(points, 19, interactions=4, lost=6)))
    write(withheld(spread) + "\n")


if __name__ == "__main__":
    print_designs()
