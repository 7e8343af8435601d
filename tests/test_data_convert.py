"""Images as sources have them: converted, or listed with the reason why not."""

import io
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from made_up_images import SIZE, class_tree, image
from PIL import Image

from repro.data.load.beton import open_beton
from repro.data.prepare.convert import to_square
from repro.data.prepare.prepare import prepare
from repro.data.prepare.verify import verify


def dirty_tree(folder: Path) -> Path:
    """A tree with what real ImageNet has in it."""
    class_tree(folder, classes=3, train=6, test=2)
    generator = np.random.default_rng(5)
    place = folder / "train" / "n00000001"
    base = image(generator, 60, 50)
    base.convert("CMYK").save(place / "cmyk.JPEG")
    base.save(place / "really_png.JPEG", format="PNG")
    base.convert("L").save(place / "gray.JPEG")
    base.convert("RGBA").save(place / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    base.save(place / "turned.JPEG", exif=exif, quality=95)
    content = io.BytesIO()
    base.save(content, "JPEG")
    (place / "cut.JPEG").write_bytes(content.getvalue()[:-300])
    (place / "empty.JPEG").write_bytes(b"")
    (place / "words.JPEG").write_text("no image at all")
    base.save(place / "odd näme\t(1) 'x'.JPEG")
    base.save(Path(os.fsdecode(bytes(place) + b"/latin\xe9.JPEG")))
    (place / ".hidden.JPEG").write_text("left by some other program")
    (place / "notes.txt").write_text("not an image by its name")
    return folder


def test_dirty_images_are_converted_or_listed_with_their_reason(tmp_path: Path) -> None:
    tree = dirty_tree(tmp_path / "tree")
    with pytest.raises(ValueError, match=r"3 of 28 train images cannot be read, and 0 may be .*--allow-bad 3"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    with pytest.raises(ValueError, match="3 of 28"):
        prepare("made-up", source=tree, directory=tmp_path, size=SIZE, allow_bad=2)
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE, allow_bad=3)
    with pytest.raises(ValueError, match="3 of 28"):
        prepare("made-up", source=tree, directory=tmp_path / "mended", size=SIZE)
    for name in ("cut", "empty", "words"):
        shutil.copy(tree / "train/n00000001/gray.JPEG", tree / f"train/n00000001/{name}.JPEG")
    assert prepare("made-up", source=tree, directory=tmp_path / "mended", size=SIZE).bad == []
    reasons = {entry["file"].rsplit("/", 1)[1]: entry["reason"] for entry in made.bad}
    assert "truncated" in reasons.pop("cut.JPEG")
    assert reasons == {"empty.JPEG": "the file is empty", "words.JPEG": "no image format that Pillow knows"}
    assert made.train_count == 25 and made.train_per_class == [6, 13, 6]
    examples = {reason: entry["files"] for reason, entry in made.converted.items()}
    assert {reason: [file.rsplit("/", 1)[1] for file in files] for reason, files in examples.items()} == {
        "CMYK made RGB": ["cmyk.JPEG"], "PNG file named .jpeg": ["really_png.JPEG"], "gray made RGB": ["gray.JPEG"],
        "RGBA made RGB": ["alpha.png"], "turned upright as its EXIF says": ["turned.JPEG"],
    }  # fmt: skip
    beton = open_beton(tmp_path / made.name / "train.beton", "raw")
    assert len(beton.labels) == 25
    stored = {beton.encoded(index).tobytes() for index in range(25)}
    with Image.open(tree / "train/n00000001/turned.JPEG") as image:
        upright = to_square(image.transpose(Image.Transpose.ROTATE_270), SIZE, "short-crop")
    assert np.asarray(upright).tobytes() in stored
    assert verify(tmp_path) == []


def test_an_image_too_large_to_decode_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = class_tree(tmp_path / "tree", classes=2, train=3, test=1)
    generator = np.random.default_rng(0)
    image(generator, 300, 200).save(tree / "train/n00000000/large.JPEG")
    image(generator, 600, 400).save(tree / "train/n00000000/huge.JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # Pillow warns above it and refuses above its double
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE, allow_bad=1)
    assert [entry["file"] for entry in made.bad] == ["train/n00000000/huge.JPEG"]
    assert "decompression bomb" in made.bad[0]["reason"] and made.train_count == 7
