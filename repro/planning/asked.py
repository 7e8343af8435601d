"""What is asked for now together with what was asked for before: seeds and looks of a setting stay on record."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Container
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from repro import files, store
from repro.records import NewerError, Setting
from repro.stats.looks import after
from repro.terms import FEWEST_SEEDS

_asking: dict[Path, int] = {}  # what this process has asked for -> a file that it holds a shared lock on


def note(results: Path, setting: Setting, most: int | None = None, *, declared: Container[str] = ()) -> Setting:
    """Write the setting's file and return what is on record from now on; `most`: `--until-decided`, at most so many.

    What another process asks for at the same time goes together with it: of the arms that are `declared`, those that
    only it asked for stay, and so do its seeds while it lives. Raises NewerError for a file of a newer version.
    """
    path = store.setting_path(results, setting)
    with files.only_writer(path.parent):
        before = None
        try:
            before = store.read_setting(path)
        except NewerError:
            raise
        except ValueError:  # not there, or damaged
            pass
        if before and (set(before.arms).isdisjoint(setting.arms) or before.arms.items() & setting.arms.items()):
            arms = {**setting.arms, **before.arms}  # it had none while a search went on
            finished = [
                [seed for seed in replace(before, arms=arms).seeds_for(arm) if store.is_finished(results, digest, seed)]
                for arm, digest in arms.items()
            ]
            offsets = {seed - before.first_seed for of_arm in finished for seed in of_arm}
            seen = max((offset + 1 for offset in offsets if offset < before.seeds), default=0)
            judged = any(len(of_arm) >= FEWEST_SEEDS for of_arm in finished)
            seeds = setting.seeds if _alone(path) else max(setting.seeds, before.seeds)
            looks = after(before.looks or (before.seeds,), seeds, most, seen=seen, judged=judged)
            kept = {
                arm for arm in before.arms.keys() | before.searches.keys() if arm in declared
            } - setting.declared.keys()
            setting = replace(
                setting,
                arms={arm: value for arm, value in before.arms.items() if arm in kept} | dict(setting.arms),
                searches={arm: value for arm, value in before.searches.items() if arm in kept} | dict(setting.searches),
                declared={arm: value for arm, value in before.declared.items() if arm in kept} | dict(setting.declared),
                seeds_of={arm: value for arm, value in before.seeds_of.items() if arm in kept} | dict(setting.seeds_of),
                common={**before.common, **setting.common},
            )
        else:  # none of its runs was seen
            _alone(path)
            looks = after((), setting.seeds, most, seen=0, judged=False)
        noted = replace(setting, seeds=looks[-1], looks=looks)
        store.write_setting(results, noted)
    return noted


def _alone(path: Path) -> bool:
    """Whether no other living process has asked for a setting; this one has, from now until it ends."""
    if path not in _asking:
        _asking[path] = os.open(path.with_name(f".{path.name}.asked.lock"), os.O_CREAT | os.O_RDWR, 0o644)
    alone = False
    with suppress(OSError):
        fcntl.flock(_asking[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    with suppress(OSError):
        fcntl.flock(_asking[path], fcntl.LOCK_SH)
    return alone
