"""Reports: tables, figures, Markdown and one HTML page, made from results/ alone.

    reports/index.md                    the scoreboard, a row a claim
    reports/forest.png                  all effects, the paper's beside ours
    reports/<experiment>.md             card, tables, figures, cost, provenance
    reports/weights.md                  evaluations of weights that were not trained here, where there are any
    reports/<experiment>/<setting>-*.png its figures (and tables, with `formats`)
    reports/index.html                  everything on one page (with `html`)
    reports/local/                      figures that show images of a data set; never for git

The same results give the same bytes, and a file is written only where its bytes change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from repro import files, store

if TYPE_CHECKING:
    from repro.experiments.experiment import Experiment
    from repro.records import Setting
    from repro.stats import Judgement

FORMATS = ("latex", "csv")


@dataclass(frozen=True)
class Report:
    """What was written, what it says, and what had to be left out because it cannot be read."""

    files: Sequence[Path] = field(default_factory=list)
    judged: Sequence[tuple[Setting, Sequence[Judgement]]] = ()  # of each setting of the pages
    left_out: Sequence[store.Damaged] = ()


def build(
    experiments: Sequence[Experiment],
    names: Sequence[str] | None,
    results: Path,
    reports: Path,
    *,
    html: bool = False,
    formats: Sequence[str] = (),
) -> Report:
    """Write the pages of `names` (None: of every experiment that has settings) and the index.

    With nothing in `results`, nothing is written. Raises ValueError for an unknown format.
    """
    from repro.report import pages, weights
    from repro.report.gather import gather

    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"--format {name}: known are {', '.join(FORMATS)}")
    evaluated = weights.table(results)
    if not evaluated and not files.listed(results / "experiments", "*", "*.json"):
        return Report()
    gathered = gather(experiments, results)
    pages_of = pages.files_of(gathered, names, results, reports, html=html, formats=formats, weights=evaluated)
    for name, content in pages_of.items():
        path = reports / name
        if not (path.is_file() and path.read_bytes() == content):
            store.write_atomically(path, content)
    shown = [part for part in gathered.parts if names is None or part.experiment.name in names]
    judged = tuple((part.setting, part.judgements) for part in shown)
    return Report([reports / name for name in pages_of], judged, tuple(gathered.damaged))


def verdict_table(judgements: Sequence[Judgement]) -> list[dict[str, str]]:
    """The verdicts of one setting for the terminal, a row a number of a claim: heading -> text."""
    from repro.report import contents, words

    return [
        {
            "what": words.subject(one.arm, one.reference),
            "metric": words.metric(one.metric),
            "published": words.NOTHING if one.claim is None else words.published(one.claim, one.metric),
            "ours [95% interval]": words.with_interval(one.estimate, one.unit),
            "n": str(one.seeds),
            "verdict": words.NOTHING if one.claim is None else contents.verdict(one),
        }
        for one in judgements
    ]
