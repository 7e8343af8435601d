"""The three folders: an option, else an environment variable (empty means unset), else a name here; `~` is the home
folder everywhere."""

from __future__ import annotations

import os
from pathlib import Path


def data_directory(option: Path | None) -> Path:
    """Prepared images: `--data-dir`, else $REPRO_DATA_DIR, else ./data."""
    return _folder(option, "data")


def results_directory(option: Path | None) -> Path:
    """Finished runs: `--results-dir`, else $REPRO_RESULTS_DIR, else ./results."""
    return _folder(option, "results")


def reports_directory(option: Path | None) -> Path:
    """Reports: `--reports-dir`, else $REPRO_REPORTS_DIR, else ./reports."""
    return _folder(option, "reports")


def published_results() -> Path:
    """The runs that are published with this code: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "published"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "results"


def _folder(option: Path | None, name: str) -> Path:
    return Path(option or os.environ.get(f"REPRO_{name.upper()}_DIR") or name).expanduser()
