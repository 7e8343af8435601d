"""What `repro new` writes: the example of docs/new_experiment.md, to fill in."""

from __future__ import annotations

EXAMPLE = "dropout-rate"
TEXT = '''"""Is a dropout of 0.5 too much?"""

from repro import Arm, Claim, Experiment, paper

experiment = Experiment(
    name="dropout-rate",
    question="Is the error lower with less dropout than the paper's 0.5?",
    factor="model.dropout.probability",
    section="-",  # the paper does not ask it
    arms=[
        Arm("half"),  # the first arm is the baseline: the preset as it is
        Arm("fifth", {"model.dropout.probability": 0.2}),
    ],
    claims=[  # arm minus reference, in points of error; leave it out where nothing was published
        Claim.effect("fifth", "half", top1=-2.3, source=paper.CAFFENET128, measured=paper.SMALL_2012),
    ],
    confounds=["published for nets half as wide in the full layers, at half the resolution, one run each"],
    presets=["smoke", "cifar10"],  # where it makes sense; the first is the default
)
'''


def filled(name: str) -> str:
    """The example under another name."""
    return TEXT.replace(f'name="{EXAMPLE}"', f'name="{name}"')
