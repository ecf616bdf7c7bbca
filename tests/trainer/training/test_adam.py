"""The update by one kernel gives Keras' Adam's numbers, and leaves nothing behind."""

import gc

import keras
import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph

from trainer.training.adam import Adam


def trained(optimizer: keras.optimizers.Adam, inputs: np.ndarray, labels: np.ndarray):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "relu"),
                              keras.layers.Dense(3, "softmax")])  # fmt: skip
    model.compile(optimizer, "sparse_categorical_crossentropy")
    model.fit(inputs, labels, batch_size=8, epochs=4, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 3, 40)


def test_the_numbers_are_those_of_keras(data):
    ours, theirs = trained(Adam(1e-2), *data), trained(keras.optimizers.Adam(1e-2), *data)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    for one, other in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=2e-6)


def traced_steps() -> int:
    gc.collect()
    graphs = [each.name for each in gc.get_objects() if isinstance(each, FuncGraph)]
    return sum("step_on" in name for name in graphs)


def test_a_trained_model_is_freed_with_all_that_it_computed(data):
    trained(Adam(1e-2), *data)
    before = traced_steps()
    for _ in range(3):
        trained(Adam(1e-2), *data)
    assert traced_steps() == before
    held = trained(Adam(1e-2), *data)  # the count does see a model that is there
    assert traced_steps() > before
    del held
