"""The paper's numbers, held against each other: one is printed in a table, the other in a sentence or a run note."""

from __future__ import annotations

import pytest

from repro import paper
from repro.experiments.registry import load

EXPERIMENTS = load().experiments


def row(who: str, measured: str) -> paper.TableRow:
    (found,) = (row for row in paper.TABLES if row.who == who and row.measured == measured)
    return found


def published(name: str, arm: str, index: int = 0) -> dict[str, float | None]:
    """The numbers of an experiment's claim on an arm."""
    return dict([claim for claim in EXPERIMENTS[name].claims if claim.arm == arm][index].published)


@pytest.mark.parametrize(
    ("name", "arm", "one", "other"),
    [
        ("ten-view", "ten", ("CNN", "ILSVRC-2010 test"), ("CNN without ten-patch averaging", "ILSVRC-2010 test")),
        ("ensemble", "five", ("5 CNNs", "ILSVRC-2012 validation"), ("1 CNN", "ILSVRC-2012 validation")),
        ("pretrain", "seven", ("7 CNNs*", "ILSVRC-2012 validation"), ("1 CNN", "ILSVRC-2012 validation")),
        ("pretrain", "pretrained-six", ("1 CNN*", "ILSVRC-2012 validation"), ("1 CNN", "ILSVRC-2012 validation")),
    ],
)
def test_effects_are_differences_of_table_rows(
    name: str, arm: str, one: tuple[str, str], other: tuple[str, str]
) -> None:
    """The sign is that of arm minus reference: what lowers the error is negative."""
    better, worse = row(*one), row(*other)
    for metric, points in published(name, arm).items():
        assert points == pytest.approx(getattr(better, metric) - getattr(worse, metric))


def test_the_baseline_claims_are_the_table_rows() -> None:
    rows = [
        row("CNN", "ILSVRC-2010 test"),
        row("CNN without ten-patch averaging", "ILSVRC-2010 test"),
        row("1 CNN", "ILSVRC-2012 validation"),
    ]
    for index, one in enumerate(rows):
        numbers = {"top1_error": one.top1_error, "top5_error": one.top5_error}
        assert published("baseline", "alexnet", index) == numbers
    fall = next(row for row in paper.TABLES if row.who == "CNN with a sixth convolution")
    assert published("pretrain", "six-convolutions") == {"top1_error": fall.top1_error, "top5_error": fall.top5_error}


@pytest.mark.parametrize(("run", "one"), [("145", "1 CNN"), ("146-2012-2011", "1 CNN*")])
def test_run_notes_round_to_the_table(run: str, one: str) -> None:
    note, printed = paper.RUNS[run], row(one, "ILSVRC-2012 validation")
    assert (round(note.top1_error, 1), round(note.top5_error, 1)) == (printed.top1_error, printed.top5_error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (paper.section("3.3"), "section 3.3 (Local Response Normalization)"),
        (paper.table("2"), "Table 2, section 6 (Results)"),
        (paper.figure("1"), "Figure 1, section 3.1 (ReLU Nonlinearity)"),
        (paper.footnote("5"), "footnote 5, section 6 (Results)"),
        (paper.notes("131", "135"), "2012 run notes 131 and 135"),
    ],
)
def test_sources_read_as_citations(text: str, expected: str) -> None:
    assert text == expected


def test_a_section_or_run_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no section '3\.6'"):
        paper.section("3.6")
    with pytest.raises(ValueError, match="no run note '1455'; did you mean '145'"):
        paper.runs("1455")
