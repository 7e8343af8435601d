"""The FFCV loader: FFCV's reader, pipeline, loader thread and queue around our one operation.

FFCV 1.0.2 is quiet since 2023; what is mended here, and why, stands beside each line. Its files are not touched.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import threading
import weakref
from collections.abc import Generator
from dataclasses import replace
from queue import Empty
from typing import Any

import numba
import numba.typed
import numpy as np
import numpy.typing as npt
import torch

from repro.data.load.beton import Beton
from repro.data.load.render import Ahead, Buffers, Pass, decode_with_pillow

_threads = torch.get_num_threads(), numba.get_num_threads()
_typed_dict = numba.typed.Dict
try:
    # ffcv.fields.rgb_image fills a typed Dict of two entries at import, which takes numba 5 s; a dict does as well.
    numba.typed.Dict = dict
    ffcv_loader: Any = importlib.import_module("ffcv.loader.loader")
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder

    epoch_iterator: Any = importlib.import_module("ffcv.loader.epoch_iterator")
    from ffcv.loader.epoch_iterator import EpochIterator
    from ffcv.memory_managers.os_cache import OSCacheContext, OSCacheManager
    from ffcv.pipeline.compiler import Compiler
    from ffcv.transforms import ToTensor
finally:
    numba.typed.Dict = _typed_dict
    torch.set_num_threads(_threads[0])  # importing FFCV sets both to 1
    numba.set_num_threads(_threads[1])

epoch_iterator.IS_CUDA = False  # our pipeline ends in memory; else FFCV makes GPU streams and events for every epoch
TJPF_RGB, TJCS_YCBCR = 0, 1  # turbojpeg.h
AHEAD = 3  # batches that wait for the consumer
POLL = 0.2  # seconds between two looks at whether the loader thread lives


class Mapped(OSCacheManager):  # type: ignore[misc]
    """FFCV's memory-mapped file, without two things: Python sets of every page and image (seconds and gigabytes for
    1.3 million images, for QUASI_RANDOM alone), and a reader that marks a numba type shared by all as read-only."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.ptrs, self.sizes = reader.alloc_table["ptr"], reader.alloc_table["size"]
        self.context = OSCacheContext(self)

    def compile_reader(self) -> None:
        """Not needed: `fill` reads the mapped file."""


class Rendering(SimpleRGBImageDecoder):  # type: ignore[misc]
    """Our operation, in the decoder's place: stored positions in, finished images out.

    It is Python that calls functions which numba compiled and cached on disk, and which let go of the GIL, so FFCV
    compiles nothing at start, and every image is made by the same machine code whatever the number of workers.
    """

    def declare_state_and_memory(self, previous_state: Any) -> tuple[Any, None]:
        """The shape is that of the pass, and the memory comes from `Buffers`, not anew in every epoch."""
        return replace(previous_state, jit_mode=True, shape=(1,), dtype=np.dtype("<f4")), None

    def generate_code(self) -> Any:
        def rendering(
            batch_indices: Any, destination: None, metadata: Any, storage_state: Any
        ) -> npt.NDArray[np.float32]:
            thread = threading.current_thread()
            assert isinstance(thread, Epoch)
            indices, images = thread.ahead.take()
            assert indices is batch_indices
            return images

        return rendering


class Epoch(EpochIterator):  # type: ignore[misc]
    """FFCV's loader thread for one pass: it can be stopped, and tells its errors."""

    def __init__(self, images: FfcvImages, run: Pass) -> None:
        self.source, self.pass_ = images, run
        self.failure: BaseException | None = None
        self.stopped = False
        self.ahead = Ahead(images.beton, images.side, run, images.buffers, images.decoder.decode, images.workers)
        order = np.concatenate(run.batches) if run.batches else np.empty(0, np.int64)
        super().__init__(images.loader, order)

    def run(self) -> None:
        """In the thread. FFCV lets an exception end it, and the consumer waits for ever."""
        self.iter_ixes = iter(self.pass_.batches)  # FFCV cuts equal batches, which a rank's share is not
        try:
            super().run()
        except BaseException as error:
            self.failure = error

    def take(self) -> torch.Tensor:
        """The next batch; raises what the thread raised."""
        while True:
            try:
                got = self.output_queue.get(timeout=POLL)
            except Empty:
                if self.is_alive() or not self.output_queue.empty():
                    continue
                raise self.failure or RuntimeError("FFCV's loader thread ended early") from None
            assert got is not None
            images: torch.Tensor = got[1][0]
            return images

    def stop(self) -> None:
        """End the thread and wait for it. FFCV's `close` leaves it waiting at a full queue, with its memory.

        Twice is fine: `_stop_all` is followed by the end of a generator left open, when modules are gone already."""
        if self.stopped:
            return
        self.stopped = True
        self.terminate_event.set()
        while self.is_alive():
            try:
                self.output_queue.get(timeout=0.01)
            except Empty:
                self.join(0.01)
        self.close()
        self.ahead.close()


