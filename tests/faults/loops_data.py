"""The long loops over damage of data: each tries as often as it is asked to, with a seed, and counts what came out
wrong. `make faults` runs them; the tests of this folder run them a few times.

Wrong is: any end but a set that is right or one line that says what is not; numbers that differ without a word; images
that vanish without a word. A signal ends the loop itself.
"""

from __future__ import annotations

import io
import itertools
import json
import pickle
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_up_images import SIZE, add, class_tree

from repro.config.config import Config
from repro.config.keys import override
from repro.config.presets import preset
from repro.data.load.loading import make_loader, open_data
from repro.data.manifest import FILES, NAME, Manifest
from repro.data.prepare import cifar, convert, files
from repro.data.prepare.prepare import prepare

Count = tuple[int, int]  # tried, wrong
STORAGES = (("raw", None), ("jpeg", 90), ("png", None))


def counted(loop: str, tried: int, wrong: list[str]) -> Count:
    """Print the count of a loop, and a line for each trial that came out wrong."""
    print("\n  ".join([f"{loop}: {tried} tried, {len(wrong)} wrong", *wrong]))  # noqa: T201
    return tried, len(wrong)


@contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def config_of(storage: str) -> Config:
    """Asks for the made-up set, whole."""
    changes = {
        "data.source": "made-up", "data.size": SIZE, "data.classes": 3, "data.storage": storage, "augment.crop": 32,
        "data.quality": 90 if storage == "jpeg" else None, "data.per_class": None, "data.test_per_class": None,
        "data.held_out": 0, "augment.color": None,
    }  # fmt: skip
    return override(preset("smoke"), changes)


def flipped(content: bytes, generator: np.random.Generator) -> bytes:
    """With one bit turned over."""
    changed = bytearray(content)
    changed[int(generator.integers(len(changed)))] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def outcome(work: Callable[[], object]) -> tuple[object, str]:
    """(what it returned, the one line that it ended with, or "wrong: ..." for any other end)."""
    try:
        return work(), ""
    except ValueError as error:
        text = str(error)
        return None, f"wrong: {text!r}" if "\n" in text or not text else text
    except Exception as error:
        return None, f"wrong: {type(error).__name__}: {error}"


def sets(place: Path) -> dict[str, Manifest]:
    """The made-up set in each storage."""
    tree = class_tree(place / "tree", classes=3, train=4, test=2)
    return {
        storage: prepare("made-up", source=tree, directory=place / storage, size=SIZE, storage=storage, quality=quality)
        for storage, quality in STORAGES
    }


def bits_of_a_prepared_set(trials: int, seed: int) -> Count:
    """Row 1: a bit of a file of a prepared set is turned over, then the set is opened."""
    generator, wrong = np.random.default_rng(seed), []
    with workplace() as place:
        whole = sets(place)
        for trial in range(trials):
            storage = list(whole)[trial % len(whole)]
            folder = place / storage / whole[storage].name
            file = folder / (*FILES, NAME)[int(generator.integers(4))]
            content = file.read_bytes()
            written = flipped(content, generator)
            file.write_bytes(written)
            prepared, line = outcome(lambda s=storage: open_data(config_of(s).data, place / s))  # type: ignore[misc]
            same = prepared is not None and prepared.manifest == whole[storage] and file.name == NAME  # type: ignore[attr-defined]
            if line.startswith("wrong") or not (same or str(file) in line):
                wrong.append(f"{file.name} of {storage}: {line or 'opened without a word'}")
            file.write_bytes(content)
    return counted("bits_of_a_prepared_set", trials, wrong)


def bits_unverified(trials: int, seed: int) -> Count:
    """Row 1 with --no-verify: what the tables say is never followed out of the file, and both loaders end alike."""
    generator, wrong = np.random.default_rng(seed), []
    with workplace() as place:
        whole = sets(place)
        kinds = ("torch", "ffcv") if files_of_ffcv() else ("torch",)
        for trial in range(trials):
            storage = ("raw", "jpeg")[trial % 2]
            file = place / storage / whole[storage].name / "train.beton"
            content = file.read_bytes()
            # tables and images, not the zeros between them
            table = int.from_bytes(content[16:24], "little")
            used = np.r_[0:2600, (1 << 21) : (1 << 21) + 12 * SIZE * SIZE * 3, table : len(content)]
            used = used[used < len(content)]
            changed = bytearray(content)
            changed[int(generator.choice(used))] ^= 1 << int(generator.integers(8))
            file.write_bytes(bytes(changed))
            cfg = config_of(storage)

            def one(kind: str, storage: str = storage, cfg: Config = cfg) -> list[bytes]:
                data = open_data(cfg.data, place / storage, verify=False)
                with make_loader(data, cfg, "train", seed=0, kind=kind).epoch(0) as batches:  # type: ignore[arg-type]
                    return [batch.image.numpy().tobytes() for batch in batches]

            ends = [outcome(lambda k=kind: one(k)) for kind in kinds]  # type: ignore[misc]
            wrong += [f"train.beton of {storage}: {line}" for _, line in ends if line.startswith("wrong")]
            if len(ends) == 2 and ends[0] != ends[1]:
                wrong.append(f"train.beton of {storage}: the loaders differ: {ends[0][1]!r} and {ends[1][1]!r}")
            file.write_bytes(content)
    return counted("bits_unverified", trials, wrong)


