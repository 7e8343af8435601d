"""Which nonlinearity suits this net?  A reader's question on section 3.1, which names ReLU, tanh and |tanh|.

repro run activations --preset cifar10 --seeds 3
"""

from repro import Arm, Claim, Experiment, Search, paper

# Biases of 1 are there to give ReLUs positive inputs (section 5); there, bounded units are saturated from the start.
CENTERED = {f"model.layers.{layer}.init_bias": 0.0 for layer in ("conv2", "conv4", "conv5", "fc6", "fc7")}

experiment = Experiment(
    name="activations",
    question="Does any other nonlinearity give this net a lower error than the ReLU?",
    factor="model.activation",
    section="-",
    arms=[
        Arm("relu"),
        Arm("tanh", {"model.activation": "tanh"} | CENTERED, note="starts with biases of 0"),
        Arm(
            "abs-tanh", {"model.activation": "abs-tanh"} | CENTERED,
            note="|tanh(x)|, which section 3.1 mentions; starts with biases of 0",
        ),
        Arm("sigmoid", {"model.activation": "sigmoid"} | CENTERED, note="starts with biases of 0"),
        Arm("leaky-relu", {"model.activation": "leaky-relu"}),
        Arm("elu", {"model.activation": "elu"}, note="e^x - 1 below zero"),
        Arm("gelu", {"model.activation": "gelu"}),
        Arm("none", {"model.activation": "none"}, note="linear but for max pooling, normalization and the softmax"),
    ],
    claims=[
        Claim.effect("tanh", "relu", top1=7.0, source=paper.CAFFENET128, measured=paper.SMALL_2012),
        Claim.effect("none", "relu", top1=8.2, source=paper.CAFFENET128, measured=paper.SMALL_2012),
        Claim.worse("relu", "leaky-relu", source=paper.CAFFE_3437, measured=paper.CIFAR_OTHERS),
        Claim.worse("leaky-relu", "relu", source=paper.CAFFE_3437, measured=paper.SMALL_2012),
    ],
    confounds=[
        "BVLC/caffe#3437 says that leaky units help on CIFAR-10 and hurt on ImageNet; its units leak a third, ours a "
        "hundredth",
        "bounded units start with biases of 0, not 1: with 1, the net of tanh units stayed at chance",
        "initial weights are as the paper tuned them for ReLUs",
        "each arm has its own rate, the best on held-out images",
        "the published numbers are from nets without normalization at half the resolution, half as wide in the full "
        "layers, with other initial weights, one run each",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
