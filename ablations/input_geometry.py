"""224, 227 or padding?  A reader's question on section 3.5: an 11x11 kernel at stride 4 does not fit 224 pixels.

repro run input-geometry --preset cifar10 --seeds 3
"""

from repro import Arm, Experiment

FULL = ("code-2012", "paper")
SMALL = ("smoke", "tiny", "cifar10")
CONV1 = "model.layers.conv1"

experiment = Experiment(
    name="input-geometry",
    question="Does it matter how the first layer treats the edge of the image?",
    factor=f"augment.crop, {CONV1}.pad, {CONV1}.ceil_mode",
    section="-",
    arms=[
        Arm(
            "as-preset",
            note="full scale: 224, the last window hangs three pixels over the edge and reads zeros there (layer.py)",
        ),
        Arm(
            "227-valid", {"augment.crop": 227, f"{CONV1}.ceil_mode": False}, presets=FULL,
            note="Caffe: 55x55 without padding",
        ),
        Arm(
            "224-pad-2", {f"{CONV1}.pad": 2, f"{CONV1}.ceil_mode": False}, presets=FULL,
            note="torchvision: 55x55, shifted by 2",
        ),
        Arm("224-valid", {f"{CONV1}.ceil_mode": False}, presets=FULL, note="what the text's numbers give: 54x54"),
        Arm("no-pad", {f"{CONV1}.pad": 0}, presets=SMALL, note="no zeros around the image"),
        Arm(
            "one-side", {f"{CONV1}.pad": 0, f"{CONV1}.ceil_mode": True}, presets=("tiny",),
            note="zeros at one edge only",
        ),
        Arm(
            "larger-crop", presets=SMALL, note="fewer offsets for random crops, more image for the net",
            at={"smoke": {"augment.crop": 28}, "cifar10": {"augment.crop": 28}, "tiny": {"augment.crop": 60}},
        ),
    ],
    confounds=["a larger first map makes more work in every layer, and at some settings a larger fc6"],
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
