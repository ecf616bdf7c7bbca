"""Squares of images, and that batches are the same with and without the memory for them."""

import resource

import numpy as np
import pytest
import tensorflow as tf

from tests.covid_tfds.made_images import encoded, radiograph
from trainer.input_pipeline import batches, decode
from trainer.input_pipeline.dataset import Images
from trainer.run.errors import RunError


def images_of(images: list[bytes]) -> Images:
    names = [f"image{i}" for i in range(len(images))]
    labels = np.arange(len(images), dtype=np.int64)
    return Images(names, names, names, ["phantom"] * len(images), labels, images, ("any",))


def png(seed: int, size: tuple[int, int] = (120, 100)) -> bytes:
    return encoded(radiograph(seed, size))


def full_decode(image: bytes, size: int) -> np.ndarray:
    """As TensorFlow scales an image from all of its pixels, float32 [size, size]."""
    whole = tf.io.decode_png(image, channels=1)
    return tf.image.resize(whole, [size, size], antialias=True).numpy()[..., 0]


@pytest.fixture(params=[batches.MEMORY, 0], ids=["kept", "decoded each time"])
def memory(request, monkeypatch) -> int:
    monkeypatch.setattr(batches, "MEMORY", request.param)
    return request.param


def epochs(images: Images, numbers: range, seed: int = 1, **options) -> list:
    stream = batches.train_batches(
        images, image_size=40, batch_size=4, seed=seed, epochs=numbers, **options
    )
    return list(stream.as_numpy_iterator())


def test_a_image_that_has_the_size_keeps_its_pixels():
    image = png(0, (64, 64))
    np.testing.assert_array_equal(decode.square(image, 64), full_decode(image, 64))


@pytest.mark.parametrize("shape", [(64, 64), (120, 100), (90, 200), (41, 130)])
def test_a_square_is_tensorflows_rounded(shape):
    image = png(1, shape)
    found = decode.square(image, 40 if min(shape) < 80 else 60)
    np.testing.assert_allclose(found, full_decode(image, len(found)), atol=1.1)


@pytest.mark.parametrize("shape", [(64, 64), (127, 128), (128, 129), (255, 600), (1030, 513)])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_nothing_is_decoded_to_less_than_the_size(shape, size):
    """Stripes as fine as the square can show: a smaller decode would turn them grey."""
    width = max(1, min(shape) // size)
    rows = np.arange(shape[0])[:, None] // width % 2
    stripes = np.broadcast_to(rows * 160 + 40, shape).astype(np.uint8)
    image = encoded(stripes)
    assert decode.square(image, size).std() > 0.7 * full_decode(image, size).std()


@pytest.mark.parametrize("damage", [b"", b"no image", png(3)[:900]])
def test_a_damaged_image_is_named(damage, monkeypatch):
    images = images_of([png(0), damage])
    with pytest.raises(RunError, match=r"The image image1 can't be decoded .* Build the dataset"):
        epochs(images, range(1))
    monkeypatch.setattr(batches, "MEMORY", 0)
    with pytest.raises(tf.errors.OpError, match="The image image1 can't be decoded"):
        epochs(images, range(1))


def test_batches_are_the_images_in_the_order_of_the_seed_and_the_epoch(memory):
    images = images_of([png(i, (100 + 7 * i, 90)) for i in range(10)])
    squares = batches.squares(images, 40)
    for epoch in (0, 7):
        stream = epochs(images, range(epoch, epoch + 1), seed=3)
        order = tf.random.experimental.stateless_shuffle(tf.range(10), [3, epoch]).numpy()
        assert [len(labels) for _, labels in stream] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in stream]), order)
        pixels = np.concatenate([pixels for pixels, _ in stream])
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels[..., 0], squares[order])


def test_draws_follow_their_images(memory):
    images = images_of([png(i) for i in range(6)])

    def draws(epoch: int, rows: np.ndarray) -> np.ndarray:
        return np.stack([rows, np.full(len(rows), int(epoch))], 1).astype(np.float32)

    for (_, numbers), labels in epochs(images, range(2, 4), draws=draws)[:2]:
        np.testing.assert_array_equal(numbers, np.stack([labels, np.full(len(labels), 2)], 1))


def test_evaluation_keeps_the_order_and_the_tail(memory):
    images = images_of([png(i) for i in range(7)])
    stream = batches.evaluation_batches(images, image_size=40, batch_size=3)
    for _ in range(2):
        found = list(stream.as_numpy_iterator())
        assert [len(labels) for _, labels in found] == [3, 3, 1]
        np.testing.assert_array_equal(np.concatenate([each for _, each in found]), np.arange(7))
        pixels = np.concatenate([each for each, _ in found])
        np.testing.assert_array_equal(pixels, batches.pixels(images, 40))


def test_one_image_is_enough(memory):
    images = images_of([png(0)])
    assert [labels.tolist() for _, labels in epochs(images, range(3))] == [[0], [0], [0]]
    assert batches.squares(images, 40).shape == (1, 40, 40)


def test_squares_do_not_depend_on_the_number_of_cores(monkeypatch):
    images = [png(i) for i in range(70)]
    names = [str(i) for i in range(70)]
    once = decode.squares(images, 40, names)
    monkeypatch.setattr(decode, "CORES", 1)
    np.testing.assert_array_equal(once, decode.squares(images, 40, names))


def test_many_epochs_hold_no_more_memory_than_a_few(memory):
    """Peak memory, in KiB; the images' squares of 40 more epochs would be 50 MB."""
    images = images_of([png(i) for i in range(200)])
    stream = batches.train_batches(images, image_size=80, batch_size=32, seed=1, epochs=range(50))
    peaks = []
    for i, _ in enumerate(stream):
        if i in (70, 349):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 16_000
