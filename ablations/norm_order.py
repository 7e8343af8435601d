"""In which order do ReLU, normalization and pool belong?  A reader's question on sections 3.3 and 3.5.

repro run norm-order --preset cifar10 --seeds 3
"""

from repro import Arm, Claim, Experiment, Search, paper

TEXT = ("smoke", "tiny", "cifar10", "paper")
FIRST, SECOND = "model.layers.conv1.order", "model.layers.conv2.order"
RELU_NORM_POOL = ["activation", "norm", "pool"]
RELU_POOL_NORM = ["activation", "pool", "norm"]
NORM_RELU_POOL = ["norm", "activation", "pool"]
NORM_POOL_RELU = ["norm", "pool", "activation"]
POOL_NORM_RELU = ["pool", "norm", "activation"]

experiment = Experiment(
    name="norm-order",
    question="Does the order of ReLU, normalization and pool matter?",
    factor=f"{FIRST}, {SECOND}",
    section="-",
    arms=[
        Arm("relu-norm-pool", at={"code-2012": {FIRST: RELU_NORM_POOL}}, note="the text, in both layers"),
        Arm(
            "as-145", at={name: {FIRST: NORM_POOL_RELU} for name in TEXT},
            note="the code: layer 1 normalizes the linear outputs, layer 2 as the text",
        ),
        Arm(
            "relu-pool-norm", {FIRST: RELU_POOL_NORM, SECOND: RELU_POOL_NORM},
            note="both layers: run 120-2012, CaffeNet",
        ),
        Arm(
            "norm-relu-pool", {FIRST: NORM_RELU_POOL, SECOND: NORM_RELU_POOL},
            note="both layers: squares of negative outputs count",
        ),
        Arm("pool-norm-relu", {FIRST: POOL_NORM_RELU, SECOND: POOL_NORM_RELU}, note="both layers"),
        Arm("as-166", {SECOND: NORM_RELU_POOL}, note="run 166: the normalization of layer 2 below its ReLU"),
    ],
    claims=[
        Claim.no_effect(
            "as-145", "relu-pool-norm", top1=-0.11, top5=-0.14,
            source=paper.notes("131", "120-2012"), measured=paper.VALIDATION_2012,
            runs=paper.runs("131", "120-2012"),
        ),
    ],
    confounds=[
        "2012: runs 131 and 120-2012 are of a net with a low-resolution path beside conv1 and k = 1, one run each",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
