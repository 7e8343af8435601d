"""What does averaging the predictions of several nets bring?  Paper, section 6, Table 2.

repro run ensemble --preset cifar10 --seeds 15    # three ensembles of five; other experiments share the runs
"""

from repro import Arm, Claim, Ensemble, Experiment, Search, paper

MEMBERS = ("one", "pool-first", "norm-first", "k-1", "one-tower")

experiment = Experiment(
    name="ensemble",
    question="Is the error of five nets averaged lower than that of one?",
    factor="the nets that are averaged",
    section="6",
    arms=[
        Arm("one"),
        Arm("five", ensemble=Ensemble(of=("one",), seeds=5), note="five seeds of the same net, equal weights"),
        Arm("two", ensemble=Ensemble(of=("one",), seeds=2)),
        Arm(
            "pool-first",
            {
                "model.layers.conv1.order": ["activation", "pool", "norm"],
                "model.layers.conv2.order": ["activation", "pool", "norm"],
            },
            note="member of the mixed ensemble, as run 120-2012: normalization after the pool",
        ),
        Arm(
            "norm-first", {"model.layers.conv2.order": ["norm", "activation", "pool"]},
            note="member, as run 166: the normalization of layer 2 below its ReLU",
        ),
        Arm("k-1", {"model.norm.k": 1.0}, note="member, as run 131: k = 1"),
        Arm("one-tower", {"model.towers": 1}, note="member: every kernel reads all maps"),
        Arm("five-mixed", ensemble=Ensemble(of=MEMBERS), note="five architectures, one run each, equal weights"),
        Arm(
            "five-mixed-tuned", ensemble=Ensemble(of=MEMBERS, weights="tuned"),
            note="weights searched on one half of the test images and tested on the other, as avg-valid.py could",
        ),
    ],
    claims=[
        Claim.effect(arm, "one", top1=-2.6, top5=-1.8, source=paper.table("2"), measured=paper.VALIDATION_2012)
        for arm in ("five", "five-mixed")
    ],
    confounds=[
        "2012: the five 'similar' nets are not named; the run notes of that time hold five of about that error, "
        "which differ in architecture, not in seed (120-2012, 131, 135, 137, 145)",
        "2012: whether their weights were equal is not recorded",
    ],
    search=Search(),  # so that the shared runs are those of the tuned net
    presets=["smoke", "tiny", "cifar10", "code-2012", "paper"],
)  # fmt: skip
