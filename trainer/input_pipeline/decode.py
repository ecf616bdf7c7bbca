"""PNG bytes -> uint8 squares, aligned or not, and poses, on all cores."""

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from covid_tfds.parallel import in_order
from trainer.input_pipeline import alignment, resize
from trainer.input_pipeline.dataset import Images
from trainer.input_pipeline.stress import reframed
from trainer.run.errors import RunError

_BATCH = 256  # images given at a time


class Store(Protocol):
    """Where images are read from: a dataset, or a folder."""

    def encoded(self, images: Images) -> Iterator[tuple[int, bytes]]:
        """As `Dataset.encoded`."""


class Kind(NamedTuple):
    """One thing that is made of a decoded image.

    Attributes:
        size: Pixels of a side of its square; 0: the pose that aligns it.
        align: How the square is aligned, of `Config.align`.
    """

    size: int
    align: str = "none"


POSE = Kind(0, "chest")


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
        # Image.open would warn of images of 89 million pixels, which the build takes.
        with PngImageFile(io.BytesIO(encoded)) as image:
            _require_size(image)
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise RunError(
            f"The image {name} can't be decoded ({error}). Build the dataset again: BUILD.md."
        ) from None


def _require_size(image: Image.Image) -> None:
    """Refuses what Image.open refuses: a small file may say that it has any number of pixels."""
    size, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit is not None and size > 2 * limit:
        raise ValueError(f"its size of {size} pixels exceeds limit of {2 * limit} pixels")


def squares(
    store: Store, images: Images, kinds: Sequence[Kind]
) -> Iterator[tuple[np.ndarray, dict[Kind, np.ndarray]]]:
    """Squares and poses of some images; each image is read and decoded once for all kinds.

    All cores go on while a batch is with the caller, some 64 images a core ahead, 512 in all.

    Args:
        store: Where the images are.
        images: That it has.
        kinds: One or more.

    Yields:
        Batches of indices int64 [batch] into `images`, and by kind uint8 [batch, size, size, 1],
        0..255 (see `resize.square` and `alignment.Aligner`), or of `POSE` float32 [batch, 5].

    Raises:
        RunError: An image is no whole PNG file.
    """
    aligned = [kind for kind in kinds if kind.align != "none"]
    align = alignment.Aligner([kind.size for kind in aligned if kind != POSE]) if aligned else None

    def made(item: tuple[int, bytes]) -> tuple[int, list[np.ndarray]]:
        index, encoded = item
        decoded = reframed(pixels(encoded, images.image_ids[index]), images.frames[index])
        framed, pose = align(decoded) if align else ({}, np.zeros(0, np.float32))

        def of_kind(kind: Kind) -> np.ndarray:
            if kind == POSE:
                return pose
            plain = kind.align == "none"
            square = resize.square(decoded, kind.size) if plain else framed[kind.size]
            return square[..., None]

        return index, [of_kind(kind) for kind in kinds]

    done = in_order(made, store.encoded(images))
    while batch := list(itertools.islice(done, _BATCH)):
        at, of_images = zip(*batch, strict=True)
        of_kinds = zip(kinds, zip(*of_images, strict=True), strict=True)
        yield np.array(at), {kind: np.stack(each) for kind, each in of_kinds}
