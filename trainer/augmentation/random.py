"""Uniform numbers -> the parameters of one view of each image."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from trainer.augmentation.presets import Ranges


class Parameters(NamedTuple):
    """One draw per image: each field is a [batch] tensor, float32 unless said otherwise.

    New fields go to the end: the draws of a view are taken in this order, and views stay as they
    were.

    Attributes:
        rotation: degrees.
        shift_x: share of the width.
        shift_y: share of the height.
        shear: degrees.
        zoom_x: source pixels per output pixel along x; below 1 enlarges.
        zoom_y: the same along y.
        flip_x: 1 mirrors left and right, 0 leaves.
        flip_y: 1 mirrors up and down, 0 leaves.
        channel_shift: grey levels.
        brightness: grey levels.
        contrast: factor, 1 leaves.
        gamma: exponent of the grey levels as shares of 255, 1 leaves.
        noise: grey levels, standard deviation.
        noise_seed: uint32, of the noise of every pixel.
        cutout_area: share of the image.
        cutout_aspect: width / height of the rectangle as shares of the image's sides.
        cutout_x: place of the rectangle, 0 at the left edge, 1 at the right one.
        cutout_y: place of the rectangle, 0 at the top, 1 at the bottom.
        elastic_seed: uint32, of the moves of the knots.
    """

    rotation: keras.KerasTensor
    shift_x: keras.KerasTensor
    shift_y: keras.KerasTensor
    shear: keras.KerasTensor
    zoom_x: keras.KerasTensor
    zoom_y: keras.KerasTensor
    flip_x: keras.KerasTensor
    flip_y: keras.KerasTensor
    channel_shift: keras.KerasTensor
    brightness: keras.KerasTensor
    contrast: keras.KerasTensor
    gamma: keras.KerasTensor
    noise: keras.KerasTensor
    noise_seed: keras.KerasTensor
    cutout_area: keras.KerasTensor
    cutout_aspect: keras.KerasTensor
    cutout_x: keras.KerasTensor
    cutout_y: keras.KerasTensor
    elastic_seed: keras.KerasTensor


DRAWS = len(Parameters._fields)  # uniform numbers that describe one view of one image


def parameters_from(draws: keras.KerasTensor, ranges: Ranges) -> Parameters:
    """Turns uniform numbers into parameters.

    Args:
        draws: float32 [batch, DRAWS] in [0, 1), one column per field of `Parameters`, in its
            order.
        ranges: how far each parameter may stray.

    Returns:
        The parameters, each [batch].
    """
    draw = Parameters(*ops.unstack(draws, axis=1))

    def around(middle: float, unit: keras.KerasTensor, reach: float) -> keras.KerasTensor:
        return middle + reach * (2.0 * unit - 1.0)

    def log_around(unit: keras.KerasTensor, most: float) -> keras.KerasTensor:
        return ops.exp(around(0.0, unit, math.log(most)))

    def seed(unit: keras.KerasTensor) -> keras.KerasTensor:
        # A float32 of [0, 1) holds 24 random bits.
        return ops.cast(unit * 2.0**24, "uint32")

    def coin(unit: keras.KerasTensor, allowed: bool) -> keras.KerasTensor:
        return ops.cast(unit < (0.5 if allowed else 0.0), "float32")

    return Parameters(
        rotation=around(0.0, draw.rotation, ranges.rotation),
        shift_x=around(0.0, draw.shift_x, ranges.shift),
        shift_y=around(0.0, draw.shift_y, ranges.shift),
        shear=around(0.0, draw.shear, ranges.shear),
        zoom_x=around(1.0, draw.zoom_x, ranges.zoom),
        zoom_y=around(1.0, draw.zoom_y, ranges.zoom),
        flip_x=coin(draw.flip_x, ranges.flip_x),
        flip_y=coin(draw.flip_y, ranges.flip_y),
        channel_shift=around(0.0, draw.channel_shift, ranges.channel_shift),
        brightness=around(0.0, draw.brightness, ranges.brightness),
        contrast=around(1.0, draw.contrast, ranges.contrast),
        gamma=log_around(draw.gamma, 1.0 + ranges.gamma),
        noise=draw.noise * ranges.noise,
        noise_seed=seed(draw.noise_seed),
        cutout_area=draw.cutout_area * ranges.cutout,
        # At half the image, the longer side of a rectangle of 2:1 is just the image's.
        cutout_aspect=log_around(draw.cutout_aspect, 2.0),
        cutout_x=draw.cutout_x,
        cutout_y=draw.cutout_y,
        elastic_seed=seed(draw.elastic_seed),
    )


def uniform_draws(image_ids: Sequence[str] | np.ndarray, view: int, seed: int) -> np.ndarray:
    """The random numbers of one view of each image.

    Args:
        image_ids: n names.
        view: number of the view, from 0.
        seed: any integer from 0.

    Returns:
        float32 [n, DRAWS] in [0, 1). A row depends on its own name, the view and the seed alone.
    """
    rows = np.empty((len(image_ids), DRAWS), np.float32)
    for row, image_id in zip(rows, image_ids, strict=True):
        name = int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big")
        np.random.default_rng([seed, view, name]).random(dtype=np.float32, out=row)
    return rows


def uniform(seeds: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Uniform numbers.

    Args:
        seeds: uint32 [batch].
        count: numbers wanted of each seed.

    Returns:
        float32 [batch, count] in (0, 1), odd multiples of 2⁻²⁴. A row depends on its seed alone,
        and its first numbers not on the count.
    """
    # TensorFlow's range knows no uint32. The odd constant is 2³² divided by the golden ratio.
    counter = ops.cast(ops.arange(count, dtype="int32"), "uint32") * np.uint32(0x9E3779B9)
    bits = _mixed(counter[None, :] + _mixed(seeds)[:, None])
    return (ops.cast(ops.right_shift(bits, 9), "float32") + 0.5) * 2.0**-23


def normal(seeds: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Gaussian numbers of mean 0 and standard deviation 1.

    Args:
        seeds: uint32 [batch].
        count: numbers wanted of each seed.

    Returns:
        float32 [batch, count], within ±5.3. Rows are as those of `uniform`.
    """
    return 2.0**0.5 * ops.erfinv(2.0 * uniform(seeds, count) - 1.0)


def _mixed(bits: keras.KerasTensor) -> keras.KerasTensor:
    """MurmurHash3's finalizer (A. Appleby, 2011): uint32 -> uint32, one to one."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = ops.bitwise_xor(bits, ops.right_shift(bits, shift)) * np.uint32(factor)
    return ops.bitwise_xor(bits, ops.right_shift(bits, 16))
