"""From a question to finished runs: plan, launch, and again while a search or an open verdict asks for more."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro import store
from repro.data import known
from repro.data.load.loading import open_data
from repro.data.manifest import key
from repro.experiments.experiment import Experiment
from repro.planning import asked, plan
from repro.planning.cost import Cost, cost
from repro.records import Setting
from repro.terms import FEWEST_SEEDS
from repro.training.events import Failed
from repro.training.execute import Machine, choose_devices, devices_of_rank


@dataclass(frozen=True)
class Round:
    """Runs to do before planning again, and what all that is missing costs."""

    runs: Sequence[plan.Run]
    cost: Cost
    one_device: bool  # both towers of some run are on it, for want of a second


def sweep(
    experiments: Sequence[Experiment],
    preset: str | None,
    seeds: int,
    changes: Mapping[str, Any],
    machine: Machine,
    *,
    do: Callable[[Round], Sequence[Failed]],
    max_seeds: int | None = None,
    tuned: bool = True,
    first_seed: int = 0,
    arms: Container[str] | None = None,
    frozen: str = "",
    publish: bool = True,
    fits: Callable[[plan.Plan, Sequence[plan.Run]], Sequence[plan.Run]] | None = None,
) -> list[Failed]:
    """Train what is missing of the experiments and note what was asked in results/experiments/.

    `do` does the runs of a round that no other process does, and returns those that failed. `publish` writes the table
    of all runs at the end. With `max_seeds`, add seeds to
    each experiment until its verdict settles, at most so many. `fits` chooses, before each round, what of the missing
    runs of a plan is done; nothing ends the sweep. Returns the runs that failed.
    Raises ValueError, before anything is changed, where the plan cannot be made or data is not prepared.
    """
    counts = {one.name: seeds for one in experiments}
    failed: dict[str, Failed] = {}
    for one in experiments:
        for config in plan.configs(one, preset or one.presets[0], changes, tuned=tuned).values():
            if known.row(config.data.source).shipped:  # prepared on first use, so that the runs can be named
                open_data(config.data, machine.data, verify=machine.verify)
    while True:
        made = plan.make(
            experiments, preset, counts, changes,
            data=machine.data, results=machine.results, tuned=tuned, first_seed=first_seed,
            arms=arms, frozen=frozen,
        )  # fmt: skip
        if made.unprepared:
            raise ValueError("; ".join(made.unprepared))
        for data in {key(run.config.data): run.config.data for run in made.todo}.values():
            open_data(data, machine.data, verify=machine.verify)  # a damaged set is named before a run begins
        noted = [
            asked.note(machine.results, setting, max_seeds, declared={arm.name for arm in one.arms_at(setting.preset)})
            for one, setting in zip(experiments, made.settings, strict=True)
        ]
        missing = [run for run in made.todo if run.name not in failed]
        todo = [run for run in made.next if run.name not in failed] or missing
        if fits:
            todo = list(fits(made, missing)) if missing else []
        if todo:
            if machine.ranks == 1:
                choose_devices(machine.devices, max(run.config.model.towers for run in missing))
            two = any(run.config.model.towers == 2 for run in missing)
            devices = choose_devices(machine.devices, 2) if machine.ranks == 1 else devices_of_rank(machine)
            one_device = two and len(devices) == 1
            bill = cost(replace(made, runs=tuple(todo)) if fits else made, data=machine.data, results=machine.results)
            failed |= {event.run: event for event in do(Round(todo, bill, one_device))}
            continue
        if publish:
            store.publish(machine.results)
        if max_seeds is None or failed or missing:
            return list(failed.values())
        undecided = [
            one.name
            for one, setting in zip(experiments, noted, strict=True)
            if counts[one.name] < max_seeds and undecided_claims(one, setting, machine.results)
        ]
        if not undecided:
            return []
        for name in undecided:
            counts[name] += 1


def undecided_claims(experiment: Experiment, setting: Setting, results: Path) -> bool:
    """Whether a claim of the experiment is still inconclusive, by the intervals that a report of the setting has.

    So is one of which no run has trained, up to the seeds that a verdict takes: the next may. A value that is bound to
    another setting gains nothing by more seeds.
    """
    from repro.stats import judge

    return any(
        found.verdict == "inconclusive"
        or any(finished < FEWEST_SEEDS for _, _, finished in found.failed)
        or (0 < found.seeds < FEWEST_SEEDS and (found.reference or not found.differences))
        for found in judge(experiment, setting, results)
        if found.claim
    )
