"""Designs: what they can tell apart, what they say about made-up runs of known effects, and what is withheld."""

from itertools import combinations, product

import numpy as np
import pytest
from pydoe import fracfact_aliasing
from scipy.stats import ttest_ind

from repro.config.keys import override
from repro.config.presets import preset
from repro.experiments.design import Factor, Factorial, Screen
from repro.experiments.registry import load
from repro.stats.curves import (
    Specification,
    against_size,
    along_training,
    expected_best,
    sources,
    specification_curve,
)
from repro.stats.designs import (
    aliases,
    analyze_factorial,
    analyze_screen,
    cells,
    failure_effects,
    laid_out,
    lenth_margin,
    levels,
    seeds,
)
from repro.stats.values import Interval


def factors(count: int) -> list[Factor]:
    return [Factor(f"f{number:02}", high={f"key{number}": 1}) for number in range(count)]


def names(count: int) -> list[str]:
    return [factor.name for factor in factors(count)]


# --- generation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "runs"), [(5, 16), (7, 16), (8, 16), (16, 64), (19, 64), (32, 64)])
def test_a_screen_is_balanced_and_its_main_effects_are_clear(count: int, runs: int) -> None:
    rows = levels(Screen(factors(count), ["cifar10"], runs=runs), count)
    assert rows.shape == (runs, count)
    assert len(np.unique(rows, axis=0)) == runs
    assert (rows.T @ rows == runs * np.eye(count)).all() and not rows.sum(axis=0).any()
    for one, two in combinations(range(count), 2):
        assert not (rows.T @ (rows[:, one] * rows[:, two])).any()
    table = aliases(names(count), rows)
    assert not any(table.of_main.values())
    assert sorted(pair for chain in table.chains for pair in chain) == [
        f"{one} x {two}" for one, two in combinations(names(count), 2)
    ]


def test_alias_chains_are_those_of_pydoe() -> None:
    rows = levels(Screen(factors(7), ["cifar10"], runs=16), 7)
    lines = fracfact_aliasing(rows.astype(float))[0]
    theirs = {frozenset(word for word in line.split(" = ") if len(word) == 2) for line in lines} - {frozenset()}
    letter = dict(zip(names(7), "abcdefg", strict=True))
    ours = {
        frozenset("".join(letter[name] for name in pair.split(" x ")) for pair in chain)
        for chain in aliases(names(7), rows).chains
    }
    assert ours == theirs


def test_aliases_name_a_main_effect_that_is_not_clear() -> None:
    full = np.array(list(product((-1, 1), repeat=2)))
    table = aliases(["a", "b", "c"], np.column_stack([full, -full.prod(axis=1)]))
    assert table.of_main == {"a": ("b x c",), "b": ("a x c",), "c": ("a x b",)}


@pytest.mark.parametrize("subsets", [2, 4, 5, 8])
def test_seeds_of_a_screen_are_distinct_and_do_not_alias_subsets_with_factors(subsets: int) -> None:
    screen = Screen(factors(19), ["cifar10"])
    own = np.array(seeds(screen, 64))[:, 0]
    assert sorted(own) == list(range(64))
    dummies = np.eye(subsets)[own % subsets]
    assert (np.abs(levels(screen, 19).T @ dummies) / dummies.sum(axis=0)).max() < 0.8


def test_cells_of_a_factorial_are_all_combinations_as_valid_changes() -> None:
    design = Factorial(
        [
            Factor("dropout", low={"model.dropout": None}, at={"smoke": {"model.dropout.probability": 0.4}}),
            Factor("mirror", high={"augment.mirror": False}),
        ],
        ["smoke"],
        runs=2,
    )
    base = preset("smoke")
    found = {cell.name: cell for cell in cells(design, base, "smoke")}
    assert list(found) == [f"dropout-{one}-mirror-{two}" for one, two in product(("low", "high"), repeat=2)]
    assert {cell.levels for cell in found.values()} == set(product((-1, 1), repeat=2))
    assert found["dropout-high-mirror-low"].changes == {"model.dropout.probability": 0.4}
    assert {cell.seeds for cell in found.values()} == {(0, 1)}
    assert len({override(base, cell.changes) for cell in found.values()}) == 4


