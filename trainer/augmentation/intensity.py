"""What happens to the grey levels of an image: response, exposure, noise, a covered part.

Images are float32 [batch, height, width, 1] on the 0..255 scale.
"""

import keras
import numpy as np
from keras import ops

from trainer.augmentation import random


def shift_channel(images: keras.KerasTensor, shift: keras.KerasTensor) -> keras.KerasTensor:
    """Adds one value to all of an image, clipped to the image's own range.

    As Keras' `apply_channel_shift` does.

    Args:
        images: float32 [batch, height, width, 1].
        shift: float32 [batch], grey levels.

    Returns:
        float32 [batch, height, width, 1].
    """
    low = ops.min(images, axis=(1, 2, 3), keepdims=True)
    high = ops.max(images, axis=(1, 2, 3), keepdims=True)
    return ops.clip(images + shift[:, None, None, None], low, high)


def expose(
    images: keras.KerasTensor, brightness: keras.KerasTensor, contrast: keras.KerasTensor
) -> keras.KerasTensor:
    """Scales an image about its mean, adds to it, and clips to 0..255.

    Args:
        images: float32 [batch, height, width, 1].
        brightness: float32 [batch], grey levels to add.
        contrast: float32 [batch], factor about the mean.

    Returns:
        float32 [batch, height, width, 1] in 0..255.
    """
    mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
    change = (contrast[:, None, None, None] - 1.0) * (images - mean)
    return ops.clip(images + change + brightness[:, None, None, None], 0.0, 255.0)


def respond(images: keras.KerasTensor, gamma: keras.KerasTensor) -> keras.KerasTensor:
    """Raises grey levels, as shares of 255, to a power: another response of image or detector.

    Args:
        images: float32 [batch, height, width, 1] in 0..255.
        gamma: float32 [batch], exponent above 0.

    Returns:
        float32 [batch, height, width, 1] in 0..255; 0 and 255 stay.
    """
    # Interpolation may leave a rounding below 0. `power` costs XLA on a CPU twice as much.
    shares = ops.maximum(images, 0.0) / 255.0
    return 255.0 * ops.exp(gamma[:, None, None, None] * ops.log(shares))


def add_noise(
    images: keras.KerasTensor, deviation: keras.KerasTensor, seeds: keras.KerasTensor
) -> keras.KerasTensor:
    """Adds Gaussian noise, every pixel's its own, and clips to 0..255.

    Args:
        images: float32 [batch, height, width, 1].
        deviation: float32 [batch], grey levels.
        seeds: uint32 [batch].

    Returns:
        float32 [batch, height, width, 1] in 0..255.
    """
    _, height, width, _ = ops.shape(images)
    noise = ops.reshape(random.normal(seeds, height * width), (-1, height, width, 1))
    return ops.clip(images + deviation[:, None, None, None] * noise, 0.0, 255.0)


def cover(
    images: keras.KerasTensor,
    area: keras.KerasTensor,
    aspect: keras.KerasTensor,
    place_x: keras.KerasTensor,
    place_y: keras.KerasTensor,
) -> keras.KerasTensor:
    """Blackens one rectangle, all of it inside the image.

    T. DeVries and G. W. Taylor, "Improved Regularization of Convolutional Neural Networks with
    Cutout" (2017); black is what lies outside an image too.

    Args:
        images: float32 [batch, height, width, 1].
        area: float32 [batch], share of the image, 0..1/2; 0 covers nothing.
        aspect: float32 [batch], width / height as shares of the image's sides, 1/2..2.
        place_x: float32 [batch], 0 at the left edge, 1 at the right one.
        place_y: float32 [batch], 0 at the top, 1 at the bottom.

    Returns:
        float32 [batch, height, width, 1].
    """
    _, height, width, _ = ops.shape(images)

    def within(size: int, share: keras.KerasTensor, place: keras.KerasTensor) -> keras.KerasTensor:
        middles = (np.arange(size, dtype="float32") + 0.5) / size
        start = (place * (1.0 - share))[:, None]
        return (middles >= start) & (middles < start + share[:, None])

    columns = within(width, ops.sqrt(area * aspect), place_x)[:, None, :, None]
    rows = within(height, ops.sqrt(area / aspect), place_y)[:, :, None, None]
    return ops.where(rows & columns, 0.0, images)
