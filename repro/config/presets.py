"""Presets: named Configs, each value with its reason and source beside it.

`paper` is what the printed text says; where the text is silent the 2012 code decides and the line says so. `code-2012`
is what the released code did. The reduced settings keep every factor of those two (two towers, both normalized layers,
three overlapping pools, two dropout layers) at a size that two cores can train. The other published nets follow, then
the CIFAR-10 nets of cuda-convnet 1, whose files are `example-layers/layers-*.cfg` and `layer-params-*.cfg`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from repro.config.architecture import Conv, Dropout, Full, Model, Norm, Pool, Step
from repro.config.config import Augment, Color, Config, Data, Eval, Optim, Schedule
from repro.config.keys import override
from repro.suggest import did_you_mean

# layers-145.cfg: conv1 is linear, then come rnorm1, pool1 and pool1's ReLU
LRN_FIRST: tuple[Step, ...] = ("norm", "pool", "activation")
POOL_FIRST: tuple[Step, ...] = ("pool", "norm", "activation")
AVERAGE = Pool(kind="avg")


def named(**layers: Conv | Full) -> tuple[Conv | Full, ...]:
    """The layers, each with its name."""
    return tuple(layer.model_copy(update={"name": name}) for name, layer in layers.items())


def paper() -> Config:
    """The printed text: sections 2 to 5."""
    return Config(
        model=Model(
            towers=2,  # section 3.2
            layers=named(  # section 3.5; biases of 1 in conv2, 4, 5 and the hidden full layers: section 5
                conv1=Conv(maps=96, kernel=11, stride=4, ceil_mode=True, pool=True),  # 55x55 needs the code's ceil
                conv2=Conv(maps=256, kernel=5, pad=2, connect="tower", pool=True, init_bias=1.0),
                conv3=Conv(maps=384, kernel=3, pad=1),
                conv4=Conv(maps=384, kernel=3, pad=1, connect="tower", init_bias=1.0),
                conv5=Conv(maps=256, kernel=3, pad=1, connect="tower", pool=True, init_bias=1.0),
                fc6=Full(maps=4096, init_bias=1.0),
                fc7=Full(maps=4096, init_bias=1.0),
                fc8=Full(maps=None, activation=False),
            ),
            norm=Norm(),  # section 3.3: after the ReLU, over all kernels of the layer, alpha not divided by n
            pool=Pool(size=3, stride=2),  # section 3.4
            dropout=Dropout(probability=0.5, layers=("fc6", "fc7")),  # section 4.2
        ),
        # section 2: "the mean activity over the training set from each pixel", before the crops of section 4.1
        data=Data(source="imagenet", size=256, mean="pixel", mean_at="offset"),
        augment=Augment(
            crop=224,  # section 4.1
            color=Color(kind="eigenvalue"),  # section 4.1 says eigenvalue; in units of [0, 1] pixels, or nothing trains
        ),
        optim=Optim(),  # section 5: every default of Optim is the text's
        schedule=Schedule(
            kind="plateau",  # section 5: "when the validation error rate stopped improving"
            epochs=90,  # section 5
            patience=5,  # ours: the text does not say how long they waited
        ),
    )


def code_2012() -> Config:
    """The released program: layers-145.cfg, layer-params-145.cfg and the code that reads them."""
    return as_coded(paper(), epochs=91)  # stopped in its 91st epoch by hand: comments of layer-params-145.cfg


def as_coded(printed: Config, *, epochs: int, deep_std: float = 3.0) -> Config:
    """The 2012 code's reading of every row where it differs from `printed`, the text's; epochs of 145 in proportion.

    `deep_std` multiplies the initial spread of conv3, conv4 and conv5: initW 0.03 against 0.01. The comments of
    layer-params-145.cfg name epochs as the log does, which counts them from 1 (init_epoch of convdata.py); a schedule
    here counts from 0.
    """
    at = [round((logged - 1) * epochs / 91) for logged in (25, 51, 79, 67, 72)]
    deep = {}
    for name in ("conv3", "conv4", "conv5"):
        std = printed.model.layer(name).init_std
        assert isinstance(std, float), "the text's presets have numbers here"
        deep[f"model.layers.{name}.init_std"] = round(deep_std * std, 4)
    return override(
        printed,
        {
            **deep,
            "model.layers.conv1.order": list(LRN_FIRST),
            "model.layers.conv5.order": list(POOL_FIRST),  # pool3, then its ReLU: the same function
            "model.norm.over_n": True,  # layer.py line 1183
            "model.norm.scope": "tower",  # one rnorm layer a column
            "model.spatial_norm": {  # layers-145.cfg cnorm2, which the paper does not mention
                "layers": ["conv2"], "alpha": 1e-3, "k": 1.0, "same_map": True, "over_n": True, "scope": "tower",
            },
            "data.order": "fixed",  # data.py visits the batches in the order written
            "data.mean_at": "center",  # convdata.py: data_mean_crop, the same at every offset
            "augment.chunk": 32,  # convdata_jpeg.py crop_chunk
            "augment.color": {"kind": "stddev", "divide": True},  # convdata.py color_stdevs, then / (1 + coeff)
            "optim.bias_learning_rate_factor": 2.0,  # epsB 0.02 beside epsW 0.01
            "optim.bias_weight_decay": False,  # src/layer.cu line 565
            "schedule.kind": "steps",
            "schedule.epochs": epochs,
            "schedule.steps": at[:3],  # comments of layer-params-145.cfg
            "schedule.bias_steps": [],  # its final epsB is still 0.02
            "schedule.endgame": {
                "slow_epoch": at[3], "freeze_epoch": at[4], "color_off_epoch": at[3],  # same comments
                "slow_bias_learning_rate": 0.002,  # they name epsW only; layer-params-145-half.cfg has epsB 0.002 there
            },
        },
    )  # fmt: skip


def reduced(
    source: str, size: int, crop: int, classes: int, widths: tuple[int, ...], *, held_out: int, **schedule: object
) -> Config:
    """The paper's net narrower and smaller: conv1 to conv5, then the two hidden full layers, as `widths`.

    Initial weights are widened so that each layer multiplies its input's spread as at full size: 0.01 times
    sqrt(fan-in at full size / fan-in here). A tenth of the training images, `held_out` of each class, drive the
    plateau, so that the test images drive nothing.
    """
    big = paper()
    conv1, conv2, conv3, conv4, conv5, fc6, fc7 = widths
    kernel, stride = (5, 1) if crop < 48 else (7, 2)  # 11 and 4 would leave nothing to pool
    changes = {
        "data.source": source, "data.size": size, "data.classes": classes, "data.held_out": held_out,
        "augment.crop": crop,
        "data.mean_at": "center",  # not the text's reading: that of the published runs of these presets
        "model.layers.conv1": {
            "maps": conv1, "kernel": kernel, "stride": stride, "pad": kernel // 2, "ceil_mode": False,
        },
        "model.layers.conv2": {"maps": conv2, "kernel": 3 if crop < 48 else 5, "pad": 1 if crop < 48 else 2},
        "model.layers.conv3.maps": conv3, "model.layers.conv4.maps": conv4, "model.layers.conv5.maps": conv5,
        "model.layers.fc6.maps": fc6, "model.layers.fc7.maps": fc7,
        **{f"schedule.{key}": value for key, value in schedule.items()},
    }  # fmt: skip
    small = override(big, changes)
    spread = {}
    for full, here in zip(big.shapes(), small.shapes(), strict=True):
        kernel_full, kernel_here = (getattr(config.model.layer(full.name), "kernel", None) for config in (big, small))
        fan_full = full.maps_in * (kernel_full or full.side_in) ** 2
        fan_here = here.maps_in * (kernel_here or here.side_in) ** 2
        spread[f"model.layers.{here.name}.init_std"] = round(0.01 * math.sqrt(fan_full / fan_here), 4)
    return override(small, spread)


def tiny() -> Config:
    """64x64 images of 200 classes (Tiny ImageNet): crops of 56.

    Here conv3, conv4 and conv5 start twice as wide as `reduced` has them: from there, sums shrink from layer to layer
    until too little gradient is left to leave chance by. The plateau waits out the slow start that remains.
    """
    text = reduced("tiny200", 64, 56, 200, (48, 128, 192, 192, 128, 1024, 1024), held_out=50, epochs=60, patience=10)
    return override(text, {f"model.layers.{name}.init_std": 0.0283 for name in ("conv3", "conv4", "conv5")})


def cifar10() -> Config:
    """CIFAR-10 with crops of 24 out of 32, as cuda-convnet's 13% net cuts them.

    The paper's rate of 0.01 serves here too: results/README.md has runs that learn with it.
    """
    return reduced("cifar10", 32, 24, 10, (32, 64, 96, 96, 64, 256, 256), held_out=500, epochs=30, patience=3)


def smoke() -> Config:
    """Seconds on one core: does the whole way work, and does the net learn at all?

    It does with the paper's rate: `repro run baseline --preset smoke --seeds 1` ends near 57% top-1 error; chance is
    87.5%.
    """
    return override(
        reduced("photos", 32, 24, 8, (16, 32, 32, 32, 32, 64, 64), held_out=25, epochs=8, patience=3),
        {"optim.batch_size": 32},
    )


def cuda_convnet2() -> Config:
    """layers-imagenet-1gpu.cfg of cuda-convnet2 (2014): one tower; 42.5 / 19.8 center, 40.4 / 18.2 ten views."""
    return override(
        code_2012(),
        {
            "model.towers": 1, "model.spatial_norm": None,  # cnorm2 is gone
            "model.layers.conv1.maps": 64, "model.layers.conv2.maps": 192, "model.layers.conv4.maps": 256,
            "model.layers.fc8.init_bias": -7.0,  # initB=-7: every class starts unlikely
            "augment.chunk": 1,  # jpeg.cpp: an offset and a coin for each image
            "schedule.kind": "dexp", "schedule.steps": [], "schedule.bias_steps": None, "schedule.endgame": None,
            "schedule.epochs": 90,
            "schedule.dexp_factor": 250.0, "schedule.dexp_steps": 4,  # epsW: base 0.01, tgtFactor 250, numSteps 4
            "schedule.bias_dexp_factor": 10.0, "schedule.bias_dexp_steps": 2,  # epsB: 0.02, 10, 2
        },
    )  # fmt: skip


def caffe_alexnet() -> Config:
    """Caffe's bvlc_alexnet: 42.9 / 19.8 center. models/bvlc_alexnet/train_val.prototxt and solver.prototxt."""
    small = {f"model.layers.{name}.init_bias": 0.1 for name in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    return override(
        paper(),
        {
            **small,  # biases of 1 "gave flat loss" (BVLC/caffe PR 327)
            "model.layers.conv1.ceil_mode": False, "augment.crop": 227,  # 55x55 without an overhang
            "model.layers.fc6.init_std": 0.005, "model.layers.fc7.init_std": 0.005,
            "model.norm.over_n": True, "model.norm.k": 1.0,  # lrn_layer.cpp: alpha / size, k defaults to 1
            "model.dropout.inverted": True,  # dropout_layer.cpp scales in training
            "data.resize": "warp",  # examples/imagenet/readme.md: both sides to 256
            "data.order": "fixed",  # create_imagenet.sh shuffles once; data_layer.cpp reads the database in order
            # its means are those of the text: data_transformer.cpp subtracts mean[data_index], then mirrors
            "data.color_order": "bgr",  # io.cpp reads images by OpenCV, blue first
            "augment.color": None,
            "optim.batch_size": 256, "optim.bias_learning_rate_factor": 2.0, "optim.bias_weight_decay": False,
            "schedule.kind": "steps", "schedule.epochs": 90,  # 450,000 batches of 256
            "schedule.steps": [20, 40, 60, 80],  # each 100,000 batches
        },
    )  # fmt: skip


def caffenet() -> Config:
    """Caffe's bvlc_reference_caffenet: 42.6 / 19.6 center. As Caffe's AlexNet, but pool first and biases of 1."""
    ones = {f"model.layers.{name}.init_bias": 1.0 for name in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    first = {f"model.layers.{name}.order": ["activation", "pool", "norm"] for name in ("conv1", "conv2")}
    return override(caffe_alexnet(), {**ones, **first})


def torchvision() -> Config:
    """torchvision's alexnet, after "One weird trick" (2014): 43.5 / 20.9 center; 61,100,840 parameters.

    Trained by its references/classification: random boxes resized to the crop (cut from the stored square here, from
    the whole image there), literal means and deviations of the channels.
    """
    text = paper()
    widths = {"conv1": 64, "conv2": 192, "conv3": 384, "conv4": 256, "conv5": 256, "fc6": 4096, "fc7": 4096}
    return override(
        text,
        {
            "model.towers": 1, "model.norm": None,
            **{f"model.layers.{layer.name}.init_std": "torch" for layer in text.model.layers},  # nn.Conv2d, nn.Linear
            **{f"model.layers.{layer.name}.init_bias": "torch" for layer in text.model.layers},
            **{f"model.layers.{name}.maps": maps for name, maps in widths.items()},
            "model.layers.conv1.pad": 2, "model.layers.conv1.ceil_mode": False,  # 55x55, the grid two pixels aside
            "model.pool.ceil_mode": False,
            "model.dropout.layers": ["conv5", "fc6"], "model.dropout.inverted": True,  # before each hidden full layer
            "data.mean": "channel",  # presets.py of references/classification: 0.485 ..., 0.229 ... of pixels in [0, 1]
            "data.channel_mean": [255 * mean for mean in (0.485, 0.456, 0.406)],
            "data.channel_std": [255 * std for std in (0.229, 0.224, 0.225)],
            "augment.color": None, "augment.resized_crop": {},
            "optim.batch_size": 256, "optim.weight_decay": 1e-4, "optim.momentum_form": "torch",
            "schedule.kind": "steps", "schedule.epochs": 90, "schedule.steps": [30, 60],
        },
    )  # fmt: skip


def _cifar_net(*layers: Conv | Full, epochs: int, steps: tuple[int, ...], norm: Norm | None = None) -> Config:
    """What the CIFAR nets of cuda-convnet 1 share: epsW 0.001, epsB 0.002, momentum 0.9, batches of 128, no dropout.

    Its data.py visits the images in a fixed order (F15), as cifar-13 and its kin do here. cifar-26, cifar-18 and
    figure-1 have published runs, and keep those runs' old reading, a new order in every epoch; so does cifar-19, which
    is compared with cifar-18 and is the net of figure-1.
    """
    return Config(
        model=Model(towers=1, layers=layers, norm=norm, dropout=None),
        data=Data(source="cifar10", size=32, classes=10, mean="pixel"),
        augment=Augment(crop=32, random_crop=False, mirror=False),
        optim=Optim(
            batch_size=128, learning_rate=0.001, momentum=0.9, weight_decay=0.0,  # each layer has its own
            bias_learning_rate_factor=2.0, bias_weight_decay=False,
        ),
        schedule=Schedule(kind="steps", epochs=epochs, steps=steps),
        eval=Eval(views=("center",)),
    )  # fmt: skip


def cifar_26() -> Config:
    """layers-80sec: 26% in 80 seconds; 145,578 parameters."""
    return _cifar_net(
        *named(
            conv1=Conv(maps=32, kernel=5, pad=2, pool=Pool(), order=POOL_FIRST, init_std=1e-4, weight_decay=0.004),
            conv2=Conv(maps=32, kernel=5, pad=2, pool=AVERAGE, init_std=0.01, weight_decay=0.004),
            conv3=Conv(maps=64, kernel=5, pad=2, pool=AVERAGE, init_std=0.01, weight_decay=0.004),
            fc4=Full(maps=64, init_std=0.1, weight_decay=0.03),
            fc5=Full(maps=None, activation=False, init_std=0.1, weight_decay=0.03),
        ),
        epochs=10, steps=(8,),  # "reduce the learning rate after 8 epochs by a factor of 10"
    )  # fmt: skip


def cifar_18() -> Config:
    """layers-18pct: 18% in 20 minutes, normalized in each map; 89,578 parameters."""
    return _four_layers(
        norm=Norm(layers=("conv1", "conv2"), size=3, alpha=5e-5, k=1.0, over_n=True, same_map=True, scope="tower"),
        decay=1.0,  # fc10 wc=1
    )


def cifar_19() -> Config:
    """layers-19pct: the 18% net without its normalization, and with a larger decay in the last layer."""
    return _four_layers(norm=None, decay=3.0)  # fc10 wc=3


def _four_layers(*, norm: Norm | None, decay: float) -> Config:
    return _cifar_net(
        *named(
            conv1=Conv(
                maps=32, kernel=5, pad=2, pool=Pool(), order=("pool", "activation", "norm"),
                init_std=1e-4, weight_decay=0.004,
            ),
            conv2=Conv(
                maps=32, kernel=5, pad=2, pool=AVERAGE, order=("activation", "pool", "norm"),
                init_std=0.01, weight_decay=0.004,
            ),
            conv3=Conv(maps=64, kernel=5, pad=2, pool=AVERAGE, init_std=0.01, weight_decay=0.004),
            fc4=Full(maps=None, activation=False, init_std=0.01, weight_decay=decay),
        ),
        norm=norm,
        epochs=140, steps=(120, 130),  # header of layer-params-18pct: 120 epochs, then 10 after each division
    )  # fmt: skip


def cifar_13() -> Config:
    """layers-conv-local-13pct: 13% with crops and reflections, several views; 1,116,490 parameters."""
    layers = named(
        conv1=Conv(maps=64, kernel=5, pad=2, pool=Pool(), init_std=1e-4, weight_decay=0.0),
        conv2=Conv(maps=64, kernel=5, pad=2, pool=Pool(), init_std=0.01, weight_decay=0.0),
        local3=Conv(kind="local", maps=32, kernel=3, pad=1, init_std=0.04, weight_decay=0.004),
        local4=Conv(kind="local", maps=32, kernel=3, pad=1, init_std=0.04, weight_decay=0.004),
        fc5=Full(maps=None, activation=False, init_std=0.01, weight_decay=0.004),
    )
    return override(
        _cifar_net(*layers, epochs=160, steps=(140, 150)),  # Methodology.md; its first 100 left out a fifth to watch
        {
            "augment": {"crop": 24, "random_crop": True, "mirror": True},  # --crop-border=4
            "data.order": "fixed",  # data.py
            "schedule.bias_steps": [],  # Methodology.md: "the epsW parameters"
            "eval.views": ["center", "ten"],  # --multiview-test=1
        },
    )


def cifar_13_lrn() -> Config:
    """The 13% net with normalization and nothing else: layers-conv-local-11pct as commit 3878e8f had it for a minute.

    Its header asks for some 470 epochs; here the pair differs in the normalization only.
    """
    norm = Norm(layers=("conv1", "conv2"), size=5, alpha=1e-3, k=1.0, over_n=True)  # between convolution and pool
    return override(cifar_13(), {"model.norm": norm})


def cifar_11() -> Config:
    """layers-conv-local-11pct as released: normalized, twice the filters in local3, more decay, three times as long."""
    return override(
        cifar_13_lrn(),
        {
            "model.norm.size": 9,
            "model.layers.conv1.order": ["activation", "pool", "norm"],  # rnorm1 reads pool1, rnorm2 reads conv2
            "model.layers.local3.maps": 64,
            "model.layers.fc5.weight_decay": 0.01,
            "schedule.epochs": 520, "schedule.steps": [500, 510],  # its header: some 350 + 150, then 10 and 10
        },
    )  # fmt: skip


def figure_1() -> Config:
    """Figure 1: a four-layer net on CIFAR-10 without regularization, trained until 25% training error.

    Which net it was is not known: no file with tanh units was released. The 19% net has four layers.
    """
    free = {f"model.layers.{name}.weight_decay": 0.0 for name in ("conv1", "conv2", "conv3", "fc4")}
    return override(
        cifar_19(),
        {
            **free,
            "schedule": {"kind": "constant", "steps": [], "epochs": 60, "stop_train_error": 25.0},
            "eval.every": 60,  # the figure shows training error only
        },
    )


PRESETS: dict[str, Callable[[], Config]] = {
    "paper": paper,
    "code-2012": code_2012,
    "tiny": tiny,
    "code-2012-tiny": lambda: as_coded(tiny(), epochs=60, deep_std=1.5),  # tiny has doubled them
    "cifar10": cifar10,
    "code-2012-cifar10": lambda: as_coded(cifar10(), epochs=30),
    "smoke": smoke,
    "code-2012-smoke": lambda: as_coded(smoke(), epochs=8),
    "cuda-convnet2": cuda_convnet2,
    "caffe-alexnet": caffe_alexnet,
    "caffenet": caffenet,
    "torchvision": torchvision,
    "cifar-26": cifar_26,
    "cifar-19": cifar_19,
    "cifar-18": cifar_18,
    "cifar-13": cifar_13,
    "cifar-13-lrn": cifar_13_lrn,
    "cifar-11": cifar_11,
    "figure-1": figure_1,
}


@dataclass(frozen=True)
class Ran:
    """What published runs of a preset, or of a setting near it, took and reached; a test reads it off results."""

    experiment: str
    setting: str
    arm: str
    runs: int
    core_hours: float  # a run, on one thread
    top1_error: float | None  # percent, center view, mean over runs; None where a run stops at a training error
    what: str  # how it differs from the preset


RAN = {
    "cifar-26": Ran("baseline", "cifar-26", "cifar-26", 3, 0.45, 25.3, "the preset itself"),
    "cifar-18": Ran("baseline", "cifar-18", "cifar-18", 1, 2.26, 18.0, "the preset itself"),
    "figure-1": Ran("relu-vs-tanh", "figure-1", "relu", 5, 0.12, None, "at the learning rate that a search took"),
    "cifar10": Ran("lrn-ablation", "cifar10+3c6ba0", "with-lrn", 5, 0.07, 41.5, "10,000 images for 20 epochs"),
    "tiny": Ran("kernels", "tiny+53d0d1", "restricted", 1, 0.23, 33.4, "ten classes, 3,793 images, 48 epochs"),
}


@functools.cache  # a Config cannot be changed, and experiments ask for the same ones again and again
def preset(name: str) -> Config:
    """The Config called `name`. Raises ValueError with a suggestion."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}{did_you_mean(name, PRESETS, most=len(PRESETS))}")
    return PRESETS[name]()
