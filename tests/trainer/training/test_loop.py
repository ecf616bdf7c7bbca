"""The loop: phases, the best epoch, errors, and users' Keras callbacks as under `fit`."""

import itertools
import types

import keras
import numpy as np
import pytest

from tests.helpers import trainings
from trainer.evaluation import metrics
from trainer.run.errors import ConfigFailedError, DivergedError
from trainer.training import loop
from trainer.training.loop import train_phases


def scripted(*scores: tuple[float, float]):
    """An evaluation that gives (loss, balanced accuracy) of a list, epoch by epoch."""
    left = iter(scores)

    def evaluate(plan):
        loss, accuracy = next(left)
        return {"val_loss": loss, "val_balanced_accuracy": accuracy}

    return evaluate


def losses(*values: float):
    """An evaluation whose accuracy says nothing."""
    return scripted(*((value, 0.5) for value in values))


class Weights(keras.callbacks.Callback):
    """Keeps the weights of each epoch's end, and the logs."""

    def __init__(self):
        super().__init__()
        self.epochs, self.logs = [], []

    def on_epoch_end(self, epoch, logs):
        self.epochs.append(self.model.get_weights())
        self.logs.append(dict(logs))


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# Phases and the best epoch

SCORES = [(1.0, 0.5), (0.9, 0.7), (0.8, 0.7), (0.1, 0.6), (0.85, 0.7)]


def test_the_best_epoch_has_the_highest_balanced_accuracy_then_the_lowest_loss(ready):
    training, seen = ready(epochs=5), Weights()
    state = train_phases(training, [seen], seed=1, evaluate=scripted(*SCORES))
    assert state.best.epoch == 2
    assert [logs["best"] for logs in seen.logs] == [True, True, True, False, False]
    assert same(training.networks.trained.get_weights(), seen.epochs[2])
    assert not same(seen.epochs[2], seen.epochs[4])


def test_images_a_second_are_those_that_an_epoch_trained_on(ready, monkeypatch):
    """By a clock on which an epoch takes two seconds."""
    seconds = itertools.count(0, 2)
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(perf_counter=lambda: next(seconds)))
    training, seen = ready(epochs=2), Weights()
    train_phases(training, [seen], seed=1)
    images = len(training.train_at)
    assert [logs["images_per_second"] for logs in seen.logs] == [images / 2] * 2


def test_without_evaluation_the_last_epoch_counts(ready):
    training, seen = ready(epochs=3), Weights()
    state = train_phases(training, [seen], seed=1)
    assert state.best is None
    assert same(training.networks.trained.get_weights(), seen.epochs[-1])
    assert "best" not in seen.logs[0]


def test_a_phase_begins_from_the_best_weights_of_the_one_before(ready):
    training, seen = ready(epochs=3, **trainings.TUNED), Weights()
    begun = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: begun.append(training.networks.trained.get_weights())
    )
    evaluate = scripted((1, 0.5), (1, 0.9), (1, 0.6), (1, 0.7))
    state = train_phases(training, [watch, seen], seed=1, evaluate=evaluate)
    assert same(begun[3], seen.epochs[1])
    assert not same(begun[3], seen.epochs[2])
    assert state.best.epoch == 1


def test_each_phase_trains_its_own_layers_at_its_own_rate(ready):
    training, seen = ready(epochs=2, **trainings.TUNED), Weights()
    rates, begin = [], training.networks.trained.get_weights()
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda e, logs: rates.append(
            float(training.networks.trained.optimizer.learning_rate)
        )
    )
    train_phases(training, [watch, seen], seed=1)
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3])
    names = [weight.path for weight in training.networks.trained.weights]

    def moved(one, other):
        pairs = zip(names, one, other, strict=True)
        return {name.split("/")[0] for name, a, b in pairs if not np.array_equal(a, b)}

    assert moved(begin, seen.epochs[1]) == {"head", "last"}
    tuned = {"block5_conv1", "block5_conv2", "block5_conv3", "head", "last"}
    assert moved(seen.epochs[1], seen.epochs[2]) == tuned


