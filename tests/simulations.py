"""The simulated numbers of docs/verdicts.md: `python -m tests.simulations` prints them, in two minutes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from scipy import stats

from repro import store
from repro.stats import most_seeds, peeking_level
from repro.stats.evidence import IMAGE_REPLICATES
from repro.stats.independent import baseline_runs, level_of_looks, runs_needed, welch_power
from repro.stats.intervals import hierarchical, images_part, over_seeds
from repro.terms import FEWEST_SEEDS
from tests.simulations_designs import print_designs
from tests.test_independent import (
    DOMINANT,
    SIZES,
    SPREAD,
    Law,
    contaminated,
    heavy,
    lost,
    networks_covered,
    normal,
    simulated_runs,
    three_left,
    welch_p,
    withheld,
)
from tests.test_sequential import SIMULATIONS, p_values, simulated, until_decided
from tests.test_stats import IMAGES, REGIMES, simulated_effects, true_effect

COVERAGES, RESAMPLED = 2000, 300  # simulations; of them, those in which seeds and images are resampled together
RESAMPLES = 499


def ends(effects: np.ndarray, generator: np.random.Generator, *, both: bool) -> dict[str, tuple[float, float]]:
    """Method -> ends of its 95% interval, from effects (seeds, images) in points."""
    seeds = len(effects)
    means = effects.mean(axis=1)
    ours, _ = hierarchical(means, images_part(effects[:IMAGE_REPLICATES]), resamples=RESAMPLES)
    student = over_seeds(means)
    of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    found = {"ours": (ours.low, ours.high), "t": (student.low, student.high), "percentile": quantiles(of_seeds @ means)}
    if both:
        drawn = generator.integers(IMAGES, size=(RESAMPLES, IMAGES))
        found["both"] = quantiles(np.take_along_axis(of_seeds @ effects, drawn, axis=1).mean(axis=1))
    return found


def quantiles(means: np.ndarray) -> tuple[float, float]:
    """The middle 95% of resampled means."""
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def coverage(regime: str) -> str:
    """A row of the first table: how often each method's interval holds the true effect, percent."""
    generator, truth = np.random.default_rng(21), true_effect(regime)
    held: dict[tuple[str, int], list[bool]] = {}
    for simulation in range(COVERAGES):
        effects = simulated_effects(regime, 10, generator)
        for seeds in (3, 5, 10):
            for method, (low, high) in ends(effects[:seeds], generator, both=simulation < RESAMPLED).items():
                held.setdefault((method, seeds), []).append(low <= truth <= high)
    cells = [
        f"{100 * np.mean(held[method, n]):.1f}" for method in ("ours", "t", "percentile", "both") for n in (3, 5, 10)
    ]
    return f"| {regime} | {' | '.join(cells)} |"


def sweeps(spread: float, claimed: float) -> str:
    """A row of the second table: what sweeps with `--until-decided` come to."""
    limit = most_seeds(spread, claimed)
    assert limit is not None
    verdicts, _, _ = until_decided(simulated(0.0, spread, limit, 1), claimed, limit)
    asserted = np.mean([verdict in {"reproduced", "same direction", "contradicted"} for verdict in verdicts])
    verdicts, intervals, used = until_decided(simulated(claimed, spread, limit, 2), claimed, limit)
    right = np.mean([verdict in {"reproduced", "same direction"} for verdict in verdicts])
    missed = np.mean([not low <= claimed <= high for low, high in intervals])
    shares = [asserted, right, verdicts.count("not seen") / SIMULATIONS, missed]
    return f"| {spread}, {claimed} | {limit} | {' | '.join(f'{100 * share:.1f}%' for share in shares)} | {used:.1f} |"


def looks() -> str:
    """False positives of verdicts at 3, 5 and 10 seeds by hand, and of a look after every seed to 20, percent."""
    p = p_values(simulated(0.0, 0.4, 20, 6), range(FEWEST_SEEDS, 21))
    first, fifth, tenth = (p[seeds - FEWEST_SEEDS] for seeds in (3, 5, 10))
    plain = (first < 0.05) | (fifth < 0.05) | (tenth < 0.05)
    widened = (first < 0.05) | (fifth < peeking_level(5)) | (tenth < peeking_level(10))
    shares = {"at 95% each": plain, "widened": widened, "after every seed": p.min(axis=0) < 0.05}
    return ", ".join(f"{name} {100 * np.mean(found):.1f}%" for name, found in shares.items())


