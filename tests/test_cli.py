"""The command line as a person meets it: exit codes, one clear line, nothing changed by a mistake."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from repro import stats, store
from repro.bench.made_up import write_run
from repro.commands import options
from repro.experiments.registry import load
from tests.conftest import QUICK, Repro


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "lrn-ablatoin"], "did you mean 'lrn-ablation'"),
        (["show", "lrn-ablatoin"], "did you mean 'lrn-ablation'"),
        (["plan", "nothing-like-it"], "`repro list` shows all"),
        (["run"], "name an experiment"),
        (["run", "lrn-ablation", "--preset", "smok"], "did you mean 'smoke'"),
        (["run", "lrn-ablation", "--preset", "figure-1"], "does not support preset 'figure-1'"),
        (["run", "lrn-ablation", "--preset", "cifar10"], "repro data prepare cifar10"),
        (["run", "lrn-ablation", "--set", "optim.batch_sise=3"], "did you mean 'batch_size'"),
        (
            ["run", "lrn-ablation", "--set", "optim.batch_size=many"],
            "optim.batch_size: input should be a valid integer",
        ),
        (["run", "lrn-ablation", "--set", "optim.batch_size"], "write key=value"),
        (["run", "lrn-ablation", "--set", "model.norm=null"], "leave it out"),
        (["run", "lrn-ablation", "--set", "augment.crop=500"], "augment.crop: 500 is larger than the stored image"),
        (["run", "lrn-ablation", "--set", "data.source=photoz"], "photoz"),
        (["run", "lrn-ablation", "--devices", "cuda:99"], "CUDA devices; use cpu"),
        (["run", "lrn-ablation", "--devices", "gpu"], "is no device"),
        (["run", "lrn-ablation", "--jobs", "many"], "'many' is neither auto nor a number"),
        (["work", "lrn-ablation", "--jobs", "0"], "'0' is neither auto nor a number"),
        (["work", "lrn-ablatoin"], "did you mean 'lrn-ablation'"),
        (["run", "lrn-ablation", "--seeds", "0"], "Invalid value for '--seeds'"),
        (["run", "lrn-ablation", "--include", "no-such-file.py"], "no-such-file.py: there is no such file"),
        (["plan", "--all", "baseline"], "--all and 'baseline' contradict each other"),
        (["run", "baseline", "--max-seeds", "5"], "--max-seeds 5: is for --until-decided only"),
        (
            ["run", "baseline", "--seeds", "5", "--until-decided", "--max-seeds", "3"],
            "--max-seeds 3: is fewer than --seeds 5",
        ),
        (["show", "baseline", "--config", "--model"], "leave out the others"),
        (["compare", "lrn-ablation/with-lrn"], "takes two names"),
        (["compare", "--presets", "paper", "code-2021"], "did you mean 'code-2012'"),
        (["compare", "--presets", "paper", "tiny", "--set", "optim.momentum=0.5"], "leave out --preset and --set"),
        (["compare", "--presets", "paper", "tiny", "--preset", "smoke"], "leave out --preset and --set"),
        (["compare", "lrn-ablation/with", "lrn-ablation/no-lrn"], "did you mean 'with-lrn'"),
        (["compare", "lrn-ablation", "no-lrn"], "write EXPERIMENT/ARM; the arms of lrn-ablation are with-lrn, no-lrn"),
        (["compare", "0a1b2c3d4e5f/seed-0", "0a1b2c3d4e5f/seed-1"], "leave out /seed-0"),
        (["report", "lrn-ablatoin"], "did you mean 'lrn-ablation'"),
        (["bench", "speed"], "is not one of"),
        (["data", "prepare", "imagenet"], "imagenet"),
        (["data", "prepare", "photos", "--storage", "jpeg"], "quality"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_changes_nothing(
    arguments: list[str], expected: str, repro: Repro, tmp_path: Path
) -> None:
    code, out, err = repro(*arguments)
    assert code == 2, (out, err)
    assert expected in " ".join(err.split()), err
    assert "Traceback" not in err + out
    assert not list(tmp_path.iterdir()), "something was written"


def test_help_and_list_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['repro', *{arguments!r}]\n"
        "from repro.commands.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {{'torch', 'pandas', 'scipy', 'numba', 'matplotlib', 'ffcv', {more}}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for arguments in (["--help"], ["list"], ["list", "--json"], ["show", "lrn-ablation"], ["data", "list"]):
        more = "'repro.config.config'" if arguments[0] in ("--help", "list") else ""  # most of what they would take
        done = subprocess.run(
            [sys.executable, "-c", code.format(arguments=arguments, more=more)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [  # a mistake in the words is told before what a plan takes is imported
        (["lrn-ablatoin"], "numpy pydantic"),
        (["lrn-ablation", "--preset", "smok"], "numpy rich"),
        (["lrn-ablation", "--set", "optim.batch_sise=3"], "numpy rich"),
        (["lrn-ablation", "--max-seeds", "5"], "numpy rich"),
        (["lrn-ablation", "--arms", "lrn-ablation/no-lnr"], "numpy rich"),
        (["lrn-ablation", "--preset", "cifar10"], "torch"),
        (["--plan", "no-such-plan.json"], "torch"),
    ],
)
def test_a_refused_run_imports_nothing_heavy(arguments: list[str], heavy: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['repro', 'run', *{arguments!r}]\n"
        "from repro.commands.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        f"print(code, sorted({{'torch', *{heavy.split()!r}}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "2 []\n", done.stderr


def test_list_names_what_is_registered(repro: Repro) -> None:
    code, out, _ = repro("list", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0 and found["lrn-ablation"]["section"] == "3.3" and "smoke" in found["lrn-ablation"]["presets"]
    code, out, _ = repro("list")
    assert code == 0 and "lrn-ablation" in out


def test_a_refused_file_is_told_of_whatever_is_asked(repro: Repro, tmp_path: Path) -> None:
    text = "from repro import Experiment\n\nablation = Experiment(name='dropout-rate', seed=1)\n"
    (tmp_path / "mine.py").write_text(text)
    place = "mine.py:3: TypeError:"
    code, out, err = repro("show", "dropout-rate", "--include", "mine.py")
    assert code == 2 and not out and err.count("\n") == 1
    assert "no experiment 'dropout-rate'" in err and f"refused {place}" in err
    side = "lrn-ablation/with-lrn"
    asked = (["list"], ["show", "baseline"], ["plan", "baseline"], ["plan", "--all"], ["compare", side, side])
    for arguments in (*asked, ["report"]):
        code, out, err = repro(*arguments, "--include", "mine.py")
        assert code == 0 and out and err.startswith(f"refused {place}") and err.count("\n") == 1, arguments


def test_a_plan_as_json_says_what_is_not_prepared(repro: Repro) -> None:
    code, out, _ = repro("plan", "lrn-ablation", "--preset", "cifar10", "--seeds", "1", "--json")
    assert code == 0 and "repro data prepare cifar10" in json.loads(out)["unprepared"][0]


def test_bench_as_json_is_one_object_by_part(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    from repro import bench

    monkeypatch.setattr("importlib.import_module", lambda name: SimpleNamespace(measure=lambda quick: name))
    monkeypatch.setattr(bench, "as_json", lambda result: {"of": result})
    code, out, _ = repro("bench", "all", "--json")
    parts = ("loader", "step", "desk", "evidence")
    assert code == 0 and json.loads(out) == {part: {"of": f"repro.bench.{part}"} for part in parts}


def test_a_closed_standard_output_is_no_error(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m repro list >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr


def test_show_prints_the_card_the_config_and_the_model(repro: Repro) -> None:
    code, out, _ = repro("show", "lrn-ablation", "--preset", "paper")
    assert code == 0 and "model.norm=null" in out and "top1_error +1.4 points" in out and "ILSVRC-2012" in out
    code, out, _ = repro("show", "lrn-ablation", "--preset", "paper", "--config")
    assert code == 0 and json.loads(out)["optim"]["momentum"] == 0.9
    changes = ("--set", "schedule.steps=[2, 5]", "--set", "schedule.kind=steps")
    code, out, _ = repro("show", "lrn-ablation", "--preset", "smoke", *changes)
    command = "repro run lrn-ablation --preset smoke --set 'schedule.steps=[2, 5]' --set schedule.kind=steps"
    assert code == 0 and f"command   {command}\n" in out
    code, out, _ = repro("show", "baseline", "--preset", "paper", "--model")
    assert code == 0 and "60,965,224" in out and "659,272" in out


def test_compare_shows_both_readings(repro: Repro) -> None:
    code, out, _ = repro("compare", "--presets", "paper", "code-2012")
    assert code == 0 and "model.norm.scope" in out and "model.spatial_norm" in out


def test_compare_tells_arms_apart_that_read_one_run_by_two_views(repro: Repro, photos: Path, tmp_path: Path) -> None:
    from repro.commands.compare import compare_runs
    from repro.experiments.registry import load
    from repro.planning import plan

    results = tmp_path / "results"
    made = plan.make([load().get("ten-view")], "smoke", 1, {}, data=photos, results=results, tuned=False)
    store.write_setting(results, made.settings[0])
    run = made.runs[0]
    write_run(tmp_path / "results", run.config, run.digest, 0, 20.0)
    code, out, _ = repro("compare", "ten-view/center", "ten-view/ten", "--preset", "smoke")
    assert code == 0 and "the view it reads" in out and "nothing" not in out
    found = compare_runs(load(), "ten-view/center", "ten-view/ten", "smoke", {}, results=tmp_path / "results")
    view, effect = found.effects[0]
    assert (view, effect.metric, effect.paired) == ("center and ten", "top1_error", True)
    assert effect.interval and round(effect.interval.mean, 9) == -1.5  # by which the made-up views differ


def test_no_results_is_one_clear_line(repro: Repro) -> None:
    code, out, err = repro("report")
    assert code == 0 and out.count("\n") == 1 and "no results" in out and not err


def test_run_trains_once_then_reports_then_trains_nothing(repro: Repro, tmp_path: Path) -> None:
    run = ("run", "lrn-ablation", "--preset", "smoke", "--seeds", "1", "--untuned", *QUICK)
    code, out, err = repro(*run)
    assert code == 0, err
    records = sorted((tmp_path / "results").glob("runs/*/seed-0/run.json"))
    assert len(records) == 4 and "lrn-ablation.md" in out
    page = (tmp_path / "reports" / "lrn-ablation.md").read_text()
    frame = store.collect(tmp_path / "results")
    assert len(frame[frame["view"] == "ten"]) == 5, "four arms, and a reference with one run more"
    setting = store.read_settings(tmp_path / "results")[0][0]
    shown = stats.arm_summary(load().get("lrn-ablation"), setting, tmp_path / "results")["top1_error_mean"].dropna()
    assert all(f"{value:.1f}" in page for value in shown), "the report's numbers are those of results/"
    before = {path: path.stat().st_mtime_ns for path in records}
    code, out, err = repro(*run)
    assert code == 0 and "To do" not in out
    assert {path: path.stat().st_mtime_ns for path in records} == before

    code, out, _ = repro("plan", "lrn-ablation", "--seeds", "1", "--untuned", "--json", *QUICK[:-4])
    plan = json.loads(out)
    assert code == 0 and all(run["finished"] for run in plan["runs"]) and plan["cost"]["runs"] == 0
    digests = [run["digest"] for run in plan["runs"]]
    for scale in ((), QUICK[:-4]):
        sides = ("lrn-ablation/with-lrn", "lrn-ablation/no-lrn") if scale else digests[:2]
        code, out, err = repro("compare", *sides, *scale)
        assert code == 0 and "model.norm" in out, err
        assert "did not train: 1 of 1 runs ended within 1 point of chance" in out  # after one epoch of 60 images
    code, _, err = repro("compare", *digests[:2], "--preset", "smoke")
    assert code == 2 and "the digest of a run says it already" in err


def test_a_run_that_fails_does_not_stop_the_others(
    repro: Repro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repro.training import execute

    whole = execute.build

    def fail_without_norm(config: object, seed: int) -> object:
        if config.model.norm is None:  # type: ignore[attr-defined]
            raise RuntimeError("made up: out of memory")
        return whole(config, seed)  # type: ignore[arg-type]

    monkeypatch.setattr(execute, "build", fail_without_norm)
    code, out, _ = repro("run", "lrn-ablation", "--preset", "smoke", "--seeds", "1", "--untuned", *QUICK)
    assert code == 1 and "made up: out of memory" in out
    assert len(list((tmp_path / "results").glob("runs/*/seed-0/run.json"))) == 3
    failed = list((tmp_path / "results").glob("runs/*/seed-0/failed.json"))
    assert len(failed) == 1 and "out of memory" in failed[0].read_text()
    monkeypatch.setattr(execute, "build", whole)
    code, _, _ = repro("run", "lrn-ablation", "--preset", "smoke", "--seeds", "1", "--untuned", *QUICK)
    assert code == 0 and not list((tmp_path / "results").glob("runs/*/seed-0/failed.json"))


def test_an_interrupted_run_says_how_to_go_on(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("repro.commands.sweep.sweep", interrupted)
    code, _, err = repro("run", "lrn-ablation")
    assert code == 130 and err == "stopped; the same line goes on where it was\n"


def test_a_notice_to_end_is_heard_before_torch_is_imported(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("repro.planning.plan.make", make)
    code, _, err = repro("run", "lrn-ablation")
    assert code == 128 + signal.SIGTERM and err == "stopped; the same line goes on where it was\n"


def test_data_list_prepare_verify(repro: Repro, tmp_path: Path) -> None:
    place = ("--data-dir", str(tmp_path / "pictures"))
    assert "nothing is prepared" in repro("data", "list", *place)[1]
    code, out, err = repro("data", "prepare", "photos", "--size", "16", *place)
    assert code == 0 and "training" in out, err
    code, out, _ = repro("data", "list", "--json", *place)
    listed = json.loads(out)
    assert code == 0 and listed[0]["source"] == "photos" and listed[0]["size"] == 16
    assert repro("data", "verify", *place)[0] == 0
    cut = tmp_path / "pictures" / "mine-64-short-crop-raw" / "manifest.json"
    cut.parent.mkdir()
    cut.write_text("{")
    code, out, err = repro("data", "list", "--json", *place)
    assert code == 0 and json.loads(out) == listed and f"damaged: {cut}" in err
    cut.unlink()
    beton = next((tmp_path / "pictures").glob("*/train.beton"))
    content = bytearray(beton.read_bytes())
    content[len(content) // 2] ^= 1
    beton.write_bytes(bytes(content))
    code, out, _ = repro("data", "verify", *place)
    assert code == 1 and "train.beton" in out


def test_doctor_says_what_is_there(repro: Repro) -> None:
    code, out, _ = repro("doctor")
    assert code == 0 and "torch" in out and "ffcv" in out.lower()


def test_completion_completes_experiment_names() -> None:
    assert "lrn-ablation" in options.complete_experiment("lrn") and not options.complete_experiment("zzz")
    assert "code-2012" in options.complete_preset("code")


def test_until_decided_adds_seeds_up_to_the_most(repro: Repro, tmp_path: Path) -> None:
    run = ("run", "overlapping-pooling", "--preset", "smoke", "--seeds", "1", "--until-decided", "--max-seeds", "3")
    code, _, err = repro(*run, *QUICK)
    assert code == 0, err
    path = next((tmp_path / "results" / "experiments" / "overlapping-pooling").glob("*.json"))
    setting = store.read_setting(path)
    assert (setting.seeds, setting.looks) == (3, (3,))  # a verdict takes three, and three are the most: one look
    records = (tmp_path / "results").glob("runs/*/seed-?/run.json")
    assert len(list(records)) == 3 * len(setting.arms) + 3 * len(setting.common)
    assert "more than one look" not in (tmp_path / "reports" / "overlapping-pooling.md").read_text()
