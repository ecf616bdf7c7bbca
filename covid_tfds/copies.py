"""Which images are copies of each other: equal bytes, equal pixels, nearly the same picture."""

import hashlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from covid_tfds.spool import THUMBNAIL, Thumbnails

# Chest X-rays look alike, so a perceptual hash alone joins strangers: among the 6,456 images of the
# two public sources, 1,882 pairs lie within 6 bits. Confirmed by the
# correlation of 64 x 64 copies they fall apart: copies of one image have .996 and more, the most
# alike strangers .982. Both thresholds were read off those distributions.
MAX_HAMMING = 6
MIN_CORRELATION = 0.99

_FREQUENCIES = 8  # a side of the square of low frequencies that the hash keeps: 64 bits
_BATCH = 512  # images hashed at a time, pairs confirmed at a time: some MB of memory


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A small square copy, uint8 [THUMBNAIL, THUMBNAIL], of uint8 [h, w]."""
    size = (THUMBNAIL, THUMBNAIL)
    # The mean of each part: as good at telling copies from strangers as a finer filter, in less
    # than half of its time.
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def pixels_sha256(pixels: np.ndarray) -> bytes:
    """sha256 of an image's size and pixels, whatever lossless file they are in.

    Args:
        pixels: uint8 [h, w], or [h, w, 1] as TFDS decodes it.

    Returns:
        32 bytes: sha256 of `<height> <width>\\n` and the rows.
    """
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(b"%d %d\n" % (height, width))
    digest.update(np.ascontiguousarray(pixels))
    return digest.digest()


def git_blob_sha1(data: bytes) -> bytes:
    """The name that git gives to a file of these bytes, 20 bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).digest()


def perceptual_hashes(thumbnails: np.ndarray | Thumbnails) -> np.ndarray:
    """64 bits an image: which of the lowest 8 x 8 frequencies exceed their median.

    The pHash of C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions
    (2010), of all images at once: two products of matrices take the cosine transform.

    Args:
        thumbnails: uint8 [n, THUMBNAIL**2].

    Returns:
        uint64 [n].
    """
    place = (np.arange(THUMBNAIL) + 0.5) * np.pi / THUMBNAIL
    cosines = np.cos(np.arange(_FREQUENCIES)[:, None] * place).astype(np.float32)
    hashes = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _BATCH):
        squares = thumbnails[start : start + _BATCH].reshape(-1, THUMBNAIL, THUMBNAIL)
        low = (cosines @ squares.astype(np.float32) @ cosines.T).reshape(len(squares), -1)
        bits = low > np.median(low, axis=1, keepdims=True)
        hashes[start : start + _BATCH] = np.packbits(bits, axis=1).view(">u8").ravel()
    return hashes


def near_equal_pairs(
    thumbnails: np.ndarray | Thumbnails, places: np.ndarray | None = None
) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of images that show nearly the same picture.

    Time grows with the square of the number of images: a second for 6,000, a minute for 100,000;
    and with the number of pairs.

    Args:
        thumbnails: uint8 [n, THUMBNAIL**2].
        places: int64 [m], ascending: the images to compare; None: all.
    """
    found: list[tuple[int, int]] = []
    places = np.arange(len(thumbnails)) if places is None else places
    for one, other in _close_pairs(perceptual_hashes(thumbnails)[places]):
        first, second = places[one], places[other]
        alike = _correlations(thumbnails[first], thumbnails[second]) >= MIN_CORRELATION
        found += zip(first[alike].tolist(), second[alike].tolist(), strict=True)
    return found


def _close_pairs(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of pairs within MAX_HAMMING bits, some `_BATCH` of them at a time."""
    firsts, seconds, waiting = [], [], 0
    for i in range(len(hashes)):
        near = np.flatnonzero(np.bitwise_count(hashes[i + 1 :] ^ hashes[i]) <= MAX_HAMMING)
        if len(near):
            firsts.append(np.full(len(near), i))
            seconds.append(near + i + 1)
            waiting += len(near)
        if waiting >= _BATCH:
            yield np.concatenate(firsts), np.concatenate(seconds)
            firsts, seconds, waiting = [], [], 0
    if waiting:
        yield np.concatenate(firsts), np.concatenate(seconds)


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's, row by row, of uint8 [m, THUMBNAIL**2]."""
    one, other = _standardized(one), _standardized(other)
    return np.einsum("ij,ij->i", one, other)


def _standardized(rows: np.ndarray) -> np.ndarray:
    values = rows.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
