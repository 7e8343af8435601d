"""Do the kernels of the two towers specialize, one in color and one not?  Paper, section 6.1, Figure 3.

repro run kernels --preset tiny --seeds 3
"""

from repro import Arm, Experiment

experiment = Experiment(
    name="kernels",
    question="Does one tower's first layer learn kernels without color and the other's kernels of color, in every run?",
    factor="model.layers.conv2.connect, model.layers.conv4.connect, model.layers.conv5.connect",
    section="6.1",
    arms=[
        Arm("restricted", note="each tower's conv2, conv4 and conv5 read that tower only"),
        Arm(
            "unrestricted",
            {f"model.layers.{layer}.connect": "all" for layer in ("conv2", "conv4", "conv5")},
            note="every convolution reads both towers: is the restricted connectivity what makes them specialize?",
        ),
    ],
    confounds=["unrestricted: conv2, conv4 and conv5 have twice the weights"],
    artifacts=["kernels"],
    discussion=(
        "The paper says that the specialization occurs during every run, independent of the initial weights, up "
        "to which GPU is which. It gives no number. Ours is how color-selective the kernels of each tower are, "
        "and the difference between the towers, for each seed. The first round has one run, on ten ImageNet "
        "classes at 64x64: edges, blobs of color and color edges are there, and one tower is more colorful than "
        "the other (a share of 0.55 of the energy against 0.37), by far less than the paper's image shows. One "
        "seed says nothing of every run, and without the unrestricted arm nothing of the reason; with 3,793 "
        "images and kernels of 7x7 the specialization may also not be finished."
    ),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
