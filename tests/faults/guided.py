"""The coverage-guided fuzzer: atheris changes files so that they reach lines of the parsers not yet reached.

A target is a parser and a file that it reads. Its contract: a value, or one ValueError (for sources, a SourceError) of
one line. Anything else ends the process, with the input beside the corpus. `loops_guided` starts this file, a process a
target.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["repro", "tarfile", "zipfile", "msgspec"]):
    from repro import files as whole_files
    from repro import records
    from repro.data import manifest
    from repro.data.prepare import cifar, files, labels

SCRATCH = Path(tempfile.mkdtemp())


class BrokenPromiseError(Exception):
    """What no target may raise: a refusal that is not one line with the file's name."""


def of_bytes(parse: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """A target of a parser of bytes that promises ValueError."""

    def target(content: bytes) -> None:
        try:
            parse(content)
        except ValueError as error:
            if not str(error).strip():
                raise BrokenPromiseError("an error without a word") from error

    return target


def of_source(name: str, parse: Callable[[files.File], object]) -> Callable[[bytes], None]:
    """A target of a reader of foreign files: it stands inside the one guard, which must name the file in one line."""

    def target(content: bytes) -> None:
        path = SCRATCH / name
        path.write_bytes(content)
        try:
            with files.reading(path):
                parse(files.File(name, path, len(content)))
        except files.SourceError as error:
            if str(path) not in str(error) or "\n" in str(error):
                raise BrokenPromiseError(str(error)) from error

    return target


def read_members(archive: files.File) -> None:
    """Every member of an archive, its content too."""
    for member in files.members(archive, SCRATCH, files.Losses()):
        if not member.name.endswith("/"):
            member.read()
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise BrokenPromiseError(member.name)


def read_manifest(content: bytes) -> None:
    """A manifest.json in a folder."""
    (SCRATCH / manifest.NAME).write_bytes(content)
    manifest.load(SCRATCH)


def read_arrays(content: bytes) -> None:
    """Stored predictions."""
    path = SCRATCH / "predictions-center.npz"
    path.write_bytes(content)
    whole_files.read_arrays(path, ("index", "label", "probability"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "run.json": of_bytes(records.run_record),
    "setting.json": of_bytes(records.setting),
    "metrics.jsonl": of_bytes(records.epochs),
    "manifest.json": of_bytes(read_manifest),
    "predictions.npz": of_bytes(read_arrays),
    "set.tar": of_source("set.tar", read_members),
    "set.zip": of_source("set.zip", read_members),
    "data_batch_1.bin": of_source("data_batch_1.bin", cifar._records),
    "data_batch_1": of_source("data_batch_1", cifar._records),
    **{name: of_source(name, lambda file, name=name: labels.read_labels([file])) for name in labels.PARSERS},  # type: ignore[misc]
}

if __name__ == "__main__":
    target, runs, seed, corpus = sys.argv[1:]
    options = [f"-runs={runs}", f"-seed={seed}", "-max_len=20000", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus}-", corpus], TARGETS[target])
    atheris.Fuzz()
