"""The optimizers give the numbers of Keras' own, decay kernels alone, and leave nothing behind."""

import gc

import keras
import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph

from trainer.training.optimizers import Adam, make_optimizer

RATE = 1e-3


def trained(optimizer: keras.optimizers.Optimizer, inputs: np.ndarray, labels: np.ndarray):
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


@pytest.mark.slow
def test_the_numbers_are_those_of_keras(data):
    ours, theirs = trained(Adam(1e-2), *data), trained(keras.optimizers.Adam(1e-2), *data)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    for one, other in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=2e-6)


def kernels_decayed(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


PEERS = {
    "adam": lambda decay: keras.optimizers.AdamW(RATE, weight_decay=decay),
    "sgd": lambda decay: keras.optimizers.SGD(
        RATE, momentum=0.9, nesterov=True, weight_decay=decay
    ),
}


@pytest.mark.slow  # as in test_steps, under Keras' own loop
@pytest.mark.parametrize("decay", [1e-2, 0.5])
@pytest.mark.parametrize("name", PEERS)
def test_twenty_decayed_steps_are_those_of_keras(name, decay, data):
    ours = trained(make_optimizer(name, RATE, decay), *data)
    theirs = trained(kernels_decayed(PEERS[name](decay)), *data)
    undecayed = trained(make_optimizer(name, RATE), *data)
    assert ours.optimizer.iterations.numpy() == 20
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    for one, other in zip(ours.layers, undecayed.layers, strict=True):
        assert np.abs(one.kernel - other.kernel).max() > 5e-5


@pytest.mark.parametrize("name", PEERS)
def test_a_kernel_decays_by_the_rate_and_a_bias_does_not(name):
    layer = keras.layers.Dense(3, bias_initializer="ones")
    layer.build((None, 2))
    kernel, bias = layer.get_weights()
    optimizer = make_optimizer(name, 0.1, 0.5)
    optimizer.build(layer.trainable_variables)
    optimizer.apply([np.zeros_like(kernel), np.zeros_like(bias)], layer.trainable_variables)
    np.testing.assert_allclose(layer.kernel.numpy(), kernel * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(layer.bias.numpy(), bias)


@pytest.mark.slow
def test_without_decay_adam_is_bit_for_bit_what_it_was(data):
    ours, plain = trained(make_optimizer("adam", RATE, 0.0), *data), trained(Adam(RATE), *data)
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert ours.optimizer.weight_decay is None


def traced_steps() -> int:
    gc.collect()
    graphs = [each.name for each in gc.get_objects() if isinstance(each, FuncGraph)]
    return sum("step_on" in name for name in graphs)


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_trained_model_is_freed_with_all_that_it_computed(name, data):
    trained(make_optimizer(name, RATE, 1e-3), *data)
    before = traced_steps()
    for _ in range(2):
        trained(make_optimizer(name, RATE, 1e-3), *data)
    assert traced_steps() == before
    held = trained(
        make_optimizer(name, RATE, 1e-3), *data
    )  # the count does see a model that is there
    assert traced_steps() > before
    del held
