"""A sweep in a file asks for what the same words on the command line ask for, and says what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Repro

WORDS = """
names = ["lrn-ablation", "ten-view"]
preset = "smoke"
seeds = 2
arms = ["lrn-ablation/no-lrn", "ten-view/center"]
untuned = true
[set]
"schedule.epochs" = 4
"data.order" = "fixed"
"""
TYPED = (
    "lrn-ablation", "ten-view", "--preset", "smoke", "--seeds", "2", "--arms", "lrn-ablation/no-lrn,ten-view/center",
    "--untuned", "--set", "schedule.epochs=4", "--set", "data.order=fixed",
)  # fmt: skip


def test_a_file_asks_for_what_its_words_ask_for(repro: Repro, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def sweep(
        experiments: list[object], preset: str, seeds: int, changes: object, machine: object, **how: object
    ) -> list[str]:
        same = ("max_seeds", "tuned", "first_seed", "arms", "frozen", "publish")
        asked.append(([one.name for one in experiments], preset, seeds, changes, {name: how[name] for name in same}))  # type: ignore[attr-defined]
        return []

    monkeypatch.setattr("repro.commands.sweep.sweep", sweep)
    Path("sweep.toml").write_text(WORDS)
    for command in ("run", "work"):
        for words in (("sweep.toml",), TYPED):
            code, _, err = repro(command, *words)
            assert code == 0, err
        assert asked[-2] == asked[-1] and len(asked) in (2, 4)
    Path("sweep.toml").write_text('names = ["ten-view"]\nuntil-decided = true\nmax-seeds = 9\npreset = "smoke"\n')
    assert repro("run", "sweep.toml")[0] == 0
    assert asked[-1][4]["max_seeds"] == 9  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (None, ["sweep.toml"], "sweep.toml: there is no such file"),
        ("names = [", ["sweep.toml"], "sweep.toml: cannot be read ("),
        ("names = []", ["sweep.toml"], "sweep.toml: names: give at least one experiment"),
        ("seeds = 3", ["sweep.toml"], "sweep.toml: object missing required field `names`"),
        ('names = "ten-view"', ["sweep.toml"], "sweep.toml: names: expected `array`, got `str`"),
        ('names = ["a"]\nseed = 3', ["sweep.toml"], "sweep.toml: seed: is no word of a sweep; did you mean 'seeds'?"),
        ('names = ["a"]\nseeds = "3"', ["sweep.toml"], "sweep.toml: seeds: expected `int | null`, got `str`"),
        ('names = ["a"]\nseeds = 0', ["sweep.toml"], "sweep.toml: seeds: is a number from 1 on, not 0"),
        ('names = ["a"]\narms = []', ["sweep.toml"], "sweep.toml: arms: give at least one"),
        ('names = ["a"]\nset = {a = 2020-01-01}', ["sweep.toml"], "sweep.toml: set: dates and times"),
        ('names = ["ten-vew"]', ["sweep.toml"], "did you mean 'ten-view'?"),
        ('names = ["ten-view"]\nset = {"optim.batch_sise" = 2}', ["sweep.toml"], "did you mean 'batch_size'"),
        ('names = ["ten-view"]\nsetting = "smok"', ["sweep.toml"], "no setting 'smok'"),
        ('names = ["ten-view"]', ["sweep.toml", "--seeds", "3"], "sweep.toml says what to run; leave out"),
        ('names = ["ten-view"]', ["sweep.toml", "--preset", "smoke"], "sweep.toml says what to run; leave out"),
        ('names = ["ten-view"]', ["sweep.toml", "ten-view"], "sweep.toml: says what to run; leave out the other names"),
        ('names = ["ten-view"]', ["sweep.toml", "--plan", "a.json"], "--plan says what to run"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    text: str | None, arguments: list[str], expected: str, repro: Repro, tmp_path: Path
) -> None:
    if text is not None:
        Path("sweep.toml").write_text(text)
    code, out, err = repro("run", *arguments)
    assert code == 2 and not out and err.count("\n") == 1 and expected in err, err
    assert not (tmp_path / "results").exists()
