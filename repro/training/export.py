"""A finished run's network as a file that other programs read, checked before it is there.

    safetensors   weights under the names of the network, with preprocessing.mean and preprocessing.factors beside them
    torchscript   `torch.jit.load(path)(images)`: nothing of this package is needed
    onnx          input `image`, output `logits`, any number of images

All read the center of a stored image, (N, 3, crop, crop) float32, red first, 0-255. In each, `repro` is a JSON object
of what the network is: digest, arms, seed, Config, classes, errors, preprocessing.
"""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from repro.files import write_atomically
from repro.suggest import one_line, shortened
from repro.training.trained import Askable, Trained, samples

FormatName = Literal["safetensors", "torchscript", "onnx"]
KEY = "repro"  # of the metadata
SAMPLES = 8  # test images whose logits are compared
NEAR = 1e-4  # of the largest logit: as far as the logits may differ, for sums in another order
MEAN, FACTORS = "preprocessing.mean", "preprocessing.factors"


@dataclass(frozen=True)
class Format:
    """How a network is written, and read back as a function of images (N, 3, crop, crop) that gives logits."""

    ending: str
    write: Callable[[Askable, Tensor, str], bytes]
    read: Callable[[bytes, Trained], Callable[[Tensor], Tensor]]
    packages: tuple[str, ...] = ()  # of the extra that is called as the format is


def check(format_name: FormatName) -> None:
    """Raises ValueError, one line, where a package is not installed."""
    for package in FORMATS[format_name].packages:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"--format {format_name}: needs {package}; run: pip install 'alexnet-repro[{format_name}]'"
            )


def export(found: Trained, format_name: FormatName, path: Path) -> float:
    """Write the network to `path` and return the largest difference of a logit, of its first test images, between what
    the file gives and what the run's own network gives.

    Raises ValueError, one line, and writes nothing, where a package is missing, the network has a step that the format
    has no word for, or the logits are not the same.
    """
    check(format_name)
    chosen = FORMATS[format_name]
    images, wanted = samples(found, SAMPLES)
    try:
        content = chosen.write(found.model, images, json.dumps(found.about()))
    except Exception as error:  # exporters raise whatever they meet
        raise ValueError(f"{found.name} cannot be written as {format_name}: {shortened(one_line(error))}") from None
    ask = chosen.read(content, found)
    given = torch.cat([ask(images[:1]), ask(images[1:])])  # numbers of images that it was not written with
    difference = float((given - wanted).abs().max())
    if not torch.allclose(given, wanted, rtol=0, atol=NEAR * float(wanted.abs().max())):  # not a number is not close
        raise ValueError(
            f"{found.name} as {format_name} gives other logits than the run's network (up to {difference:.3g}); "
            "nothing was written"
        )
    write_atomically(path, content)
    return difference


def _write_safetensors(model: Askable, images: Tensor, about: str) -> bytes:
    tensors = {name: value.contiguous() for name, value in model.network.state_dict().items()}
    return safetensors.torch.save({**tensors, MEAN: model.mean, FACTORS: model.factors}, {KEY: about})


def _read_safetensors(content: bytes, found: Trained) -> Callable[[Tensor], Tensor]:
    tensors = safetensors.torch.load(content)
    model = Askable(found.config, tensors.pop(MEAN), tensors.pop(FACTORS))
    model.network.load_state_dict(tensors)
    return _without_gradients(model)


def _write_torchscript(model: Askable, images: Tensor, about: str) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", "`torch.jit")  # it is kept, and no longer worked on
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]  # of shapes
        traced = torch.jit.trace(model, images, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, file, _extra_files={KEY: about})
    return file.getvalue()


def _read_torchscript(content: bytes, found: Trained) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")
        return _without_gradients(torch.jit.load(io.BytesIO(content)))  # type: ignore[no-untyped-call]


def _write_onnx(model: Askable, images: Tensor, about: str) -> bytes:
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own use of what is deprecated
        program: Any = torch.onnx.export(
            model, (images,), input_names=["image"], output_names=["logits"], dynamic_shapes=({0: batch},),
            dynamo=True, verbose=False,
        )  # fmt: skip
    proto = program.model_proto
    proto.metadata_props.add(key=KEY, value=about)
    content: bytes = proto.SerializeToString()
    return content


def _read_onnx(content: bytes, found: Trained) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0])


def _without_gradients(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def ask(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(images)

    return ask


FORMATS: dict[FormatName, Format] = {
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors),
    "torchscript": Format(".pt", _write_torchscript, _read_torchscript),
    "onnx": Format(".onnx", _write_onnx, _read_onnx, ("onnx", "onnxscript", "onnxruntime")),
}
