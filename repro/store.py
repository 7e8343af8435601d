"""results/ on disk: who wrote what, when a run counts as finished, and all of it as one table.

    results/runs/<digest>/seed-<n>/
        run.json             written last and in one move: its presence means finished. Fields: RUN_FIELDS below
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

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from repro.terms import FEWEST_SEEDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA = 2
_ABSENT = object()
_ZIP_END = 22  # bytes of what ends an npz file

_NUMBER = (int, float)
_NUMBER_OR_NONE = (int, float, type(None))
RUN_FIELDS: dict[str, type | tuple[type, ...]] = {  # with what each may hold
    "schema": int, "digest": str, "seed": int, "config": dict, "data": dict, "epochs": int,
    "epochs_to_target": _NUMBER_OR_NONE, "censored": bool, "seconds": _NUMBER, "images_per_second": _NUMBER,
    "diverged": bool, "train_error": _NUMBER_OR_NONE, "held_out": (dict, type(None)), "errors": dict,
    "provenance": dict, "placement": str,
}  # fmt: skip
_PARTS: dict[str, dict[str, type | tuple[type, ...]]] = {  # of a record, what reports read inside of it
    "data": {"name": str, "digest": str},
    "config": {"precision": str, "data": dict},
    "provenance": {"git": dict, "packages": dict, "hardware": dict},
}
_SETTING_FIELDS: dict[str, type | tuple[type, ...]] = {
    "experiment": str, "preset": str, "changes": dict, "seeds": int, "arms": dict, "searches": dict,
    "data_digest": str, "max_seeds": (int, type(None)), "raised_from": (dict, type(None)), "search_seeds": tuple,
    "common": dict, "seeds_of": dict, "first_seed": int, "untuned": bool, "frozen": str, "design": str,
    "own_seeds": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One experiment at one preset with one set of changes (`--set`), as it was last asked for."""

    experiment: str
    preset: str
    changes: Mapping[str, Any]
    seeds: int
    arms: Mapping[str, str]  # arm -> digest of its runs; an ensemble arm is not among them
    searches: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # arm -> tried value -> digest
    data_digest: str = ""
    max_seeds: int | None = None  # looked at more than once, up to so many seeds: intervals are widened for it
    raised_from: Mapping[str, int | None] | None = None  # `seeds` and `max_seeds` before more were asked for
    search_seeds: tuple[int, ...] = ()  # of the runs in `searches`
    common: Mapping[str, str] = field(default_factory=dict)  # "arm@reference" -> digest of the arm at its value
    seeds_of: Mapping[str, int] = field(default_factory=dict)  # arms with another number of seeds: shared references
    first_seed: int = 0  # of the comparison
    untuned: bool = False  # asked for without the search that the experiment declares
    frozen: str = ""  # name of the file in results/plans/ that asked for it before any of its runs
    design: str = ""  # "screen" or "factorial": its rows are the arms
    own_seeds: Mapping[str, Sequence[int]] = field(default_factory=dict)  # arms that count from no common seed
    schema: int = SCHEMA

    def seeds_for(self, arm: str) -> Sequence[int]:
        """The seeds of an arm's runs."""
        if arm in self.own_seeds:
            return self.own_seeds[arm]
        return range(self.first_seed, self.first_seed + self.seeds_of.get(arm, self.seeds))

    @property
    def name(self) -> str:
        """File name without its ending: the preset, and a short digest of the changes where there are any. A young key
        at its neutral value is no change, as in a run's name."""
        from repro.config.config import YOUNG_KEYS

        changes = {key: value for key, value in self.changes.items() if YOUNG_KEYS.get(key, _ABSENT) != value}
        text = json.dumps(changes, sort_keys=True)
        changed = f"+{hashlib.sha256(text.encode()).hexdigest()[:6]}" if changes else ""
        kind = f"-{self.design}" if self.design else ""
        return f"{self.preset}{changed}{'-untuned' if self.untuned else ''}{kind}"


