"""results/ on disk: who wrote what, when a run counts as finished, and all of it as one table.

    results/runs/<digest>/seed-<n>/
        run.json             written last and in one move: its presence means finished. repro.records.RunRecord
        failed.json          the last attempt failed; the run is to be done again
        metrics.jsonl        a line an epoch
        predictions-<view>.npz   index (P,), label (P,), probability (P, classes) float16: softmax, mean over the views
        kernels.npy          weights of the first layer, (maps, 3, k, k) float32, tower 1 first
        neighbors.npz        what Figure 4 shows, where an experiment asks for it; not for git: it holds images
        checkpoint.pt        exact state; not for git
    results/weights/<digest>.json   a run that was not trained here: the weights' file, layout and preset
    results/experiments/<name>/<setting>.json  what `repro run` was asked: preset, changes, seeds, each arm's digest

A *setting* is one experiment at one preset with one set of changes; reports are made of settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from repro import files, records
from repro.files import write_atomically as write_atomically
from repro.records import Epoch, RunRecord, Setting

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_ZIP_END = 22  # bytes of what ends an npz file


@dataclass(frozen=True)
class Damaged:
    """A place in results/ that cannot be read, and why. It is listed and left out."""

    path: Path
    reason: str


def results_directory(option: Path | None) -> Path:
    """`--results-dir`, else $REPRO_RESULTS_DIR, else ./results."""
    return files.directory(option, "REPRO_RESULTS_DIR", "results")


def run_directory(results: Path, digest: str, seed: int) -> Path:
    """Where the files of one run are."""
    return results.joinpath("runs", digest, f"seed-{seed}")


def is_finished(results: Path, digest: str, seed: int) -> bool:
    """Whether the run's record is there; it is written last."""
    return (run_directory(results, digest, seed) / "run.json").is_file()


def failure(results: Path, digest: str, seed: int) -> str | None:
    """Why the last attempt at a run failed, or None where it did not."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return str(msgspec.json.decode((run_directory(results, digest, seed) / "failed.json").read_bytes())["reason"])
    return None


def write_json(path: Path, value: Any) -> None:
    """A JSON file, keys in the order given, floats as Python prints them."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An npz file, compressed."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def write_run(results: Path, record: RunRecord) -> None:
    """The record that makes a run finished."""
    folder = run_directory(results, record.digest, record.seed)
    write_json(folder / "run.json", msgspec.to_builtins(record))
    (folder / "failed.json").unlink(missing_ok=True)


def write_weights(results: Path, digest: str, identity: Mapping[str, str]) -> None:
    """Remember that a run's weights were not trained here but read from a file."""
    write_json(results / "weights" / f"{digest}.json", dict(identity))


def read_weights(results: Path) -> dict[str, dict[str, str]]:
    """Digest of a run -> the weights that it evaluated: `file`, `layout`, `preset`. Damaged files are left out."""
    found = {}
    for path in sorted((results / "weights").glob("*.json")):
        with suppress(OSError, ValueError):
            identity = msgspec.json.decode(path.read_bytes())
            if isinstance(identity, dict) and identity.keys() >= {"file", "layout", "preset"}:
                found[path.stem] = identity
    return found


def read_run(results: Path, digest: str, seed: int) -> RunRecord:
    """The record of a finished run. Raises ValueError where it is damaged or of a schema that is not known."""
    path = run_directory(results, digest, seed) / "run.json"
    try:
        return records.run_record(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); delete its folder and run again") from None


