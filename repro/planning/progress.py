"""What goes on in results/, from leases, metrics and records alone: another terminal or machine may do it.

Nothing here tells a run anything, and nothing is written.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from repro import files, store
from repro.experiments.experiment import Experiment
from repro.planning.plan import configs, laid_out
from repro.records import Epoch, Setting
from repro.training.claim import FILE, SECONDS

LATE = 30.0  # seconds: a network disk may show a touched lease so late
State = Literal["running", "failed", "stopped"]
Key = tuple[str, int]  # digest and seed


@dataclass(frozen=True)
class RunProgress:
    """A run that has begun or failed, and has no record."""

    name: str  # <digest>/seed-<n>
    state: State  # stopped: its checkpoint waits for the next sweep
    used_by: tuple[str, ...]  # experiment/arm, with `search` where it tries a value
    epoch: int  # whole epochs done
    epochs: int | None  # of its schedule; None where no setting says
    seconds_left: float | None  # of training, at the pace of its epochs so far
    reason: str = ""  # of a failure
    last: Epoch | None = None


@dataclass(frozen=True)
class SettingProgress:
    """A setting that is not finished. Comparisons that wait for a search are not among its runs yet."""

    experiment: str
    name: str
    asked: int
    finished: int
    running: int
    failed: int
    waiting: int  # arms that wait for their search
    seconds_left: float | None  # by as many workers as are at its runs now; None where nothing tells


@dataclass(frozen=True)
class Progress:
    """All of it; `damaged` settings cannot be read."""

    runs: Sequence[RunProgress]
    settings: Sequence[SettingProgress]
    seconds_left: float | None  # of the settings at which somebody is, each run once; None where nothing tells
    damaged: Sequence[store.Damaged] = ()


def is_held(folder: Path) -> bool:
    """Whether a living process is at a run: its lease was touched within its length, and its process, where it is one
    of this machine, is there."""
    path = folder / FILE
    try:
        age = time.time() - path.stat().st_mtime
        said = dict(line.partition("=")[::2] for line in path.read_text().splitlines())
        length = float(said.get("duration", SECONDS))
    except (OSError, ValueError):
        return False
    if said.get("host") == socket.gethostname() and said.get("pid", "").isdecimal():
        with suppress(PermissionError):  # it is somebody else's, and lives
            try:
                os.kill(int(said["pid"]), 0)
            except ProcessLookupError:
                return False
    return age < length + LATE


def progress(experiments: Mapping[str, Experiment], results: Path) -> Progress:
    """What runs, how far it is, what failed, and what unfinished settings still need."""
    settings, damaged = store.read_settings(results)
    wanted: dict[Key, list[tuple[str, int | None]]] = {}  # run -> (user, its epochs)
    of_setting: list[tuple[Setting, dict[Key, int | None]]] = []
    for setting in settings:
        users = _asked(experiments.get(setting.experiment), setting)
        of_setting.append((setting, {run: epochs for run, (_, epochs) in users.items()}))
        for run, user in users.items():
            wanted.setdefault(run, []).append(user)
    finished = {run for run in wanted if store.is_finished(results, *run)}
    begun = {run: one for run, one in _begun(results, wanted).items() if run not in finished}
    shown = []
    active: dict[Key, int | None] = {}  # runs of settings at which somebody is
    for setting, asked in of_setting:
        missing = asked.keys() - finished
        waiting = sum(arm not in setting.arms for arm in setting.searches)
        if not missing and not waiting:
            continue
        states = [begun[run].state for run in missing if run in begun]
        if "running" in states:
            active |= asked
        left = _seconds_left(results, asked, missing, begun)
        shown.append(
            SettingProgress(
                setting.experiment, setting.name, len(asked), len(asked) - len(missing), states.count("running"),
                states.count("failed"), waiting, left,
            )
        )  # fmt: skip
    order: tuple[State, ...] = ("running", "failed", "stopped")
    runs = sorted(begun.values(), key=lambda one: (order.index(one.state), one.name))
    return Progress(runs, shown, _seconds_left(results, active, active.keys() - finished, begun), damaged)


def _asked(experiment: Experiment | None, setting: Setting) -> dict[Key, tuple[str, int | None]]:
    """The runs of a setting: who uses each, and the epochs of its schedule where the declarations say."""
    epochs: dict[str, int] = {}
    search = None
    if experiment:
        with suppress(ValueError):  # it is declared otherwise by now
            (at,) = laid_out([experiment], setting.preset, setting.design or None)
            every = configs(at, setting.preset, setting.changes, tuned=False)
            epochs = {arm: config.schedule.epochs for arm, config in every.items()}
            search = at.search.at(setting.preset) if at.search else None
    found: dict[Key, tuple[str, int | None]] = {}
    for arm, tried in setting.searches.items():
        length = min(epochs[arm], search.epochs or epochs[arm]) if search and arm in epochs else None
        for value, digest in tried.items():
            for seed in setting.search_seeds:
                found[digest, seed] = f"{setting.experiment}/{arm} search {value}", length
    for arm, digest in (*setting.arms.items(), *setting.common.items()):
        own = arm.partition("@")[0]
        for seed in setting.seeds_for(own):
            found[digest, seed] = f"{setting.experiment}/{arm}", epochs.get(own)
    return found


def _begun(results: Path, wanted: Mapping[Key, Sequence[tuple[str, int | None]]]) -> dict[Key, RunProgress]:
    """The runs that have a lease, metrics, a checkpoint or a failure."""
    found = {}
    for folder in files.listed(results / "runs", "*", "seed-*"):
        number = folder.name.removeprefix("seed-")
        if (folder / "run.json").exists() or not number.isdecimal():
            continue
        run = folder.parent.name, int(number)
        held, reason, epochs = is_held(folder), store.failure(results, *run), store.read_metrics(results, *run)
        if not (held or reason or epochs or store.has_checkpoint(results, *run)):
            continue
        users = wanted.get(run, ())
        total = next((length for _, length in users if length), None)
        pace = _pace(epochs)
        left = (total - len(epochs)) * pace if total and pace is not None else None
        state: State = "running" if held else "failed" if reason else "stopped"
        found[run] = RunProgress(
            f"{run[0]}/seed-{run[1]}", state, tuple(dict.fromkeys(name for name, _ in users)), len(epochs), total,
            max(left, 0.0) if left is not None else None,
            reason if reason and not held else "", epochs[-1] if epochs else None,
        )  # fmt: skip
    return found


def _pace(epochs: Sequence[Epoch]) -> float | None:
    """Seconds of an epoch."""
    return median(epoch.seconds for epoch in epochs) if epochs else None


def _seconds_left(
    results: Path, asked: Mapping[Key, int | None], missing: AbstractSet[Key], begun: Mapping[Key, RunProgress]
) -> float | None:
    """Training time of the missing runs of a setting: of those begun at their own pace, of the others at the pace of
    their arm's runs, or of any run of the setting. Several workers share it."""
    of_digest: dict[str, list[float]] = {}
    for run in asked:
        if (pace := _pace(store.read_metrics(results, *run))) is not None:
            of_digest.setdefault(run[0], []).append(pace)
    every = [pace for paces in of_digest.values() for pace in paces]
    total = 0.0
    for run in missing:
        left = begun[run].seconds_left if run in begun else None
        length = asked[run]
        if left is None:
            if length is None or not every:
                return None
            left = length * median(of_digest.get(run[0], every))
        total += left
    workers = sum(one.state == "running" for run, one in begun.items() if run in missing)
    return total / max(1, workers)


