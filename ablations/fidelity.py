"""Where the released 2012 code differs from the printed text, does it matter?  Rows F1 to F30 of their comparison.

repro run fidelity --preset cifar10 --seeds 3              # from the text, one row at a time to the code
repro run fidelity --preset code-2012-cifar10 --seeds 3    # and from the code back

Rows that are no key of a Config: F16 (2178 crops, not 2048), F25 and F26 (data and views of each published effect stand
in its claim), F28 (seeds: `--seeds`). Rows that are experiments of their own: F22 overlapping-pooling, F23
one-vs-two-gpus, F24 lrn-ablation, F27 ensemble, F30 lrn-cifar.
"""

from repro import Ablation, Arm
from repro.config import diff
from repro.presets import preset

TEXT = {"smoke": "code-2012-smoke", "tiny": "code-2012-tiny", "cifar10": "code-2012-cifar10", "paper": "code-2012"}
OTHER = TEXT | {code: text for text, code in TEXT.items()}  # the same scale in the other reading
FULL = ("paper", "code-2012")

DIFFER = {  # row: the keys that it flips to the other reading's values
    "f02-norm1-order": ("model.layers.conv1.order", "model.layers.conv5.order"),  # conv5: the same function
    "f04-alpha-over-n": ("model.norm.over_n",),
    "f06-norm-scope": ("model.norm.scope",),
    "f07-same-map-norm": ("model.spatial_norm",),
    "f08-initial-weights": tuple(f"model.layers.{layer}.init_std" for layer in ("conv3", "conv4", "conv5")),
    "f10-bias-rate-and-decay": ("optim.bias_learning_rate_factor", "optim.bias_weight_decay"),
    "f11-end-game": ("schedule.endgame",),
    "f12-schedule": ("schedule.kind", "schedule.steps", "schedule.bias_steps", "schedule.epochs"),
    "f13-color-noise": ("augment.color",),
    "f14-crop-chunk": ("augment.chunk",),
    "f15-data-order": ("data.order",),
    "all-rows": ("",),  # every key that differs
}
AGREE = [  # rows in which text and code agree, flipped to what re-implementations do
    Arm("f01-conv1-edge", {"model.layers.conv1.ceil_mode": False}, presets=FULL, note="54x54 positions, not 55x55"),
    Arm("f03-norm2-order", {"model.layers.conv2.order": ["norm", "activation", "pool"]}, note="as run 166"),
    Arm("f05-k", {"model.norm.k": 1.0}, note="Caffe"),
    Arm(
        "f09-initial-biases",
        {f"model.layers.{layer}.init_bias": 0.1 for layer in ("conv2", "conv4", "conv5", "fc6", "fc7")},
        note="0.1, not 1: Caffe",
    ),
    Arm("f17-mean", {"data.mean": "channel"}, note="one mean a channel, not a mean picture"),
    Arm(
        "f18-input-scale", {"data.scale": 0.0172}, note="inputs of unit spread, 1/58: normalization becomes a constant"
    ),
    Arm(
        "f19-dropout-form", {"model.dropout.inverted": True}, note="outputs doubled in training, not halved in testing"
    ),
    Arm("f20-momentum-form", {"optim.momentum_form": "torch"}, note="the learning rate outside the velocity"),
    Arm("f21-towers", {"model.towers": 1}, note="every kernel reads all maps"),
    Arm("f29-resize", {"data.resize": "warp"}, presets=FULL, note="both sides to 256: Caffe"),
    Arm(
        "f29b-storage",
        {"data.storage": "jpeg", "data.quality": 85},
        presets=("tiny", "code-2012-tiny", *FULL),
        note="pictures stored as JPEG files, as in 2012: a prepared set of its own",
    ),
]


DIFFERENCES = {scale: diff(preset(scale), preset(other)) for scale, other in OTHER.items()}


def flipped(keys: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """The other reading's values of the keys that differ and start so, at each scale."""
    return {
        scale: {key: theirs for key, (_, theirs) in differences.items() if key.startswith(keys)}
        for scale, differences in DIFFERENCES.items()
    }


ablation = Ablation(
    name="fidelity",
    question="Where the released 2012 code differs from the printed text, does the error?",
    factor="each row of the comparison of text and code",
    section="-",
    arms=[
        Arm("as-preset"),
        *(Arm(row, at=flipped(keys), note="the other reading of this row") for row, keys in DIFFER.items()),
        *AGREE,
    ],
    confounds=["one row at a time: rows may add up or cancel; all-rows is the whole way to the other reading"],
    presets=[
        "smoke",
        "code-2012-smoke",
        "tiny",
        "code-2012-tiny",
        "cifar10",
        "code-2012-cifar10",
        "code-2012",
        "paper",
    ],
)
