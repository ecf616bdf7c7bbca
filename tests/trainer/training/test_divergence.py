"""A training whose loss is not finite ends there, keeps what was good, and names the images."""

import dataclasses
import errno
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainer as api
from tests.helpers import trainings
from trainer.input_pipeline import fill
from trainer.run import saved_state
from trainer.run.errors import DivergedError
from trainer.run.manifest import EVENTS
from trainer.training import divergence, loop
from trainer.training.callbacks import History
from trainer.training.checkpoint import Best, Checkpoints
from trainer.training.loop import train_phases
from trainer.training.steps import Steps
from trainer.training.validation import Validation

STEPS = 5  # of an epoch: 68 images by 16


class Breaks(keras.callbacks.Callback):
    """Makes a weight infinite before a step; notes how many steps began."""

    def __init__(self, epoch: int, step: int = 0):
        super().__init__()
        self.begun = iter(range(10**6))
        self.last, self._where, self._epoch = -1, (epoch, step), 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.last = next(self.begun)
        if (self._epoch, batch) == self._where:
            kernel = self.model.get_layer("last").kernel
            kernel.assign(kernel * np.inf)


def broken(training, *callbacks, checkpoints=None) -> str:
    """The message of a training that diverges."""
    with pytest.raises(DivergedError) as caught:
        train_phases(
            training, callbacks, seed=1, evaluate=Validation(training), checkpoints=checkpoints
        )
    return str(caught.value)


def named(message: str) -> list[str]:
    return re.findall(r"phantom-\d+-\d+", message)


def by_the_step(training, monkeypatch):
    monkeypatch.setattr(training, "steps_per_call", lambda plan: 1)
    return training


# Where it ends


@pytest.mark.parametrize("step", [0, 4])
def test_it_ends_at_the_step_after_it(step, ready, monkeypatch):
    training, breaks = by_the_step(ready(epochs=3), monkeypatch), Breaks(1, step)
    message = broken(training, breaks)
    assert message.startswith(f"In epoch 2, step {step + 1} of 5, the loss or a weight of the ")
    assert breaks.last <= STEPS + step + 1


def test_a_weight_that_no_loss_shows_ends_it(ready):
    """Where a kernel makes 0 of what is not a number, as some do for a ReLU."""
    training = ready(epochs=1)
    plan = training.plan.phases[0]
    rows = training.rows(plan.train, "train", plan.views or (0,))
    held = rows._tensor.numpy()
    held[11 :: rows.count] = np.nan  # all views of an image
    vars(rows)["_tensor"] = tf.constant(held)
    message = broken(training)
    assert re.match(
        r"In (the 5 steps up to epoch 1, step 5|epoch 1, step [1-5]) of 5, the", message
    )
    assert 4 <= len(named(message)) <= 5
    assert ". Lower --learning_rate=0.001, or look at these images." in message


@pytest.mark.slow
def test_both_rates_of_fine_tuning_are_named(ready):
    training = ready(**trainings.TUNED, fine_tune_head_learning_rate=0.5)
    head, tuned = (divergence.lower_rate(training, plan) for plan in training.plan.phases)
    assert head == "Lower --learning_rate=0.001"
    assert tuned == "Lower --fine_tune_learning_rate=0.001 or --fine_tune_head_learning_rate=0.5"


def test_an_image_whose_rows_are_not_finite_is_the_one_that_is_named(ready, monkeypatch):
    training = ready(epochs=1)
    plan = training.plan.phases[0]
    rows = training.rows(plan.train, "train", plan.views or (0,))
    read, bad = rows.read, training.images["train"].image_ids[11]

    def damaged(view, at):
        values = np.array(read(view, at))
        values[np.asarray(at) == 11] = np.inf
        return values

    monkeypatch.setattr(rows, "read", damaged)
    message = broken(training)
    assert named(message) == [bad]
    assert "(block5_pool, float32). Look at these images, and at the weights" in message


