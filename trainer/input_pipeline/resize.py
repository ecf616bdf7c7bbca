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
"""

import functools

import keras
import numpy as np
from keras import ops
from scipy import sparse

FORMULA = "triangle in 1/2048, rows in 1/8"  # change it with the pixels: caches go by it
_WEIGHT_STEPS = 2048  # weights are multiples of 1 / this
_ROW_STEPS = 8  # and pixels between the two products of 1 / this


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
    dense = _banded(length, size).toarray()
    dense.flags.writeable = False  # the cache hands it out again
    return dense


@functools.lru_cache(maxsize=1024)
def _banded(length: int, size: int) -> sparse.csr_array:
    """`weights` as a sparse matrix: a row has some 2 length / size of its `length` weights."""
    row = np.arange(size, dtype="int64")[:, None]
    widest = max(length, size)
    # The triangle's foot is 2 widest from its centre, and pixels are 2 size apart.
    first = ((2 * row + 1) * length - 2 * widest) // (2 * size)
    pixel = first + np.arange(widest // size * 2 + 4)
    triangle = 2 * widest - np.abs((2 * row + 1) * length - (2 * pixel + 1) * size)
    triangle = np.maximum(triangle, 0) * ((pixel >= 0) & (pixel < length))
    until = np.cumsum(triangle, axis=1)
    total = until[:, -1:]
    share = (2 * _WEIGHT_STEPS * until + total) // (2 * total)  # rounded, halves up
    values = np.diff(share, axis=1, prepend=0).astype("float32") / np.float32(_WEIGHT_STEPS)
    held = values > 0
    starts = np.concatenate([[0], np.cumsum(held.sum(axis=1))])
    return sparse.csr_array((values[held], pixel[held], starts), shape=(size, length))


def square(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes an image to a square, whatever its sides are.

    The narrow bands of the weights make it 2 to 3 times as fast as Pillow's resize, and dense
    products would be 5 to 50 times as slow. Rows come first whichever side is the longer one: the
    rounding between the products makes their order count, and a sparse product runs along whole
    rows of the image.

    Args:
        image: uint8 [height, width].
        size: Side of the square in pixels, at least 1.

    Returns:
        uint8 [size, size]; the pixels of `image` where it has that size.

    Raises:
        ValueError: The image is not uint8, has another number of axes, or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 2 or not image.size:
        raise ValueError(
            f"The resize got {image.dtype} of shape {image.shape}. "
            "Give it uint8 of shape [height, width] with at least one pixel."
        )
    height, width = image.shape
    if height == width == size:
        return image.copy()
    x = _banded(height, size) @ image.astype("float32")
    x = np.floor(x * np.float32(_ROW_STEPS) + np.float32(0.5)) / np.float32(_ROW_STEPS)
    x = _banded(width, size) @ np.ascontiguousarray(x.T)
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
    triangle = ops.maximum(ops.maximum(length, size) * 2 - ops.abs(centre - pixel), 0)
    until = ops.cumsum(triangle, axis=2)
    total = ops.sum(triangle, axis=2, keepdims=True)
    # Long division, 5 bits and then 6, because 2048 times a sum may take more than 32.
    high = ops.floor_divide(until * 32, total)
    rest = until * 32 - high * total
    # The sum begins with `total`: Keras may take what ends a sum for a bias, of another axis.
    share = high * 64 + ops.floor_divide(total + rest * 128, total * 2)
    before = ops.pad(share[:, :, :-1], ((0, 0), (0, 0), (1, 0)))
    return ops.cast(share - before, "float32")