def files_of_ffcv() -> bool:
    from repro.data.load.loading import ffcv_installed

    return ffcv_installed()


def ilsvrc_tar(tree: Path) -> bytes:
    """A tar of one tar a class, as ILSVRC's training archive."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for folder in sorted((tree / "train").iterdir()):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as one:
                for path in sorted(folder.iterdir()):
                    add(one, path.name, path.read_bytes())
            add(tar, f"{folder.name}.tar", inner.getvalue())
    return whole.getvalue()


def headers_of_tars(trials: int, seed: int) -> Count:
    """Row 3: a bit of a member's header is turned over, in a plain tar, a tar in a tar, and their end marks."""
    generator, wrong = np.random.default_rng(seed), []
    with workplace() as place:
        tree = class_tree(place / "tree", classes=3, train=3, test=1)
        source = place / "source"
        shutil.copytree(tree / "val", source / "val")
        contents = [ilsvrc_tar(tree)]
        flat = io.BytesIO()
        with tarfile.open(fileobj=flat, mode="w") as tar:
            tar.add(tree / "train", "train")
        contents.append(flat.getvalue())
        for trial in range(trials):
            content = contents[trial % 2]
            headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
            at = int(generator.choice(headers)) + int(generator.integers(512))
            changed = bytearray(content)
            changed[at] ^= 1 << int(generator.integers(8))
            (source / "train.tar").write_bytes(bytes(changed))
            found, line = outcome(lambda t=trial: prepare("x", source=source, directory=place / f"d{t}", size=SIZE))  # type: ignore[misc]
            if line.startswith("wrong") or (found is not None and found.train_count != 9):  # type: ignore[attr-defined]
                wrong.append(f"byte {at}: {line or f'{found.train_count} images of 9'}")  # type: ignore[attr-defined]
            shutil.rmtree(place / f"d{trial}", ignore_errors=True)
    return counted("headers_of_tars", trials, wrong)


def sources(place: Path) -> dict[str, Path]:
    """A good source of every kind, of 3 classes with 3 + 1 images."""
    import pyarrow as pa
    import pyarrow.parquet

    tree = class_tree(place / "tree", classes=3, train=3, test=1)
    every = sorted(path for path in tree.rglob("*") if path.is_file())
    made = {name: place / name for name in ("tar", "tgz", "txz", "zip", "ilsvrc", "parquet", "labels")}
    for folder in made.values():
        folder.mkdir()
    for name, mode in (("tar", "w"), ("tgz", "w:gz"), ("txz", "w:xz")):
        with tarfile.open(made[name] / f"set.{name}", mode) as tar:  # type: ignore[call-overload]
            for path in every:
                add(tar, path.relative_to(tree).as_posix(), path.read_bytes())
    with zipfile.ZipFile(made["zip"] / "set.zip", "w", zipfile.ZIP_DEFLATED) as whole:
        for path in every:
            whole.write(path, path.relative_to(tree).as_posix())
    (made["ilsvrc"] / "ILSVRC_img_train.tar").write_bytes(ilsvrc_tar(tree))
    shutil.copytree(tree / "val", made["ilsvrc"] / "val")
    classes = sorted(path.name for path in (tree / "train").iterdir())
    for split, called in (("train", "train"), ("val", "validation")):
        paths = [path for path in every if path.is_relative_to(tree / split)]
        about = json.dumps({"info": {"features": {"label": {"names": classes}}}})
        rows = pa.table(
            {
                "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
                "label": [classes.index(path.parent.name) for path in paths],
            }
        )
        target = made["parquet"] / f"{called}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(
            rows.replace_schema_metadata({"huggingface": about}), target, write_page_checksum=True
        )
    shutil.copytree(tree / "train", made["labels"] / "train")
    (made["labels"] / "val").mkdir()
    lines = []
    for number, path in enumerate(path for path in every if path.is_relative_to(tree / "val")):
        shutil.copy(path, made["labels"] / "val" / f"v_{number}.JPEG")
        lines.append(f"v_{number},{path.parent.name} 1 2 3 4\n")
    (made["labels"] / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines))
    return made


