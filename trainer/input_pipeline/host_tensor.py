"""A NumPy array as a tensor on the host that shares its memory: `tf.constant` would copy it."""

import math

import numpy as np
import tensorflow as tf

_ALIGNMENT = 64  # bytes; TensorFlow ends the process where a tensor's address is no multiple of it
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of anything, where a tensor may lie.

    Args:
        shape: Of the array.
        dtype: Name of a type of TensorFlow, of 1, 2 or 4 bytes.

    Returns:
        [*shape] of that type; NumPy knows bfloat16 by `ml_dtypes`.
    """
    kind = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    size = math.prod(shape) * kind.itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(kind).reshape(shape)


def tensor(array: np.ndarray) -> tf.Tensor:
    """The tensor of an array of `empty`, which keeps it alive.

    Args:
        array: [n, ...]; nobody may write to it from now on.

    Returns:
        The same shape and type, on the host: a GPU's memory is for the network.
    """
    # DLPack's type codes are older than some of these types.
    plain = array.view(_UNSIGNED[array.itemsize])
    with tf.device("CPU"):
        shared = tf.experimental.dlpack.from_dlpack(plain.__dlpack__())
        return tf.bitcast(shared, tf.as_dtype(array.dtype))
