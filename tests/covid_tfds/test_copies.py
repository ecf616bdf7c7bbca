"""Copies are recognised whatever was done to them; strangers are not taken for copies."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from covid_tfds import copies, reading
from tests.helpers.images import encoded, radiograph


def thumbnails(*images: np.ndarray) -> np.ndarray:
    return np.stack([copies.thumbnail(each).ravel() for each in images])


def pixels(data: bytes) -> np.ndarray:
    return reading.read_image(data).pixels


def recompressed(picture: np.ndarray) -> bytes:
    """Another size, another quality, a little brighter: the same image for a person."""
    image = Image.fromarray(picture).resize((90, 110), Image.Resampling.LANCZOS)
    return encoded(image.point(lambda value: min(255, value + 4)), "JPEG", quality=60)


def test_recompressed_copies_are_pairs_and_strangers_are_not():
    images = [
        radiograph(1),
        pixels(recompressed(radiograph(1))),
        radiograph(2),
        radiograph(3),
        pixels(recompressed(radiograph(3))),
    ]
    assert copies.near_equal_pairs(thumbnails(*images)) == [(0, 1), (3, 4)]


def test_more_pairs_than_one_batch_are_all_found(monkeypatch):
    monkeypatch.setattr(copies, "_BATCH", 7)
    images = [radiograph(i % 5) for i in range(30)]
    wanted = [(i, j) for i in range(30) for j in range(i + 1, 30) if i % 5 == j % 5]
    assert sorted(copies.near_equal_pairs(thumbnails(*images))) == wanted


def test_images_that_are_left_out_are_in_no_pair():
    images = [radiograph(i % 2) for i in range(6)]
    found = copies.near_equal_pairs(thumbnails(*images), np.array([1, 2, 4, 5]))
    assert sorted(found) == [(1, 5), (2, 4)]


def test_images_that_show_nothing_are_copies_of_none():
    black, grey = np.zeros((80, 70), np.uint8), np.full((80, 70), 128, np.uint8)
    assert copies.near_equal_pairs(thumbnails(black, black, grey)) == []


def test_no_images_have_no_pairs():
    assert copies.near_equal_pairs(np.empty((0, 64 * 64), np.uint8)) == []


def test_a_hash_has_half_of_its_bits_and_forgets_brightness():
    plain = radiograph(7).astype(int) // 2
    hashes = copies.perceptual_hashes(thumbnails(plain.astype(np.uint8), (plain + 90).astype("u1")))
    assert hashes[0] == hashes[1]
    assert int(np.bitwise_count(hashes[0])) == 32


def test_digests_are_those_of_git_and_of_the_pixels_whatever_the_decoder():
    # As `git hash-object` prints it of a file that holds "test content\n" (Pro Git, chapter 10.2).
    assert copies.git_blob_sha1(b"test content\n").hex() == (
        "d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    )
    image = radiograph(3)
    wanted = hashlib.sha256(b"120 100\n" + image.tobytes()).digest()
    assert copies.pixels_sha256(image) == copies.pixels_sha256(image[..., None]) == wanted
    assert copies.pixels_sha256(image.T) != wanted  # the shape counts


@pytest.mark.slow
def test_strangers_among_the_real_images_are_not_joined(real_images):
    """Five hundred images of five hundred children: no two are copies of each other."""
    folder = real_images / "chest_xray" / "train" / "NORMAL"
    first_of = {}
    for path in sorted(folder.glob("*.jpeg")):
        first_of.setdefault(path.name.rsplit("-", 1)[0].split("-0001")[0], path)
    images = [pixels(path.read_bytes()) for path in list(first_of.values())[:500]]
    different = {copies.pixels_sha256(image) for image in images}
    assert len(copies.near_equal_pairs(thumbnails(*images))) == len(images) - len(different)


def test_a_recompressed_real_image_is_recognised(real_images):
    for path in sorted((real_images / "chest_xray" / "test" / "NORMAL").glob("*.jpeg"))[:20]:
        data = path.read_bytes()
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        pair = thumbnails(pixels(data), pixels(recompressed(picture)))
        assert copies.near_equal_pairs(pair) == [(0, 1)], path.name
