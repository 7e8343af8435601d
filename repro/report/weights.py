"""The page of weights that were not trained here: what `repro evaluate --weights` found, beside what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro import store
from repro.experiments import paper
from repro.records import RunRecord
from repro.report import tables, words

PAGE = "weights"
COLUMNS = ("weights", "network", "data", "images", "view", "top-1 error", "top-5 error", "published", "difference")


def rows_of(record: RunRecord, identity: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each view of one evaluation, errors in percent. The published errors stand beside those of the center
    view on the whole ILSVRC-2012 validation set, the data that they are of; elsewhere they are None."""
    known = paper.PUBLIC_WEIGHTS.get(identity["preset"])
    source, images = record.source, record.data.test
    whole = source == "imagenet" and images == paper.VALIDATION_IMAGES
    rows = []
    for view, errors in record.errors.items():
        beside = known if whole and known and view == known.measured.view else None
        rows.append(
            {
                "file": identity["file"],
                "sha256": record.config["weights"],
                "preset": identity["preset"],
                "data": record.data.name,
                "images": images,
                "view": view,
                "top1_error_percent": errors.top1_error,
                "top5_error_percent": errors.top5_error,
                "published_top1_error_percent": beside.top1_error if beside else None,
                "published_top5_error_percent": beside.top5_error if beside else None,
            }
        )
    return rows


def cells(row: Mapping[str, Any]) -> list[str]:
    """One row of COLUMNS."""
    ours = [row["top1_error_percent"], row["top5_error_percent"]]
    theirs = [row["published_top1_error_percent"], row["published_top5_error_percent"]]
    known = None not in theirs
    return [
        row["file"],
        row["preset"],
        row["data"],
        f"{row['images']:,}",
        row["view"],
        *(f"{error:.2f}%" for error in ours),
        " / ".join(f"{error:.2f}%" for error in theirs) if known else words.NOTHING,
        " / ".join(f"{mine - other:+.2f}" for mine, other in zip(ours, theirs, strict=True))
        if known
        else words.NOTHING,
    ]


def table(results: Path) -> tables.ReportTable | None:
    """All evaluations in `results`, or None where there are none; a run that cannot be read is left out."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for digest, identity in store.read_weights(results).items():
        try:
            rows += rows_of(store.read_run(results, digest, 0), identity)
        except ValueError:
            continue
    if not rows:
        return None
    caption = "Weights that were not trained here."
    return tables.ReportTable(
        PAGE, caption, COLUMNS, list(map(cells, rows)), pd.DataFrame(rows), frozenset({3, 5, 6, 7, 8})
    )


def page(shown: tables.ReportTable) -> str:
    """reports/weights.md."""
    return "\n".join(
        [
            "# Weights that were not trained here",
            "",
            "`repro evaluate --weights FILE --layout LAYOUT` puts weights that others trained into the network of a "
            "preset and evaluates them on the test images: the data, the network and the evaluation checked without "
            "training. Errors are in percent. Published errors (top-1 / top-5) are of the center view of the "
            f"{paper.VALIDATION_IMAGES:,} ILSVRC-2012 validation images, and stand beside evaluations of that only; "
            "the difference is ours minus theirs, in points.",
            "",
            tables.markdown(shown),
            "",
            *_sources(shown),
            "`repro report` writes this page again from the results.",
            "",
        ]
    )


def _sources(shown: tables.ReportTable) -> Sequence[str]:
    sources = {
        preset: paper.PUBLIC_WEIGHTS[preset].source
        for preset in dict.fromkeys(shown.frame["preset"])
        if preset in paper.PUBLIC_WEIGHTS
    }
    return [*(f"- {preset}: {source}" for preset, source in sources.items()), ""] if sources else []
