"""The command line's two groups of commands, the options that several commands share, and how they are read.

Nothing heavy is imported before a command needs it, so that help and `repro list` answer at once. Annotations are
values here (no `from __future__ import annotations`): as strings, typer would compile each of them at every start.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins costs more than `repro list` itself
import typer

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


def print_version(asked: bool) -> None:
    if asked:
        from repro import __version__

        print(f"repro {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Does a claim of the AlexNet paper hold here, at this setting, and how sure can we be?"""


def complete_experiment(incomplete: str) -> list[str]:
    from repro.experiments.registry import load

    return [name for name in load().experiments if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[str]:
    from repro.config.presets import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    from repro.folders import results_directory
    from repro.planning import settings
    from repro.store import read_settings

    results = results_directory(None)
    names = {*settings.named(results), *(one.name for one in read_settings(results)[0])}
    return sorted(name for name in names if name.startswith(incomplete))


def complete_assignment(incomplete: str) -> list[str]:
    from repro.config.keys import flatten
    from repro.config.presets import preset

    return [f"{key}=" for key in flatten(preset("paper")) if key.startswith(incomplete)]


def complete_side(incomplete: str) -> list[str]:
    from repro.config.presets import PRESETS
    from repro.experiments.registry import load

    arms = (f"{one.name}/{arm.name}" for one in load().experiments.values() for arm in one.arms)
    return [name for name in (*arms, *PRESETS) if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    from repro.folders import results_directory

    runs = (results_directory(None) / "runs").glob("*/seed-*")
    return sorted(name for one in runs if (name := f"{one.parent.name}/{one.name}").startswith(incomplete))


def complete_images(incomplete: str) -> list[str]:
    from repro.data.known import names

    return [name for name in names() if name.startswith(incomplete)]


def jobs_of(text: str) -> int | None:
    """`--jobs`: None for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither auto nor a number from 1 on")
    return int(text)


Name = Annotated[str, typer.Argument(help="An experiment; `repro list` shows all.", autocompletion=complete_experiment)]
Names = Annotated[
    list[str] | None, typer.Argument(help="Experiments; `repro list` shows all.", autocompletion=complete_experiment)
]
Preset = Annotated[
    str | None, typer.Option("--preset", "-p", help="Scale; default: its first.", autocompletion=complete_preset)
]
Seeds = Annotated[
    int | None,
    typer.Option(min=1, help="Runs of each arm; seeds 0, 1, ... A design says itself how many. [default: 3]"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a Config key.", autocompletion=complete_assignment),
]
SettingName = Annotated[
    str | None,
    typer.Option(
        "--setting",
        metavar="NAME",
        help="A preset with its changes, by a name of results/settings.toml or as reports print it.",
        autocompletion=complete_setting,
    ),
]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="DIGEST/seed-N, or the beginning of a digest with one run.", autocompletion=complete_run
    ),
]
DataDir = Annotated[Path | None, typer.Option(help="Prepared images. [default: $REPRO_DATA_DIR or data]")]
ResultsDir = Annotated[Path | None, typer.Option(help="Finished runs. [default: $REPRO_RESULTS_DIR or results]")]
ResultsDirs = Annotated[
    list[Path] | None,
    typer.Option("--results-dir", help="Finished runs; several folders: once for each. [default: as elsewhere]"),
]
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


def registry_of(include: list[Path] | None, names: list[str] | None = None) -> Any:
    """All declarations. Print refused ones to standard error once every requested name has been found; if one is
    missing, the lookup error lists them."""
    from repro.experiments.registry import load

    registry = load(include or ())
    for name in names or ():
        registry.get(name)
    for refused in registry.refused:
        print(f"refused {refused.location}: {refused.reason}", file=sys.stderr)
    return registry


def choose(registry: Any, names: list[str] | None, everything: bool, preset: str | None) -> list[Any]:
    from repro.experiments.registry import select

    if preset is not None:
        from repro.config.presets import preset as check

        check(preset)
    chosen = select(registry, names or (), everything=everything)
    if everything and preset:
        chosen = [one for one in chosen if preset in one.presets]
    return chosen


def at_setting(name: str | None, preset: str | None, assignments: list[str] | None, results: Path) -> Any:
    """The setting that `--setting` names, or that `--preset` and `--set` say; its preset is None where none was
    given."""
    from repro.config.keys import parse_assignments
    from repro.planning import settings

    if name is None:
        return settings.NamedSetting("", preset, parse_assignments(assignments or []))
    if preset or assignments:
        raise ValueError(f"--setting {name}: says the preset and its changes; leave out --preset and --set")
    return settings.find(results, name)


def count_of_seeds(seeds: int | None, chosen: list[Any]) -> int:
    if seeds is not None and (designed := [one.name for one in chosen if one.laid_out]):
        raise ValueError(f"--seeds {seeds}: the design of {designed[0]} says how many runs it has; leave it out")
    return 3 if seeds is None else seeds


def most_seeds(seeds: int, until_decided: bool, max_seeds: int | None) -> int | None:
    if not until_decided:
        if max_seeds is not None:
            raise ValueError(f"--max-seeds {max_seeds}: is for --until-decided only; add it, or give --seeds")
        return None
    most = 20 if max_seeds is None else max_seeds
    if most < seeds:
        raise ValueError(f"--max-seeds {most}: is fewer than --seeds {seeds}; give at least as many")
    return most


def places_of(data_dir: Path | None, results_dir: Path | None) -> dict[str, Any]:
    from repro.folders import data_directory, results_directory

    return {"data": data_directory(data_dir), "results": results_directory(results_dir)}
