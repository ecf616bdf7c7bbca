"""Random numbers by the pixel from one integer a film: no state, the same on every backend.

The generators of `keras.random` take one seed for a whole tensor, so that a film's numbers would
depend on its batch; and each backend has its own. Here a number is a hash of (seed, index).
"""

import keras
import numpy as np
from keras import ops


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
