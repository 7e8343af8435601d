"""Does bfloat16 cost anything?  A reader's question; the paper used float32.

repro run precision --preset cifar10 --seeds 5
"""

from repro import Arm, Experiment

experiment = Experiment(
    name="precision",
    question="Does training in bfloat16 change the error?",
    factor="precision",
    section="-",
    arms=[
        Arm("float32"),
        Arm("bfloat16", {"precision": "bfloat16"}, note="artifacts in bfloat16; weights and their updates in float32"),
    ],
    confounds=[
        "a processor without bfloat16 instructions is slower with it: the times beside the arms hold for this "
        "machine only",
    ],
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