def test_a_loss_scale_that_skips_steps_ends_nothing():
    """Gradients of float16 that overflow are part of finding the scale."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((4,))
        x = keras.layers.Activation("linear", dtype="float32")(keras.layers.Dense(3)(inputs))
        steps = Steps(keras.Model(inputs, x), 1e-3, classes=3)
        steps.reset([1.0] * 3)
        steps.optimizer.dynamic_scale.assign(2.0**40)  # beyond float16
        steps.start_epoch()
        rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        steps.run(iter(tf.data.Dataset.from_tensors((rows, np.arange(40) % 3))), 4)
    finally:
        keras.config.set_dtype_policy(before)
    assert float(steps.optimizer.dynamic_scale) < 2.0**40
    assert steps.not_finite() is None


# What is kept


@pytest.mark.parametrize("every", [0.0, 3600.0])
def test_the_best_epoch_before_is_what_is_kept(every, ready, monkeypatch, tmp_path):
    training, path = by_the_step(ready(epochs=4), monkeypatch), tmp_path / "state"
    history = History(tmp_path / "history.csv", training.plan, timed=False)
    broken(training, Breaks(2, 2), history, checkpoints=Checkpoints(path, every=every))
    saved = saved_state.read(path)
    best = next(row["epoch"] for row in history.rows if row["best"])
    assert saved.best_epoch == best
    assert all(np.isfinite(array).all() for array in saved.arrays.values())
    weights = training.trained_part.get_weights()
    kept = saved.best_weights(len(weights))
    assert all(np.array_equal(a, b) for a, b in zip(weights, kept, strict=True))


def newest(best, training, epoch, logs) -> Best:
    return Best(epoch, dict(logs), training.trained_part.get_weights())


@pytest.mark.slow
def test_what_is_kept_is_not_what_the_same_command_goes_on_with(ready, monkeypatch, tmp_path):
    """The state is that of the head's end, and fine-tuning begins with the head's best epoch."""
    monkeypatch.setattr(loop, "better", newest)
    path, ends = tmp_path / "state", []
    for _ in range(2):
        changes = {**trainings.TUNED, "epochs": 2, "fine_tune_epochs": 3}
        training = by_the_step(ready(**changes), monkeypatch)
        checkpoints = Checkpoints(path, every=3600.0)
        if ends:
            assert checkpoints.restored(training).best.epoch == 1
        ends.append(broken(training, Breaks(3, 1), checkpoints=checkpoints))
        saved = saved_state.read(path)
        assert (saved.values["epoch"], saved.best_epoch) == (2, 3)
    assert ends[0] == ends[1]


class Killed(Exception):
    """In place of SIGKILL."""


class Kill(keras.callbacks.Callback):
    """Ends a training at the begin of a step."""

    def __init__(self, epoch: int, step: int):
        super().__init__()
        self._where, self._epoch = (epoch, step), 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self._epoch, batch) == self._where:
            raise Killed


@pytest.mark.slow
def test_it_stays_until_the_training_is_there_again(ready, monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "better", newest)
    monkeypatch.setattr(Best, "rank", property(lambda best: best.epoch))
    path = tmp_path / "state"
    training = by_the_step(ready(epochs=4), monkeypatch)
    broken(training, Breaks(3, 2), checkpoints=Checkpoints(path, every=3600.0))
    assert saved_state.read(path).best_epoch == 3
    for epoch, best, where in ((1, 3, 1), (2, 3, 2), (3, 3, 3)):
        training = by_the_step(ready(epochs=4), monkeypatch)
        checkpoints = Checkpoints(path, every=0.0)
        with pytest.raises(Killed):
            train_phases(
                training, [Kill(epoch, 2)], seed=1, evaluate=Validation(training),
                checkpoints=checkpoints,
            )  # fmt: skip
        saved = saved_state.read(path)
        assert (saved.best_epoch, saved.values["epoch"]) == (best, where)
    assert saved_state.KEPT not in saved.values and saved.values["best"]["epoch"] == 2


@pytest.mark.slow
def test_a_worse_one_does_not_take_its_place(ready, monkeypatch, tmp_path):
    """Of the same command, which may diverge earlier where it is not deterministic."""
    monkeypatch.setattr(loop, "better", newest)
    monkeypatch.setattr(Best, "rank", property(lambda best: best.epoch))
    path = tmp_path / "state"
    for epoch, every in ((3, 3600.0), (2, 3600.0), (2, 0.0)):
        training = by_the_step(ready(epochs=4), monkeypatch)
        broken(training, Breaks(epoch, 2), checkpoints=Checkpoints(path, every=every))
        assert saved_state.read(path).best_epoch == 3


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"torn"), os.unlink])
def test_a_state_that_was_damaged_meanwhile_is_no_reason_of_a_divergence(
    damage, ready, monkeypatch, tmp_path
):
    class Damages(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                damage(tmp_path / "state")

    training = by_the_step(ready(epochs=4), monkeypatch)
    checkpoints = Checkpoints(tmp_path / "state", every=0.0)
    monkeypatch.setattr(loop, "better", newest)
    monkeypatch.setattr(checkpoints, "_next", 0.0)
    monkeypatch.setattr(Checkpoints, "due", property(lambda self: self._begin is not None))
    assert "In epoch 3, step 3 of 5" in broken(
        training, Breaks(2, 2), Damages(), checkpoints=checkpoints
    )


@pytest.mark.slow
def test_where_nothing_could_be_saved_before_fine_tuning_the_state_is_of_the_head(
    ready, monkeypatch, tmp_path
):
    def tuned():
        changes = {**trainings.TUNED, "epochs": 1, "fine_tune_epochs": 2}
        return by_the_step(ready(**changes), monkeypatch)

    checkpoints = Checkpoints(tmp_path / "state", every=0.0)
    monkeypatch.setattr(checkpoints, "save_if", lambda *_, **__: None)
    broken(tuned(), Breaks(2, 2), checkpoints=checkpoints)
    again = Checkpoints(tmp_path / "state", every=0.0)
    assert "In epoch 3, step 3 of 5" in broken(tuned(), Breaks(2, 2), checkpoints=again)


def test_where_the_disk_is_full_the_divergence_is_what_is_told(
    ready, monkeypatch, tmp_path, capsys
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    training = by_the_step(ready(epochs=4), monkeypatch)
    monkeypatch.setattr(saved_state, "write", full)
    said = broken(training, Breaks(1, 2), checkpoints=Checkpoints(tmp_path / "s", every=3600.0))
    assert "In epoch 2, step 3 of 5" in said
    printed = " ".join(capsys.readouterr().err.split())
    assert "The best epoch of the training could not be written (No space left" in printed
    assert "Its weights are lost." in printed


@pytest.mark.slow
def test_what_a_callback_asked_in_the_epoch_that_diverged_is_no_fact_of_the_beginning(
    ready, monkeypatch, tmp_path
):
    class Stops(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.stop_training = True
                (tmp_path / f"1{EVENTS}").write_bytes(b"points")

    training = by_the_step(ready(epochs=4), monkeypatch)
    checkpoints = Checkpoints(tmp_path / "state", every=3600.0, events=tmp_path)
    broken(training, Breaks(1, 2), Stops(), checkpoints=checkpoints)
    values = saved_state.read(tmp_path / "state").values
    assert (values["epoch"], values["stops"], values["events"]) == (0, False, {})


def test_nor_does_early_stopping_count_from_it(ready, monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "better", newest)
    training = by_the_step(ready(epochs=4), monkeypatch)
    broken(training, Breaks(2, 2), checkpoints=Checkpoints(tmp_path / "state", every=3600.0))
    assert saved_state.read(tmp_path / "state").best_epoch == 2
    assert Checkpoints(tmp_path / "state", every=3600.0).restored(training).best is None


@pytest.mark.slow
@pytest.mark.parametrize("every", [0.0, 3600.0])
def test_the_same_command_ends_at_the_same_place(every, ready, monkeypatch, tmp_path):
    path, ends = tmp_path / "state", []
    for _ in range(3):
        training = by_the_step(ready(epochs=4), monkeypatch)
        history = History(tmp_path / "history.csv", training.plan, timed=False)
        message = broken(
            training, Breaks(2, 2), history, checkpoints=Checkpoints(path, every=every)
        )
        ends.append((message, len(history.rows), saved_state.read(path).best_epoch))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][1] == 2


def test_an_epoch_that_never_ended_leaves_nothing(ready, monkeypatch, tmp_path):
    training = by_the_step(ready(epochs=2), monkeypatch)
    broken(training, Breaks(0, 0), checkpoints=Checkpoints(tmp_path / "state", every=0.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_diverged_is_opened_with_its_best_epoch(data_dir, tmp_path):
    config = trainings.quick(data_dir, epochs=3)
    with pytest.raises(api.RunError, match=r"In epoch 3, step 1 of 5"):
        api.fit(config, tmp_path / "run", callbacks=[Breaks(2)])
    run = api.load(tmp_path / "run")
    assert not run.finished and run.best_epoch in (1, 2)
    images = np.full((1, 40, 50, 1), 90, np.uint8)
    assert np.isfinite(run.model().predict(images, verbose=0)).all()


@pytest.mark.slow
def test_activations_that_are_not_finite_are_not_cached(data_dir, monkeypatch, tmp_path):
    def overflow(stage, batches):
        return (np.full((len(rows), *stage.spec.shape), np.inf, np.float32) for rows, _ in batches)

    monkeypatch.setattr(fill, "_here", overflow)
    config = trainings.quick(data_dir, tmp_path)
    message = r"^The activations of images phantom-.* \d+ more are not finite \(block5_pool, fl"
    with pytest.raises(api.RunError, match=message), trainings.training(config):
        pass
    monkeypatch.undo()
    with trainings.training(config) as training:
        assert np.isfinite(training.batch(training.plan.phases[0], 0, 0, 1)[1]).all()


def test_halves_that_overflow_are_advised_against(ready, monkeypatch):
    training = ready(epochs=1)
    plan = training.plan.phases[0]
    lower = f"Lower --learning_rate={training.config.learning_rate:g}"
    assert divergence.lower_rate(training, plan) == lower
    halves = dataclasses.replace(training.precision, policy="mixed_float16")
    monkeypatch.setattr(training, "precision", halves)
    assert divergence.lower_rate(training, plan) == f"{lower}, give --precision=float32"
