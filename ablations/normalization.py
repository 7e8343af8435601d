"""Does a normalization of today do better than that of 2012?  A reader's question on section 3.3.

repro run normalization --preset cifar10 --seeds 3
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="normalization",
    question="Does batch, group or layer normalization give a lower error than local response normalization?",
    factor="model.norm",
    section="-",
    arms=[
        Arm("lrn"),
        Arm("batch", {"model.norm.kind": "batch"}),
        Arm("group", {"model.norm.kind": "group"}),
        Arm("layer", {"model.norm.kind": "layer"}),
        Arm("none", {"model.norm": None}),
        Arm(
            "batch-everywhere",
            {"model.norm.kind": "batch", "model.norm.layers": ["conv1", "conv2", "conv3", "conv4", "conv5"]},
            note="after every convolution, as the batch-normalized re-implementations",
        ),
    ],
    claims=[
        Claim.effect(
            "batch-everywhere", "lrn", top1=-0.8, top5=-0.4,
            source=paper.MATCONVNET, measured=paper.VALIDATION_2012_CENTER,
        ),
        Claim.no_effect("none", "lrn", top1=-0.1, source=paper.CAFFENET128, measured=paper.SMALL_2012),
        Claim.no_effect("none", "lrn", top1=0.1, source=paper.DIGITS, measured=paper.DOGS_AND_CATS),
        Claim.worse("batch-everywhere", "none", source=paper.CAFFE_3437, measured=paper.CIFAR_OTHERS),
        Claim.worse("none", "batch-everywhere", source=paper.CAFFE_3437, measured=paper.SMALL_2012),
    ],
    confounds=[
        "BVLC/caffe#3437 says that batch normalization hurts on CIFAR-10 and helps on ImageNet: two claims about the "
        "same arms, each at its own data",
        "learning rate, initial weights and dropout are those that the paper tuned without batch normalization",
        "published: MatConvNet's batch-normalized net against Caffe's, trained with another program and other "
        "settings",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
