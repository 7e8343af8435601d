"""Are pictures that lie near each other in the last hidden layer alike?  Paper, section 6.1, Figure 4.

repro run neighbors --preset tiny    # trains nothing that `baseline` has trained
"""

from repro import Ablation, Arm

ablation = Ablation(
    name="neighbors",
    question="Are training pictures that lie nearest to a test picture in the last hidden layer of the same kind?",
    factor="nothing: each preset as it is",
    section="6.1",
    arms=[Arm("alexnet")],
    confounds=[
        "the paper chose the pictures that it shows by hand; ours are the first test pictures of as many classes",
    ],
    products=["neighbors"],
    discussion=(
        "Figure 4 shows eight test pictures with the five labels that the net finds most likely, and six nearest "
        "training pictures (Euclidean distance between the outputs of the last hidden layer) for each of five. The "
        "paper gives no number."
    ),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
