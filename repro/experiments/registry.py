"""Finds the registered experiments: `ablations/`, entry points `repro.ablations`, and files given by `--include`."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.experiments.experiment import Experiment, Search
from repro.suggest import did_you_mean, one_line

if TYPE_CHECKING:
    from repro.config.config import Config

GROUP = "repro.ablations"
FAILURES = (Exception, SystemExit)  # what code of others may raise and must not end the command, sys.exit among it


@dataclass(frozen=True)
class Refused:
    """A declaration that cannot be used: where it stands, and why. The others still work."""

    location: str  # file:line, or "entry point NAME = VALUE"
    reason: str

    @property
    def name(self) -> str:
        """What it would probably be called: the name of its file or entry point."""
        location = self.location.removeprefix("entry point ").split(" = ")[0]
        return Path(location.rsplit(":", 1)[0]).stem.replace("_", "-")


@dataclass(frozen=True)
class Registry:
    """Every experiment by name, in the order of the files, and what was refused."""

    experiments: dict[str, Experiment]
    refused: tuple[Refused, ...]

    def get(self, name: str) -> Experiment:
        """The experiment called `name`. Raises ValueError with a suggestion, and with what was refused and why: a file
        need not be called as the experiment in it."""
        if name in self.experiments:
            return self.experiments[name]
        for refused in self.refused:
            if refused.name == name.replace("_", "-"):
                raise ValueError(f"experiment {name!r} was refused: {refused.location}: {refused.reason}")
        others = "".join(f"; refused {refused.location}: {refused.reason}" for refused in self.refused)
        hint = did_you_mean(name, self.experiments)
        raise ValueError(f"no experiment {name!r}{hint}; `repro list` shows all{others}")


def shipped() -> Path:
    """The folder of our own declarations: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "ablations"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "ablations"


def load(include: Sequence[Path] = ()) -> Registry:
    """Load all declarations. Raises ValueError for an `--include` path that does not exist."""
    experiments: dict[str, Experiment] = {}
    locations: dict[str, str] = {}
    refused: list[Refused] = []

    def add(found: Experiment | Refused, path: Path) -> None:
        if isinstance(found, Refused):
            refused.append(found)
        elif found.name in experiments:
            reason = f"the name {found.name!r} is taken by {locations[found.name]}; choose another"
            refused.append(Refused(f"{path}:{line_of(path, found.name)}", reason))
        else:
            text = path.with_suffix(".md")
            found = replace(found, discussion=text) if text.is_file() else found
            experiments[found.name], locations[found.name] = found, str(path)

    for path in sorted(shipped().glob("[!_]*.py")):
        add(from_file(path), path)  # not checked: the contract test does so before they are shipped
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        for found, path in from_entry_point(point):
            add(checked(found, path), path)
    for path in include:
        if not path.exists():
            raise ValueError(f"--include {path}: there is no such file or folder")
        for file in sorted(path.glob("[!_]*.py")) if path.is_dir() else [path]:
            add(checked(from_file(file), file), file)
    return Registry(experiments, tuple(refused))


def from_file(path: Path) -> Experiment | Refused:
    """The value called `experiment` in a file, or why there is none, with the line."""
    name = f"repro_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        return Refused(str(path), "is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except FAILURES as error:  # a broken declaration must not stop the others
        return refusal(error, path)
    found = getattr(module, "experiment", None)
    if not isinstance(found, Experiment):
        return Refused(f"{path}:1", "defines no `experiment = Experiment(...)`")
    return found


def from_entry_point(point: EntryPoint) -> list[tuple[Experiment | Refused, Path]]:
    """The declarations that an entry point names (a module with `experiment`, an Experiment, or a list of them), each
    with its file."""
    named = f"entry point {point.name} = {point.value}"
    try:
        spec = importlib.util.find_spec(point.module)
        path = Path(spec.origin) if spec and spec.origin else Path(point.module)
    except FAILURES as error:  # the package around the module runs here
        return [(Refused(named, one_line(error)), Path(point.module))]
    try:
        found = point.load()
    except FAILURES as error:  # whatever a third party's module raises must not stop the others
        return [(Refused(named, one_line(error)) if spec is None else refusal(error, path), path)]
    values = found if isinstance(found, (list, tuple)) else [getattr(found, "experiment", found)]
    wrong = "gives {}, not an Experiment"
    return [
        (value if isinstance(value, Experiment) else Refused(named, wrong.format(type(value).__name__)), path)
        for value in values
    ]


def checked(found: Experiment | Refused, path: Path) -> Experiment | Refused:
    """`found`, or why it cannot be used: a preset that does not exist, or an arm that makes no valid Config of one."""
    from repro.config.keys import override
    from repro.config.presets import preset

    if isinstance(found, Refused):
        return found
    for name in found.presets:
        try:
            base = preset(name)
        except ValueError as error:
            return Refused(f"{path}:{line_of(path, name)}", str(error))
        for arm in found.arms_at(name):
            try:
                changes = arm.changes_at(name)
            except FAILURES as error:  # `at` may be computed by the declaration's own code
                return refusal(error, path)
            try:
                tries = searched(found.search.at(name), base) if found.search else [{}]
                for tried in tries:
                    override(base, {**changes, **tried})
            except ValueError as error:
                keys = (*changes, found.search.key if found.search else "")
                culprit = next((key for key in keys if key and key in str(error)), arm.name)
                return Refused(f"{path}:{line_of(path, culprit)}", f"arm {arm.name!r} at {name}: {error}")
    return found


def searched(search: Search, base: Config) -> list[dict[str, Any]]:
    """The changes that a search tries first. Raises ValueError for a key that is no number of the Config."""
    from repro.config.keys import flatten, override

    own = flatten(base).get(search.key)
    if not isinstance(own, (int, float)) or isinstance(own, bool):
        override(base, {search.key: 1.0})  # which names an unknown key
        raise ValueError(f"search: {search.key} is {own!r}, and a search multiplies a number")
    return [{search.key: value} for value in search.grid(own)]


def refusal(error: BaseException, path: Path) -> Refused:
    """Where in the file the error arose, and what it says."""
    if isinstance(error, SyntaxError):
        return Refused(f"{error.filename}:{error.lineno}", f"{error.msg}")
    here = str(path.absolute())  # as Python names it in a frame, however it was given
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == here]
    return Refused(f"{path}:{lines[-1] if lines else 1}", one_line(error))


def line_of(path: Path, word: str) -> int:
    """The first line of the file where `word` is the key of a mapping, else any string, or 1."""
    lines = path.read_text().splitlines()
    for written in (f'"{word}":', f"'{word}':", f'"{word}"', f"'{word}'"):
        for number, line in enumerate(lines, start=1):
            if written in line:
                return number
    return 1


def select(registry: Registry, names: Iterable[str], *, everything: bool = False) -> list[Experiment]:
    """The named experiments, each once, or all of them. Raises ValueError for an unknown name, for none, or for names
    where all are asked for."""
    named = list(dict.fromkeys(names))
    if named and everything:
        raise ValueError(f"--all and {named[0]!r} contradict each other; leave out one of them")
    chosen = list(registry.experiments) if everything else named
    if not chosen:
        raise ValueError("name an experiment, or give --all; `repro list` shows all")
    return [registry.get(name) for name in chosen]
