"""Commands that train: run and work."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    SettingName,
    Untuned,
    app,
    jobs_of,
    places_of,
)
from repro.commands.results import print_report

if TYPE_CHECKING:
    from repro.commands.sweep import Round
    from repro.planning.plan import Plan, Run
    from repro.training.events import Failed
    from repro.training.execute import Machine


@app.command()
def run(
    context: typer.Context,
    names: Names = None,
    preset: Preset = None,
    seeds: Seeds = None,
    assignments: Assignments = None,
    setting: SettingName = None,
    again: Annotated[
        Path | None,
        typer.Option(help="A file of results/experiments/: the same arms, seeds and setting again, or --seeds more."),
    ] = None,
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
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="30m, 2h: only what can be finished in it, most useful first.")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="LIST|N",
            help="One, or one for each tower: cpu,cpu or cuda:0,cuda:1. A number: so many processes share each run.",
        ),
    ] = None,
    launcher: Annotated[
        str | None, typer.Option(help="slurm, ray (docs/scale.md), or one of another package: where runs are done.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="With --launcher ray: the cluster to join. [default: one of its own, here]")
    ] = None,
    script: Annotated[
        bool, typer.Option("--script", help="With --launcher slurm: print the batch script, submit nothing.")
    ] = False,
    loader: Annotated[Literal["ffcv", "torch"] | None, typer.Option(help="The batches are the same.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that make the images of the next batches.")] = 1,
    graph: Annotated[bool, typer.Option("--graph", help="On one CUDA device: replay each step as one graph.")] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Tell tensorboard, wandb or mlflow of each run, docs/trackers.md."),
    ] = None,
    verify: Annotated[bool, typer.Option(help="Hash a prepared set when it is new or was changed.")] = True,
    json: AsJson = False,
    include: Include = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Train what is missing, then refresh the reports. Stopped, it goes on where it was.

    A name that ends in .toml is a file that says what to run, docs/commands.md.
    Others may be at the same runs, here or on another machine that sees the results: each is done once."""
    _train(**locals())


@app.command()
@wraps(run, assigned=("__annotations__",))
def work(**words: Any) -> None:
    """Be one more worker: train what nobody is at, here or wherever the results are seen, until nothing is missing.

    Takes the words of `repro run`; writes no reports. Exit code 1 where a run of this worker failed."""
    _train(**words, report=False)


def _train(**words: Any) -> None:
    """The sweep that `words` ask for. A notice to end says how to go on, also while torch is imported."""
    from repro.machine import notice, torchrun

    place = torchrun.place()
    try:
        with notice.heard():
            if place is None:
                _sweep(**words)
            elif place.rank == 0:
                from repro.training.crew import leading

                with leading():
                    _sweep(**words)
            else:
                _follow(place.world, **words)
    except (KeyboardInterrupt, notice.Stopped) as stop:
        print("stopped; the same line goes on where it was", file=sys.stderr)
        raise typer.Exit(128 + getattr(stop, "signum", 2)) from None


def _follow(world: int, **words: Any) -> None:
    """As another rank of torchrun than the first, which alone plans, writes and prints: do its part of every run."""
    from repro.training.crew import RankError, serve_torchrun
    from repro.training.execute import Machine, follow

    places = places_of(words["data_dir"], words["results_dir"])
    _, devices = ranks_of(words["devices"], words["jobs"], words["graph"], words["launcher"])
    machine = Machine(
        places["results"], places["data"], devices, words["loader"], words["workers"], verify=words["verify"],
        ranks=world,
    )  # fmt: skip
    try:
        serve_torchrun(machine, follow)
    except RankError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def ranks_of(devices: str | None, jobs: int | None, graph: bool, launcher: str | None) -> tuple[int, tuple[str, ...]]:
    """How many processes share each run, and the devices that `--devices` names. Raises ValueError for options that
    are for runs of one process."""
    from repro.machine import torchrun

    place, number = torchrun.place(), int(devices) if devices and devices.isdecimal() else None
    if number == 0:
        raise ValueError("--devices 0: give a number of processes from 1 on, or names of devices")
    if place and number:
        raise ValueError(f"--devices {number}: torchrun says that {place.world} processes share a run; leave it out")
    ranks = place.world if place else number or 1
    if ranks > 1:
        others = {
            f"--jobs {jobs}": jobs not in (None, 1) and not launcher,
            "--graph": graph,
            f"--launcher {launcher}": place and launcher,
        }
        if wrong := [option for option, given in others.items() if given]:
            raise ValueError(f"{wrong[0]}: {ranks} processes share each run, one after another; leave it out")
    return ranks, tuple(devices.split(",")) if devices and not number else ()


