"""The simulated numbers of docs/verdicts.md: `python -m tests.simulations` prints them, in some minutes."""

from __future__ import annotations

import sys

import numpy as np

from repro.ablation import FEWEST_SEEDS
from repro.stats import most_seeds, peeking_level
from repro.stats.evidence import IMAGE_REPLICATES
from repro.stats.intervals import hierarchical, images_part, over_seeds
from tests.simulations_designs import print_designs
from tests.test_sequential import SIMULATIONS, p_values, simulated, until_decided
from tests.test_stats import IMAGES, REGIMES, simulated_effects, true_effect

COVERAGES, RESAMPLED = 3000, 300  # simulations; of them, those in which seeds and images are resampled together
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
        of_images = generator.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), RESAMPLES) / IMAGES
        found["both"] = quantiles(((of_seeds @ effects) * of_images).sum(axis=1))
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
    words, _, _ = until_decided(simulated(0.0, spread, limit, 1), claimed, limit)
    asserted = np.mean([word in {"reproduced", "same direction", "contradicted"} for word in words])
    words, intervals, used = until_decided(simulated(claimed, spread, limit, 2), claimed, limit)
    right = np.mean([word in {"reproduced", "same direction"} for word in words])
    missed = np.mean([not low <= claimed <= high for low, high in intervals])
    shares = [asserted, right, words.count("not seen") / SIMULATIONS, missed]
    return f"| {spread}, {claimed} | {limit} | {' | '.join(f'{100 * share:.1f}%' for share in shares)} | {used:.1f} |"


def looks() -> str:
    """False positives of verdicts at 3, 5 and 10 seeds by hand, and of a look after every seed to 20, percent."""
    p = p_values(simulated(0.0, 0.4, 20, 6), range(FEWEST_SEEDS, 21))
    first, fifth, tenth = (p[seeds - FEWEST_SEEDS] for seeds in (3, 5, 10))
    plain = (first < 0.05) | (fifth < 0.05) | (tenth < 0.05)
    widened = (first < 0.05) | (fifth < peeking_level(5)) | (tenth < peeking_level(10))
    shares = {"at 95% each": plain, "widened": widened, "after every seed": p.min(axis=0) < 0.05}
    return ", ".join(f"{name} {100 * np.mean(found):.1f}%" for name, found in shares.items())


if __name__ == "__main__":
    for regime in REGIMES:
        sys.stdout.write(f"{coverage(regime)}\n")
    for case in ((0.4, 0.4), (0.5, 0.4), (0.3, 1.4)):
        sys.stdout.write(f"{sweeps(*case)}\n")
    sys.stdout.write(f"{looks()}\n")
    print_designs()
