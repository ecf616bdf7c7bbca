"""Users' own Keras callbacks run in the loop as they do under `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import trainings
from trainer.run.errors import RunError
from trainer.training.loop import train_phases

STEPS = 5  # of an epoch: 68 images by 16


def losses(*values: float):
    """An evaluation that gives these losses, epoch by epoch."""
    left = iter(values)
    return lambda plan: {"val_loss": next(left), "val_balanced_accuracy": 0.5}


class Watch(keras.callbacks.Callback):
    """Writes down each call, each epoch's weights and its learning rate."""

    def __init__(self):
        super().__init__()
        self.calls, self.epochs, self.rates = [], [], []

    def on_train_begin(self, logs=None):
        self.calls.append("train begins")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} begins")

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"batch {batch} begins")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"batch {batch} ends")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} ends")
        self.epochs.append(self.model.get_weights())
        self.rates.append(float(self.model.optimizer.learning_rate))

    def on_train_end(self, logs=None):
        self.calls.append("train ends")


def equal(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, STEPS])
def test_the_calls_come_in_the_order_of_fit(ready, monkeypatch, at_once):
    training, ours, theirs = ready(epochs=2), Watch(), Watch()
    monkeypatch.setattr(training, "steps_per_call", lambda plan: at_once)
    train_phases(training, [ours], seed=1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution=at_once)
    images = np.ones((68, 3), np.float32), np.zeros(68)
    model.fit(*images, batch_size=16, epochs=2, verbose=0, callbacks=[theirs])
    assert ours.calls == theirs.calls
    assert len(ours.calls) == 2 * (2 + 2 * -(-STEPS // at_once)) + 2


def test_a_lambda_callback_adds_to_the_logs_of_those_behind_it(ready):
    training, seen = ready(epochs=2), []
    add = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: logs.update(added=e * 10))
    read = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: seen.append(logs["added"]))
    train_phases(training, [add, read], seed=1)
    assert seen == [0, 10]


@pytest.mark.slow
def test_early_stopping_ends_the_phase_and_restores_its_best_weights(ready):
    training, watch = ready(epochs=9), Watch()
    values = iter([1.0, 0.5, 0.7, 0.8, 0.1])
    score = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(val_loss=next(values))
    )
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True)
    train_phases(training, [score, watch, stop], seed=1)
    assert (len(watch.epochs), stop.stopped_epoch) == (4, 3)
    assert equal(training.networks.trained.get_weights(), watch.epochs[1])


@pytest.mark.slow
def test_early_stopping_ends_one_phase_and_the_next_one_runs(ready):
    training, watch = ready(epochs=6, **trainings.TUNED), Watch()
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1)
    evaluate = losses(1.0, 1.1, 0.9, 0.8)
    state = train_phases(training, [watch, stop], seed=1, evaluate=evaluate)
    begun = [call for call in watch.calls if call.startswith("epoch") and "begins" in call]
    assert begun == ["epoch 0 begins", "epoch 1 begins", "epoch 6 begins"]
    assert state.epoch == 7


def test_reduce_lr_on_plateau_lowers_the_rate_that_trains(ready):
    training, watch = ready(epochs=4), Watch()
    # Keras lowers it behind the second epoch without a better loss, so that the fourth has it.
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=1e-9, patience=2)
    evaluate = losses(1.0, 1.0, 1.0, 1.0)
    train_phases(training, [plateau, watch], seed=1, evaluate=evaluate)
    assert watch.rates == pytest.approx([1e-3, 1e-3, 1e-12, 1e-12])
    moves = [max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))
             for one, other in zip(watch.epochs, watch.epochs[1:], strict=False)]  # fmt: skip
    assert moves[0] > 1e-4 and moves[1] > 1e-4
    assert moves[2] < 1e-8


def test_a_learning_rate_scheduler_sets_the_rate_of_each_epoch(ready):
    training, watch = ready(epochs=3), Watch()
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-3 / (epoch + 1))
    train_phases(training, [schedule, watch], seed=1)
    assert watch.rates == pytest.approx([1e-3, 5e-4, 1e-3 / 3])


@pytest.mark.slow
@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", patience=1),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-3),
    ],
)
def test_one_that_sets_a_scheduled_rate_is_refused_in_a_sentence(callback, ready):
    changes = {**trainings.TUNED, "fine_tune_epochs": 2, "fine_tune_schedule": "cosine"}
    training = ready(epochs=1, **changes)
    with pytest.raises(RunError, match="which follows a schedule"):
        train_phases(training, [callback], seed=1, evaluate=losses(1.0, 1.0, 1.0))


@pytest.mark.slow
def test_model_checkpoint_writes_files_that_keras_loads(ready, tmp_path, data_dir):
    training, watch = ready(epochs=3), Watch()
    save = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.keras", monitor="val_loss", save_best_only=True
    )
    train_phases(training, [save, watch], seed=1, evaluate=losses(1.0, 1.1, 0.9))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.keras", "3.keras"]
    for number in (1, 3):
        model = keras.saving.load_model(tmp_path / f"{number}.keras")
        assert equal(model.get_weights(), watch.epochs[number - 1])
        images = np.zeros((2, 50, 40, 1), np.uint8)
        np.testing.assert_allclose(model.predict(images, verbose=0).sum(axis=1), 1, atol=1e-6)


def test_model_checkpoint_writes_weights_by_the_batch(ready, tmp_path):
    training = ready(epochs=1)
    save = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5", save_weights_only=True, save_freq=STEPS
    )
    train_phases(training, [save], seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["1.weights.h5"]


def test_tensorboard_writes_events(ready, tmp_path):
    training = ready(epochs=2)
    board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1, write_graph=False)
    train_phases(training, [board], seed=1, evaluate=losses(1.0, 0.9))
    tags = set()
    for path in tmp_path.rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {(value.tag, event.step) for value in event.summary.value}
    for step in (0, 1):  # Keras leaves the val_ out, and writes what was validated elsewhere
        assert {("epoch_loss", step), ("epoch_balanced_accuracy", step)} <= tags
    assert any("kernel" in tag for tag, _ in tags)


def test_csv_logger_and_terminate_on_nan_run(ready, tmp_path):
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    train_phases(ready(epochs=2), [logger, keras.callbacks.TerminateOnNaN()], seed=1)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,")
    assert "loss" in lines[0]
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1"]
