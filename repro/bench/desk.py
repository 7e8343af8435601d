"""`repro bench desk`: how soon the command line answers, and a report over ten thousand runs.

Start times are those of fresh processes in turns, beside the import of the two libraries that no command line of this
kind does without, and beside a command that only prints a table as long as that of `repro list`. As at every start but
a user's first, Python finds all modules compiled. The runs of the report are made up and small: it reads them as it
reads real ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from unittest.mock import patch

from repro import store
from repro.bench import BenchResult, Samples, in_child, interleaved, machine, made_up, ratio, row, seconds
from repro.experiments.registry import load
from repro.planning import plan

RUNS = 10_000
PRESET = "smoke"
MOST_SEEDS = 900  # of a setting; seeds from 1,000 on are those of searches
EPOCHS = 30  # of a made-up run
IMAGES = 100  # of a made-up test set
IMPORTS = "python -c 'import typer, rich'"
EMPTY = "an empty typer command"
TABLE = "a typer command that prints a table"
REFUSED = "a `repro run` that is refused"
TARGETS = {
    "help_over_imports": "at most 1.5",
    "list_over_imports": "at most 1.5",
    "empty_over_imports": "the least that any command takes",
    "table_over_imports": "the least for a rich table, open to other packages",
    "list_over_table": "at most 1.3",
    "refused_over_table": "at most 1.3",
    "report_seconds": "at most 5",
    "report_memory_gib": "at most 0.4",
}
EMPTY_COMMAND = """
import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(lambda: None)
app()
"""
# What `repro list` cannot do without: a table by rich, and the question which packages bring experiments along.
TABLE_COMMAND = """
import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
@app.command()
def table() -> None:
    from importlib.metadata import entry_points
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    entry_points(group="none")
    made = Table("name", "question", "section", "presets", "runs")
    for row in range({rows}):
        made.add_row(*(Text("word " * words) for words in (2, 18, 1, 5, 1)))
    Console(width=100, emoji=False).print(made)
app()
"""
REPORT = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from repro.experiments import registry
from repro import report
report.build(list(registry.load().experiments.values()), None, Path(sys.argv[1]), Path(sys.argv[2]))
status = Path("/proc/self/status").read_text()
print(time.perf_counter() - start, time.process_time(), int(status.partition("VmHWM:")[2].split()[0]) / 2**20)
"""


def measure(quick: bool = False) -> BenchResult:
    """Seconds to the answers of the command line, and to a refusal; seconds and memory of the report. `quick`: few
    runs."""
    facts = machine()
    commands = {
        IMPORTS: ["-c", "import typer, rich"],
        "python -c 'import typer, rich, pydantic'": ["-c", "import typer, rich, pydantic; pydantic.BaseModel"],
        EMPTY: ["-c", EMPTY_COMMAND],
        TABLE: ["-c", TABLE_COMMAND.format(rows=len(load().experiments))],
        "repro --help": ["-m", "repro", "--help"],
        "repro list": ["-m", "repro", "list"],
        REFUSED: ["-m", "repro", "run", "lrn-ablatio", "--preset", "smoke"],
    }
    with TemporaryDirectory() as place:
        starts = {name: _start(words, place) for name, words in commands.items()}
        interleaved(starts, 1)  # the first start compiles
        samples: Samples = interleaved(starts, 2 if quick else 21)
    rows = [row(name, "s", values) for name, values in samples.items()]
    ratios = {
        f"{name}_over_imports": ratio(samples[command], samples[IMPORTS])
        for name, command in {"help": "repro --help", "list": "repro list", "empty": EMPTY, "table": TABLE}.items()
    }
    for name, command in {"list": "repro list", "refused": REFUSED}.items():
        ratios[f"{name}_over_table"] = ratio(samples[command], samples[TABLE])
    with TemporaryDirectory() as place:
        made = make_up_runs(Path(place, "results"), 20 if quick else RUNS)
        answers = [in_child(REPORT, f"{place}/results", f"{place}/reports-{n}") for n in range(1 if quick else 3)]
        took, busy, peak = zip(*(map(float, answer.split()[-3:]) for answer in answers), strict=True)
    name = f"repro report over {made:,} runs"
    rows += [row(name, "s", took), row(f"{name}, processor time", "s", busy), row(f"{name}, peak memory", "GiB", peak)]
    ratios |= {"report_seconds": median(took), "report_memory_gib": median(peak)}
    return BenchResult("Desk half", rows, ratios, facts, TARGETS)


def _start(words: list[str], compiled: str) -> Callable[[], float]:
    """Seconds of a start of Python with these `words`; compiled modules are kept in the folder `compiled`."""
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, *words]
    refused = command[2:4] == ["repro", "run"]

    def start() -> None:
        done = subprocess.run(command, check=False, env=environment, capture_output=True)
        assert done.returncode == (2 if refused else 0), done.stderr

    return lambda: seconds(start)


def make_up_runs(results: Path, runs: int) -> int:
    """Write some `runs` finished runs and the settings that ask for them, of as few experiments as can have so many;
    return how many."""
    every = [one for one in load().experiments.values() if PRESET in one.presets]
    every.sort(key=lambda one: (-len(one.arms_at(PRESET)), one.name))

    def planned(count: int, seeds: int) -> plan.Plan:
        return plan.make(every[:count], PRESET, seeds, {}, data=results.parent, results=results, tuned=False)

    count = next(count for count in range(1, len(every) + 1) if len(planned(count, 1).runs) * MOST_SEEDS >= runs)
    made = planned(count, max(2, round(runs / len(planned(count, 1).runs))))
    with patch.object(os, "fsync", lambda handle: None):  # these runs need not survive a power cut
        made_up.write_runs(results, made.runs, results.parent, epochs=EPOCHS, images=IMAGES)
        for setting in made.settings:
            store.write_setting(results, setting)
    return len(made.runs)