def write_predictions(results: Path, digest: str, seed: int, view: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Store `index`, `label` and `probability` of one view."""
    write_arrays(run_directory(results, digest, seed) / f"predictions-{view}.npz", arrays)


def read_predictions(results: Path, digest: str, seed: int, view: str) -> dict[str, np.ndarray]:
    """`index` (P,), `label` (P,), `probability` (P, classes). Raises ValueError where the file cannot be read."""
    import numpy as np

    path = run_directory(results, digest, seed) / f"predictions-{view}.npz"
    try:
        with path.open("rb") as opened, np.load(opened) as file:  # by itself, np.load leaves a damaged file open
            return {name: file[name] for name in ("index", "label", "probability")}
    except Exception as error:  # zip, key, value and OS errors all mean the same here
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: cannot be read ({reason}); delete it, and `repro run` makes it again") from None


def has_predictions(results: Path, digest: str, seed: int, view: str) -> bool:
    """Whether one view's predictions are stored."""
    return (run_directory(results, digest, seed) / f"predictions-{view}.npz").is_file()


def unread(results: Path, digest: str, seed: int, views: Iterable[str], artifacts: Iterable[str]) -> tuple[str, ...]:
    """The views and artifacts that have no file yet: they are still to be read off the run."""
    folder = run_directory(results, digest, seed)
    return (
        *(view for view in views if not (folder / f"predictions-{view}.npz").is_file()),
        *(artifact for artifact in artifacts if not any(folder.glob(f"{artifact}.np*"))),
    )


def unread_predictions(results: Path, digest: str, seed: int, view: str) -> Damaged | None:
    """What is wrong with one view's predictions, by the end of the file alone: thousands are looked at for a report."""
    path = run_directory(results, digest, seed) / f"predictions-{view}.npz"
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(-_ZIP_END, os.SEEK_END)
            if file.read(4) == b"PK\5\6":
                return None
    except FileNotFoundError:
        return Damaged(path, "is not there; `repro run` makes it again")
    except OSError:  # shorter than the end of any npz file
        pass
    return Damaged(path, "cannot be read (cut short); delete it, and `repro run` makes it again")


def read_metrics(results: Path, digest: str, seed: int) -> list[Epoch]:
    """The epochs of a run, up to the first line that is none: a crash cuts the last one short."""
    try:
        return records.epochs((run_directory(results, digest, seed) / "metrics.jsonl").read_bytes())
    except FileNotFoundError:
        return []


def setting_path(results: Path, setting: Setting) -> Path:
    """The file of a setting."""
    return results / "experiments" / setting.experiment / f"{setting.name}.json"


def write_setting(results: Path, setting: Setting) -> Path:
    """Remember what was asked; `repro.plan.asked` says how that goes together with what was asked before."""
    path = setting_path(results, setting)
    write_json(path, msgspec.to_builtins(setting))
    return path


def read_setting(path: Path) -> Setting:
    """One setting file. Raises ValueError where it is damaged or of a schema that is not known."""
    try:
        return records.setting(path.read_bytes())
    except (OSError, ValueError, TypeError, LookupError) as error:  # a migration step may meet anything
        raise ValueError(f"{path}: cannot be read ({error})") from None


def read_settings(results: Path) -> tuple[list[Setting], list[Damaged]]:
    """Every setting, sorted by experiment and name, and those that cannot be read."""
    settings, damaged = [], []
    for path in sorted((results / "experiments").glob("*/*.json")):
        try:
            settings.append(read_setting(path))
        except ValueError as error:
            damaged.append(Damaged(path, str(error)))
    return settings, damaged


def finished_runs(results: Path) -> tuple[list[RunRecord], list[Damaged]]:
    """Records of all finished runs, sorted by digest and seed, and those that cannot be read."""
    found, damaged = [], []
    for path in sorted((results / "runs").glob("*/seed-*/run.json")):
        digest, seed = path.parent.parent.name, path.parent.name.removeprefix("seed-")
        try:
            found.append(read_run(results, digest, int(seed)))
        except ValueError as error:
            damaged.append(Damaged(path, str(error)))
    return sorted(found, key=lambda record: record.key), damaged


def trained_runs(results: Path) -> list[RunRecord]:
    """Records of the finished runs that were trained here: not those of weights that were read from a file."""
    return [record for record in finished_runs(results)[0] if record.epochs]


def collect(results: Path) -> pd.DataFrame:
    """All finished runs as one tidy table, a row a run and view.

    Columns: digest, seed, view, top1_error_percent, top5_error_percent, train_error_percent (test mode, center view),
    gap_points (test minus training top-1), epochs, epochs_to_target, censored, seconds, images_per_second, data,
    precision, placement.
    """
    return as_frame(finished_runs(results)[0])


def as_frame(found: Iterable[RunRecord]) -> pd.DataFrame:
    """`collect`'s table from records already read."""
    import pandas as pd

    rows = [
        (
            run.digest, run.seed, view, errors.top1_error, errors.top5_error, run.train_error,
            None if run.train_error is None or errors.top1_error is None else errors.top1_error - run.train_error,
            run.epochs, run.epochs_to_target, run.censored, run.seconds, run.images_per_second, run.data.name,
            run.config["precision"], run.placement,
        )
        for run in found
        for view, errors in run.errors.items()
    ]  # fmt: skip
    columns = [
        "digest", "seed", "view", "top1_error_percent", "top5_error_percent", "train_error_percent", "gap_points",
        "epochs", "epochs_to_target", "censored", "seconds", "images_per_second", "data", "precision", "placement",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def publish(results: Path) -> list[Path]:
    """Write `collect` as runs.csv and runs.parquet in results/. Same runs, same bytes of CSV."""
    frame = collect(results)
    csv, parquet = results / "runs.csv", results / "runs.parquet"
    write_atomically(csv, frame.to_csv(index=False, lineterminator="\n"))
    write_atomically(parquet, frame.to_parquet(index=False))
    return [csv, parquet]
