"""From finished runs to judgements."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.ablation import Ablation
from repro.stats.values import Judgement
from repro.store import Block

if TYPE_CHECKING:
    import pandas as pd

Records = Mapping[tuple[str, int], Mapping[str, Any]]  # (digest, seed) -> a finished run's record


def judge(ablation: Ablation, block: Block, results: Path, records: Records | None = None) -> list[Judgement]:
    """A judgement for each number of each claim whose arms are in the block, in the order of the claims; then the
    effects of the arms that no claim names, against the first arm.

    Reads the finished runs of the block; `records` saves reading them again where the caller has them. Partial blocks
    are fine: seeds count that both arms have.
    """
    judgements = []
    for claim in ablation.claims:
        for metric, published in claim.published.items():
            judgements.append(
                Judgement(
                    claim, claim.arm, claim.reference, metric,
                    "percent" if claim.kind == "value" else "times" if claim.kind == "ratio" else "points",
                    published, None, None, 0, "not evaluated", "no finished runs", False, (),
                )
            )  # fmt: skip
    return judgements


def arm_summary(ablation: Ablation, block: Block, results: Path, records: Records | None = None) -> pd.DataFrame:
    """A row an arm: its finished seeds, and the mean and standard deviation over them of every metric."""
    import pandas as pd

    return pd.DataFrame({"arm": [arm.name for arm in ablation.arms_at(block.preset)]})


def holm(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The same judgements with `holm_p`: their p values adjusted for testing so many claims at once."""
    from statsmodels.stats.multitest import multipletests

    judgements = list(judgements)
    tested = [at for at, one in enumerate(judgements) if one.claim and one.effect and one.effect.p is not None]
    if tested:
        adjusted = multipletests([judgements[at].effect.p for at in tested], method="holm")[1]  # type: ignore[union-attr]
        for at, p in zip(tested, adjusted, strict=True):
            judgements[at] = dataclasses.replace(judgements[at], holm_p=float(p))
    return judgements
