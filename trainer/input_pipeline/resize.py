"""The square: an antialiased bilinear resize that gives the same pixels wherever it runs.

A resize is separable: `rows @ image @ columnsᵀ`, where a row of the weights is a triangle as wide
as the pixels that one new pixel covers (at least one pixel to either side). It stands here twice:
in NumPy and SciPy for the images that are stored, and in `keras.ops` for the model. Both give the
same whole numbers, bit for bit, in NumPy, TensorFlow, XLA, JAX, ONNX Runtime and LiteRT. That
takes more than small errors: floating point adds in another order everywhere, so that one pixel in
100,000 comes close enough to a half to be rounded otherwise, and of an image halved in size one in
64 is a half. So nothing here is inexact before it is rounded:

* The triangle is scaled to whole numbers: pixel j of `length`, seen from new pixel i of `size`, has
  `2 max(length, size) - |(2i + 1) length - (2j + 1) size|`.
* The running sum of a row, divided by its total, is rounded to 1/2048, in integers: compilers turn
  a division of floats by a constant into a product with its inverse. A weight is the difference of
  two, so that weights are multiples of 1/2048, and a row sums to 1.
* After the rows, the image is rounded to 1/8; after the columns, to whole numbers. Halves go up.

Every factor of the two products then has at most 11 bits, so that even the TF32 of an NVIDIA GPU,
which keeps 11 of the 24 bits of a factor, takes nothing from it, and every sum has at most 22. The
price of the two grids: of radiographs, 2 pixels in 100 differ by a level from the same resize in
full precision (17 of Pillow's, which rounds to whole numbers twice). All this holds for sides up to
16,000 pixels and sizes from 32 to 1,024; beyond, int32 may overflow in the model.

A frame chooses the part of an image that becomes the square, by whole numbers too (see `Frame`):
the triangles move and widen, in units in which all of them are whole. Where the frame reaches
beyond an edge, the image is mirrored there: a row whose centre lies outside looks at the reflected
place.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from scipy import sparse

FORMULA = "triangle in 1/2048, rows in 1/8"  # change it with the pixels: caches go by it
FRAMES = "frames in 1/48 and 1/128, triangles in 1/16"  # and this with what frames show
_WEIGHT_STEPS = 2048  # weights are multiples of 1 / this
_ROW_STEPS = 8  # and pixels between the two products of 1 / this
SCALE_STEPS = 48  # scales of frames are multiples of 1 / this
SHIFT_STEPS = 128  # and shifts of 1 / this of a side
MOST_SCALE, MOST_SHIFT = 56, 20  # of a frame, in those steps
_COARSE = 16  # by which a framed triangle is divided, so that sums have room in int32


class Frame(NamedTuple):
    """The part of an image that a square shows; whole numbers.

    Attributes:
        scale_x: Width of the part, as a share of the image's, times 48; 1 to 56.
        scale_y: Height, likewise.
        shift_x: How far its middle lies to the right of the image's, as a share of the width, times
            128; -20 to 20.
        shift_y: How far below, likewise.
    """

    scale_x: int
    scale_y: int
    shift_x: int
    shift_y: int


WHOLE = Frame(SCALE_STEPS, SCALE_STEPS, 0, 0)


@functools.lru_cache(maxsize=64)
def weights(length: int, size: int) -> np.ndarray:
    """The weights that resize a side.

    Args:
        length: Pixels of the side, at least 1.
        size: Pixels that it is resized to, at least 1.

    Returns:
        float32 [size, length], read-only: multiples of 1/2048 in 0..1 of which each row sums to 1;
        the identity where `length` is `size`.
    """
    dense = _banded(length, size, SCALE_STEPS, 0).toarray()
    dense.flags.writeable = False  # the cache hands it out again
    return dense


@functools.lru_cache(maxsize=1024)
def _banded(length: int, size: int, scale: int, shift: int) -> sparse.csr_array:
    """`weights` of a frame's axis, as a sparse matrix: a row has few of its `length` weights."""
    unit = 2 * SCALE_STEPS * size  # a pixel in the units of `_framed_steps`
    centre = scale * (np.arange(1, 2 * size, 2, dtype="int64")[:, None] - size) * length
    centre += unit * length // 2 + unit * length * shift // SHIFT_STEPS
    centre = unit * length - np.abs(unit * length - np.abs(centre))  # mirrored at both edges
    foot = max(2 * scale * length, unit)
    first = (centre - foot) // unit
    pixel = first + np.arange(2 * foot // unit + 3)
    triangle = foot - np.abs(centre - (2 * pixel + 1) * unit // 2)
    triangle = np.maximum(triangle, 0) // _COARSE * ((pixel >= 0) & (pixel < length))
    until = np.cumsum(triangle, axis=1)
    total = until[:, -1:]
    share = (2 * _WEIGHT_STEPS * until + total) // (2 * total)  # rounded, halves up
    values = np.diff(share, axis=1, prepend=0).astype("float32") / np.float32(_WEIGHT_STEPS)
    held = values > 0
    starts = np.concatenate([[0], np.cumsum(held.sum(axis=1))])
    return sparse.csr_array((values[held], pixel[held], starts), shape=(size, length))


def square(image: np.ndarray, size: int, frame: Frame = WHOLE) -> np.ndarray:
    """Resizes an image, or the part of it in a frame, to a square, whatever its sides are.

    The narrow bands of the weights make it 2 to 3 times as fast as Pillow's resize, and dense
    products would be 5 to 50 times as slow. Rows come first whichever side is the longer one: the
    rounding between the products makes their order count, and a sparse product runs along whole
    rows of the image.

    Args:
        image: uint8 [height, width].
        size: Side of the square in pixels, at least 1.
        frame: The part that is shown.

    Returns:
        uint8 [size, size]; the pixels of `image` where it has that size and is shown whole.

    Raises:
        ValueError: The image is not uint8, has another number of axes, or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 2 or not image.size:
        raise ValueError(
            f"The resize got {image.dtype} of shape {image.shape}. "
            "Give it uint8 of shape [height, width] with at least one pixel."
        )
    height, width = image.shape
    if height == width == size and frame == WHOLE:
        return image.copy()
    x = _banded(height, size, frame.scale_y, frame.shift_y) @ image.astype("float32")
    x = np.floor(x * np.float32(_ROW_STEPS) + np.float32(0.5)) / np.float32(_ROW_STEPS)
    x = _banded(width, size, frame.scale_x, frame.shift_x) @ np.ascontiguousarray(x.T)
    return np.ascontiguousarray(np.floor(x + np.float32(0.5)).astype("uint8").T)


def squared(images: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """`square` as nodes of a functional model, of built-in operations and no layers.

    Neither side has to be known when the model is built. It stays float32 under any global
    precision policy, since operations, unlike layers, follow none.

    Args:
        images: [batch, height, width, 1] of whole numbers in 0..255, of any type.
        size: Side of the squares in pixels, at least 1.

    Returns:
        float32 [batch, size, size, 1] of whole numbers in 0..255, those of `square`.
    """
    x = ops.cast(images[..., 0], "float32")
    # Sides are None here, and converters know no operation that reads them: ones are counted.
    rows = _symbolic_steps(ops.ones_like(x[:1, :, 0]), size)
    columns = _symbolic_steps(ops.ones_like(x[:1, 0, :]), size)
    return _products(rows, x, columns)


def framed(images: keras.KerasTensor, size: int, frames: keras.KerasTensor) -> keras.KerasTensor:
    """`square` with a frame for each image, as nodes of a functional model.

    Args:
        images: [batch, height, width, 1] of whole numbers in 0..255, of any type.
        size: Side of the squares in pixels, at least 1.
        frames: int32 [batch, 4], in the order of `Frame`.

    Returns:
        float32 [batch, size, size, 1] of whole numbers in 0..255, those of `square`.
    """
    x = ops.cast(images[..., 0], "float32")
    rows = _framed_steps(ops.ones_like(x[:1, :, 0]), size, frames[:, 1:2], frames[:, 3:4])
    columns = _framed_steps(ops.ones_like(x[:1, 0, :]), size, frames[:, 0:1], frames[:, 2:3])
    return _products(rows, x, columns)


def _products(
    rows: keras.KerasTensor, x: keras.KerasTensor, columns: keras.KerasTensor
) -> keras.KerasTensor:
    """Squares [batch, size, size, 1] of x [batch, height, width] by 2048 times the weights."""
    x = ops.floor(ops.matmul(rows, x) * (_ROW_STEPS / _WEIGHT_STEPS) + 0.5)
    x = ops.matmul(x, ops.transpose(columns, (0, 2, 1)))
    x = ops.floor(x * (1 / (_ROW_STEPS * _WEIGHT_STEPS)) + 0.5)
    return ops.expand_dims(x, -1)


def _symbolic_steps(ones: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """2048 times `weights` of a side that is given as ones [1, length]: [1, size, length]."""
    ones = ops.cast(ones, "int32")
    length = ops.expand_dims(ops.sum(ones, axis=1, keepdims=True), 2)
    # (2i + 1) length and (2j + 1) size
    centre = length * np.arange(1, 2 * size, 2, dtype="int32")[None, :, None]
    pixel = ops.expand_dims(ops.cumsum(ones, axis=1), 1) * (2 * size) - size
    return _steps(ops.maximum(ops.maximum(length, size) * 2 - ops.abs(centre - pixel), 0))


def _framed_steps(
    ones: keras.KerasTensor, size: int, scale: keras.KerasTensor, shift: keras.KerasTensor
) -> keras.KerasTensor:
    """2048 times the weights of one axis of frames: [batch, size, length].

    Lengths are counted in units of which a pixel has 96 `size`, so that every centre is a whole
    number but for the shift, which is rounded down.

    Args:
        ones: [1, length].
        size: Side of the squares.
        scale: int32 [batch, 1].
        shift: int32 [batch, 1].
    """
    ones = ops.cast(ones, "int32")
    length = ops.expand_dims(ops.sum(ones, axis=1, keepdims=True), 2)
    scale, shift = ops.expand_dims(scale, 2), ops.expand_dims(shift, 2)
    unit = 2 * SCALE_STEPS * size
    odd = np.arange(1, 2 * size, 2, dtype="int32")[None, :, None]
    # From 0 up: runtimes round a negative quotient to different sides. 96 / 128 and 96 20 / 128
    # as 3 / 4 and 15: smaller products.
    moved = ops.floor_divide((shift + MOST_SHIFT) * length * (3 * size), 4)
    centre = scale * length * (odd - size) + length * (unit // 2 - 15 * size) + moved
    centre = length * unit - ops.abs(length * unit - ops.abs(centre))  # mirrored at both edges
    pixel = ops.expand_dims(ops.cumsum(ones, axis=1), 1) * unit - unit // 2
    foot = ops.maximum(scale * length * 2, unit)
    triangle = ops.maximum(foot - ops.abs(centre - pixel), 0)
    return _steps(ops.floor_divide(triangle, _COARSE))


def _steps(triangle: keras.KerasTensor) -> keras.KerasTensor:
    """2048 times the weights that go by triangles int32 [batch, size, length], as float32."""
    until = ops.cumsum(triangle, axis=2)
    total = ops.sum(triangle, axis=2, keepdims=True)
    # Long division, 5, 3 and 3 bits, because 2048 times a sum may take more than 32.
    high = ops.floor_divide(until * 32, total)
    rest = until * 32 - high * total
    middle = ops.floor_divide(rest * 8, total)
    rest = rest * 8 - middle * total
    # The sum begins with `total`: Keras may take what ends a sum for a bias, of another axis.
    share = high * 64 + middle * 8 + ops.floor_divide(total + rest * 16, total * 2)
    before = ops.pad(share[:, :, :-1], ((0, 0), (0, 0), (1, 0)))
    return ops.cast(share - before, "float32")
