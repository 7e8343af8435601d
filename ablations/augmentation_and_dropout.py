"""Is augmentation redundant once there is dropout?  Sections 4.1 and 4.2, which ask of each alone.

repro run augmentation-and-dropout --preset cifar10
"""

from repro import Experiment, Factor, Factorial, Search

PRESETS = ["smoke", "cifar10"]

experiment = Experiment(
    name="augmentation-and-dropout",
    question="Does augmentation lower the error by less where there is dropout?",
    factor="augment.random_crop, augment.mirror, augment.color, model.dropout",
    section="-",
    arms=[],
    design=Factorial(
        [
            Factor(
                "augmentation",
                low={"augment.random_crop": False, "augment.mirror": False, "augment.color": None},
            ),
            Factor("dropout", low={"model.dropout": None}),
        ],
        PRESETS,
        runs=5,
    ),
    confounds=[
        "both keep a net from overfitting, so at a setting where it underfits neither has anything to do, and no "
        "interaction says nothing of the paper's",
        "without random crops the net sees only the center of each image, so ten views show it places it never saw",
    ],
    search=Search(),
    presets=PRESETS,
)
