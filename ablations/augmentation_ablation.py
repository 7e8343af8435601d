"""What do crops, mirrors and color noise each bring?  Paper, section 4.1.

repro run augmentation-ablation --preset cifar10 --seeds 5
"""

from repro import Arm, Claim, Experiment, Search, paper

CODE = ("code-2012",)  # its color noise is the standard deviation, divided; elsewhere it is the text's eigenvalue
TEXT = ("smoke", "tiny", "cifar10", "paper")

experiment = Experiment(
    name="augmentation-ablation",
    question="Does the net overfit without random crops and mirrors, and does color noise take a point off its error?",
    factor="augment.random_crop, augment.mirror, augment.color",
    section="4.1",
    arms=[
        Arm("all", note="crops, mirrors and color noise"),
        Arm("color-only", {"augment.random_crop": False, "augment.mirror": False}, note="center crops, no mirrors"),
        Arm("crops-mirrors-only", {"augment.color": None}),
        Arm("none", {"augment.random_crop": False, "augment.mirror": False, "augment.color": None}),
        Arm("no-mirrors", {"augment.mirror": False}),
        Arm("no-crops", {"augment.random_crop": False}),
        Arm(
            "color-stddev", {"augment.color.kind": "stddev"}, presets=TEXT,
            note="root of the eigenvalue, as convdata.py",
        ),
        Arm(
            "color-code", {"augment.color.kind": "stddev", "augment.color.divide": True}, presets=TEXT,
            note="convdata.py to the end: root of the eigenvalue, then training images divided by 1.1",
        ),
        Arm(
            "color-text", {"augment.color.kind": "eigenvalue", "augment.color.divide": False}, presets=CODE,
            note="the text's eigenvalue",
        ),
        Arm(
            "color-lighting", {"augment.color.kind": "lighting"},
            note="the constants that most re-implementations copy",
        ),
    ],
    claims=[
        Claim.overfits("color-only", "all", source=paper.section("4.1"), measured=paper.NOT_SAID),
        Claim.at_least("crops-mirrors-only", "all", top1=1.0, source=paper.section("4.1"), measured=paper.NOT_SAID),
    ],
    confounds=[
        "the text multiplies the noise by the eigenvalue, the code by its root; the text's reading is in units of "
        "pixels in [0, 1], where it is 2 to 17 times weaker than the code's (in 0-255 it would be noise of a "
        "thousand gray levels)",
        "2012: no run note without color noise was released; the long runs switched it off at about epoch 67 of 91",
        "without random crops the net sees only the center of each image, so ten views show it places it never saw",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
