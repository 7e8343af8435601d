"""Other results folders into one: runs that were made where no disk is shared.

What the folder has stays: a run of the other that differs from it is named and refused. A run goes over with its record
last, so that what is there of it at any moment is no run or a whole one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from repro import files, store
from repro.records import RunRecord, Setting

Put = Callable[[Path, Path], str]  # the folder of a run, and where it goes; returns why it could not


@dataclass
class Merged:
    """What came over, what was here, and what was refused and why."""

    runs: int = 0
    same: int = 0  # runs that both have
    settings: int = 0  # files of settings that are new, or ask for more than before
    refused: list[store.Damaged] = field(default_factory=list)


def merge(source: Path, results: Path) -> Merged:
    """Copy what `source` has to `results`: finished runs that are whole, settings, frozen plans, what stands beside
    weights that were read from files. Nothing of `results` is lost.

    Raises ValueError where `source` is no results folder, or is `results`.
    """
    if results.is_dir() and source.is_dir() and source.samefile(results):
        raise ValueError(f"{source}: is the results folder itself; give another")
    return _merge(source, results, _copied, whole=True)


def as_one(folders: Sequence[Path], results: Path) -> Merged:
    """Bring the runs and settings of several folders to the empty folder `results` as links, for a report, which sees
    itself whether files are whole. Where two differ the first counts, and the other is named. Raises as `merge`."""
    found = Merged()
    for folder in folders:
        found.refused += _merge(folder, results, _linked, whole=False).refused
        names, there = folder / "settings.toml", results / "settings.toml"
        if names.is_file() and not there.exists():
            shutil.copyfile(names, there)
    return found


@contextmanager
def seen_as_one(folders: Sequence[Path]) -> Iterator[tuple[Path, Sequence[store.Damaged]]]:
    """A results folder that has the runs and settings of several, for as long as it is read, and what was left out."""
    with TemporaryDirectory(prefix="repro-") as place:
        results = Path(place, "results")
        yield results, as_one(folders, results).refused


def _merge(source: Path, results: Path, put: Put, *, whole: bool) -> Merged:
    if not (source / "runs").is_dir() and not (source / "experiments").is_dir():
        raise ValueError(f"{source}: is no results folder, it has neither runs/ nor experiments/; give one")
    done = Merged()
    records, damaged = store.finished_runs(source)
    done.refused += damaged
    for record in records:
        wrong = store.damaged_files(source, record) if whole else []
        if wrong:
            done.refused += wrong
        else:
            _run(record, source, results, put, done)
    settings, damaged = store.read_settings(source)
    done.refused += damaged
    for setting in settings:
        _setting(setting, source, results, done)
    for folder in ("plans", "weights"):
        for path in files.listed(source / folder, "*.json"):
            _file(path, results / folder / path.name, done)
    return done


def _run(record: RunRecord, source: Path, results: Path, put: Put, done: Merged) -> None:
    folder, there = (store.run_directory(one, *record.key) for one in (source, results))
    if (there / "run.json").exists():
        try:
            same = _measured(store.read_run(results, *record.key)) == _measured(record)
            why = "" if same else f"{there} is the same run with other numbers, and stays"
        except ValueError as error:
            why = f"ours stays, and it is damaged: {error}"
    else:
        why, same = put(folder, there), False
    if why:
        done.refused.append(store.Damaged(folder, why))
    else:
        done.same += same
        done.runs += not same


def _measured(record: RunRecord) -> tuple[object, ...]:
    """What two runs of one Config and seed have to agree in."""
    return (
        record.data, record.errors, record.train_error, record.held_out, record.epochs, record.epochs_to_target,
        record.diverged,
    )  # fmt: skip


def _copied(folder: Path, there: Path) -> str:
    from repro.training.claim import BusyError, Claim

    try:
        with Claim(there).held():
            for name in ("checkpoint*.pt", "failed.json", *store.BELONGS, "neighbors.npz"):  # of an unfinished attempt
                for path in there.glob(name):
                    files.remove(path)
            for name in (*store.BELONGS, "neighbors.npz", "run.json"):
                for path in sorted(folder.glob(name)):
                    files.write_atomically(there / path.name, path.read_bytes())
    except BusyError:
        return f"a process is at {there}; import again when it has ended"
    return ""


def _linked(folder: Path, there: Path) -> str:
    there.parent.mkdir(parents=True, exist_ok=True)
    there.symlink_to(folder.absolute(), target_is_directory=True)
    return ""


def _setting(theirs: Setting, source: Path, results: Path, done: Merged) -> None:
    path, other = (store.setting_path(one, theirs) for one in (results, source))
    with files.only_writer(path.parent):
        if not path.exists():
            store.write_setting(results, theirs)
            done.settings += 1
            return
        try:
            ours = store.read_setting(path)
        except ValueError as error:
            done.refused.append(store.Damaged(other, f"ours stays, and it is damaged: {error}"))
            return
        if why := _differ(ours, theirs):
            done.refused.append(store.Damaged(other, f"{path} has {why}, and stays"))
        elif (both := together(ours, theirs)) != ours:
            store.write_setting(results, both)
            done.settings += 1


def _differ(ours: Setting, theirs: Setting) -> str:
    """What two files of one setting cannot both be right about; empty where they go together."""
    if (ours.first_seed, ours.frozen, ours.design) != (theirs.first_seed, theirs.frozen, theirs.design):
        return "another first seed, design or frozen plan"
    pairs = [(ours.arms, theirs.arms), (ours.common, theirs.common), (ours.declared, theirs.declared)]
    pairs += [(ours.searches[arm], theirs.searches[arm]) for arm in ours.searches.keys() & theirs.searches.keys()]
    if any(one[name] != other[name] for one, other in pairs for name in one.keys() & other.keys()):
        return "other runs for an arm of the same name"
    return ""


def together(ours: Setting, theirs: Setting) -> Setting:
    """One setting of two that do not differ: the arms, the seeds and the looks of both."""
    seeds, looks = max(ours.seeds, theirs.seeds), ours.looks
    if seeds != ours.seeds or not set(theirs.looks) <= set(looks):
        looks = (*(look for look in dict.fromkeys((*theirs.looks, *ours.looks)) if look != seeds), seeds)
    counts = {
        arm: max(one.seeds_of.get(arm, one.seeds) for one in (ours, theirs) if arm in {**one.arms, **one.searches})
        for arm in {**ours.arms, **theirs.arms}
    }
    tried = {
        arm: {**theirs.searches.get(arm, {}), **ours.searches.get(arm, {})}
        for arm in {**ours.searches, **theirs.searches}
    }
    return replace(
        ours,
        seeds=seeds,
        looks=looks,
        arms={**ours.arms, **theirs.arms},
        searches=tried,
        search_seeds=tuple(dict.fromkeys((*ours.search_seeds, *theirs.search_seeds))),
        common={**ours.common, **theirs.common},
        seeds_of={arm: count for arm, count in counts.items() if count != seeds},
        declared={**ours.declared, **theirs.declared},
        own_seeds={**ours.own_seeds, **theirs.own_seeds},
    )


def _file(path: Path, there: Path, done: Merged) -> None:
    """A file that is written once: a frozen plan, the identity of weights."""
    content = files.read_bytes(path)
    if not there.exists():
        files.write_atomically(there, content)
    elif there.read_bytes() != content:
        done.refused.append(store.Damaged(path, f"{there} is another, and stays"))
