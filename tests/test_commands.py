"""What the commands print for a person, a narrow terminal, a pipe and a program, and the commands beside the five."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from repro import store
from repro.bench.made_up import write_setting
from repro.commands import options, terminal, verdicts
from repro.commands.verify import verify
from repro.experiments.registry import load
from repro.planning import settings
from tests.conftest import Repro

ROOT = Path(__file__).parent.parent


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A copy of the published results, as the commands find them in the current folder."""
    unpublished = shutil.ignore_patterns("checkpoint*", "neighbors.npz", "*.lock")
    return Path(shutil.copytree(ROOT / "results", tmp_path / "results", ignore=unpublished))


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    console = Console(width=width, force_terminal=True, color_system=None, emoji=False)
    monkeypatch.setattr(terminal, "console", console)


def test_the_version_is_that_of_the_package(repro: Repro) -> None:
    import repro as package

    assert repro("--version") == (0, f"repro {package.__version__}\n", "")


def test_list_is_one_line_an_experiment_on_a_terminal_of_80_columns(
    repro: Repro, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / verdicts.FILE).write_text('{"ten-view": "same direction"}')
    on_terminal(monkeypatch, 80)
    code, out, _ = repro("list")
    lines = out.splitlines()
    names = load().experiments
    assert code == 0 and max(map(len, lines)) <= 80
    for name in names:
        assert len([line for line in lines if line.split() and line.split()[0] == name]) == 1, name
    (line,) = [line for line in lines if line.strip().startswith("ten-view")]
    assert "4.1" in line and "Is the error low" in line and line.rstrip().endswith("same direction")


def test_a_narrow_terminal_gets_lists_of_whole_words(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, 40)
    code, out, _ = repro("list")
    lines = [line.rstrip() for line in out.splitlines()]
    assert code == 0 and max(map(len, lines)) <= 40
    assert "lrn-ablation" in lines and "  section: 3.3" in lines
    at = lines.index("lrn-ablation")
    assert " ".join(line.strip() for line in lines[at + 2 : at + 4]).startswith("question: Does local response")


def test_a_pipe_gets_tab_separated_values(repro: Repro) -> None:
    code, out, _ = repro("list")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and rows[0] == ["name", "section", "question", "verdict so far"]
    assert {len(row) for row in rows} == {4} and len(rows) == 1 + len(load().experiments)
    assert ["lrn-ablation", "3.3", load().get("lrn-ablation").question, ""] in rows
    code, out, _ = repro("data", "list")
    assert code == 0 and out.startswith("name\tpixels\tclasses\ttrain\ttest\ton disk\tbad\nphotos-32-")


def test_plan_of_all_is_a_line_an_experiment_and_the_total(repro: Repro) -> None:
    code, out, _ = repro("plan", "--all", "--preset", "cifar10")
    lines = out.splitlines()
    of_preset = [one for one in load().experiments.values() if "cifar10" in one.presets]
    assert code == 0 and [line.split("\t")[0] for line in lines[1 : 1 + len(of_preset)]] == [
        one.name for one in of_preset
    ]
    total, hint = lines[1 + len(of_preset) :]
    assert "runs (shared ones once), 0 finished. Missing: " in total and "repro data prepare cifar10" in hint
    distinct = int(total.split()[0])
    assert sum(int(line.split("\t")[1]) for line in lines[1 : 1 + len(of_preset)]) > distinct
    code, out, _ = repro("plan", "--all", "--preset", "cifar10", "--runs")
    assert code == 0 and sum(line.count("\t") == 3 for line in out.splitlines()) == 1 + distinct


def test_a_bill_names_the_processor_and_a_unit_for_people(
    repro: Repro, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.planning.cost.processor", lambda: "of a machine without finished runs")
    code, out, _ = repro("show", "lrn-ablation", "--preset", "paper")
    (line,) = [line for line in " ".join(out.split()).split("cost ") if "one after another" in line]
    assert code == 0 and "years one after another (from finished runs on " in line and " h " not in line
    processors = {record.machine for record in store.finished_runs(published)[0] if record.epochs}
    assert processors and all(name in line for name in processors), (processors, line)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(89, "89 s"), (90, "2 min"), (5400, "1.5 h"), (172800, "2.0 days"), (15084.3 * 3600, "628.5 days")],
)
def test_a_time_is_in_the_unit_that_a_person_would_use(seconds: float, shown: str) -> None:
    assert terminal.span(seconds) == shown


