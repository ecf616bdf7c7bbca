"""Uniform numbers -> the parameters of one view of each film."""

import math
from typing import NamedTuple

import keras
from keras import ops

from trainer.presets import Ranges


class Parameters(NamedTuple):
    """One draw per film: each field is a [batch] tensor, float32 unless said otherwise.

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
        cutout_area: share of the film.
        cutout_aspect: width / height of the rectangle as shares of the film's sides.
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


DRAWS = len(Parameters._fields)  # uniform numbers that describe one view of one film


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
        # At half the film, the longer side of a rectangle of 2:1 is just the film's.
        cutout_aspect=log_around(draw.cutout_aspect, 2.0),
        cutout_x=draw.cutout_x,
        cutout_y=draw.cutout_y,
        elastic_seed=seed(draw.elastic_seed),
    )
