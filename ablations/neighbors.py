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
    discussion=(
        "Figure 4 shows eight test images with the five labels that the net finds most likely, and six nearest "
        "training images (Euclidean distance between the outputs of the last hidden layer) for each of five. "
        "The paper gives no number. The first round, on ten ImageNet classes at 64x64, looks as the paper's "
        "figure does: most of the nearest training images are of the test image's kind, and unlike it pixel "
        "by pixel. Where the net is wrong (a French horn taken for a chain saw) its neighbors are of the wrong "
        "kind too. The image shows photographs of others and is therefore not published; the command draws it."
    ),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
