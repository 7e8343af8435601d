"""`import repro` does what the commands do, returns values, and stays quick to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import repro
from repro.bench.made_up import write_setting

QUICK = {"data.per_class": 8, "data.test_per_class": 4, "schedule.epochs": 1, "eval.views": ["center"]}


def test_from_a_plan_to_a_verdict(tmp_path: Path) -> None:
    places = {"data": tmp_path / "data", "results": tmp_path / "results"}
    asked = {"preset": "smoke", "seeds": 1, "changes": QUICK, "tuned": False}
    assert repro.run("ten-view", **asked, **places) == []  # type: ignore[arg-type]
    made = repro.plan("ten-view", **asked, **places)  # type: ignore[arg-type]
    assert [run.done for run in made.runs] == [True]
    frame = repro.collect(places["results"])
    assert "center" in set(frame["arm"]) and set(frame["experiment"]) == {"ten-view"}
    assert frame["top1_error_percent"].between(0, 100).all()


def test_judge_and_figure_say_what_the_page_says(tmp_path: Path) -> None:
    experiment = repro.load_experiments()["lrn-ablation"]
    write_setting(tmp_path, experiment, "smoke", {"with-lrn": 30.0, "no-lrn": 33.0})
    frame = repro.judge("lrn-ablation", results=tmp_path).set_index(["arm", "metric"])
    assert frame.loc[("no-lrn", "top1_error"), "unit"] == "points"
    assert frame.loc[("no-lrn", "top1_error"), "low"] < 3 < frame.loc[("no-lrn", "top1_error"), "high"]
    drawn = repro.figure("lrn-ablation", "smoke", results=tmp_path)
    labels = [label.get_text() for axes in drawn.axes for label in axes.get_yticklabels()]
    assert "no-lrn against with-lrn\ntop-1 error (n = 3)" in labels


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda place: repro.judge("lrn", results=place), "no experiment 'lrn'"),
        (lambda place: repro.judge("lrn-ablation", results=place), "has no setting in"),
        (lambda place: repro.run("ten-view", devices=("warp",), results=place), "--devices warp: is no device"),
        (
            lambda place: repro.run("ten-view", preset="smok", results=place),
            "did you mean 'smoke'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(tmp_path: Path, call: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        call(tmp_path / "results")  # type: ignore[operator]
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


def test_plan_stays_a_function_when_what_it_needs_was_imported() -> None:
    code = "import repro.planning.plan, repro; print(callable(repro.plan))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_the_import_loads_neither_torch_nor_pandas() -> None:
    code = (
        "import repro, sys; print([name for name in ('torch', 'pandas', 'matplotlib', 'numpy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
