"""Whether the first-layer kernels of two towers differ, as Figure 3 of the paper shows one tower more colorful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHUFFLES = 9999
GENERATOR_SEED = 2012  # fixed: the same kernels give the same p


@dataclass(frozen=True)
class TowerDifference:
    """How far the towers' mean color shares lie apart, and whether kernels that fell to towers by chance do so too."""

    apart: tuple[float, ...]  # a run: distance of the two towers' mean shares, 0 to 1
    p: tuple[float, ...]  # a run: permutation test
    combined_p: float  # of the mean distance over all runs, kernels shuffled within each run
    significant: int  # runs with p below 0.05: "in every run" as k of n


def tower_difference(shares: Sequence[np.ndarray]) -> TowerDifference:
    """The color share of each kernel (maps,) of each run, tower 1 first; the number of maps is even.

    Kernels are shared out anew to the towers, within their run. Which tower is the colorful one is not asked: the paper
    says that it varies. ValueError without a run, or for an odd number of maps.
    """
    if not shares:
        raise ValueError("tower_difference: no run; give the color shares of the kernels of at least one")
    generator = np.random.default_rng(GENERATOR_SEED)
    seen, shuffled = [], []
    for share in shares:
        if len(share) % 2:
            raise ValueError(f"tower_difference: {len(share)} maps do not divide by two towers")
        seen.append(_apart(np.asarray(share, dtype=float)[None])[0])
        shuffled.append(_apart(generator.permuted(np.tile(share, (SHUFFLES, 1)), axis=1)))
    p = [_p(one, others) for one, others in zip(seen, shuffled, strict=True)]
    combined = _p(float(np.mean(seen)), np.mean(shuffled, axis=0))
    return TowerDifference(tuple(map(float, seen)), tuple(p), combined, sum(one < 0.05 for one in p))


def _apart(shares: np.ndarray) -> np.ndarray:
    """Distance of the means of both halves, for rows (shuffles, maps)."""
    half = shares.shape[1] // 2
    apart: np.ndarray = np.abs(shares[:, :half].mean(axis=1) - shares[:, half:].mean(axis=1))
    return apart


def _p(seen: float, shuffled: np.ndarray) -> float:
    return float((1 + (shuffled >= seen - 1e-12).sum()) / (1 + len(shuffled)))
