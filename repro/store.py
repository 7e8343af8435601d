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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from repro import files, records
from repro.files import write_atomically as write_atomically
from repro.records import Epoch, RunRecord, Setting
from repro.suggest import shortened

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CHECKPOINT = "checkpoint.pt"  # of a run, in its folder
BELONGS = ("predictions-*.npz", "kernels.npy", "metrics.jsonl")  # to a record, by hash; the rest stays on a machine


@dataclass(frozen=True)
class Damaged:
    """A place in results/ that cannot be read, and why. It is listed and left out."""

    path: Path
    reason: str


def run_directory(results: Path, digest: str, seed: int) -> Path:
    """Where the files of one run are."""
    return results.joinpath("runs", digest, f"seed-{seed}")


def find_run(results: Path, name: str) -> tuple[str, int]:
    """Digest and seed of the run that `name` is, or begins: `<digest>/seed-<n>`, a digest, or the beginning of either.
    Raises ValueError where it is no run's, or that of several."""
    found = []
    for folder in files.listed(results / "runs", "*", "seed-*"):
        number, run = folder.name.removeprefix("seed-"), f"{folder.parent.name}/{folder.name}"
        if run == name and number.isdecimal():
            return folder.parent.name, int(number)
        if run.startswith(name) and number.isdecimal():
            found.append((folder.parent.name, int(number)))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(
            f"{shortened(name)}: no run in {results} is called so; `repro plan NAME` shows those there are"
        )
    several = ", ".join(f"{digest}/seed-{seed}" for digest, seed in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    raise ValueError(f"{name}: is the beginning of {several}{more}; write more of it")


def is_finished(results: Path, digest: str, seed: int) -> bool:
    """Whether the run's record is there and is its own; it is written last. Raises NewerError."""
    try:
        read_run(results, digest, seed)
    except records.NewerError:
        raise
    except ValueError:
        return False
    return True


def has_checkpoint(results: Path, digest: str, seed: int) -> bool:
    """Whether more can be read off a finished run here."""
    return (run_directory(results, digest, seed) / CHECKPOINT).is_file()


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
    """The record that makes a run finished, with the hashes of the files that belong to it."""
    folder = run_directory(results, record.digest, record.seed)
    paths = [path for pattern in BELONGS for path in sorted(folder.glob(pattern))]
    whole = msgspec.structs.replace(record, files={path.name: files.sha256(path) for path in paths})
    write_json(folder / "run.json", msgspec.to_builtins(whole))
    files.remove(folder / "failed.json")


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
    """The record of a finished run. Raises ValueError where it is damaged, of another run, or not there, and NewerError
    for a schema that is not known yet."""
    path = f"{results}/runs/{digest}/seed-{seed}/run.json"
    try:
        record = records.run_record(files.read_bytes(path))
        if record.key != (digest, seed):
            raise ValueError(f"it is of run {shortened(record.digest)}/seed-{record.seed}")
    except records.NewerError as error:
        raise records.NewerError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ValueError(f"{path}: is not there; `repro run` makes it") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); `repro run` makes it again") from None
    return record


def damaged_run(results: Path, digest: str, seed: int) -> str | None:
    """What is wrong with a record that is there; None where it is whole or not there."""
    if not (run_directory(results, digest, seed) / "run.json").exists():
        return None
    try:
        read_run(results, digest, seed)
    except ValueError as error:
        return str(error)
    return None


def write_predictions(results: Path, digest: str, seed: int, view: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Store `index`, `label` and `probability` of one view."""
    write_arrays(run_directory(results, digest, seed) / f"predictions-{view}.npz", arrays)


def read_predictions(
    results: Path, digest: str, seed: int, view: str, record: RunRecord | None = None
) -> dict[str, np.ndarray]:
    """`index` (P,), `label` (P,), `probability` (P, classes). Raises ValueError where the file is not there, cannot be
    read, holds what no run writes, or does not belong to the run's `record`."""
    path = run_directory(results, digest, seed) / f"predictions-{view}.npz"
    try:
        if not path.is_file():
            raise ValueError("is not there")
        if record:
            _check_hash(path, record)
        found = files.read_arrays(path, ("index", "label", "probability"))
        _check_predictions(found, record, view)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}; `repro run` makes it again") from None
    return found


def _check_hash(path: Path, record: RunRecord) -> None:
    """Older records know no hashes."""
    if record.files and files.sha256(path) != record.files.get(path.name):
        raise ValueError("is not what the run wrote (its SHA-256 is another)")


def _is_whole(path: Path, record: RunRecord) -> bool:
    """Whether a file has the hash in a record; a file that was not there then, and the files of an older record, have
    none."""
    try:
        return path.name in record.files and files.sha256(path) == record.files[path.name]
    except OSError:
        return False