@dataclass(frozen=True)
class Kept:
    """The checkpoints of one run: what they take, and why they stay; empty where they may go."""

    run: str
    files: tuple[Path, ...]
    bytes: int
    reason: str


def checkpoints(experiments: Mapping[str, Experiment], results: Path) -> list[Kept]:
    """The checkpoints of every run.

    One may go where its run is finished, a setting names it, and all that its arms read is read off it: what trains
    from it, or is still to be read, needs it. Another view of the run takes it, too, and would train the run again.
    """
    reads: dict[str, set[str]] = {}  # digest -> views and artifacts that some arm reads off its runs
    for setting in store.read_settings(results)[0]:
        experiment = experiments.get(setting.experiment)
        for digest in (
            *setting.common.values(),
            *(one for tried in setting.searches.values() for one in tried.values()),
        ):
            reads.setdefault(digest, set())
        for name, digest in setting.arms.items():
            views = {arm.view for arm in experiment.arms if arm.name == name and arm.view} if experiment else set()
            reads.setdefault(digest, set()).update(views, experiment.artifacts if experiment else ())
    found = []
    for folder in files.listed(results / "runs", "*", "seed-*"):
        paths = tuple(sorted(folder.glob("checkpoint*.pt")))
        if paths:
            reason, size = _needed(results, folder, reads), sum(path.stat().st_size for path in paths)
            found.append(Kept(f"{folder.parent.name}/{folder.name}", paths, size, reason))
    return found


def _needed(results: Path, folder: Path, reads: Mapping[str, set[str]]) -> str:
    digest, seed = folder.parent.name, int(folder.name.removeprefix("seed-"))
    if is_held(folder):
        return "a process is at the run"
    if not store.is_finished(results, digest, seed):
        return "the run is not finished"
    if digest not in reads:
        return "no setting names the run; others may begin with its weights"
    record = store.read_run(results, digest, seed)
    artifacts = reads[digest] & {"kernels", "neighbors"}
    views = {*record.errors, *(reads[digest] - artifacts)}
    missing = store.unread(results, digest, seed, views, artifacts, record)
    return f"still to be read off it: {', '.join(missing)}" if missing else ""
