"""Does the bench find nothing where there is nothing, and something where there is something?  Controls, not claims.

repro run controls --preset cifar10 --seeds 5
"""

from repro import Arm, Claim, Experiment, PerPreset, Search, paper

PRESETS = ["smoke", "tiny", "cifar10", "code-2012", "paper"]

experiment = Experiment(
    name="controls",
    question="Is the net no different from itself, and worse at half its width?",
    factor="nothing, and then the maps of every layer",
    section="-",
    arms=[
        Arm("as-preset"),
        Arm("same", seeds=range(100, 200), note="the same net and settings again, at seeds that no other arm has"),
        Arm(
            "half-width",
            note="half the maps in every layer but the last, and their initial weights as they are",
            at=PerPreset(
                PRESETS,
                lambda name, own: {
                    f"model.layers.{layer.name}.maps": layer.maps // 2 for layer in own.model.layers if layer.maps
                },
            ),
        ),
    ],
    claims=[
        Claim.no_effect("same", "as-preset", top1=0.0, source="a control", measured=paper.EVERYWHERE),
        Claim.worse("half-width", "as-preset", source="a control", measured=paper.EVERYWHERE),
    ],
    confounds=[
        "three runs a side rarely show that there is no difference to within half a point: what the first control must "
        "not be is contradicted",
    ],
    search=Search(),
    presets=PRESETS,
)