def _sweep(
    *,
    context: typer.Context,
    jobs: int | None,
    budget: str | None,
    devices: str | None,
    launcher: str | None,
    address: str | None,
    script: bool,
    loader: Literal["ffcv", "torch"] | None,
    workers: int,
    graph: bool,
    track: list[str] | None,
    verify: bool,
    json: bool,
    data_dir: Path | None,
    results_dir: Path | None,
    reports_dir: Path | None,
    report: bool = True,
    **words: Any,
) -> None:
    """`words` say what is run (`repro.commands.what`), the others how."""
    from repro.commands.what import asked

    places = places_of(data_dir, results_dir)
    what = asked(**words, results=places["results"])

    from repro.planning.budget import seconds_in

    limit = seconds_in(budget) if budget else None
    elsewhere = None
    if launcher:
        from repro.launch.launcher import launcher as find_launcher

        elsewhere = find_launcher(launcher)
    ranks, named = ranks_of(devices, jobs, graph, launcher)
    if script and not (elsewhere and elsewhere.script):
        raise ValueError("--script: is for --launcher slurm only; add it")
    if address is not None and not (elsewhere and elsewhere.takes_address):
        raise ValueError("--address: is for --launcher ray only; add it")
    what.plan(**places)
    if track:
        from repro.training.trackers import check

        check(track)

    from repro.commands.sweep import sweep  # torch, seconds: only now that nothing is left to refuse but a device
    from repro.training.execute import Machine, choose_devices, devices_of_rank

    machine = Machine(
        places["results"], places["data"], named, loader, workers, tuple(dict.fromkeys(track or ())), verify, graph,
        jobs=jobs, words=_worker_words(context, places), address=address, ranks=ranks,
    )  # fmt: skip
    if ranks > 1:
        devices_of_rank(machine)
    else:
        choose_devices(named, 2)
    if elsewhere and elsewhere.script and script:
        print(elsewhere.script(machine), end="")
        return
    if elsewhere:
        elsewhere.check(machine)
    until = time.monotonic() + (limit or 0.0)
    with redirect_stdout(sys.stderr) if json else nullcontext():
        failed = sweep(
            what.experiments, what.preset, what.seeds, what.changes, machine,
            do=partial(_do, machine, launcher), max_seeds=what.max_seeds, tuned=what.tuned,
            first_seed=what.first_seed, arms=what.arms, frozen=what.frozen, publish=report,
            fits=partial(_fitting, machine, until) if budget else None,
        )  # fmt: skip
    if report:
        judged = [one.name for one in what.experiments]
        print_report(what.registry, judged, places["results"], reports_dir, json=json, failed=failed)
    raise typer.Exit(1 if any(report or not one.elsewhere for one in failed) else 0)


def _do(machine: "Machine", launcher: str | None, todo: "Round") -> "Sequence[Failed]":
    """The runs of a round, shown as they go on; returns those that failed."""
    import torch

    from repro.commands import terminal
    from repro.launch import launch
    from repro.machine.provenance import usable_cores
    from repro.machine.share import free_memory, share
    from repro.training.execute import set_threads

    terminal.print_round(todo)
    names = {run.name: f"{run.used_by[0]} seed {run.seed}" for run in todo.runs}
    how = share(
        usable_cores(), os.getloadavg()[0], len(todo.runs),
        max(sum(shape.multiply_adds for shape in run.config.shapes()) for run in todo.runs),
        fitting=int(min(free_memory() / max(todo.cost.memory_bytes, 1), len(todo.runs))),
        devices=0 if machine.devices else torch.cuda.device_count(), asked=machine.jobs, ranks=machine.ranks,
    )  # fmt: skip
    if not launcher:
        terminal.console.print(f"{how.reason}.", highlight=False)
    set_threads(how.threads)
    with terminal.progress(names, len(todo.runs)) as emit:
        return launch(todo.runs, machine, at_once=how.at_once, emit=emit, launcher=launcher)


def _fitting(machine: "Machine", until: float, made: "Plan", missing: "Sequence[Run]") -> "Sequence[Run]":
    """Those of the missing runs of a plan that can be finished before the moment `until`, most useful first."""
    import torch

    from repro.commands import terminal
    from repro.machine.provenance import usable_cores
    from repro.machine.share import free_memory
    from repro.planning import cost
    from repro.planning.budget import within

    left, on = until - time.monotonic(), cost.here(machine.results)
    bill, of_runs = cost.bill(replace(made, runs=tuple(missing)), data=machine.data, on=on)
    seconds = {run.name: one.seconds for run, one in of_runs}
    room = int(min(free_memory() / max(bill.memory_bytes, 1), len(missing)))
    workers = machine.jobs or max(1, min(torch.cuda.device_count() or usable_cores(), room))
    if machine.ranks > 1:
        workers = 1
    chosen = within(missing, left, workers, lambda run: seconds[run.name])
    if not on.name:
        chosen = chosen[:workers]  # their time is a guess; the first that finish tell it
    told = f"{terminal.span(max(left, 0.0))} left: {len(chosen)} of {len(missing)} missing runs fit"
    terminal.console.print(f"{told}.", highlight=False)
    return chosen


def _worker_words(context: typer.Context, places: dict[str, Any]) -> tuple[str, ...]:
    """What was typed after `repro run`, less what one worker of many is not to be told; folders as they are from
    anywhere."""
    words = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        own = ("jobs", "launcher", "address", "script", "json", "data_dir", "results_dir", "reports_dir")
        if parameter.name in own or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[parameter.name or ""]
        for one in value if isinstance(value, list | tuple) else [value]:
            match parameter.param_type_name, one:
                case "argument", _:
                    words.append(str(one))
                case _, bool():
                    words.append((parameter.opts if one else parameter.secondary_opts)[0])
                case _:
                    words += [parameter.opts[0], str(one)]
    return *words, *(word for name, path in places.items() for word in (f"--{name}-dir", str(path.absolute())))
