"""What a typing error looks like from outside: the key of the second arm does not exist."""

from repro import Arm, Experiment

experiment = Experiment(
    name="broken",
    question="Is a misspelled key refused with its line?",
    factor="model.norm",
    section="-",
    arms=[
        Arm("as-preset"),
        Arm("misspelled", {"model.nrom": None}),
    ],
    presets=["smoke"],
)
