"""Commands that train: run and work."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from repro.commands.options import (
    All,
    Arms,
    AsJson,
    Assignments,
    DataDir,
    DesignOf,
    Include,
    Names,
    Preset,
    ReportsDir,
    ResultsDir,
    Seeds,
    Untuned,
    app,
    choose,
    count_of_seeds,
    jobs_of,
    most_seeds,
    places_of,
    registry_of,
)
from repro.commands.results import print_report


@app.command()
def run(
    names: Names = None,
    preset: Preset = None,
    seeds: Seeds = None,
    assignments: Assignments = None,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N|auto", parser=jobs_of, help="Runs at once. auto: one a core, as memory allows."),
    ] = None,
    everything: All = False,
    arms: Arms = None,
    design: DesignOf = None,
    untuned: Untuned = False,
    frozen_plan: Annotated[
        Path | None, typer.Option("--plan", help="The runs of a frozen plan, in place of all options that say what.")
    ] = None,
    until_decided: Annotated[bool, typer.Option(help="Add seeds until the verdict settles.")] = False,
    max_seeds: Annotated[
        int | None, typer.Option(min=3, help="With --until-decided: at most so many. [default: 20]")
    ] = None,
    devices: Annotated[str | None, typer.Option(help="One, or one for each tower: cpu,cpu or cuda:0,cuda:1.")] = None,
    launcher: Annotated[str | None, typer.Option(help="Of another package: docs/extending.md.")] = None,
    loader: Annotated[Literal["ffcv", "torch"] | None, typer.Option(help="The batches are the same.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that make the images of the next batches.")] = 1,
    graph: Annotated[bool, typer.Option("--graph", help="On one CUDA device: replay each step as one graph.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files beside the metrics.")] = False,
    verify: Annotated[bool, typer.Option(help="Hash a prepared set when it is new or was changed.")] = True,
    json: AsJson = False,
    include: Include = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Train what is missing, then refresh the reports. Stopped, it goes on where it was.

    Others may be at the same runs, here or on another machine that sees the results: each is done once."""
    _train(**locals())


@app.command()
@wraps(run, assigned=("__annotations__",))
def work(**words: Any) -> None:
    """Be one more worker: train what nobody is at, here or wherever the results are seen, until nothing is missing.

    Takes the words of `repro run`; writes no reports. Exit code 1 where a run of this worker failed."""
    _train(**words, report=False)


def _train(
    *,
    names: list[str] | None,
    preset: str | None,
    seeds: int,
    assignments: list[str] | None,
    jobs: int | None,
    everything: bool,
    arms: str | None,
    design: str | None,
    untuned: bool,
    frozen_plan: Path | None,
    until_decided: bool,
    max_seeds: int | None,
    devices: str | None,
    launcher: str | None,
    loader: Literal["ffcv", "torch"] | None,
    workers: int,
    graph: bool,
    tensorboard: bool,
    verify: bool,
    json: bool,
    include: list[Path] | None,
    data_dir: Path | None,
    results_dir: Path | None,
    reports_dir: Path | None,
    report: bool = True,
) -> None:
    from repro.commands import terminal
    from repro.config.keys import parse_assignments
    from repro.extensions import named
    from repro.plan import frozen, plan

    registry = registry_of(include, names)
    if frozen_plan:
        if names or everything or preset or assignments or arms or design or untuned or until_decided:
            raise ValueError("--plan says what to run; leave out names, --preset, --set, --arms and the like")
        asked_for = frozen.read(frozen_plan)
        preset, seeds, changes = asked_for.preset, asked_for.seeds, dict(asked_for.changes)
        asked_of = [registry.get(name) for name in asked_for.experiments]
        chosen = plan.laid_out(asked_of, preset, asked_for.design or None)
        wanted: Any = frozenset(asked_for.arms)
        tuned, first_seed, name_of_plan = bool(asked_for.searches), asked_for.first_seed, asked_for.name
    else:
        chosen = plan.laid_out(choose(registry, names, everything, preset), preset, design)
        seeds = count_of_seeds(seeds, chosen)
        if until_decided and any(one.laid_out for one in chosen):
            raise ValueError("--until-decided: a design is judged once, when all of its runs are there; leave it out")
        changes, wanted = parse_assignments(assignments or []), plan.choose_arms(chosen, preset, arms)
        tuned, first_seed, name_of_plan = not untuned, 0, ""
    most = most_seeds(seeds, until_decided, max_seeds)
    if launcher:
        named("repro.launchers", launcher)
    places = places_of(data_dir, results_dir)
    made = plan.make(chosen, preset, seeds, changes, tuned=tuned, first_seed=first_seed, arms=wanted, **places)
    if made.unprepared:
        raise ValueError("; ".join(made.unprepared))

    import torch  # seconds: only now that nothing is left to refuse but a device

    from repro.commands.sweep import Round, sweep
    from repro.launch import launch
    from repro.machine import notice
    from repro.machine.provenance import usable_cores
    from repro.machine.share import free_memory, share
    from repro.training.events import Failed
    from repro.training.execute import Machine, choose_devices, set_threads

    asked = tuple(devices.split(",")) if devices else ()
    choose_devices(asked, 2)
    machine = Machine(places["results"], places["data"], asked, loader, workers, tensorboard, verify, graph)

    def do(todo: Round) -> Sequence[Failed]:
        terminal.print_round(todo)
        names = {run.name: f"{run.used_by[0]} seed {run.seed}" for run in todo.runs}
        how = share(
            usable_cores(), os.getloadavg()[0], len(todo.runs),
            max(sum(shape.multiply_adds for shape in run.config.shapes()) for run in todo.runs),
            fitting=int(min(free_memory() / max(todo.cost.memory_bytes, 1), len(todo.runs))),
            devices=0 if asked else torch.cuda.device_count(), asked=jobs,
        )  # fmt: skip
        if not launcher:
            terminal.console.print(f"{how.reason}.", highlight=False)
        set_threads(how.threads)
        with terminal.progress(names, len(todo.runs)) as emit:
            return launch(todo.runs, machine, at_once=how.at_once, emit=emit, launcher=launcher)

    try:
        with notice.heard(), redirect_stdout(sys.stderr) if json else nullcontext():
            failed = sweep(
                chosen, preset, seeds, changes, machine, do=do, max_seeds=most,
                tuned=tuned, first_seed=first_seed, arms=wanted, frozen=name_of_plan, publish=report,
            )  # fmt: skip
    except (KeyboardInterrupt, notice.Stopped) as stop:
        print("stopped; the same line goes on where it was", file=sys.stderr)
        raise typer.Exit(128 + getattr(stop, "signum", 2)) from None
    if report:
        print_report(registry, [one.name for one in chosen], places["results"], reports_dir, json=json, failed=failed)
    raise typer.Exit(1 if any(report or not one.elsewhere for one in failed) else 0)
