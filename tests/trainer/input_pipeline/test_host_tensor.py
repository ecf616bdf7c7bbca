"""Arrays and tensors that share their memory."""

import gc

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.memory import resident
from trainer.input_pipeline import host_tensor

DTYPES = ["uint8", "float16", "bfloat16", "float32"]  # those of cached rows


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 7), (0, 4)])
def test_a_tensor_has_the_values_of_its_array_whatever_becomes_of_the_array(dtype, shape):
    array = host_tensor.empty(shape, dtype)
    array[:] = np.arange(array.size).reshape(shape)
    values = array.astype("float32")
    tensor = host_tensor.tensor(array)
    del array
    gc.collect()
    assert (tensor.dtype.name, tuple(tensor.shape)) == (dtype, shape)
    assert tensor.device.endswith("CPU:0")
    np.testing.assert_array_equal(tf.cast(tensor, "float32"), values)


@pytest.mark.parametrize("size", [1, 3, 64, 100, 5000])
def test_a_tensor_may_lie_wherever_an_array_was_made(size):
    """TensorFlow ends the process where an address is not aligned."""
    made = [host_tensor.empty((size,), "uint8") for _ in range(20)]
    for i, array in enumerate(made):
        array[:] = i
        assert not array.ctypes.data % 64
        assert int(tf.reduce_max(host_tensor.tensor(array))) == i


def test_a_tensor_takes_no_memory_of_its_own():
    array = host_tensor.empty((48, 2**20), "uint8")
    array[:] = 1
    before = resident()
    tensor = host_tensor.tensor(array)
    assert int(tf.gather(tensor, 47)[0]) == 1
    assert resident() - before < 16
