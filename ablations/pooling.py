"""Which pooling suits this net?  A reader's question on section 3.4.

repro run pooling --preset cifar10 --seeds 3
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="pooling",
    question="Does another size, stride or kind of pooling give a lower error than maxima over 3x3 at stride 2?",
    factor="model.pool",
    section="-",
    arms=[
        Arm("max-3-stride-2"),
        Arm("max-2-stride-2", {"model.pool.size": 2}),
        Arm("max-4-stride-2", {"model.pool.size": 4}, note="more overlap"),
        Arm("max-3-stride-3", {"model.pool.stride": 3}, note="no overlap and fewer positions"),
        Arm("average-3-stride-2", {"model.pool.kind": "avg"}),
        Arm("average-2-stride-2", {"model.pool.kind": "avg", "model.pool.size": 2}),
        Arm("strided", {"model.pool.size": 1}, note="every second position: a strided convolution instead of a pool"),
        Arm("mixed", {"model.pool.kind": "mixed"}, note="learns how much of the maximum and how much of the average"),
        Arm("generalized-mean", {"model.pool.kind": "generalized"}, note="(mean of x^p)^(1/p), p learned, 3 at first"),
    ],
    claims=[
        Claim.effect(
            "max-2-stride-2", "max-3-stride-2", top1=-1.3, source=paper.CAFFENET128, measured=paper.SMALL_2012
        ),
        Claim.effect(
            "average-3-stride-2", "max-3-stride-2", top1=3.6, source=paper.CAFFENET128, measured=paper.SMALL_2012
        ),
    ],
    confounds=[
        "size and stride change how large the last map is, and with it layer fc6",
        "the published numbers are from nets without normalization at half the resolution, half as wide in the full "
        "layers, with other initial weights, one run each",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)
