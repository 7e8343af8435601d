"""One split to disk: every image in its stored order, in constant memory, from where an earlier attempt stopped."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from repro.data.load.augment import epoch_order
from repro.data.load.beton import Writer
from repro.data.prepare.convert import Form, StoredImage, convert_image
from repro.data.prepare.files import error_in_words, shown
from repro.data.prepare.progress import OnProgress, Progress
from repro.data.prepare.sources import SourceSplit
from repro.machine.provenance import usable_cores
from repro.store import write_atomically

SHUFFLE_SEED = 2012  # the stored order is the same for everybody
UNREADABLE = 0.001  # more than this share of unreadable images is an error
SAVE_BYTES = 1 << 28  # of pixels between two savings of the state
NAMED = 3  # unreadable images in an error
EXAMPLES = 20  # files named for each kind of conversion; unreadable ones are all named


class SplitWriter:
    """One split on its way to disk: the writer, and sums that give mean and covariance. All sums are exact integers."""

    def __init__(self, work: Path, name: str, split: SourceSplit, classes: int, form: Form) -> None:
        self.writer = Writer(work / f"{name}.beton", form.storage, form.size, len(split.names))
        listed = json.dumps([split.names, split.labels]).encode()
        self.fingerprint = hashlib.sha256(listed).hexdigest()  # another source starts anew
        self.state = work / f"{name}.state"
        self.next = 0  # position in the stored order
        self.sums = np.zeros((form.size, form.size, 3), np.int64)  # over the images
        self.products = np.zeros((3, 3), np.int64)  # of each two channels, over images and pixels
        self.per_class = [0] * classes
        self.unread = 0  # images that cannot be read
        self.bad: list[dict[str, str]] = []  # all of them, or the first where they are too many
        self.converted: dict[str, dict[str, Any]] = {}
        self.finished = False

    @property
    def count(self) -> int:
        return self.writer.count

    @property
    def pixel_count(self) -> int:
        return self.writer.count * self.writer.size**2

    def add(self, image: StoredImage, label: int, name: str) -> None:
        """Append one image that was read well."""
        self.writer.append(image.encoded, label)
        self.sums += image.pixels
        self.products += image.products
        self.per_class[label] += 1
        for reason in image.converted:
            kind = self.converted.setdefault(reason, {"count": 0, "files": []})
            kind["count"] += 1
            if len(kind["files"]) < EXAMPLES:
                kind["files"].append(name)

    def save(self) -> None:
        """Bring everything to the disk, so that `load` can go on from here."""
        end, count = (0, self.count) if self.finished else self.writer.checkpoint()
        plain = {
            "end": end, "count": count, "next": self.next, "per_class": self.per_class, "bad": self.bad,
            "unread": self.unread, "converted": self.converted, "finished": self.finished,
            "fingerprint": self.fingerprint,
        }  # fmt: skip
        content = io.BytesIO()
        np.savez(content, sums=self.sums, products=self.products, plain=np.array(json.dumps(plain)))
        write_atomically(self.state, content.getvalue())

    def load(self, limit: int) -> None:
        """Go on from the last `save`, if there was one for these images.

        Where more than `limit` were unreadable all are read again, since some may have been mended meanwhile.
        """
        saved = read_state(self.state)
        known = saved is not None and saved["fingerprint"] == self.fingerprint and saved["unread"] <= limit
        if saved is None or not known or not self.writer.holds(saved["end"], saved["count"], saved["finished"]):
            self.state.unlink(missing_ok=True)  # else a second interruption would pair it with what is written now
            self.writer.restart()
            return
        self.sums, self.products = saved["sums"], saved["products"]
        self.next, self.per_class = saved["next"], saved["per_class"]
        self.bad, self.unread = saved["bad"], saved["unread"]
        self.converted, self.finished = saved["converted"], saved["finished"]
        if self.finished:
            self.writer.count = saved["count"]
        else:
            self.writer.resume(saved["end"], saved["count"])


def read_state(path: Path) -> dict[str, Any] | None:
    """What `SplitWriter.save` wrote; None when there is nothing, or nothing that can be read."""
    if not path.exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file) as saved:  # np.load leaves a damaged file open
            return {**json.loads(str(saved["plain"])), "sums": saved["sums"], "products": saved["products"]}
    except (EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile):  # what damage makes numpy and zip raise
        return None


def write_split(
    work: Path,
    name: str,
    split: SourceSplit,
    classes: int,
    form: Form,
    allow_bad: int | None,
    progress: OnProgress,
) -> SplitWriter:
    """Read, convert and append every image of split `name`, "train" or "test", in its stored order.

    Raises ValueError when more images cannot be read than `allow_bad` (None: 0.1%), and when a class is left without
    training images.
    """
    total = len(split.names)
    out = SplitWriter(work, name, split, classes, form)
    limit = allow_bad if allow_bad is not None else int(UNREADABLE * total)
    try:
        out.load(limit)
        if out.finished:
            return out
        order = epoch_order(SHUFFLE_SEED, 0 if name == "train" else 1, np.arange(total, dtype=np.int64))
        save_every = max(1, SAVE_BYTES // (form.size**2 * 3))

        def convert(number: int) -> StoredImage:
            return convert_image(split.read(number), split.names[number], form)

        for number, future in in_order(convert, order[out.next :].tolist()):
            try:
                image = future.result()
            except Exception as error:  # a reader of foreign files may raise anything
                out.unread += 1
                if len(out.bad) < max(limit, NAMED):  # a million empty files need not all be remembered
                    out.bad.append({"file": shown(split.names[number]), "reason": error_in_words(error)})
            else:
                out.add(image, split.labels[number], shown(split.names[number]))
            out.next += 1
            progress(Progress(name, out.next, total))
            if out.next % save_every == 0 and out.next < total:
                out.save()
        if out.unread > limit:
            out.save()
            first = "; ".join(f"{entry['file']}: {entry['reason']}" for entry in out.bad[:NAMED])
            raise ValueError(
                f"{out.unread} of {total} {name} images cannot be read, and {limit} may be ({first}"
                f"{'; ...' if out.unread > NAMED else ''}); mend them, or accept them with --allow-bad {out.unread}"
            )
        if name == "train" and not all(out.per_class):
            out.state.unlink(missing_ok=True)  # next time all are read anew, since some may have been mended meanwhile
            label = out.per_class.index(0)
            first = next(each for each, of in zip(split.names, split.labels, strict=True) if of == label)
            raise ValueError(
                f"no training image of a class can be read (the first is {shown(first)}); mend some, or take the "
                "class out of the source"
            )
        out.writer.finish()
        out.finished = True
        out.save()
        return out
    finally:
        out.writer.close()


def in_order(work: Callable[[int], StoredImage], numbers: list[int]) -> Iterator[tuple[int, Future[StoredImage]]]:
    """Results in the order of `numbers`, computed by all cores a few ahead. Pillow and numpy let go of the GIL."""
    threads = usable_cores()
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[tuple[int, Future[StoredImage]]] = []
        coming = iter(numbers)
        try:
            for number in coming:
                waiting.append((number, pool.submit(work, number)))
                if len(waiting) > 4 * threads:
                    yield waiting.pop(0)
            yield from waiting
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def merged(one: dict[str, dict[str, Any]], two: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Counts of both splits together; example files of the first, then of the second."""
    return {
        reason: {
            "count": sum(side[reason]["count"] for side in (one, two) if reason in side),
            "files": [file for side in (one, two) if reason in side for file in side[reason]["files"]][:EXAMPLES],
        }
        for reason in sorted({*one, *two})
    }
