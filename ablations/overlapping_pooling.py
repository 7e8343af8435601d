"""Do pooling windows that overlap lower the error?  Paper, section 3.4.

repro run overlapping-pooling --preset cifar10 --seeds 5
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="overlapping-pooling",
    question="Do pooling windows that overlap give a lower error than windows that do not?",
    factor="model.pool.size",
    section="3.4",
    arms=[
        Arm("overlapping"),
        Arm(
            "no-overlap", {"model.pool.size": 2},
            note="the plain swap that the text describes; every other key as it was",
        ),
        Arm(
            "as-147",
            {"model.pool.size": 2, "model.layers.conv2.pad": 1, "model.layers.conv5.pad": 0},
            presets=("code-2012", "paper"),
            note="run 147: less padding keeps the last map at 6x6, by way of 55, 28, 26, 13, 11",
        ),
    ],
    claims=[
        Claim.effect(
            "no-overlap", "overlapping", top1=0.4, top5=0.3,
            source=paper.section("3.4"), measured=paper.VALIDATION_2012, runs=paper.runs("147", "145"),
        ),
        Claim.effect(
            "as-147", "overlapping", top1=0.4, top5=0.3,
            source=paper.section("3.4"), measured=paper.VALIDATION_2012, runs=paper.runs("147", "145"),
        ),
        Claim.overfits("no-overlap", "overlapping", source=paper.section("3.4"), measured=paper.NOT_SAID),
    ],
    confounds=[
        "2012: run 147 also took away padding in layers 2 and 5",
        "2012: the two runs dropped their learning rates at other epochs (23, 51 against 25, 51, 79)",
        "no-overlap: a map of even side ends up one position larger or smaller than with size 3, so layer fc6 may "
        "differ in size",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
