"""Commands about finished runs: report, import, verify, evaluate."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from repro.commands.options import (
    AsJson,
    Assignments,
    DataDir,
    Include,
    Names,
    ReportsDir,
    ResultsDir,
    ResultsDirs,
    SettingName,
    app,
    at_setting,
    complete_preset,
    places_of,
    registry_of,
)


@app.command()
def report(
    names: Names = None,
    html: Annotated[bool, typer.Option("--html", help="Also one self-contained page.")] = False,
    formats: Annotated[list[str] | None, typer.Option("--format", help="Every table also as latex or csv.")] = None,
    setting: SettingName = None,
    published: Annotated[
        bool, typer.Option("--published", help="Of the runs that came with this installation, in place of results/.")
    ] = False,
    json: AsJson = False,
    include: Include = None,
    results_dir: ResultsDirs = None,
    reports_dir: ReportsDir = None,
) -> None:
    """Rebuild tables, plots and Markdown from results/ alone; without names, all of them.

    --setting prints the verdicts of one setting; the pages have them all."""
    if published and results_dir:
        raise ValueError("--published: says which results to read; leave out --results-dir")
    registry = registry_of(include, names)
    with one_folder(results_dir, published=published) as results:
        asked = at_setting(setting, None, None, results)
        print_report(
            registry,
            names,
            results,
            reports_dir,
            html=html,
            formats=tuple(formats or ()),
            json=json,
            at=asked.printed if setting else None,
        )


@contextmanager
def one_folder(options: list[Path] | None, *, published: bool = False) -> Iterator[Path]:
    """The results folder, or several as one, for as long as they are read; where two differ that is said. `published`:
    that of the installation, which nothing is written into."""
    from repro.folders import published_results, results_directory

    folders = [published_results()] if published else [*map(results_directory, options or (None,))]
    if len(folders) == 1 and not published:
        yield folders[0]
        return
    from repro.merge import seen_as_one

    with seen_as_one(folders) as (together, refused):
        for one in refused:
            print(f"left out {one.path}: {one.reason.removeprefix(f'{one.path}: ')}", file=sys.stderr)
        yield together


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder, of another machine.")],
    results_dir: ResultsDir = None,
) -> None:
    """Merge another results folder into this one: what both have stays as it is here. Exit code 1 where something is
    refused."""
    from repro import store
    from repro.folders import results_directory
    from repro.merge import merge
    from repro.report.words import count

    results = results_directory(results_dir)
    done = merge(source, results)
    for one in done.refused:
        print(f"refused {one.path}: {one.reason.removeprefix(f'{one.path}: ')}")
    if done.runs:
        store.publish(results)
    told = f"{count(done.runs, 'run')} and {count(done.settings, 'setting')} imported from {source} to {results}"
    refused = f", {count(len(done.refused), 'place')} refused" if done.refused else ""
    print(f"{told}; {count(done.same, 'run')} {'was' if done.same == 1 else 'were'} there before{refused}")
    raise typer.Exit(1 if done.refused else 0)


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
            autocompletion=complete_preset,
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

    places = places_of(data_dir, results_dir)
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
    terminal.print_table(f"Run {record.digest}", COLUMNS, rows, right=COLUMNS[3:])
    experiments = list(registry_of(None).experiments.values())
    for path in report.build(experiments, [], machine.results, reports_directory(reports_dir)).files:
        terminal.console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def print_report(
    registry: Any,
    names: list[str] | None,
    results: Path,
    reports_dir: Path | None,
    *,
    html: bool = False,
    formats: tuple[str, ...] = (),
    json: bool = False,
    failed: Sequence[Any] = (),
    at: str | None = None,
) -> None:
    """Build the report of `names` and print its verdicts, as tables or as JSON. `failed`: runs of a sweep before it;
    `at`: only the verdicts of the setting that is printed so."""
    from repro import report
    from repro.commands import terminal, verdicts
    from repro.folders import reports_directory
    from repro.report.words import count

    reports = reports_directory(reports_dir)
    experiments = list(registry.experiments.values())

    made = report.build(experiments, names or None, results, reports, html=html, formats=formats)
    noted = verdicts.write(reports, made.judged)
    judged = [(setting, found) for setting, found in made.judged if at in (None, setting.name)]
    written = [*made.files, *([noted] if noted else [])]
    if made.left_out:
        places = count(len(made.left_out), "place")
        print(f"left out {places} in {results}; {reports / 'index.md'} says why", file=sys.stderr)
    if json:
        settings = [
            {
                "experiment": setting.experiment,
                "setting": setting.name,
                "judgements": [verdicts.as_json(one) for one in found],
            }
            for setting, found in judged
        ]
        runs = [{"run": one.run, "reason": one.reason} for one in failed]
        left_out = [{"path": str(one.path), "reason": one.reason} for one in made.left_out]
        files = list(map(str, written))
        terminal.print_json({"settings": settings, "failed": runs, "left_out": left_out, "files": files})
        return
    tables = [(setting, rows) for setting, found in judged if (rows := report.verdict_table(found))]
    terminal.print_tables(
        [
            (f"{setting.experiment} at {setting.name}", list(rows[0]), [list(row.values()) for row in rows])
            for setting, rows in tables
        ]
    )
    if not made.files:
        print(f"there are no results in {results} yet; `repro run NAME` makes some")
    for path in written:
        terminal.console.print(f"wrote {path}", highlight=False, soft_wrap=True)
