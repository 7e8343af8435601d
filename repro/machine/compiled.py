"""Where numba keeps what it compiled, from one process to the next. `repro doctor` asks, too, so numba is not imported
before it is needed."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path


def keep_compiled() -> None:
    """If numba cannot write to any of its cache directories, use a per-user temporary one; otherwise
    `@njit(cache=True)` raises. Call it before the first such function is defined."""
    if any(map(writable, cache_folders())):
        return
    place = temporary_folder()
    os.environ["NUMBA_CACHE_DIR"] = str(place)  # for child processes, and for a numba that is not imported yet
    from numba import config

    config.CACHE_DIR = str(place)  # type: ignore[attr-defined]  # numba makes it from the name of the variable


def cache_folders() -> list[Path]:
    """Where numba looks for a folder to write to, in its order."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    home = "~/Library/Caches" if sys.platform == "darwin" else os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    usual = [Path(__file__).parent / "__pycache__", Path(os.path.expanduser(home)) / "numba"]
    return [Path(chosen), *usual] if chosen else usual


def temporary_folder() -> Path:
    """The folder that stands in for them, made where it is not there. numba unpickles what it finds, so a folder that
    somebody else made, or can write to, is left alone and a new one is made."""
    place = Path(tempfile.gettempdir()) / f"repro-numba-{os.getuid()}"
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        facts = place.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            return Path(tempfile.mkdtemp(prefix="repro-numba-"))
    return place


def writable(place: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself in the nearest parent that exists."""
    while not os.path.exists(place) and place != place.parent:  # Path.exists raises where a parent is barred
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK)
