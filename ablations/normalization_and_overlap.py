"""Does normalization help only without overlapping pools?  Sections 3.3 and 3.4, which ask of each alone.

repro run normalization-and-overlap --preset cifar10
"""

from repro import Experiment, Factor, Factorial, Search

PRESETS = ["smoke", "cifar10"]

experiment = Experiment(
    name="normalization-and-overlap",
    question="Does local response normalization lower the error by less where pooling windows overlap?",
    factor="model.norm, model.pool.size",
    section="-",
    arms=[],
    design=Factorial(
        [Factor("normalization", low={"model.norm": None}), Factor("overlap", low={"model.pool.size": 2})],
        PRESETS,
        runs=5,
    ),
    confounds=[
        "a map of even side ends up one position larger or smaller without overlap, so layer fc6 may differ in size",
    ],
    search=Search(),
    presets=PRESETS,
)
