"""The command line. Each command reads its arguments, calls the room that does the work, and prints; no logic here.

Nothing heavy is imported before a command needs it, so that help and `repro list` answer at once. Annotations are
values here (no `from __future__ import annotations`): as strings, typer would compile each of them at every start.
"""

import os
import sys
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins costs more than `repro list` itself
import typer

from repro.commands.streams import outlive_readers

app = typer.Typer(
    name="repro",
    help="Does a claim of the AlexNet paper hold here, at this setting, and how sure can we be?",
    no_args_is_help=True,
    rich_markup_mode=None,  # help drawn by rich takes twice as long as all the rest of `repro --help`
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    help="Images: what is prepared, prepare more, check what is there.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")


def main() -> None:
    """Entry point: bad input is one line on standard error and exit code 2, never a traceback."""
    outlive_readers()
    try:
        app()
    except ValueError as error:
        _stop(str(error), 2)
    except OSError as error:
        _stop(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 1)


def _stop(message: str, code: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _complete(incomplete: str) -> list[str]:
    from repro.experiments.registry import load

    return [name for name in load().experiments if name.startswith(incomplete)]


def _complete_preset(incomplete: str) -> list[str]:
    from repro.config.presets import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


def _jobs(text: str) -> int | None:
    """`--jobs`: None for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither auto nor a number from 1 on")
    return int(text)


Name = Annotated[str, typer.Argument(help="An experiment; `repro list` shows all.", autocompletion=_complete)]
Names = Annotated[
    list[str] | None, typer.Argument(help="Experiments; `repro list` shows all.", autocompletion=_complete)
]
Preset = Annotated[
    str | None, typer.Option("--preset", "-p", help="Scale; default: its first.", autocompletion=_complete_preset)
]
Seeds = Annotated[
    int | None,
    typer.Option(min=1, help="Runs of each arm; seeds 0, 1, ... A design says itself how many. [default: 3]"),
]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a Config key.")]
DataDir = Annotated[Path | None, typer.Option(help="Prepared images. [default: $REPRO_DATA_DIR or data]")]
ResultsDir = Annotated[Path | None, typer.Option(help="Finished runs. [default: $REPRO_RESULTS_DIR or results]")]
ReportsDir = Annotated[Path | None, typer.Option(help="Reports. [default: $REPRO_REPORTS_DIR or reports]")]
Include = Annotated[list[Path] | None, typer.Option(help="More declarations: a file or a folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")]
Untuned = Annotated[bool, typer.Option("--untuned", help="Every arm at the preset's own rate; no search.")]
Arms = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Only these EXPERIMENT/ARM, with commas; `claimed`: those that claims compare."),
]
DesignOf = Annotated[
    Literal["screen", "factorial"] | None,
    typer.Option("--design", help="The rows of the experiment's design, in place of its arms."),
]
All = Annotated[bool, typer.Option("--all", help="Every experiment that supports the preset.")]


@app.command("list")
def list_(json: AsJson = False, include: Include = None) -> None:
    """Every registered experiment: name, question, paper section, presets, number of runs."""
    from repro.commands import terminal

    registry = _registry(include)
    rows = [
        {
            "name": one.name,
            "question": one.question,
            "section": one.section,
            "presets": list(one.presets),
            "runs_a_seed": sum(not arm.ensemble and arm.view is None for arm in one.arms_at(one.presets[0]))
            or (one.design.rows if one.design else 1),
        }
        for one in sorted(registry.experiments.values(), key=lambda one: (one.section == "-", one.section))
    ]
    if json:
        terminal.print_json(rows)
    else:
        cells = [[", ".join(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows]
        columns = ("name", "question", "section", "presets", "runs a seed")
        terminal.console.print(terminal.table("Experiments", columns, cells, right=("runs a seed",)))


@app.command()
def show(
    name: Name,
    preset: Preset = None,
    config: Annotated[bool, typer.Option("--config", help="The full Config of the first arm, as JSON.")] = False,
    model: Annotated[bool, typer.Option("--model", help="The first arm's network, layer by layer.")] = False,
    assignments: Assignments = None,
    include: Include = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
) -> None:
    """What an experiment asks, its arms, the paper's claim, its cost."""
    from repro.commands import terminal
    from repro.config.config import to_dict
    from repro.config.keys import parse_assignments
    from repro.plan import cost, plan

    if config and model:
        raise ValueError("--config and --model: show prints one at a time; leave out one of them")
    (experiment,) = plan.laid_out([_registry(include, [name]).get(name)], preset, None)
    at = preset or experiment.presets[0]
    changes = parse_assignments(assignments or [])
    first = next(iter(plan.configs(experiment, at, changes).values()))
    if config:
        terminal.print_json(to_dict(first))
    elif model:
        from repro.commands.describe import model_table

        columns, rows = model_table(first)
        terminal.console.print(terminal.table(f"{name} at {at}", columns, rows, right=columns[1:]))
    else:
        made = plan.make([experiment], at, 1, changes, **_places(data_dir, results_dir))
        bill = cost.cost(made, **_places(data_dir, results_dir))
        terminal.print_card(experiment, at, f"one seed: {terminal.cost_text(bill)}", assignments or (), include or ())


@app.command("plan")
def plan_(
    names: Names = None,
    preset: Preset = None,
    seeds: Seeds = None,
    assignments: Assignments = None,
    everything: All = False,
    arms: Arms = None,
    design: DesignOf = None,
    untuned: Untuned = False,
    freeze: Annotated[
        Path | None, typer.Option(help="Write what will be judged to results/plans/NAME.json, before any run of it.")
    ] = None,
    power: Annotated[bool, typer.Option(help="Seeds needed to tell the claimed effect from zero.")] = False,
    json: AsJson = False,
    include: Include = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
) -> None:
    """The runs, which are finished, and the cost of the rest. Changes nothing but what --freeze writes."""
    from dataclasses import asdict

    from repro.commands import terminal
    from repro.config.keys import parse_assignments
    from repro.plan import cost, frozen, plan

    chosen = plan.laid_out(_choose(_registry(include, names), names, everything, preset), preset, design)
    places = _places(data_dir, results_dir)
    seeds = _count_of_seeds(seeds, chosen)
    wanted = plan.choose_arms(chosen, preset, arms)
    first_seed = frozen.first_fresh_seed(places["results"]) if freeze else 0
    made = plan.make(
        chosen, preset, seeds, parse_assignments(assignments or []),
        tuned=not untuned, arms=wanted, first_seed=first_seed, frozen=freeze.stem if freeze else "", **places,
    )  # fmt: skip
    if freeze:
        asked = frozen.freeze(freeze, chosen, made, wanted or plan.every_arm(chosen, preset))
        print(f"wrote {freeze}: {len(asked.endpoints)} primary endpoints; commit it, then: repro run --plan {freeze}")
        return
    bill = cost.cost(made, **places)
    needed = plan.power(chosen, made, places["results"]) if power else []
    if json:
        runs = [
            {
                "digest": run.digest,
                "seed": run.seed,
                "finished": run.done,
                "failed": run.failed,
                "damaged": list(run.damaged),
                "used_by": list(run.used_by),
            }
            for run in made.runs
        ]
        notes = {"waiting": list(made.waiting), "unprepared": list(made.unprepared)}
        terminal.print_json({"runs": runs, "cost": asdict(bill), **notes, "power": needed})
        return
    terminal.print_plan(made, bill)
    if power:
        columns = ("experiment", "claim", "metric", "seeds so far", "seeds for 80% power", "as --max-seeds")
        rows = [["-" if cell is None else cell for cell in row.values()] for row in needed]
        terminal.console.print(terminal.table("Power", columns, rows, right=columns[3:]))


@app.command()
def run(
    context: typer.Context,
    names: Names = None,
    preset: Preset = None,
    seeds: Seeds = None,
    assignments: Assignments = None,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N|auto", parser=_jobs, help="Runs at once. auto: one a core, as memory allows."),
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
    launcher: Annotated[
        str | None, typer.Option(help="slurm: an array of --jobs workers, docs/scale.md; or one of another package.")
    ] = None,
    script: Annotated[
        bool, typer.Option("--script", help="With --launcher slurm: print the batch script, submit nothing.")
    ] = False,
    loader: Annotated[Literal["ffcv", "torch"] | None, typer.Option(help="The batches are the same.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that make the images of the next batches.")] = 1,
    graph: Annotated[bool, typer.Option("--graph", help="On one CUDA device: replay each step as one graph.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files beside the metrics.")] = False,
    verify: Annotated[bool, typer.Option(help="Hash a prepared set when it is new or was changed.")] = True,
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
    context: typer.Context,
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
    script: bool,
    loader: Literal["ffcv", "torch"] | None,
    workers: int,
    graph: bool,
    tensorboard: bool,
    verify: bool,
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

    registry = _registry(include, names)
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
        chosen = plan.laid_out(_choose(registry, names, everything, preset), preset, design)
        seeds = _count_of_seeds(seeds, chosen)
        if until_decided and any(one.laid_out for one in chosen):
            raise ValueError("--until-decided: a design is judged once, when all of its runs are there; leave it out")
        changes, wanted = parse_assignments(assignments or []), plan.choose_arms(chosen, preset, arms)
        tuned, first_seed, name_of_plan = not untuned, 0, ""
    most = _most_seeds(seeds, until_decided, max_seeds)
    if launcher:
        named("repro.launchers", launcher)
    if script and launcher != "slurm":
        raise ValueError("--script: is for --launcher slurm only; add it")
    places = _places(data_dir, results_dir)
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
    machine = Machine(
        places["results"], places["data"], asked, loader, workers, tensorboard, verify, graph,
        jobs=jobs, words=_worker_words(context, places),
    )  # fmt: skip
    if launcher == "slurm":
        from repro.launch import slurm

        if script:
            print(slurm.script(machine), end="")
            return
        slurm.check(jobs)

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
        with notice.heard():
            failed = sweep(
                chosen, preset, seeds, changes, machine, do=do, max_seeds=most,
                tuned=tuned, first_seed=first_seed, arms=wanted, frozen=name_of_plan, publish=report,
            )  # fmt: skip
    except (KeyboardInterrupt, notice.Stopped) as stop:
        print("stopped; the same line goes on where it was", file=sys.stderr)
        raise typer.Exit(128 + getattr(stop, "signum", 2)) from None
    if report:
        _report(registry, [one.name for one in chosen], places["results"], reports_dir)
    raise typer.Exit(1 if any(report or not one.elsewhere for one in failed) else 0)


@app.command()
def report(
    names: Names = None,
    html: Annotated[bool, typer.Option("--html", help="Also one self-contained page.")] = False,
    formats: Annotated[list[str] | None, typer.Option("--format", help="Every table also as latex or csv.")] = None,
    include: Include = None,
    results_dir: ResultsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Rebuild tables, plots and Markdown from results/ alone; without names, all of them."""
    from repro.folders import results_directory

    registry, results = _registry(include, names), results_directory(results_dir)
    _report(registry, names, results, reports_dir, html=html, formats=tuple(formats or ()))


@app.command()
def verify(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="DIGEST or DIGEST/seed-N.")] = None,
    results_dir: ResultsDir = None,
) -> None:
    """Hash finished runs again; what is damaged or of another run is named. Exit code 1 where something is."""
    from repro.commands.verify import verify
    from repro.folders import results_directory
    from repro.report.words import count

    results = results_directory(results_dir)
    checked, damaged = verify(results, runs or ())
    for one in damaged:
        print(one.reason if one.reason.startswith(str(one.path)) else f"{one.path}: {one.reason}")
    print(f"{count(checked, 'run')} checked in {results}: {count(len(damaged), 'problem') if damaged else 'all whole'}")
    raise typer.Exit(1 if damaged else 0)


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Option(help="Weights that others trained: .safetensors, .npz, .pt or .pth.")],
    layout: Annotated[Literal["torchvision", "caffe"], typer.Option(help="How the file names them.")],
    data: Annotated[str | None, typer.Option(help="Name of a prepared set. [default: the preset's]")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            "-p",
            help="The network. [default: torchvision, or caffe-alexnet]",
            autocompletion=_complete_preset,
        ),
    ] = None,
    assignments: Assignments = None,
    devices: Annotated[str | None, typer.Option(help="One, or one for each tower: cpu,cpu or cuda:0,cuda:1.")] = None,
    loader: Annotated[Literal["ffcv", "torch"] | None, typer.Option(help="The batches are the same.")] = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Errors of weights that were not trained here, beside the published ones; docs/weights.md has the formats."""
    from repro import report
    from repro.commands import terminal
    from repro.config.keys import parse_assignments
    from repro.folders import reports_directory
    from repro.report.weights import COLUMNS, cells, rows_of
    from repro.store import read_weights
    from repro.training.events import Evaluating, Event
    from repro.training.execute import Machine
    from repro.training.weights import evaluate_weights

    def say(event: Event) -> None:
        if isinstance(event, Evaluating):
            print(f"evaluating the {event.view} view", file=sys.stderr)

    places = _places(data_dir, results_dir)
    machine = Machine(places["results"], places["data"], tuple(devices.split(",")) if devices else (), loader)
    record = evaluate_weights(
        weights,
        layout,
        source=data,
        preset_name=preset,
        changes=parse_assignments(assignments or []),
        machine=machine,
        emit=say,
    )
    rows = [cells(row) for row in rows_of(record, read_weights(machine.results)[record.digest])]
    terminal.console.print(terminal.table(f"Run {record.digest}", COLUMNS, rows, right=COLUMNS[3:]))
    experiments = list(_registry(None).experiments.values())
    for path in report.build(experiments, [], machine.results, reports_directory(reports_dir)).files:
        terminal.console.print(f"wrote {path}", highlight=False, soft_wrap=True)


@app.command()
def compare(
    sides: Annotated[list[str], typer.Argument(metavar="A B", help="Two EXPERIMENT/ARM, run digests, or presets.")],
    presets: Annotated[bool, typer.Option("--presets", help="A and B are presets.")] = False,
    preset: Preset = None,
    assignments: Assignments = None,
    include: Include = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
) -> None:
    """Two presets, or two arms or runs: what differs between their Configs, and between their errors."""
    from repro.commands import describe, terminal

    if len(sides) != 2:
        raise ValueError(f"compare takes two names, not {len(sides)}: repro compare A B")
    if presets:
        if preset or assignments:
            raise ValueError("--presets compares two presets as they are; leave out --preset and --set")
        table = describe.compare_presets(*sides)
        terminal.console.print(terminal.table(f"{sides[0]} and {sides[1]}", *table))
        return
    from repro.commands.compare import compare_runs
    from repro.config.keys import parse_assignments

    changes = parse_assignments(assignments or [])
    found = compare_runs(_registry(include), sides[0], sides[1], preset, changes, **_places(data_dir, results_dir))
    for title, columns, rows in found:
        terminal.console.print(terminal.table(title, columns, rows))


@app.command()
def doctor(
    cuda: Annotated[bool, typer.Option("--cuda", help="Check that CUDA devices compute what the CPU does.")] = False,
) -> None:
    """What is missing on this machine, what is used instead, and the line that mends it."""
    from repro.commands import terminal
    from repro.commands.doctor import diagnose

    if cuda:
        raise typer.Exit(_check_cuda())
    rows = [(one.name, one.status, one.found, one.used_instead, one.mend) for one in diagnose()]
    columns = ("what", "status", "found", "used instead", "to mend it")
    terminal.console.print(terminal.table("This machine", columns, rows))


def _check_cuda() -> int:
    """Exit code: 0 where everything holds on a device, 1 where something fails, 2 where there is no device."""
    from repro.bench import cuda_checks
    from repro.commands import terminal

    found = cuda_checks.diagnose(lambda name: print(f"checking: {name}", file=sys.stderr))
    columns = ("check", "outcome", "found", "not seen without a device")
    terminal.console.print(terminal.table("CUDA on this machine", columns, found))
    print("The test suite on this machine: python -m pytest   (needs a checkout)")
    if any(one.status == "fails" for one in found):
        return 1
    return 2 if any(one.unseen for one in found) else 0


@app.command()
def bench(
    what: Annotated[Literal["loader", "step", "desk", "all"], typer.Argument(help="What to measure.")],
    json: AsJson = False,
    quick: Annotated[bool, typer.Option(help="Small sizes: does it run?")] = False,
) -> None:
    """Measure side by side in one run, interleaved: medians and spread."""
    from importlib import import_module

    from repro import bench
    from repro.commands import terminal

    found = {}
    for room in ("loader", "step", "desk") if what == "all" else (what,):
        result = import_module(f"repro.bench.{room}").measure(quick=quick)
        found[room] = bench.as_json(result)
        if not json:
            terminal.console.print(bench.as_group(result))
    if json:
        terminal.print_json(found)


@data_app.command("list")
def data_list(json: AsJson = False, data_dir: DataDir = None) -> None:
    """What is prepared, where, how large."""
    from repro.commands import terminal
    from repro.data.manifest import damaged, prepared
    from repro.folders import data_directory

    directory = data_directory(data_dir)
    found, broken = prepared(directory), damaged(directory)
    for line in broken:
        print(f"damaged: {line}", file=sys.stderr)
    if json:
        keys = ("name", "source", "size", "train_count", "test_count", "bytes", "digest", "bad")
        terminal.print_json([{key: getattr(one, key) for key in keys} for one in found])
        return
    if not found:
        if not broken:
            print(f"nothing is prepared in {directory}; `repro data prepare photos` needs no download")
        return
    columns = ("name", "pixels", "classes", "train", "test", "on disk", "unreadable")
    cells = [
        (one.name, one.size, len(one.classes), one.train_count, one.test_count, terminal.size(one.bytes), len(one.bad))
        for one in found
    ]
    terminal.console.print(terminal.table(f"Prepared in {directory}", columns, cells, right=columns[1:]))


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="photos, cifar10, tiny200, imagenette, imagenet, or a name of your own.")],
    source: Annotated[Path | None, typer.Option(help="Archive or folder with the images.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Side of the stored square, pixels.")] = None,
    resize: Annotated[Literal["short-crop", "warp"], typer.Option(help="As the paper, or as Caffe.")] = "short-crop",
    storage: Annotated[Literal["raw", "jpeg", "png"], typer.Option(help="jpeg wants --quality.")] = "raw",
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of jpeg.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Only so many classes.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, help="Only so many training images of each.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of a subset.")] = 0,
    allow_bad: Annotated[int | None, typer.Option(min=0, help="Go on with up to so many unreadable images.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Resize, check and store images with their manifest. Stopped, it goes on; finished, it does nothing."""
    from repro.commands import terminal
    from repro.data.prepare.prepare import prepare
    from repro.folders import data_directory

    with terminal.stages() as progress:
        manifest = prepare(
            name,
            source=source,
            directory=data_directory(data_dir),
            size=size,
            resize=resize,
            storage=storage,
            quality=quality,
            classes=classes,
            per_class=per_class,
            seed=seed,
            allow_bad=allow_bad,
            progress=progress,
            announce=terminal.print_costs,
            tell=lambda line: print(line, file=sys.stderr),
        )
    terminal.print_manifest(manifest, data_directory(data_dir))


@data_app.command("verify")
def data_verify(
    name: Annotated[str | None, typer.Argument(help="As `repro data list` shows it.")] = None, data_dir: DataDir = None
) -> None:
    """Hash everything again; a changed or half-written file is named. Exit code 1 where something is wrong."""
    from repro.data.prepare.verify import verify
    from repro.folders import data_directory

    problems = verify(data_directory(data_dir), name)
    for problem in problems:
        print(f"{problem.file}: {problem.what}")
    print(f"{len(problems)} problems" if problems else "all files are as they were prepared")
    raise typer.Exit(1 if problems else 0)


def _registry(include: list[Path] | None, names: list[str] | None = None) -> Any:
    """All declarations. Those that were refused are told of on standard error, once every one of `names` is known to be
    there: for one that is not, the error itself tells of them."""
    from repro.experiments.registry import load

    registry = load(include or ())
    for name in names or ():
        registry.get(name)
    for refused in registry.refused:
        print(f"refused {refused.location}: {refused.reason}", file=sys.stderr)
    return registry


def _choose(registry: Any, names: list[str] | None, everything: bool, preset: str | None) -> list[Any]:
    from repro.experiments.registry import select

    if preset is not None:
        from repro.config.presets import preset as check

        check(preset)
    chosen = select(registry, names or (), everything=everything)
    if everything and preset:
        chosen = [one for one in chosen if preset in one.presets]
    return chosen


def _count_of_seeds(seeds: int | None, chosen: list[Any]) -> int:
    if seeds is not None and (designed := [one.name for one in chosen if one.laid_out]):
        raise ValueError(f"--seeds {seeds}: the design of {designed[0]} says how many runs it has; leave it out")
    return 3 if seeds is None else seeds


def _most_seeds(seeds: int, until_decided: bool, max_seeds: int | None) -> int | None:
    if not until_decided:
        if max_seeds is not None:
            raise ValueError(f"--max-seeds {max_seeds}: is for --until-decided only; add it, or give --seeds")
        return None
    most = 20 if max_seeds is None else max_seeds
    if most < seeds:
        raise ValueError(f"--max-seeds {most}: is fewer than --seeds {seeds}; give at least as many")
    return most


def _places(data_dir: Path | None, results_dir: Path | None) -> dict[str, Any]:
    from repro.folders import data_directory, results_directory

    return {"data": data_directory(data_dir), "results": results_directory(results_dir)}


def _worker_words(context: typer.Context, places: dict[str, Any]) -> tuple[str, ...]:
    """What was typed after `repro run`, less what one worker of many is not to be told; folders as they are from
    anywhere."""
    words = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        own = ("jobs", "launcher", "script", "data_dir", "results_dir", "reports_dir")
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


def _report(
    registry: Any,
    names: list[str] | None,
    results: Path,
    reports_dir: Path | None,
    *,
    html: bool = False,
    formats: tuple[str, ...] = (),
) -> None:
    from repro import report
    from repro.commands import terminal
    from repro.folders import reports_directory
    from repro.report.words import count

    reports = reports_directory(reports_dir)
    experiments = list(registry.experiments.values())

    made = report.build(experiments, names or None, results, reports, html=html, formats=formats)
    for setting, judgements in made.judged:
        if rows := report.verdict_table(judgements):
            cells = [list(row.values()) for row in rows]
            terminal.console.print(terminal.table(f"{setting.experiment} at {setting.name}", list(rows[0]), cells))
    if made.left_out:
        places = count(len(made.left_out), "place")
        print(f"left out {places} in {results}; {reports / 'index.md'} says why", file=sys.stderr)
    if not made.files:
        print(f"there are no results in {results} yet; `repro run NAME` makes some")
    for path in made.files:
        terminal.console.print(f"wrote {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
