"""Do the constants of the normalization matter, and are they one too many?  A reader's question on section 3.3.

repro run lrn-parameters --preset cifar10 --seeds 3
"""

from repro import Arm, Claim, Experiment, Search, paper

experiment = Experiment(
    name="lrn-parameters",
    question="Do the constants of local response normalization matter, and is one of them redundant?",
    factor="model.norm.size, model.norm.alpha, model.norm.beta, model.norm.k, model.norm.learned",
    section="-",
    arms=[
        Arm("as-published", note="n = 5, alpha = 0.0001, beta = 0.75, k = 2"),
        Arm("n-3", {"model.norm.size": 3}),
        Arm("n-9", {"model.norm.size": 9}),
        Arm("alpha-tenth", {"model.norm.alpha": 1e-5}),
        Arm("alpha-tenfold", {"model.norm.alpha": 1e-3}),
        Arm("beta-half", {"model.norm.beta": 0.5}),
        Arm("beta-one", {"model.norm.beta": 1.0}),
        Arm("k-1", {"model.norm.k": 1.0}, note="what Caffe and cuda-convnet 1 use"),
        Arm(
            "no-alpha", {"model.norm.alpha": 0.0},
            note="only the constant k^-beta is left: scale without competition",
        ),
        Arm(
            "same-alpha-beta", {"model.norm.alpha": 3e-4, "model.norm.beta": 0.25},
            note="same artifact alpha beta: if only the artifact matters (small sums), the error is the baseline's",
        ),
        Arm(
            "same-alpha-over-k", {"model.norm.alpha": 5e-5, "model.norm.k": 1.0},
            note="same alpha / k: exactly the baseline's function times 2^0.75",
        ),
        Arm(
            "root-mean-square", {"model.norm.alpha": 0.2, "model.norm.beta": 0.5},
            at={"code-2012": {"model.norm.alpha": 1.0, "model.norm.beta": 0.5}},
            note="alpha = 1/n, beta = 1/2: over the root of the mean square of n maps",
        ),
        Arm("learned-a-layer", {"model.norm.learned": "layer"}, note="alpha, beta and k learned, a set a layer"),
        Arm("learned-a-map", {"model.norm.learned": "map"}, note="alpha, beta and k learned, a set a map"),
    ],
    claims=[
        Claim.no_effect(
            "k-1", "as-published", top1=-0.14, top5=0.15,
            source=paper.notes("131", "135"), measured=paper.VALIDATION_2012, runs=paper.runs("131", "135"),
        ),
    ],
    confounds=[
        "k and beta also scale the layer's output by k^-beta (0.59 as published), which changes the learning rate "
        "that fits above it",
        "2012: runs 131 and 135 are of a net with a low-resolution path beside conv1, one run each",
    ],
    search=Search(),
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
