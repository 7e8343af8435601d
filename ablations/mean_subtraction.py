"""What should be subtracted from a picture?  A reader's question on section 2.

    repro run mean-subtraction --preset cifar10 --seeds 3
"""

from repro import Ablation, Arm

ablation = Ablation(
    name="mean-subtraction",
    question="Does it matter which mean is subtracted from a picture, or whether its contrast is normalized too?",
    factor="data.mean, data.contrast",
    section="-",
    arms=[
        Arm("pixel", note="the mean picture: text and code"),
        Arm("channel", {"data.mean": "channel"}, note="three numbers, as most re-implementations"),
        Arm("scalar", {"data.mean": "scalar"}, note="one number; run 136 found it no better and was stopped"),
        Arm("picture", {"data.mean": "picture"}, note="each picture's own mean"),
        Arm("none", {"data.mean": "none"}),
        Arm("global-contrast", {"data.mean": "picture", "data.contrast": "global"}, note="then over the picture's own deviation"),
        Arm("local-contrast", {"data.contrast": "local"}, note="over the deviation in each pixel's neighborhood"),
    ],
    confounds=["contrast normalization also changes the size of the inputs, which the constants of the normalization layers assume"],
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
