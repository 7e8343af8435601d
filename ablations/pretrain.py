"""Does it help to train on many classes first, and then on few?  Paper, section 6, starred rows of Table 2.

repro run pretrain --preset tiny --seeds 3
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repro import Arm, Claim, Ensemble, Experiment, PerPreset, Search, paper

if TYPE_CHECKING:
    from repro.config.config import Config

# Classes that the net is tested on; the others are those that it is trained on first.
FEW = {"smoke": 4, "tiny": 40, "cifar10": 4}


def few(name: str, own: Config) -> dict[str, object]:
    """The first few classes only."""
    return {"data.classes": FEW[name]}


def sixth(name: str, own: Config) -> dict[str, object]:
    """As run 146-2012-2011: a convolution over the last pool that reads both towers, weights of 0.03, biases of 1."""
    maps, spread = own.model.layer("conv5").maps, 3 * own.model.layer("conv3").init_std
    return {"model.layers.conv6": {"maps": maps, "kernel": 3, "pad": 1, "init_std": spread, "init_bias": 1.0}}


def first_others(name: str, own: Config) -> dict[str, object]:
    """Trained first on the classes that are not tested, as long again."""
    many = own.data.classes - FEW[name]
    return {"pretrain": {"first_class": FEW[name], "classes": many, "epochs": own.schedule.epochs}}


experiment = Experiment(
    name="pretrain",
    question="Is the error lower after training on many other classes first?",
    factor="pretrain, model.layers.conv6",
    section="6",
    arms=[
        Arm("from-scratch", at=PerPreset(FEW, few)),
        Arm("six-convolutions", at=PerPreset(FEW, lambda *at: few(*at) | sixth(*at))),
        Arm("pretrained", at=PerPreset(FEW, lambda *at: few(*at) | first_others(*at))),
        Arm(
            "pretrained-six", at=PerPreset(FEW, lambda *at: few(*at) | sixth(*at) | first_others(*at)),
            note="'1 CNN*'",
        ),
        Arm(
            "seven", ensemble=Ensemble(of=("from-scratch", "pretrained-six"), seeds=(5, 2)),
            note="'7 CNNs*': five nets and two that were trained on more images first, equal weights",
        ),
    ],
    claims=[
        Claim.effect(
            "pretrained-six", "from-scratch", top1=-1.7, top5=-1.6,
            source=paper.table("2"), measured=paper.VALIDATION_2012, runs=paper.runs("146-2012-2011", "145"),
        ),
        Claim.effect(
            "seven", "from-scratch", top1=-4.0, top5=-2.8, source=paper.table("2"), measured=paper.VALIDATION_2012,
        ),
        Claim.value("six-convolutions", top1=67.4, top5=40.9, source=paper.section("6"), measured=paper.FALL_2009),
    ],
    confounds=[
        "the paper trained first on all of ImageNet Fall 2011, 15 million images of 22,000 classes that hold the "
        "1,000 tested; here the classes trained on first and those tested have nothing in common",
        "pretrained arms take twice the epochs",
        "2012: the five nets of '7 CNNs*' are those of '5 CNNs', which are not named; here five seeds of one",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10"],
)  # fmt: skip
