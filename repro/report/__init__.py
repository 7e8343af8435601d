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

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro import store

if TYPE_CHECKING:
    from repro.experiments.experiment import Experiment
    from repro.stats import Judgement

FORMATS = ("latex", "csv")


def build(
    experiments: Sequence[Experiment],
    names: Sequence[str] | None,
    results: Path,
    reports: Path,
    *,
    html: bool = False,
    formats: Sequence[str] = (),
    judged: Callable[[store.Setting, Sequence[Judgement]], None] | None = None,
    left_out: Callable[[Sequence[store.Damaged]], None] | None = None,
) -> list[Path]:
    """Write the pages of `names` (None: of every experiment that has settings) and the index; return their paths.

    `judged` hears the judgements of each of their settings, `left_out` what the index lists as left out. With nothing
    in `results`, nothing is written and the list is empty. Raises ValueError for an unknown format.
    """
    from repro.report import pages, weights
    from repro.report.gather import gather

    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"--format {name}: known are {', '.join(FORMATS)}")
    evaluated = weights.table(results)
    if not evaluated and not any((results / "experiments").glob("*/*.json")):
        return []
    gathered = gather(experiments, results)
    files = pages.files_of(gathered, names, results, reports, html=html, formats=formats, weights=evaluated)
    for name, content in files.items():
        path = reports / name
        if not (path.is_file() and path.read_bytes() == content):
            store.write_atomically(path, content)
    for part in gathered.parts:
        if judged and (names is None or part.experiment.name in names):
            judged(part.setting, part.judgements)
    if left_out and gathered.damaged:
        left_out(gathered.damaged)
    return [reports / name for name in files]


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
