"""Of what chance makes runs of one net differ, how much is each part?  What the paper's single runs leave open.

repro run sources-of-variance --preset cifar10 --seeds 10
"""

from repro import Arm, Experiment

SOURCES = ("weights", "order", "augment", "dropout", "subset")
PARTS = {"smoke": 40, "cifar10": 900}  # images of each class in each of five disjoint parts or more


def varying(*sources: str) -> Arm:
    """The arm in which the run's seed is that of these sources, and the others have seed 0."""
    fixed = {name: 0 for name in SOURCES if name not in sources}
    note = f"{' and '.join(sources)} alone: the others are those of seed 0" if fixed else "all of them at once"
    at = {name: {"data.subsets": "by-seed", "data.per_class": count} for name, count in PARTS.items()}
    return Arm("-".join(sources) if fixed else "all", {"seeds": fixed} if fixed else {}, at=at, note=note)


experiment = Experiment(
    name="sources-of-variance",
    question="How much of the spread of runs comes from weights, order, augmentation, dropout and images each?",
    factor="seeds, data.subsets, data.per_class",
    section="-",
    arms=[varying(*SOURCES), *(varying(source) for source in SOURCES)],
    confounds=[
        "variances need not add up: sources interact, and each varies around one value of the others",
        "each run trains on a part of the images, so that the choice of images can vary",
    ],
    presets=list(PARTS),
)
