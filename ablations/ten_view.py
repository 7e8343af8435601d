"""What does averaging over ten views of an image bring?  Paper, section 4.1 and footnote 5.

repro run ten-view --preset cifar10 --seeds 3    # trains nothing that `baseline` has trained
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="ten-view",
    question="Is the error lower when predictions are averaged over ten views of an image?",
    factor="the views of a test image",
    section="4.1",
    arms=[
        Arm("center", view="center", note="one center crop"),
        Arm("flips", view="flips", note="the center crop and its mirror image"),
        Arm("ten", view="ten", note="four corners and center, each with its mirror image"),
        Arm("dense", view="dense", note="a denser grid of crops, each with its mirror image"),
    ],
    claims=[
        Claim.effect(
            "ten", "center", top1=-1.5, top5=-1.3,
            source=paper.footnote("5"), measured=paper.TEST_2010, runs=paper.runs("145-2010", "145-2010-center"),
        ),
    ],
    confounds=["the margin between crop and image sets how far the views differ: 32 pixels of 256 in the paper"],
    search=Search(),  # so that the shared runs are those of the tuned net
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
