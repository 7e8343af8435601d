"""The presets against the published counts, and the two readings of the paper against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro import store
from repro.commands.describe import compare_presets, fidelity_table, markdown, model_table
from repro.config import presets
from repro.config.keys import diff, flatten, override
from repro.config.presets import PRESETS, preset
from repro.experiments.readings import READINGS, Reading, reading_of

BOTH_READINGS = {
    "paper": "code-2012",
    "tiny": "code-2012-tiny",
    "cifar10": "code-2012-cifar10",
    "smoke": "code-2012-smoke",
}


def parameters(name: str, **changes: object) -> int:
    return sum(shape.parameters for shape in override(preset(name), changes).shapes())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("paper", 60_965_224),
        ("code-2012", 60_965_224),
        ("caffe-alexnet", 60_965_224),
        ("caffenet", 60_965_224),
        ("cuda-convnet2", 61_100_840),
        ("torchvision", 61_100_840),
        ("cifar-26", 145_578),
        ("cifar-19", 89_578),
        ("cifar-18", 89_578),
        ("figure-1", 89_578),
        ("cifar-13", 1_116_490),
        ("cifar-13-lrn", 1_116_490),
        ("cifar-11", 2_112_970),
    ],
)
def test_parameters(name: str, expected: int) -> None:
    """Counted by hand from the released layer files; torchvision publishes its own number."""
    assert parameters(name) == expected


def test_neurons_are_650_thousand() -> None:
    assert sum(shape.neurons for shape in preset("paper").shapes()) == 659_272


def test_the_net_for_one_gpu() -> None:
    """Run 145-half: half of conv1 to conv4, conv5 and the full layers whole (footnote 2): 59.8 million."""
    half = {"conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192}
    changes = {f"model.layers.{name}.maps": maps for name, maps in half.items()}
    assert parameters("code-2012", **{"model.towers": 1}, **changes) == 59_798_312


@pytest.mark.parametrize(("text", "code"), BOTH_READINGS.items())
def test_every_setting_has_both_readings_that_differ_in_rows_only(text: str, code: str) -> None:
    for key in diff(preset(text), preset(code)):
        assert reading_of(key), f"{key} differs between {text} and {code}, and no row of readings.py says so"
    same = {key for key in flatten(preset(text)) if key.startswith("model.layers.") and key.endswith(".maps")}
    assert not same & set(diff(preset(text), preset(code)))


def test_rows_say_truly_whether_text_and_code_agree() -> None:
    """A row whose keys have one value in both presets gives another level; the others are two levels themselves."""
    text, code = preset("paper"), preset("code-2012")
    differing = {reading.row for key in diff(text, code) if (reading := reading_of(key))}
    assert differing == {"F2", "F4", "F6", "F7", "F8", "F10", "F11", "F12", "F13", "F14", "F15", "F17"}
    for reading in READINGS:
        assert reading.row in differing or reading.other or not reading.keys


@pytest.mark.parametrize("reading", [pytest.param(one, id=one.row) for one in READINGS])
def test_every_row_is_a_key_with_two_levels(reading: Reading) -> None:
    text = preset("paper")
    known = flatten(text) | flatten(preset("code-2012"))
    for key in reading.keys:
        assert any(name == key or name.startswith(f"{key}.") for name in known), f"{key} is no key of a Config"
    for level in filter(None, (reading.other, reading.third)):
        changed = override(text, level)
        assert set(diff(text, changed)) == set(level)
        assert reading.row == "F24" or set(level) & set(reading.keys)


def test_rows_are_f1_to_f33() -> None:
    assert [reading.row for reading in READINGS] == sorted(
        [*(f"F{number}" for number in range(1, 34)), "F29b"], key=lambda row: (int(row[1:].rstrip("b")), row)
    )
    without = {reading.row for reading in READINGS if not reading.keys}
    # a note, a way to average, the seeds, a pair of presets; how images are resized, ties, whose mean
    assert without == {"F16", "F27", "F28", "F30", "F31", "F32", "F33"}


def test_the_page_of_readings_is_what_the_presets_say() -> None:
    page = Path(__file__).parent.parent / "docs" / "fidelity.md"
    assert page.read_text() == markdown(), "write it again: python -m repro.commands.describe > docs/fidelity.md"


def test_the_table_of_readings_holds_the_presets_values() -> None:
    columns, rows = fidelity_table()
    places = {row[columns.index("key")]: row for row in rows}
    init = places["model.layers.conv4.init_std"]
    assert (init[columns.index("paper")], init[columns.index("code-2012")]) == ("0.01", "0.03")


def test_comparing_presets_names_each_difference_and_its_source() -> None:
    columns, rows = compare_presets("paper", "code-2012")
    assert columns == ("key", "paper", "code-2012", "why")
    assert {row[0] for row in rows} == set(diff(preset("paper"), preset("code-2012")))
    over_n = next(row for row in rows if row[0] == "model.norm.over_n")
    assert over_n[1:3] == ("false", "true")
    assert "F4" in over_n[3]
    assert "layer.py line 1183" in over_n[3]
    with pytest.raises(ValueError, match="did you mean 'code-2012'"):
        compare_presets("paper", "code-2013")


def test_a_name_that_is_like_none_brings_all_names() -> None:
    with pytest.raises(ValueError, match=r"no preset 'nope'; known: .*caffenet.*torchvision"):
        preset("nope")


def test_the_model_table_adds_up() -> None:
    columns, rows = model_table(preset("paper"))
    by = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert by["all"]["parameters"] == "60,965,224"
    assert by["all"]["neurons"] == "659,272"
    assert by["conv2"]["reads"] == "48x27²"
    assert by["conv3"]["bytes exchanged"] == f"{4 * 256 * 13 * 13:,}"


def test_the_row_of_the_color_noise_gives_both_readings_in_gray_levels() -> None:
    """0.1 times each root of cuda-convnet2's input_meta, or its square in units of [0, 1] pixels."""
    row = next(reading for reading in READINGS if reading.row == "F13")
    roots = (19.72, 37.09, 121.78)
    assert [f"{0.1 * root:.2f}" in row.code for root in roots] == [True] * 3
    assert [f"{0.1 * root**2 / 255:.2f}" in row.text for root in roots] == [True] * 3


