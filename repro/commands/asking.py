"""Commands that change nothing: list, show, plan, compare."""

from pathlib import Path
from typing import Annotated

import typer

from repro.commands.options import (
    All,
    Arms,
    AsJson,
    Assignments,
    DataDir,
    DesignOf,
    Include,
    Name,
    Names,
    Preset,
    ResultsDir,
    Seeds,
    Untuned,
    app,
    choose,
    count_of_seeds,
    places_of,
    registry_of,
)


@app.command("list")
def list_(json: AsJson = False, include: Include = None) -> None:
    """Every registered experiment: name, question, paper section, presets, number of runs."""
    from repro.commands import terminal

    registry = registry_of(include)
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
    (experiment,) = plan.laid_out([registry_of(include, [name]).get(name)], preset, None)
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
        made = plan.make([experiment], at, 1, changes, **places_of(data_dir, results_dir))
        bill = cost.cost(made, **places_of(data_dir, results_dir))
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

    chosen = plan.laid_out(choose(registry_of(include, names), names, everything, preset), preset, design)
    places = places_of(data_dir, results_dir)
    seeds = count_of_seeds(seeds, chosen)
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
    found = compare_runs(registry_of(include), sides[0], sides[1], preset, changes, **places_of(data_dir, results_dir))
    for title, columns, rows in found:
        terminal.console.print(terminal.table(title, columns, rows))
