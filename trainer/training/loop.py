"""The training loop: of runs, of every fold and of every trial."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from trainer.input_pipeline.plan import PhasePlan
from trainer.run import command
from trainer.run.errors import DivergedError, RunError
from trainer.training import checkpoint
from trainer.training.steps import Steps
from trainer.training.training import Training

Logs = dict[str, Any]


@dataclasses.dataclass
class TrainState:
    """Where a training is.

    Attributes:
        phase: Index of the phase under way.
        epoch: Number of the epoch under way, from 0 over all phases.
        step: Steps of it that are done.
        best: The epoch whose weights are kept; None before the first was scored.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    best: checkpoint.Best | None = None


def train_phases(
    training: Training,
    state: TrainState,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    seed: int,
    evaluate: Callable[[PhasePlan], Logs] | None = None,
    best_file: Path | None = None,
) -> TrainState:
    """Trains all phases, each from the best weights of the one before.

    Args:
        training: Networks, rows and plan; the networks are where the training begins.
        state: Where to begin.
        callbacks: Keras callbacks; their model is the run's, with the phase's optimizer. Each
            epoch's logs are `loss`, `accuracy`, `images_per_second`, `input_wait` (the share of the
            time that the device waited for input), what `evaluate` gives, with it `best`, and what
            earlier callbacks add. `model.stop_training` ends a phase.
        seed: Of the order of images.
        evaluate: Scores the networks as they are served after an epoch: `val_loss` and
            `val_balanced_accuracy` choose the best one. None: nothing is scored, and the last epoch
            counts.
        best_file: Where the best weights are written; None keeps them in memory alone.

    Returns:
        The state at the end; the networks have the best weights.

    Raises:
        DivergedError: The loss or a probability is not finite any more.
        RunError: A phase left weights as they were.
    """
    model = training.networks.trained
    calls = keras.callbacks.CallbackList(list(callbacks), model=model)
    calls.on_train_begin()
    for phase in range(state.phase, len(training.plan.phases)):
        state.phase, plan = phase, training.plan.phases[phase]
        _restore(training, state)
        steps = training.steps(plan)
        steps.reset(training.class_weights)
        model.optimizer, model.stop_training = steps.optimizer, False
        before = [keras.ops.convert_to_numpy(each) for each in model.trainable_variables]
        _train_phase(training, plan, steps, state, calls, seed, evaluate, best_file)
        _require_moved(model, before, plan.phase.name)
    calls.on_train_end()
    _restore(training, state)
    return state


def _train_phase(
    training: Training,
    plan: PhasePlan,
    steps: Steps,
    state: TrainState,
    calls: keras.callbacks.CallbackList,
    seed: int,
    evaluate: Callable[[PhasePlan], Logs] | None,
    best_file: Path | None,
) -> None:
    """The epochs of one phase, from where the state is."""
    model, last, most = (
        training.networks.trained,
        plan.phase.epochs.stop,
        training.steps_per_call(plan),
    )
    batches = iter(training.batches(plan, range(state.epoch, last), seed, state.step))
    while state.epoch < last and not model.stop_training:
        calls.on_epoch_begin(state.epoch)
        logs = _train_epoch(training, steps, most, state, calls, batches)
        _require_finite(logs["loss"], state.epoch, steps)
        if evaluate is not None:
            training.networks.serve()
            logs |= evaluate(plan)
            _require_finite(logs["val_loss"], state.epoch, steps)
            state.best = checkpoint.better(state.best, training, state.epoch, logs, best_file)
            logs["best"] = state.best.epoch == state.epoch
        calls.on_epoch_end(state.epoch, logs)
        state.epoch, state.step = state.epoch + 1, 0
    state.epoch = last


def _train_epoch(
    training: Training,
    steps: Steps,
    most: int,
    state: TrainState,
    calls: keras.callbacks.CallbackList,
    batches: Iterator,
) -> Logs:
    """The steps of one epoch that are left, at most so many a call, and its numbers."""
    steps.start_epoch()
    first, begin = state.step, time.perf_counter()
    while state.step < training.steps_per_epoch:
        count = min(most, training.steps_per_epoch - state.step)
        calls.on_train_batch_begin(state.step)
        steps.run(batches, count)
        state.step += count
        calls.on_train_batch_end(state.step - 1)
        command.raise_if_interrupted()
    means = steps.means()  # which waits for the last step
    seconds, images = time.perf_counter() - begin, len(training.train_at)
    done = images - first * training.config.batch_size
    return {**means, "images_per_second": done / seconds, "input_wait": steps.waited / seconds}


def _restore(training: Training, state: TrainState) -> None:
    if state.best is not None:
        state.best.restore(training)
    training.networks.serve()


def _require_finite(loss: float, epoch: int, steps: Steps) -> None:
    if not np.isfinite(loss):
        raise DivergedError(
            f"In epoch {epoch + 1} the network gives no finite probabilities any more. Lower the "
            f"learning rate ({float(steps.optimizer.learning_rate):g})."
        )


def _require_moved(model: keras.Model, before: list[np.ndarray], phase: str) -> None:
    """A phase that trains nothing is an error, not a success (it has been published as one)."""
    still = [
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(old, keras.ops.convert_to_numpy(variable))
    ]
    if still:
        raise RunError(
            f"The phase {phase} left {', '.join(still[:4])} as it was. Raise its learning rate, or "
            "lower it if the loss in history.csv is not finite."
        )
