"""Finding declarations: ours, those of `--include`, and other packages'; what is said of ill-formed ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from repro import Arm, Claim, PerPreset, paper
from repro.config.config import Config
from repro.experiments.registry import load, select

THIRD_PARTY = Path(__file__).parent / "third_party"

WELL_FORMED = '''
"""Is it found?"""

from repro import Arm, Claim, Experiment, PerPreset, Search, paper

experiment = Experiment(
    name="mine",
    question="Is it found?",
    factor="optim.momentum",
    section="-",
    arms=[Arm("as-preset"), Arm("slow", {"optim.momentum": 0.5})],
    presets=["smoke"],
)
'''.lstrip()


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_included_file_and_folder_are_found(tmp_path: Path) -> None:
    path = write(tmp_path, WELL_FORMED)
    write(tmp_path, "this is not read", "_notes.py")
    for include in (path, tmp_path):
        registry = load([include])
        assert registry.get("mine").arm("slow").changes == {"optim.momentum": 0.5}
        assert registry.refused == ()
        assert "lrn-ablation" in registry.experiments


def test_changes_at_each_preset_are_computed_from_its_own_values_when_looked_up() -> None:
    asked: list[str] = []

    def half(name: str, own: Config) -> dict[str, object]:
        asked.append(name)
        return {"optim.batch_size": own.optim.batch_size // 2}

    arm = Arm("half", at=PerPreset(["smoke", "cifar10"], half))
    assert list(arm.at) == ["smoke", "cifar10"] and asked == []
    assert arm.changes_at("smoke") == {"optim.batch_size": 16} and asked == ["smoke"]
    assert arm.changes_at("paper") == {} and asked == ["smoke"]


def test_included_path_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        load([tmp_path / "missing.py"])


@pytest.mark.parametrize(
    ("before", "after", "line", "reason"),
    [
        ('section="-"', 'section="-', 9, "unterminated string literal"),
        ('"Is it found?",', '"It is found",', 5, "question: must be a question that ends in '?'"),
        ('name="mine"', 'name="My Experiment"', 5, "use lower-case letters"),
        ("import Arm, Claim,", "import Arn, Claim,", 3, "cannot import name 'Arn'"),
        ("experiment = ", "ablation = ", 1, "defines no `experiment = Experiment(...)`"),
        ('"optim.momentum": 0.5', '"optim.momentun": 0.5', 10, "did you mean 'momentum'"),
        ('"optim.momentum": 0.5', '"optim.momentum": 1.5', 10, "optim.momentum: input should be less than 1"),
        ('presets=["smoke"]', 'presets=["smoek"]', 11, "no preset 'smoek'; did you mean 'smoke'"),
        ('name="mine"', 'name="lrn-ablation"', 6, "is taken by"),
        ('{"optim.momentum": 0.5}', 'at=PerPreset(["smoke"], lambda name, own: {"a": 1 / 0})', 10, "ZeroDivisionError"),
        (
            '{"optim.momentum": 0.5}',
            'at=PerPreset(["smoke"], lambda *_: __import__("sys").exit(3))',
            10,
            "SystemExit: 3",
        ),
        ("experiment = ", "__import__('sys').exit(3)\nablation = ", 5, "SystemExit: 3"),
        ('presets=["smoke"]', 'presets="smoke"', 5, "presets: 'smoke' is a string; write a list, ['smoke']"),
        ("presets=", "artifacts=['kernel'],\n    presets=", 5, "artifacts: no 'kernel'; did you mean 'kernels'"),
        (
            "presets=",
            "search=Search('optim.momentum', values=(0.5,), seeds=(0,)),\n    presets=",
            5,
            "may use seed 0; give 1000",
        ),
        ('"as-preset")', '"as-preset", presets="smoke")', 5, "arm 'as-preset': presets: 'smoke' is a string"),
        ("section=", "sektion=", 5, "unexpected keyword argument 'sektion'"),
        ("presets=", "claims=[1 / 0],\n    presets=", 11, "ZeroDivisionError: division by zero"),
        ('section="-"', 'section="3.x"', 5, "section '3.x': write a section of the paper as '3.3'"),
        ('{"optim.momentum": 0.5}', 'view="tenn"', 5, "arm 'slow': no view 'tenn'; did you mean 'ten'"),
        ("presets=", "search=Search('optim.momentum', factors=()),\n    presets=", 5, "search: give the values to try"),
        (
            "presets=",
            "search=Search('optim.learning_rat', values=(1,)),\n    presets=",
            11,
            "did you mean 'learning_rate'",
        ),
        (
            "presets=",
            "search=Search('optim.learning_rate', values=(0.1, -1.0)),\n    presets=",
            11,
            "should be greater than 0",
        ),
        (
            "presets=",
            "search=Search('seed', values=(1,), metric='epochs_to_best'),\n    presets=",
            5,
            "search: cannot go by 'epochs_to_best'",
        ),
        (
            "presets=",
            "claims=[Claim.worse('slow', 'as-preset', metric='top1', source='', measured=paper.NOT_SAID)],"
            "\n    presets=",
            5,
            "no metric 'top1'; did you mean 'top1_error'?",
        ),
    ],
)
def test_ill_formed_is_refused_with_file_line_and_reason(
    tmp_path: Path, before: str, after: str, line: int, reason: str
) -> None:
    assert before in WELL_FORMED
    path = write(tmp_path, WELL_FORMED.replace(before, after))
    registry = load([path])
    (refused,) = registry.refused
    assert refused.location == f"{path}:{line}"
    assert reason in refused.reason
    assert "\n" not in refused.reason
    assert len(registry.experiments) == len(load().experiments), "the others still work"


@pytest.mark.parametrize("number", ["1.4", float("nan"), float("inf")])
def test_a_claim_needs_a_finite_number(number: object) -> None:
    claim = Claim("effect", "slow", "as-preset", {"top1_error": number}, "", paper.NOT_SAID)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"claim on 'slow': top1_error is .*; give a finite number"):
        replace(load().get("lrn-ablation"), arms=[Arm("as-preset"), Arm("slow")], claims=[claim])


def test_every_preset_needs_an_arm_that_trains() -> None:
    with pytest.raises(ValueError, match="at 'smoke' there is no arm to train"):
        replace(load().get("baseline"), arms=[Arm("late", presets=("tiny",))], presets=["smoke", "tiny"], claims=())


def test_a_refused_experiment_says_why_when_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, WELL_FORMED.replace("0.5", '"much"'))
    with pytest.raises(ValueError, match=r"'mine' was refused: .*mine\.py:10: arm 'slow' at smoke: optim\.momentum"):
        load([path]).get("mine")
    for part in ("min", "py", tmp_path.name):
        with pytest.raises(ValueError, match=f"no experiment '{part}'"):
            load([path]).get(part)


def test_unknown_names_bring_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'lrn-ablation'"):
        load().get("lrn-abaltion")
    with pytest.raises(ValueError, match="name an experiment"):
        select(load(), [])


def test_select_names_each_once_and_all_in_order() -> None:
    registry = load()
    assert [one.name for one in select(registry, ["pooling", "baseline", "pooling"])] == ["pooling", "baseline"]
    assert [one.name for one in select(registry, [], everything=True)] == list(registry.experiments)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which the package in tests/third_party is installed."""
    work = tmp_path_factory.mktemp("third-party")
    source = work / "source"
    shutil.copytree(THIRD_PARTY, source)
    target = work / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--no-build-isolation", "--target", str(target), str(source)], check=True)
    locations = {f"REPRO_{name}_DIR": str(work / name.lower()) for name in ("DATA", "RESULTS", "REPORTS")}
    return {**os.environ, **locations, "PYTHONPATH": str(target)}


