"""The best epoch, and states: when they are saved, what of them is restored."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import trainings
from trainer.config import Config
from trainer.run import files, saved_state
from trainer.run.errors import ConfigError, RunError
from trainer.training import checkpoint
from trainer.training.checkpoint import Checkpoints, require_phases
from trainer.training.loop import train_phases


@pytest.fixture
def training():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    return types.SimpleNamespace(trained_part=model)


def logs(loss: float, accuracy: float) -> dict[str, float]:
    return {"val_loss": loss, "val_balanced_accuracy": accuracy}


def fill(training, value: float) -> None:
    training.trained_part.set_weights([np.full((3, 2), value), np.full(2, value)])


# The best epoch


def test_higher_accuracy_is_better_then_lower_loss(training):
    best = checkpoint.better(None, training, 0, logs(1.0, 0.5))
    assert checkpoint.better(best, training, 1, logs(0.5, 0.4)) is best
    assert checkpoint.better(best, training, 1, logs(1.0, 0.5)) is best  # the first of equals
    assert checkpoint.better(best, training, 1, logs(0.9, 0.5)).epoch == 1
    assert checkpoint.better(best, training, 2, logs(9.0, 0.6)).epoch == 2


def test_the_weights_are_those_of_the_epoch(training):
    fill(training, 1.0)
    best = checkpoint.better(None, training, 0, logs(1.0, 0.5))
    fill(training, 2.0)
    assert checkpoint.better(best, training, 1, logs(2.0, 0.5)) is best
    best.restore(training)
    assert training.trained_part.get_weights()[0].tolist() == [[1.0] * 2] * 3


def test_what_a_callback_adds_later_does_not_change_the_best(training):
    numbers = logs(1.0, 0.5)
    best = checkpoint.better(None, training, 0, numbers)
    numbers["val_loss"] = 7.0
    assert best.logs["val_loss"] == 1.0
    assert best.rank == (0.5, -1.0)


# States


class Saves(keras.callbacks.Callback):
    """Notes after each step and epoch which state the file held before."""

    def __init__(self, path):
        super().__init__()
        self.path, self.texts = path, []

    def on_train_batch_end(self, batch, logs=None):
        self._note()

    def on_epoch_end(self, epoch, logs=None):
        self._note()

    def _note(self):
        saved = saved_state.read(self.path)
        self.texts.append(saved and saved.text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "every,texts",
    [
        (0.0, [None, "epoch 1 of 2, step 1 of 2", "epoch 1 of 2, step 2 of 2",
               "epoch 2 of 2", "epoch 2 of 2, step 1 of 2", "epoch 2 of 2, step 2 of 2"]),
        (3600.0, [None] * 6),
    ],
)  # fmt: skip
def test_a_state_is_saved_when_it_is_due_and_at_the_end(every, texts, ready, tmp_path, monkeypatch):
    training, seen = ready(epochs=2, batch_size=34), Saves(tmp_path / "state")
    monkeypatch.setattr(training, "steps_per_call", lambda plan: 1)
    checkpoints = Checkpoints(tmp_path / "state", every=every)
    train_phases(training, [seen], seed=1, checkpoints=checkpoints)
    assert seen.texts == texts
    assert saved_state.read(tmp_path / "state").text() == "the end of its training"
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


@pytest.mark.slow
def test_a_fold_is_saved_only_when_that_is_due(ready, tmp_path):
    checkpoints = Checkpoints(tmp_path / "state", every=3600.0, at_ends=False)
    train_phases(ready(epochs=1), seed=1, checkpoints=checkpoints)
    assert list(tmp_path.iterdir()) == []


def test_a_fold_that_was_saved_is_saved_at_its_end_too(ready, tmp_path):
    """It is longer than what may be lost."""
    checkpoints = Checkpoints(tmp_path / "state", every=0.0, at_ends=False)
    train_phases(ready(epochs=1), seed=1, checkpoints=checkpoints)
    assert saved_state.read(tmp_path / "state").values["ended"]


def test_saving_takes_at_most_a_hundredth_of_the_time(ready, tmp_path, monkeypatch):
    """Whatever the disk: a state that took a second is followed by none for 100."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock.now)

    def slow(*_):
        clock.now += 1.0

    monkeypatch.setattr(saved_state, "write", slow)
    training = ready(epochs=1)
    training.networks.trained.stop_training = False  # which the loop sets before it saves
    steps = training.steps(training.plan.phases[0])
    checkpoints = Checkpoints(tmp_path / "state", every=10.0)
    clock.now = 10.0
    assert checkpoints.due
    checkpoints.save(training, checkpoint.TrainState(), steps, [])
    clock.now = 110.0
    assert not checkpoints.due
    clock.now = 111.0
    assert checkpoints.due


