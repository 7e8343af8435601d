"""The commands that look after results: status, logs, retry, gc, open; a sweep with a budget, and a new experiment."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from repro import store
from repro.bench.made_up import write_run
from repro.commands import terminal
from repro.experiments import template
from repro.experiments.registry import load
from repro.planning import budget, plan, progress
from repro.records import Epoch
from repro.training.claim import FILE, Claim
from repro.training.events import EpochDone, Started, Warned
from tests.conftest import QUICK, Repro

NAME = "overlapping-pooling"
SETTING = ("--preset", "smoke", "--seeds", "2", "--untuned", *QUICK)


@pytest.fixture
def made(photos: Path, tmp_path: Path) -> plan.Plan:
    """Two arms of two seeds; the first run is finished, the others are not begun."""
    results = tmp_path / "results"
    found = plan.make([load().get(NAME)], "smoke", 2, {}, data=photos, results=results, tuned=False)
    store.write_setting(results, found.settings[0])
    write_run(results, found.runs[0].config, found.runs[0].digest, found.runs[0].seed, 40.0)
    return found


def begin(results: Path, run: plan.Run, epochs: int) -> Path:
    """Write metrics as a run does; returns its folder."""
    folder = store.run_directory(results, run.digest, run.seed)
    lines = [
        Epoch(epoch=epoch, train_loss=2.0, train_error=80.0, learning_rate=0.01, bias_learning_rate=0.02, seconds=30.0)
        for epoch in range(1, epochs + 1)
    ]
    store.write_atomically(folder / "metrics.jsonl", "".join(json.dumps(one.numbers) + "\n" for one in lines))
    return folder


def test_status_says_what_runs_how_far_it_is_and_what_failed(repro: Repro, made: plan.Plan, tmp_path: Path) -> None:
    results, (_, running, failed, stopped, *_) = tmp_path / "results", made.runs
    store.write_json(begin(results, failed, 1) / "failed.json", {"reason": "made up: out of memory"})
    begin(results, stopped, 3)
    with Claim(begin(results, running, 2)).held():
        code, out, err = repro("status", "--json")
        shown = repro("status")[1]
    found = json.loads(out)
    runs = {one["name"]: one for one in found["runs"]}
    epochs = running.config.schedule.epochs
    assert code == 0 and not err
    assert [one["state"] for one in found["runs"]] == ["running", "failed", "stopped"]
    assert (runs[running.name]["epoch"], runs[running.name]["epochs"]) == (2, epochs)
    assert runs[running.name]["seconds_left"] == 30.0 * (epochs - 2)
    assert runs[running.name]["used_by"] == list(running.used_by)
    assert runs[failed.name]["reason"] == "made up: out of memory"
    (setting,) = found["settings"]
    states = {name: setting[name] for name in ("asked", "finished", "running", "failed", "waiting")}
    assert states == {"asked": len(made.runs), "finished": 1, "running": 1, "failed": 1, "waiting": 0}
    begun = (epochs - 2) + (epochs - 1) + (epochs - 3)
    assert found["seconds_left"] == setting["seconds_left"] == 30.0 * begun
    assert f"1 run at work in results; about {terminal.span(found['seconds_left'])} left" in shown
    assert f"{running.name}\trunning\t2 of {epochs}\t" in shown and "`repro retry` forgets failures" in shown


def test_runs_that_have_not_begun_are_counted_at_the_pace_of_their_arm(made: plan.Plan, tmp_path: Path) -> None:
    results, run = tmp_path / "results", made.runs[1]
    begin(results, run, 1)
    (setting,) = progress.progress({NAME: load().get(NAME)}, results).settings
    own = store.read_metrics(results, made.runs[0].digest, 0)[0].seconds  # of the finished run: the other arm
    epochs = run.config.schedule.epochs
    assert setting.seconds_left == 30.0 * (epochs - 1) + own * epochs + 30.0 * epochs


def test_a_lease_that_nobody_touches_any_more_is_no_run_at_work(made: plan.Plan, tmp_path: Path) -> None:
    folder = begin(tmp_path / "results", made.runs[1], 1)
    claim = Claim(folder)
    with claim.held():
        assert progress.is_held(folder)
        text = (folder / FILE).read_text()
    assert not progress.is_held(folder), "it was let go"
    (folder / FILE).write_text(text.replace(f"pid={os.getpid()}", "pid=999999999"))
    assert not progress.is_held(folder), "its process is gone"
    (folder / FILE).write_text(text.replace("host=", "host=another-"))
    assert progress.is_held(folder), "another machine touched it just now"
    os.utime(folder / FILE, (1e9, 1e9))
    assert not progress.is_held(folder), "its holder shows no sign of life"


def test_status_of_no_results_and_of_settings_nobody_declares(repro: Repro, made: plan.Plan, tmp_path: Path) -> None:
    code, out, _ = repro("status", "--results-dir", str(tmp_path / "none"))
    assert (code, out) == (0, f"nothing runs in {tmp_path / 'none'}\n")
    found = progress.progress({}, tmp_path / "results")
    assert [one.seconds_left for one in found.settings] == [None], "no declaration says how long its runs are"


def test_logs_shows_the_epochs_of_a_run(repro: Repro, made: plan.Plan, tmp_path: Path) -> None:
    run = made.runs[0]
    code, out, _ = repro("logs", run.name)
    epochs = store.read_metrics(tmp_path / "results", run.digest, run.seed)
    assert code == 0 and out.startswith("epoch\tloss\ttraining error\t")
    assert sum(line.split("\t")[0].isdecimal() for line in out.splitlines()) == len(epochs) > 0
    assert "ten view: top-1 error " in out
    code, out, _ = repro("logs", run.digest[:6], "--json")
    assert code == 0 and json.loads(out)["run"] == run.name and len(json.loads(out)["epochs"]) == len(epochs)
    begin(tmp_path / "results", plan.replace(run, seed=1), 1)
    code, _, err = repro("logs", run.digest)
    assert code == 2 and f"is the beginning of {run.digest}/seed-0, {run.digest}/seed-1; write more of it" in err
    code, _, err = repro("logs", "nothing")
    assert code == 2 and "nothing: no run in results is called so" in err


def test_retry_forgets_the_failures_of_an_experiment(repro: Repro, made: plan.Plan, tmp_path: Path) -> None:
    run = made.runs[1]
    folder = begin(tmp_path / "results", run, 1)
    store.write_json(folder / "failed.json", {"reason": "made up: out of memory"})
    assert repro("retry", "lrn-ablation")[1] == "no run has failed\n" and (folder / "failed.json").is_file()
    with Claim(folder).held():
        assert repro("retry", NAME)[1] == "no run has failed\n", "somebody is at it again"
    code, out, _ = repro("retry", NAME)
    assert (
        code == 0 and f"{run.name} ({', '.join(run.used_by)}): made up: out of memory\n1 run to be tried again" in out
    )
    assert not (folder / "failed.json").exists() and (folder / "metrics.jsonl").is_file()


def test_gc_deletes_what_no_run_needs_and_only_with_yes(repro: Repro, made: plan.Plan, tmp_path: Path) -> None:
    results, run = tmp_path / "results", made.runs[0]
    finished = store.run_directory(results, run.digest, run.seed)
    unfinished = begin(results, made.runs[1], 1)
    unnamed = results / "runs" / ("0" * 12) / "seed-0"
    shutil.copytree(finished, unnamed)
    record = (unnamed / "run.json").read_text().replace(run.digest, "0" * 12)
    (unnamed / "run.json").write_text(record)
    for folder in (finished, unfinished, unnamed):
        (folder / "checkpoint.pt").write_bytes(b"x" * 1000)
    code, out, _ = repro("gc")
    assert code == 0 and "repro gc --yes deletes the checkpoints of 1 run, 1.0 kB" in out
    assert "the run is not finished\t1\t1.0 kB" in out and "no setting names the run" in out
    with Claim(finished).held():
        assert "no checkpoint may go" in repro("gc", "--yes")[1]
    assert (finished / "checkpoint.pt").is_file()
    code, out, _ = repro("gc", "--yes")
    assert code == 0 and "deleted the checkpoints of 1 run, 1.0 kB" in out
    left = sorted(results.glob("runs/*/*/checkpoint.pt"))
    assert left == sorted(folder / "checkpoint.pt" for folder in (unfinished, unnamed))


def test_gc_keeps_a_checkpoint_off_which_more_is_to_be_read(repro: Repro, made: plan.Plan, tmp_path: Path) -> None:
    run = made.runs[0]
    folder = store.run_directory(tmp_path / "results", run.digest, run.seed)
    (folder / "checkpoint.pt").write_bytes(b"x")
    (folder / "predictions-ten.npz").unlink()
    code, out, _ = repro("gc", "--json")
    (one,) = json.loads(out)["runs"]
    assert code == 0 and one["kept"] == "still to be read off it: ten"


def test_open_shows_the_page_in_the_browser(repro: Repro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    opened: list[str] = []
    code, _, err = repro("open")
    assert code == 2 and "run: repro report --html" in err
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("")
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert repro("open")[0] == 0 and opened == [(tmp_path / "reports" / "index.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    code, _, err = repro("open")
    assert code == 2 and "no browser answers here; open file://" in err


def test_new_writes_the_example_of_the_tutorial_under_its_name(repro: Repro, tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "new_experiment.md").read_text()
    assert f"```python\n{template.TEXT}```" in page
    code, out, _ = repro("new", "learning-rate")
    path = tmp_path / "ablations" / "learning_rate.py"
    assert code == 0 and path.read_text() == template.TEXT.replace(template.EXAMPLE, "learning-rate")
    command = out.split("then: repro ")[1].split()
    code, out, err = repro(*command)
    assert code == 0 and out.startswith("learning-rate: ") and not err
    path.write_text("mine")
    code, _, err = repro("new", "learning-rate")
    assert code == 2 and "is there already" in err and path.read_text() == "mine"
    for name, expected in (("lrn-ablation", "is an experiment already"), ("My Own", "lower-case letters")):
        code, _, err = repro("new", name)
        assert code == 2 and expected in err and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1.5h", 5400), ("90s", 90), ("2 d", 172800), ("45min", 2700)]
)
def test_a_budget_has_a_unit(text: str, seconds: float) -> None:
    assert budget.seconds_in(text) == seconds
    for wrong in ("30", "0m", "-5m", "m", "1h30"):
        with pytest.raises(ValueError, match="write a number and its unit"):
            budget.seconds_in(wrong)


def test_a_budget_takes_searches_first_and_a_seed_of_all_arms_before_the_next(photos: Path, tmp_path: Path) -> None:
    found = plan.make([load().get(NAME)], "smoke", 2, {}, data=photos, results=tmp_path, tuned=False).runs
    runs = [*found, plan.replace(found[0], seed=1000, search=True)]
    everything = budget.within(runs, 100.0, 1, lambda run: 1.0)
    assert [run.search for run in everything] == [True] + [False] * len(found)
    of_seed_0 = {run.used_by for run in found if run.seed == 0}
    assert {run.used_by for run in everything[1 : 1 + len(of_seed_0)]} == of_seed_0
    assert budget.within(runs, 2.5, 1, lambda run: 1.0) == everything[:2]
    assert budget.within(runs, 2.5, 2, lambda run: 1.0) == everything[:4], "two at once do twice as many"
    long = everything[1]
    assert budget.within(runs, 2.0, 1, lambda run: 9.0 if run == long else 1.0) == [everything[0], everything[2]]
    assert budget.within(runs, 0.5, 1, lambda run: 1.0) == []


def test_a_sweep_with_a_budget_does_what_fits_and_goes_on_later(repro: Repro, tmp_path: Path) -> None:
    code, out, err = repro("run", NAME, *SETTING, "--budget", "0.001s")
    assert code == 0 and " missing runs fit." in out, err  # its time is a guess
    assert not list(tmp_path.glob("results/runs/*/*/run.json"))
    code, out, err = repro("run", NAME, *SETTING, "--budget", "1h")
    assert code == 0 and "1 of 4 missing runs fit" in out and "3 of 3 missing runs fit" in out, err
    assert len(list(tmp_path.glob("results/runs/*/*/run.json"))) == 4


def test_progress_in_a_pipe_counts_runs_and_labels_errors(made: plan.Plan, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (run.name for run in made.runs[:2])

    with terminal.progress({one: "a seed 0", two: "b seed 0"}, 2) as listen:
        listen(Started(one, 4, 10, 0, 0))
        listen(
            EpochDone(one, Epoch(epoch=2, train_loss=2.0, train_error=80.0, test_top1_error=70.0, test_top5_error=20.0))
        )
        listen(Started(two, 4, 10, 0, 0))
        listen(EpochDone(two, Epoch(epoch=4, train_loss=1.0, train_error=60.0)))
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("run 1 of 2: a seed 0: epoch 2/4, ")
    assert "test error top-1 70.0%, top-5 20.0%, " in first and first.endswith(" left in all")
    assert second.startswith("run 2 of 2: b seed 0: epoch 4/4, ")


def test_progress_counts_runs_and_not_what_a_launcher_tells_of_itself(
    made: plan.Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (run.name for run in made.runs[:2])
    with terminal.progress({one: "a seed 0", two: "b seed 0"}, 2) as listen:
        for name in ("cluster", one, two):
            listen(Warned(name, "is there"))
    assert capsys.readouterr().out.splitlines() == [
        "cluster: is there", "run 1 of 2: a seed 0: is there", "run 2 of 2: b seed 0: is there"
    ]  # fmt: skip


def test_a_run_that_is_begun_again_has_one_bar(made: plan.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, force_terminal=True, width=100))
    name = made.runs[0].name
    with terminal.progress({name: "a seed 0"}, 1) as listen:
        listen(Started(name, 4, 10, 0, 0))
        listen(Started(name, 4, 10, 3, 0))
    last = out.getvalue().rpartition("runs")[2]
    assert last.count("a seed 0") == 1 and "3/4" in last and "0/4" not in last
