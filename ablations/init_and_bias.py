"""Do the initial weights and biases matter?  A reader's question on section 5.

repro run init-and-bias --preset cifar10 --seeds 3
"""

from repro import Arm, Claim, Experiment, PerPreset, Search, paper
from repro.terms import EARLY_ERROR

TEXT, CODE = ("smoke", "tiny", "cifar10", "paper"), ("code-2012",)
PRESETS = ["smoke", "tiny", "cifar10", "code-2012", "paper"]
ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")  # the layers whose biases start at 1
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def bias(value: float) -> dict[str, float]:
    """The biases that the paper starts at 1, started at `value`."""
    return {f"model.layers.{layer}.init_bias": value for layer in ONES}


def spread(times: float, *layers: str) -> PerPreset:
    """Each scale's own initial weights of the named layers, times `times`."""
    return PerPreset(
        PRESETS,
        lambda name, own: {
            f"model.layers.{layer}.init_std": round(own.model.layer(layer).init_std * times, 6) for layer in layers
        },
    )


experiment = Experiment(
    name="init-and-bias",
    question="Does it matter how weights and biases start?",
    factor="model.layers.*.init_std, model.layers.*.init_bias",
    section="-",
    arms=[
        Arm(
            "as-preset",
            note="weights of 0.01 (the code: 0.03 in conv3 to conv5), biases of 1 in conv2, 4, 5, fc6, fc7",
        ),
        Arm("biases-0", bias(0.0)),
        Arm("biases-tenth", bias(0.1)),
        Arm(
            "conv-weights-3x",
            at=spread(3, "conv3", "conv4", "conv5"),
            presets=TEXT,
            note="0.03 at full size: the step from the text to the code",
        ),
        Arm(
            "conv-weights-third",
            at=spread(1 / 3, "conv3", "conv4", "conv5"),
            presets=CODE,
            note="0.01 at full size: the step from the code to the text",
        ),
        Arm(
            "caffe",
            bias(0.1),
            at=spread(0.5, "fc6", "fc7"),
            note="bvlc_alexnet: weights of 0.005 in the full layers",
        ),
        Arm("caffe-biases-1", at=spread(0.5, "fc6", "fc7"), note="the same with biases of 1: 'flat loss' to them"),
        Arm("kaiming", {f"model.layers.{layer}.init_std": "kaiming" for layer in LAYERS}),
        Arm(
            "torch",
            {f"model.layers.{layer}.init_{part}": "torch" for layer in LAYERS for part in ("std", "bias")},
            note="PyTorch's defaults, for weights and biases",
        ),
    ],
    claims=[
        Claim.worse("biases-0", "as-preset", metric=EARLY_ERROR, source=paper.section("5"), measured=paper.NOT_SAID),
        Claim.worse("caffe-biases-1", "caffe", source=paper.CAFFE_ALEXNET, measured=paper.VALIDATION_2012_CENTER),
    ],
    confounds=[
        "reduced settings start from wider weights than 0.01, so that each layer multiplies its input's spread as at "
        "full size",
    ],
    search=Search(),
    presets=PRESETS,
)
