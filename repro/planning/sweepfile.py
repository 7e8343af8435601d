"""A sweep in a file: what `repro run FILE.toml` asks for, in the words of `repro run`.

names = ["lrn-ablation", "overlapping-pooling"]
setting = "cifar10-20ep"        # or preset = "smoke", and a table [set] of keys of the Config
seeds = 5
arms = ["lrn-ablation/with-lrn", "lrn-ablation/no-lrn"]
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from repro.suggest import did_you_mean, shortened

ENDING = ".toml"


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What to run, as the options of the same names say it."""

    names: list[str]
    preset: str | None = None
    changes: dict[str, Any] = msgspec.field(name="set", default_factory=dict)
    setting: str | None = None
    seeds: int | None = None
    arms: list[str] | None = None
    design: Literal["screen", "factorial"] | None = None
    untuned: bool = False
    until_decided: bool = False
    max_seeds: int | None = None

    @property
    def assignments(self) -> list[str]:
        """Its changes as `--set` takes them."""
        return [f"{key}={json.dumps(value)}" for key, value in self.changes.items()]


def file_of(names: Sequence[str] | None) -> Path | None:
    """The file among the names of `repro run`. Raises ValueError where something stands beside it."""
    files = [name for name in names or () if name.endswith(ENDING)]
    if files and len(names or ()) > 1:
        raise ValueError(f"{files[0]}: says what to run; leave out the other names")
    return Path(files[0]) if files else None


def read(path: Path) -> Sweep:
    """The sweep in a file. Raises ValueError, one line, for what is none."""
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    known = {field.encode_name for field in msgspec.structs.fields(Sweep)}
    for key in values:
        if key not in known:
            raise ValueError(f"{path}: {shortened(key)}: is no word of a sweep{did_you_mean(key, known)}")
    try:
        found = msgspec.convert(values, Sweep)
        json.dumps(found.changes)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise ValueError(f"{path}: {where.rstrip('`')}{': ' if where else ''}{what[:1].lower()}{what[1:]}") from None
    except TypeError:
        raise ValueError(f"{path}: set: dates and times are no values of the Config") from None
    if found.arms == []:
        raise ValueError(f"{path}: arms: give at least one, or leave it out for all")
    if not found.names:
        raise ValueError(f"{path}: names: give at least one experiment; `repro list` shows all")
    for name, count in (("seeds", found.seeds), ("max-seeds", found.max_seeds)):
        if count is not None and count < 1:
            raise ValueError(f"{path}: {name}: is a number from 1 on, not {count}")
    return found
