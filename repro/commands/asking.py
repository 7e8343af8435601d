"""Commands before a run: list, show, plan, compare, which change nothing, and new."""

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
    ReportsDir,
    ResultsDir,
    Seeds,
    SettingName,
    Untuned,
    app,
    at_setting,
    choose,
    complete_side,
    count_of_seeds,
    places_of,
    registry_of,
)


@app.command("list")
def list_(json: AsJson = False, include: Include = None, reports_dir: ReportsDir = None) -> None:
    """Every registered experiment: name, paper section, question, and the verdict of the last report."""
    from repro.commands import terminal, verdicts
    from repro.folders import reports_directory

    registry, verdict_of = registry_of(include), verdicts.read(reports_directory(reports_dir))
    experiments = sorted(registry.experiments.values(), key=lambda one: (one.section == "-", one.section))
    if json:
        terminal.print_json(
            [
                {
                    "name": one.name,
                    "question": one.question,
                    "section": one.section,
                    "presets": list(one.presets),
                    "runs_a_seed": sum(not arm.ensemble and arm.view is None for arm in one.arms_at(one.presets[0]))
                    or (one.design.rows if one.design else 1),
                    "verdict": verdict_of.get(one.name),
                }
                for one in experiments
            ]
        )
        return
    columns = ("name", "section", "question", "verdict so far")
    rows = [(one.name, one.section, one.question, verdict_of.get(one.name, "")) for one in experiments]
    terminal.print_table("Experiments", columns, rows, cut="question")


@app.command()
def show(
    name: Name,
    preset: Preset = None,
    config: Annotated[bool, typer.Option("--config", help="The full Config of the first arm, as JSON.")] = False,
    model: Annotated[bool, typer.Option("--model", help="The first arm's network, layer by layer.")] = False,
    assignments: Assignments = None,
    setting: SettingName = None,
    json: AsJson = False,
    include: Include = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
) -> None:
    """What an experiment asks, its arms, the paper's claim, its cost, the settings that have runs."""
    from dataclasses import asdict

    from repro.commands import terminal
    from repro.config.config import to_dict
    from repro.planning import cost, plan, settings

    if config + model + json > 1:
        raise ValueError("--config, --model, --json: show prints one at a time; leave out the others")
    places = places_of(data_dir, results_dir)
    asked = at_setting(setting, preset, assignments, places["results"])
    (experiment,) = plan.laid_out([registry_of(include, [name]).get(name)], asked.preset, asked.design or None)
    at, tuned = asked.preset or experiment.presets[0], not asked.untuned
    first = next(iter(plan.configs(experiment, at, asked.changes, tuned=tuned).values()))
    if config:
        terminal.print_json(to_dict(first))
        return
    if model:
        from repro.commands.describe import model_table

        columns, rows = model_table(first)
        terminal.print_table(f"{name} at {at}", columns, rows, right=columns[1:])
        return
    bill = cost.cost(plan.make([experiment], at, 1, asked.changes, tuned=tuned, **places), **places)
    done = settings.finished(places["results"], name)
    if json:
        from repro.commands.describe import card

        runs = [{"setting": one.name, "finished": count, "asked": of} for one, count, of in done]
        terminal.print_json({**card(experiment, at), "cost_of_a_seed": asdict(bill), "settings": runs})
        return
    how = ["--setting", setting] if setting else ["--preset", at]
    how += [word for item in assignments or () for word in ("--set", item)]
    how += [word for path in include or () for word in ("--include", str(path))]
    terminal.print_card(experiment, at, f"one seed: {terminal.cost_text(bill)}", how)
    if done:
        names = settings.called(places["results"])
        terminal.print_table(
            "Settings with runs: --setting NAME",
            ("setting", "finished", "asked for"),
            [(settings.label(one, names), count, of) for one, count, of in done],
            right=("finished", "asked for"),
        )


