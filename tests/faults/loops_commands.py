"""The fuzzers: command lines, values of `--set`, and processes that are killed. Counted as the loops of loops_data are.

Wrong is: a traceback, an exit code that no command promises, a refusal without a word, a Config that does not come back
from its own JSON, and a run or a set that differs from one that nobody killed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import typer
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from loops_data import Count, counted, workplace
from loops_results import published
from made_up_images import class_tree

from repro.commands import cli
from repro.config.config import digest, from_dict, to_dict
from repro.config.keys import diff, flatten, override, parse_assignments
from repro.config.presets import PRESETS, preset
from repro.data.manifest import FILES
from repro.experiments import registry

CODES = {0, 1, 2}
# these take minutes by design, or leave this process
LONG = {"bench", "doctor", "open", "status"}
WORDS = st.sampled_from(
    [*registry.load().experiments, *PRESETS, "lrn-ablation/no-lrn", "all", "0", "-1", "1e400", "null", "nan", "--",
     "-", "", "smoke+000000", "f6313191405b/seed-0", "../..", "a=b", "optim.learning_rate=0.1", "[[", "\u202e", "<b>",
     "\ud800"]
)  # fmt: skip


def tried(trials: int, seed_: int, strategy: Any, check: Callable[[Any], None]) -> None:
    """`check` on so many examples of a strategy, the same ones for the same seed."""
    few = settings(
        max_examples=trials,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(seed_)(few(given(strategy)(check)))()


def commands(group: Any, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command by its words, those of `data` too."""
    found: dict[tuple[str, ...], Any] = {}
    for name, one in group.commands.items():
        if name not in LONG:
            found |= commands(one, (*above, name)) if hasattr(one, "commands") else {(*above, name): one}
    return found


def line_of(words: tuple[str, ...], command: Any, paths: list[str]) -> Any:
    """A strategy for command lines of one command: its own options with values that fit, or do not."""

    def value(parameter: Any) -> Any:
        kind = parameter.type
        if choices := getattr(kind, "choices", None):
            return st.one_of(st.sampled_from(list(choices)), WORDS)
        if "path" in kind.name or "dir" in (parameter.name or ""):
            return st.sampled_from(paths)
        if kind.name.startswith(("int", "float")):
            return st.one_of(st.integers(-2, 10**6).map(str), WORDS)
        return st.one_of(WORDS, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))

    def option(parameter: Any) -> Any:
        name = st.sampled_from([*parameter.opts, *parameter.secondary_opts])
        if getattr(parameter, "is_flag", False):
            return name.map(lambda one: [one])
        return st.tuples(name, value(parameter)).map(list)

    options = [option(one) for one in command.params if one.param_type_name == "option" and one.name != "help"]
    arguments = [value(one) for one in command.params if one.param_type_name == "argument"]
    parts = [st.lists(one, max_size=3) for one in arguments]
    if options:
        parts.append(st.lists(st.one_of(options), max_size=5).map(lambda many: [word for one in many for word in one]))
    return st.tuples(*parts).map(lambda many: [*words, *(word for one in many for word in one)])


