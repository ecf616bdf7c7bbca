"""Stored films -> batches, with tf.data.

Films wait encoded in memory (`dataset.Films`). Where their squares fit into `MEMORY` they are
decoded once, on all cores, and every epoch gathers whole batches from them; above it each batch is
decoded in its turn, several batches at a time. Both roads give the same pixels, to training,
evaluation and kept features alike. Held at most: the squares, twice while they are made, and the
few batches that are in hand; many epochs hold no more than one.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer import decoding
from trainer.dataset import Films

# Bytes of squares held; 5,000 films of 150 px are a twentieth of it.
MEMORY = 2 * 2**30

# What one epoch holds, from its number and the order of its films.
EpochOf = Callable[[tf.Tensor, tf.data.Dataset], tf.data.Dataset]


def epochs_of(count: int, epochs: range, seed: int, epoch_of: EpochOf) -> tf.data.Dataset:
    """Chains epochs, each in an order of its own that depends on the seed and its number alone.

    Args:
        count: Films of an epoch.
        epochs: Numbers of the epochs, counted over the whole run.
        seed: Of the orders.
        epoch_of: Makes the batches of one epoch from its number, int64 [], and its order, a
            dataset of int32 [].

    Returns:
        The batches of all epochs in turn; no batch holds films of two epochs.
    """

    def one(epoch: tf.Tensor) -> tf.data.Dataset:
        number = tf.cast(epoch, tf.int32)
        order = tf.random.experimental.stateless_shuffle(tf.range(count), [seed, number])
        return epoch_of(epoch, tf.data.Dataset.from_tensor_slices(order))

    chained = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one)
    return chained.prefetch(tf.data.AUTOTUNE)


def train_batches(
    films: Films,
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    epochs: range,
    draws: Callable[[int], np.ndarray] | None = None,
) -> tf.data.Dataset:
    """Films in a new order each epoch.

    Args:
        films: Films of the train split.
        image_size: Pixels of a side.
        batch_size: Films a batch; the last batch of an epoch may be smaller.
        seed: Of the order.
        epochs: Numbers of the epochs, counted over the whole run.
        draws: Gives the random numbers of the augmentation in an epoch, float32 [n, draws].

    Returns:
        Batches of (uint8 [batch, image_size, image_size, 1] in 0..255, int64 [batch]); with
        `draws`, of ((films, float32 [batch, draws]), labels).

    Raises:
        RunError: A film is damaged (above `MEMORY` when its batch is asked for, as an error of
            tf.data with the same message).
    """
    with_pixels = _reader(films, image_size)
    labels = tf.constant(films.labels)

    def epoch_of(epoch: tf.Tensor, order: tf.data.Dataset) -> tf.data.Dataset:
        # Rows of an array in place of a shuffle buffer: as random as can be, and whole batches.
        rows = order.batch(batch_size)
        if draws is None:
            return with_pixels(rows, lambda pixels, row: (pixels, tf.gather(labels, row)))
        numbers = tf.numpy_function(draws, [epoch], tf.float32)
        numbers = tf.ensure_shape(numbers, draws(0).shape)
        return with_pixels(
            rows,
            lambda pixels, row: ((pixels, tf.gather(numbers, row)), tf.gather(labels, row)),
        )

    return epochs_of(len(films.images), epochs, seed, epoch_of)


def evaluation_batches(films: Films, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Every film once, in stored order, no random op.

    Returns:
        Batches of (uint8 [batch, image_size, image_size, 1] in 0..255, int64 [batch]); the last
        may be smaller.

    Raises:
        RunError: As for `train_batches`.
    """
    labels = tf.constant(films.labels)
    rows = tf.data.Dataset.from_tensor_slices(tf.range(len(films.images))).batch(batch_size)
    stored = _reader(films, image_size)(rows, lambda pixels, row: (pixels, tf.gather(labels, row)))
    return stored.prefetch(tf.data.AUTOTUNE)


def pixels(films: Films, image_size: int) -> np.ndarray:
    """All films as uint8 [n, image_size, image_size, 1], 0..255, in stored order."""
    return squares(films, image_size)[..., None]


def squares(films: Films, size: int) -> np.ndarray:
    """All films as uint8 [n, size, size], 0..255, in stored order."""
    return decoding.squares(films.images, size, films.film_ids)


# From int32 [batch] rows, and what to make of their pixels and the rows, to the batches.
_WithPixels = Callable[[tf.data.Dataset, Callable], tf.data.Dataset]


def _reader(films: Films, size: int) -> _WithPixels:
    if len(films.images) * size**2 <= MEMORY:
        # On the host: a GPU's memory is for the network, and the gathering is the host's work.
        with tf.device("CPU"):
            kept = tf.constant(pixels(films, size))
        return lambda rows, finish: rows.map(lambda row: finish(tf.gather(kept, row), row))

    def read(row: np.ndarray) -> np.ndarray:
        return np.stack(
            [decoding.square(films.images[i], size, films.film_ids[i]) for i in row.tolist()]
        )[..., None]

    def batch(row: tf.Tensor) -> tf.Tensor:
        decoded = tf.numpy_function(read, [row], tf.uint8, stateful=False)
        return tf.ensure_shape(decoded, [None, size, size, 1])

    # Python waits while Pillow works, so batches are decoded side by side.
    return lambda rows, finish: rows.map(
        lambda row: finish(batch(row), row),
        num_parallel_calls=decoding.CORES,
        deterministic=True,
    )
