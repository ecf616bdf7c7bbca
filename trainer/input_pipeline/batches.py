"""Stored images -> batches, with tf.data.

Images wait encoded in memory (`dataset.Images`). Where their squares fit into `MEMORY` they are
decoded once, on all cores, and every epoch gathers whole batches from them; above it each batch is
decoded in its turn, several batches at a time. Both roads give the same pixels, to training,
evaluation and kept features alike. Held at most: the squares, twice while they are made, and the
few batches that are in hand; many epochs hold no more than one.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.input_pipeline import decode
from trainer.input_pipeline.dataset import Images

# Bytes of squares held; 5,000 images of 150 px are a twentieth of it.
MEMORY = 2 * 2**30

AHEAD = 4  # batches made while one is worked on

# The random numbers of the augmentation, float32 [batch, draws], of images in an epoch: from its
# number and int32 [batch] rows.
Draws = Callable[[int, np.ndarray], np.ndarray]


def orders(count: int, epochs: range, seed: int, batch_size: int) -> tf.data.Dataset:
    """Which images make which batch; an epoch's order depends on the seed and its number alone.

    What reads the images is mapped over all epochs at once, so that it does not stop where one ends
    and the next begins.

    Args:
        count: Images of an epoch.
        epochs: Numbers of the epochs, counted over the whole run.
        seed: Of the orders.
        batch_size: Images a batch; the last batch of an epoch may be smaller.

    Returns:
        The batches of all epochs in turn, (epoch int64 [], rows int32 [batch]).
    """

    def one(epoch: tf.Tensor) -> tf.data.Dataset:
        number = tf.cast(epoch, tf.int32)
        order = tf.random.experimental.stateless_shuffle(tf.range(count), [seed, number])
        starts = tf.data.Dataset.range(0, count, batch_size)  # slices cost less than batching does
        return starts.map(lambda start: (epoch, order[start : start + batch_size]))

    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one)


def train_batches(
    images: Images,
    *,
    image_size: int,
    batch_size: int,
    seed: int,
    epochs: range,
    draws: Draws | None = None,
) -> tf.data.Dataset:
    """Images in a new order each epoch.

    Args:
        images: Images of the train split.
        image_size: Pixels of a side.
        batch_size: Images a batch; the last batch of an epoch may be smaller.
        seed: Of the order.
        epochs: Numbers of the epochs, counted over the whole run.
        draws: Gives the random numbers of the augmentation.

    Returns:
        Batches of (uint8 [batch, image_size, image_size, 1] in 0..255, int64 [batch]); with
        `draws`, of ((images, float32 [batch, draws]), labels).

    Raises:
        RunError: An image is damaged (above `MEMORY` when its batch is asked for, as an error of
            tf.data with the same message).
    """
    read, labels = _reader(images, image_size), tf.constant(images.labels)
    width = 0 if draws is None else draws(0, np.arange(1)).shape[1]

    def batch(epoch: tf.Tensor, rows: tf.Tensor) -> tuple:
        if draws is None:
            return read(rows), tf.gather(labels, rows)
        numbers = tf.numpy_function(draws, [epoch, rows], tf.float32, stateful=False)
        return (read(rows), tf.ensure_shape(numbers, (None, width))), tf.gather(labels, rows)

    made = orders(len(images.encoded), epochs, seed, batch_size)
    return made.map(batch, decode.CORES, deterministic=True).prefetch(AHEAD)


def evaluation_batches(images: Images, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Every image once, in stored order, no random op.

    Returns:
        Batches of (uint8 [batch, image_size, image_size, 1] in 0..255, int64 [batch]); the last
        may be smaller.

    Raises:
        RunError: As for `train_batches`.
    """
    read, labels = _reader(images, image_size), tf.constant(images.labels)
    rows = tf.data.Dataset.from_tensor_slices(tf.range(len(images.encoded))).batch(batch_size)
    stored = rows.map(
        lambda row: (read(row), tf.gather(labels, row)), decode.CORES, deterministic=True
    )
    return stored.prefetch(AHEAD)


def pixels(images: Images, image_size: int) -> np.ndarray:
    """All images as uint8 [n, image_size, image_size, 1], 0..255, in stored order."""
    return squares(images, image_size)[..., None]


def squares(images: Images, size: int) -> np.ndarray:
    """All images as uint8 [n, size, size], 0..255, in stored order."""
    return decode.squares(images.encoded, size, images.image_ids)


def _reader(images: Images, size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """From int32 [batch] rows to uint8 [batch, size, size, 1]."""
    if len(images.encoded) * size**2 <= MEMORY:
        # On the host: a GPU's memory is for the network, and the gathering is the host's work.
        with tf.device("CPU"):
            kept = tf.constant(pixels(images, size))
        return lambda rows: tf.gather(kept, rows)

    def decode_rows(rows: np.ndarray) -> np.ndarray:
        return np.stack(
            [decode.square(images.encoded[i], size, images.image_ids[i]) for i in rows.tolist()]
        )[..., None]

    def read(rows: tf.Tensor) -> tf.Tensor:
        # Python waits while Pillow works, so batches are decoded side by side.
        decoded = tf.numpy_function(decode_rows, [rows], tf.uint8, stateful=False)
        return tf.ensure_shape(decoded, [None, size, size, 1])

    return read
