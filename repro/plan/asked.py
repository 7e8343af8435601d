"""What is asked for now together with what was asked for before: seeds and looks of a setting stay on record."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from repro import store
from repro.records import Setting
from repro.stats.looks import after
from repro.terms import FEWEST_SEEDS


def note(results: Path, setting: Setting, most: int | None = None) -> Setting:
    """Write the setting's file and return what is on record from now on; `most`: `--until-decided`, at most so many."""
    before = None
    with suppress(ValueError):  # not there, or damaged
        before = store.read_setting(store.setting_path(results, setting))
    if before and (not (before.arms and setting.arms) or before.arms.items() & setting.arms.items()):
        asked = replace(before, arms={**setting.arms, **before.arms})  # it had none while a search went on
        finished = [
            [seed for seed in asked.seeds_for(arm) if store.is_finished(results, digest, seed)]
            for arm, digest in asked.arms.items()
        ]
        offsets = {seed - asked.first_seed for of_arm in finished for seed in of_arm}
        seen = max((offset + 1 for offset in offsets if offset < asked.seeds), default=0)
        judged = any(len(of_arm) >= FEWEST_SEEDS for of_arm in finished)
        looks = after(before.looks or (before.seeds,), setting.seeds, most, seen=seen, judged=judged)
    else:  # none of its runs was seen
        looks = after((), setting.seeds, most, seen=0, judged=False)
    noted = replace(setting, seeds=looks[-1], looks=looks)
    store.write_setting(results, noted)
    return noted
