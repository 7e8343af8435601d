"""Whether prepared sets are still what their manifests say: hashes of their files, and their comparison."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.data import manifest as manifests
from repro.data.progress import OnProgress, Progress
from repro.provenance import usable_cores

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
    folders = [path for path in sorted(directory.glob("*")) if any((path / part).exists() for part in parts)]
    if not folders:
        raise ValueError(f"nothing is prepared in {directory}; --data-dir or $REPRO_DATA_DIR says where to look")
    asked = []
    for folder in folders:
        try:
            known = manifests.load(folder)
        except ValueError as error:
            known, broken = None, str(error)
        else:
            broken = "half-written: preparation was interrupted; run it again and it goes on from there"
        if name and name not in (folder.name, folder.name.removesuffix(".part"), manifests.source_of(folder.name)):
            continue
        asked.append(folder)
        if known is None:
            found.append(Problem(folder, broken))
            continue
        for file, wanted in known.files.items():
            found += compare(folder / file, wanted)
        if content_digest(known.files, known.classes) != known.digest:
            found.append(
                Problem(folder / manifests.NAME, "its digest does not fit its own entries; prepare the set again")
            )
    if name and not asked:
        raise ValueError(f"nothing called {name} is prepared in {directory}; `repro data list` shows what is")
    return found


def compare(path: Path, wanted: dict[str, Any]) -> list[Problem]:
    """What differs between a file and its entry in the manifest."""
    if not path.exists():
        return [Problem(path, "missing; delete its folder and prepare the set again")]
    is_now = hash_file(path)
    if is_now["bytes"] != wanted["bytes"]:
        return [Problem(path, f"half-written or changed: {is_now['bytes']:,} bytes instead of {wanted['bytes']:,}")]
    pairs = enumerate(zip(is_now["sha256"], wanted["sha256"], strict=True))
    places = [number for number, (now, then) in pairs if now != then]
    if not places:
        return []
    where = ", ".join(f"{place * BLOCK:,}" for place in places[:5])
    what = (
        f"changed: its SHA-256 differs in the 64 MiB from byte {where} on; delete its folder and prepare the set again"
    )
    return [Problem(path, what)]


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
