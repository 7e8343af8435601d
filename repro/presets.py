"""Presets: named Configs, each value with its reason and source beside it.

`paper` is what the printed text says; where the text is silent the 2012 code decides and the line says so. `code-2012` is
what the released code did. The reduced scales keep every factor of `paper` (two towers, both normalized layers, three
overlapping pools, two dropout layers) at a size that two cores can train.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from repro.config import (
    Augment,
    Color,
    Config,
    Conv,
    Data,
    Dropout,
    Endgame,
    Eval,
    Full,
    Model,
    Norm,
    Optim,
    Pool,
    Schedule,
    override,
)
from repro.suggest import did_you_mean

LRN_FIRST = ("norm", "pool", "activation")  # layers-145.cfg: conv1 is linear, rnorm1, pool1, then its ReLU


def paper() -> Config:
    """The printed text: sections 2 to 5."""
    return Config(
        model=Model(
            towers=2,  # section 3.2
            layers={  # section 3.5; biases of 1 in conv2, 4, 5 and the hidden full layers: section 5
                "conv1": Conv(maps=96, kernel=11, stride=4, ceil_mode=True, pool=True),  # 55x55 needs the code's ceil
                "conv2": Conv(maps=256, kernel=5, pad=2, connect="tower", pool=True, init_bias=1.0),
                "conv3": Conv(maps=384, kernel=3, pad=1),
                "conv4": Conv(maps=384, kernel=3, pad=1, connect="tower", init_bias=1.0),
                "conv5": Conv(maps=256, kernel=3, pad=1, connect="tower", pool=True, init_bias=1.0),
                "fc6": Full(maps=4096, init_bias=1.0),
                "fc7": Full(maps=4096, init_bias=1.0),
                "fc8": Full(maps=None, activation=False),
            },
            norm=Norm(),  # section 3.3: after the ReLU, over all kernels of the layer, alpha not divided by n
            pool=Pool(size=3, stride=2),  # section 3.4
            dropout=Dropout(probability=0.5, layers=("fc6", "fc7")),  # section 4.2
        ),
        data=Data(source="imagenet", size=256, mean="pixel"),  # section 2
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
    return override(
        paper(),
        {
            "model.layers.conv1.order": list(LRN_FIRST),
            "model.layers.conv3.init_std": 0.03,
            "model.layers.conv4.init_std": 0.03,
            "model.layers.conv5.init_std": 0.03,
            "model.layers.conv5.order": ["pool", "norm", "activation"],  # pool3, then its ReLU
            "model.norm.over_n": True,  # layer.py line 1182
            "model.norm.scope": "tower",  # one rnorm layer a column
            "model.spatial_norm": {  # layers-145.cfg cnorm2, which the paper does not mention
                "layers": ["conv2"], "alpha": 1e-3, "k": 1.0, "same_map": True, "over_n": True, "scope": "tower",
            },
            "data.order": "fixed",  # data.py visits the batches in the order written
            "augment.chunk": 32,  # convdata_jpeg.py crop_chunk
            "augment.color": {"kind": "stddev", "divide": True},  # convdata.py color_stdevs, then / (1 + coeff)
            "optim.bias_learning_rate_factor": 2.0,  # epsB 0.02 beside epsW 0.01
            "optim.bias_weight_decay": False,  # src/layer.cu line 565
            "schedule.kind": "steps",
            "schedule.steps": [25, 51, 79],  # comments of layer-params-145.cfg
            "schedule.bias_steps": [],  # final epsB is still 0.02
            "schedule.epochs": 91,
            "schedule.endgame": {"slow_epoch": 67, "freeze_epoch": 72, "color_off_epoch": 67},
        },
    )  # fmt: skip


def reduced(source: str, size: int, crop: int, classes: int, widths: tuple[int, ...], **schedule: object) -> Config:
    """The paper's net narrower and smaller: conv1 to conv5, then the two hidden full layers, as `widths`.

    Initial weights are widened so that each layer multiplies its input's spread as at full size: 0.01 times
    sqrt(fan-in at full size / fan-in here).
    """
    big = paper()
    conv1, conv2, conv3, conv4, conv5, fc6, fc7 = widths
    kernel, stride = (5, 1) if crop < 48 else (7, 2)  # 11 and 4 would leave nothing to pool
    changes = {
        "data.source": source, "data.size": size, "data.classes": classes, "augment.crop": crop,
        "model.layers.conv1": {"maps": conv1, "kernel": kernel, "stride": stride, "pad": kernel // 2, "ceil_mode": False},
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
    """64x64 pictures of 200 classes (Tiny ImageNet): crops of 56."""
    return reduced("tiny200", 64, 56, 200, (48, 128, 192, 192, 128, 1024, 1024), epochs=60, patience=4)


def cifar10() -> Config:
    """CIFAR-10 with crops of 24 out of 32, as cuda-convnet's 13% net cuts them."""
    return reduced("cifar10", 32, 24, 10, (32, 64, 96, 96, 64, 256, 256), epochs=30, patience=3)


def smoke() -> Config:
    """Seconds on one core: does the whole way work, and does the net learn at all?"""
    return override(
        reduced("photos", 32, 24, 8, (16, 32, 32, 32, 32, 64, 64), epochs=8, patience=3),
        {"optim.batch_size": 32},
    )


def _cifar_net(layers: dict[str, Conv | Full], *, epochs: int, steps: tuple[int, ...], **model: object) -> Config:
    """What the CIFAR nets of cuda-convnet 1 share (paper_facts 2.10; files example-layers/*)."""
    return Config(
        model=Model(towers=1, layers=layers, dropout=None, **{"norm": None, "spatial_norm": None, **model}),
        data=Data(source="cifar10", size=32, classes=10, mean="pixel"),
        augment=Augment(crop=32, random_crop=False, mirror=False),
        optim=Optim(
            batch_size=128, learning_rate=0.001, momentum=0.9, weight_decay=0.0,  # each layer has its own
            bias_learning_rate_factor=2.0, bias_weight_decay=False,
        ),
        schedule=Schedule(kind="steps", epochs=epochs, steps=steps),
        eval=Eval(views=("center",)),
    )  # fmt: skip


POOL_FIRST = ("pool", "norm", "activation")
AVERAGE = Pool(kind="avg")


def cifar_26() -> Config:
    """layers-80sec: 26% in 80 seconds; 145,578 parameters."""
    return _cifar_net(
        {
            "conv1": Conv(maps=32, kernel=5, pad=2, pool=Pool(), order=POOL_FIRST, init_std=1e-4, weight_decay=0.004),
            "conv2": Conv(maps=32, kernel=5, pad=2, pool=AVERAGE, init_std=0.01, weight_decay=0.004),
            "conv3": Conv(maps=64, kernel=5, pad=2, pool=AVERAGE, init_std=0.01, weight_decay=0.004),
            "fc4": Full(maps=64, init_std=0.1, weight_decay=0.03),
            "fc5": Full(maps=None, activation=False, init_std=0.1, weight_decay=0.03),
        },
        epochs=10, steps=(8,),
    )  # fmt: skip


PRESETS: dict[str, Callable[[], Config]] = {
    "paper": paper,
    "code-2012": code_2012,
    "tiny": tiny,
    "cifar10": cifar10,
    "smoke": smoke,
    "cifar-26": cifar_26,
}


def preset(name: str) -> Config:
    """The Config called `name`. Raises ValueError with a suggestion."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}{did_you_mean(name, PRESETS)}")
    return PRESETS[name]()