def _check_predictions(found: Mapping[str, np.ndarray], record: RunRecord | None, view: str) -> None:
    """Raises ValueError for arrays that no run writes, and for those that give other errors than the record has."""
    import numpy as np

    from repro.stats.topk import topk_errors

    index, label, probability = (found[name] for name in ("index", "label", "probability"))
    if probability.ndim != 2 or not {index.shape, label.shape} == {probability.shape[:1]} or not probability.size:
        raise ValueError(f"has arrays of shapes {index.shape}, {label.shape} and {probability.shape}")
    if (index.dtype.kind, label.dtype.kind, probability.dtype.kind) != ("i", "i", "f"):
        raise ValueError(f"has arrays of {index.dtype}, {label.dtype} and {probability.dtype}")
    if not ((probability >= 0) & (probability <= 1)).all():  # not a number is neither
        raise ValueError("has probabilities that are none")
    if label.min() < 0 or label.max() >= probability.shape[1] or len(np.unique(index)) < len(index) or index.min() < 0:
        raise ValueError("has labels or indices that no set has")
    if record and not record.files:
        errors, images = record.errors.get(view), record.data.test
        rates = [float(100 * topk_errors(probability, label, k).mean()) for k in (1, 5)]
        if images not in (0, len(index)) or (errors and rates != [errors.top1_error, errors.top5_error]):
            raise ValueError(f"has errors of {rates[0]:.2f}% and {rates[1]:.2f}%, and the record has others")


def unread(
    results: Path,
    digest: str,
    seed: int,
    views: Iterable[str],
    artifacts: Iterable[str],
    record: RunRecord | None = None,
) -> dict[str, str]:
    """The views and artifacts that are still to be read off a run -> why: "" where there is no file yet, else what is
    wrong with it. `record` is the run's, None while it has none."""
    folder, found = run_directory(results, digest, seed), {}
    for view in views:
        if not (folder / f"predictions-{view}.npz").exists():
            found[view] = ""
            continue
        if record and (wrong := damaged_predictions(results, record, view)):
            found[view] = wrong.reason
        elif record is None:
            try:
                read_predictions(results, digest, seed, view)
            except ValueError as error:
                found[view] = str(error)
    for artifact in artifacts:
        if not any(folder.glob(f"{artifact}.np*")):
            found[artifact] = ""
        elif reason := damaged_artifact(results, digest, seed, artifact, record):
            found[artifact] = reason
    return found


def damaged_artifact(results: Path, digest: str, seed: int, artifact: str, record: RunRecord | None) -> str | None:
    """What is wrong with the file of an artifact that is there; None where it is whole or not there."""
    import numpy as np

    for path in run_directory(results, digest, seed).glob(f"{artifact}.np*"):
        try:
            if record and _is_whole(path, record):
                continue
            if record and path.name == "kernels.npy":
                _check_hash(path, record)
            with path.open("rb") as opened:
                stored = np.load(opened, allow_pickle=False)
                for array in [stored[name] for name in stored.files] if path.suffix == ".npz" else [stored]:
                    if array.dtype.kind == "f" and not np.isfinite(array).all():
                        raise ValueError("holds numbers that are not finite")
        except Exception as error:  # zip, header, value and OS errors all mean the same here
            return f"{path}: cannot be read ({shortened(str(error))}); `repro run` makes it again"
    return None


def damaged_predictions(results: Path, record: RunRecord, view: str) -> Damaged | None:
    """What is wrong with one view's predictions of a finished run. Those that have the hash in its record are what it
    wrote, and are not unpacked."""
    path = run_directory(results, *record.key) / f"predictions-{view}.npz"
    try:
        if not _is_whole(path, record):
            read_predictions(results, *record.key, view, record)
    except ValueError as error:
        return Damaged(path, str(error))
    return None


def damaged_files(results: Path, record: RunRecord) -> list[Damaged]:
    """Of the files that belong to a finished run, those that are not what its record says, by the hashes in it. An
    older record has none: its predictions have to give the errors that it has."""
    folder, found = run_directory(results, *record.key), []
    for name, known in record.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            found.append(Damaged(path, "belongs to the record and is not there; `repro run` makes it again"))
        elif files.sha256(path) != known:
            another = "is not what the run wrote (its SHA-256 is another); `repro run` makes it again"
            found.append(Damaged(path, another))
    for pattern in BELONGS if record.files else ():
        others = [path for path in sorted(folder.glob(pattern)) if path.name not in record.files]
        found += [Damaged(path, "does not belong to the record") for path in others]
    looked = [damaged_predictions(results, record, view) for view in record.errors]
    found += [one for one in looked if one and one.path.name not in record.files]
    if not record.files and (epochs := len(read_metrics(results, *record.key))) != record.epochs:
        found.append(Damaged(folder / "metrics.jsonl", f"{epochs} of {record.epochs} epochs can be read"))
    for artifact in ("kernels", "neighbors"):
        if reason := damaged_artifact(results, *record.key, artifact, None):
            found.append(Damaged(folder / artifact, reason))
    return found


