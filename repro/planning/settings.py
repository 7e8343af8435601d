"""Settings by name: the names that a person gave in results/settings.toml, and those that files in
results/experiments/ have.

    [cifar10-20ep]
    text = "one line: what it is"
    preset = "cifar10"
    changes = {"schedule.epochs" = 20}
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro import store
from repro.config.keys import override
from repro.config.presets import PRESETS, preset
from repro.records import Setting
from repro.suggest import did_you_mean
from repro.terms import NAME

FILE = "settings.toml"
KEYS = {"text", "preset", "changes"}


@dataclass(frozen=True)
class NamedSetting:
    """A preset and its changes under a name."""

    name: str  # empty where --preset and --set say it
    preset: str | None  # None: the first of each experiment
    changes: Mapping[str, Any]
    text: str = ""  # what a person says of it; empty for a name that only files have
    untuned: bool = False  # of a printed name that says so
    design: str = ""

    @property
    def printed(self) -> str:
        """The name that reports print and files have: the preset, which it has to have, and a digest of the changes."""
        assert self.preset
        return Setting("any", self.preset, self.changes, 0, {}, untuned=self.untuned, design=self.design).name


def named(results: Path) -> dict[str, NamedSetting]:
    """The settings that have a name of a person's. Raises ValueError, one line, for a file that cannot be used."""
    path = results / FILE
    try:
        tables = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    found: dict[str, NamedSetting] = {}
    printed: dict[str, str] = {}
    for name, table in tables.items():
        one = _checked(path, name, table)
        if one.printed in printed:
            raise ValueError(f"{path}: {name} and {printed[one.printed]} are one setting; leave out one of them")
        found[name], printed[one.printed] = one, name
    return found


def _checked(path: Path, name: str, table: Any) -> NamedSetting:
    if not NAME.fullmatch(name) or name in PRESETS:
        why = "is a preset's name" if name in PRESETS else "use lower-case letters, digits and hyphens"
        raise ValueError(f"{path}: {name}: {why}")
    if not isinstance(table, dict) or table.keys() != KEYS or not isinstance(table["changes"], dict):
        raise ValueError(f"{path}: {name}: give it text, preset and changes, and nothing else")
    if not isinstance(table["text"], str) or not table["text"] or "\n" in table["text"]:
        raise ValueError(f"{path}: {name}: give it one line of text")
    try:
        override(preset(table["preset"]), table["changes"])
    except ValueError as error:
        raise ValueError(f"{path}: {name}: {error}") from None
    return NamedSetting(name, table["preset"], table["changes"], table["text"])


def find(results: Path, name: str) -> NamedSetting:
    """The setting called `name`, by a person or by a file. Raises ValueError with a suggestion."""
    given = named(results)
    if name in given:
        return given[name]
    on_file = {setting.name: setting for setting in store.read_settings(results)[0]}
    if name in on_file:
        one = on_file[name]
        return NamedSetting(name, one.preset, one.changes, untuned=one.untuned, design=one.design)
    if name in PRESETS:
        return NamedSetting(name, name, {})
    hint = did_you_mean(name, [*given, *on_file])
    raise ValueError(f"no setting {name!r} in {results}{hint}")


def called(results: Path) -> dict[str, str]:
    """Printed name of a setting -> the name that a person gave it."""
    return {one.printed: name for name, one in named(results).items()}


def label(setting: Setting, names: Mapping[str, str]) -> str:
    """The name that a person gave a setting (`names`: by printed name), with the printed one behind it:
    `cifar10-20ep (cifar10+3c6ba0)`."""
    return f"{names[setting.name]} ({setting.name})" if setting.name in names else setting.name


def askers(results: Path, digest: str, seed: int) -> list[tuple[Setting, str]]:
    """The settings that ask for a run, each with the arm that does: as one that is compared, or of a search."""
    found = []
    for setting in store.read_settings(results)[0]:
        compared = [(arm, setting.seeds_for(arm.partition("@")[0]), one) for arm, one in setting.arms.items()]
        compared += [(arm, setting.seeds_for(arm.partition("@")[0]), one) for arm, one in setting.common.items()]
        compared += [
            (arm, setting.search_seeds, one) for arm, tried in setting.searches.items() for one in tried.values()
        ]
        found += [(setting, arm) for arm, seeds, one in compared if one == digest and seed in seeds]
    return found


def finished(results: Path, experiment: str) -> list[tuple[Setting, int, int]]:
    """The settings of an experiment that have finished runs, with how many, and how many were asked for."""
    found = []
    for setting in store.read_settings(results)[0]:
        if setting.experiment == experiment:
            runs = {(digest, seed) for arm, digest in setting.arms.items() for seed in setting.seeds_for(arm)}
            done = sum(store.is_finished(results, *run) for run in runs)
            if done:
                found.append((setting, done, len(runs)))
    return found