# --- independent runs: tests/test_independent.py asserts a fast part of what follows ---------------------------------

DRAWS = 2000  # simulations a number
LAWS: dict[str, tuple[tuple[float, float], tuple[Law, Law]]] = {  # spreads as times SPREAD, and laws, of the two arms
    "normal": ((1, 1), (normal, normal)),
    "normal, the arm's spread 3 times the other": ((3, 1), (normal, normal)),
    "normal, the reference's spread 3 times": ((1, 3), (normal, normal)),
    "Student's t, 3 degrees of freedom": ((1, 1), (heavy, heavy)),
    "one run in ten 10 points worse, both arms": ((1, 1), (contaminated, contaminated)),
    "one run in ten 10 points worse, the arm only": ((1, 1), (contaminated, normal)),
}


def independent_coverage() -> Iterator[str]:
    """Rows: how often the interval of independent runs holds a true effect, percent. The rest to 100 is how often an
    effect is found that is not there. The images' part is read from three runs an arm."""
    yield heading(
        "Welch with images, coverage in %", [f"{dominant} {a}+{b}" for dominant in DOMINANT for a, b in SIZES]
    )
    for name, (spreads, laws) in LAWS.items():
        ours, theirs = (SPREAD * spread for spread in spreads)
        drawn = [
            simulated_runs(sizes, (ours, theirs), laws, of_images, DRAWS)
            for of_images in DOMINANT.values()
            for sizes in SIZES
        ]
        yield row(name, [f"{100 * np.mean(welch_p(*one) > 0.05):.1f}" for one in drawn])


def networks_coverage() -> Iterator[str]:
    """Rows: the same of networks that are right or wrong on 600 images, beside Welch over runs alone."""
    columns = [f"{what} {a}+{b}" for what in ("ours", "Welch over runs") for a, b in SIZES]
    yield heading("networks, coverage in %", columns)
    for regime in REGIMES:
        found = [networks_covered(regime, sizes, DRAWS) for sizes in SIZES]
        yield row(regime, [f"{100 * pair[at]:.1f}" for at in (0, 1) for pair in found])


def power_of_designs() -> Iterator[str]:
    """Rows: power at 1.4 points with 5 runs an arm, by formula and simulated, and the runs for 80%."""
    yield heading("power at 1.4 points, spread", ["paired", "Welch 5+5", "Welch 5+15", "formula 5+5", "5+15", "runs"])
    for spread in (0.69, 0.78, 0.9):  # the first is that of the published arms
        arm, reference, _ = simulated_runs((5, 15), (spread, spread), (normal, normal), 0.0, DRAWS)
        paired = stats.ttest_1samp(arm + 1.4 - reference[:, :5], 0.0, axis=1).pvalue
        found = [paired, welch_p(arm + 1.4, reference[:, :5]), welch_p(arm + 1.4, reference)]
        promised = [welch_power(5, runs, spread, spread, 1.4) for runs in (5, 15)]
        needed = " and ".join(
            f"{runs_needed(spread, spread, 1.4, contrasts=contrasts)} at k = {contrasts}" for contrasts in (1, 4, 9)
        )
        yield row(f"{spread}", [*(f"{np.mean(p < 0.05):.2f}" for p in found), *(f"{p:.2f}" for p in promised), needed])


def failures() -> Iterator[str]:
    """Rows: arms of one recipe without a difference that lose runs, by chance or always the worst ones.

    Coverage of the interval among trained runs, where three or more of each arm are left; then how often it misses and
    a verdict is given, of all those cases, without the rule on failure rates and with it; and how often the rule
    withholds. "As ordinary runs" keeps the lost ones in the mean, 50 points worse, against the mean that has them.
    """
    columns = ["as ordinary runs", "by chance", "the worst", "the worst: wrong", "with the rule", "withheld"]
    yield heading("lost by arm, reference; coverage in %", columns)
    for sizes in ((5, 5), (5, 15), (10, 10)):
        for rates in ((0.1, 0.0), (0.1, 0.1), (0.2, 0.0), (0.4, 0.0)):
            arm, reference = lost(sizes, rates, DRAWS, worst=False)
            dead = [np.nan_to_num(side, nan=50.0) for side in (arm, reference)]
            ordinary = welch_p(dead[0] - 50 * (rates[0] - rates[1]), dead[1]) > 0.05
            by_chance = (welch_p(arm, reference) > 0.05)[three_left(arm, reference)]
            arm, reference = lost(sizes, rates, DRAWS, worst=True)
            judged = three_left(arm, reference)
            misses, kept = welch_p(arm, reference)[judged] <= 0.05, ~withheld(arm, reference)[judged]
            shares = [ordinary, by_chance, ~misses, misses, misses & kept, ~kept]
            name = f"{sizes[0]}+{sizes[1]} runs, {rates[0]:.0%} and {rates[1]:.0%}"
            yield row(name, [f"{100 * np.mean(share):.1f}" for share in shares])