class FfcvImages:
    """Makes the images of a pass under FFCV's loader thread, in `workers` threads."""

    def __init__(self, beton: Beton, side: int, workers: int, pinned: bool = False) -> None:
        self.beton, self.side, self.workers, self.buffers = beton, side, max(1, workers), Buffers(pinned)
        self.decoder = TurboJpeg()
        kept = ffcv_loader.OSCacheManager, Compiler.is_enabled
        try:
            ffcv_loader.OSCacheManager = Mapped
            Compiler.set_enabled(False)
            self.loader = ffcv_loader.Loader(
                str(beton.path),
                batch_size=1,
                num_workers=self.workers,
                os_cache=True,
                pipelines={"image": [Rendering(), ToTensor()], "label": None},
                drop_last=False,
                batches_ahead=AHEAD,
            )
        finally:
            ffcv_loader.OSCacheManager, Compiler.is_enabled = kept

    def images(self, run: Pass) -> Generator[torch.Tensor]:
        """The images of every batch of `run`, in order."""
        epoch = Epoch(self, run)
        _living.add(epoch)
        try:
            for _ in run.batches:
                yield epoch.take().movedim(-1, -3)
        finally:
            epoch.stop()


class TurboJpeg:
    """libturbojpeg, which FFCV links, called with its accurate DCT: bitwise what Pillow decodes.

    FFCV's own `imdecode` asks for the fast DCT, whose pixels are other ones. One handle a thread.
    """

    def __init__(self) -> None:
        import ffcv._libffcv

        library = ctypes.CDLL(ffcv._libffcv.__file__)  # its symbols include those of the libturbojpeg it is linked with
        self.library, self.local = library, threading.local()
        library.tjInitDecompress.restype = ctypes.c_void_p
        library.tjDestroy.argtypes = [ctypes.c_void_p]
        library.tjDecompressHeader3.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong, *[ctypes.POINTER(ctypes.c_int)] * 4,
        ]  # fmt: skip
        library.tjDecompress2.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, *[ctypes.c_int] * 5,
        ]  # fmt: skip

    def decode(self, encoded: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
        """A stored JPEG into `out` (size, size, 3). Raises what Pillow raises when it is damaged."""
        handle = getattr(self.local, "handle", None)
        if handle is None:
            handle = self.local.handle = Handle(self.library)
        height, width = out.shape[:2]
        address, length = encoded.ctypes.data, encoded.size
        facts = [ctypes.c_int() for _ in range(4)]  # width, height, subsampling, color space
        failed = self.library.tjDecompressHeader3(handle.value, address, length, *map(ctypes.byref, facts))
        fits = not failed and [facts[0].value, facts[1].value, facts[3].value] == [width, height, TJCS_YCBCR]
        if not fits or self.library.tjDecompress2(
            handle.value, address, length, out.ctypes.data, width, 0, height, TJPF_RGB, 0
        ):  # a fault or a warning: Pillow has the last word, so that both loaders stop at the same images
            decode_with_pillow(encoded, out)


class Handle:
    """A decompressor that is destroyed with its thread."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.value = library.tjInitDecompress()
        weakref.finalize(self, library.tjDestroy, self.value)


def _set_num_threads(cls: type, count: int) -> None:
    cls.num_threads = count  # type: ignore[attr-defined]


# FFCV sets numba's and torch's thread counts, in every new Loader and every epoch; here it has threads of its own, and
# torch must keep its.
Compiler.set_num_threads = classmethod(_set_num_threads)

_living: weakref.WeakSet[Epoch] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """A process that ends with a living loader thread may abort."""
    for epoch in list(_living):
        epoch.stop()