def repro(environment: dict[str, str], *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "repro", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_another_package_is_listed_and_its_broken_part_refused(installed: dict[str, str]) -> None:
    done = repro(installed, "list", "--json")
    names = [row["name"] for row in json.loads(done.stdout)]
    assert "width" in names
    assert "lrn-ablation" in names
    assert "broken" not in names
    assert re.search(r"repro_width/broken\.py:12: .*did you mean 'norm'", done.stderr)
    assert "Traceback" not in done.stderr


def test_asking_for_the_broken_one_is_one_line_with_the_reason(installed: dict[str, str]) -> None:
    done = repro(installed, "plan", "broken", code=2)
    assert re.fullmatch(r"error: experiment 'broken' was refused: \S+broken\.py:12: .*\n", done.stderr)


def test_another_package_is_planned_run_and_reported(installed: dict[str, str]) -> None:
    assert "are the full layers wider" in " ".join(repro(installed, "show", "width").stdout.lower().split())
    repro(installed, "run", "width", "--seeds", "1", "--set", "schedule.epochs=1", "--set", "data.per_class=16")
    plan = json.loads(repro(installed, "plan", "width", "--seeds", "1", "--set", "schedule.epochs=1", "--set",
                            "data.per_class=16", "--json").stdout)  # fmt: skip
    assert [run["finished"] for run in plan["runs"]] == [True, True]
    assert {name for run in plan["runs"] for name in run["used_by"]} == {"width/full-width", "width/narrow"}
    page = Path(installed["REPRO_REPORTS_DIR"]) / "width.md"
    assert "Are the full layers wider than they need to be?" in page.read_text()
