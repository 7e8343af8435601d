"""What does the net of the paper reach, here?  Paper, section 6, Tables 1 and 2; peers beside it.

    repro run baseline --preset cifar10 --seeds 3
"""

from repro import Ablation, Arm, Claim, paper

ablation = Ablation(
    name="baseline",
    question="Does the net reach the errors that were published for it?",
    factor="nothing: each preset as it is",
    section="6",
    arms=[
        Arm("alexnet", presets=("smoke", "tiny", "cifar10", "code-2012", "paper"), note="the paper's net at each scale"),
        Arm("cifar-26", presets=("cifar-26",), note="layers-80sec.cfg, which took 80 seconds in 2011"),
    ],
    claims=[
        Claim.value(
            "alexnet", top1=37.5, top5=17.0, source=paper.table("1"), measured=paper.TEST_2010, runs=paper.runs("145-2010")
        ),
        Claim.value(
            "alexnet", top1=39.0, top5=18.3, source=paper.footnote("5"), measured=paper.TEST_2010_CENTER,
            runs=paper.runs("145-2010-center"),
        ),
        Claim.value(
            "alexnet", top1=40.7, top5=18.2, source=paper.table("2"), measured=paper.VALIDATION_2012, runs=paper.runs("145")
        ),
        Claim.value("cifar-26", top1=26.0, source=paper.CUDA_CONVNET, measured=paper.CIFAR_TEST),
    ],
    confounds=[
        "2012: one run each; other runs of the same net, in the same notes, spread over 0.3 to 0.5 points of top-1 error",
        "2012: pictures were stored as JPEG files again after the resize; ours are stored raw",
    ],
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper", "cifar-26"],
)  # fmt: skip
