"""A training that ended at any step goes on bit for bit."""

import csv
import signal

import keras
import numpy as np
import pytest
from tensorflow.python.framework import config as tf_config

from tests.helpers import trainings
from trainer.run import command, saved_state
from trainer.training.callbacks import EarlyStopping, History
from trainer.training.checkpoint import Checkpoints
from trainer.training.loop import train_phases
from trainer.training.validation import Validation

STEPS = 5  # of an epoch: 68 images by 16
CHANGES = {**trainings.TUNED, "epochs": 3, "fine_tune_epochs": 2, "dropout": 0.5,
           "augmentation": "radiograph", "views": 2, "deterministic": True}  # fmt: skip


class Killed(Exception):
    """In place of SIGKILL: nothing is saved when it is raised."""


class Kill(keras.callbacks.Callback):
    """Ends a training behind so many steps of this process."""

    def __init__(self, steps, how):
        super().__init__()
        # Neither is what a saved state would bring back.
        self._left, self._how = iter(range(steps)), how

    def on_train_batch_end(self, batch, logs=None):
        if next(self._left, None) is None:
            self._how()


def killed():
    raise Killed


@pytest.fixture(autouse=True)
def deterministic():
    yield
    tf_config.disable_op_determinism()


@pytest.fixture
def ready(ready, monkeypatch):
    """Trainings of the tiny network, whose state can be saved after every step."""

    def one(**changes):
        training = ready(**{**CHANGES, **changes})
        monkeypatch.setattr(training, "steps_per_call", lambda plan: 1)
        return training

    return one


def trained(training, folder, *extra, every=0.0):
    """Runs the loop as a run does; what is left of it: weights, table, best epoch."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=1)
    history = History(folder / "history.csv", training.plan, timed=False)
    early = EarlyStopping(training.plan, 2)
    state = train_phases(
        training, [early, plateau, *extra, history], seed=1, evaluate=Validation(training),
        checkpoints=Checkpoints(folder / saved_state.FILE, every=every),
    )  # fmt: skip
    weights = [each.tobytes() for each in training.networks.trained.get_weights()]
    optimizer = [each.numpy().tobytes() for each in training.networks.trained.optimizer.variables]
    return weights, optimizer, (folder / "history.csv").read_bytes(), state.best.epoch


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """The training without an end in between."""
    with trainings.training(trainings.quick(data_dir, **CHANGES)) as training:
        result = trained(training, tmp_path_factory.mktemp("whole"), every=3600.0)
    tf_config.disable_op_determinism()
    return result


# Within and at the ends of epochs and phases.
@pytest.mark.parametrize(
    "steps", [pytest.param(n, marks=[] if n == 7 else pytest.mark.slow) for n in range(1, 25)]
)
def test_a_training_killed_at_any_step_goes_on_bit_for_bit(steps, ready, whole, tmp_path):
    with pytest.raises(Killed):
        trained(ready(), tmp_path, Kill(steps, killed))
    done = saved_state.read(tmp_path / saved_state.FILE).values
    assert done["epoch"] * STEPS + done["step"] == steps
    assert trained(ready(), tmp_path) == whole


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(ready, whole, tmp_path):
    ends = 0
    for _ in range(10):
        try:
            result = trained(ready(), tmp_path, Kill(4, killed))
            break
        except Killed:
            ends += 1
    assert ends > 3
    assert result == whole


@pytest.mark.slow
def test_a_state_that_is_older_than_the_kill_ends_the_same(ready, whole, tmp_path):
    """What was done since then is done again."""
    with pytest.raises(Killed):
        trained(ready(), tmp_path, Kill(17, killed), every=3600.0)
    assert saved_state.read(tmp_path / saved_state.FILE).text() == "epoch 4 of 5"  # the head's end
    assert trained(ready(), tmp_path) == whole


@pytest.mark.slow
def test_a_training_that_has_ended_does_no_step(ready, whole, tmp_path):
    trained(ready(), tmp_path)
    assert trained(ready(), tmp_path, Kill(0, killed)) == whole


class Ends(keras.callbacks.Callback):
    """Asks for the end of the phase behind a step of this process, as a limit of time would."""

    def __init__(self, step):
        super().__init__()
        self._left = iter(range(step))

    def on_train_batch_end(self, batch, logs=None):
        if next(self._left, None) is None:
            self._left = iter(range(10**9))
            self.model.stop_training = True


@pytest.mark.slow
def test_an_end_that_was_asked_for_within_an_epoch_is_not_forgotten(ready, tmp_path):
    with pytest.raises(Killed):  # in the second epoch of five steps
        trained(ready(), tmp_path, Ends(6), Kill(8, killed))
    *_, table, _ = trained(ready(), tmp_path, Ends(10**6), Kill(10**6, killed))
    phases = [row["phase"] for row in csv.DictReader(table.decode().splitlines())]
    assert phases == ["head"] * 2 + ["fine_tune"] * 2


@pytest.mark.slow
def test_more_epochs_train_as_if_they_had_been_given_at_first(ready, tmp_path):
    changes = {"fine_tune_from": "none", "fine_tune_epochs": 5, "fine_tune_learning_rate": 1e-5}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    trained(ready(**changes, epochs=2), tmp_path / "a", every=3600.0)
    longer = trained(ready(**changes, epochs=4), tmp_path / "a", every=3600.0)
    assert longer == trained(ready(**changes, epochs=4), tmp_path / "b", every=3600.0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_effect_when_the_state_is_saved(number, ready, whole, tmp_path, capsys):
    def interrupt():
        signal.raise_signal(number)

    with (
        pytest.raises(SystemExit) as ended,
        command.stopped(lambda: saved_state.where_it_goes_on(tmp_path)),
    ):
        trained(ready(), tmp_path, Kill(8, interrupt), every=3600.0)
    assert ended.value.code == 128 + number
    words = " ".join(capsys.readouterr().err.split())
    again = f"the same command with --run_dir={tmp_path} goes on there."
    assert f"is at epoch 2 of 5, step 4 of 5: {again}" in words
    assert trained(ready(), tmp_path) == whole


def test_an_interrupted_validation_is_done_again_without_a_step(
    ready, whole, tmp_path, monkeypatch
):
    training, calls = ready(), []
    probabilities = training.probabilities

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
            command.raise_if_interrupted()
        return probabilities(*args, **kwargs)

    monkeypatch.setattr(training, "probabilities", interrupted)
    with pytest.raises(SystemExit), command.stopped(""):
        trained(training, tmp_path, every=3600.0)
    assert saved_state.read(tmp_path / saved_state.FILE).text() == "epoch 2 of 5, step 5 of 5"
    assert trained(ready(), tmp_path, every=3600.0) == whole


def test_the_best_weights_of_a_state_are_those_of_its_best_epoch(ready, tmp_path):
    training = ready()
    with pytest.raises(Killed):
        trained(training, tmp_path, Kill(14, killed))
    saved = saved_state.read(tmp_path / saved_state.FILE)
    best = Checkpoints(tmp_path / saved_state.FILE, every=60.0).restored(ready()).best
    assert saved.best_epoch == best.epoch + 1
    at = [name for name in saved.arrays if name.startswith("best/")]
    assert all(np.array_equal(saved.arrays[n], w) for n, w in zip(at, best.weights, strict=True))
