"""Stored films -> batches, with tf.data."""

import numpy as np
import tensorflow as tf

from trainer.dataset import Films


def train_batches(films: Films, *, image_size: int, batch_size: int, seed: int) -> tf.data.Dataset:
    """One pass over the films in a new order each time it is iterated.

    Args:
        films: Films of the train split.
        image_size: Pixels of a side.
        batch_size: Films a batch; the last batch is smaller.
        seed: Of the order.

    Returns:
        Batches of (float32 [batch, image_size, image_size, 1] in 0..255, int64 [batch]).
    """
    # Encoded films are shuffled, all of them: a few kilobytes each, where pixels are a hundred.
    stored = tf.data.Dataset.from_tensor_slices((films.images, films.labels))
    stored = stored.shuffle(len(films.images), seed=seed, reshuffle_each_iteration=True)
    return _decoded(stored, image_size).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(films: Films, *, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Every film once, in stored order, no random op. Batches as `train_batches`."""
    stored = tf.data.Dataset.from_tensor_slices((films.images, films.labels))
    return _decoded(stored, image_size).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def squares(films: Films, size: int) -> np.ndarray:
    """All films as uint8 [n, size, size], 0..255, in stored order."""
    batches = evaluation_batches(films, image_size=size, batch_size=256)
    floats = np.concatenate([batch.numpy() for batch, _ in batches])
    return np.rint(floats[..., 0]).clip(0, 255).astype(np.uint8)


def _decoded(stored: tf.data.Dataset, image_size: int) -> tf.data.Dataset:
    def decode(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        film = tf.io.decode_jpeg(image, channels=1)
        # The same op as the model's own Resizing, which then has nothing left to do.
        film = tf.image.resize(film, [image_size, image_size], antialias=True)
        return tf.ensure_shape(film, [image_size, image_size, 1]), label

    return stored.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