@pytest.mark.parametrize("name", load().get("fidelity").presets)
def test_the_rows_of_fidelity_make_a_screen_whose_cells_are_valid_configs(name: str) -> None:
    fidelity = load().get("fidelity")
    rows = [arm.name for arm in fidelity.arms_at(name) if arm.name not in {"as-preset", "all-rows"}]
    found = laid_out(fidelity, name)
    assert found.design and [factor.name for factor in found.design.factors] == rows
    assert len(found.arms) == 64 and len({arm.seeds for arm in found.arms}) == 64
    assert found.arms[0].name == "row-01" and len(found.arms[0].levels or ()) == len(rows)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Factor("Bad name", high={"a": 1}), "lower-case"),
        (lambda: Factor("same", low={"a": 1}, high={"a": 1}), "the same"),
        (lambda: Screen(factors(19), "cifar10"), "list of names"),
        (lambda: Screen(factors(19), ["cifar10"], runs=48), "power of two"),
        (lambda: Screen(factors(19), ["cifar10"], runs=32), "hold 16 factors"),
        (lambda: Screen(factors(4), ["cifar10"], runs=16), "as a Factorial"),
        (lambda: Screen([*factors(7), factors(1)[0]], ["cifar10"], runs=16), "given twice"),
        (lambda: Factorial(factors(7), ["cifar10"]), "declare a Screen"),
        (lambda: Factorial(factors(2), ["cifar10"], runs=0), "1 or more"),
        (lambda: Factorial([Factor("a", at={"tiny": {"b": 1}}), *factors(1)], ["smoke"]), "'tiny' is not among"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(make: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("one", "two", "reason"),
    [
        ({"model.norm": None}, {"model.norm.k": 1.0}, "both change model.norm"),
        ({"augment.mirror": True}, {"model.norm.k": 1.0}, "'one': low and high are the same at smoke"),
        ({"model.towers": 1}, {"model.layers.conv1.kernel": 999}, "model.layers.conv1"),
    ],
)
def test_cells_refuse_factors_that_do_not_combine(one: object, two: object, reason: str) -> None:
    design = Factorial([Factor("one", high=one), Factor("two", high=two)], ["smoke"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason):
        cells(design, preset("smoke"), "smoke")


# --- analysis -------------------------------------------------------------------------------------------------------


def test_a_screen_finds_the_effects_that_were_put_in_and_no_interaction_leaks_into_them() -> None:
    rows = levels(Screen(factors(19), ["cifar10"]), 19)
    noise = 0.05 * np.random.default_rng(1).standard_normal(64)
    errors = 40 + 1.0 * rows[:, 3] - 0.4 * rows[:, 7] + 0.5 * rows[:, 0] * rows[:, 1] + noise
    found = analyze_screen(names(19), rows, errors.tolist())
    effects = {one.name: one.interval.mean for one in found.estimates if one.interval}
    assert effects["f03"] == pytest.approx(2.0, abs=0.05) and effects["f07"] == pytest.approx(-0.8, abs=0.05)
    assert max(abs(effect) for name, effect in effects.items() if name not in {"f03", "f07"}) < 0.05
    assert found.freedom == 44 and found.leak == pytest.approx(0, abs=1e-12) and found.failed == 0
    assert found.lenth_margin is not None
    active = [one for one in found.contrasts if abs(one.effect) > found.lenth_margin]
    assert [one.name.split(" = ")[0] for one in active][-3:] == ["f07", "f00 x f01", "f03"]
    assert len(found.contrasts) == 19 + len(aliases(names(19), rows).chains)
    quantiles = [one.quantile for one in found.contrasts]
    assert quantiles == sorted(quantiles) and quantiles[0] > 0


def test_an_interaction_is_a_difference_of_differences_in_points() -> None:
    rows = np.tile(levels(Factorial(factors(2), ["smoke"]), 2), (4, 1))
    cell = {(-1, -1): 40.0, (1, -1): 38.0, (-1, 1): 37.0, (1, 1): 36.5}
    wiggle = np.repeat([0.1, -0.1, 0.1, -0.1], 4)
    found = analyze_factorial(names(2), rows, [cell[tuple(row)] + off for row, off in zip(rows, wiggle, strict=True)])
    means = {one.name: one.interval.mean for one in found.estimates if one.interval}
    assert means == pytest.approx({"f00": -1.25, "f01": -2.25, "f00 x f01": -0.5 - -2.0})
    assert all(one.interval.low < one.interval.mean < one.interval.high for one in found.estimates if one.interval)
    assert all(one.p is not None and one.holm_p is not None and one.p <= one.holm_p for one in found.estimates)


def test_blocks_take_the_means_of_subsets_out_of_the_spread() -> None:
    rows = np.repeat(levels(Factorial(factors(2), ["smoke"]), 2), 5, axis=0)
    subset = np.tile(np.arange(5), 4)
    errors = (40 + rows[:, 0] + 3 * subset + 0.1 * np.random.default_rng(2).standard_normal(20)).tolist()
    plain, blocked = (analyze_factorial(names(2), rows, errors, settings) for settings in (None, subset.tolist()))
    assert plain.spread and blocked.spread and plain.spread > 3 and blocked.spread < 0.2
    assert blocked.freedom == 20 - 3 - 5


def test_runs_that_do_not_train_are_counted_left_out_and_an_endpoint_of_their_own() -> None:
    rows = levels(Screen(factors(19), ["cifar10"]), 19)
    errors: list[float | None] = (40 + 1.0 * rows[:, 3] + 0.1 * np.random.default_rng(3).standard_normal(64)).tolist()
    high = np.flatnonzero(rows[:, 5] > 0)
    for place in high[:7]:
        errors[place] = None
    found = analyze_screen(names(19), rows, errors)
    assert (found.runs, found.failed) == (64, 7)
    failure = {one.name: one for one in found.failures}["f05"]
    assert failure.low == (0, 32) and failure.high == (7, 32) and failure.p < 0.05
    assert failure.points == pytest.approx(100 * 7 / 32)
    estimate = {one.name: one for one in found.estimates}
    assert estimate["f05"].interval is None
    assert estimate["f05"].withheld == "f05 fails in 0 of 32 runs when low, 7 of 32 when high"
    interval = estimate["f03"].interval
    assert interval and interval.low < 2.0 < interval.high and interval.low > 1.5
    assert found.leak and 0 < found.leak < 0.5
    assert len(found.contrasts) == 19


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([None] * 9 + [40.0 + place % 3 for place in range(55)], "9 of 64 runs did not train"),
        ([90.0] * 64, "the same error"),
    ],
)
def test_no_estimate_is_given_where_the_runs_carry_none(errors: list[float | None], reason: str) -> None:
    found = analyze_screen(names(19), levels(Screen(factors(19), ["cifar10"]), 19), errors)
    assert found.estimates == () and reason in found.reason and len(found.failures) == 19


