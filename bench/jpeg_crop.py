"""How much faster 224x224 of 256x256 pixels are decoded where libjpeg-turbo leaves out what is not wanted.

python bench/jpeg_crop.py    needs cc and libjpeg's headers (libjpeg-dev)

A crop at a random place by the scanline interface: rows above are skipped (jpeg_skip_scanlines), columns outside are
not made (jpeg_crop_scanline, from one block further left on, which upsampling of colors looks at), rows below are not
even read. Processor time of one thread, in turns with decoding the whole image, over the photographs of `repro bench
loader`.
"""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from repro.bench.loader import CROP, SIZE, write_tree

IMAGES, ROUNDS = 256, 9
C = r"""
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>

static struct jpeg_decompress_struct info;
static struct jpeg_error_mgr errors;
static unsigned char row[3 * 4096];

void begin(void) { info.err = jpeg_std_error(&errors); jpeg_create_decompress(&info); }

/* Pixels (side, side, 3) at (top, left) of an encoded image; the whole image where `whole` is set, then cut. */
void decode(const unsigned char *encoded, unsigned long length, int top, int left, int side, int whole,
            unsigned char *out) {
    jpeg_mem_src(&info, encoded, length);
    jpeg_read_header(&info, TRUE);
    jpeg_start_decompress(&info);
    JDIMENSION first = 0, width = info.output_width;
    unsigned char *line = row;
    if (!whole) {
        first = left >= 16 ? left - 16 : 0;
        width = left + side + 16 < (int)info.output_width ? left + side + 16 - first : info.output_width - first;
        jpeg_crop_scanline(&info, &first, &width);
        if (top) jpeg_skip_scanlines(&info, top);
    }
    while (info.output_scanline < (whole ? info.output_height : (JDIMENSION)(top + side))) {
        int y = (int)info.output_scanline - top;
        jpeg_read_scanlines(&info, &line, 1);
        if (y >= 0 && y < side) memcpy(out + 3 * side * y, row + 3 * (left - (int)first), 3 * side);
    }
    if (whole) jpeg_finish_decompress(&info); else jpeg_abort_decompress(&info);
}
"""


def main() -> None:
    with TemporaryDirectory() as folder:
        source, library = Path(folder, "crop.c"), Path(folder, "crop.so")
        source.write_text(C)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", library, "-ljpeg"], check=True)
        files = sorted(write_tree(Path(folder), IMAGES).glob("train/*/*.JPEG"))
        encoded = [file.read_bytes() for file in files]
        jpeg = ctypes.CDLL(str(library))
        jpeg.begin()
        places = np.random.default_rng(0).integers(0, SIZE - CROP + 1, (len(encoded), 2)).tolist()
        out = [np.empty((len(encoded), CROP, CROP, 3), np.uint8) for _ in range(2)]

        def pass_of(whole: int) -> float:
            start = time.process_time()
            for image, (top, left), pixels in zip(encoded, places, out[whole], strict=True):
                jpeg.decode(
                    image, ctypes.c_ulong(len(image)), top, left, CROP, whole, ctypes.c_void_p(pixels.ctypes.data)
                )
            return (time.process_time() - start) / len(encoded)

        pass_of(0), pass_of(1)
        taken = [[pass_of(kind) for kind in (0, 1)] for _ in range(ROUNDS)]
        crops, wholes = (statistics.median(times) for times in zip(*taken, strict=True))
        same = (out[0] == out[1]).reshape(len(encoded), -1).all(axis=1).mean()
        sys.stdout.write(
            f"whole image {1e6 * wholes:.0f} us, crop alone {1e6 * crops:.0f} us: "
            f"{statistics.median(whole / crop for crop, whole in taken):.3f} times as fast; "
            f"{100 * same:.0f}% of the crops have the same pixels\n"
        )


if __name__ == "__main__":
    main()
