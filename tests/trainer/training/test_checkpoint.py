"""The best epoch: what is better, what is kept of it."""

import types

import keras
import numpy as np
import pytest

from trainer.training import checkpoint


@pytest.fixture
def training():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    return types.SimpleNamespace(trained_part=model)


def logs(loss: float, accuracy: float) -> dict[str, float]:
    return {"val_loss": loss, "val_balanced_accuracy": accuracy}


def fill(training, value: float) -> None:
    training.trained_part.set_weights([np.full((3, 2), value), np.full(2, value)])


def test_higher_accuracy_is_better_then_lower_loss(training):
    best = checkpoint.better(None, training, 0, logs(1.0, 0.5), None)
    assert checkpoint.better(best, training, 1, logs(0.5, 0.4), None) is best
    assert checkpoint.better(best, training, 1, logs(1.0, 0.5), None) is best  # the first of equals
    assert checkpoint.better(best, training, 1, logs(0.9, 0.5), None).epoch == 1
    assert checkpoint.better(best, training, 2, logs(9.0, 0.6), None).epoch == 2


def test_the_weights_are_those_of_the_epoch_in_memory_and_in_the_file(training, tmp_path):
    path = tmp_path / "best.weights.h5"
    fill(training, 1.0)
    best = checkpoint.better(None, training, 0, logs(1.0, 0.5), path)
    fill(training, 2.0)
    assert checkpoint.better(best, training, 1, logs(2.0, 0.5), path) is best
    best.restore(training)
    assert training.trained_part.get_weights()[0].tolist() == [[1.0] * 2] * 3
    fill(training, 3.0)
    training.trained_part.load_weights(path)
    assert training.trained_part.get_weights()[1].tolist() == [1.0, 1.0]
    assert [each.name for each in tmp_path.iterdir()] == ["best.weights.h5"]


def test_what_a_callback_adds_later_does_not_change_the_best(training):
    numbers = logs(1.0, 0.5)
    best = checkpoint.better(None, training, 0, numbers, None)
    numbers["val_loss"] = 7.0
    assert best.logs["val_loss"] == 1.0
    assert best.rank == (0.5, -1.0)
