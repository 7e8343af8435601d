"""Which of the paper's means matter, and which need one another?  All combinations of six of them, sections 3.2 to 4.2.

repro run six-factors --preset cifar10
"""

from repro import Experiment, Factor, Factorial

PRESETS = ["smoke", "cifar10"]

experiment = Experiment(
    name="six-factors",
    question="Which of normalization, overlap, towers, dropout, crops with mirrors, and color noise matter together?",
    factor="model.norm, model.pool.size, model.towers, model.dropout, augment.random_crop, augment.mirror, "
    "augment.color",
    section="-",
    arms=[],
    design=Factorial(
        [
            Factor("lrn", low={"model.norm": None}),
            Factor("overlap", low={"model.pool.size": 2}),
            Factor("towers", low={"model.towers": 1}),
            Factor("dropout", low={"model.dropout": None}),
            Factor("crops-and-mirrors", low={"augment.random_crop": False, "augment.mirror": False}),
            Factor("color", low={"augment.color": None}),
        ],
        PRESETS,
        runs=1,
    ),
    confounds=[
        "one learning rate for all 64 combinations, the preset's: a rate of their own for each takes six times the "
        "runs. Units (ReLU or tanh) are no factor, for their rates differ most",
        "towers: without them the same kernels read all maps, so that net has more parameters",
    ],
    presets=PRESETS,
)
