"""The fused update gives Keras' Adam's numbers, and saves as Keras' Adam."""

import keras
import numpy as np
import pytest

from trainer import optimizer


def trained(adam: keras.optimizers.Adam, films: np.ndarray, labels: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "relu"),
                              keras.layers.Dense(3, "softmax")])  # fmt: skip
    model.compile(adam, "sparse_categorical_crossentropy")
    model.fit(films, labels, batch_size=8, epochs=4, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 3, 40)


def test_the_numbers_are_those_of_keras(data):
    ours, theirs = trained(optimizer.adam(1e-2), *data), trained(keras.optimizers.Adam(1e-2), *data)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    for one, other in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=2e-6)


def test_a_saved_model_names_keras_own_class(data, tmp_path):
    trained(optimizer.adam(1e-2), *data).save(tmp_path / "model.keras")
    assert (
        type(keras.models.load_model(tmp_path / "model.keras").optimizer) is keras.optimizers.Adam
    )
