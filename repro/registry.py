"""Finds the registered experiments: `ablations/`, the entry points `repro.ablations`, and files given by `--include`."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from repro.ablation import Ablation
from repro.suggest import did_you_mean

GROUP = "repro.ablations"


@dataclass(frozen=True)
class Refused:
    """A declaration that cannot be used: where it stands, and why. The others still work."""

    place: str  # file:line, or the entry point
    reason: str


@dataclass(frozen=True)
class Registry:
    """Every experiment by name, in the order of the files, and what was refused."""

    experiments: dict[str, Ablation]
    refused: tuple[Refused, ...]

    def get(self, name: str) -> Ablation:
        """The experiment called `name`. Raises ValueError with a suggestion, or with why its file was refused."""
        if name in self.experiments:
            return self.experiments[name]
        for refused in self.refused:
            if name.replace("-", "_") in refused.place or name in refused.place:
                raise ValueError(f"experiment {name!r} was refused: {refused.place}: {refused.reason}")
        raise ValueError(f"no experiment {name!r}{did_you_mean(name, self.experiments)}; `repro list` shows all")


def shipped() -> Path:
    """The folder of our own declarations: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "ablations"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "ablations"


def load(include: Sequence[Path] = ()) -> Registry:
    """Load all declarations. Raises ValueError for an `--include` path that does not exist."""
    experiments: dict[str, Ablation] = {}
    places: dict[str, str] = {}
    refused: list[Refused] = []

    def add(found: Ablation | Refused, place: str) -> None:
        if isinstance(found, Refused):
            refused.append(found)
        elif found.name in experiments:
            refused.append(Refused(place, f"the name {found.name!r} is taken by {places[found.name]}; choose another"))
        else:
            experiments[found.name], places[found.name] = found, place

    for path in sorted(shipped().glob("[!_]*.py")):
        add(from_file(path), str(path))
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        place = f"entry point {point.name} = {point.value}"
        try:
            found = point.load()
        except Exception as error:  # whatever a third party's module raises must not stop the others
            add(Refused(place, one_line(error)), place)
            continue
        for value in found if isinstance(found, (list, tuple)) else [getattr(found, "ablation", found)]:
            is_one = isinstance(value, Ablation)
            add(value if is_one else Refused(place, f"gives {type(value).__name__}, not an Ablation"), place)
    for path in include:
        if not path.exists():
            raise ValueError(f"--include {path}: there is no such file or folder")
        for file in sorted(path.glob("[!_]*.py")) if path.is_dir() else [path]:
            add(from_file(file), str(file))
    return Registry(experiments, tuple(refused))


def from_file(path: Path) -> Ablation | Refused:
    """The value called `ablation` in a file, or why there is none, with the line."""
    name = f"repro_ablation_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        return Refused(str(path), "is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        return Refused(f"{path}:{error.lineno}", f"{error.msg}")
    except Exception as error:  # a broken declaration must not stop the others
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        return Refused(f"{path}:{lines[-1] if lines else 1}", one_line(error))
    found = getattr(module, "ablation", None)
    if not isinstance(found, Ablation):
        return Refused(f"{path}:1", "defines no `ablation = Ablation(...)`")
    return found


def one_line(error: BaseException) -> str:
    """What went wrong, without line breaks; the type is named unless it is our own ValueError."""
    text = " ".join(str(error).split())
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def select(registry: Registry, names: Iterable[str], *, everything: bool = False) -> list[Ablation]:
    """The named experiments, each once, or all of them. Raises ValueError for an unknown name, or for none."""
    chosen = list(registry.experiments) if everything else list(dict.fromkeys(names))
    if not chosen:
        raise ValueError("name an experiment, or give --all; `repro list` shows all")
    return [registry.get(name) for name in chosen]
