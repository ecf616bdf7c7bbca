"""Members that train side by side train as each would alone; the rest is as for one network."""

import dataclasses

import keras
import numpy as np
import pytest
from tensorflow.python.framework import config as tf_config

from tests.helpers import trainings
from trainer.evaluation import metrics
from trainer.model import networks
from trainer.model.head import member_seed, reset_head, suffix
from trainer.run import saved_state
from trainer.training.checkpoint import Checkpoints
from trainer.training.loop import train_phases
from trainer.training.validation import Validation

pytestmark = pytest.mark.slow

MEMBERS = 2
BLOCKS_4_AND_5 = {**trainings.TUNED, "fine_tune_from": "block4"}
COSINE = {"fine_tune_schedule": "cosine", "fine_tune_warmup": 3,
          "fine_tune_head_learning_rate": 5e-3}  # fmt: skip


def trained(training, seed: int = 1) -> tuple[dict[str, np.ndarray], list[dict]]:
    """The weights of the network by path, and each epoch's logs, of a training of one order."""
    logs = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, numbers: logs.append(numbers))
    train_phases(training, [watch], seed=seed)
    weights = training.networks.trained.weights
    return {weight.path: weight.numpy().copy() for weight in weights}, logs


WAYS = {
    "heads": {"l2": 1e-2},
    "heads by sgd with decay": {"optimizer": "sgd", "weight_decay": 0.1, "learning_rate": 1e-2},
    "blocks, too": {**BLOCKS_4_AND_5, **COSINE},
    "blocks from squares": {**trainings.TUNED, "augmentation": "radiograph", "views": 0},
}


@pytest.mark.parametrize("name", WAYS)
def test_each_member_trains_as_it_would_alone(name, ready):
    """In float32 to the last bits: sums over a batch have the same terms."""
    changes = {"epochs": 2, "dropout": 0.3, "class_weights": "balanced", **WAYS[name]}
    together, logs = trained(ready(ensemble=MEMBERS, **changes))
    losses = []
    for member in range(MEMBERS):
        training = ready(ensemble=1, **changes)
        reset_head(training.networks.trained, member_seed(training.config.seed, member))
        before = {w.path: w.numpy().copy() for w in training.networks.trained.weights}
        alone, own = trained(training)
        losses.append([each["loss"] for each in own])
        for path, weight in alone.items():
            layer, _, rest = path.partition("/")
            of_member = together.get(f"{layer}{suffix(member)}/{rest}", together[path])
            np.testing.assert_allclose(of_member, weight, atol=1e-6, rtol=0)
            moved = layer in ("head", "last") or layer[:6] in _tuned(changes)
            assert np.array_equal(weight, before[path]) != moved
    np.testing.assert_allclose([each["loss"] for each in logs], np.mean(losses, axis=0), rtol=1e-5)
    assert np.ptp(losses, axis=0).min() > 1e-4


def _tuned(changes) -> tuple[str, ...]:
    first = changes.get("fine_tune_from", "none")
    return tuple(block for block in ("block4", "block5") if first != "none" and block >= first)


def test_the_accuracy_is_that_of_the_mean_probabilities(ready):
    """At a rate that moves hardly anything it is that of the network as it was."""
    training = ready(ensemble=5, epochs=1, learning_rate=1e-7)
    shares = training.probabilities(training.plan.phases[0], "train")
    wanted = metrics.loss_and_accuracy(training.labels, shares)
    _, logs = trained(training)
    assert logs[0]["accuracy"] == pytest.approx(wanted["accuracy"])
    assert logs[0]["loss"] > wanted["loss"]  # that of a mean is below the mean of the losses


def test_rows_of_what_is_frozen_are_those_of_one_network(ready):
    changes = {"augmentation": "radiograph", "views": 2}
    ready(**changes)
    shared = ready(ensemble=3, **changes)
    assert all(fill.missing == 0 for fill in shared.plan.fills)
    assert shared.plan.missing_bytes == 0


def test_heads_over_shared_rows_train_as_the_whole_ensemble_does(ready):
    """So that a trial of a search is the run of its values."""
    whole, one = ready(ensemble=MEMBERS, dropout=0.3), ready(dropout=0.3)
    under = one.under(dataclasses.replace(one.config, ensemble=MEMBERS))
    assert isinstance(under.networks, networks.Networks)
    ends = [trained(training)[0] for training in (whole, under)]
    assert len(ends[1]) == 4 * MEMBERS
    for path, weight in ends[1].items():
        np.testing.assert_allclose(ends[0][path], weight, atol=1e-6, rtol=0)


def test_the_best_epoch_is_chosen_by_the_mean_probabilities_of_validation(ready):
    training = ready(ensemble=MEMBERS, epochs=3)
    best = train_phases(training, seed=1, evaluate=Validation(training)).best
    shares = training.probabilities(training.plan.phases[0], "validation")
    wanted = metrics.loss_and_accuracy(training.images["validation"].labels, shares)
    assert best.logs["val_loss"] == pytest.approx(wanted["loss"], abs=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


class _Killed(Exception):
    """In place of SIGKILL: nothing is saved when it is raised."""


class _Kill(keras.callbacks.Callback):
    """Ends a training behind so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = iter(range(steps))

    def on_train_batch_end(self, batch, logs=None):
        if next(self._left, None) is None:
            raise _Killed


# In fine-tuning and in the head's phase, of 5 steps an epoch.
@pytest.mark.parametrize(
    ("steps", "changes"), [(13, {"ensemble": MEMBERS}), (7, {"ensemble": MEMBERS}), (13, {})]
)
def test_a_scheduled_ensemble_goes_on_bit_for_bit(steps, changes, ready, tmp_path, monkeypatch):
    config = {**BLOCKS_4_AND_5, **COSINE, "fine_tune_epochs": 2, "dropout": 0.5,
              "deterministic": True, **changes}  # fmt: skip

    def run(folder, *callbacks):
        training = ready(**config)
        monkeypatch.setattr(training, "steps_per_call", lambda plan: 1)
        (folder / saved_state.FILE).parent.mkdir(parents=True, exist_ok=True)
        saves = Checkpoints(folder / saved_state.FILE, every=0.0)
        evaluate = Validation(training)
        train_phases(training, callbacks, seed=1, evaluate=evaluate, checkpoints=saves)
        variables = training.trained_part.variables
        optimizer = training.networks.trained.optimizer.variables
        return [np.asarray(each).tobytes() for each in (*variables, *optimizer)]

    try:
        with pytest.raises(_Killed):
            run(tmp_path / "a", _Kill(steps))
        done = saved_state.read(tmp_path / "a" / saved_state.FILE).values
        assert (done["epoch"], done["step"]) == divmod(steps, 5)
        assert run(tmp_path / "a") == run(tmp_path / "b")
    finally:
        tf_config.disable_op_determinism()
