"""ImageNet-style sources: archives give what their folders give, and labels come from what is published beside them."""

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from made_up_images import SIZE, add

from repro.data.load.beton import open_beton
from repro.data.prepare import folders
from repro.data.prepare.prepare import prepare


def digest_of(tree: Path, directory: Path) -> tuple[str, list[dict[str, str]]]:
    made = prepare("made-up", source=tree, directory=directory, size=SIZE)
    return made.digest, made.classes


def test_archives_hold_the_same_set_as_the_folder(tree: Path, tmp_path: Path) -> None:
    wanted = digest_of(tree, tmp_path / "0")
    shards = tmp_path / "shards"
    shards.mkdir()
    for split in ("train", "val"):
        with tarfile.open(shards / f"{split}-00of01.tar.xz", "w:xz") as tar:
            tar.add(tree / split, split)
    assert digest_of(shards, tmp_path / "1") == wanted
    with tarfile.open(tmp_path / "all.tgz", "w:gz") as tar:
        tar.add(tree, "imagenette2")
    assert digest_of(tmp_path / "all.tgz", tmp_path / "2") == wanted
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ValueError, match=r"bad\.tar cannot be read: it is no whole tar, zip or Parquet table"):
        digest_of(tmp_path / "bad.tar", tmp_path / "3")


def test_ilsvrcs_own_archives_are_read_with_their_ground_truth(tree: Path, tmp_path: Path) -> None:
    from scipy.io import savemat

    wanted = prepare("made-up", source=tree, directory=tmp_path / "tree", size=SIZE)
    folder = tmp_path / "ilsvrc"
    folder.mkdir()
    wnids = [path.name for path in sorted((tree / "train").iterdir())]
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as tar:
        for wnid in wnids:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as one:
                for path in sorted((tree / "train" / wnid).iterdir()):
                    add(one, path.name, path.read_bytes())
            add(tar, f"{wnid}.tar", inner.getvalue())
    ids = {wnid: len(wnids) - number for number, wnid in enumerate(wnids)}  # ILSVRC's ids are in another order
    images = sorted((tree / "val").glob("*/*"), key=lambda path: path.name)
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as tar:
        for number, path in enumerate(images, 1):
            add(tar, f"ILSVRC2012_val_{number:08d}.JPEG", path.read_bytes())
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array([(ids[wnid], wnid, f"name of {wnid}") for wnid in wnids], kind).reshape(-1, 1)})
    truth = "\n".join(str(ids[path.parent.name]) for path in images) + "\n"
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.encode())
    with pytest.raises(ValueError, match="is not the published archive"):
        prepare("imagenet", source=folder, directory=tmp_path, size=SIZE)
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in folders.ARCHIVE_MD5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "ARCHIVE_MD5", md5)
        made = prepare("imagenet", source=folder, directory=tmp_path, size=SIZE)
    assert made.files["train.beton"] == wanted.files["train.beton"]
    assert [entry["name"] for entry in made.classes] == [f"name of {wnid}" for wnid in wnids]
    assert made.test_per_class == wanted.test_per_class
    assert "48 + 12 images, where imagenet has 1,281,167 + 50,000" in made.notes

    def labeled(directory: Path) -> set[tuple[bytes, int]]:
        beton = open_beton(directory / "test.beton", "raw")
        return {(beton.encoded(index).tobytes(), int(label)) for index, label in enumerate(beton.labels)}

    assert labeled(tmp_path / made.name) == labeled(tmp_path / "tree" / wanted.name)


@pytest.mark.parametrize("form", ["tiny", "kaggle"])
def test_validation_images_outside_class_folders_get_their_published_labels(
    tree: Path, tmp_path: Path, form: str
) -> None:
    wanted = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    place = tmp_path / "flat" / ("ILSVRC/Data/CLS-LOC" if form == "kaggle" else "")
    flat = place / "val" / ("images" if form == "tiny" else "")
    flat.mkdir(parents=True)
    lines = []
    for number, path in enumerate(sorted((tree / "val").glob("*/*"))):
        shutil.copy(path, flat / f"val_{number}.JPEG")
        lines.append((f"val_{number}", path.parent.name))
    for wnid in (tree / "train").iterdir():
        shutil.copytree(wnid, place / "train" / wnid.name / ("images" if form == "tiny" else ""))
    with pytest.raises(ValueError, match="no class is known for val/"):
        prepare("flat", source=tmp_path / "flat", directory=tmp_path, size=SIZE)
    if form == "tiny":
        (place / "val/val_annotations.txt").write_text(
            "".join(f"{file}.JPEG\t{wnid}\t0\t0\t9\t9\n" for file, wnid in lines)
        )
    else:
        rows = "".join(f"{file},{wnid} 1 2 3 4 {wnid} 5 6 7 8\n" for file, wnid in lines)
        (tmp_path / "flat/LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
        (tmp_path / "flat/LOC_synset_mapping.txt").write_text("n00000000 tench, Tinca tinca\n")
    made = prepare("flat", source=tmp_path / "flat", directory=tmp_path, size=SIZE)
    assert made.test_per_class == wanted.test_per_class
    assert (
        sorted(open_beton(tmp_path / made.name / "test.beton", "raw").labels) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    )
    assert made.classes[0]["name"] == ("tench, Tinca tinca" if form == "kaggle" else "n00000000")


def test_a_class_that_lacks_images_is_said_and_one_without_any_to_train_on_is_refused(
    tree: Path, tmp_path: Path
) -> None:
    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    (tree / "train" / "empty").mkdir()
    shutil.rmtree(tree / "val" / "n00000002")
    made = prepare("made-up", source=tree, directory=tmp_path, size=SIZE)
    assert made.notes == [
        "no images in 1 folders of train, which are no classes: empty",
        "no test images of 1 classes: n00000002",
    ]
    whole = {path: path.read_bytes() for path in (tree / "train" / "n00000001").iterdir()}
    for path in whole:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no training image of a class .* first is train/n00000001/train_0.JPEG\)"):
        prepare("again", source=tree, directory=tmp_path, size=SIZE, allow_bad=12)
    for path, content in whole.items():
        path.write_bytes(content)
    assert prepare("again", source=tree, directory=tmp_path, size=SIZE, allow_bad=12).digest == made.digest
