"""Does every convolution matter?  Paper, sections 1 and 7.

repro run depth-ablation --preset cifar10 --seeds 5
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from repro import Arm, Claim, Experiment, PerPreset, Search, paper

if TYPE_CHECKING:
    from repro.config.config import Config

PRESETS = ["smoke", "tiny", "cifar10", "code-2012", "paper"]
LAYERS = "model.layers"


def without_first(_: str, config: Config) -> dict[str, Any]:
    """No conv1: conv2 reads the image as conv1 did, and conv3 shrinks the maps as conv2 did."""
    first, second = config.model.layer("conv1"), config.model.layer("conv2")
    changes: dict[str, Any] = {
        f"{LAYERS}.conv1": None,
        f"{LAYERS}.conv2.connect": "all",
        f"{LAYERS}.conv3.pool": True,
        "model.norm.layers": ["conv2", "conv3"],
    }
    for key in ("kernel", "stride", "pad", "ceil_mode", "init_std"):
        if getattr(first, key) != getattr(second, key):
            changes[f"{LAYERS}.conv2.{key}"] = getattr(first, key)
    if config.schedule.endgame:
        changes["schedule.endgame.layer"] = "conv2"
    return changes


experiment = Experiment(
    name="depth-ablation",
    question="Does removing any one of the five convolutions raise the top-1 error by about two points?",
    factor="model.layers",
    section="7",
    arms=[
        Arm("five-convolutions"),
        Arm(
            "no-conv1",
            at=PerPreset(PRESETS, without_first),
            note="conv2 takes over its window, stride and initial weights, conv3 the pool and norm of conv2",
        ),
        Arm(
            "no-conv2",
            {f"{LAYERS}.conv2": None, f"{LAYERS}.conv3.pool": True, "model.norm.layers": ["conv1", "conv3"]},
            at={"code-2012": {"model.spatial_norm.layers": ["conv3"]}},
            note="conv3 takes over its pool and normalization, so that the maps shrink as before",
        ),
        Arm(
            "no-conv3",
            {f"{LAYERS}.conv3": None, f"{LAYERS}.conv4.connect": "all"},
            note="conv4 takes over the reading of both towers",
        ),
        Arm("no-conv4", {f"{LAYERS}.conv4": None}),
        Arm("no-conv5", {f"{LAYERS}.conv5": None, f"{LAYERS}.conv4.pool": True}, note="conv4 takes over its pool"),
    ],
    claims=[
        Claim.effect(arm, "five-convolutions", top1=2.0, source=paper.section("7"), measured=paper.NOT_SAID)
        for arm in ("no-conv1", "no-conv2", "no-conv3", "no-conv4", "no-conv5")
    ],
    confounds=[
        "the paper does not say what took over the pool and the normalization of the layer removed; each note says "
        "what does here",
        "no-conv5: conv4 has more maps than conv5, so fc6 grows by half",
        "2012: no definition with four convolutions was released",
    ],
    search=Search(),
    presets=PRESETS,
)