def read_metrics(results: Path, digest: str, seed: int, record: RunRecord | None = None) -> list[Epoch]:
    """The epochs of a run, up to the first line that is none: a crash cuts the last one short. None of a file that is
    not what the run's `record` knows."""
    path = run_directory(results, digest, seed) / "metrics.jsonl"
    try:
        if record:
            _check_hash(path, record)
        return records.epochs(files.read_bytes(path))
    except (OSError, ValueError):
        return []


def setting_path(results: Path, setting: Setting) -> Path:
    """The file of a setting."""
    return results / "experiments" / setting.experiment / f"{setting.name}.json"


def write_setting(results: Path, setting: Setting) -> Path:
    """Remember what was asked; `repro.planning.asked` says how that goes together with what was asked before."""
    path = setting_path(results, setting)
    write_json(path, msgspec.to_builtins(setting))
    return path


def read_setting(path: Path) -> Setting:
    """One setting file. Raises ValueError where it is damaged or of a schema that is not known."""
    try:
        return records.setting(files.read_bytes(path))
    except (OSError, ValueError, TypeError, LookupError) as error:  # a migration step may meet anything
        raise ValueError(f"{path}: cannot be read ({error})") from None


def read_settings(results: Path) -> tuple[list[Setting], list[Damaged]]:
    """Every setting, sorted by experiment and name, and those that cannot be read or stand elsewhere than they say.
    Raises OSError for a folder that may not be read."""
    settings, damaged = [], []
    for path in files.listed(results / "experiments", "*", "*.json"):
        try:
            setting = read_setting(path)
            if (there := setting_path(results, setting)) != path:
                raise ValueError(f"{path}: is the setting of {shortened(str(there.relative_to(results)))}")
            settings.append(setting)
        except ValueError as error:
            damaged.append(Damaged(path, str(error)))
    return settings, damaged


def run_folders(results: Path) -> Iterator[tuple[str, list[int]]]:
    """Every digest that has a folder, sorted, with the seeds that have one, by number, finished or not. Raises OSError
    for a folder that may not be read."""
    for digest in files.names_in(results / "runs"):
        yield digest, sorted(seed for name in files.names_in(results / "runs" / digest) if (seed := _seed(name)) >= 0)


def _seed(name: str) -> int:
    """Of the folder of a run; -1 where it is none."""
    number = name.removeprefix("seed-")
    return int(number) if number != name and number.isdecimal() and str(int(number)) == number else -1


def finished_runs(results: Path) -> tuple[list[RunRecord], list[Damaged]]:
    """Records of all finished runs, sorted by digest and seed, and those that cannot be read or are not their own. The
    records of a Config share one dictionary of its values. Raises OSError for a folder that may not be read."""
    from repro.config.config import digest_of

    found, damaged = [], []
    machine: dict[str, dict[str, Any] | str] = {}
    for digest in files.names_in(results / "runs"):
        one: RunRecord | None = None  # of this Config
        for name in files.names_in(results / "runs" / digest):
            place = f"{results}/runs/{digest}/{name}/run.json"
            if not name.startswith("seed-"):
                continue
            try:
                os.stat(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                if (seed := _seed(name)) < 0:
                    raise ValueError(f"{place}: its folder is of no seed")
                record = read_run(results, digest, seed)
                if one is None or record.config != one.config or record.data.digest != one.data.digest:
                    if (named := digest_of(record.config, record.data.digest)) != digest:
                        raise ValueError(
                            f"{place}: its Config and data are of run {named}; `repro run` makes its own again"
                        )
                    one = record
                machine = record.provenance if record.provenance != machine else machine
                found.append(msgspec.structs.replace(record, config=one.config, provenance=machine))
            except ValueError as error:
                damaged.append(Damaged(Path(place), str(error)))
    return sorted(found, key=lambda record: record.key), damaged


def one_of_each(results: Path) -> list[RunRecord]:
    """A record of each Config that has finished runs: of the first that can be read."""
    found = []
    for digest, seeds in run_folders(results):
        for seed in seeds:
            with suppress(ValueError):  # not there, or damaged
                found.append(read_run(results, digest, seed))
                break
    return found


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


def publish(results: Path) -> Path:
    """Write `collect` as runs.csv in results/. Same runs, same bytes."""
    csv = results / "runs.csv"
    with files.only_writer(results):
        write_atomically(csv, collect(results).to_csv(index=False, lineterminator="\n"))
    return csv