def looks_at_independent_runs() -> Iterator[str]:
    """Rows: how often a look after every run finds an effect that is not there, percent: at the level for independent
    runs, with equal spreads and with 3 times the spread in the arm, and at the level for pairs."""
    columns = [f"{what}, k = {k}" for what in ("ours", "arm's spread 3 times", "level of pairs") for k in (1, 4, 9)]
    yield heading("looks from 3 runs to N, false positives in %", columns)
    for limit in (3, 5, 10, 20):
        cells = []
        for spread, of_pairs in ((1, False), (3, False), (1, True)):
            for contrasts in (1, 4, 9):
                level = peeking_level(limit) if of_pairs else level_of_looks(limit, contrasts)
                sizes = (limit, baseline_runs(limit, contrasts))
                arm, reference, _ = simulated_runs(sizes, (spread * SPREAD, SPREAD), (normal, normal), 0.0, DRAWS)
                found = np.zeros(DRAWS, bool)
                for runs in range(FEWEST_SEEDS, limit + 1):
                    found |= welch_p(arm[:, :runs], reference[:, : baseline_runs(runs, contrasts)]) < level
                cells.append(f"{100 * np.mean(found):.1f}")
        yield row(f"N = {limit}", cells)


def shared_by_seeds(results: Path) -> Iterator[str]:
    """Rows: what arms share through their seed, from the published runs: the correlation within a seed of the test
    errors of all arms with five seeds (intraclass, from the two-way analysis of variance), and the spread of an arm."""
    settings, _ = store.read_settings(results)
    of_block = [setting for setting in settings if setting.preset == "cifar10" and setting.seeds >= 5]
    arms = sorted({digest for setting in of_block for digest in setting.arms.values()})
    whole = [arm for arm in arms if all(store.is_finished(results, arm, seed) for seed in range(5))]
    tested = [
        [
            {int(epoch["epoch"]): epoch.get("test_top1_error") for epoch in store.read_metrics(results, arm, seed)}
            for seed in range(5)
        ]
        for arm in whole
    ]
    common = set.intersection(*({epoch for epoch, error in run.items() if error} for arm in tested for run in arm))
    yield heading(f"of {len(whole)} published arms, at epoch", ["correlation", "spread of an arm, points"])
    for epoch in sorted(common):
        errors = np.array([[run[epoch] for run in arm] for arm in tested])
        left = errors - errors.mean(axis=1, keepdims=True)
        of_seed = len(whole) * left.mean(axis=0).var(ddof=1)
        rest = ((left - left.mean(axis=0)) ** 2).sum() / ((len(whole) - 1) * 4)
        correlation = (of_seed - rest) / (of_seed + (len(whole) - 1) * rest)
        yield row(f"{epoch}", [f"{correlation:.2f}", f"{np.median(left.std(axis=1, ddof=1)):.2f}"])


def heading(name: str, columns: list[str]) -> str:
    """The first two lines of a table, after an empty one."""
    return f"\n{row(name, columns)}\n|{'---|' * (len(columns) + 1)}"


def row(name: str, cells: list[str]) -> str:
    """A line of a table."""
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for regime in REGIMES:
        sys.stdout.write(f"{coverage(regime)}\n")
    for case in ((0.4, 0.4), (0.5, 0.4), (0.3, 1.4)):
        sys.stdout.write(f"{sweeps(*case)}\n")
    sys.stdout.write(f"{looks()}\n")
    tables = (
        independent_coverage(), networks_coverage(), power_of_designs(), failures(), looks_at_independent_runs(),
        shared_by_seeds(Path(__file__).parents[1] / "results"),
    )  # fmt: skip
    for line in chain(*tables):
        sys.stdout.write(f"{line}\n")
    print_designs()
