"""Where the paper's text and the released 2012 code say different things, row by row, and the Config keys that hold it.

`paper` and `code-2012` are the two readings of the whole; `fidelity` flips the rows one at a time; docs/fidelity.md is
written from this file (`python -m repro.commands.describe`). Files named without a repository are those of
github.com/computerhistory/AlexNet-Source-Code; "cuda-convnet 1" is code.google.com/p/cuda-convnet as
github.com/dnouri/cuda-convnet keeps it, "cuda-convnet2" github.com/akrizhevsky/cuda-convnet2, "Caffe"
github.com/BVLC/caffe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One row. `keys` are the Config keys that carry it; none where it is no value of a run."""

    row: str
    what: str
    text: str  # what the paper says
    code: str  # what the released code does
    source: str
    keys: tuple[str, ...] = ()
    other: Mapping[str, Any] = field(default_factory=dict)  # one more level, as changes of `paper`
    third: Mapping[str, Any] = field(default_factory=dict)  # and one more


READINGS = (
    Reading(
        "F1", "first convolution", "224x224 images; padding not said",
        "55x55 positions: the last window hangs 3 pixels over the right and lower edge and reads zeros",
        "layer.py line 1004; cuda-convnet 1, src/cudaconv2/filter_acts.cu line 131",
        ("augment.crop", "model.layers.conv1.pad", "model.layers.conv1.ceil_mode"),
        {"augment.crop": 227, "model.layers.conv1.ceil_mode": False},
    ),
    Reading(
        "F2", "normalization in layer 1", "after the ReLU (3.3)",
        "on the linear sums; the ReLU comes after the pool (in layer 5 too, where it changes nothing)",
        "layers-145.cfg: rnorm1 reads conv1, pool1 has the neuron",
        ("model.layers.conv1.order", "model.layers.conv5.order"),
    ),
    Reading(
        "F3", "normalization in layer 2", "after the ReLU (3.3)", "after the ReLU", "layers-145.cfg",
        ("model.layers.conv2.order",), {"model.layers.conv2.order": ["norm", "activation", "pool"]},
    ),
    Reading(
        "F4", "alpha", "times the sum of squares (3.3)", "divided by n first: 2e-5 a term", "layer.py line 1183",
        ("model.norm.over_n",),
    ),
    Reading(
        "F5", "k", "2 (3.3)", "minDiv 2; 1 in cuda-convnet 1 and Caffe", "layer-params-145.cfg",
        ("model.norm.k",), {"model.norm.k": 1.0},
    ),
    Reading(
        "F6", "maps that the window sees", "N is the total number of kernels in the layer (3.3)",
        "those of one GPU: 48 and 128", "layers-145.cfg: one rnorm layer a column", ("model.norm.scope",),
    ),
    Reading(
        "F7", "second normalization", "not mentioned",
        "a 5x5 window in the same map after rnorm2, scale 1e-3, k 1", "layers-145.cfg: cnorm2 with type=rnorm",
        ("model.spatial_norm",),
    ),
    Reading(
        "F8", "initial weights", "0.01 everywhere (5)", "0.03 in conv3, conv4 and conv5", "layers-145.cfg: initW",
        ("model.layers.conv3.init_std", "model.layers.conv4.init_std", "model.layers.conv5.init_std"),
    ),
    Reading(
        "F9", "initial biases", "1 in conv2, 4, 5 and the hidden full layers, else 0 (5)",
        "the same; cuda-convnet2 adds -7 in the last layer, Caffe's AlexNet has 0.1", "layers-145.cfg: initB",
        (
            "model.layers.conv1.init_bias", "model.layers.conv2.init_bias", "model.layers.conv3.init_bias",
            "model.layers.conv4.init_bias", "model.layers.conv5.init_bias", "model.layers.fc6.init_bias",
            "model.layers.fc7.init_bias", "model.layers.fc8.init_bias",
        ),
        {"model.layers.fc8.init_bias": -7.0},
    ),
    Reading(
        "F10", "biases while training", "equal learning rate for all layers (5)",
        "twice the weights' rate, hardly ever dropped, no decay",
        "layer-params-145.cfg: epsB; src/layer.cu line 565: decay 0",
        ("optim.bias_learning_rate_factor", "optim.bias_weight_decay", "schedule.bias_steps"),
    ),
    Reading(
        "F11", "end of training", "not mentioned",
        "from epoch 67 of the log on the weights of conv1 at 1e-5 and no color noise; from 72 on conv1 frozen. The "
        "notes name epsW only; run 145-half has conv1's (and conv2's) biases at 0.002 then, not at their 0.02",
        "comments of layer-params-145.cfg; layer-params-145-half.cfg: epsB",
        ("schedule.endgame",),
    ),
    Reading(
        "F12", "schedule", "divided by 10 when the validation error stops improving, three times (5)",
        "by hand in epochs 25, 51 and 79 of its log, which counts from 1 (steps here count from 0), stopped in the "
        "91st; later runs dexp[250] in 4 stairs",
        "comments of layer-params-145.cfg", ("schedule.kind", "schedule.epochs", "schedule.steps"),
        {"schedule.kind": "dexp"},
    ),
    Reading(
        "F13", "color noise",
        "times the eigenvalue (4.1); here of pixels in [0, 1], as in no other unit would anything train: 0.15, 0.54 "
        "and 5.82 gray levels for the shipped roots 19.72, 37.09 and 121.78",
        "times its square root: 1.97, 3.71 and 12.18 gray levels, and then the image divided by 1.1",
        "convdata.py: color_stdevs; cuda-convnet2, make-data/input_meta: color_pca",
        ("augment.color.kind", "augment.color.divide"), {"augment.color.kind": "lighting"},
    ),
    Reading(
        "F14", "images that share a crop", "each its own, it seems (4.1)", "32 share an offset and a mirror coin",
        "convdata_jpeg.py: crop_chunk", ("augment.chunk",),
    ),
    Reading(
        "F15", "order of the images", "not said",
        "shuffled once, when the files were written, and then read in order; so does Caffe. Here presets cifar-26, "
        "cifar-18, cifar-19 and figure-1 keep the reading of their published runs: reshuffle",
        "cuda-convnet2, make-data/make-data.py: shuffle; cuda-convnet 1, data.py: get_next_batch_idx; Caffe, "
        "examples/imagenet/create_imagenet.sh: --shuffle", ("data.order",),
    ),
    Reading("F16", "number of crops", "2048 (4.1)", "33 offsets each way, mirrored: 2178", "convdata.py: randint"),
    Reading(
        "F17", "mean",
        "each pixel's own mean (2), before the crops and mirrors; so does Caffe. Here reduced presets of both readings "
        "take the code's: that of their published runs",
        "the mean image's center crop, at every offset, and not mirrored",
        "convdata.py: data_mean_crop; Caffe, src/caffe/data_transformer.cpp: mean[data_index]",
        ("data.mean", "data.mean_at"), {"data.mean": "channel"},
    ),
    Reading(
        "F18", "scale of the input", "raw RGB (2)", "0 to 255", "convdata.py",
        ("data.scale",), {"data.scale": 0.0174},
    ),
    Reading(
        "F19", "dropout", "outputs halved in test (4.2)", "the same", "src/layer.cu: HiddenSexLayer",
        ("model.dropout.inverted",), {"model.dropout.inverted": True},
    ),
    Reading(
        "F20", "momentum", "the learning rate is inside the velocity (5)", "the same", "src/weights.cu",
        ("optim.momentum_form",), {"optim.momentum_form": "torch"},
    ),
    Reading(
        "F21", "towers", "2 (3.2)", "two columns", "layers-145.cfg", ("model.towers",), {"model.towers": 1},
    ),
    Reading(
        "F22", "non-overlapping pools", "size 2, stride 2, output of equivalent dimensions (3.4)",
        "less padding in conv2 and conv5 as well", "layers-147.cfg",
        ("model.pool.size", "model.layers.conv2.pad", "model.layers.conv5.pad"),
        {"model.pool.size": 2, "model.layers.conv2.pad": 1, "model.layers.conv5.pad": 0},
    ),
    Reading(
        "F23", "the net for one GPU", "half the kernels in each convolution (3.2)", "conv5 keeps its 256 (footnote 2)",
        "layers-145-half.cfg",
        ("model.layers.conv1.maps", "model.layers.conv2.maps", "model.layers.conv3.maps", "model.layers.conv4.maps",
         "model.layers.conv5.maps"),
        {
            "model.towers": 1, "model.layers.conv1.maps": 48, "model.layers.conv2.maps": 128,
            "model.layers.conv3.maps": 192, "model.layers.conv4.maps": 192,
        },
    ),
    Reading(
        "F24", "the net without normalization", "without the response normalization (3.3)",
        "run 148: without all three normalizations", "layers-148.cfg", ("model.norm", "model.spatial_norm"),
        {"model.norm": None},
    ),
    Reading(
        "F25", "data of the ablations", "not said",
        "ILSVRC-2010 test for the GPUs, ILSVRC-2012 validation for the others",
        "comments of layer-params-145-half.cfg, -147.cfg, -148.cfg", ("data.source",), {"data.source": "imagenet-2010"},
    ),
    Reading(
        "F26", "views of the ablations", "not said", "ten", "the same comments", ("eval.views",),
        {"eval.views": ["center"]},
    ),
    Reading(
        "F27", "ensembles", "averaged (6)", "weights can be searched on the validation set",
        "avg-valid.py: find_coeffs",
    ),
    Reading(
        "F28", "seeds", "not said", "one run each, the line that sets the seed commented out", "convnet.py line 213",
    ),
    Reading(
        "F29", "size of the images", "short side to 256, then the center (2)",
        "the same; Caffe warps both sides; torchvision resizes random boxes to the crop",
        "cuda-convnet2, make-data/make-data.py: CROP_TO_SQUARE; Caffe, examples/imagenet/readme.md; torchvision, "
        "references/classification/presets.py: RandomResizedCrop",
        ("data.resize", "augment.resized_crop"), {"data.resize": "warp"}, {"augment.resized_crop": {}},
    ),
    Reading(
        "F29b", "stored images", "not said", "JPEG again", "layer-params-118.cfg to -120.cfg",
        ("data.storage", "data.quality"), {"data.storage": "jpeg", "data.quality": 85},
    ),
    Reading(
        "F30", "the CIFAR-10 net with normalization", "13% without, 11% with (3.3)",
        "the two released nets also differ in width, decay, length and views: presets cifar-13 and cifar-11; "
        "cifar-13 and cifar-13-lrn differ in nothing else", "cuda-convnet 1, example-layers/ and commit 3878e8f",
    ),
    Reading(
        "F31", "resize filter", "not said",
        "OpenCV's area filter, cubic where it enlarges (Caffe: bilinear without a low-pass); here Pillow's bicubic "
        "with one, for all presets",
        "cuda-convnet2, make-data/pyext/src/pyext.cpp: INTER_AREA; Caffe, src/caffe/util/io.cpp: cv::resize",
    ),
    Reading(
        "F32", "ties in a max-pool", "not said",
        "every position that holds the maximum receives the gradient; here, as in torch, one of them",
        "cuda-convnet 1, src/cudaconv2/conv_util.cu: kLocalMaxUndo",
    ),
    Reading(
        "F33", "training set of the statistics", "the training set (2)",
        "that of batches.meta; here mean image and covariance are those of all training images of the prepared set, "
        "also where a run uses some of its classes or images only, or holds some out",
        "convdata.py: batch_meta",
    ),
)  # fmt: skip


def reading_of(key: str) -> Reading | None:
    """The row that a dotted key belongs to."""
    for reading in READINGS:
        if any(key == one or key.startswith(f"{one}.") or one.startswith(f"{key}.") for one in reading.keys):
            return reading
    return None
