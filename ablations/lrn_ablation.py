"""Does local response normalization lower the error?  Paper, section 3.3.

repro run lrn-ablation --preset cifar10 --seeds 5
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="lrn-ablation",
    question="Does local response normalization lower the error?",
    factor="model.norm",
    section="3.3",
    arms=[
        Arm("with-lrn"),
        Arm("no-lrn", {"model.norm": None}, note="layers 1 and 2 alike; what the text describes"),
        Arm(
            "as-148",
            {"model.norm": None, "model.spatial_norm": None},
            presets=("code-2012-smoke", "code-2012-cifar10", "code-2012"),
            note="run 148 also lost the same-map norm of layer 2",
        ),
        Arm("conv1-only", {"model.norm.layers": ["conv1"]}),
        Arm("conv2-only", {"model.norm.layers": ["conv2"]}),
    ],
    claims=[
        Claim.effect(
            "no-lrn",
            "with-lrn",
            top1=1.4,
            top5=1.2,
            source=paper.section("3.3"),
            measured=paper.VALIDATION_2012,
            runs=paper.runs("148", "145"),
        ),
        Claim.effect(
            "as-148",
            "with-lrn",
            top1=1.4,
            top5=1.2,
            source=paper.section("3.3"),
            measured=paper.VALIDATION_2012,
            runs=paper.runs("148", "145"),
        ),
        Claim.no_effect(
            "conv1-only",
            "with-lrn",
            top1=-0.04,
            top5=0.07,
            source=paper.notes("167", "170"),
            measured=paper.VALIDATION_2012,
            runs=paper.runs("167", "170"),
        ),
    ],
    confounds=[
        "at the paper's constants normalization divides by 2^0.75 = 1.7 or more in each of two layers, so without it "
        "the layers behind see larger inputs, at the same learning rate",
        "2012: run 148 removed three norm layers, one of which the paper does not mention",
        "2012: run 167 also lost the same-map norm of layer 2, and its learning rate fell further than that of run 170",
        "2012: runs 148 and 145 dropped their learning rates at other epochs (22, 44, 86 against 25, 51, 79)",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012-smoke", "code-2012-cifar10", "code-2012", "paper"],
)