@dataclass(frozen=True)
class Damaged:
    """A place in results/ that cannot be read, and why. It is listed and left out."""

    path: Path
    reason: str


def _run_of_2(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 knows of held-out images. `eval.train_error`, a key of the first Configs that named no run, is gone."""
    if isinstance(record.get("config"), dict) and isinstance(measured := record["config"].get("eval"), dict):
        measured.pop("train_error", None)
    return {**record, "held_out": None, "schema": 2}


def _setting_of_2(values: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 knows of search seeds, common values and unequal numbers of seeds. The reduced presets hold images out
    since then, which these runs did not."""
    held_out = {"data.held_out": 0} if str(values.get("preset")).endswith(HOLDING_OUT) else {}
    return {**values, "changes": {**values["changes"], **held_out}, "search_seeds": [1000], "common": {},
            "seeds_of": {}, "first_seed": 0, "untuned": False, "frozen": "", "schema": 2}  # fmt: skip


# What reads an older file: the schema that it has -> the step to the next.
RUN_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _run_of_2}
SETTING_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _setting_of_2}
HOLDING_OUT = ("cifar10", "tiny", "smoke")  # presets that end so hold training images out since schema 2


def migrated(values: Any, steps: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]) -> dict[str, Any] | None:
    """What a file of an older schema would say in today's; None where no step leads there."""
    while isinstance(values, dict) and values.get("schema") != SCHEMA:
        step = steps.get(values["schema"]) if isinstance(values.get("schema"), int) else None
        values = step(values) if step else None
    return values if isinstance(values, dict) else None


def results_directory(option: Path | None) -> Path:
    """`--results-dir`, else $REPRO_RESULTS_DIR, else ./results."""
    return option or Path(os.environ.get("REPRO_RESULTS_DIR", "results"))


def run_directory(results: Path, digest: str, seed: int) -> Path:
    """Where the files of one run are."""
    return results.joinpath("runs", digest, f"seed-{seed}")


def is_finished(results: Path, digest: str, seed: int) -> bool:
    """Whether the run's record is there; it is written last."""
    return (run_directory(results, digest, seed) / "run.json").is_file()


def failure(results: Path, digest: str, seed: int) -> str | None:
    """Why the last attempt at a run failed, or None where it did not."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return str(orjson.loads((run_directory(results, digest, seed) / "failed.json").read_bytes())["reason"])
    return None


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # CIFS and exFAT refuse it
            os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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


def write_run(results: Path, record: Mapping[str, Any]) -> None:
    """The record that makes a run finished. `record` has exactly RUN_FIELDS but `schema`."""
    whole = {"schema": SCHEMA, **record}
    assert set(whole) == set(RUN_FIELDS), set(whole) ^ set(RUN_FIELDS)
    folder = run_directory(results, whole["digest"], whole["seed"])
    write_json(folder / "run.json", {name: whole[name] for name in RUN_FIELDS})
    (folder / "failed.json").unlink(missing_ok=True)


def write_weights(results: Path, digest: str, identity: Mapping[str, str]) -> None:
    """Remember that a run's weights were not trained here but read from a file."""
    write_json(results / "weights" / f"{digest}.json", dict(identity))


def read_weights(results: Path) -> dict[str, dict[str, str]]:
    """Digest of a run -> the weights that it evaluated: `file`, `layout`, `preset`. Damaged files are left out."""
    found = {}
    for path in sorted((results / "weights").glob("*.json")):
        with suppress(OSError, ValueError):
            identity = orjson.loads(path.read_bytes())
            if isinstance(identity, dict) and identity.keys() >= {"file", "layout", "preset"}:
                found[path.stem] = identity
    return found


