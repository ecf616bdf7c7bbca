"""Where each pixel of a view comes from: one affine map and one bend per image, sampled once.

Images are float32 [batch, height, width, 1]; x counts columns and y rows, in pixels.
"""

import math

import keras
import numpy as np
from keras import ops

from trainer.augmentation import random
from trainer.augmentation.random import Parameters

KNOTS = 7  # along a side: five span it, and one stands outside at each end


def transforms(parameters: Parameters, height: int, width: int) -> keras.KerasTensor:
    """Composes the geometry of each image into one matrix.

    The matrix takes an output pixel (x = column, y = row) to the source point that it shows, and
    is C R T S Z C⁻¹ F: centre, rotation, shift, shear, zoom, centre back, flips. On square images
    it is what Keras' `ImageDataGenerator.apply_transform` composes, whose "height shift" moves
    along x before the rotation, as `shift_x` does here.

    Args:
        parameters: each field float32 [batch].
        height: rows of the image.
        width: columns of the image.

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


def bends(seeds: keras.KerasTensor, reach: float, height: int, width: int) -> keras.KerasTensor:
    """How far every source point is moved when an image is bent smoothly.

    A free-form deformation on uniform cubic B-splines (D. Rueckert et al., "Nonrigid Registration
    Using Free-Form Deformations", 1999): knots that span the image move at random, and each pixel
    follows its neighbours' weighted mean. So no pixel moves further than a knot; and below .48 of
    the knots' distance, .12 of a side here, the image does not fold (Y. Choi and S. Lee,
    "Injectivity Conditions of 2D and 3D Uniform Cubic B-Spline Functions", 2000).

    Args:
        seeds: uint32 [batch], of the knots' moves.
        reach: share of a side; knots move uniformly within ± this along x and along y.
        height: rows of the image.
        width: columns of the image.

    Returns:
        float32 [batch, 2, height, width]: what to add to x and to y, in pixels.
    """
    moves = 2.0 * random.uniform(seeds, 2 * KNOTS * KNOTS) - 1.0
    side = reach * np.array([width, height], "float32")[None, :, None, None]
    moves = ops.reshape(moves, (-1, 2, KNOTS, KNOTS)) * side
    return ops.matmul(_spline(height), ops.matmul(moves, _spline(width).T))


def _spline(size: int) -> np.ndarray:
    """Weight of each knot at each pixel, float32 [size, KNOTS]; rows sum to 1."""
    at = np.linspace(0, KNOTS - 3, size)[:, None] - (np.arange(KNOTS) - 1)
    near = np.abs(at)
    inner, outer = 2 / 3 - near**2 + near**3 / 2, (2 - near).clip(0) ** 3 / 6
    return np.where(near < 1, inner, outer).astype("float32")


def warp(
    images: keras.KerasTensor,
    matrices: keras.KerasTensor,
    bend: keras.KerasTensor | None = None,
) -> keras.KerasTensor:
    """Samples each image once, bilinearly; what lies outside the image is 0.

    The same pixels as `keras.ops.image.affine_transform(..., fill_mode="constant")`, within the
    rounding of float32. That op has no XLA kernel on TensorFlow; this is plain arithmetic and
    `take`, which XLA fuses into one loop.

    Args:
        images: float32 [batch, height, width, 1].
        matrices: float32 [batch, 6] as `transforms` returns them.
        bend: float32 [batch, 2, height, width] as `bends` returns it, or None.

    Returns:
        float32 [batch, height, width, 1].
    """
    batch, height, width = ops.shape(images)[:3]
    x = ops.arange(width, dtype="float32")[None, None, :]
    y = ops.arange(height, dtype="float32")[None, :, None]
    a, b, c, d, e, f = ops.unstack(ops.reshape(matrices, (-1, 6, 1, 1)), axis=1)
    source_x, source_y = a * x + b * y + c, d * x + e * y + f
    if bend is not None:
        source_x, source_y = source_x + bend[:, 0], source_y + bend[:, 1]
    # From one pixel outside on, every neighbour is fill.
    source_x, source_y = ops.clip(source_x, -1.0, width), ops.clip(source_y, -1.0, height)
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
