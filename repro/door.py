"""The Python door: what the commands do, as functions that return values. `import repro` has them all, and loads what a
function needs when it is called::

    import repro

    repro.run("lrn-ablation", preset="smoke", seeds=3)
    repro.judge("lrn-ablation")[["arm", "metric", "estimate", "low", "high", "verdict"]]

Folders are those of the commands: the argument, else $REPRO_RESULTS_DIR and $REPRO_DATA_DIR, else ./results and ./data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.folders import data_directory, results_directory

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from repro.experiments.experiment import Experiment
    from repro.planning.plan import Plan
    from repro.report.gather import Part
    from repro.training.events import Failed, Listener

Names = str | Sequence[str]


def load_experiments(include: Sequence[Path] = ()) -> dict[str, Experiment]:
    """Name -> experiment, of all declarations that can be used. Raises ValueError for a path that does not exist."""
    from repro.experiments.registry import load

    return load(include).experiments


def plan(
    names: Names,
    *,
    preset: str | None = None,
    seeds: int = 3,
    changes: Mapping[str, Any] | None = None,
    tuned: bool = True,
    include: Sequence[Path] = (),
    data: Path | None = None,
    results: Path | None = None,
) -> Plan:
    """The runs that the experiments ask for, which of them are finished (`plan(...).todo` are the others). Changes
    nothing. `changes` maps dotted keys of the Config to values, as `--set`. Raises ValueError in one line."""
    from repro.planning.plan import make

    return make(
        _chosen(names, include), preset, seeds, changes or {},
        tuned=tuned, data=data_directory(data), results=results_directory(results),
    )  # fmt: skip


def run(
    names: Names,
    *,
    preset: str | None = None,
    seeds: int = 3,
    changes: Mapping[str, Any] | None = None,
    tuned: bool = True,
    at_once: int = 1,
    devices: tuple[str, ...] = (),
    track: Sequence[str] = (),
    emit: Listener | None = None,
    include: Sequence[Path] = (),
    data: Path | None = None,
    results: Path | None = None,
) -> list[Failed]:
    """Train what is missing, `at_once` runs side by side; returns those that failed. Stopped, it goes on where it was.

    `emit` gets every event (repro.training.events), and so do the trackers `track`, as `--track`. Raises ValueError,
    before anything is changed, where the plan cannot be made, data is not prepared, or a device is not there.
    """
    from repro.commands.sweep import sweep
    from repro.launch import launch
    from repro.training.execute import Machine, choose_devices
    from repro.training.trackers import check

    choose_devices(devices, 2)
    check(track)
    machine = Machine(results_directory(results), data_directory(data), devices, track=tuple(track))
    listener = emit or (lambda event: None)
    return sweep(
        _chosen(names, include), preset, seeds, changes or {}, machine, tuned=tuned,
        do=lambda todo: launch(todo.runs, machine, at_once=at_once, emit=listener),
    )  # fmt: skip


def collect(results: Path | Sequence[Path] | None = None) -> pd.DataFrame:
    """The finished runs of all settings, a row a run, arm and view: experiment, preset, setting, arm, then the columns
    of repro.store.collect, whose names have units. Of several folders, where two differ the first counts."""
    if isinstance(results, Sequence):
        from repro.merge import seen_as_one

        with seen_as_one([results_directory(one) for one in results]) as (together, _):
            return collect(together)
    import pandas as pd

    from repro import store

    folder = results_directory(results)
    settings, _ = store.read_settings(folder)
    asked = [
        (one.experiment, one.preset, one.name, arm, digest, seed)
        for one in settings
        for arm, digest in one.arms.items()
        for seed in one.seeds_for(arm)
    ]
    of = pd.DataFrame(asked, columns=["experiment", "preset", "setting", "arm", "digest", "seed"])
    return of.merge(store.collect(folder), on=["digest", "seed"], how="inner")


def judge(
    name: str, setting: str | None = None, *, include: Sequence[Path] = (), results: Path | None = None
) -> pd.DataFrame:
    """What the runs of a setting say of each claim, a row a number: estimate with its interval and unit, verdict, p.

    Without `setting`, the one that the experiment's page begins with. Raises ValueError where there is none.
    """
    from repro.report.contents import judgements_frame

    frame: pd.DataFrame = judgements_frame([_part(name, setting, include, results)])
    return frame


def figure(
    name: str, setting: str | None = None, *, include: Sequence[Path] = (), results: Path | None = None
) -> Figure:
    """Our numbers with their intervals beside the published ones, as a matplotlib figure. Raises as `judge`, and where
    no number is there yet."""
    from repro.report import contents, drawing, figures

    part = _part(name, setting, include, results)
    marks = contents.effect_marks(part)
    if not marks:
        raise ValueError(f"{name} at {part.setting.name}: no arm that is compared has finished runs")
    with drawing.style():
        return figures.effects(marks)


def _chosen(names: Names, include: Sequence[Path]) -> list[Experiment]:
    from repro.experiments.registry import load, select

    return select(load(include), [names] if isinstance(names, str) else names)


def _part(name: str, setting: str | None, include: Sequence[Path], results: Path | None) -> Part:
    from repro.report import contents
    from repro.report.gather import gather
    from repro.suggest import did_you_mean

    (experiment,) = _chosen(name, include)
    folder = results_directory(results)
    parts = {part.setting.name: part for part in gather([experiment], folder).of(name)}
    found = contents.leading(list(parts.values())) if setting is None else parts.get(setting)
    if found is None and not parts:
        raise ValueError(f"{name} has no setting in {folder}; repro.run({name!r}) makes one")
    if found is None:
        raise ValueError(f"{name} has no setting {setting!r}{did_you_mean(str(setting), parts)}")
    return found