def read_run(results: Path, digest: str, seed: int) -> dict[str, Any]:
    """The record of a finished run. Raises ValueError where it is damaged or of another schema."""
    path = run_directory(results, digest, seed) / "run.json"
    try:
        record = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); delete its folder and run again") from None
    if not isinstance(record, dict) or not (record := migrated(record, RUN_STEPS)):
        raise ValueError(f"{path}: written with a schema that this version cannot read; run it again")
    if missing := [name for name in RUN_FIELDS if name not in record]:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; delete its folder and run again")
    if wrong := _wrong_types(record):
        raise ValueError(f"{path}: cannot be read ({', '.join(wrong)}: wrong type); delete its folder and run again")
    return record


def _wrong_types(record: Mapping[str, Any]) -> list[str]:
    """Fields of a run's record that hold what no run writes: a damaged file may still be valid JSON."""
    wrong = [name for name, types in RUN_FIELDS.items() if not isinstance(record[name], types)]
    if wrong:
        return wrong
    for name, parts in _PARTS.items():
        found = record[name]
        needed = parts if name != "provenance" else parts.keys() & found.keys()  # reports do without
        wrong += [f"{name}.{part}" for part in needed if not isinstance(found.get(part), parts[part])]
    for view, errors in record["errors"].items():
        both = [errors.get(one, "") for one in ("top1_error", "top5_error")] if isinstance(errors, dict) else [""]
        if not all(isinstance(one, _NUMBER_OR_NONE) for one in both):
            wrong.append(f"errors.{view}")
    return wrong


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


def read_metrics(results: Path, digest: str, seed: int) -> list[dict[str, Any]]:
    """The epochs of a run, one dict each, up to the first line that is none: a crash cuts the last one short."""
    path = run_directory(results, digest, seed) / "metrics.jsonl"
    lines = []
    with suppress(FileNotFoundError):
        lines = path.read_bytes().splitlines()
    with suppress(ValueError):
        epochs = orjson.loads(b"[%b]" % b",".join(lines))  # one call: a report reads hundreds of thousands of lines
        if all(map(_is_epoch, epochs)):
            return list(epochs)
    epochs = []
    with suppress(ValueError):
        for line in lines:
            if not _is_epoch(epoch := orjson.loads(line)):
                break
            epochs.append(epoch)
    return epochs


def _is_epoch(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("epoch"), int)
        and isinstance(value.get("train_error"), _NUMBER_OR_NONE)
        and isinstance(value.get("test_top1_error"), _NUMBER_OR_NONE)
    )


def setting_path(results: Path, setting: Setting) -> Path:
    """The file of a setting."""
    return results / "experiments" / setting.experiment / f"{setting.name}.json"


def write_setting(results: Path, setting: Setting) -> Path:
    """Remember what was asked. Fewer seeds replace more only where no run beyond them is finished; looks once taken
    stay on record.

    Looks are `max_seeds`. One look at the seeds that were asked for at first is none of them. Another number after
    that is a second look, and `max_seeds` is from then on the largest number that was looked at or announced. More
    seeds that were asked for by mistake can be taken back until a run beyond those before is finished.
    """
    path = setting_path(results, setting)
    if path.is_file():
        try:
            before = read_setting(path)
        except ValueError:
            before = None
        if before and not _other_runs(before, setting):
            before = replace(before, arms={**setting.arms, **before.arms})  # it had none while a search went on
            undone: dict[str, Any] = dict(before.raised_from or {})
            if undone and not _is_any_finished(results, before, undone["seeds"]):
                before = replace(before, **undone, raised_from=None)
            if setting.seeds < before.seeds and _is_any_finished(results, before, setting.seeds):
                setting = replace(setting, seeds=before.seeds)
            again = setting.seeds != before.seeds and _could_be_judged(results, before)
            looks = [before.max_seeds, setting.max_seeds, max(before.seeds, setting.seeds) if again else None]
            raised_from = before.raised_from
            if setting.seeds > before.seeds:
                raised_from = {"seeds": before.seeds, "max_seeds": before.max_seeds}
            most = max((most for most in looks if most), default=None)
            setting = replace(setting, max_seeds=most, raised_from=raised_from)
    if setting.max_seeds:
        setting = replace(setting, max_seeds=max(setting.max_seeds, setting.seeds))
    write_json(path, asdict(setting))
    return path