def _damaged(name: str, wanted: Manifest, found: object, line: str, *, cut: bool) -> str:
    """What is wrong with the end of a preparation from a damaged source; empty where nothing is."""
    if line.startswith("wrong"):
        return f"{name}: {line}"
    if isinstance(found, Manifest):
        counted = found.train_count + found.test_count + len(found.bad)
        lost = [note for note in found.notes if note.startswith(("not read", "no "))]
        if counted != wanted.train_count + wanted.test_count and not lost:
            return f"{name}: {counted} images of {wanted.train_count + wanted.test_count} without a word"
        if cut and found.digest != wanted.digest and not found.bad and not lost:
            return f"{name}: another set without a word"
    elif not any(word in line for word in ("cannot be read", "holds no", "may be", "no class is known", "one class")):
        return f"{name}: {line}"
    return ""


def _sources_with(
    loop: str, change: Callable[[bytes, np.random.Generator], bytes], trials: int, seed: int, *, cut: bool
) -> Count:
    generator, wrong = np.random.default_rng(seed), []
    with workplace() as place:
        made = sources(place)
        wanted = {
            name: prepare("x", source=source, directory=place / "good" / name, size=SIZE)
            for name, source in made.items()
        }
        whole = {"labels": "LOC_val_solution.csv"}
        for trial in range(trials):
            name = list(made)[trial % len(made)]
            choices = [path for path in sorted(made[name].iterdir()) if path.is_file()]
            file = made[name] / whole[name] if name in whole else choices[trial // len(made) % len(choices)]
            content = file.read_bytes()
            file.write_bytes(change(content, generator))
            for sub in ("", "again"):  # an interrupted or refused preparation leaves nothing that confuses the next
                found, line = outcome(
                    lambda n=name, t=trial: prepare(  # type: ignore[misc]
                        "x", source=made[n], directory=place / f"bad{t}", size=SIZE, allow_bad=9
                    )
                )
                if says := _damaged(f"{file.name}{sub}", wanted[name], found, line, cut=cut):
                    wrong.append(says)
            file.write_bytes(content)
            mended, line = outcome(
                lambda n=name, t=trial: prepare("y", source=made[n], directory=place / f"bad{t}", size=SIZE)  # type: ignore[misc]
            )
            if not isinstance(mended, Manifest) or mended.digest != wanted[name].digest:
                wrong.append(f"{file.name}, mended: {line or 'another set'}")
            shutil.rmtree(place / f"bad{trial}")
    return counted(loop, trials, wrong)


def cut_sources(trials: int, seed: int) -> Count:
    """Row 11: sources of every kind are cut somewhere."""

    def cut(content: bytes, generator: np.random.Generator) -> bytes:
        return content[: int(generator.integers(len(content)))]

    return _sources_with("cut_sources", cut, trials, seed, cut=True)


def bits_of_sources(trials: int, seed: int) -> Count:
    """Row 11: a bit of a source of any kind is turned over."""
    return _sources_with("bits_of_sources", flipped, trials, seed, cut=False)


def garbage_for_sources(trials: int, seed: int) -> Count:
    """Row 11: a web page, nothing, zeros, noise, or another archive's content in place of a source's file."""
    stand_ins: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
        lambda content, generator: b"<!DOCTYPE html><html>403</html>",
        lambda content, generator: b"",
        lambda content, generator: bytes(2048),
        lambda content, generator: generator.bytes(5000),
        lambda content, generator: b"\x1f\x8b" + content[2:],
        lambda content, generator: b"PAR1" + content[4:],
        lambda content, generator: b"PK\x03\x04" + content[4:],
        lambda content, generator: content + b"more",
    )
    turns = itertools.cycle(stand_ins)
    return _sources_with(
        "garbage_for_sources", lambda content, generator: next(turns)(content, generator), trials, seed, cut=True
    )