def test_no_estimate_is_given_from_too_few_runs_or_where_one_run_carries_an_effect() -> None:
    rows = levels(Factorial(factors(2), ["smoke"]), 2)
    assert "too few" in analyze_factorial(names(2), rows, [40.0, 41.0, 42.0, 44.0]).reason
    once = np.array([[-1, -1]] * 3 + [[1, -1]] * 3 + [[-1, 1]] * 3 + [[1, 1]])
    errors = [40.0, 41.0, 42.0] * 3 + [40.0]
    assert "single run" in analyze_factorial(names(2), once, errors).reason
    assert "cannot tell" in analyze_factorial(names(2), once[:9], errors[:9]).reason


def test_an_interaction_is_withheld_where_a_factor_of_it_is() -> None:
    rows = np.tile(levels(Factorial(factors(2), ["smoke"]), 2), (14, 1))
    errors: list[float | None] = (40 + np.random.default_rng(4).standard_normal(56)).tolist()
    for place in np.flatnonzero(rows[:, 0] > 0)[:7]:
        errors[place] = None
    found = analyze_factorial(names(2), rows, errors)
    assert [one.name for one in found.estimates if one.withheld] == ["f00", "f00 x f01"]


def test_analysis_refuses_errors_that_are_not_finite_or_do_not_fit() -> None:
    rows = levels(Factorial(factors(2), ["smoke"]), 2)
    with pytest.raises(ValueError, match="give None"):
        analyze_factorial(names(2), rows, [1.0, 2.0, 3.0, float("nan")])
    with pytest.raises(ValueError, match="3 runs and 2 factors"):
        analyze_factorial(names(2), rows, [1.0, 2.0, 3.0])


def test_failure_effects_of_no_failure_are_nothing() -> None:
    (one,) = failure_effects(["a"], np.array([[-1], [1]]), np.array([False, False]))
    assert (one.points, one.p) == (0.0, 1.0)


def test_lenth_margin_is_that_of_the_worked_formula() -> None:
    contrasts = [0.1, -0.2, 0.3, -0.4, 0.5, 0.6, 9.0]  # median 0.4: 9 is beyond 2.5 * 0.6; then the median is 0.35
    assert lenth_margin(contrasts) == pytest.approx(1.5 * 0.35 * 3.7637, rel=1e-3)  # t of 7/3 degrees of freedom
    assert lenth_margin(contrasts[:6]) is None


# --- curves ---------------------------------------------------------------------------------------------------------


