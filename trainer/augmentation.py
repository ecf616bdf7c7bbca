"""Training-only augmentation of grey films: one affine warp, then the exposure.

Flips, rotation, shift, shear and zoom become one matrix per film, so that each film is sampled
once and on one channel. Images are [batch, height, width, 1] on the 0..255 scale throughout, and
float32 unless said otherwise. Everything random is drawn first, as uniform numbers; the rest are
pure functions of those numbers. All of it is `keras.ops`, so it runs on TensorFlow and on JAX.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Ranges:
    """How far each parameter may stray from "no change"; 0 or False switches it off.

    Attributes:
        rotation: degrees, uniform in ±rotation.
        shift: share of the width and of the height, each uniform in ±shift.
        shear: degrees, uniform in ±shear.
        zoom: zoom along x and along y, drawn apart, uniform in 1 ± zoom.
        flip_x: mirror left and right with probability 1/2.
        flip_y: mirror up and down with probability 1/2.
        channel_shift: grey levels, uniform in ±channel_shift, clipped to the film's own range.
        brightness: grey levels, uniform in ±brightness.
        contrast: factor about the film's mean, uniform in 1 ± contrast.
    """

    rotation: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    flip_x: bool = False
    flip_y: bool = False
    channel_shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0


PRESETS = {
    # A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with Transfer Learning"
    # (2020): the arguments its notebooks give to Keras' ImageDataGenerator.
    "article": Ranges(
        rotation=50.0,
        shift=0.2,
        shear=0.25,
        zoom=0.1,
        flip_x=True,
        flip_y=True,
        channel_shift=20.0,
    ),
    # What differs between two exposures of one chest. No flips: they would move the heart.
    "radiograph": Ranges(rotation=10.0, shift=0.06, zoom=0.1, brightness=20.0, contrast=0.2),
}


class Parameters(NamedTuple):
    """One draw per film: each field is a float32 [batch] tensor.

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


DRAWS = len(Parameters._fields)  # uniform numbers that describe one view of one film


def parameters_from(draws: keras.KerasTensor, ranges: Ranges) -> Parameters:
    """Turns uniform numbers into parameters.

    Args:
        draws: float32 [batch, 11] in [0, 1), one column per field of `Parameters`, in that order.
        ranges: how far each parameter may stray.

    Returns:
        The parameters, each float32 [batch].
    """
    draw = Parameters(*ops.unstack(draws, axis=1))

    def around(middle: float, unit: keras.KerasTensor, reach: float) -> keras.KerasTensor:
        return middle + reach * (2.0 * unit - 1.0)

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
    )


def transforms(parameters: Parameters, height: int, width: int) -> keras.KerasTensor:
    """Composes the geometry of each film into one matrix.

    The matrix takes an output pixel (x = column, y = row) to the source point that it shows, and
    is C R T S Z C⁻¹ F: centre, rotation, shift, shear, zoom, centre back, flips. On square films
    it is what Keras' `ImageDataGenerator.apply_transform` composes, whose "height shift" moves
    along x before the rotation, as `shift_x` does here.

    Args:
        parameters: each field float32 [batch].
        height: rows of the film.
        width: columns of the film.

    Returns:
        float32 [batch, 6]: (a, b, c, d, e, f), source = (a x + b y + c, d x + e y + f).
    """
    centre_x, centre_y = (width - 1) / 2.0, (height - 1) / 2.0
    angle = parameters.rotation * (math.pi / 180.0)
    # Keras' shear matrix is [[1, -sin s], [0, cos s]]; after the rotation R its second column
    # is R's, turned by s more.
    sheared = angle + parameters.shear * (math.pi / 180.0)
    cos, sin = ops.cos(angle), ops.sin(angle)
    # A flip about the centre is a zoom by -1.
    zoom_x = parameters.zoom_x * (1.0 - 2.0 * parameters.flip_x)
    zoom_y = parameters.zoom_y * (1.0 - 2.0 * parameters.flip_y)
    a, b = cos * zoom_x, -ops.sin(sheared) * zoom_y
    d, e = sin * zoom_x, ops.cos(sheared) * zoom_y
    shift_x, shift_y = parameters.shift_x * width, parameters.shift_y * height
    c = centre_x - (a * centre_x + b * centre_y) + (cos * shift_x - sin * shift_y)
    f = centre_y - (d * centre_x + e * centre_y) + (sin * shift_x + cos * shift_y)
    return ops.stack([a, b, c, d, e, f], axis=1)


