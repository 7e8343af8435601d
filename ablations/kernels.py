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
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
