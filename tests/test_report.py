"""Reports: what stands on the pages is what stands in results/, and the same results give the same bytes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repro import Arm, Claim, Experiment, Search, paper, report, stats, store
from repro.bench.made_up import write_run, write_setting
from repro.commands.terminal import claim_text
from repro.config import config, keys, presets
from repro.experiments import registry
from repro.report import contents, drawing, figures, tables, words
from repro.report.gather import Score, counted_scores, gather
from tests.conftest import Repro

LEVELS = {"with-lrn": 30.0, "no-lrn": 33.0, "conv1-only": 31.0, "conv2-only": 32.0}


@pytest.fixture(scope="module")
def experiments() -> list[Experiment]:
    return list(registry.load().experiments.values())


def named(experiments: Sequence[Experiment], name: str) -> Experiment:
    return next(one for one in experiments if one.name == name)


@pytest.fixture(scope="module")
def built(experiments: list[Experiment], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Path]]:
    """One setting of lrn-ablation, reported in every format: results, reports, paths written."""
    results, reports = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("reports")
    write_setting(results, named(experiments, "lrn-ablation"), "smoke", LEVELS)
    return results, reports, report.build(experiments, None, results, reports, formats=report.FORMATS).files


def test_no_results_writes_nothing(experiments: list[Experiment], tmp_path: Path) -> None:
    assert report.build(experiments, None, tmp_path / "results", tmp_path / "reports").files == []
    assert not (tmp_path / "reports").exists()


def test_unknown_format_is_refused(experiments: list[Experiment], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--format word: known are latex, csv"):
        report.build(experiments, None, tmp_path, tmp_path / "reports", formats=["word"])


def test_the_same_results_give_the_same_bytes(
    experiments: list[Experiment], built: tuple[Path, Path, list[Path]], tmp_path: Path
) -> None:
    results, reports, written = built
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in written}
    assert report.build(experiments, None, results, reports, formats=report.FORMATS).files == written
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in written} == before
    moved = shutil.copytree(results, tmp_path / "elsewhere")
    for path in report.build(experiments, None, moved, tmp_path / "reports", formats=report.FORMATS).files:
        assert path.read_bytes() == before[reports / path.relative_to(tmp_path / "reports")][0], path


DRAWN: list[Sequence[figures.Mark]] = []


def drawn_once(marks: Sequence[figures.Mark]) -> Any:
    """An effect plot that notes each time that it is drawn."""
    DRAWN.append(marks)
    return figures.effects(marks)


def test_a_figure_is_drawn_again_only_for_other_numbers(tmp_path: Path) -> None:
    DRAWN.clear()
    path = tmp_path / "figure.png"
    first = [figures.Mark("a", "points", stats.Interval(1.0, 0.5, 1.5, "t over seeds"), 1.4)]
    path.write_bytes(drawing.png(path, drawn_once, first))
    assert drawing.png(path, drawn_once, first) == path.read_bytes()
    assert len(DRAWN) == 1
    other = [figures.Mark("a", "points", stats.Interval(1.0, 0.5, 1.6, "t over seeds"), 1.4)]
    assert drawing.png(path, drawn_once, other) != path.read_bytes()
    assert len(DRAWN) == 2
    with Image.open(path) as figure:  # a whole PNG with the digest inside, 900 pixels wide at 1.5 times
        figure.load()
        assert figure.width == 1350
    path.write_bytes(path.read_bytes()[:50])
    assert drawing.png(path, drawn_once, first)[:8] == b"\x89PNG\r\n\x1a\n", "a damaged one is drawn again"


def test_an_svg_is_text_in_the_colors_of_the_page_and_the_same_every_time() -> None:
    marks = [figures.Mark("a < b", "points", stats.Interval(1.0, 0.5, 1.5, "t"), 1.4, key="a")]
    first = drawing.svg(figures.effects, marks)
    assert first == drawing.svg(figures.effects, marks)
    assert 'id="mark-a"' in first and "a &lt; b" in first and "currentColor" in first
    own = re.sub(r"var\([^)]*\)", "", first)
    assert not any(color in own for color in drawing.OF_PAGE)
    assert "DejaVu Sans', Verdana" in first and "<metadata>" not in first


def test_the_table_says_what_the_runs_say(built: tuple[Path, Path, list[Path]]) -> None:
    results, reports, _ = built
    page = (reports / "lrn-ablation.md").read_text()
    frame = store.collect(results)
    setting = store.read_settings(results)[0][0]
    for arm, digest in setting.arms.items():
        errors = frame[(frame.digest == digest) & (frame.view == "ten")].top1_error_percent
        assert f"| 3 of 3 | {errors.mean():.2f} ± {errors.std():.2f} |" in page, arm


def test_the_scoreboard_says_what_the_statistics_say(
    experiments: list[Experiment], built: tuple[Path, Path, list[Path]]
) -> None:
    results, reports, _ = built
    setting = store.read_settings(results)[0][0]
    judged = stats.judge(named(experiments, "lrn-ablation"), setting, results)[0]
    assert judged.estimate is not None
    index = (reports / "index.md").read_text()
    (row,) = [line for line in index.splitlines() if "no-lrn against with-lrn" in line and "`smoke`" in line]
    low, high = (words.number(end, signed=True) for end in (judged.estimate.low, judged.estimate.high))
    assert f"top-1: {words.number(judged.estimate.mean, signed=True)} points [{low}, {high}]" in row
    assert "top-1: +1.4 points<br>top-5: +1.2 points" in row
    assert "top-1: +1.37 points<br>top-5: +1.15 points" in row  # runs 148 minus 145
    assert judged.verdict == "not tuned" and judged.verdict in row


def test_every_claim_has_a_row_even_when_nothing_was_run(
    experiments: list[Experiment], built: tuple[Path, Path, list[Path]]
) -> None:
    _, reports, _ = built
    index = (reports / "index.md").read_text()
    rows = [line for line in index.splitlines() if line.startswith("| ") and line.count(" | ") == 8]
    for experiment in experiments:
        told = [row for row in rows if re.search(rf"\b{re.escape(experiment.name)}\b", row.split("|")[2])]
        assert len(told) >= len(experiment.claims), experiment.name
        if experiment.name != "lrn-ablation":
            assert all("not evaluated" in row for row in told)


def test_every_link_of_a_page_leads_somewhere(built: tuple[Path, Path, list[Path]]) -> None:
    for page in built[2]:
        if page.suffix == ".md":
            for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
                assert (page.parent / target).is_file(), (page, target)


def test_csv_holds_full_precision_and_units(built: tuple[Path, Path, list[Path]]) -> None:
    results, reports, _ = built
    rows = list(csv.DictReader(io.StringIO((reports / "scoreboard.csv").read_text())))
    row = next(one for one in rows if (one["arm"], one["metric"], one["setting"]) == ("no-lrn", "top1_error", "smoke"))
    frame, setting = store.collect(results), store.read_settings(results)[0][0]
    ten = frame[frame.view == "ten"].set_index("digest").top1_error_percent
    effect = (ten[setting.arms["no-lrn"]].to_numpy() - ten[setting.arms["with-lrn"]].to_numpy()).mean()
    assert row["unit"] == "points"
    assert float(row["estimate"]) == pytest.approx(effect, abs=1e-9)
    assert float(row["published"]) == 1.4
    arms = list(csv.DictReader(io.StringIO((reports / "lrn-ablation" / "smoke-arms.csv").read_text())))
    for arm in arms:
        assert float(arm["top1_error_percent_mean"]) == pytest.approx(ten[setting.arms[arm["arm"]]].mean())
        assert float(arm["gap_points_mean"]) == pytest.approx(6.5)  # both errors of the center view


def test_latex_escapes_what_latex_would_read() -> None:
    import pandas as pd

    table = tables.ReportTable(
        "t", "100% of a_b & c", ["x (%)"], [["\N{MINUS SIGN}1.0 ± 0.1"], ["`model.norm` \\"]], pd.DataFrame()
    )
    text = tables.latex(table, "lrn-t")
    assert r"\label{tab:lrn-t}" in text
    assert r"\caption{100\% of a\_b \& c}" in text
    assert r"$-$1.0 $\pm$ 0.1 \\" in text
    assert r"model.norm \textbackslash{} \\" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_no_latex_table_holds_markdown_and_no_csv_the_tail_of_a_binary_fraction(
    built: tuple[Path, Path, list[Path]],
) -> None:
    for path in built[2]:
        text = path.read_text() if path.suffix in (".tex", ".csv") else ""
        assert "](" not in text and "`" not in text, path
        assert not re.search(r"\d\.\d*(?:0000000|9999999)\d*", text), path


def test_errors_are_said_to_be_of_the_view_that_each_arm_reads(experiments: list[Experiment], tmp_path: Path) -> None:
    experiment = named(experiments, "ten-view")
    write_setting(tmp_path, experiment, "smoke", {"center": 30.0}, seeds=1)
    (part,) = gather([experiment], tmp_path).parts
    told = "center view (center), two views (flips), ten views (ten), dense views (dense)"
    assert contents.views(part) == told


def test_partial_settings_say_so(experiments: list[Experiment], tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    setting = write_setting(results, named(experiments, "lrn-ablation"), "smoke", LEVELS, seeds=5, finished=2)
    begun = store.run_directory(results, setting.arms["no-lrn"], 2) / "metrics.jsonl"
    begun.parent.mkdir(parents=True)
    begun.write_text('{"epoch": 1, "train_error": 60.0}\n')
    report.build(experiments, ["lrn-ablation"], results, reports)
    text = (reports / "lrn-ablation.md").read_text()
    assert "8 of 20 runs are finished: **this report is partial** (1 begun)" in text
    assert "| 2 of 5 |" in text
    assert "`repro run lrn-ablation --preset smoke --seeds 5 --untuned`" in text


def test_damage_is_listed_and_left_out(experiments: list[Experiment], tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    setting = write_setting(results, named(experiments, "lrn-ablation"), "smoke", LEVELS)
    cut = store.run_directory(results, setting.arms["no-lrn"], 1) / "run.json"
    cut.write_text(cut.read_text()[:100])
    old = store.run_directory(results, setting.arms["with-lrn"], 2) / "run.json"
    old.write_text(old.read_text().replace('"schema": 3', '"schema": 0'))
    (results / "experiments" / "lrn-ablation" / "broken.json").write_text("{")
    gone = results / "experiments" / "gone" / "smoke.json"
    gone.parent.mkdir()
    gone.write_text(
        json.dumps({"experiment": "gone", "preset": "smoke", "changes": {}, "seeds": 1, "arms": {}, "schema": 1})
    )
    report.build(experiments, None, results, reports)
    index, page = (reports / "index.md").read_text(), (reports / "lrn-ablation.md").read_text()
    assert f"`runs/{setting.arms['no-lrn']}/seed-1/run.json`: cannot be read" in index
    assert "written with a schema that this version cannot read" in index
    assert "`experiments/lrn-ablation/broken.json`: cannot be read" in index
    assert "`experiments/gone/smoke.json`: no experiment 'gone' is registered" in index
    assert str(tmp_path) not in index + page
    assert "10 of 12 runs are finished" in page


def test_files_of_finished_runs_that_cannot_be_read_are_listed(
    repro: Repro, experiments: list[Experiment], tmp_path: Path
) -> None:
    setting = write_setting(tmp_path / "results", named(experiments, "lrn-ablation"), "smoke", LEVELS)
    assert repro("report")[2] == ""

    def file(arm: str, seed: int, name: str) -> Path:
        return store.run_directory(Path("results"), setting.arms[arm], seed) / name

    cut, gone = file("no-lrn", 0, "predictions-ten.npz"), file("no-lrn", 1, "predictions-center.npz")
    cut.write_bytes(cut.read_bytes()[:-100])
    gone.unlink()
    empty, wrong = file("with-lrn", 0, "metrics.jsonl"), file("with-lrn", 2, "metrics.jsonl")
    empty.write_text("")
    wrong.write_text("{}\n" + wrong.read_text())
    code, _, err = repro("report")
    assert (code, err) == (0, "left out 4 places in results; reports/index.md says why\n")
    for page in ("index.md", "lrn-ablation.md"):
        text = Path("reports", page).read_text()
        for path, reason in (
            (cut, "is not what the run wrote (its SHA-256 is another); `repro run` makes it again"),
            (gone, "is not there; `repro run` makes it again"),
            (empty, "0 of 6 epochs can be read"),
            (wrong, "0 of 6 epochs can be read"),
        ):
            assert f"- `{path.relative_to('results').as_posix()}`: {reason}" in text
    (part,) = gather([named(experiments, "lrn-ablation")], Path("results")).parts
    assert set(part.curves[part.curves["arm"] == "with-lrn"]["seed"]) == {1}, "the whole file is left out"


def test_changes_are_part_of_the_command_and_of_the_file_names(experiments: list[Experiment], tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    changes = {"optim.batch_size": 16, "optim.learning_rate": 0.02}
    setting = write_setting(results, named(experiments, "lrn-ablation"), "smoke", {"with-lrn": 30.0}, changes=changes)
    report.build(experiments, ["lrn-ablation"], results, reports)
    page = (reports / "lrn-ablation.md").read_text()
    assert "--seeds 3 --untuned --set optim.batch_size=16 --set optim.learning_rate=0.02`" in page
    assert (reports / "lrn-ablation" / f"{setting.name}-curves.png").is_file()
    assert "| optim.batch_size | 128 | 16 |" in page
    told = f"- `{setting.name}`: preset smoke with optim.batch_size = 16, optim.learning_rate = 0.02"
    assert told in (reports / "index.md").read_text(), "the index says what the name of a scale stands for"


RACE = Experiment(
    name="race",
    question="Is relu faster?",
    factor="model.activation",
    section="3.1",
    arms=[Arm("relu"), Arm("tanh", {"model.activation": "tanh"})],
    presets=["smoke"],
    claims=[Claim.ratio("tanh", "relu", times=6.0, source="Figure 1", measured=paper.CIFAR_TRAIN)],
    search=Search(values=(0.001, 0.01), metric="epochs_to_target", seeds=(1000,), extensions=0),
)


SEEDS = {"search_seeds": [1000]}


def test_figure_1_and_the_search(tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    changes = {"schedule.stop_train_error": 25.0}
    asked = write_setting(
        results, RACE, "smoke", {"relu": 20.0, "tanh": 21.0}, changes=changes, target_epochs={"relu": 5.0, "tanh": 30.0}
    )
    base = keys.override(presets.preset("smoke"), changes)
    tried = {str(value): keys.override(base, {"optim.learning_rate": value}) for value in (0.001, 0.01)}
    digests = {value: config.digest(one, "made-up") for value, one in tried.items()}
    write_run(results, tried["0.001"], digests["0.001"], 1000, 20.0, spread=0.0, target=12.0)
    write_run(results, tried["0.01"], digests["0.01"], 1000, 20.0, spread=0.0, target=5.0)
    others = {  # never reached, diverged, not finished
        str(value): keys.override(base, {"optim.learning_rate": value, "model.activation": "tanh"})
        for value in (0.001, 0.01, 0.1)
    }
    lost = {value: config.digest(one, "made-up") for value, one in others.items()}
    write_run(results, others["0.001"], lost["0.001"], 1000, 50.0, spread=0.0)
    write_run(results, others["0.01"], lost["0.01"], 1000, 90.0, spread=0.0)
    diverged = store.run_directory(results, lost["0.01"], 1000) / "run.json"
    diverged.write_text(json.dumps({**json.loads(diverged.read_text()), "diverged": True}))
    path = results / "experiments" / "race" / f"{asked.name}.json"
    path.write_text(
        json.dumps(
            {**json.loads(path.read_text()), "searches": {"relu": digests, "tanh": lost}, "search_seeds": [1000]}
        )
    )
    report.build([RACE], None, results, reports)
    page = (reports / "race.md").read_text()
    assert f"](race/{asked.name}-figure1.png)" in page
    assert "Searched first: `optim.learning_rate` among 0.001, 0.01, 0.1, for each arm" in page, "as the runs did"
    assert "| relu | 0.001 | 12.00 | 15.00 |  |" in page
    assert "| relu | 0.01 | 5.00 | 15.00 | taken, the largest tried: a better one may lie beyond |" in page
    assert "| tanh | 0.001 | never reached | 45.00 |  |" in page
    assert "| tanh | 0.01 | diverged | diverged |  |" in page
    assert "| tanh | 0.1 | not finished | not finished |  |" in page
    assert "| search | 4 | 7.2 |" in page, "its runs cost time too"
    diverged.write_text("{")
    report.build([RACE], None, results, reports)
    page = (reports / "race.md").read_text()
    assert "| tanh | 0.01 | not finished | not finished |  |" in page
    assert f"`runs/{lost['0.01']}/seed-1000/run.json`: cannot be read" in page
    assert "| 6.0 times | 6.56 times [" in page, "and the finished runs are still there"


def test_arms_that_wait_for_their_search_count_as_asked_for(tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    searches = {arm: {"0.01": letter * 12} for arm, letter in (("relu", "a"), ("tanh", "b"))}
    store.write_setting(results, store.Setting("race", "smoke", {}, 3, {}, searches, search_seeds=(1000,)))
    report.build([RACE], None, results, reports)
    page = (reports / "race.md").read_text()
    assert "0 of 6 runs are finished: **this report is partial** (2 arms wait for their search)." in page
    assert "### Cost" not in page and "### Provenance" not in page, "nothing has run"
    assert "Again: `repro run race" in page


def test_runs_of_another_declaration_are_named_and_left_out(tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    asked = write_setting(results, RACE, "smoke", {"relu": 20.0, "tanh": 21.0})
    sides = {"relu": {}, "tanh": {"model.activation": "tanh"}}
    base = presets.preset("smoke")
    tried = {arm: keys.override(base, {**own, "optim.learning_rate": 0.01}) for arm, own in sides.items()}
    searches = {arm: {"0.01": config.digest(one, "made-up")} for arm, one in tried.items()}
    for arm, one in tried.items():
        write_run(results, one, searches[arm]["0.01"], 1000, 20.0)
    path = store.write_setting(results, replace(asked, searches=searches, search_seeds=(1000,)))

    def page(experiment: Experiment) -> str:
        report.build([experiment], None, results, reports, html=True)
        return (reports / "race.md").read_text()

    assert "declared otherwise" not in page(RACE), "a value that was declared later changes no run"
    assert "6 of 6 runs are finished." in page(RACE)
    changed = replace(RACE, arms=[Arm("relu"), Arm("tanh", {"model.activation": "sigmoid"})])
    told = page(changed)
    where = path.relative_to(results).as_posix()
    assert f"- `{where}`: arm 'tanh' is declared otherwise since these runs; run it again" in told
    assert "3 of 6 runs are finished: **this report is partial**" in told
    assert "| tanh | model.activation = sigmoid |" in told and "| tanh | \N{EN DASH} | \N{EN DASH} |" in told
    assert "| tanh | 0.01 |" not in told, "nor does its search stand there"
    assert f"`{where}`: arm 'tanh' is declared otherwise" in (reports / "index.md").read_text()
    gone = replace(RACE, arms=[Arm("relu")], claims=[])
    told = page(gone)
    assert "arm 'tanh' is not declared any more" in told and "3 of 3 runs are finished." in told
    assert "| tanh |" not in told, "not in the table of costs either"


SHOWN = Experiment(
    name="shown",
    question="What do the kernels look like?",
    factor="nothing",
    section="6.1",
    arms=[Arm("alexnet")],
    presets=["smoke", "cifar10"],
    artifacts=["kernels", "neighbors"],
)


@pytest.mark.parametrize(("preset", "published"), [("smoke", True), ("cifar10", False)])
def test_images_of_others_stay_on_this_machine(tmp_path: Path, preset: str, published: bool) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    setting = write_setting(results, SHOWN, preset, {"alexnet": 20.0}, seeds=1)
    place = store.run_directory(results, setting.arms["alexnet"], 0)
    flat = np.full((8, 8, 8, 3), 99, np.uint8)
    np.savez(
        place / "neighbors.npz",
        guess_picture=flat, guess_label=np.zeros(8, int), guess_class=np.tile(np.arange(5), (8, 1)),
        guess_probability=np.full((8, 5), 0.2), query_picture=flat[:5], query_label=np.zeros(5, int),
        near_picture=np.repeat(flat[:5, None], 6, axis=1), near_label=np.zeros((5, 6), int),
        near_distance=np.zeros((5, 6)), class_name=np.array([f"class_{number}" for number in range(8)]),
    )  # fmt: skip
    written = report.build([SHOWN], None, results, reports, html=True).files
    page = (reports / "shown.md").read_text()
    assert f"](shown/{preset}-alexnet-figure3.png)" in page
    figure = f"shown/{preset}-alexnet-figure4.png"
    assert (reports / figure).exists() is published
    assert (f"]({figure})" in page) is published
    local = reports / "local" / figure
    assert local.exists() is not published
    if not published:
        assert (reports / "local" / ".gitignore").read_text() == "*\n"
        assert f"`reports/local/{figure}`" in page
        assert "figure4.png" not in (reports / "index.html").read_text().replace(f"reports/local/{figure}", "")
        assert local in written


def test_a_damaged_artifact_is_left_out_and_the_page_stays(tmp_path: Path) -> None:
    results, reports = tmp_path / "results", tmp_path / "reports"
    setting = write_setting(results, SHOWN, "smoke", {"alexnet": 20.0}, seeds=1)
    (store.run_directory(results, setting.arms["alexnet"], 0) / "kernels.npy").write_bytes(b"cut")
    report.build([SHOWN], None, results, reports)
    page = (reports / "shown.md").read_text()
    assert "figure3" not in page
    assert "Verdicts in full" not in page, "no claim, no other arm"
    assert "1 of 1 run is finished." in page


def test_claims_of_other_settings_are_marked(
    experiments: list[Experiment], built: tuple[Path, Path, list[Path]]
) -> None:
    gathered = gather(experiments, built[0])
    evaluated = [score for score in gathered.scores if score.judgement and score.judgement.estimate]
    assert evaluated
    for score in evaluated:
        assert score.judgement is not None
        assert not score.judgement.same_setting
        assert contents.verdict(score.judgement) in ("not tuned", "not evaluated")
    marks = contents.forest_marks(gathered.scores)
    assert all(mark.same_setting is False for mark in marks)
    assert all(
        mark.label.startswith("\N{SECTION SIGN}3.3 ") and "\nlrn-ablation, smoke (n = 3): " in mark.label
        for mark in marks
    )
    told = contents.summary(gathered.scores)
    assert "; all of them at another setting or on other data than claimed." in told


def test_open_intervals_are_drawn_to_the_edge() -> None:
    open_end = stats.Interval(float("inf"), 2.0, float("inf"), "censored")
    marks = [
        figures.Mark("a", "times", open_end, 6.0),
        figures.Mark("b", "points", stats.Interval(-1.0, -2.0, 0.0, "t"), -1.0),
    ]
    low, high = figures._edges(marks[:1], "times")
    assert low < 1 < 6 < high < 7
    assert figures.effects(marks).axes


def test_ratios_lie_on_a_log_axis() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    never_slower = stats.Interval(2.0, 0.0, 4.0, "censored")
    marks = [figures.Mark("a", "times", never_slower, 6.0), figures.Mark("b", "times", never_slower, 0.5)]
    figures._marks(axes, marks, "times")
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log" and 0 < low < 0.5 and 6 < high < 8
    assert {1.0, 2.0, 5.0} <= {round(float(tick), 6) for tick in axes.get_xticks()}
    assert [line.get_marker() for line in axes.lines].count("<") == 2, "an end at 0 lies outside"


@pytest.mark.parametrize(("tested", "shown"), [((1, 2, 3, 4), False), ((2, 4), True), ((4,), True)])
def test_tests_every_few_epochs_are_marked(tested: tuple[int, ...], shown: bool) -> None:
    import pandas as pd

    errors = [50.0 if epoch in tested else None for epoch in range(1, 5)]
    frame = pd.DataFrame({"arm": "a", "seed": 0, "epoch": range(1, 5), "train_error": 60.0, "test_top1_error": errors})
    assert not figures.marked(frame, "train_error")
    assert figures.marked(frame, "test_top1_error") is shown
    assert figures.curves(frame, stops=True)


def test_one_run_is_not_runs() -> None:
    assert [words.count(many, "run") for many in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_claim_counts_once_at_its_largest_setting(
    experiments: list[Experiment], built: tuple[Path, Path, list[Path]]
) -> None:
    gathered = gather(experiments, built[0])
    numbers = sum(
        len(claim.published) for experiment in experiments for claim in experiment.claims if not claim.control
    )
    judged = [score for score in gathered.scores if score.verdict != "not evaluated"]
    assert contents.summary(gathered.scores).startswith(f"Of {numbers} comparisons with what was published ")
    assert f"{len(judged)} were evaluated: " in contents.summary(gathered.scores)
    again = contents.summary([*gathered.scores, *judged])
    assert again.split(". ")[0] == contents.summary(gathered.scores).split(". ")[0]


def test_settings_of_one_preset_go_from_the_longest_training_down(
    experiments: list[Experiment], tmp_path: Path
) -> None:
    lrn = named(experiments, "lrn-ablation")
    for epochs in (4, 12, 2):
        changes = {} if epochs == 2 else {"schedule.epochs": epochs}
        levels = LEVELS if epochs < 12 else {arm: level for arm, level in LEVELS.items() if arm != "conv1-only"}
        write_setting(tmp_path, lrn, "smoke", levels, seeds=3, changes=changes, epochs=epochs)
    gathered = gather(experiments, tmp_path)
    assert [part.config.schedule.epochs for part in gathered.of("lrn-ablation")] == [12, 8, 4]
    judged = {(id(score.claim), score.metric): score for score in gathered.scores if score.verdict != "not evaluated"}
    assert any(score.claim.arm == "conv1-only" for score in judged.values()), (
        "evaluated at the smaller settings only, and counted"
    )
    assert f", {len(judged)} were evaluated: " in contents.summary(gathered.scores)


def test_a_setting_whose_runs_are_not_all_there_counts_for_none_that_has_them(
    experiments: list[Experiment], tmp_path: Path
) -> None:
    lrn = named(experiments, "lrn-ablation")
    write_setting(tmp_path, lrn, "smoke", LEVELS)
    write_setting(tmp_path, lrn, "smoke", LEVELS, seeds=5, finished=4, changes={"schedule.epochs": 12}, epochs=12)
    gathered = gather(experiments, tmp_path)
    assert [part.setting.seeds for part in gathered.of("lrn-ablation")] == [5, 3]
    chosen = [one for one in counted_scores(gathered.scores) if one.judgement and one.judgement.primary]
    assert {score.setting.name for score in chosen if score.setting} == {"smoke"}
    assert all("smoke (n = 3)" in mark.label for mark in contents.forest_marks(gathered.scores))


def test_an_interval_of_images_only_says_so(experiments: list[Experiment], tmp_path: Path) -> None:
    write_setting(tmp_path, named(experiments, "lrn-ablation"), "smoke", LEVELS, seeds=1)
    (score, *_) = [score for score in gather(experiments, tmp_path).scores if score.setting]
    assert score.judgement and score.judgement.estimate and score.judgement.estimate.images_only
    assert words.with_interval(score.judgement.estimate, "points").endswith("] (images only)")


def test_the_summary_says_what_is_left_of_so_many_tests(
    experiments: list[Experiment], built: tuple[Path, Path, list[Path]]
) -> None:
    scores = gather(experiments, built[0]).scores
    tested = [score for score in scores if score.judgement and score.judgement.effect]
    assert tested
    for p, told in ((0.5, "none has"), (0.04, f"{len(tested)} have")):
        changed = [replace(score, judgement=replace(score.judgement, holm_p=p)) for score in tested]
        assert f"Adjusted for {len(tested)} tests of no effect (Holm), {told} p below 0.05." in contents.summary(
            changed
        )


def test_run_notes_are_differences_of_runs() -> None:
    claim = Claim.effect(
        "tanh", "relu", top1=1.4, top5=1.2, source="s", measured=paper.VALIDATION_2012, runs=paper.runs("148", "145")
    )
    assert Score(RACE, claim, "top1_error").noted == pytest.approx(42.0340 - 40.6640)
    assert Score(RACE, claim, "top5_error").noted == pytest.approx(19.3620 - 18.2100)


def test_noise_is_shown_with_its_number_and_not_as_an_effect() -> None:
    claim = Claim.no_effect("a", "b", top1=-0.04, source="s", measured=paper.VALIDATION_2012)
    assert words.published(claim, "top1_error") == f"no difference ({words.MINUS}0.04 points)"
    assert "no difference beyond noise (-0.04 points)" in claim_text(claim)


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (1.404, {}, "1.40"), (-0.001, {"signed": True}, "0.00"), (-1.5, {"signed": True}, "\N{MINUS SIGN}1.50"),
        (1.5, {"signed": True}, "+1.50"), (None, {}, "\N{EN DASH}"), (float("nan"), {}, "\N{EN DASH}"),
        (float("inf"), {}, "\N{INFINITY}"), (float("-inf"), {"signed": True}, "\N{MINUS SIGN}\N{INFINITY}"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(value: float | None, options: dict[str, bool], text: str) -> None:
    assert words.number(value, **options) == text


def test_condensing_loses_no_difference() -> None:
    changed = keys.diff(presets.paper(), presets.preset("cifar10"))
    condensed = contents.condense(changed)
    assert len(condensed) < len(changed) / 2
    told = " ".join(condensed)
    for key in changed:
        path = key.split(".")
        assert key in told or (path[2] in told and path[-1] in told), key


def test_the_terminal_gets_the_same_words(experiments: list[Experiment], built: tuple[Path, Path, list[Path]]) -> None:
    results, reports, _ = built
    rows = report.verdict_table(
        stats.judge(named(experiments, "lrn-ablation"), store.read_settings(results)[0][0], results)
    )
    page = (reports / "lrn-ablation.md").read_text()
    for row in rows:
        assert f"| {row['what']} | {row['metric']} | {row['published']} | {row['ours [95% interval]']} |" in page


def test_the_towers_page_states_what_crosses_between_them(tmp_path: Path) -> None:
    from repro.config.config import digest
    from repro.experiments.registry import load
    from repro.planning.plan import configs
    from repro.report import build

    experiment = load().get("one-vs-two-gpus")
    arms = {name: digest(config, "d") for name, config in configs(experiment, "code-2012", {}).items()}
    store.write_setting(tmp_path / "results", store.Setting(experiment.name, "code-2012", {}, 1, arms))
    build([experiment], None, tmp_path / "results", tmp_path / "reports")
    page = (tmp_path / "reports" / "one-vs-two-gpus.md").read_text()
    assert "| conv3 | 173,056 | 173,056 | reads both |" in page  # 256 maps of 13x13 float32, half of them each way
    assert "| conv4 | 0 | 0 | reads its own |" in page


def test_color_selectivity_tells_gray_from_color() -> None:
    pattern = np.random.default_rng(0).standard_normal((1, 1, 5, 5))
    gray, opponent = pattern.repeat(3, axis=1), pattern * np.array([1.0, -1.0, 0.0]).reshape(1, 3, 1, 1)
    found = contents.color_selectivity(np.concatenate([gray, opponent, gray + opponent]))
    assert found[0] == pytest.approx(0) and found[1] == pytest.approx(1)
    assert found[2] == pytest.approx(2 / 5)  # energies 2 of color and 3 of gray at each position


def test_a_page_begins_with_what_was_tuned_then_with_what_a_plan_asked_for(
    experiments: list[Experiment], tmp_path: Path
) -> None:
    """Not with the largest setting whose arms had no rate of their own."""
    one = named(experiments, "dropout-ablation")
    for changes in ({"schedule.epochs": 12}, {}):
        write_setting(tmp_path, one, "smoke", {"dropout": 30.0, "no-dropout": 33.0}, changes=changes)
    parts = gather([one], tmp_path).of("dropout-ablation")
    largest, smaller = parts
    assert contents.leading(parts) is largest
    asked = replace(smaller, setting=replace(smaller.setting, frozen="factors"))
    assert contents.leading([largest, asked]) is asked
    judged = [replace(one, verdict="contradicted") if one.claim else one for one in largest.judgements]
    tuned = replace(largest, judgements=judged)
    assert contents.leading([asked, tuned]) is tuned
    assert contents.leading([]) is None


def test_pages_call_a_setting_as_a_person_did_and_files_keep_its_printed_name(
    experiments: list[Experiment], tmp_path: Path
) -> None:
    results, changes = tmp_path / "results", {"optim.batch_size": 16}
    setting = write_setting(results, named(experiments, "lrn-ablation"), "smoke", LEVELS, changes=changes)
    told = 'text = "few images a step"\npreset = "smoke"\nchanges = {"optim.batch_size" = 16}\n'
    (results / "settings.toml").write_text(f"[small-batches]\n{told}")
    report.build(experiments, None, results, tmp_path / "reports", html=True, formats=("csv",))
    page, index, html = (
        (tmp_path / "reports" / name).read_text() for name in ("lrn-ablation.md", "index.md", "lrn-ablation.html")
    )
    assert f"Setting `small-batches` (`{setting.name}`): photos" in page
    assert "Again: `repro run lrn-ablation --setting small-batches --seeds 3 --untuned`" in page
    line = "- `small-batches`: few images a step; preset smoke with optim.batch_size = 16; files have"
    assert f"{line} `{setting.name}`\n" in index
    assert "| `small-batches` | exploratory |" in index and f"`{setting.name}` |" not in index
    assert f"Setting small-batches ({setting.name}): photos" in html
    assert setting.name in (tmp_path / "reports" / "scoreboard.csv").read_text()
    (results / "settings.toml").write_text("[")
    report.build(experiments, None, results, tmp_path / "reports")
    assert "`settings.toml`: " in (tmp_path / "reports" / "index.md").read_text()