def warp(images: keras.KerasTensor, matrices: keras.KerasTensor) -> keras.KerasTensor:
    """Samples each film once, bilinearly; what lies outside the film is 0.

    The same pixels as `keras.ops.image.affine_transform(..., fill_mode="constant")`, within the
    rounding of float32. That op has no XLA kernel on TensorFlow; this is plain arithmetic and
    `take`, which XLA fuses into one loop.

    Args:
        images: float32 [batch, height, width, 1].
        matrices: float32 [batch, 6] as `transforms` returns them.

    Returns:
        float32 [batch, height, width, 1].
    """
    batch, height, width = ops.shape(images)[:3]
    x = ops.arange(width, dtype="float32")[None, None, :]
    y = ops.arange(height, dtype="float32")[None, :, None]
    a, b, c, d, e, f = ops.unstack(ops.reshape(matrices, (-1, 6, 1, 1)), axis=1)
    # From one pixel outside on, every neighbour is fill.
    source_x = ops.clip(a * x + b * y + c, -1.0, width)
    source_y = ops.clip(d * x + e * y + f, -1.0, height)
    left, top = ops.floor(source_x), ops.floor(source_y)

    # One pixel of fill before and two after, so that every neighbour can be read.
    stride, rows = width + 3, height + 3
    pixels = ops.reshape(ops.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0))), (-1,))
    first = ops.arange(batch, dtype="int32")[:, None, None] * (rows * stride)
    corner = first + (ops.cast(top, "int32") + 1) * stride + ops.cast(left, "int32") + 1

    def row(offset: int) -> keras.KerasTensor:
        one, other = ops.take(pixels, corner + offset), ops.take(pixels, corner + offset + 1)
        return one + (source_x - left) * (other - one)

    upper, lower = row(0), row(stride)
    return (upper + (source_y - top) * (lower - upper))[..., None]


def shift_channel(images: keras.KerasTensor, shift: keras.KerasTensor) -> keras.KerasTensor:
    """Adds one value to all of a film, clipped to the film's own range.

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
    """Scales a film about its mean, adds to it, and clips to 0..255.

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


def augment(
    images: keras.KerasTensor, draws: keras.KerasTensor, ranges: Ranges
) -> keras.KerasTensor:
    """Augments films by given random numbers; a pure function.

    Args:
        images: float32 [batch, height, width, 1] in 0..255.
        draws: float32 [batch, 11] in [0, 1), see `parameters_from`.
        ranges: how far each parameter may stray.

    Returns:
        float32 [batch, height, width, 1] in 0..255.
    """
    parameters = parameters_from(draws, ranges)
    _, height, width, _ = ops.shape(images)
    images = warp(images, transforms(parameters, height, width))
    if ranges.channel_shift:
        images = shift_channel(images, parameters.channel_shift)
    if ranges.brightness or ranges.contrast:
        images = expose(images, parameters.brightness, parameters.contrast)
    return images


class Augmentation(keras.layers.Layer):
    """`augment` as a layer: films and their draws in, views out.

    Takes [batch, height, width, 1] in 0..255, uint8 or float, and float32 [batch, 11] in [0, 1);
    gives float32 of the films' shape and range. Nothing is drawn here, so a view is the same in
    any batch, order and process.
    """

    def __init__(self, ranges: Ranges) -> None:
        """Takes how far each parameter may stray."""
        # float32 whatever the policy: bfloat16 cannot tell a coordinate of 149.2 from 149.
        super().__init__(name="augmentation", dtype="float32")
        self.ranges = ranges
        self._augment = _compiled(functools.partial(augment, ranges=ranges))

    def build(self, films_shape: tuple, draws_shape: tuple) -> None:
        """Checks the shapes.

        Raises:
            ValueError: the films are not [batch, height, width, 1].
        """
        if len(films_shape) != 4 or films_shape[-1] != 1:
            raise ValueError(
                f"Augmentation got films of shape {tuple(films_shape)}. "
                "Give it grey films of shape [batch, height, width, 1]."
            )

    def call(self, films: keras.KerasTensor, draws: keras.KerasTensor) -> keras.KerasTensor:
        """The view of each film that its draws describe."""
        return self._augment(ops.cast(films, "float32"), draws)

    def compute_output_shape(self, films_shape: tuple, draws_shape: tuple) -> tuple:
        """The shape of the views is that of the films."""
        return films_shape


def uniform_draws(film_ids: Sequence[str], view: int, seed: int) -> np.ndarray:
    """The random numbers of one view of each film.

    Args:
        film_ids: n names.
        view: number of the view, from 0.
        seed: any integer from 0.

    Returns:
        float32 [n, 11] in [0, 1). A row depends on its own name, the view and the seed alone.
    """
    rows = np.empty((len(film_ids), DRAWS), np.float32)
    for row, film_id in zip(rows, film_ids, strict=True):
        name = int.from_bytes(hashlib.sha256(film_id.encode()).digest()[:8], "big")
        np.random.default_rng([seed, view, name]).random(dtype=np.float32, out=row)
    return rows


def flips(preset: str) -> bool:
    """Whether a preset mirrors films, which moves the heart to the other side."""
    ranges = PRESETS.get(preset, Ranges())
    return ranges.flip_x or ranges.flip_y


def augmentation(preset: str) -> Augmentation | None:
    """Makes the augmentation layer of a preset.

    Args:
        preset: "none", "article" or "radiograph".

    Returns:
        The layer, or None for "none".

    Raises:
        ValueError: there is no such preset.
    """
    if preset == "none":
        return None
    if preset not in PRESETS:
        raise ValueError(
            f"There is no augmentation {preset!r}. Choose one of: none, {', '.join(PRESETS)}."
        )
    return Augmentation(PRESETS[preset])


def _compiled(function: Callable[..., keras.KerasTensor]) -> Callable[..., keras.KerasTensor]:
    """Compiles with XLA on TensorFlow, where a model that resizes cannot be compiled as a whole.

    Fused, the warp and the exposure are one pass over the pixels in place of some thirty. JAX
    compiles the whole training step anyway.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)
