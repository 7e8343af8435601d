"""Sections of a page and columns of a board: fair tuning, failures, standing, origin, the network's own numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from repro import report, store
from repro.bench import made_up
from repro.experiments import paper, registry
from repro.experiments.experiment import Arm, Claim, Experiment, Search
from repro.planning import frozen
from repro.records import RunRecord, Setting
from repro.report import contents, discussion, sensitivity, tuning, words
from repro.report.gather import Gathered, Part, gather
from repro.report.standing import NO_PLAN, standing
from repro.stats import rule
from repro.terms import METRICS


def asks(**more: object) -> Experiment:
    """Two arms, a claim that the second is worse."""
    claim = Claim.worse("new", "old", source=paper.section("4.2"), measured=paper.VALIDATION_2012)
    arms = (Arm("old"), Arm("new", {"model.norm": None}))
    values = {"claims": [claim], "presets": ["smoke"], **more}
    return Experiment("made-up", "Is it worse?", "model.norm", "4.2", arms, **values)  # type: ignore[arg-type]


def built(tmp_path: Path, one: Experiment, **options: object) -> tuple[Gathered, str]:
    made_up.write_setting(
        tmp_path / "results", one, "smoke", {"old": 30.0, "new": 33.0}, spread=0.05, images=100, **options  # type: ignore[arg-type]
    )  # fmt: skip
    report.build([one], None, tmp_path / "results", tmp_path / "reports")
    return gather([one], tmp_path / "results"), (tmp_path / "reports" / "made-up.md").read_text()


def test_without_a_frozen_plan_all_is_exploratory(tmp_path: Path) -> None:
    found, page = built(tmp_path, asks())
    assert found.parts[0].standing == NO_PLAN
    assert "Exploratory: no frozen plan asked for it" in page
    assert {score.standing for score in found.scores} == {"exploratory"}
    index = (tmp_path / "reports" / "index.md").read_text()
    assert "| setting | standing |" in index and "| exploratory |" in index


def plan_of(one: Experiment, setting: Setting) -> dict[str, object]:
    """A frozen plan that asked for exactly this."""
    endpoint = frozen.endpoints([one], "smoke", [f"{one.name}/{arm.name}" for arm in one.arms])
    return {
        "name": "asked", "experiments": [one.name], "preset": "smoke", "changes": dict(setting.changes),
        "arms": [f"{one.name}/{arm.name}" for arm in one.arms], "seeds": setting.seeds,
        "seeds_of": {f"{one.name}/{arm}": count for arm, count in setting.seeds_of.items()},
        "first_seed": setting.first_seed, "searches": {}, "endpoints": endpoint, "rule": rule.VERSION,
        "margins": rule.margins(), "design": "", "schema": frozen.SCHEMA,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "deviation"),
    [
        ({}, ""),
        ({"seeds": 9}, "runs an arm: 9 in the plan"),
        ({"first_seed": 30}, "first seed: 30 in the plan, 0 here"),
        ({"rule": 1}, "version of the rule: 1 in the plan, 2 here"),
        ({"experiments": ["other"]}, "the plan does not name the experiment"),
        ({"arms": ["made-up/old"]}, "arm new: not in the plan"),
        ({"margins": {**rule.margins(), "alpha": 0.1}}, "numbers of the rule"),
    ],
)
def test_a_frozen_plan_makes_its_endpoints_confirmatory_and_what_differs_is_named(
    tmp_path: Path, changes: dict[str, object], deviation: str
) -> None:
    one = asks()
    setting = made_up.write_setting(tmp_path, one, "smoke", {"old": 30.0, "new": 33.0}, spread=0.05, images=100)
    setting = replace(setting, frozen="asked")
    store.write_setting(tmp_path, setting)
    store.write_json(tmp_path / "plans" / "asked.json", {**plan_of(one, setting), **changes})
    found = standing(one, setting, tmp_path)
    assert any(deviation in line for line in found.deviations) if deviation else found.deviations == ()
    gathered = gather([one], tmp_path)
    word = "exploratory" if deviation else "confirmatory"
    assert {score.standing for score in gathered.scores if score.primary} == {word}
    assert contents.standing_line(gathered.parts[0]).lower().startswith(word)


def test_a_plan_that_cannot_be_read_makes_nothing_confirmatory(tmp_path: Path) -> None:
    one = asks()
    setting = replace(
        made_up.write_setting(tmp_path, one, "smoke", {"old": 30.0, "new": 33.0}, images=100), frozen="gone"
    )
    assert "the plan cannot be read" in standing(one, setting, tmp_path).deviations[0]


def test_claims_are_counted_by_who_says_so() -> None:
    known = list(registry.load().experiments.values())
    scores = gather(known, Path("nowhere")).scores
    origins = {score.claim.source: score.origin for score in scores}
    assert origins[paper.section("3.3")] == "paper"
    assert {origin for source, origin in origins.items() if source.startswith("2012 run notes")} == {"notes"}
    assert origins[paper.CAFFENET128] == "others"


def test_a_search_is_drawn_and_each_comparison_shown_twice(tmp_path: Path) -> None:
    known = registry.load().get("relu-vs-tanh")
    (part,) = gather([known], Path(__file__).parents[1] / "results").of("relu-vs-tanh")
    (block,) = tuning.blocks(part, tmp_path)
    twice, best = block.tables
    assert twice.rows[0][0] == "tanh against relu" and twice.rows[0][-1] == "both took the same value"
    scored = tuning.scored(part)
    assert float(best.frame["k_1"][0]) == pytest.approx(
        sum(sum(runs) / len(runs) for runs in scored["relu"].values()) / len(scored["relu"])
    ), "the expected best of one is the mean"
    assert all(row["k_2"] <= row["k_1"] for row in best.frame.to_dict("records"))
    assert block.figures[0].png.startswith(b"\x89PNG")


def test_a_setting_whose_comparison_has_not_begun_shows_its_search(tmp_path: Path) -> None:
    """As the searches of a frozen plan are published before any run that is judged."""
    known = registry.load()
    published = Path(__file__).parents[1] / "results"
    paths = [store.read_setting(path) for path in published.glob("experiments/*/cifar10+229bc5.json")]
    experiments = [known.get(setting.experiment) for setting in paths]
    gathered = gather(experiments, published)
    assert not [one for one in gathered.damaged if "229bc5" in str(one.path)]
    parts = [part for part in gathered.parts if part.setting.name == "cifar10+229bc5"]
    assert {part.experiment.name for part in parts} >= {"lrn-ablation", "dropout-ablation", "overlapping-pooling"}
    assert {part.standing.plan for part in parts} == {"factors", "depth"}


def test_a_page_without_a_search_has_no_section_of_it(tmp_path: Path) -> None:
    _, page = built(tmp_path, asks())
    assert "Fair tuning" not in page and "failed to train" not in page


def test_runs_that_failed_to_train_are_counted_with_an_exact_interval(tmp_path: Path) -> None:
    one = asks(search=Search())
    setting = made_up.write_setting(
        tmp_path / "results", one, "smoke", {"old": 30.0, "new": 33.0}, spread=0.05, images=100
    )
    run = store.run_directory(tmp_path / "results", setting.arms["new"], 0) / "run.json"
    record = json.loads(run.read_text())
    run.write_text(json.dumps({**record, "diverged": True, "files": {}}))
    report.build([one], None, tmp_path / "results", tmp_path / "reports")
    page = (tmp_path / "reports" / "made-up.md").read_text()
    assert "<summary>Runs that failed to train</summary>" in page
    seeds = setting.seeds
    assert f"| new | 1 of {seeds} | " in page and f"| old | 0 of {seeds} | 0% [0, " in page


def test_the_numbers_that_the_network_decides_stand_on_the_index(tmp_path: Path) -> None:
    built(tmp_path, asks())
    index = (tmp_path / "reports" / "index.md").read_text()
    assert "judged without a run: 3 of 13 do not hold" in index
    assert "| 253,440 | 290,400 | does not hold |" in index


def timed(part: Part, arm: str, epochs: list[float | None]) -> list[RunRecord]:
    """Runs that reached their target after so many epochs as the program prints them; None: not within 40."""
    like = part.records[0]
    return [
        msgspec.structs.replace(like, digest=arm, seed=seed, epochs=40, epochs_to_target=one, censored=one is None)
        for seed, one in enumerate(epochs)
    ]


def test_a_ratio_of_epochs_is_shown_as_it_depends_on_the_reading_the_rates_and_the_variants(tmp_path: Path) -> None:
    known = registry.load().get("relu-vs-tanh")
    (part,) = gather([known], Path(__file__).parents[1] / "results").of("relu-vs-tanh")
    runs = {
        "relu": timed(part, "relu", [5.5, 5.5, 5.5]), "tanh": timed(part, "tanh", [30.5, 30.5, 30.5]),
        "tanh-fan-in": timed(part, "tanh-fan-in", [10.5, 10.5, 10.5]),
    }  # fmt: skip
    searches = {
        "relu": {"0.003": timed(part, "s", [5.5]), "0.01": timed(part, "s", [8.5])},
        "tanh": {"0.003": timed(part, "s", [20.5]), "0.01": timed(part, "s", [None])},
    }
    part = replace(part, runs=runs, searches=searches, chosen={"relu": 0.003, "tanh": 0.003})
    (block,) = sensitivity.blocks(part, tmp_path)
    rows = {row[0]: row[1] for row in block.tables[0].rows}
    assert rows["as judged: in the middle of an epoch"].startswith("6.00 times")  # 30 / 5
    assert rows["at the end of an epoch, as the program of 2012 printed it"].startswith("5.55 times")  # 30.5 / 5.5
    assert rows["search: tanh at 0.01, relu at 0.003"] == "over 8.00 times"  # 40 / 5
    assert rows["search: relu at 0.01, tanh at 0.003"] == "2.50 times"  # 20 / 8
    assert rows["tanh-fan-in against relu"].startswith("2.00 times")  # 10 / 5
    assert not any("relu-fan-in" in how for how in rows)  # none of its runs is there
    both = replace(part, runs={**runs, "relu": timed(part, "relu", [None, 5.5, 5.5]), "tanh": searches["tanh"]["0.01"]})
    assert sensitivity.blocks(both, tmp_path)[0].tables[0].rows[0][1] == words.NOTHING  # a bound on either side is none


RESULTS = Path(__file__).parents[1] / "results"
WRITTEN = sorted(path.stem for path in registry.shipped().glob("*.md"))


@pytest.mark.parametrize("stem", WRITTEN)
def test_every_number_of_a_discussion_names_an_arm_a_metric_and_a_setting_that_there_are(stem: str) -> None:
    """And no other digit of an effect, an interval or an error stands in it: those come from results."""
    one = registry.load().get(stem.replace("_", "-"))
    assert one.discussion is not None
    text = one.discussion.read_text()
    settings = {path.stem for path in (RESULTS / "experiments" / one.name).glob("*.json")}
    for asked in discussion.PLACEHOLDER.findall(text):
        kind, arm, *rest = asked.split()
        assert len(rest) + 1 == discussion.KINDS[kind], asked
        one.arm(arm)
        assert rest[-1] in settings, asked
        assert kind == "rate" or rest[0] in METRICS, asked
    own = discussion.PLACEHOLDER.sub("", text)
    assert not re.search(r"[{}\[\]]|[+-]\d+\.\d|\d+\.\d+%", own), "a brace left over, or a number written by hand"


def test_a_discussion_is_filled_from_the_results_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "made_up.py").write_text(
        "from repro import Arm, Claim, Experiment, paper\n"
        "claim = Claim.worse('new', 'old', source=paper.section('4.2'), measured=paper.VALIDATION_2012)\n"
        "experiment = Experiment('made-up', 'Is it worse?', 'model.norm', '4.2',\n"
        "    [Arm('old'), Arm('new', {'model.norm': None})], ['smoke'], [claim])\n"
    )
    (folder / "made_up.md").write_text(
        "Old {error old top1_error smoke}, effect {effect new\ntop1_error smoke}, {verdict new top1_error smoke}; "
        "{effect new top1_error gone}, {rate new smoke}.\n"
    )
    one = registry.load([folder]).get("made-up")
    found, page = built(tmp_path, one)
    judged = found.parts[0].judgements[0]
    assert judged.estimate is not None
    assert f"effect {words.with_interval(judged.estimate, 'points')} (3 and 3 runs)" in page
    assert f"*{contents.verdict(judged)}*; not known yet, not known yet." in page
    assert (
        f"Old {words.mean_and_spread(*found.parts[0].summary[['top1_error_mean', 'top1_error_sd']].iloc[0])}%" in page
    )
    with pytest.raises(ValueError, match="known are effect, common, verdict, error, rate"):
        discussion.filled(["size", "new", "smoke"], found.parts)
    (folder / "made_up.md").write_text("It is {effect new top1_error gone}, as the paper says.\n")
    assert discussion.discussion(one, found.parts) == "", "it is about runs that are not here"
