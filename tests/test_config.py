"""Configs: bad values are refused in one line that names the key; keys are changed, compared and named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.config import Config, digest, from_dict, to_dict
from repro.config.keys import diff, flatten, override, parse_assignments
from repro.config.presets import PRESETS, preset


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.layers.conv2.maps": 33}, ["model.layers.conv2.maps", "33", "2 towers"]),
        ({"model.towers": 3}, ["model.towers", "2", "3"]),
        ({"model.norm.size": 4}, ["model.norm.size", "odd", "4"]),
        ({"model.norm.k": 0.0}, ["model.norm.k", "0"]),
        ({"augment.crop": 40}, ["augment.crop", "40", "32"]),
        ({"augment.crop": 4}, ["model.layers.conv", "augment.crop"]),
        ({"model.norm.layers": ["conv1", "conv9"]}, ["norm.layers", "'conv9'", "did you mean"]),
        ({"model.norm.layers": ["fc6"]}, ["norm.layers", "fc6", "full"]),
        ({"model.dropout.layers": ["fc9"]}, ["dropout.layers", "'fc9'", "did you mean"]),
        ({"model.dropout.layers": ["fc8"]}, ["dropout.layers", "fc8", "last"]),
        ({"model.dropout.probability": 1.0}, ["model.dropout.probability", "less than 1"]),
        ({"model.layers.conv3.order": ["norm", "pool"]}, ["model.layers.conv3.order", "once each"]),
        ({"model.layers.conv3.kernel": 0}, ["model.layers.conv3.kernel", "0"]),
        ({"model.layers.conv3.init_std": -0.1}, ["model.layers.conv3.init_std", "zero or more"]),
        ({"model.layers.fc8.connect": "tower"}, ["fc8.connect", "all towers"]),
        ({"model.layers.fc8.maps": 10}, ["layers", "last layer", "null"]),
        ({"model.layers.features": {"maps": 8, "kernel": 3}}, ["layers.features", "conv6"]),
        ({"model.layers.conv2": None}, ["norm.layers", "'conv2'"]),
        ({"model.layers": None}, ["model.layers: must be a mapping", "None"]),
        ({"model.layers": 3}, ["model.layers: must be a mapping", "3"]),
        ({"model.layers.conv1": 3}, ["model.layers.conv1: must be a mapping", "null"]),
        ({"model.layers": {"conv1": 3}}, ["model.layers.conv1: must be a mapping"]),
        ({"model.layers.conv1.kind": "full"}, ["model.layers.conv1.kernel"]),
        ({"model.norm.layers": [1]}, ["model.norm.layers.0", "string"]),
        ({"model.norm.over_n": "True"}, ["model.norm.over_n", "'True'; write true"]),
        ({"model.layers.fc77": None}, ["'model.layers.fc77'", "did you mean 'fc7'"]),
        ({"model.layers": {"fc77": None}}, ["'model.layers.fc77'", "did you mean 'fc7'"]),
        ({"model.activation": "swish"}, ["model.activation", "swish"]),
        ({"data.storage": "jpeg"}, ["data", "quality"]),
        ({"schedule.steps": [3, 2]}, ["schedule", "rising"]),
        ({"schedule.steps": [3, 5]}, ["schedule", "steps", "plateau"]),
        ({"schedule.endgame": {"layer": "conv0", "slow_epoch": 1, "freeze_epoch": 2, "color_off_epoch": 1}},
         ["schedule.endgame.layer", "'conv0'"]),
        ({"schedule.bias_steps": [1], "schedule.bias_dexp_factor": 10.0}, ["bias_steps", "bias_dexp_factor"]),
        ({"data.channel_mean": [1.0, 2.0, 3.0]}, ["data.channel_mean", "mean channel only", "pixel"]),
        ({"data.channel_std": [1.0, 0.0, 1.0]}, ["data.channel_std", "positive"]),
        ({"augment.resized_crop": {"area": [0.5, 0.1]}}, ["augment.resized_crop.area", "the smaller first"]),
        ({"augment.random_crop": False, "augment.resized_crop": {}}, ["augment.resized_crop", "random_crop"]),
        ({"weights": "\ud800"}, ["weights", r"'\ud800' is no valid text"]),
        ({"model.norm.layers": ["\udcff"]}, ["model.norm.layers", "no valid text"]),
        ({"optim.momentum": 1.0}, ["optim.momentum", "less than 1"]),
        ({"optim.learning_rate": float("nan")}, ["optim.learning_rate"]),
        ({"optim.batch_size": 12.5}, ["optim.batch_size", "12.5"]),
        ({"optim.learnig_rate": 0.1}, ["'optim.learnig_rate'", "did you mean 'learning_rate'"]),
        ({"modle.towers": 1}, ["'modle.towers'", "did you mean 'model'"]),
        ({"model.spatial_norm.size": 3}, ["model.spatial_norm is null", "mapping first"]),
    ],
)  # fmt: skip
def test_bad_values_are_refused_in_one_line_that_names_the_key(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        override(preset("smoke"), changes)
    line = str(refused.value)
    assert "\n" not in line
    for word in words:
        assert word in line


def test_unknown_keys_in_a_whole_config_are_refused() -> None:
    values = to_dict(preset("smoke"))
    values["model"]["layers"]["conv3"]["maxout"] = 2
    with pytest.raises(ValueError, match=r"model\.layers\.conv3\.maxout"):
        from_dict(values)


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = preset(name)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert diff(config, override(config, {})) == {}


def test_override_changes_what_it_names_and_nothing_else() -> None:
    base = preset("smoke")
    changes = {"model.norm.beta": 0.5, "model.layers.conv3.init_std": 0.2, "augment.color": None}
    assert {key: after for key, (_, after) in diff(base, override(base, changes)).items()} == changes


def test_a_mapping_makes_a_part_or_changes_some_of_it() -> None:
    base = preset("smoke")
    made = override(base, {"model.spatial_norm": {"same_map": True, "layers": ["conv2"]}})
    assert made.model.spatial_norm is not None
    assert made.model.spatial_norm.same_map
    assert made.model.spatial_norm.size == 5
    part = override(made, {"model.norm": {"k": 1.0}})
    assert diff(made, part) == {"model.norm.k": (2.0, 1.0)}


def test_layers_come_and_go() -> None:
    base = preset("smoke")
    without = override(base, {"model.layers.conv4": None})
    assert [layer.name for layer in without.model.layers] == ["conv1", "conv2", "conv3", "conv5", "fc6", "fc7", "fc8"]
    sixth = override(base, {"model.layers.conv6": {"maps": 32, "kernel": 3, "pad": 1}})
    assert [layer.name for layer in sixth.model.layers][4:7] == ["conv5", "conv6", "fc6"]


def test_a_config_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        preset("smoke").optim.momentum = 0.5  # type: ignore[misc]


def test_digest_names_what_changes_numbers_and_the_data() -> None:
    base = preset("smoke")
    names = {
        digest(override(base, changes), data)
        for changes, data in [({}, "a"), ({}, "b"), ({"optim.momentum": 0.8}, "a"), ({"model.norm": None}, "a")]
    }
    assert len(names) == 4
    assert digest(override(base, {"eval.views": ["center"]}), "a") in names


def test_assignments_are_json_or_words() -> None:
    text = [
        "optim.batch_size=64",
        "model.norm=null",
        "data.mean=none",
        "data.source=photos",
        "schedule.steps=[1,2]",
    ]
    assert parse_assignments(text) == {
        "optim.batch_size": 64, "model.norm": None, "data.mean": "none", "data.source": "photos",
        "schedule.steps": [1, 2],
    }  # fmt: skip
    with pytest.raises(ValueError, match="'none'; write null for nothing"):
        override(preset("smoke"), parse_assignments(["model.dropout=none"]))
    with pytest.raises(ValueError, match="key=value"):
        parse_assignments(["optim.batch_size"])
    with pytest.raises(ValueError, match="given twice"):
        parse_assignments(["a.b=1", "a.b=2"])


@given(
    momentum=st.floats(0, 0.999),
    rate=st.floats(1e-6, 10),
    size=st.integers(0, 12).map(lambda half: 2 * half + 1),
    crop=st.integers(16, 32),
    towers=st.sampled_from([1, 2]),
)
def test_any_valid_values_round_trip(momentum: float, rate: float, size: int, crop: int, towers: int) -> None:
    changes = {
        "optim.momentum": momentum, "optim.learning_rate": rate, "model.norm.size": size, "augment.crop": crop,
        "model.towers": towers,
    }  # fmt: skip
    config = override(preset("smoke"), changes)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert {key: flatten(config)[key] for key in changes} == changes
    assert isinstance(config, Config)
