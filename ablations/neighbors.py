"""Are images that lie near each other in the last hidden layer alike?  Paper, section 6.1, Figure 4.

repro run neighbors --preset tiny    # trains nothing that `baseline` has trained
"""

from repro import Arm, Experiment

experiment = Experiment(
    name="neighbors",
    question="Are training images that lie nearest to a test image in the last hidden layer of the same kind?",
    factor="nothing: each preset as it is",
    section="6.1",
    arms=[Arm("alexnet")],
    confounds=[
        "the paper chose the images that it shows by hand; ours are the first test images of as many classes",
    ],
    artifacts=["neighbors"],
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
