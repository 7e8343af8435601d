"""The coverage-guided fuzzer over every parser of foreign files and of results, a process each: see guided."""

from __future__ import annotations

import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Container
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from loops_data import Count, counted, workplace
from loops_results import published
from made_up_images import class_tree

from repro.data.prepare.prepare import prepare


def whole_files(place: Path) -> dict[str, bytes]:
    """One good file for each target: where the fuzzer begins."""
    _, folder = published(place / "results")
    (setting,) = (place / "results" / "experiments").glob("*/*.json")
    prepared = prepare(
        "made-up", source=class_tree(place / "tree", classes=2, train=2, test=1), directory=place, size=32
    )
    image = next(one for one in (place / "tree").rglob("*") if one.is_file())
    tar, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("train/cat/1.png", "val/cat/2.png"):
            member = tarfile.TarInfo(name)
            member.size = image.stat().st_size
            archive.addfile(member, io.BytesIO(image.read_bytes()))
    with zipfile.ZipFile(zipped, "w") as whole:
        whole.write(image, "train/cat/1.png")
    return {
        "run.json": (folder / "run.json").read_bytes(),
        "setting.json": setting.read_bytes(),
        "metrics.jsonl": (folder / "metrics.jsonl").read_bytes(),
        "manifest.json": (place / prepared.name / "manifest.json").read_bytes(),
        "predictions.npz": (folder / "predictions-center.npz").read_bytes(),
        "set.tar": tar.getvalue(),
        "set.zip": zipped.getvalue(),
        "data_batch_1.bin": bytes(3073),
        "data_batch_1": plain_pickle(),
        "loc_synset_mapping.txt": b"n01 cat\nn02 dog\n",
        "synset_words.txt": b"n01 cat\n",
        "classes.tsv": b"index\twnid\tname\n0\tn01\tcat\n",
        "val_annotations.txt": b"val_0.JPEG\tn01\t0\t0\t62\t62\n",
        "loc_val_solution.csv": b"ImageId,PredictionString\nILSVRC2012_val_1,n01 1 2 3 4\n",
    }


def plain_pickle() -> bytes:
    """A batch of CIFAR-10 as its Python version has it."""
    import pickle

    return pickle.dumps({b"labels": [1], b"data": np.zeros((1, 3072), np.uint8)}, 2)


def guided(trials: int, seed: int, targets: Container[str] | None = None) -> Count:
    """So many inputs for every parser, or for `targets`: none ends it in anything but its promised error."""
    wrong: list[str] = []
    tried = 0
    with workplace() as place:
        for target, content in whole_files(place).items():
            if targets is not None and target not in targets:
                continue
            corpus = place / "corpus" / target
            corpus.mkdir(parents=True)
            (corpus / "whole").write_bytes(content)
            line = [
                sys.executable,
                str(Path(__file__).with_name("guided.py")),
                target,
                str(trials),
                str(seed),
                str(corpus),
            ]
            done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=3600)
            ran = re.search(r"number_of_executed_units: (\d+)", done.stderr)
            tried += int(ran[1]) if ran else 0
            if done.returncode or not ran:
                kept = [repr(one.read_bytes()[:200]) for one in corpus.parent.glob(f"{target}-*")]
                wrong.append(f"{target}: {done.stderr.strip()[-1500:]} {done.stdout[-1500:]} {kept}")
    return counted("guided", tried, wrong)


# with how often each is tried by `make faults`; atheris has wheels for Linux on x86-64 alone
LOOPS: dict[Callable[[int, int], Count], int] = {guided: 20_000} if importlib.util.find_spec("atheris") else {}
