"""PNG bytes -> squares."""

import functools
import types

import numpy as np
import pytest
from PIL import Image

from covid_tfds import parallel
from tests.helpers import datasets
from tests.helpers.images import encoded, radiograph
from trainer.input_pipeline import alignment, decode, resize
from trainer.run.errors import RunError


class Stored:
    """What `decode.squares` needs of a dataset: a stream of encoded images."""

    def __init__(self, files: list[bytes]) -> None:
        self._files = files

    def encoded(self, images):
        return ((int(place), self._files[place]) for place in images.places)


def of_kinds(files: list[bytes], kinds: list[decode.Kind]) -> dict[decode.Kind, np.ndarray]:
    """All that is made of files, in their order."""
    images = datasets.made([0] * len(files))
    batches = list(decode.squares(Stored(files), images, kinds))
    order = np.concatenate([at for at, _ in batches])
    assert sorted(order) == list(range(len(files)))
    return {kind: np.concatenate([made[kind] for _, made in batches])[np.argsort(order)]
            for kind in kinds}  # fmt: skip


def squares(files: list[bytes], sizes: tuple[int, ...]) -> dict[int, np.ndarray]:
    """All squares of files by size, in their order; none is aligned."""
    made = of_kinds(files, [decode.Kind(size) for size in sizes])
    return {kind.size: rows for kind, rows in made.items()}


def test_pixels_come_back_as_they_were_stored():
    image = radiograph(0, (70, 50))
    np.testing.assert_array_equal(decode.pixels(encoded(image), "a"), image)


@pytest.mark.parametrize("damage", [b"", b"no image", encoded(radiograph(3))[:900]])
def test_a_damaged_image_is_named(damage):
    with pytest.raises(RunError, match=r"The image image1 can't be decoded .* Build the dataset"):
        squares([encoded(radiograph(0)), damage], (40,))


def test_an_image_of_the_most_pixels_that_a_build_takes_is_read_without_a_word(
    recwarn, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # a limit of images of this size
    assert squares([encoded(radiograph(0, (70, 50)))], (8,))[8].shape == (1, 8, 8, 1)
    assert not recwarn.list
    with pytest.raises(RunError, match=r"image0 can't be decoded .*exceeds limit of 6000"):
        squares([encoded(radiograph(0, (90, 90)))], (8,))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (20_000, 1)])
def test_an_image_of_any_shape_becomes_a_square(shape):
    made = squares([encoded(np.full(shape, 200, np.uint8))], (8, 150))
    assert (made[8] == 200).all() and (made[150] == 200).all()


def test_a_jpeg_is_no_image_of_a_dataset():
    with pytest.raises(RunError, match="The image old can't be decoded"):
        decode.pixels(encoded(radiograph(0), "JPEG"), "old")


def test_squares_of_all_sizes_are_those_that_resizing_gives():
    images = [radiograph(i, (100 + 7 * i, 90)) for i in range(5)]
    made = squares([encoded(image) for image in images], (32, 64))
    for size, batch in made.items():
        assert batch.shape == (5, size, size, 1)
        assert batch.dtype == np.uint8
        for square, image in zip(batch, images, strict=True):
            np.testing.assert_array_equal(square[..., 0], resize.square(image, size))


KINDS = [decode.Kind(32), decode.Kind(40, "chest"), decode.POSE, decode.Kind(64, "chest")]


def test_aligned_squares_and_poses_are_those_of_the_aligner():
    images = [radiograph(i, (100 + 7 * i, 90)) for i in range(4)]
    made = of_kinds([encoded(image) for image in images], KINDS)
    aligner = alignment.Aligner([40, 64])
    for i, image in enumerate(images):
        aligned, pose = aligner(image)
        np.testing.assert_array_equal(made[KINDS[0]][i, ..., 0], resize.square(image, 32))
        np.testing.assert_array_equal(made[decode.POSE][i], pose)
        for kind in (KINDS[1], KINDS[3]):
            np.testing.assert_array_equal(made[kind][i, ..., 0], aligned[kind.size])
    assert made[decode.POSE].dtype == np.float32 and made[KINDS[1]].dtype == np.uint8


def test_an_image_is_decoded_once_for_all_kinds(monkeypatch):
    decoded, pixels = [], decode.pixels
    monkeypatch.setattr(
        decode, "pixels", lambda data, name: decoded.append(name) or pixels(data, name)
    )
    of_kinds([encoded(radiograph(i)) for i in range(6)], KINDS)
    assert sorted(decoded) == [f"image{i}" for i in range(6)]


@pytest.mark.parametrize("count", [0, 4, 5, 8])
def test_batches_hold_every_image_once_and_none_is_empty(count, monkeypatch):
    monkeypatch.setattr(decode, "_BATCH", 4)
    files = [encoded(radiograph(i, (20, 20))) for i in range(count)]
    batches = decode.squares(Stored(files), datasets.made([0] * count), [decode.Kind(8)])
    sizes = [len(at) for at, _ in batches]
    assert sum(sizes) == count and all(sizes)


@pytest.mark.slow
def test_what_is_made_does_not_depend_on_cores_and_batches(monkeypatch):
    files = [encoded(radiograph(i)) for i in range(70)]
    once = of_kinds(files, KINDS)
    monkeypatch.setattr(decode, "in_order", functools.partial(parallel.in_order, threads=1))
    monkeypatch.setattr(parallel, "_CHUNK", 3)
    monkeypatch.setattr(decode, "_BATCH", 16)
    for kind, rows in of_kinds(files, KINDS).items():
        np.testing.assert_array_equal(rows, once[kind])


def test_few_encoded_images_are_read_ahead(monkeypatch):
    monkeypatch.setattr(decode, "_BATCH", 4)
    monkeypatch.setattr(parallel, "_CHUNK", 1)
    read, ahead = [], 2 * parallel.CORES
    files = [encoded(radiograph(i)) for i in range(8 + ahead)]

    def stream(images):
        for i, file in enumerate(files):
            read.append(i)
            yield i, file

    stored = types.SimpleNamespace(encoded=stream)
    next(decode.squares(stored, datasets.made([0] * len(files)), (decode.Kind(40),)))
    assert 4 < len(read) < 4 + ahead