def test_a_line_in_the_log_of_size_is_found_and_its_prediction_is_marked_as_extrapolation() -> None:
    sizes = [10, 100, 1000, 10000]
    noise = [0.01, -0.02, 0.01, 0.0]
    effects = [1 - 0.5 * np.log10(size) + off for size, off in zip(sizes, noise, strict=True)]
    found = against_size(sizes[::-1], effects[::-1], [0.1] * 4, paper_size=1e6)
    assert found.sizes == (10, 100, 1000, 10000)
    assert found.slope and found.slope.low < -0.5 < found.slope.high
    assert found.at_paper and found.at_paper.low < -2.0 < found.at_paper.high and found.extrapolated
    assert found.at_paper.method.endswith("extrapolated")
    inside = against_size(sizes, effects, [0.1] * 4, paper_size=500)
    assert inside.at_paper and not inside.extrapolated
    assert inside.at_paper.high - inside.at_paper.low < found.at_paper.high - found.at_paper.low
    nearest = inside.line[2]  # a prediction of one more effect is wider than the line itself
    assert inside.at_paper.high - inside.at_paper.low > nearest.high - nearest.low
    assert found.band[0].high - found.band[0].low == pytest.approx(2 * 1.96 * 0.1, rel=1e-3)


def test_two_sizes_give_bands_and_no_line() -> None:
    found = against_size([10, 100, 100], [1.0, 2.0, 2.1], [0.1] * 3, paper_size=1000)
    assert len(found.band) == 3 and found.slope is None and found.at_paper is None
    assert found.reason == "a regression takes 3 sizes; here are 2"


def test_curves_refuse_what_has_no_log_or_no_spread() -> None:
    with pytest.raises(ValueError, match="size: must be positive"):
        against_size([0, 1, 2], [1, 1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="standard error: must be positive"):
        against_size([1, 2, 3], [1, 1, 1], [1, 0, 1])
    with pytest.raises(ValueError, match="as many of each"):
        against_size([1, 2], [1, 1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="two or more"):
        along_training([1, 2], [[1, 2]], [[1, 2], [2, 3]])
    with pytest.raises(ValueError, match="2 epochs"):
        along_training([1, 2], [[1], [2]], [[1], [2]])


def test_the_band_along_training_is_welchs_and_open_where_nothing_varies() -> None:
    found = along_training([1, 2], [[90, 41], [90, 43]], [[90, 40], [90, 42], [90, 41]])
    assert found.band[0].mean == 0 and found.band[0].high == np.inf
    samples = ([41, 43], [40, 42, 41])
    assert found.band[1].mean == 1
    assert found.band[1].high == pytest.approx(ttest_ind(*samples, equal_var=False).confidence_interval().high)
    assert found.slope is None


def test_a_specification_curve_is_sorted_and_counts_each_verdict() -> None:
    made = [
        Specification({"rate": rate, "view": view}, Interval(mean, mean - 1, mean + 1, "t"), verdict)
        for rate, view, mean, verdict in [
            ("common", "ten", 2.0, "inconclusive"),
            ("own", "ten", -2.9, "contradicted"),
            ("own", "center", -2.0, "contradicted"),
        ]
    ]
    found = specification_curve(made)
    assert [one.estimate.mean for one in found.specifications] == [-2.9, -2.0, 2.0]
    assert dict(found.shares) == pytest.approx({"contradicted": 2 / 3, "inconclusive": 1 / 3})
    assert next(iter(found.shares)) == "contradicted" and found.median == -2.0
    assert found.choices == {"rate": ("common", "own"), "view": ("ten", "center")}
    for wrong, reason in [([], "at least one"), ([made[0], made[0]], "given twice")]:
        with pytest.raises(ValueError, match=reason):
            specification_curve(wrong)
    with pytest.raises(ValueError, match="other choices"):
        specification_curve([made[0], Specification({"rate": "own"}, made[0].estimate, "not seen")])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_expected_best_is_the_mean_over_all_draws(k: int) -> None:
    errors = [41.0, 36.5, 39.0, 36.5]
    assert expected_best(errors, k) == pytest.approx(np.mean([min(drawn) for drawn in product(errors, repeat=k)]))


def test_expected_best_of_more_trials_than_were_made_is_refused() -> None:
    with pytest.raises(ValueError, match="give 1 to 2"):
        expected_best([1.0, 2.0], 3)


def test_the_interval_of_a_variance_covers_as_promised() -> None:
    generator = np.random.default_rng(5)
    made = sources({f"s{place}": 0.7 * generator.standard_normal(5) for place in range(2000)})
    assert np.mean([one.variance.low < 0.49 < one.variance.high for one in made]) == pytest.approx(0.95, abs=0.015)
    for wrong, reason in [([1.0], "two or more"), ([1.0, 1.0], "did its seed change")]:
        with pytest.raises(ValueError, match=reason):
            sources({"order": wrong})
