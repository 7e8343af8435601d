"""From a question to finished runs: plan, launch, and again while a search or an open verdict asks for more."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from repro import store
from repro.commands import terminal
from repro.data.load.loading import open_data
from repro.data.manifest import key
from repro.experiments.experiment import Experiment
from repro.launch import launch
from repro.plan import cost, plan
from repro.terms import FEWEST_SEEDS
from repro.training.events import Failed
from repro.training.execute import Job, Machine, choose_devices


def sweep(
    experiments: Sequence[Experiment],
    preset: str | None,
    seeds: int,
    changes: Mapping[str, Any],
    machine: Machine,
    *,
    at_once: int,
    max_seeds: int | None = None,
    tuned: bool = True,
    first_seed: int = 0,
    arms: Container[str] | None = None,
    frozen: str = "",
    publish: bool = True,
) -> list[Failed]:
    """Train what is missing of the experiments and note what was asked in results/experiments/.

    Others may be at the same runs: each is done once, and this returns when all are done. `max_seeds`: add seeds to
    each experiment until its verdict settles, at most so many. `publish`: write the table of all runs at the end.
    Returns the runs that failed.

    Raises ValueError, before anything is changed, where the plan cannot be made or data is not prepared.
    """
    counts = {one.name: seeds for one in experiments}
    failed: dict[str, Failed] = {}
    for one in experiments:
        for config in plan.configs(one, preset or one.presets[0], changes, tuned=tuned).values():
            if config.data.source == "photos":  # cut on first use, so that the runs can be named
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
        paths = [
            store.write_setting(machine.results, replace(setting, max_seeds=max_seeds)) for setting in made.settings
        ]
        missing = [run for run in made.todo if run.name not in failed]
        todo = [run for run in made.next if run.name not in failed] or missing
        if todo:
            jobs = [Job(run.config, run.seed, run.digest, run.views, run.artifacts) for run in todo]
            names = {run.name: f"{run.used_by[0]} seed {run.seed}" for run in todo}
            bill = cost.cost(made, data=machine.data, results=machine.results)
            terminal.console.print(f"To do: {terminal.cost_text(bill)}.", highlight=False)
            choose_devices(machine.devices, max(run.config.model.towers for run in missing))
            if any(run.config.model.towers == 2 for run in missing) and len(choose_devices(machine.devices, 2)) == 1:
                line = "Both towers run on one device, for want of a second; the numbers do not depend on it."
                terminal.console.print(line, highlight=False)
            with terminal.progress(names, len(jobs)) as emit:
                failed |= {event.run: event for event in launch(jobs, machine, at_once=at_once, emit=emit)}
            continue
        if publish:
            store.publish(machine.results)
        if max_seeds is None or failed:
            return list(failed.values())
        undecided = [
            one.name
            for one, path in zip(experiments, paths, strict=True)
            if counts[one.name] < max_seeds and undecided_claims(one, store.read_setting(path), machine)
        ]
        if not undecided:
            return []
        for name in undecided:
            counts[name] += 1


def undecided_claims(experiment: Experiment, setting: store.Setting, machine: Machine) -> bool:
    """Whether a claim of the experiment is still inconclusive, by the intervals that a report of the setting has.

    So is one of which no run has trained, up to the seeds that a verdict takes: the next may. A value that is bound to
    another setting gains nothing by more seeds.
    """
    from repro.stats import judge

    return any(
        found.verdict == "inconclusive"
        or (0 < found.seeds < FEWEST_SEEDS and (found.reference or not found.differences))
        for found in judge(experiment, setting, machine.results)
        if found.claim
    )