def test_presets_subtract_the_mean_where_their_sources_do() -> None:
    """F17: the text and Caffe each pixel's own, cuda-convnet's programs the center of the mean image."""
    pixel = [name for name in PRESETS if preset(name).data.mean == "pixel"]
    own = {name for name in pixel if preset(name).data.mean_at == "offset"}
    assert own == {"paper", "caffe-alexnet", "caffenet"}


def test_presets_visit_images_in_the_order_of_their_sources() -> None:
    """F15: in order in cuda-convnet and Caffe, but for the presets that published runs have tied to the old reading."""
    fixed = {name for name in PRESETS if preset(name).data.order == "fixed"}
    assert fixed >= {"code-2012", "cuda-convnet2", "caffe-alexnet", "caffenet", "cifar-13", "cifar-13-lrn", "cifar-11"}
    assert not fixed & {"paper", "torchvision", "cifar-26", "cifar-18", "cifar-19", "figure-1"}


def test_torchvisions_preset_has_its_literal_means_and_deviations() -> None:
    data = preset("torchvision").data
    assert data.channel_mean == pytest.approx((123.675, 116.28, 103.53))
    assert data.channel_std == pytest.approx((58.395, 57.12, 57.375))


def test_the_clean_pair_differs_in_the_normalization_only() -> None:
    """Commit 3878e8f of cuda-convnet 1; the released pair (13%, 11%) does not."""
    assert set(diff(preset("cifar-13"), preset("cifar-13-lrn"))) == {"model.norm"}
    assert len(diff(preset("cifar-13"), preset("cifar-11"))) > 4


def test_figure_1_has_no_regularization() -> None:
    flat = flatten(preset("figure-1"))
    assert len(preset("figure-1").model.layers) == 4
    assert flat["model.norm"] is flat["model.dropout"] is flat["augment.color"] is None
    assert flat["augment.random_crop"] is flat["augment.mirror"] is False
    assert {value for key, value in flat.items() if key.endswith("weight_decay") and "bias" not in key} == {0.0}
    assert flat["schedule.stop_train_error"] == 25.0


def test_reduced_settings_keep_every_factor_of_the_paper() -> None:
    """Two towers with the same connections, the same normalized, pooled and dropped layers, the same biases."""
    for name in ("tiny", "cifar10", "smoke"):
        for key, (big, small) in diff(preset("paper"), preset(name)).items():
            assert key.split(".")[-1] in (
                "maps", "kernel", "stride", "pad", "ceil_mode", "init_std", "source", "size", "classes", "crop",
                "epochs", "patience", "batch_size", "held_out", "mean_at",
            ), f"{name} changes {key} from {big} to {small}"  # fmt: skip


def test_a_misspelled_preset_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        preset("cifar1O")
    assert len(PRESETS) == len({id(make) for make in PRESETS.values()})


@pytest.mark.parametrize("name", presets.RAN)
def test_what_a_run_of_a_preset_costs_and_reaches_is_what_published_runs_did(name: str) -> None:
    results, said = Path(__file__).parent.parent / "results", presets.RAN[name]
    setting = store.read_setting(results / "experiments" / said.experiment / f"{said.setting}.json")
    assert setting.preset == name
    seeds = setting.seeds_for(said.arm)
    records = [store.read_run(results, setting.arms[said.arm], seed) for seed in seeds]
    assert len(records) == said.runs
    hours = sum(record.seconds * int(record.about("hardware")["threads"]) for record in records) / 3600 / len(records)
    assert said.core_hours == round(hours, 2)
    if said.top1_error is not None:
        errors = [record.errors["center"].top1_error for record in records]
        assert said.top1_error == round(sum(errors) / len(errors), 1)  # type: ignore[arg-type]