def test_show_compare_and_report_speak_json(repro: Repro, tmp_path: Path) -> None:
    experiment = load().get("overlapping-pooling")
    levels = {"overlapping": 40.0, "no-overlap": 43.0}
    write_setting(tmp_path / "results", experiment, "smoke", levels)
    code, out, _ = repro("show", "overlapping-pooling", "--preset", "smoke", "--json")
    card = json.loads(out)
    assert code == 0 and card["claims"][0]["published"]["top1_error"] == 0.4
    assert [arm["name"] for arm in card["arms"]] == [arm.name for arm in experiment.arms_at("smoke")]
    code, out, _ = repro("report", "overlapping-pooling", "--json")
    made = json.loads(out)
    (found,) = [one for one in made["settings"][0]["judgements"] if one["claimed"] and one["metric"] == "top1_error"]
    assert code == 0 and made["settings"][0]["setting"] == "smoke" and found["seeds"] == 3
    assert found["low"] < found["mean"] < found["high"] and 2 < found["mean"] < 4
    assert str(tmp_path / "reports" / "index.md").endswith(made["files"][0]) or "reports/index.md" in made["files"]
    assert verdicts.read(tmp_path / "reports").keys() == {"overlapping-pooling"}
    code, out, _ = repro("compare", "--presets", "paper", "code-2012", "--json")
    assert code == 0 and json.loads(out)["differs"].keys() >= {"model.norm.scope", "model.spatial_norm"}


def test_compare_finds_published_runs_and_shows_the_interval_that_reports_have(repro: Repro, published: Path) -> None:
    code, out, err = repro("compare", "relu-vs-tanh/relu", "relu-vs-tanh/tanh", "--json")
    found = {(one["metric"], one["view"]): one for one in json.loads(out)["effects"]}
    ratio = found["epochs_to_target", None]
    assert code == 0, err
    assert [round(ratio[name], 2) for name in ("mean", "low", "high")] == [7.37, 6.95, 7.82]  # as the README has it
    assert ratio["runs"] == [5, 5] and len(ratio["of_first"]) == 5
    code, out, err = repro("compare", "lrn-ablation/with-lrn", "lrn-ablation/no-lrn", "--setting", "cifar10-20ep")
    assert code == 0 and "+2.01 points [+0.54, +3.48]\t5 and 5" in out, err
    _, out, _ = repro("compare", "lrn-ablation/with-lrn", "lrn-ablation/no-lrn")
    lines = [line for line in out.splitlines() if line.startswith("cifar10-")]
    assert sum(line.endswith("shown") for line in lines) == 1
    assert {line.split("\t")[0] for line in lines} >= {
        "cifar10-20ep (cifar10+3c6ba0)",
        "cifar10-12ep (cifar10+1e8217)",
        "cifar10-20ep-subsets (cifar10+229bc5)",
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "lrn"], "did you mean 'lrn-ablation' or 'lrn-cifar' or 'lrn-parameters'?"),
        (["compare", "paper", "code-2012"], "repro compare --presets paper code-2012"),
        (["compare", "lrn", "no-lrn"], "did you mean 'lrn-ablation' or"),
        (["data", "prepare", "cifar11"], "did you mean 'cifar10'?"),
    ],
)
def test_a_hint_names_what_was_probably_meant(arguments: list[str], expected: str, repro: Repro) -> None:
    code, out, err = repro(*arguments)
    assert code == 2 and not out and expected in err and err.count("\n") == 1


def test_doctor_speaks_json(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    from repro.commands import doctor

    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Finding("torch", "ok", "2.14.1")])
    code, out, _ = repro("doctor", "--json")
    assert code == 0 and json.loads(out)[0]["found"] == "2.14.1"


