"""Two arms or runs side by side: which keys of their Configs differ, and how far their errors lie apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from repro import plan, store
from repro.config import Config, diff, from_dict
from repro.registry import Registry
from repro.suggest import did_you_mean

Table = tuple[str, Sequence[str], list[Sequence[object]]]


def compare_runs(
    registry: Registry, one: str, two: str, preset: str | None, *, data: Path, results: Path
) -> list[Table]:
    """Tables of what differs: keys, then errors by view over the seeds that both sides have finished.

    Each side is EXPERIMENT/ARM (at `preset`, else the experiment's first) or the digest of a run, or its beginning.
    Raises ValueError for a side that names nothing.
    """
    sides = [_side(registry, name, preset, data, results) for name in (one, two)]
    (left, left_runs), (right, right_runs) = sides
    keys: list[Sequence[object]] = [(key, json.dumps(a), json.dumps(b)) for key, (a, b) in diff(left, right).items()]
    tables: list[Table] = [("What differs", ("key", one, two), keys or [("nothing", "", "")])]
    shared = sorted(left_runs.keys() & right_runs.keys())
    rows: list[Sequence[object]] = []
    views = [view for view in ("center", "flips", "ten", "dense") if shared]
    for view in views:
        for metric in ("top1_error", "top5_error"):
            pairs = [
                (left_runs[seed]["errors"][view][metric], right_runs[seed]["errors"][view][metric])
                for seed in shared
                if view in left_runs[seed]["errors"] and view in right_runs[seed]["errors"]
            ]
            if pairs:
                a, b = (fmean(pair[side] for pair in pairs) for side in (0, 1))
                rows.append((f"{metric}, {view}", f"{a:.2f}%", f"{b:.2f}%", f"{b - a:+.2f} points", len(pairs)))
    tables.append(
        (
            "Errors",
            ("metric", one, two, "difference", "seeds"),
            rows or [("no finished run on both sides", "", "", "", 0)],
        )
    )
    return tables


def _side(
    registry: Registry, name: str, preset: str | None, data: Path, results: Path
) -> tuple[Config, dict[int, dict[str, Any]]]:
    """Config of one side and its finished runs by seed."""
    if "/" in name and not name.partition("/")[2].startswith("seed-"):
        experiment, _, arm = name.partition("/")
        ablation = registry.get(experiment)
        ablation.arm(arm)
        made = plan.make([ablation], preset, 1, {}, data=data, results=results)
        block = made.blocks[0]
        found = plan.configs(ablation, block.preset, {})
        if arm not in found:
            raise ValueError(f"{name}: has no runs of its own at {block.preset}; compare the arms that it reads")
        digest = block.arms.get(arm)
        return found[arm], _runs(results, digest) if digest else {}
    start = name.split("/")[0]
    names = sorted(path.name for path in (results / "runs").glob("*"))
    matches = [digest for digest in names if digest.startswith(start)]
    if len(matches) != 1:
        what = "is the beginning of several runs" if matches else "is neither EXPERIMENT/ARM nor a run in results"
        raise ValueError(f"{name!r} {what}{did_you_mean(name, [*registry.experiments, *names])}")
    runs = _runs(results, matches[0])
    if not runs:
        raise ValueError(f"{name!r}: none of its runs is finished")
    return from_dict(next(iter(runs.values()))["config"]), runs


def _runs(results: Path, digest: str) -> dict[int, dict[str, Any]]:
    seeds = [
        int(path.parent.name.removeprefix("seed-")) for path in (results / "runs" / digest).glob("seed-*/run.json")
    ]
    return {seed: store.read_run(results, digest, seed) for seed in seeds}
