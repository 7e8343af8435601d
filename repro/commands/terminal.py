"""What the command line shows: tables, the card of an experiment, and the bar of a run."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from repro.commands.sweep import Round
    from repro.data.manifest import Manifest
    from repro.data.prepare.prepare import StorageCost
    from repro.experiments.experiment import Claim, Experiment
    from repro.planning.cost import Cost
    from repro.planning.hardware import Hardware
    from repro.planning.plan import Plan, Run
    from repro.planning.progress import Progress
    from repro.records import Epoch, Errors
    from repro.training.events import Elsewhere, Event, Listener

TitledRows = tuple[str, Sequence[str], Sequence[Sequence[object]]]  # title, names of the columns, rows

PAGE = 120  # columns, where no terminal says how many there are
NARROW = 60  # columns: below, a table would break words
FEWEST_LETTERS = 16  # of a text that is cut: fewer tell nothing
BAR = 40  # columns of a bar of 100%
BETWEEN = 3  # columns of a terminal that rich puts between two of a table

# without a standard output (`repro list >&-`) Python has None there, and rich and print write nothing
on_screen = sys.stdout is not None and sys.stdout.isatty()
# a pipe gets each line whole
console = Console(width=None if on_screen or "COLUMNS" in os.environ else PAGE, emoji=False, soft_wrap=not on_screen)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[str] = (),
    cut: str = "",
) -> None:
    """Rows as their reader takes them: a table on a terminal, a list on a narrow one, tab-separated values in a pipe.

    Columns named in `right` are aligned for numbers; the one called `cut` ends in an ellipsis where a row does not fit.
    Cells are plain text, not markup. A pipe gets the names of the columns and the whole cells, and no title.
    """
    if not console.is_terminal:
        for row in (columns, *rows):
            print("\t".join(" ".join(str(cell).split()) for cell in row))
    elif console.width < NARROW or (cut and _room(columns, rows, cut) < FEWEST_LETTERS):
        _print_list(title, columns, rows)
    else:
        console.print(_table(title, columns, rows, right=right, cut=cut))


def print_tables(tables: Sequence[TitledRows]) -> None:
    """Several (title, columns, rows); in a pipe each title is a line that begins with `# `."""
    for title, columns, rows in tables:
        if not console.is_terminal:
            print(f"# {title}")
        print_table(title, columns, rows)


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str], cut: str
) -> Table:
    made = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        justify: Literal["left", "right"] = "right" if name in right else "left"
        made.add_column(name, justify=justify, overflow="fold", no_wrap=index == 0 or bool(cut))
        if name == cut:
            room = _room(columns, rows, cut)
            rows = [[*row[:index], _cut(str(row[index]), room), *row[index + 1 :]] for row in rows]
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def _room(columns: Sequence[str], rows: Sequence[Sequence[object]], cut: str) -> int:
    """Characters that the column `cut` may take beside the others."""
    widths = {cells[0]: max(len(str(cell)) for cell in cells) for cells in zip(columns, *rows, strict=True)}
    return console.width - sum(width for name, width in widths.items() if name != cut) - BETWEEN * len(columns)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: max(room - 1, 0)].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _print_list(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first cell of a row on a line of its own, the others below it, each with the name of its column."""
    console.print(Text(title, style="italic"))
    for first, *others in rows:
        console.print(Text(str(first), style="bold", overflow="fold"))
        for name, cell in zip(columns[1:], others, strict=True):
            if str(cell):
                console.print(Padding(Text(f"{name}: {cell}", overflow="fold"), (0, 0, 0, 2)))