def test_a_run_as_json_keeps_its_progress_off_standard_output(
    repro: Repro, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from repro.training.events import Failed

    def sweep(*_: object, do: object, **__: object) -> list[Failed]:
        sys.stdout.write("progress")
        return [Failed("0a1b2c3d4e5f/seed-0", "made up: out of memory")]

    monkeypatch.setattr("repro.commands.sweep.sweep", sweep)
    code, out, err = repro("run", "lrn-ablation", "--json")
    assert code == 1 and "progress" in err
    assert json.loads(out)["failed"] == [{"run": "0a1b2c3d4e5f/seed-0", "reason": "made up: out of memory"}]


def test_each_published_setting_has_a_name_that_a_person_gave(published: Path) -> None:
    names = settings.called(published)
    printed = {setting.name: setting for setting in store.read_settings(published)[0]}
    assert [name for name, setting in printed.items() if setting.changes and name not in names] == []
    for name, given in names.items():
        one, other = settings.find(published, given), settings.find(published, name)
        assert (one.preset, dict(one.changes)) == (other.preset, dict(other.changes)) and one.text


def test_a_setting_is_named_in_every_command(repro: Repro, published: Path) -> None:
    for name in ("cifar10-20ep", "cifar10+3c6ba0"):
        code, out, err = repro("plan", "lrn-ablation", "--setting", name, "--seeds", "5", "--untuned", "--json")
        assert code == 0 and sum(run["finished"] for run in json.loads(out)["runs"]) == 15, err
        code, out, err = repro("compare", "lrn-ablation/with-lrn", "lrn-ablation/no-lrn", "--setting", name, "--json")
        assert code == 0 and json.loads(out)["sides"][0]["setting"] == "cifar10+3c6ba0", err
        code, out, err = repro("show", "lrn-ablation", "--setting", name)
        assert code == 0 and f"command   repro run lrn-ablation --setting {name}\n" in out, err
        assert "cifar10-20ep (cifar10+3c6ba0)\t15\t20" in out
        code, _, err = repro("run", "lrn-ablation", "--setting", name)
        assert code == 2 and "repro data prepare cifar10" in err
    code, out, _ = repro("report", "lrn-ablation", "--setting", "cifar10-20ep", "--json")
    assert code == 0 and [one["setting"] for one in json.loads(out)["settings"]] == ["cifar10+3c6ba0"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["plan", "lrn-ablation", "--setting", "cifar10-20epp"], "did you mean 'cifar10-20ep'?"),
        (["plan", "lrn-ablation", "--setting", "cifar10-20ep", "--preset", "smoke"], "leave out --preset and --set"),
        (["run", "lrn-ablation", "--setting", "cifar10-20ep-subsets"], "repro run --plan results/plans/factors.json"),
        (["run", "--again", "results/experiments/ten-view/cifar10+229bc5.json"], "--plan results/plans/factors.json"),
        (["run", "--again", "nothing.json"], "there is no such file"),
        (["run", "baseline", "--again", "nothing.json"], "--again says what to run"),
        (["run", "--again", "a.json", "--plan", "b.json"], "leave out one of them"),
    ],
)
def test_a_setting_that_cannot_be_run_so_is_refused(
    arguments: list[str], expected: str, repro: Repro, published: Path
) -> None:
    code, out, err = repro(*arguments)
    assert code == 2 and not out and expected in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[", "cannot be read"),
        ("[smoke]\ntext='x'\npreset='smoke'\nchanges={}", "is a preset's name"),
        ("[a]\npreset='smoke'\nchanges={}", "give it text, preset and changes"),
        ("[a]\ntext='x'\npreset='smok'\nchanges={}", "did you mean 'smoke'"),
        ("[a]\ntext='x'\npreset='smoke'\nchanges={'optim.batch_sise'=2}", "did you mean 'batch_size'"),
        ("[a]\ntext='x'\npreset='smoke'\nchanges={}\n[b]\ntext='y'\npreset='smoke'\nchanges={}", "are one setting"),
    ],
)
def test_a_file_of_names_that_cannot_be_used_is_one_line(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(ValueError, match=expected) as refused:
        settings.named(tmp_path)
    assert "settings.toml" in str(refused.value) and "\n" not in str(refused.value)
    assert [one.path for one in verify(tmp_path)[1]] == [tmp_path / "settings.toml"]


def test_again_asks_for_the_same_setting_and_more_seeds(
    repro: Repro, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[object, ...]] = []

    def sweep(
        experiments: object, preset: str, seeds: int, changes: object, machine: object, **how: object
    ) -> list[str]:
        asked.append((preset, seeds, changes, how["arms"], how["tuned"]))
        return []

    monkeypatch.setattr("repro.commands.sweep.sweep", sweep)
    levels = {"overlapping": 40.0, "no-overlap": 43.0}
    experiment, changes = load().get("overlapping-pooling"), {"data.per_class": 6}
    setting = write_setting(tmp_path / "results", experiment, "smoke", levels, changes=changes)
    path = str(store.setting_path(Path("results"), setting))
    arms = {"overlapping-pooling/overlapping", "overlapping-pooling/no-overlap"}
    for more, seeds in (((), 3), (("--seeds", "5"), 5)):
        code, _, err = repro("run", "--again", path, *more)
        assert code == 0, err
        assert asked.pop() == ("smoke", seeds, changes, arms, False)  # its runs were not searched


def test_completion_knows_settings_keys_sides_and_images(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published.parent)
    monkeypatch.delenv("REPRO_RESULTS_DIR", raising=False)
    assert "cifar10-20ep" in options.complete_setting("cifar10-") and "cifar10+3c6ba0" in options.complete_setting("")
    assert "optim.learning_rate=" in options.complete_assignment("optim.")
    assert "lrn-ablation/no-lrn" in options.complete_side("lrn-ab") and "paper" in options.complete_side("pap")
    assert options.complete_images("cif") == ["cifar10"]
