"""PNG bytes -> uint8 squares, on all cores."""

import concurrent.futures
import io
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from trainer.input_pipeline import resize
from trainer.input_pipeline.dataset import Dataset, Images
from trainer.run.errors import RunError

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_BATCH = 256  # images read, then decoded, at a time


def pixels(encoded: bytes, name: str) -> np.ndarray:
    """Decodes an image.

    Args:
        encoded: A PNG file's bytes.
        name: What to call the image when it is damaged.

    Returns:
        uint8 [height, width], 0..255.

    Raises:
        RunError: The bytes are no whole PNG file.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(
            f"The image {name} can't be decoded ({error}). Build the dataset again: BUILD.md."
        ) from None


def squares(
    dataset: Dataset, images: Images, sizes: Sequence[int]
) -> Iterator[tuple[np.ndarray, dict[int, np.ndarray]]]:
    """Squares of some images; each image is read and decoded once for all sizes.

    Args:
        dataset: Where the images are stored.
        images: Of the dataset.
        sizes: Pixels of a side, one or more.

    Yields:
        Batches of indices int64 [batch] into `images`, and by size uint8 [batch, size, size, 1],
        0..255 (see `resize.square`).

    Raises:
        RunError: An image is no whole PNG file.
    """

    def made(item: tuple[int, bytes]) -> list[np.ndarray]:
        index, encoded = item
        decoded = pixels(encoded, images.image_ids[index])
        return [resize.square(decoded, size)[..., None] for size in sizes]

    with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
        for batch in _batched(dataset.encoded(images)):
            with warnings.catch_warnings():  # here, where no other thread changes them meanwhile
                # Of 89 million pixels and more; the build has taken the image all the same.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                done = list(pool.map(made, batch))
            at = np.array([index for index, _ in batch])
            of_sizes = zip(sizes, zip(*done, strict=True), strict=True)
            yield at, {size: np.stack(each) for size, each in of_sizes}


def _batched(stream: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    batch = []
    for item in stream:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