def print_guesses(images: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> None:
    """For each image its classes with their probabilities: bars on a terminal, tab-separated values in a pipe."""
    if not console.is_terminal:
        rows = [(image, name, f"{100 * share:.2f}%") for image, guesses in images for name, share in guesses]
        print_table("Classes", ("image", "class", "probability"), rows)
        return
    from rich.bar import Bar

    longest = max(len(name) for _, guesses in images for name, _ in guesses)
    for image, guesses in images:
        console.print(Text(image, style="bold", overflow="fold"))
        made = Table.grid(padding=(0, 1))
        made.add_column(width=min(longest, console.width // 2), overflow="ellipsis", no_wrap=True)
        made.add_column(justify="right")
        made.add_column(width=min(BAR, max(console.width // 4, 1)))
        for name, share in guesses:
            made.add_row(Text(name), f"{100 * share:.1f}%", Bar(1.0, 0.0, share))
        console.print(Padding(made, (0, 0, 0, 2)))


def print_json(value: object) -> None:
    """Indented JSON on standard output, whatever the terminal's width. What is no finite number is null."""
    print(json.dumps(_finite(value), indent=1, default=list))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value


def size(count: float) -> str:
    """`"1.2 GB"`, `"35 MB"`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def changes_text(changes: Mapping[str, Any]) -> str:
    """`model.norm=null, ...` as `--set` takes it."""
    return ", ".join(f"{key}={json.dumps(value, default=list)}" for key, value in changes.items()) or "nothing"


def claim_text(claim: Claim) -> str:
    """One line: what is claimed, in points or percent, from where, measured on what."""
    against = f" against {claim.reference}" if claim.reference else ""
    numbers = ", ".join(_number(claim, metric, value) for metric, value in claim.published.items())
    runs = f"; 2012 runs {', '.join(claim.runs)}" if claim.runs else ""
    return f"{claim.arm}{against}: {numbers} [{claim.source}; {claim.measured.text}{runs}]"


def _number(claim: Claim, metric: str, value: float | None) -> str:
    row = claim.row
    if value is None:
        return f"{metric} {row.bare}, no number given"
    if row.unit == "times":
        return f"{value:g} times the epochs"
    return f"{metric} {row.sentence.format(f'{value:g}%' if row.unit == 'percent' else f'{value:+g} points')}"


def print_card(experiment: Experiment, preset: str, cost_line: str, how: Sequence[str]) -> None:
    """The card of an experiment: question, section, arms, claims, confounds, cost, and the command with the options
    `how`."""
    section = "a reader's question" if experiment.section == "-" else f"section {experiment.section}"
    console.print(f"[bold]{escape(experiment.name)}[/]: {escape(experiment.question)}")
    console.print(
        f"factor {escape(experiment.factor)}; {section}; presets {', '.join(experiment.presets)}", highlight=False
    )
    rows = [
        (
            arm.name,
            f"reads {', '.join(arm.ensemble.of)}" if arm.ensemble else changes_text(arm.changes_at(preset)),
            arm.note,
        )
        for arm in experiment.arms_at(preset)
    ]
    print_table(f"Arms at {preset}", ("arm", "changes", "note"), rows)
    for claim in experiment.claims_at(preset):
        console.print(f"claim     {escape(claim_text(claim))}", highlight=False)
    for confound in experiment.confounds:
        console.print(f"confound  {escape(confound)}", highlight=False)
    if experiment.search:
        search = experiment.search.at(preset)
        values = ", ".join(f"{value:g}" for value in search.values)
        tried = values or " and ".join(f"{factor:g}" for factor in search.factors) + " times the preset's"
        seeds = " and ".join(map(str, search.seeds))
        length = f", {search.epochs} epochs" if search.epochs else ""
        console.print(f"search    {search.key} for each arm: {tried}, by {search.metric}, seeds {seeds}{length}")
    console.print(f"cost      {cost_line}", highlight=False)
    console.print(
        f"command   {escape(shlex.join(['repro', 'run', experiment.name, *how]))}", highlight=False, soft_wrap=True
    )


def span(seconds: float) -> str:
    """A time in the unit that a person would use: `45 s`, `12 min`, `3.2 h`, `5.1 days`, `10.7 years`."""
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48), ("days", 86400, 730)):
        if seconds < most * length:
            return f"{seconds / length:.{0 if unit in ('s', 'min') else 1}f} {unit}"
    return f"{seconds / (365.25 * 86400):.1f} years"


def cost_text(cost: Cost) -> str:
    """One line: runs, time and on what, disk and memory of what is missing."""
    if not cost.runs:
        return "nothing is missing"
    from repro.report.words import count

    basis = f"from finished runs on {cost.machine}" if cost.machine else "guessed; finished runs will tell better"
    basis = f"on {cost.machine}" if cost.source else basis
    return (
        f"{count(cost.runs, 'run')}, about {span(cost.seconds)} one after another ({basis}), "
        f"{size(cost.disk_bytes)} on disk, up to {size(cost.memory_bytes)} of memory a run"
    )


def print_plan(plan: Plan, cost: Cost, of_experiments: Mapping[str, tuple[Plan, Cost]], *, runs: bool) -> None:
    """A line an experiment, or with `runs` a line a run, then the bill."""
    if runs:
        rows = [(run.digest, run.seed, _state(run), ", ".join(run.used_by)) for run in plan.runs]
        print_table("Runs", ("digest", "seed", "state", "used by"), rows, right=("seed",))
    else:
        lines = [
            (
                name,
                len(one.runs),
                sum(run.done for run in one.runs),
                sum(run.failed is not None for run in one.todo),
                len(one.waiting),
                span(bill.seconds) if bill.runs else "",
            )
            for name, (one, bill) in of_experiments.items()
        ]
        columns = ("experiment", "runs", "finished", "failed", "arms in search", "time of the rest")
        print_table("Plan", columns, lines, right=columns[1:])
    for line in dict.fromkeys(line for run in plan.runs for line in run.damaged):
        console.print(f"[yellow]damaged: {escape(line)}[/]", highlight=False, soft_wrap=True)
    for name in plan.waiting if runs else ():
        console.print(f"{name} waits for its search to finish", highlight=False)
    from repro.report.words import count

    done = sum(run.done for run in plan.runs)
    shared = " (shared ones once)" if len(of_experiments) > 1 else ""
    total = f"{count(len(plan.runs), 'run')}{shared}, {done} finished. Missing: {cost_text(cost)}."
    console.print(total, highlight=False)
    for line in plan.unprepared:
        console.print(f"[yellow]{escape(line)}[/]", highlight=False)


def print_bill(on: Hardware, whole: Cost, of_runs: Sequence[tuple[Run, Cost]], price: float | None) -> None:
    """What one run of each arm takes on a hardware, and what all that are missing do."""
    from repro.planning.hardware import network_key

    of_digest: dict[str, list[tuple[Run, Cost]]] = {}
    for run, one in of_runs:
        of_digest.setdefault(run.digest, []).append((run, one))
    rows = []
    for digest, runs in of_digest.items():
        run, one = runs[0]
        rows.append(
            (
                digest, len(runs), _between(one), size(one.disk_bytes), size(one.memory_bytes),
                f"{size(one.bytes_read_per_second)}/s" if one.bytes_read_per_second else "", one.limit,
                ", ".join(run.used_by),
            )
        )  # fmt: skip
    columns = ("digest", "runs", "time of a run", "disk", "memory", "reads", "limited by", "used by")
    title = f"On {on.name}" if on.name else "On this machine, guessed"
    print_table(title, columns, rows, right=columns[1:6])
    if not whole.runs:
        return
    money = "" if price is None else f", {whole.seconds / 3600 * price:,.2f} at {price:g} an hour"
    told = f"In all {_between(whole)} one after another{money}, {size(whole.disk_bytes)} on disk; {whole.limit} limits."
    console.print(told, highlight=False, soft_wrap=True)
    if on.source:
        console.print(f"The rate: {escape(on.source)}.", highlight=False, soft_wrap=True)
        if not on.images:
            console.print("Whether the loader keeps up is not known; `repro bench all --json` measures it there.")
    elif on.name:
        console.print("The rates are those of whole runs, their loader included.", highlight=False)
    others = sum(network_key(run.config) not in on.of_network for run, _ in of_runs)
    if others and on.name:
        what = f"{others} of {len(of_runs)} runs are of networks that were not measured there; their time is scaled."
        console.print(what, highlight=False)


def _between(cost: Cost) -> str:
    """`3.2 h (3.0 h to 3.6 h)`."""
    low, middle, high = (span(one) for one in (cost.seconds_low, cost.seconds, cost.seconds_high))
    return middle if low == high else f"{middle} ({low} to {high})"


def _state(run: Run) -> str:
    state = "finished" if run.done else "evaluate" if run.finished else "train"
    damaged = " (damaged)" if run.damaged else ""
    return f"{state}{damaged}" + (f" (last attempt failed: {run.failed})" if run.failed else "")


def print_status(found: Progress, results: Path) -> None:
    """What runs, what failed, and what unfinished settings still need."""
    from repro.report.words import count

    for one in found.damaged:
        print(f"damaged: {one.reason}", file=sys.stderr)
    if found.runs:
        rows = [
            (
                run.name,
                run.state,
                f"{run.epoch} of {run.epochs or '?'}",
                "" if run.state != "running" or run.seconds_left is None else span(run.seconds_left),
                ", ".join(run.used_by) or "of no setting",
                run.reason or (_epoch_text(run.last) if run.last else ""),
            )
            for run in found.runs
        ]
        print_table("Runs", ("run", "state", "epochs", "time left", "of", "last"), rows, right=("epochs", "time left"))
    if found.settings:
        lines = [
            (
                f"{one.experiment} {one.name}",
                f"{one.finished} of {one.asked}",
                "" if one.seconds_left is None else span(one.seconds_left),
                ", ".join(
                    f"{number} {what}"
                    for number, what in (
                        (one.running, "at work"),
                        (one.failed, "failed"),
                        (one.waiting, f"{'arm' if one.waiting == 1 else 'arms'} in search"),
                    )
                    if number
                ),
            )
            for one in found.settings
        ]
        columns = ("unfinished setting", "finished", "time left", "now")
        print_table("Settings", columns, lines, right=columns[1:3])
    states = [run.state for run in found.runs]
    if states.count("running"):
        left = "" if found.seconds_left is None else f"; about {span(found.seconds_left)} left for their settings"
        print(f"{count(states.count('running'), 'run')} at work in {results}{left}")
    else:
        print(f"nothing runs in {results}")
    if states.count("failed"):
        print("`repro retry` forgets failures; `repro logs RUN` shows a run")


def print_epochs(name: str, epochs: Sequence[Epoch]) -> None:
    """The epochs of a run, a line each; errors in percent."""
    if not epochs:
        return

    def shown(value: float | None) -> str:
        return "" if value is None or math.isnan(value) else f"{value:.2f}"

    rows = [
        (
            one.epoch,
            "not finite" if one.train_loss is None else f"{one.train_loss:.4f}",
            shown(one.train_error),
            shown(one.test_top1_error),
            shown(one.test_top5_error),
            shown(one.held_out_top1_error),
            f"{one.learning_rate:g}",
            span(one.seconds),
        )
        for one in epochs
    ]
    columns = ("epoch", "loss", "training error", "top-1 error", "top-5 error", "held-out", "rate", "time")
    print_table(f"Run {name}", columns, rows, right=columns)


def print_round(todo: Round) -> None:
    """What a sweep is about to do."""
    console.print(f"To do: {cost_text(todo.cost)}.", highlight=False)
    if todo.one_device:
        line = "Both towers run on one device, for want of a second; the numbers do not depend on it."
        console.print(line, highlight=False)


@contextmanager
def progress(names: Mapping[str, str], total: int) -> Iterator[Listener]:
    """A listener that shows each run: a live bar on a terminal, a line an epoch elsewhere.

    `names` maps a run to what people call it; `total` is the number of runs of the whole plan.
    """
    if console.is_terminal:
        with _bars(names, total) as listen:
            yield listen
    else:
        yield _lines(names, total)


def _epoch_text(epoch: Epoch) -> str:
    loss = "not finite" if epoch.train_loss is None else f"{epoch.train_loss:.3f}"
    text = f"loss {loss}, training error {epoch.train_error:.1f}%"
    if epoch.test_top1_error is not None:
        text += f", test error top-1 {epoch.test_top1_error:.1f}%, top-5 {epoch.test_top5_error:.1f}%"
    return text


def errors_text(errors: Errors) -> str:
    """`top-1 error 40.70%, top-5 error 18.20%`."""
    shown = ["not finite" if one is None else f"{one:.2f}%" for one in (errors.top1_error, errors.top5_error)]
    return f"top-1 error {shown[0]}, top-5 error {shown[1]}"


def _elsewhere(event: Elsewhere) -> str:
    return "done by another process" if event.done else "another process took it over"


def _lines(names: Mapping[str, str], total: int) -> Listener:
    from repro.training.events import Elsewhere, EpochDone, Failed, Finished, Started, Warned

    epochs: dict[str, int] = {}
    order: dict[str, int] = {}  # of the runs, as they begin
    done: dict[str, float] = {}  # the part of each run that is done, but for what was done before this sweep
    before: dict[str, int] = {}
    began = time.monotonic()

    def left() -> str:
        """Time left of the round, by the pace so far."""
        part = sum(done.values()) / total
        return f", {span((time.monotonic() - began) * (1 - part) / part)} left in all" if 0 < part < 1 else ""

    def listen(event: Event) -> None:
        name = names.get(event.run, event.run)
        label = name  # of what is no run of the round, as a cluster is
        if event.run in names:
            label = f"run {order.setdefault(event.run, len(order) + 1)} of {total}: {name}"
        match event:
            case Started():
                epochs[event.run], before[event.run] = event.epochs, event.epoch
            case EpochDone(metrics=epoch):
                of = epochs[event.run]
                done[event.run] = (epoch.epoch - before[event.run]) / max(1, of - before[event.run])
                rate = f"{epoch.images_per_second:.0f} images/s"
                print(f"{label}: epoch {epoch.epoch}/{of}, {rate}, {_epoch_text(epoch)}{left()}", flush=True)
            case Finished():
                done[event.run] = 1.0
                for view, found in event.record.errors.items():
                    print(f"{label}: {view} view: {errors_text(found)}", flush=True)
            case Failed():
                done[event.run] = 1.0
                print(f"{label}: failed: {event.reason}", flush=True)
            case Elsewhere():
                done[event.run] = 1.0 if event.done else 0.0
                print(f"{label}: {_elsewhere(event)}", flush=True)
            case Warned():
                print(f"{label}: {event.text}", flush=True)

    return listen


@contextmanager
def _bars(names: Mapping[str, str], total: int) -> Iterator[Listener]:
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from repro.training.events import Elsewhere, EpochDone, Evaluating, Failed, Finished, Started, Stepped, Warned

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[epoch]} {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
    ) as bars:
        whole = bars.add_task("runs", total=total, epoch="", rate="", text="")
        tasks: dict[str, TaskID] = {}
        began: dict[str, tuple[float, int]] = {}
        batches: dict[str, tuple[int, int]] = {}

        def listen(event: Event) -> None:
            name = escape(names.get(event.run, event.run))
            match event:
                case Started(epochs=epochs, batches=length):
                    batches[event.run] = (epochs, length)
                    if task := tasks.pop(event.run, None):  # begun again
                        bars.remove_task(task)
                    tasks[event.run] = bars.add_task(
                        name,
                        total=epochs * length,
                        completed=event.epoch * length + event.batch,
                        epoch=f"{event.epoch}/{epochs}",
                        rate="",
                        text="",
                    )
                case Stepped() if event.run in tasks:
                    epochs, length = batches[event.run]
                    now = bars.get_time()
                    since, images = began.get(event.run, (now, event.images))
                    if event.images < images or event.run not in began:
                        since, images = began[event.run] = (now, event.images)
                    fields: dict[str, Any] = {"epoch": f"{event.epoch + 1}/{epochs}"}
                    if now > since:
                        fields["rate"] = f"{(event.images - images) / (now - since):.0f} images/s"
                    if event.loss is not None:
                        fields["text"] = f"loss {event.loss:.3f}"
                    bars.update(tasks[event.run], completed=event.epoch * length + event.batch, **fields)
                case EpochDone() if event.run in tasks:
                    bars.update(tasks[event.run], text=_epoch_text(event.metrics))
                case Evaluating() if event.run in tasks:
                    bars.update(tasks[event.run], text=f"evaluating: {event.view}")
                case Finished() | Failed():
                    if task := tasks.pop(event.run, None):
                        bars.remove_task(task)
                    if isinstance(event, Finished):
                        shown = ", ".join(f"{view} {one.top1_error:.2f}%" for view, one in event.record.errors.items())
                        bars.console.print(f"{name}: top-1 error {shown}", highlight=False)
                    else:
                        bars.console.print(f"[red]{name}: failed: {escape(event.reason)}[/]", highlight=False)
                    bars.advance(whole)
                case Elsewhere():
                    if task := tasks.pop(event.run, None):
                        bars.remove_task(task)
                    bars.console.print(f"{name}: {_elsewhere(event)}", highlight=False)
                    bars.advance(whole, 1 if event.done else 0)
                case Warned():
                    bars.console.print(f"[yellow]{name}: {escape(event.text)}[/]", highlight=False)

        yield listen


@contextmanager
def stages() -> Iterator[Callable[[Any], None]]:
    """A listener for the progress of a preparation: stage, images done and in all, rate, time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def listen(step: Any) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=step.total, rate="")
            task = bars.tasks[tasks[step.stage]]
            rate = f"{task.speed:.0f}/s" if task.speed else ""
            bars.update(task.id, completed=step.done, total=step.total, rate=rate)

        yield listen


def print_costs(count: int, costs: Sequence[StorageCost]) -> None:
    """What each storage would take, before anything is written."""
    parts = [f"{one.storage}{f' {one.quality}' if one.quality else ''} {size(one.bytes)}" for one in costs]
    console.print(f"{count:,} images; on disk as {', '.join(parts)}", highlight=False, soft_wrap=True)


def print_manifest(manifest: Manifest, directory: Path) -> None:
    """What a preparation made, with every image that was left out, and why."""
    counts = f"{manifest.train_count} training and {manifest.test_count} test images of {len(manifest.classes)} classes"
    console.print(f"{directory / manifest.name}: {counts}, {size(manifest.bytes)}", highlight=False, soft_wrap=True)
    console.print(f"from {escape(manifest.origin)}", highlight=False, soft_wrap=True)
    console.print(f"digest {manifest.digest}; resized with {manifest.resize_filter}", highlight=False)
    for reason, entry in manifest.converted.items():
        text = f"{entry['count']:,} {reason}, for example {entry['files'][0]}"
        console.print(escape(text), highlight=False, soft_wrap=True)
    for note in manifest.notes:
        console.print(escape(note), highlight=False)
    for entry in manifest.bad:
        console.print(f"[yellow]left out {escape(entry['file'])}: {escape(entry['reason'])}[/]", highlight=False)