@pytest.mark.slow
def test_the_head_is_fine_tuned_at_a_rate_of_its_own(ready):
    ends, head_rate = {}, "fine_tune_head_learning_rate"
    as_blocks = {**trainings.TUNED, head_rate: 1e-3}  # that of the blocks
    assert ready(**trainings.TUNED).config.phases == ready(**as_blocks).config.phases
    for rate in (0.0, 5e-3):
        training = ready(**{**trainings.TUNED, head_rate: rate}, epochs=1, batch_size=68)
        train_phases(training, seed=1)  # fine-tuning is one step
        ends[rate] = {w.path: w.numpy() for w in training.networks.trained.weights}
    changed = {path for path in ends[0.0] if not np.array_equal(ends[0.0][path], ends[5e-3][path])}
    assert changed == {"head/kernel", "head/bias", "last/kernel", "last/bias"}


def test_the_logs_are_the_means_of_the_epoch(ready):
    """At a rate that moves hardly anything they are those of the network as it was."""
    training, seen = ready(epochs=1, learning_rate=1e-9), Weights()
    plan = training.plan.phases[0]
    at, labels = np.arange(len(training.train_at)), training.labels
    shares = keras.ops.softmax(training.logits_of_view(0, "train", at)).numpy()
    wanted = metrics.loss_and_accuracy(labels, shares)
    train_phases(training, [seen], seed=1)
    assert training.steps_per_epoch * training.config.batch_size > len(labels)  # an uneven tail
    assert seen.logs[0]["loss"] == pytest.approx(wanted["loss"], abs=1e-5)
    assert seen.logs[0]["accuracy"] == pytest.approx(wanted["accuracy"])
    assert seen.logs[0]["images_per_second"] > 0
    assert 0 <= seen.logs[0]["input_wait"] < 1
    assert plan.phase.name == "head"


@pytest.mark.slow
@pytest.mark.bfloat16
def test_what_is_evaluated_is_the_served_network(ready):
    """In bfloat16 the two networks are two, and the served one has the epoch's weights."""
    training = ready(precision="mixed_bfloat16", epochs=2)
    nets, scored = training.networks, []

    def evaluate(plan):
        scored.append(same(nets.trained.get_weights(), nets.served.get_weights()))
        return {"val_loss": 1 - 0.1 * len(scored), "val_balanced_accuracy": 0.5}

    train_phases(training, seed=1, evaluate=evaluate)
    assert nets.trained is not nets.served
    assert scored == [True, True]
    assert same(nets.trained.get_weights(), nets.served.get_weights())


@pytest.mark.parametrize("phase", ["head", pytest.param("fine_tune", marks=pytest.mark.slow)])
def test_a_phase_that_moves_nothing_is_an_error(ready, phase):
    rates = {"head": "learning_rate", "fine_tune": "fine_tune_learning_rate"}
    training = ready(**{**trainings.TUNED, "epochs": 1, rates[phase]: 1e-30})
    with pytest.raises(ConfigFailedError, match=rf"The phase {phase} left .* as it was\. Raise"):
        train_phases(training, seed=1)


def test_a_validation_that_diverged_is_an_error(ready):
    with pytest.raises(DivergedError, match=r"After epoch 2 .* Lower --learning_rate=0\.001\."):
        train_phases(ready(epochs=3), seed=1, evaluate=losses(1.0, np.nan))


@pytest.mark.slow
def test_the_same_seed_trains_the_same_and_another_does_not(ready):
    ends = []
    for seed in (1, 1, 2):
        training = ready(epochs=2, dropout=0.3)
        train_phases(training, seed=seed)
        ends.append(training.networks.trained.get_weights())
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.mark.slow
def test_heads_over_frozen_layers_train_as_the_whole_network_does(data_dir):
    """So that a trial of a search is the run of its values."""
    from trainer.model import networks

    with trainings.training(trainings.quick(data_dir, dropout=0.3, epochs=3)) as whole:
        heads = networks.build_heads(whole.config, _precision(), whole.networks)
        for name in ("head", "last"):
            heads.trained.get_layer(name).set_weights(
                whole.networks.trained.get_layer(name).get_weights()
            )
        dropout = whole.networks.trained.get_layer("dropout").seed_generator.state
        heads.trained.get_layer("dropout").seed_generator.state.assign(dropout)
        ends = []
        for nets in (whole.networks, heads):
            trial = whole.on(whole.train_at)
            trial.networks, trial._steps = nets, {}
            train_phases(trial, seed=1)
            ends.append(trial.probabilities(trial.plan.phases[0], "validation"))
    np.testing.assert_allclose(*ends, atol=1e-6)
    assert ends[0].std(axis=0).max() > 1e-3


def _precision():
    from trainer.model.precision import Precision

    return Precision("float32", False, "")
