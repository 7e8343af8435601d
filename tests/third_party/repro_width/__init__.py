"""Are the full layers wider than they need to be?"""

from repro import Arm, Experiment

experiment = Experiment(
    name="width",
    question="Are the full layers wider than they need to be?",
    factor="model.layers.fc6.maps, model.layers.fc7.maps",
    section="-",
    arms=[
        Arm("full-width"),
        Arm("narrow", {"model.layers.fc6.maps": 32, "model.layers.fc7.maps": 32}),
    ],
    presets=["smoke", "cifar10"],
)
