"""Whether prepared sets are still what their manifests say: hashes of their files, and their comparison."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.data import manifest as manifests
from repro.data.manifest import Manifest
from repro.data.prepare.progress import OnProgress, Progress
from repro.machine.provenance import usable_cores
from repro.store import write_atomically

BLOCK = 1 << 26  # files are hashed in blocks of 64 MiB, so that all cores help and a damaged place can be named


@dataclass(frozen=True)
class Problem:
    """Something wrong with a prepared set, in words, and the file that it is about."""

    file: Path
    what: str


def verify(directory: Path, name: str | None = None) -> list[Problem]:
    """Read every file of all prepared sets (or of those called `name`, by folder or source) and compare its hashes.

    Names changed, missing and half-written files. Raises ValueError when nothing is prepared, or called `name`.
    """
    found = []
    parts = (manifests.NAME, *manifests.FILES)
    folders = [
        path
        for path in manifests.folders(directory)
        if (path.is_dir() and not os.access(path, os.X_OK)) or any(os.path.exists(path / part) for part in parts)
    ]
    if not folders:
        raise ValueError(f"nothing is prepared in {directory}; --data-dir or $REPRO_DATA_DIR says where to look")
    asked = []
    for folder in folders:
        try:
            known = manifests.load(folder)
        except ValueError as error:
            known, broken = None, Problem(folder / manifests.NAME, str(error))
        else:
            what = "half-written: preparation was interrupted; run it again and it goes on from there"
            broken = Problem(folder, what)
        if name and name not in (folder.name, folder.name.removesuffix(".part"), manifests.source_of(folder.name)):
            continue
        asked.append(folder)
        if known is None:
            found.append(broken)
            continue
        found += check_content(folder, known)
    if name and not asked:
        raise ValueError(f"nothing called {name} is prepared in {directory}; `repro data list` shows what is")
    return found


def compare(path: Path, known: Manifest) -> list[Problem]:
    """What differs between a file and its entry in the manifest."""
    if not path.exists():
        return [Problem(path, f"missing; {manifests.AGAIN}")]
    wanted, is_now = known.files[path.name], hash_file(path)
    twin = next((name for name, entry in known.files.items() if name != path.name and entry == is_now), None)
    if twin:
        return [Problem(path, f"a copy of {twin}; {manifests.AGAIN}")]
    if is_now["bytes"] != wanted["bytes"]:
        size = f"{is_now['bytes']:,} bytes instead of {wanted['bytes']:,}"
        return [Problem(path, f"half-written or changed: {size}; {manifests.AGAIN}")]
    pairs = enumerate(zip(is_now["sha256"], wanted["sha256"], strict=True))
    places = [number for number, (now, then) in pairs if now != then]
    if not places:
        return []
    where = ", ".join(f"{place * BLOCK:,}" for place in places[:5])
    what = f"changed: its SHA-256 differs in the 64 MiB from byte {where} on{images_at(path, known, places)}"
    return [Problem(path, f"{what}; {manifests.AGAIN}")]


def images_at(path: Path, known: Manifest, places: list[int]) -> str:
    """Which stored images lie in those blocks, and the first of them that cannot be decoded; or nothing."""
    import numpy as np

    from repro.data.load.beton import open_beton
    from repro.data.load.render import decode_with_pillow

    if path.suffix != ".beton":
        return ""
    try:
        beton = open_beton(path, known.storage, known.size, [entry["name"] for entry in known.classes])
    except ValueError:
        return ", where its tables are"
    blocks = beton.pointers // BLOCK, (beton.pointers + beton.lengths - 1) // BLOCK
    hit = np.flatnonzero(np.isin(blocks[0], places) | np.isin(blocks[1], places))
    text = f" (stored images {hit[0]} to {hit[-1]})" if len(hit) else ""
    if known.storage != "raw":
        scratch = np.empty((known.size, known.size, 3), np.uint8)
        for index in hit.tolist():
            try:
                decode_with_pillow(beton.encoded(index), scratch)
            except Exception as error:
                return f"{text}; {str(beton.damaged(index, error)).partition(': ')[2].partition(';')[0]}"
    return text


def check_files(folder: Path, known: Manifest, *, content: bool = True) -> None:
    """Raise ValueError, naming the file, where a prepared set is not what its manifest says: in size, and with
    `content` by its hashes, when it is first opened and when size or time of a file changed since they last fitted."""
    facts = {}
    for name, wanted in known.files.items():
        if not (folder / name).exists():
            raise ValueError(f"{folder / name} is missing; {manifests.AGAIN}")
        found = (folder / name).stat()
        facts[name] = [found.st_size, found.st_mtime_ns]
        if found.st_size != wanted["bytes"]:
            (problem,) = compare(folder / name, known)
            raise ValueError(f"{problem.file}: {problem.what}")
    if not content:
        return
    stamp, seen = folder.with_name(f".{folder.name}.verified"), {"digest": known.digest, "files": facts}
    with suppress(OSError, ValueError):
        if json.loads(stamp.read_text()) == seen:
            return
    if problems := check_content(folder, known):
        raise ValueError("; ".join(f"{problem.file}: {problem.what}" for problem in problems))
    with suppress(OSError):  # where nothing can be noted, each process looks for itself
        write_atomically(stamp, json.dumps(seen))


def check_content(folder: Path, known: Manifest) -> list[Problem]:
    """Every file of one set against its hashes, and the manifest against itself."""
    found = [problem for file in known.files for problem in compare(folder / file, known)]
    if content_digest(known.files, known.classes) != known.digest:
        found.append(Problem(folder / manifests.NAME, "its digest does not fit its own entries; prepare the set again"))
    return found


def hash_file(path: Path, progress: OnProgress = lambda _: None) -> dict[str, Any]:
    """{"bytes", "sha256": one for each block of 64 MiB}."""
    total = path.stat().st_size

    def block(start: int) -> str:
        with open(path, "rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(BLOCK)).hexdigest()

    hashes = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for number, found in enumerate(pool.map(block, range(0, max(total, 1), BLOCK))):
            hashes.append(found)
            progress(Progress(f"hash {path.name}", min((number + 1) * BLOCK, total), total))
    return {"bytes": total, "sha256": hashes}


def content_digest(files: dict[str, dict[str, Any]], classes: list[dict[str, str]]) -> str:
    """SHA-256 over the hashes of the files and the classes: names the data of a run."""
    return hashlib.sha256(json.dumps({"files": files, "classes": classes}, sort_keys=True).encode()).hexdigest()
