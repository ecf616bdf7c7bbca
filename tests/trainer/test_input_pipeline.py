"""Squares of films, and that batches are the same with and without the memory for them."""

import resource

import numpy as np
import pytest
import tensorflow as tf

from tests.covid_tfds.made_images import encoded, radiograph
from trainer import decoding, input_pipeline
from trainer.dataset import Films
from trainer.errors import RunError


def films_of(images: list[bytes]) -> Films:
    names = [f"film{i}" for i in range(len(images))]
    labels = np.arange(len(images), dtype=np.int64)
    return Films(names, names, names, ["phantom"] * len(images), labels, images, ("any",))


def png(seed: int, size: tuple[int, int] = (120, 100)) -> bytes:
    return encoded(radiograph(seed, size))


def full_decode(image: bytes, size: int) -> np.ndarray:
    """As TensorFlow scales a film from all of its pixels, float32 [size, size]."""
    whole = tf.io.decode_png(image, channels=1)
    return tf.image.resize(whole, [size, size], antialias=True).numpy()[..., 0]


@pytest.fixture(params=[input_pipeline.MEMORY, 0], ids=["kept", "decoded each time"])
def memory(request, monkeypatch) -> int:
    monkeypatch.setattr(input_pipeline, "MEMORY", request.param)
    return request.param


def epochs(films: Films, numbers: range, seed: int = 1, **options) -> list:
    batches = input_pipeline.train_batches(
        films, image_size=40, batch_size=4, seed=seed, epochs=numbers, **options
    )
    return list(batches.as_numpy_iterator())


def test_a_film_that_has_the_size_keeps_its_pixels():
    image = png(0, (64, 64))
    np.testing.assert_array_equal(decoding.square(image, 64), full_decode(image, 64))


@pytest.mark.parametrize("shape", [(64, 64), (120, 100), (90, 200), (41, 130)])
def test_a_square_is_tensorflows_rounded(shape):
    image = png(1, shape)
    found = decoding.square(image, 40 if min(shape) < 80 else 60)
    np.testing.assert_allclose(found, full_decode(image, len(found)), atol=1.1)


@pytest.mark.parametrize("shape", [(64, 64), (127, 128), (128, 129), (255, 600), (1030, 513)])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_nothing_is_decoded_to_less_than_the_size(shape, size):
    """Stripes as fine as the square can show: a smaller decode would turn them grey."""
    width = max(1, min(shape) // size)
    rows = np.arange(shape[0])[:, None] // width % 2
    stripes = np.broadcast_to(rows * 160 + 40, shape).astype(np.uint8)
    image = encoded(stripes)
    assert decoding.square(image, size).std() > 0.7 * full_decode(image, size).std()


@pytest.mark.parametrize("damage", [b"", b"no film", png(3)[:900]])
def test_a_damaged_film_is_named(damage, monkeypatch):
    films = films_of([png(0), damage])
    with pytest.raises(RunError, match=r"The film film1 can't be decoded .* Build the dataset"):
        epochs(films, range(1))
    monkeypatch.setattr(input_pipeline, "MEMORY", 0)
    with pytest.raises(tf.errors.OpError, match="The film film1 can't be decoded"):
        epochs(films, range(1))


def test_batches_are_the_films_in_the_order_of_the_seed_and_the_epoch(memory):
    films = films_of([png(i, (100 + 7 * i, 90)) for i in range(10)])
    squares = input_pipeline.squares(films, 40)
    for epoch in (0, 7):
        batches = epochs(films, range(epoch, epoch + 1), seed=3)
        order = tf.random.experimental.stateless_shuffle(tf.range(10), [3, epoch]).numpy()
        assert [len(labels) for _, labels in batches] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), order)
        pixels = np.concatenate([pixels for pixels, _ in batches])
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels[..., 0], squares[order])


def test_draws_follow_their_films(memory):
    films = films_of([png(i) for i in range(6)])

    def draws(epoch: int, rows: np.ndarray) -> np.ndarray:
        return np.stack([rows, np.full(len(rows), int(epoch))], 1).astype(np.float32)

    for (_, numbers), labels in epochs(films, range(2, 4), draws=draws)[:2]:
        np.testing.assert_array_equal(numbers, np.stack([labels, np.full(len(labels), 2)], 1))


def test_evaluation_keeps_the_order_and_the_tail(memory):
    films = films_of([png(i) for i in range(7)])
    batches = input_pipeline.evaluation_batches(films, image_size=40, batch_size=3)
    for _ in range(2):
        found = list(batches.as_numpy_iterator())
        assert [len(labels) for _, labels in found] == [3, 3, 1]
        np.testing.assert_array_equal(np.concatenate([each for _, each in found]), np.arange(7))
        pixels = np.concatenate([each for each, _ in found])
        np.testing.assert_array_equal(pixels, input_pipeline.pixels(films, 40))


def test_one_film_is_enough(memory):
    films = films_of([png(0)])
    assert [labels.tolist() for _, labels in epochs(films, range(3))] == [[0], [0], [0]]
    assert input_pipeline.squares(films, 40).shape == (1, 40, 40)


def test_squares_do_not_depend_on_the_number_of_cores(monkeypatch):
    images = [png(i) for i in range(70)]
    names = [str(i) for i in range(70)]
    once = decoding.squares(images, 40, names)
    monkeypatch.setattr(decoding, "CORES", 1)
    np.testing.assert_array_equal(once, decoding.squares(images, 40, names))


def test_many_epochs_hold_no_more_memory_than_a_few(memory):
    """Peak memory, in KiB; the films' squares of 40 more epochs would be 50 MB."""
    films = films_of([png(i) for i in range(200)])
    batches = input_pipeline.train_batches(
        films, image_size=80, batch_size=32, seed=1, epochs=range(50)
    )
    peaks = []
    for i, _ in enumerate(batches):
        if i in (70, 349):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 16_000
