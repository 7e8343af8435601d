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
    discussion=(
        "On a fifth of CIFAR-10 for 20 epochs, with the rate lowered twice, five pairs of runs cannot tell whether "
        "the net overfits without dropout: in both arms the test error (of the center view) lies three to four points "
        "above the training error. What they do tell is not what the paper is about: without dropout the error is "
        "lower, by six to ten points, each arm at a rate of its own. The likeliest reason for both is the setting. "
        "Crops, mirrors and the small net keep either arm from overfitting, so dropout has nothing to win, and at "
        "half of 256 hidden units it costs what the paper's 4096 can spare. The doubled time cannot be seen: the "
        "drops of the rate, at the same epochs for both, set when a run is best. In the first round, of 12 epochs at "
        "one rate, the error was lower without dropout in all three pairs, too."
    ),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
