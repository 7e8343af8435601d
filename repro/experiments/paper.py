"""What the paper, and the run notes of the released 2012 code, report. Errors in percent, as printed.

Sources: "section N", "Table N" and "footnote N" are those of Krizhevsky, Sutskever, Hinton, NIPS 2012. A run's file is
`layers/layer-params-<run>.cfg` of github.com/computerhistory/AlexNet-Source-Code, whose comments record its errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from repro.experiments.experiment import Measured
from repro.suggest import did_you_mean

TITLE = "ImageNet Classification with Deep Convolutional Neural Networks"

SECTIONS = {
    "1": "Introduction",
    "2": "The Dataset",
    "3.1": "ReLU Nonlinearity",
    "3.2": "Training on Multiple GPUs",
    "3.3": "Local Response Normalization",
    "3.4": "Overlapping Pooling",
    "3.5": "Overall Architecture",
    "4.1": "Data Augmentation",
    "4.2": "Dropout",
    "5": "Details of learning",
    "6": "Results",
    "6.1": "Qualitative Evaluations",
    "7": "Discussion",
}

VALIDATION_2012 = Measured("imagenet", "ten", "ILSVRC-2012 validation, ten views")
TEST_2010 = Measured("imagenet-2010", "ten", "ILSVRC-2010 test, ten views")
TEST_2010_CENTER = Measured("imagenet-2010", "center", "ILSVRC-2010 test, center view")
FALL_2009 = Measured("imagenet-fall-2009", "ten", "ImageNet Fall 2009, 10,184 categories, the half not trained on")
TWO_GTX_580 = Measured("imagenet-2010", "ten", "two GTX 580 against one")
NOT_SAID = Measured("imagenet", "ten", "data and views not said by the paper")
EVERYWHERE = Measured("", "ten", "any setting: a control of the bench, not a claim of the paper")
CIFAR_TRAIN = Measured("cifar10", "center", "CIFAR-10, training error; its four-layer net is not said")
CIFAR_TEST = Measured("cifar10", "center", "CIFAR-10 test, center view")
CIFAR_TEST_VIEWS = Measured("cifar10", "ten", "CIFAR-10 test, several views")
VALIDATION_2012_CENTER = Measured("imagenet", "center", "ILSVRC-2012 validation, center view")
DOGS_AND_CATS = Measured("dogs-vs-cats", "center", "dogs against cats, 20,000 and 5,000 images, one run each")
CIFAR_OTHERS = Measured("cifar10", "center", "CIFAR-10, nets of others, one run each")
SMALL_2012 = Measured("imagenet-128", "center", "ILSVRC-2012 validation, short side 128, one run each")

# Others' published numbers, for the questions that the paper's readers asked.
CUDA_CONVNET = "cuda-convnet project page, 'Fast results' (code.google.com/p/cuda-convnet)"
EXAMPLE_LAYERS = "cuda-convnet, example-layers/layers-18pct.cfg and layers-19pct.cfg"
CUDA_CONVNET2 = "cuda-convnet2 wiki, TrainingExample.md"
CAFFE_ALEXNET = "BVLC/caffe, models/bvlc_alexnet/readme.md"
CAFFENET = "BVLC/caffe, models/bvlc_reference_caffenet/readme.md"
CAFFENET128 = "Mishkin, Sergievskiy, Matas, arXiv:1606.02228 (github.com/ducha-aiki/caffenet-benchmark)"
DIGITS = "NVIDIA/DIGITS#1089, one run each"
CAFFE_3437 = "BVLC/caffe#3437, one run each"
MATCONVNET = "vlfeat/matconvnet, doc/site/docs/pretrained.md"
TORCHVISION = "torchvision documentation, AlexNet_Weights.IMAGENET1K_V1"


@dataclass(frozen=True)
class PublicWeights:
    """Errors that were published for weights that everybody can have, in percent, of the center view."""

    top1_error: float
    top5_error: float
    source: str
    measured: Measured = VALIDATION_2012_CENTER


PUBLIC_WEIGHTS = {  # preset -> its weights
    "caffe-alexnet": PublicWeights(42.9, 19.8, CAFFE_ALEXNET),
    "caffenet": PublicWeights(42.6, 19.6, CAFFENET),
    "torchvision": PublicWeights(43.478, 20.934, TORCHVISION),
}
VALIDATION_IMAGES = 50_000  # of ILSVRC-2012


def section(number: str) -> str:
    """`"section 3.3 (Local Response Normalization)"`. Raises ValueError for a section that the paper lacks."""
    if number not in SECTIONS:
        raise ValueError(f"the paper has no section {number!r}{did_you_mean(number, SECTIONS)}")
    return f"section {number} ({SECTIONS[number]})"


def table(number: str) -> str:
    """`"Table 1, section 6 (Results)"`."""
    assert number in ("1", "2"), "the paper has two tables"
    return f"Table {number}, {section('6')}"


def figure(number: str) -> str:
    """`"Figure 1, section 3.1 (ReLU Nonlinearity)"`: with the section that speaks of it."""
    return f"Figure {number}, {section({'1': '3.1', '2': '3.5', '3': '6.1', '4': '6.1'}[number])}"


def footnote(number: str) -> str:
    """`"footnote 5, section 6 (Results)"`: 2 is on the one-GPU net, 5 on the center view."""
    return f"footnote {number}, {section({'2': '3.2', '3': '3.3', '4': '4.1', '5': '6'}[number])}"


@dataclass(frozen=True)
class RunNote:
    """The errors that the authors wrote at the end of a run's parameter file."""

    run: str
    what: str
    top1_error: float
    top5_error: float
    measured: Measured


