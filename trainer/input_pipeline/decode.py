"""Encoded images -> uint8 squares, on all cores.

Pillow decodes and scales, as it did when the dataset was built; tf.image.resize, antialiased, is
slow on one channel. Both give the same pixels, but for the rounding to whole grey levels.
"""

import concurrent.futures
import io
import os
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from trainer.run.errors import RunError

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_CHUNK = 32  # images a thread takes at a time


def square(image: bytes, size: int, name: str = "?") -> np.ndarray:
    """One image as a square.

    Args:
        image: A PNG file's bytes.
        size: Pixels of a side.
        name: What to call the image when it is damaged.

    Returns:
        uint8 [size, size], 0..255.

    Raises:
        RunError: The bytes are no whole PNG file.
    """
    try:
        with Image.open(io.BytesIO(image), formats=["PNG"]) as image:
            # The same filter as the model's own Resizing, which then has nothing left to do.
            return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, SyntaxError, ValueError) as error:
        raise RunError(
            f"The image {name} can't be decoded ({error}). Build the dataset anew: BUILD.md."
        ) from None


def squares(images: Sequence[bytes], size: int, names: Sequence[str]) -> np.ndarray:
    """Images as squares, decoded on all cores.

    Args:
        images: n PNG files' bytes.
        size: Pixels of a side.
        names: n names, for the message about a damaged image.

    Returns:
        uint8 [n, size, size], 0..255, in the images' order.

    Raises:
        RunError: An image is no whole PNG file.
    """
    kept = np.empty((len(images), size, size), np.uint8)

    def fill(i: int) -> None:
        kept[i] = square(images[i], size, names[i])

    in_chunks(len(images), fill)
    return kept


def in_chunks(count: int, work: Callable[[int], None]) -> None:
    """Runs work(0) to work(count - 1) in as many threads as there are cores."""

    def chunk(first: int) -> None:
        for i in range(first, min(first + _CHUNK, count)):
            work(i)

    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        # A list, since an error only shows when its result is asked for.
        list(pool.map(chunk, range(0, count, _CHUNK)))
