"""What should be subtracted from an image?  A reader's question on section 2.

repro run mean-subtraction --preset cifar10 --seeds 3
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="mean-subtraction",
    question="Does it matter which mean is subtracted from an image, or whether its contrast is normalized too?",
    factor="data.mean, data.contrast, data.scale",
    section="-",
    arms=[
        Arm("pixel", note="the mean image: text and code, which place it differently (F17 of fidelity)"),
        Arm("channel", {"data.mean": "channel"}, note="three numbers, as most re-implementations"),
        Arm("scalar", {"data.mean": "scalar"}, note="one number; run 136 found it no better and was stopped"),
        Arm("picture", {"data.mean": "picture"}, note="each image's own mean"),
        Arm("none", {"data.mean": "none"}),
        Arm(
            "global-contrast",
            {"data.mean": "picture", "data.contrast": "global", "data.scale": 58.0},
            note="each image's own mean and deviation, times 58: the usual spread of a pixel",
        ),
        Arm(
            "local-contrast",
            {"data.contrast": "local", "data.scale": 58.0},
            note="mean and deviation of each pixel's neighborhood, times 58",
        ),
    ],
    claims=[
        Claim.effect("none", "pixel", top1=5.5, source=paper.DIGITS, measured=paper.DOGS_AND_CATS),
        Claim.no_effect("channel", "pixel", top1=0.0, source=paper.DIGITS, measured=paper.DOGS_AND_CATS),
    ],
    confounds=[
        "published: errors of 6.35% and 6.00% by the same recipe twice, of 11.63% without a mean, of 6.20% with one "
        "mean a channel; the net without a mean still learned when it ended",
        "contrast normalization makes inputs of unit spread, which the constants of 2012 do not fit; hence the 58",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
