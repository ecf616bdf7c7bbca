"""Stored films -> batches, with tf.data."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.dataset import Films

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
        Batches of (float32 [batch, image_size, image_size, 1] in 0..255, int64 [batch]); with
        `draws`, of ((films, float32 [batch, draws]), labels).
    """
    # Films stay encoded until their turn: a few kilobytes each, where pixels are a hundred.
    images, labels = tf.constant(films.images), tf.constant(films.labels)

    def epoch_of(epoch: tf.Tensor, order: tf.data.Dataset) -> tf.data.Dataset:
        if draws is None:

            def example(i: tf.Tensor) -> tuple:
                return _decode(images[i], image_size), labels[i]

        else:
            numbers = tf.numpy_function(draws, [epoch], tf.float32)
            numbers = tf.ensure_shape(numbers, draws(0).shape)

            def example(i: tf.Tensor) -> tuple:
                return (_decode(images[i], image_size), numbers[i]), labels[i]

        decoded = order.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return decoded.batch(batch_size)

    return epochs_of(len(films.images), epochs, seed, epoch_of)


def evaluation_batches(films: Films, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Every film once, in stored order, no random op.

    Returns:
        Batches of (float32 [batch, image_size, image_size, 1] in 0..255, int64 [batch]).
    """
    stored = tf.data.Dataset.from_tensor_slices((films.images, films.labels))
    decoded = stored.map(
        lambda image, label: (_decode(image, image_size), label),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return decoded.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def pixels(films: Films, image_size: int) -> np.ndarray:
    """All films as float32 [n, image_size, image_size, 1], 0..255, in stored order."""
    batches = evaluation_batches(films, image_size=image_size, batch_size=256)
    return np.concatenate([batch.numpy() for batch, _ in batches])


def squares(films: Films, size: int) -> np.ndarray:
    """All films as uint8 [n, size, size], 0..255, in stored order."""
    return np.rint(pixels(films, size)[..., 0]).clip(0, 255).astype(np.uint8)


def _decode(image: tf.Tensor, image_size: int) -> tf.Tensor:
    film = tf.io.decode_jpeg(image, channels=1)
    # The same op as the model's own Resizing, which then has nothing left to do.
    film = tf.image.resize(film, [image_size, image_size], antialias=True)
    return tf.ensure_shape(film, [image_size, image_size, 1])
