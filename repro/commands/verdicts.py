"""Verdicts for commands: of each experiment as the last report gave it, for `repro list`, which judges nothing; and as
plain values, for `--json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repro.records import Setting
    from repro.stats import Judgement

FILE = "verdicts.json"  # in reports/: experiment -> verdict
OPEN = ("inconclusive", "not tuned", "not evaluated")  # in this order they come after those that say more


def read(reports: Path) -> dict[str, str]:
    """Experiment -> verdict; empty where there is no report, or none that can be read."""
    try:
        found = json.loads((reports / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(verdict) for name, verdict in found.items()} if isinstance(found, dict) else {}


def write(reports: Path, judged: Sequence[tuple[Setting, Sequence[Judgement]]]) -> Path | None:
    """Bring the file up to what a report judged, and return it; None where it says so already. Experiments that the
    report did not judge stay as they are."""
    from repro.files import write_atomically  # milliseconds that `repro list` need not wait for

    found = read(reports)
    for name in {setting.experiment for setting, _ in judged}:
        verdict = so_far([one for setting, of in judged if setting.experiment == name for one in of])
        if verdict:
            found[name] = verdict
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    path = reports / FILE
    if not found or (path.is_file() and path.read_text() == text):
        return None
    write_atomically(path, text)
    return path


def so_far(judgements: Sequence[Judgement]) -> str | None:
    """The verdict of an experiment's primary numbers that says most: the first that is neither open nor not evaluated,
    in the order of settings and claims. None where it claims nothing."""
    found = [one.verdict for one in judgements if one.claim and one.primary]
    return min(found, key=lambda verdict: OPEN.index(verdict) + 1 if verdict in OPEN else 0) if found else None


def as_json(one: Judgement) -> dict[str, Any]:
    """A judgement as plain values: numbers in `unit`, effects arm minus reference, an open end of an interval None."""
    estimate = one.estimate
    return {
        "arm": one.arm,
        "reference": one.reference,
        "metric": one.metric,
        "unit": one.unit,
        "published": one.published,
        "mean": estimate.mean if estimate else None,
        "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None,
        "method": estimate.method if estimate else None,
        "p": one.effect.p if one.effect else None,
        "seeds": one.seeds,
        "claimed": one.claim is not None,
        "verdict": one.verdict if one.claim else None,
        "reason": one.reason,
    }
