"""Does weight decay lower even the training error?  Paper, section 5.

repro run weight-decay --preset cifar10 --seeds 5
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="weight-decay",
    question="Is the training error lower with weight decay than without?",
    factor="optim.weight_decay",
    section="5",
    arms=[
        Arm("decay", note="0.0005"),
        Arm("no-decay", {"optim.weight_decay": 0.0}),
        Arm("decay-tenth", {"optim.weight_decay": 5e-5}),
        Arm("decay-tenfold", {"optim.weight_decay": 5e-3}),
    ],
    claims=[
        Claim.worse("no-decay", "decay", metric="train_error", source=paper.section("5"), measured=paper.NOT_SAID),
    ],
    confounds=[
        "training error here is that of the finished net in test mode, without dropout and augmentation; the paper "
        "does not say",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