RUNS = {
    note.run: note
    for note in (
        RunNote("145", "the paper's net", 40.6640, 18.2100, VALIDATION_2012),
        RunNote("145-2010", "the paper's net, trained on ILSVRC-2010", 37.4727, 16.9987, TEST_2010),
        RunNote("145-2010-center", "the same, center view", 39.0247, 18.2953, TEST_2010_CENTER),
        RunNote("145-half", "one GPU, footnote 2", 39.1680, 18.2287, TEST_2010),
        RunNote("146-2012-2011", "sixth convolution, pre-trained on Fall 2011", 38.9900, 16.6220, VALIDATION_2012),
        RunNote("147", "no overlap: 2x2 pools", 41.0580, 18.5100, VALIDATION_2012),
        RunNote("148", "without the three norm layers", 42.0340, 19.3620, VALIDATION_2012),
        RunNote("150", "no communication between the columns, widened", 41.83, 19.33, VALIDATION_2012),
        RunNote("167", "without the two norms of conv2", 40.49, 18.12, VALIDATION_2012),
        RunNote("169", "all norms, dexp[500]", 40.60, 18.11, VALIDATION_2012),
        RunNote("170", "all norms, dexp[250]", 40.53, 18.05, VALIDATION_2012),
        RunNote("166", "norms of conv2 below the ReLU", 41.10, 18.67, VALIDATION_2012),
        RunNote("120-2012", "low-resolution path, norms after pool and ReLU, k = 1", 41.04, 18.71, VALIDATION_2012),
        RunNote("131", "same path, norm on the linear conv1 before its pool, k = 1", 40.93, 18.57, VALIDATION_2012),
        RunNote("135", "as 131, k = 2", 41.07, 18.42, VALIDATION_2012),
    )
}


@dataclass(frozen=True)
class TableRow:
    """A row of the paper's Table 1 or 2; `who` is the paper's own label, errors in percent."""

    table: str
    who: str
    top1_error: float | None
    top5_error: float | None
    measured: str


TABLES = (
    TableRow("Table 1", "Sparse coding, six models averaged", 47.1, 28.2, "ILSVRC-2010 test"),
    TableRow("Table 1", "SIFT + FVs, two classifiers averaged", 45.7, 25.7, "ILSVRC-2010 test"),
    TableRow("Table 1", "CNN", 37.5, 17.0, "ILSVRC-2010 test"),
    TableRow("footnote 5", "CNN without ten-patch averaging", 39.0, 18.3, "ILSVRC-2010 test"),
    TableRow("Table 2", "SIFT + FVs", None, 26.2, "ILSVRC-2012 test"),
    TableRow("Table 2", "1 CNN", 40.7, 18.2, "ILSVRC-2012 validation"),
    TableRow("Table 2", "5 CNNs", 38.1, 16.4, "ILSVRC-2012 validation"),
    TableRow("Table 2", "5 CNNs", None, 16.4, "ILSVRC-2012 test"),
    TableRow("Table 2", "1 CNN*", 39.0, 16.6, "ILSVRC-2012 validation"),
    TableRow("Table 2", "7 CNNs*", 36.7, 15.4, "ILSVRC-2012 validation"),
    TableRow("Table 2", "7 CNNs*", None, 15.3, "ILSVRC-2012 test"),
    TableRow("section 6", "best published before", 78.1, 60.9, "ImageNet Fall 2009, 10,184 categories"),
    TableRow("section 6", "CNN with a sixth convolution", 67.4, 40.9, "ImageNet Fall 2009, 10,184 categories"),
)


def notes(*names: str) -> str:
    """`"2012 run notes 131 and 135"`, for a number that is in the notes but not in the paper."""
    return f"2012 run notes {' and '.join(runs(*names))}"


def runs(*names: str) -> tuple[str, ...]:
    """The names, after a check that each is a key of RUNS. Raises ValueError with a suggestion."""
    for name in names:
        if name not in RUNS:
            raise ValueError(f"no run note {name!r}{did_you_mean(name, RUNS)}")
    return names
