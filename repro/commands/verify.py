"""Checks a results folder, as `repro data verify` checks a prepared set: every file against what its record says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from repro import files, store
from repro.records import RunRecord


def verify(results: Path, names: Sequence[str] = ()) -> tuple[int, list[store.Damaged]]:
    """How many finished runs were checked, and what is wrong. `names`: only these, as `repro plan` shows them: a
    digest, or `<digest>/seed-<n>`. Raises ValueError for a name that no run has.

    Files are compared with the hashes in their record. An older record has none: its predictions have to give the
    errors that it has.
    """
    records, damaged = store.finished_runs(results)
    if names:
        known: list[tuple[str, int | str]] = [*(record.key for record in records), *(_key(one.path) for one in damaged)]
        for name in names:
            if not any(_is(key, name) for key in known):
                raise ValueError(f"{name}: no run in {results} is called so; `repro plan NAME` shows those there are")
        records = [record for record in records if any(_is(record.key, name) for name in names)]
        damaged = [one for one in damaged if any(_is(_key(one.path), name) for name in names)]
    else:
        damaged += [*store.read_settings(results)[1], *_others(results)]
    for record in records:
        damaged += [*store.damaged_files(results, record), *_checkpoints(results, record)]
    return len(records), damaged


def _key(path: Path) -> tuple[str, int | str]:
    return path.parent.parent.name, path.parent.name.removeprefix("seed-")


def _is(key: tuple[str, int | str], name: str) -> bool:
    return name in (key[0], f"{key[0]}/seed-{key[1]}")


def _others(results: Path) -> Iterator[store.Damaged]:
    """Names of settings, frozen plans, and what stands beside runs that were not trained here."""
    from repro.planning import frozen, settings

    try:
        settings.named(results)
    except ValueError as error:
        yield store.Damaged(results / settings.FILE, str(error))
    for path in files.listed(results / frozen.FOLDER, "*.json"):
        try:
            frozen.read(path)
        except ValueError as error:
            yield store.Damaged(path, str(error))
    whole = store.read_weights(results)
    for path in files.listed(results / "weights", "*.json"):
        if path.stem not in whole:
            yield store.Damaged(path, "cannot be read; `repro evaluate --weights FILE` writes it again")


def _checkpoints(results: Path, record: RunRecord) -> Iterator[store.Damaged]:
    for path in sorted(store.run_directory(results, *record.key).glob("checkpoint*.pt")):
        from repro.training import checkpoint  # torch, only where there is one

        try:
            checkpoint.read(path, f"{record.digest}/seed-{record.seed}")
        except ValueError as error:
            yield store.Damaged(path, str(error))
