"""Encoded films -> uint8 squares, on all cores.

Pillow decodes and scales, as it did when the dataset was built: on the same cores it takes a third
of the time of tf.io.decode_jpeg and tf.image.resize, whose antialiased resize is slow on one
channel. Without a scaled decode both give the same pixels, but for the rounding to whole grey
levels (and for TensorFlow's default of a coarser inverse DCT).
"""

import concurrent.futures
import io
import os
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from trainer.errors import RunError

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_CHUNK = 32  # films a thread takes at a time


def square(image: bytes, size: int, name: str = "?") -> np.ndarray:
    """One film as a square.

    Args:
        image: A JPEG file's bytes.
        size: Pixels of a side.
        name: What to call the film when it is damaged.

    Returns:
        uint8 [size, size], 0..255.

    Raises:
        RunError: The bytes are no whole JPEG file.
    """
    try:
        with Image.open(io.BytesIO(image), formats=["JPEG"]) as film:
            # The decoder itself leaves out 1/2, 3/4 or 7/8 of the rows and columns, as many as
            # leave both sides at the size asked for or above it; `box` is the film, without the
            # padding to whole pixels.
            _, box = film.draft("L", (size, size))
            # The same filter as the model's own Resizing, which then has nothing left to do.
            return np.asarray(film.resize((size, size), Image.Resampling.BILINEAR, box=box))
    except (OSError, SyntaxError, ValueError) as error:
        raise RunError(
            f"The film {name} can't be decoded ({error}). Build the dataset anew: BUILD.md."
        ) from None


def squares(images: Sequence[bytes], size: int, names: Sequence[str]) -> np.ndarray:
    """Films as squares, decoded on all cores.

    Args:
        images: n JPEG files' bytes.
        size: Pixels of a side.
        names: n names, for the message about a damaged film.

    Returns:
        uint8 [n, size, size], 0..255, in the films' order.

    Raises:
        RunError: A film is no whole JPEG file.
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
