"""The training loop: of runs, of every fold and of every trial."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from trainer.input_pipeline.plan import PhasePlan
from trainer.run import command
from trainer.run.errors import ConfigFailedError, DivergedError
from trainer.training import divergence
from trainer.training.checkpoint import Checkpoints, TrainState, better, checksums
from trainer.training.steps import Steps
from trainer.training.training import Training

Logs = dict[str, Any]


def train_phases(
    training: Training,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    seed: int,
    evaluate: Callable[[PhasePlan], Logs] | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainState:
    """Trains all phases, each from the best weights of the one before.

    An interrupt takes effect between two steps, when the state has been saved. A loss that is not
    finite ends the training at the next call of steps. What is saved then is the state before, and
    the best epoch; the networks have its weights.

    Args:
        training: Networks, rows and plan; the networks are where the training begins.
        callbacks: Keras callbacks; their model is the run's, with the phase's optimizer. Each
            epoch's logs are `loss`, `accuracy`, `images_per_second`, `input_wait` (the share of the
            time that the device waited for input), what `evaluate` gives, with it `best`, and what
            earlier callbacks add. `model.stop_training` ends a phase. Where a training goes on in
            the middle of an epoch, `on_epoch_begin` of that epoch is not called a second time.
        seed: Of the order of images.
        evaluate: Scores the networks as they are served after an epoch: `val_loss` and
            `val_balanced_accuracy` choose the best one. None: nothing is scored, and the last epoch
            counts.
        checkpoints: Saves the state; what it holds of an earlier process is gone on from.

    Returns:
        The state at the end; the networks have the best weights.

    Raises:
        DivergedError: The loss or a probability is not finite any more.
        ConfigFailedError: A phase left weights as they were.
        RunError: The saved state is of another network.
    """
    state, callbacks = TrainState(), list(callbacks)
    if checkpoints:
        checkpoints.note_settings(callbacks)
        state = checkpoints.restored(training)
    loop = _Loop(training, state, callbacks, seed, evaluate, checkpoints)
    with command.deferred():
        loop.run()
    return state


@dataclasses.dataclass
class _Loop:
    """What all parts of the loop use; arguments as for `train_phases`."""

    training: Training
    state: TrainState
    callbacks: list[keras.callbacks.Callback]
    seed: int
    evaluate: Callable[[PhasePlan], Logs] | None
    checkpoints: Checkpoints | None

    def __post_init__(self) -> None:
        self.model = self.training.networks.trained
        self.calls = keras.callbacks.CallbackList(self.callbacks, model=self.model)
        self.steps: Steps | None = None  # of the phase under way

    def run(self) -> None:
        """All phases that are left."""
        self.calls.on_train_begin()
        try:
            for phase in range(self.state.phase, len(self.training.plan.phases)):
                self._phase(phase)
        except command.Interrupted:
            self._save()
            raise
        except DivergedError:
            self._keep_best()
            raise
        self.calls.on_train_end()
        self._restore_best()

    def _phase(self, index: int) -> None:
        state, plan = self.state, self.training.plan.phases[index]
        self.steps = steps = self.training.steps(plan)
        count = len(plan.phase.epochs) * self.training.steps_per_epoch
        steps.reset(self.training.class_weights, count)
        self.model.optimizer = steps.optimizer
        self.model.stop_training = False
        if self.checkpoints and self.checkpoints.saved and index == state.phase:
            self.checkpoints.restore(self.training, steps, self.callbacks)
        else:
            self._restore_best()
            state.phase, state.epoch, state.stopped = index, plan.phase.epochs.start, False
            state.begun = checksums(self.model.trainable_variables)
            if self.checkpoints and self.evaluate and not index:
                self.checkpoints.remember_begin(self.training, state, steps, self.callbacks)
        self._epochs(plan, steps)
        _require_moved(self.model, state.begun, plan.phase.name)
        last = index == len(self.training.plan.phases) - 1
        self._save_if(end_of_phase=True, ended=last)

    def _epochs(self, plan: PhasePlan, steps: Steps) -> None:
        """The epochs of a phase that are left."""
        state, stop = self.state, plan.phase.epochs.stop
        left = range(state.epoch, stop)
        batches = iter(self.training.batches(plan, left, self.seed, state.step) if left else ())
        while state.epoch < stop and not state.stopped:
            if not state.step:
                steps.start_epoch()
                self.calls.on_epoch_begin(state.epoch)
            logs = self._epoch(plan, steps, batches)
            if self.evaluate is not None:
                self.training.networks.serve()
                logs |= self.evaluate(plan)
                if not np.isfinite(logs["val_loss"]):
                    raise divergence.of_validation(self.training, plan, state.epoch)
                state.best = better(state.best, self.training, state.epoch, logs)
                logs["best"] = state.best.epoch == state.epoch
            self.calls.on_epoch_end(state.epoch, logs)
            state.stopped = bool(self.model.stop_training)
            state.epoch, state.step = state.epoch + 1, 0
            self._save_if()

    def _epoch(self, plan: PhasePlan, steps: Steps, batches: Iterator) -> Logs:
        """The steps of one epoch that are left, some at a call, and its numbers."""
        training, state = self.training, self.state
        most, first, begin = training.steps_per_call(plan), state.step, time.perf_counter()
        while state.step < training.steps_per_epoch:
            count = min(most, training.steps_per_epoch - state.step)
            self.calls.on_train_batch_begin(state.step)
            steps.run(batches, training.config.batch_size)
            state.step += count
            self._require_finite(plan, steps, first, now=False)
            self.calls.on_train_batch_end(state.step - 1)
            training.on_progress()
            command.raise_if_interrupted()
            self._save_if()
        self._require_finite(plan, steps, first)
        means = steps.means()  # which waits for the last step
        seconds = time.perf_counter() - begin
        images = max(0, len(training.train_at) - first * training.config.batch_size)
        waited = steps.waited / seconds
        return {**means, "images_per_second": images / seconds, "input_wait": waited}

    def _restore_best(self) -> None:
        if self.state.best is not None:
            self.state.best.restore(self.training)
        self.training.networks.serve()

    def _save(self) -> None:
        if self.checkpoints and self.steps:
            self.checkpoints.save(self.training, self.state, self.steps, self.callbacks)

    def _save_if(self, **kwargs: bool) -> None:
        if self.checkpoints:
            self.checkpoints.save_if(
                self.training, self.state, self.steps, self.callbacks, **kwargs
            )

    def _keep_best(self) -> None:
        if self.state.best is not None:
            self._restore_best()
            if self.checkpoints:
                self.checkpoints.keep_best(self.training, self.state.best)

    def _require_finite(
        self, plan: PhasePlan, steps: Steps, first: int, *, now: bool = True
    ) -> None:
        """Ends a training that diverged.

        Args:
            plan: Of the phase under way.
            steps: Of it.
            first: Step of the epoch with which this process began it.
            now: See `Steps.not_finite`.
        """
        wrong = steps.not_finite(now=now)
        if wrong is not None:
            wrong = range(first + wrong.start, first + wrong.stop)
            raise divergence.of_steps(self.training, plan, self.state.epoch, wrong, self.seed)


def _require_moved(model: keras.Model, begun: list[int], phase: str) -> None:
    """A phase that trains nothing is an error, not a success (it has been published as one)."""
    variables = model.trainable_variables
    now = checksums(variables)
    still = [one.path for one, old, new in zip(variables, begun, now, strict=True) if old == new]
    if still:
        raise ConfigFailedError(
            f"The phase {phase} left {', '.join(still[:4])} as it was. Raise its learning rate, or "
            "lower it if its loss is huge."
        )