def ended(line: list[str]) -> tuple[object, str]:
    """Exit code of a command line in this process, and what it said on standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["repro", *line]),
    ):
        try:
            cli.main()
            code: object = 0
        except SystemExit as end:
            code = end.code or 0
        except Exception as error:
            return type(error).__name__, str(error)
    return code, err.getvalue()


def command_lines(trials: int, seed_: int) -> Count:
    """Any command with any of its options and any values: exit code 0, 1 or 2, and a word where it is not 0.

    A line that would train or fetch stops there: no trial is about training.
    """
    wrong: list[str] = []
    known = commands(typer.main.get_command(cli.app))  # type: ignore[arg-type]
    with workplace() as place, contextlib.chdir(place):
        published(place / "results")
        (place / "garbage").write_bytes(bytes(range(256)))
        (place / "empty").mkdir()
        class_tree(place / "images", classes=2, train=2, test=1)
        paths = [str(place / name) for name in ("results", "garbage", "empty", "none", "images")] + ["x" * 300]
        lines = st.one_of([line_of(words, command, paths) for words, command in known.items()])
        places = {f"REPRO_{name.upper()}_DIR": str(place / name) for name in ("data", "results", "reports")}
        no_run = mock.patch("repro.launch.launch", side_effect=ValueError("would train"))
        no_net = mock.patch("urllib.request.urlopen", side_effect=urllib.error.URLError("no network"))

        def check(line: list[str]) -> None:
            code, said = ended(line)
            if code not in CODES or "Traceback" in said or (code == 2 and not said.strip()):
                wrong.append(f"{line}: {code}: {said[-300:]}")

        with no_run, no_net, mock.patch.dict(os.environ, places):
            tried(trials, seed_, lines, check)
    return counted("command_lines", trials, wrong)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 300), st.integers(), st.floats(), WORDS, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=6,
)


def values_of_set(trials: int, seed_: int) -> Count:
    """`--set` with any keys and any values: refused in one line, or a Config that is named and read back the same."""
    wrong: list[str] = []
    generator = np.random.default_rng(seed_)
    every = dict.fromkeys(key for name in PRESETS for key in flatten(preset(name)))
    parts = [f"model.layers.conv{layer}" for layer in range(9)]
    keys = [*every, *parts, "model.layers", "model.norm", "model", "", ".", "a.b"]
    assignment = st.tuples(st.sampled_from(keys), JSON).map(lambda pair: f"{pair[0]}={json.dumps(pair[1])}")
    names = list(PRESETS)

    def check(items: list[str]) -> None:
        name = names[int(generator.integers(len(names)))]
        try:
            config = override(preset(name), parse_assignments(items))
            again = from_dict(json.loads(json.dumps(to_dict(config))))
            if again != config or digest(again, "data") != digest(config, "data") or diff(again, config):
                wrong.append(f"{name} {items}: not read back")
        except ValueError as error:
            if "\n" in str(error) or not str(error) or type(error) is not ValueError:
                wrong.append(f"{name} {items}: {error!r}")
        except Exception as error:
            wrong.append(f"{name} {items}: {type(error).__name__}: {error}")

    tried(trials, seed_, st.lists(assignment, min_size=1, max_size=3), check)
    return counted("values_of_set", trials, wrong)


RUN = (
    "run", "baseline", "--preset", "smoke", "--seeds", "1", "--loader", "torch", "--untuned",
    "--set", "schedule.epochs=12", "--set", "data.per_class=40",
)  # fmt: skip


def _outputs(place: Path) -> dict[str, object]:
    """What a run left that must not depend on kills: metrics without times, predictions, kernels."""
    found: dict[str, object] = {}
    for path in sorted(place.glob("results/runs/*/seed-*/*")):
        name = str(path.relative_to(place))
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [
                {k: v for k, v in line.items() if not k.endswith(("seconds", "per_second"))} for line in lines
            ]
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: arrays[key].tobytes() for key in arrays.files}
        elif path.suffix == ".npy":
            found[name] = path.read_bytes()
    return found


def _begin(place: Path, *line: str) -> subprocess.Popen[bytes]:
    places = {f"REPRO_{name.upper()}_DIR": str(place / name) for name in ("data", "results", "reports")}
    return subprocess.Popen(
        [sys.executable, "-m", "repro", *line],
        env=os.environ | places, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def _whole(place: Path, line: tuple[str, ...]) -> None:
    """A line that nobody kills."""
    process = _begin(place, *line)
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()


def _written(place: Path, pattern: str) -> set[tuple[Path, int]]:
    """The files of a pattern, with the times of their last change."""
    found = set()
    for path in place.glob(pattern):
        with contextlib.suppress(OSError):  # moved since
            found.add((path, path.stat().st_mtime_ns))
    return found


def _killed(place: Path, line: tuple[str, ...], generator: np.random.Generator, pattern: str) -> bool:
    """Start a line, and SIGKILL its processes within half a second after it has written a file of a pattern; False
    where it ended before."""
    before = _written(place, pattern)
    process = _begin(place, *line)
    while _written(place, pattern) <= before and process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(float(generator.uniform(0, 0.5)))
    alive = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def kills_of_a_run(trials: int, seed_: int) -> Count:
    """A run killed in training, again and again, then let go: bitwise what it is when nobody kills it."""
    generator, wrong, kills = np.random.default_rng(seed_), [], 0
    with workplace() as place:
        whole, damaged = place / "whole", place / "killed"
        whole.mkdir()
        _whole(whole, RUN)
        for _ in range(50 * trials):
            if kills == trials:
                break
            damaged.mkdir(exist_ok=True)
            kills += _killed(damaged, RUN, generator, "results/runs/*/seed-*/checkpoint.pt")
            if list(damaged.glob("results/runs/*/seed-*/run.json")) or kills == trials:
                process = _begin(damaged, *RUN)
                _, said = process.communicate()
                if process.returncode or _outputs(damaged) != _outputs(whole) or not _outputs(whole):
                    wrong.append(f"after {kills} kills: exit code {process.returncode}: {said.decode()[-300:]}")
                if left := list(damaged.glob("**/*.tmp*")):
                    wrong.append(f"left over: {left}")
                subprocess.run(["rm", "-rf", str(damaged)], check=True)
    return counted("kills_of_a_run", kills, wrong)


def kills_of_a_preparation(trials: int, seed_: int) -> Count:
    """A preparation killed anywhere, then let go: the same bytes as of one that nobody killed."""
    generator, wrong, kills = np.random.default_rng(seed_), [], 0
    with workplace() as place:
        tree = class_tree(place / "tree", classes=4, train=400, test=50)
        line = ("data", "prepare", "made-up", "--source", str(tree), "--size", "32")
        whole, killed = place / "whole", place / "killed"
        for folder in (whole, killed):
            folder.mkdir()
        _whole(whole, line)
        (good,) = (whole / "data").glob("made-up-*")
        for _ in range(50 * trials):
            if kills == trials:
                break
            kills += _killed(killed, line, generator, "data/**/*")
            if (killed / "data" / good.name / "manifest.json").is_file() or kills == trials:
                process = _begin(killed, *line)
                _, said = process.communicate()
                made = killed / "data" / good.name
                if process.returncode or any((made / one).read_bytes() != (good / one).read_bytes() for one in FILES):
                    wrong.append(f"after {kills} kills: exit code {process.returncode}: {said.decode()[-300:]}")
                subprocess.run(["rm", "-rf", str(killed / "data")], check=True)
    return counted("kills_of_a_preparation", kills, wrong)


LOOPS: dict[Callable[[int, int], Count], int] = {  # with how often each is tried by `make faults`
    command_lines: 2000,
    values_of_set: 70_000,
    kills_of_a_run: 50,
    kills_of_a_preparation: 50,
}
