"""Does dropout keep the net from overfitting, and at what cost in time?  Paper, section 4.2.

repro run dropout-ablation --preset cifar10 --seeds 5
"""

from repro import Arm, Claim, Experiment, Search, paper
from repro.terms import EPOCHS_TO_BEST

experiment = Experiment(
    name="dropout-ablation",
    question="Does the net overfit without dropout, and does dropout double the time to converge?",
    factor="model.dropout",
    section="4.2",
    arms=[
        Arm("dropout", note="0.5 in the first two full layers"),
        Arm("no-dropout", {"model.dropout": None}),
    ],
    claims=[
        Claim.overfits("no-dropout", "dropout", source=paper.section("4.2"), measured=paper.NOT_SAID),
        Claim.ratio(
            "dropout", "no-dropout", times=2.0, metric=EPOCHS_TO_BEST,
            source=paper.section("4.2"), measured=paper.NOT_SAID,
        ),
    ],
    confounds=[
        "the paper says 'iterations to converge' without a measure; ours is the epoch of the lowest test error, "
        "under a schedule that ends at the same epoch for both arms",
        "2012: no definition or run note without dropout was released",
        "the paper rescales in test, so without dropout a layer's inputs are twice as large in training, and a rate "
        "may suit one arm and kill the other: each has its own, the best of four on training images after 4 epochs",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
