"""The policy of looks: what stays on record when seeds are asked for again. No disk is needed."""

from __future__ import annotations

import pytest

from repro.stats.looks import after, most_looked_at

Ask = tuple[int, int | None]


def on_record(*asked: Ask, finished: int) -> tuple[int, int | None]:
    """Seeds, and the most of several looks, after these were asked for; `finished` runs are there from the first on."""
    looks: tuple[int, ...] = ()
    for seeds, most in asked:
        seen = min(finished, looks[-1] if looks else 0)
        looks = after(looks, seeds, most, seen=seen, judged=seen >= 3)
    return looks[-1], most_looked_at(looks)


@pytest.mark.parametrize(
    ("before", "then", "expected"),
    [
        ((3, None), (3, None), (3, None)),  # one look, taken again
        ((3, None), (10, None), (10, 10)),  # more seeds after a verdict
        ((10, None), (3, None), (10, None)),  # a run beyond them is finished
        ((5, None), (3, 20), (5, 20)),  # --until-decided from fewer seeds than there are
        ((5, 30), (20, 4), (20, 30)),
        ((3, 4), (20, None), (20, 20)),
        ((4, 20), (4, None), (4, 20)),  # what was announced cannot be taken back
        ((2, None), (5, None), (5, None)),  # two seeds have no verdict: the five are the first look
    ],
)
def test_looks_once_taken_stay_on_record(before: Ask, then: Ask, expected: tuple[int, int | None]) -> None:
    assert on_record(before, then, finished=before[0]) == expected


def test_more_seeds_can_be_taken_back_until_one_is_finished() -> None:
    assert on_record((5, None), (50, None), finished=5) == (50, 50)
    assert on_record((5, None), (50, None), (60, None), (5, None), finished=5) == (5, None)
    assert on_record((5, None), (50, None), (5, None), finished=6) == (50, 50)
    assert on_record((5, None), (50, None), (6, None), finished=6) == (6, 50)


def test_fewer_seeds_replace_more_where_none_beyond_them_is_finished() -> None:
    assert on_record((5, None), (2, None), finished=4) == (5, None)
    assert on_record((5, None), (4, None), finished=4) == (4, 5)  # the first number was announced


def test_seeds_that_were_never_finished_were_never_looked_at() -> None:
    assert on_record((3, None), (10, None), finished=2) == (10, None)


def test_one_look_at_the_most_seeds_is_one_look() -> None:
    assert on_record((3, 3), finished=3) == (3, None)


def test_every_look_of_a_sweep_until_decided_is_on_record() -> None:
    looks: tuple[int, ...] = ()
    for seeds in (3, 4, 5):
        looks = after(looks, seeds, 20, seen=looks[-1] if looks else 0, judged=bool(looks))
    assert looks == (20, 3, 4, 5)
    assert after(looks, 5, 20, seen=4, judged=True) == looks  # stopped, and gone on with