def damaged_cifar(trials: int, seed: int) -> Count:
    """Row 11: CIFAR-10 in its forms, cut, flipped, pickled anew; and any pickle at all in a batch's place."""
    generator, wrong = np.random.default_rng(seed), []
    records = generator.integers(0, 256, (10, 3073), np.uint8)
    odd: tuple[object, ...] = (
        [], {}, {"labels": [1]}, {"data": "x", "labels": 3}, {b"labels": [0], b"data": np.zeros((1, 3072), np.uint8)},
        {"labels": ["a"], "data": [[]]}, {"labels": [300], "data": np.zeros((1, 3072))}, 2**70, None,
        {"labels": {}, "data": {}},
    )  # fmt: skip
    with workplace() as place:
        for trial in range(trials):
            source = place / f"s{trial}"
            source.mkdir()
            good = pickle.dumps({"labels": records[:, 0].tolist(), "data": records[:, 1:]}, protocol=trial % 6)
            for number, name in enumerate(cifar.CIFAR_MD5):
                if number == trial % 6:
                    bad = (good[: int(generator.integers(len(good)))], flipped(good, generator))
                    content = (*bad, pickle.dumps(odd[trial // 3 % len(odd)]))[trial % 3]
                    (source / name).write_bytes(content)
                else:
                    (source / f"{name}.bin").write_bytes(records.tobytes())
            _, line = outcome(lambda s=source: prepare("cifar10", source=s, directory=place / "d"))  # type: ignore[misc]
            if line.startswith("wrong") or "toronto.edu" not in line:
                wrong.append(line or "prepared")
            shutil.rmtree(source)
    return counted("damaged_cifar", trials, wrong)


def damaged_images(trials: int, seed: int) -> Count:
    """Issue 17, kind 4: images of every format with bytes changed, and Exif made of noise. Each is stored or listed."""
    generator, wrong, images = np.random.default_rng(seed), [], []
    noise = Image.fromarray(generator.integers(0, 256, (40, 48, 3), np.uint8))
    for format_ in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM"):
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x112], exif[282], exif[305] = 6, 72.0, "made up"
        noise.save(file, format_, **({} if format_ in ("PPM", "BMP", "GIF") else {"exif": exif}))
        images.append(file.getvalue())
    form = convert.Form(32, "short-crop", "raw", None)
    for trial in range(trials):
        changed = bytearray(images[trial % len(images)])
        for _ in range(int(generator.integers(1, 6))):
            near = (
                len(changed) if generator.integers(2) else min(len(changed), 300)
            )  # headers and Exif, half of the time
            changed[int(generator.integers(near))] = int(generator.integers(256))
        try:
            found = convert.convert_image(bytes(changed), "x.jpg", form)
            if found.pixels.shape != (32, 32, 3):
                wrong.append(f"trial {trial}: {found.pixels.shape}")
        except Exception as error:  # as `write_split` does: it is listed with this line
            if not files.error_in_words(error) or "\n" in files.error_in_words(error):
                wrong.append(f"trial {trial}: {error!r}")
    return counted("damaged_images", trials, wrong)


def made_up_archives(trials: int, seed: int) -> Count:
    """Archives of any names, types and contents: each ends in a set or in one line; nothing is written elsewhere."""
    generator, wrong = np.random.default_rng(seed), []
    parts = [
        "train",
        "val",
        "test",
        "..",
        ".",
        "",
        "cat",
        "dog",
        "n01",
        ".hidden",
        "caf\udce9",
        "a b",
        "x" * 200,
        "\\",
        "C:",
    ]
    endings = [".jpg", ".png", "", ".tar", ".zip", ".txt", ".heic", "/", ".JPEG", ".csv"]
    file = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (20, 20, 3), np.uint8)).save(file, "JPEG")
    contents = [file.getvalue(), b"", b"x", file.getvalue()[:100]]
    types = [tarfile.REGTYPE] * 12 + [
        tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE, b"Z",
    ]  # fmt: skip
    with workplace() as place:
        for trial in range(trials):
            source = place / ("set.tar", "train.tar", "cat.tar", "set.zip")[trial % 4]
            members = []
            for _ in range(int(generator.integers(0, 25))):
                chosen = [parts[int(generator.integers(len(parts)))] for _ in range(int(generator.integers(1, 5)))]
                members.append("/".join(chosen) + endings[int(generator.integers(len(endings)))])
            if source.suffix == ".zip":
                with zipfile.ZipFile(source, "w") as whole:
                    for name in filter(None, dict.fromkeys(members)):
                        whole.writestr(name.encode("utf-8", "replace").decode(), contents[int(generator.integers(4))])
            else:
                with tarfile.open(source, "w") as tar:
                    for name in members:
                        member, content = tarfile.TarInfo(name), contents[int(generator.integers(4))]
                        member.type = types[int(generator.integers(len(types)))]
                        member.size = len(content) if member.isreg() else 0
                        member.linkname = "/etc/passwd"
                        tar.addfile(member, io.BytesIO(content))
            before = set(place.iterdir())
            _, line = outcome(
                lambda s=source: prepare("x", source=s, directory=place / "d", size=SIZE, allow_bad=99)  # type: ignore[misc]
            )
            if line.startswith("wrong") or {*place.iterdir()} - before - {place / "d"}:
                wrong.append(f"{source.name} of {members}: {line}")
            shutil.rmtree(place / "d", ignore_errors=True)
            source.unlink()
    return counted("made_up_archives", trials, wrong)


LOOPS: dict[Callable[[int, int], Count], int] = {  # with how often each is tried by `make faults`
    bits_of_a_prepared_set: 200,
    bits_unverified: 200,
    headers_of_tars: 200,
    cut_sources: 200,
    bits_of_sources: 200,
    garbage_for_sources: 112,
    damaged_cifar: 100,
    damaged_images: 4000,
    made_up_archives: 400,
}