@app.command("plan")
def plan_(
    names: Names = None,
    preset: Preset = None,
    seeds: Seeds = None,
    assignments: Assignments = None,
    setting: SettingName = None,
    everything: All = False,
    arms: Arms = None,
    design: DesignOf = None,
    untuned: Untuned = False,
    freeze: Annotated[
        Path | None, typer.Option(help="Write what will be judged to results/plans/NAME.json, before any run of it.")
    ] = None,
    runs: Annotated[bool, typer.Option("--runs", help="A line a run, also for several experiments.")] = False,
    power: Annotated[bool, typer.Option(help="Seeds needed to tell the claimed effect from zero.")] = False,
    hardware: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The bill on other hardware, or a FILE.json of `repro bench step --json`."),
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of an hour of the hardware, in any currency.")] = None,
    json: AsJson = False,
    include: Include = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
) -> None:
    """The runs, which are finished, and the cost of the rest. Changes nothing but what --freeze writes."""
    from dataclasses import asdict

    from repro.commands import terminal
    from repro.planning import cost, frozen, plan
    from repro.planning.hardware import find

    places = places_of(data_dir, results_dir)
    on = find(hardware, places["results"]) if hardware else None
    asked_at = at_setting(setting, preset, assignments, places["results"])
    preset, design = asked_at.preset, design or asked_at.design or None
    chosen = plan.laid_out(choose(registry_of(include, names), names, everything, preset), preset, design)
    seeds = count_of_seeds(seeds, chosen)
    wanted = plan.choose_arms(chosen, preset, arms)
    first_seed = frozen.first_fresh_seed(places["results"]) if freeze else 0
    made = plan.make(
        chosen, preset, seeds, asked_at.changes, tuned=not (untuned or asked_at.untuned),
        arms=wanted, first_seed=first_seed, frozen=freeze.stem if freeze else "", **places,
    )  # fmt: skip
    if freeze:
        asked = frozen.freeze(freeze, chosen, made, wanted or plan.every_arm(chosen, preset))
        print(f"wrote {freeze}: {len(asked.endpoints)} primary endpoints; commit it, then: repro run --plan {freeze}")
        return
    told = on or cost.here(places["results"])
    bill, bill_of = cost.bill(made, data=places["data"], on=told)
    needed = plan.power(chosen, made, places["results"]) if power else []
    if json:
        costs = {run.name: asdict(one) for run, one in bill_of}
        of_runs = [
            {
                "digest": run.digest,
                "seed": run.seed,
                "finished": run.done,
                "failed": run.failed,
                "damaged": list(run.damaged),
                "used_by": list(run.used_by),
                "cost": costs.get(run.name),
            }
            for run in made.runs
        ]
        whole = {**asdict(bill), "price": None if price is None else bill.seconds / 3600 * price}
        notes = {"waiting": list(made.waiting), "unprepared": list(made.unprepared)}
        terminal.print_json({"runs": of_runs, "cost": whole, **notes, "power": needed})
        return
    parts = {one.name: plan.part(made, one.name) for one in chosen}
    bills = {name: (part, cost.bill(part, data=places["data"], on=told)[0]) for name, part in parts.items()}
    terminal.print_plan(made, bill, bills, runs=runs or len(chosen) == 1)
    if on or price is not None:
        terminal.print_bill(told, bill, bill_of, price)
    if power:
        columns = ("experiment", "claim", "metric", "seeds so far", "seeds for 80% power", "as --max-seeds")
        rows = [["-" if cell is None else cell for cell in row.values()] for row in needed]
        terminal.print_table("Power", columns, rows, right=columns[3:])


@app.command()
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B", help="Two EXPERIMENT/ARM, run digests, or presets.", autocompletion=complete_side
        ),
    ],
    presets: Annotated[bool, typer.Option("--presets", help="A and B are presets.")] = False,
    preset: Preset = None,
    assignments: Assignments = None,
    setting: SettingName = None,
    json: AsJson = False,
    include: Include = None,
    results_dir: ResultsDir = None,
) -> None:
    """Two presets, or two arms or runs: what differs between their Configs, and between their errors."""
    from repro.commands import describe, terminal

    if len(sides) != 2:
        raise ValueError(f"compare takes two names, not {len(sides)}: repro compare A B")
    if presets:
        if preset or assignments or setting:
            raise ValueError("--presets compares two presets as they are; leave out --preset and --set")
        columns, rows = describe.compare_presets(*sides)
        if json:
            terminal.print_json({"differs": {key: values for key, *values, _ in rows}})
        else:
            terminal.print_table(f"{sides[0]} and {sides[1]}", columns, rows)
        return
    from repro.commands.compare import compare_runs
    from repro.folders import results_directory

    results = results_directory(results_dir)
    asked = at_setting(setting, preset, assignments, results)
    found = compare_runs(registry_of(include), sides[0], sides[1], asked.preset, asked.changes, results=results)
    if json:
        terminal.print_json(found.as_json())
    else:
        terminal.print_tables(found.tables(results))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the experiment: lower-case letters, digits and hyphens.")],
    include: Include = None,
) -> None:
    """Write ablations/NAME.py, an experiment to fill in; docs/new_experiment.md explains each line of it."""
    from repro.experiments.registry import shipped
    from repro.experiments.template import filled
    from repro.files import write_atomically
    from repro.terms import NAME

    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: an experiment is named by lower-case letters, digits and hyphens, as lrn-ablation")
    if name in registry_of(include).experiments:
        raise ValueError(f"{name} is an experiment already; `repro show {name}` shows it; choose another name")
    path = Path("ablations", f"{name.replace('-', '_')}.py")
    if path.exists():
        raise ValueError(f"{path}: is there already; delete it, or choose another name")
    write_atomically(path, filled(name))
    found = path.parent.resolve() == shipped().resolve()
    print(f"wrote {path}; fill it in, then: repro show {name}{'' if found else f' --include {path}'}")
