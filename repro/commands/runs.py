"""Commands that train: run and work."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
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
    SettingName,
    Untuned,
    app,
    at_setting,
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
    names: list[str] | None,
    preset: str | None,
    seeds: int | None,
    assignments: list[str] | None,
    setting: str | None,
    again: Path | None,
    jobs: int | None,
    everything: bool,
    arms: str | None,
    design: str | None,
    untuned: bool,
    frozen_plan: Path | None,
    until_decided: bool,
    max_seeds: int | None,
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
    include: list[Path] | None,
    data_dir: Path | None,
    results_dir: Path | None,
    reports_dir: Path | None,
    report: bool = True,
) -> None:
    from repro.planning import sweepfile

    file = sweepfile.file_of(names)
    says = "--plan" if frozen_plan else "--again" if again else str(file) if file else ""
    if says and (
        (names and not file) or (file and (frozen_plan or again or seeds or max_seeds)) or everything or preset
        or assignments or setting or arms or design or untuned or until_decided
    ):  # fmt: skip
        raise ValueError(f"{says} says what to run; leave out names, --preset, --set, --arms and the like")
    if file:
        told = sweepfile.read(file)
        names, preset, assignments, setting = told.names, told.preset, told.assignments, told.setting
        seeds, arms, design = told.seeds, ",".join(told.arms) if told.arms else None, told.design
        untuned, until_decided, max_seeds = told.untuned, told.until_decided, told.max_seeds
    registry, places = registry_of(include, names), places_of(data_dir, results_dir)
    if frozen_plan and again:
        raise ValueError("--plan and --again each say what to run; leave out one of them")

    from repro.planning import plan  # a tenth of a second: most mistakes are in the names, and are told before

    if frozen_plan:
        from repro.planning import frozen

        asked_for = frozen.read(frozen_plan)
        preset, seeds, changes = asked_for.preset, asked_for.seeds, dict(asked_for.changes)
        asked_of = [registry.get(name) for name in asked_for.experiments]
        chosen = plan.laid_out(asked_of, preset, asked_for.design or None)
        wanted: Any = frozenset(asked_for.arms)
        tuned, first_seed, name_of_plan = bool(asked_for.searches), asked_for.first_seed, asked_for.name
    elif again:
        from repro.stats.looks import most_looked_at

        before = read_again(again)
        preset, changes, first_seed, name_of_plan = before.preset, dict(before.changes), before.first_seed, ""
        (experiment,) = chosen = plan.laid_out([registry.get(before.experiment)], preset, before.design or None)
        had = {f"{before.experiment}/{arm}" for arm in (*before.arms, *before.searches)}
        tuned, wanted = bool(before.searches) or not experiment.search, plan.every_arm(chosen, preset) & had
        if seeds is None and not before.design and (looked := most_looked_at(before.looks)):
            until_decided, max_seeds = True, max_seeds or looked
        seeds = count_of_seeds(before.seeds if seeds is None and not before.design else seeds, chosen)
    else:
        asked_at = at_setting(setting, preset, assignments, places["results"])
        preset, changes, design = asked_at.preset, asked_at.changes, design or asked_at.design or None
        chosen = plan.laid_out(choose(registry, names, everything, preset), preset, design)
        seeds = count_of_seeds(seeds, chosen)
        if until_decided and any(one.laid_out for one in chosen):
            raise ValueError("--until-decided: a design is judged once, when all of its runs are there; leave it out")
        wanted = plan.choose_arms(chosen, preset, arms)
        tuned, first_seed, name_of_plan = not (untuned or asked_at.untuned), 0, ""

    from repro import store
    from repro.planning import cost
    from repro.planning.budget import seconds_in, within

    limit = seconds_in(budget) if budget else None
    most = most_seeds(seeds, until_decided, max_seeds)
    elsewhere = None
    if launcher:
        from repro.launch.launcher import launcher as find_launcher

        elsewhere = find_launcher(launcher)
    ranks, asked = ranks_of(devices, jobs, graph, launcher)
    if script and not (elsewhere and elsewhere.script):
        raise ValueError("--script: is for --launcher slurm only; add it")
    if address is not None and not (elsewhere and elsewhere.takes_address):
        raise ValueError("--address: is for --launcher ray only; add it")
    made = plan.make(chosen, preset, seeds, changes, tuned=tuned, first_seed=first_seed, arms=wanted, **places)
    if setting:
        for one in made.settings:
            refuse_frozen(store.setting_path(places["results"], one))
    if made.unprepared:
        raise ValueError("; ".join(made.unprepared))
    if track:
        from repro.training.trackers import check

        check(track)

    import torch  # seconds: only now that nothing is left to refuse but a device

    from repro.commands import terminal
    from repro.commands.sweep import Round, sweep
    from repro.launch import launch
    from repro.machine.provenance import usable_cores
    from repro.machine.share import free_memory, share
    from repro.training.events import Failed
    from repro.training.execute import Machine, choose_devices, devices_of_rank, set_threads

    machine = Machine(
        places["results"], places["data"], asked, loader, workers, tuple(dict.fromkeys(track or ())), verify, graph,
        jobs=jobs, words=_worker_words(context, places), address=address, ranks=ranks,
    )  # fmt: skip
    if ranks > 1:
        devices_of_rank(machine)
    else:
        choose_devices(asked, 2)
    if elsewhere and elsewhere.script and script:
        print(elsewhere.script(machine), end="")
        return
    if elsewhere:
        elsewhere.check(machine)

    def do(todo: Round) -> Sequence[Failed]:
        terminal.print_round(todo)
        names = {run.name: f"{run.used_by[0]} seed {run.seed}" for run in todo.runs}
        how = share(
            usable_cores(), os.getloadavg()[0], len(todo.runs),
            max(sum(shape.multiply_adds for shape in run.config.shapes()) for run in todo.runs),
            fitting=int(min(free_memory() / max(todo.cost.memory_bytes, 1), len(todo.runs))),
            devices=0 if asked else torch.cuda.device_count(), asked=jobs, ranks=ranks,
        )  # fmt: skip
        if not launcher:
            terminal.console.print(f"{how.reason}.", highlight=False)
        set_threads(how.threads)
        with terminal.progress(names, len(todo.runs)) as emit:
            return launch(todo.runs, machine, at_once=how.at_once, emit=emit, launcher=launcher)

    began = time.monotonic()

    def fits(made: plan.Plan, missing: Sequence[plan.Run]) -> Sequence[plan.Run]:
        left, on = (limit or 0.0) - (time.monotonic() - began), cost.here(machine.results)

        def seconds_of(run: plan.Run) -> float:
            return seconds[run.name]

        bill, of_runs = cost.bill(replace(made, runs=tuple(missing)), data=machine.data, on=on)
        seconds = {run.name: one.seconds for run, one in of_runs}
        room = free_memory() / max(bill.memory_bytes, 1)
        workers = (
            1
            if ranks > 1
            else jobs or max(1, min(torch.cuda.device_count() or usable_cores(), int(min(room, len(missing)))))
        )
        chosen = within(missing, left, workers, seconds_of)
        if not on.name:
            chosen = chosen[:workers]  # their time is a guess; the first that finish tell it
        told = f"{terminal.span(max(left, 0.0))} left: {len(chosen)} of {len(missing)} missing runs fit"
        terminal.console.print(f"{told}.", highlight=False)
        return chosen

    with redirect_stdout(sys.stderr) if json else nullcontext():
        failed = sweep(
            chosen, preset, seeds, changes, machine, do=do, max_seeds=most, tuned=tuned, first_seed=first_seed,
            arms=wanted, frozen=name_of_plan, publish=report, fits=fits if budget else None,
        )  # fmt: skip
    if report:
        print_report(registry, [one.name for one in chosen], places["results"], reports_dir, json=json, failed=failed)
    raise typer.Exit(1 if any(report or not one.elsewhere for one in failed) else 0)


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


def read_again(path: Path) -> Any:
    """The setting in a file of results/experiments/. Raises ValueError for what is none, and for a frozen plan's."""
    from repro import store

    if not path.is_file():
        raise ValueError(f"--again {path}: there is no such file; give one of results/experiments/NAME/")
    refuse_frozen(path)
    return store.read_setting(path)


def refuse_frozen(path: Path) -> None:
    """Raises ValueError where a setting's file is a frozen plan's: to ask for it in another way would end that."""
    from repro import store

    if path.is_file() and (name := store.read_setting(path).frozen):
        raise ValueError(f"{path}: is of a frozen plan; run: repro run --plan {path.parents[2] / 'plans' / name}.json")