def _other_runs(before: Setting, setting: Setting) -> bool:
    """Whether the two have no run in common, so that nobody has seen these; arms that wait for a search may be any."""
    return bool(before.arms and setting.arms) and before.arms.items().isdisjoint(setting.arms.items())


def _is_any_finished(results: Path, setting: Setting, first: int) -> bool:
    """Whether a run beyond the first `first` seeds is finished."""
    return any(
        is_finished(results, digest, seed)
        for arm, digest in setting.arms.items()
        for seed in setting.seeds_for(arm)[first : setting.seeds]
    )


def _could_be_judged(results: Path, setting: Setting) -> bool:
    """Whether an arm has as many finished runs as a verdict takes: whoever asks for more then may have seen one."""
    return any(
        sum(is_finished(results, digest, seed) for seed in setting.seeds_for(arm)) >= FEWEST_SEEDS
        for arm, digest in setting.arms.items()
    )


def read_setting(path: Path) -> Setting:
    """One setting file. Raises ValueError where it is damaged or of another schema."""
    try:
        values = migrated(orjson.loads(path.read_bytes()), SETTING_STEPS)
        if not values:
            raise ValueError("written with a schema that this version cannot read")
        setting = Setting(**{**values, "search_seeds": tuple(values["search_seeds"])})
        if wrong := [name for name, types in _SETTING_FIELDS.items() if not isinstance(getattr(setting, name), types)]:
            raise ValueError(f"{', '.join(wrong)}: wrong type")
        digests = [*setting.arms.values(), *(one for tried in setting.searches.values() for one in tried.values())]
        if not all(isinstance(one, str) for one in digests):
            raise ValueError("a digest is no text")
        return setting
    except (OSError, ValueError, TypeError, AttributeError) as error:
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


def finished_runs(results: Path) -> tuple[list[dict[str, Any]], list[Damaged]]:
    """Records of all finished runs, sorted by digest and seed, and those that cannot be read."""
    records, damaged = [], []
    for path in sorted((results / "runs").glob("*/seed-*/run.json")):
        digest, seed = path.parent.parent.name, path.parent.name.removeprefix("seed-")
        try:
            records.append(read_run(results, digest, int(seed)))
        except ValueError as error:
            damaged.append(Damaged(path, str(error)))
    return sorted(records, key=lambda record: (record["digest"], record["seed"])), damaged


def trained_runs(results: Path) -> list[dict[str, Any]]:
    """Records of the finished runs that were trained here: not those of weights that were read from a file."""
    return [record for record in finished_runs(results)[0] if record["epochs"]]


def collect(results: Path) -> pd.DataFrame:
    """All finished runs as one tidy table, a row a run and view.

    Columns: digest, seed, view, top1_error_percent, top5_error_percent, train_error_percent (test mode, center view),
    gap_points (test minus training top-1), epochs, epochs_to_target, censored, seconds, images_per_second, data,
    precision, placement.
    """
    return as_frame(finished_runs(results)[0])


def as_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """`collect`'s table from records already read."""
    import pandas as pd

    rows = []
    for record in records:
        for view, errors in record["errors"].items():
            train = record["train_error"]
            rows.append(
                {
                    "digest": record["digest"],
                    "seed": record["seed"],
                    "view": view,
                    "top1_error_percent": errors["top1_error"],
                    "top5_error_percent": errors["top5_error"],
                    "train_error_percent": train,
                    "gap_points": None if train is None else errors["top1_error"] - train,
                    "epochs": record["epochs"],
                    "epochs_to_target": record["epochs_to_target"],
                    "censored": record["censored"],
                    "seconds": record["seconds"],
                    "images_per_second": record["images_per_second"],
                    "data": record["data"]["name"],
                    "precision": record["config"]["precision"],
                    "placement": record["placement"],
                }
            )
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