def saved(ready, path, **changes):
    train_phases(ready(**changes), seed=1, checkpoints=Checkpoints(path, every=3600.0))
    return saved_state.read(path)


def test_a_state_of_another_network_is_refused(ready, tmp_path):
    saved(ready, tmp_path / "state", epochs=1)
    other, again = ready(epochs=2, head_units=9), Checkpoints(tmp_path / "state", every=60.0)
    with pytest.raises(RunError, match="is of another network than this command builds"):
        train_phases(other, seed=1, checkpoints=again)


def test_a_changed_bit_is_noticed(ready, tmp_path):
    path = tmp_path / "state"
    saved(ready, path, epochs=1)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.choice(len(content), 50, replace=False):
        content[at] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        with pytest.raises(files.DamagedError, match=f"{path}.* damaged"):
            Checkpoints(path, every=60.0)
        content[at] = path.read_bytes()[at]
        content = bytearray(content)
    assert len(content) > 1000


@pytest.mark.slow
def test_epochs_of_a_phase_that_ended_can_not_change(ready, tmp_path):
    changes = {**trainings.TUNED, "epochs": 2, "fine_tune_epochs": 1}
    state = saved(ready, tmp_path / "state", **changes)
    config = dataclasses.replace(trainings.QUICK, **changes)
    require_phases(state, config.phases)
    require_phases(state, dataclasses.replace(config, fine_tune_epochs=3).phases)
    with pytest.raises(ConfigError, match=r"--epochs=3 comes too late.*begun at epoch 3\. Give --"):
        require_phases(state, dataclasses.replace(config, epochs=3).phases)


@pytest.mark.slow
def test_a_phase_whose_rate_falls_to_0_can_not_be_longer_once_it_has_begun(ready, tmp_path):
    changes = {**trainings.TUNED, "epochs": 1, "fine_tune_schedule": "cosine"}
    config = dataclasses.replace(trainings.QUICK, **changes)
    longer = dataclasses.replace(config, fine_tune_epochs=3).phases
    state = saved(ready, tmp_path / "state", **changes)
    require_phases(state, config.phases)
    message = r"--fine_tune_epochs=3 comes too late: .* over the 1 epoch that .*_epochs=1, "
    with pytest.raises(ConfigError, match=message):
        require_phases(state, longer)
    state.values["phase"] = 0  # as it is while the head is trained
    require_phases(state, longer)


def test_tensorboard_files_are_cut_where_the_state_is(ready, tmp_path):
    events, path = tmp_path / "tensorboard", tmp_path / "state"

    def writer():
        return tf.summary.create_file_writer(str(events), filename_suffix=checkpoint.EVENTS)

    first, own = writer(), events / "events.out.tfevents.of.the.user"
    with first.as_default(step=1):
        tf.summary.scalar("a", 1.0)
    first.flush()
    own.write_text("of the user")
    checkpoints = Checkpoints(path, every=60.0, events=events)
    train_phases(ready(epochs=1), seed=1, checkpoints=checkpoints)
    ours = {each: each.read_bytes() for each in events.glob(f"*{checkpoint.EVENTS}")}
    with first.as_default(step=2):
        tf.summary.scalar("a", 2.0)
    first.close()
    with writer().as_default(step=2):
        tf.summary.scalar("a", 3.0)
    assert len(list(events.iterdir())) == 3
    Checkpoints(path, every=60.0, events=events).rewind()
    assert {each: each.read_bytes() for each in ours} == ours
    assert sorted(events.iterdir()) == sorted([*ours, own])
    for each, data in ours.items():
        each.write_bytes(data[:-9])  # as a power cut may leave it
    Checkpoints(path, every=60.0, events=events).rewind()
    assert {each: each.read_bytes() for each in ours} == {e: data[:-9] for e, data in ours.items()}
    path.unlink()
    Checkpoints(path, every=60.0, events=events).rewind()
    assert list(events.iterdir()) == [own]


def test_configs_have_a_usable_interval():
    assert Config().checkpoint_every == 60.0
