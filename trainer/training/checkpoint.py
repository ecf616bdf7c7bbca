"""Where a training is: the best epoch so far, and the state that is saved and gone on from.

What follows from (seed, epoch, step) is not saved: the order of images and their views. All else
that a step depends on is: weights, the states of dropout's generators, the optimizer, the running
means of the epoch, and what callbacks know.
"""

import dataclasses
import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from trainer.config import Phase
from trainer.run import files, machine, saved_state
from trainer.run.errors import ConfigError, RunError
from trainer.run.manifest import EVENTS
from trainer.run.text import counted
from trainer.training import callback_state
from trainer.training.steps import Steps
from trainer.training.training import Training

_LONGEST_SHARE = 0.01  # of the time that goes into saving
_NOT_SAVED = (
    "The training goes on, and tries again; the state that was saved before stays. Free some room."
)
_NOT_KEPT = "Its weights are lost."
_RETRY = 10.0  # seconds after a state could not be saved, at the least


@dataclasses.dataclass(frozen=True)
class Best:
    """The epoch that is kept: of the highest balanced accuracy and, among equals, the lowest loss.

    Attributes:
        epoch: Its number, from 0.
        logs: Its numbers.
        weights: Of all layers that the training ever changes.
    """

    epoch: int
    logs: dict[str, Any]
    weights: list[np.ndarray]

    @property
    def rank(self) -> tuple[float, float]:
        """What epochs are compared by."""
        return _rank(self.logs)

    def restore(self, training: Training) -> None:
        """Puts the weights back into the network that is trained."""
        training.trained_part.set_weights(self.weights)


def better(best: Best | None, training: Training, epoch: int, logs: dict[str, Any]) -> Best:
    """The better one of the best epoch so far and the one that has just ended.

    Args:
        best: The best so far, if any.
        training: Whose network has the weights of the epoch.
        epoch: Its number, from 0.
        logs: Its numbers, `val_loss` and `val_balanced_accuracy` among them.
    """
    if best is not None and _rank(logs) <= best.rank:
        return best
    return Best(epoch, dict(logs), training.trained_part.get_weights())


def _rank(logs: dict[str, Any]) -> tuple[float, float]:
    return logs["val_balanced_accuracy"], -logs["val_loss"]


@dataclasses.dataclass
class TrainState:
    """Where a training is.

    Attributes:
        phase: Index of the phase under way.
        epoch: Number of the epoch under way, from 0 over all phases.
        step: Steps of it that are done.
        stopped: Whether a callback has ended the phase.
        begun: `checksums` of what the phase trains, at its beginning.
        best: The epoch whose weights are kept; None before the first was scored.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    stopped: bool = False
    begun: list[int] = dataclasses.field(default_factory=list)
    best: Best | None = None


def checksums(variables: Sequence[keras.Variable]) -> list[int]:
    """A crc32 of each variable's value."""
    values = (np.ascontiguousarray(keras.ops.convert_to_numpy(each)) for each in variables)
    return [zlib.crc32(value) for value in values]


class _Moment(NamedTuple):
    """All that a saved state holds of one moment of a training."""

    state: TrainState
    network: list[np.ndarray]  # of all layers that the training ever changes
    steps: list[np.ndarray]  # `Steps.variables`
    callbacks: tuple[list, dict[str, np.ndarray]]  # of `callback_state`
    stops: bool  # whether a callback has asked for the end of the phase
    events: dict[str, int]  # bytes of TensorBoard's files


class Checkpoints:
    """Saves the state of a training in one file, and restores it.

    Attributes:
        saved: What the file held at the beginning; None where there was none, and when it has been
            restored.
    """

    def __init__(
        self,
        path: Path,
        *,
        every: float,
        events: Path | None = None,
        at_ends: bool = True,
    ) -> None:
        """Reads what an earlier process saved.

        Args:
            path: Of the file; its folder exists.
            every: Seconds between two saved states, more where saving would take over a hundredth
                of the time; 0 saves whenever it can be done.
            events: Folder of the run's TensorBoard files, which `rewind` brings back to the state.
            at_ends: Whether to save at the end of each phase, too; else only at those of a training
                that has been saved before.

        Raises:
            files.DamagedError: The file is not what was written.
        """
        self.saved = saved_state.read(path)
        self._path, self._every, self._events, self._at_ends = path, every, events, at_ends
        self._next = time.monotonic() + every
        self._failed = False  # whether the last state could not be saved
        self._settings: callback_state.Settings = []
        self._begin: _Moment | None = None  # where no state was saved before
        self._kept: Best | None = None  # of epochs after the saved state, which then diverged

    def note_settings(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Notes what callbacks are given, which no state holds; call it before their training.

        Args:
            callbacks: Of the training.
        """
        self._settings = callback_state.settings_of(callbacks)

    def rewind(self) -> None:
        """Cuts the run's TensorBoard files where the saved state is, so that no point is double."""
        sizes = self.saved.values["events"] if self.saved else {}
        for path in _events(self._events):
            if path.name not in sizes:
                path.unlink()
            elif path.stat().st_size > sizes[path.name]:
                os.truncate(path, sizes[path.name])

    def restored(self, training: Training) -> TrainState:
        """The state that was saved, or that of the beginning; weights are not restored by it."""
        if self.saved is None:
            return TrainState()
        values, best = self.saved.values, None
        if values["best"] is not None:
            count = len(training.trained_part.get_weights())
            weights = [self.saved.arrays[f"best/{i}"] for i in range(count)]
            best = Best(values["best"]["epoch"], values["best"]["logs"], weights)
        return TrainState(
            values["phase"], values["epoch"], values["step"], values["stopped"],
            values["begun"], best,
        )  # fmt: skip

    def restore(
        self, training: Training, steps: Steps, callbacks: Sequence[keras.callbacks.Callback]
    ) -> None:
        """Restores all that a step of the saved phase depends on.

        Args:
            training: Its network is changed.
            steps: Of the phase.
            callbacks: As they were when the state was saved.

        Raises:
            RunError: The state is of another network.
        """
        assert self.saved is not None  # else nothing is restored
        values, arrays, self._at_ends = self.saved.values, self.saved.arrays, True
        for name, variables in _variables(training, steps).items():
            stored = [array for key, array in arrays.items() if key.startswith(f"{name}/")]
            if [each.shape for each in stored] != [tuple(each.shape) for each in variables]:
                raise RunError(
                    f"The state in {self._path} is of another network than this command builds. "
                    "Was it saved by another release? Give another folder, or --overwrite."
                )
            for variable, array in zip(variables, stored, strict=True):
                variable.assign(array)
        callback_state.restore(callbacks, values["callbacks"], arrays, self._settings)
        # A callback asked within the epoch under way for the end of the phase behind it.
        training.networks.trained.stop_training = values.get("stops", values["stopped"])
        if kept := values.get(saved_state.KEPT):
            weights = self.saved.best_weights(len(training.trained_part.get_weights()))
            self._kept = Best(kept["epoch"], kept["logs"], weights)
        self.saved = None  # which may be as large as the network

    @property
    def due(self) -> bool:
        """Whether the last state is old enough."""
        return time.monotonic() >= self._next

    def save(
        self,
        training: Training,
        state: TrainState,
        steps: Steps,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        ended: bool = False,
    ) -> None:
        """Saves a state, unless a weight of the network or the loss is not finite any more.

        Args:
            training: Whose networks are trained.
            state: Where it is.
            steps: Of the phase under way.
            callbacks: Of the training.
            ended: Whether no step is left.
        """
        begin = time.monotonic()
        network, of_steps = (
            [np.asarray(each) for each in of] for of in _variables(training, steps).values()
        )
        if not all(np.isfinite(array).all() for array in (*network, of_steps[-1])):
            return  # the next look at the loss, or the validation, ends the training
        known = callback_state.of(callbacks, self._settings)
        stops = bool(training.networks.trained.stop_training)
        now = _Moment(state, network, of_steps, known, stops, self._sizes(flush=True))
        self._write(training, now, ended=ended)
        took = 0 if not self._every else (time.monotonic() - begin) / _LONGEST_SHARE
        self._next = time.monotonic() + max(self._every, took)

    def remember_begin(
        self,
        training: Training,
        state: TrainState,
        steps: Steps,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Remembers the beginning, which `keep_best` saves where no state was saved before.

        Args:
            training: Of which nothing is trained yet.
            state: That of the beginning.
            steps: Of the first phase.
            callbacks: Of the training.
        """
        network = [np.asarray(each).copy() for each in training.trained_part.variables]
        known = callback_state.of(callbacks, self._settings)
        self._begin = _Moment(
            dataclasses.replace(state), network, steps.begin, known, False, self._sizes()
        )

    def keep_best(self, training: Training, best: Best) -> None:
        """Saves the best epoch of a training that diverged, beside the last state that was saved.

        That state stays as it was, with the best epoch until then: what goes on from it comes to
        the same later ones, and diverges again. Where the machine does not let it be saved, a line
        says so.

        Args:
            training: What diverged.
            best: Its best epoch.
        """
        if self._kept is None or best.rank > self._kept.rank:
            self._kept = best
        try:
            self._keep_best(training, self._kept)
        except (OSError, MemoryError, files.DamagedError) as error:
            machine.print_failed("The best epoch of the training", error, _NOT_KEPT)

    def _keep_best(self, training: Training, best: Best) -> None:
        if self._begin:
            self._write(training, self._begin)
        elif last := saved_state.read(self._path):
            values, arrays = saved_state.kept(best.epoch, best.logs, best.weights)
            saved_state.write(self._path, last.values | values, last.arrays | arrays)

    def _write(self, training: Training, moment: _Moment, *, ended: bool = False) -> None:
        state, (states, arrays) = moment.state, moment.callbacks
        best = state.best.weights if state.best else []
        for name, part in (("network", moment.network), ("steps", moment.steps), ("best", best)):
            arrays |= saved_state.named(name, part)
        values = {
            **{name: getattr(state, name) for name in ("phase", "epoch", "step", "stopped")},
            "begun": state.begun,
            "best": state.best and {"epoch": state.best.epoch, "logs": state.best.logs},
            "callbacks": states,
            "stops": moment.stops,
            "events": moment.events,
            "phases": [_of_phase(plan.phase) for plan in training.plan.phases],
            "steps": training.steps_per_epoch,
            "below": training.lowest_trained,
            "ended": ended,
        }
        if ended or (self._kept and state.best and state.best.rank >= self._kept.rank):
            self._kept = None
        if kept := self._kept:
            of_kept, weights = saved_state.kept(kept.epoch, kept.logs, kept.weights)
            values, arrays = values | of_kept, arrays | weights
        saved_state.write(self._path, values, arrays)
        self._begin = None

    def save_if(self, *args: Any, end_of_phase: bool = False, **kwargs: Any) -> None:
        """Saves a state if that is due, or a phase has ended; arguments as for `save`.

        Where the machine does not let it, a line says so, the state before stays, and the training
        goes on.
        """
        if not (self.due or (end_of_phase and self._at_ends)):
            return
        self._at_ends = True
        try:
            self.save(*args, **kwargs)
            self._failed = False
        except (OSError, MemoryError) as error:
            if not self._failed:
                machine.print_failed("The state of the training", error, _NOT_SAVED)
            self._failed = True
            self._next = time.monotonic() + max(self._every, _RETRY)

    def _sizes(self, *, flush: bool = False) -> dict[str, int]:
        """Bytes of each TensorBoard file of the run; they are on the disk then, if `flush`."""
        for path in _events(self._events) if flush else ():
            files.flush(path)
        return {path.name: path.stat().st_size for path in _events(self._events)}


def _events(folder: Path | None) -> list[Path]:
    return sorted(folder.glob(f"*{EVENTS}")) if folder else []


def _variables(training: Training, steps: Steps) -> dict[str, list]:
    """All that changes from step to step; seeds of dropout are variables of the network."""
    return {"network": training.trained_part.variables, "steps": steps.variables}


def _of_phase(phase: Phase) -> dict[str, Any]:
    return {"name": phase.name, "start": phase.epochs.start, "stop": phase.epochs.stop}


def require_phases(saved: saved_state.SavedState, phases: Sequence[Phase]) -> None:
    """Refuses phases that a saved training can't go on with.

    Args:
        saved: The state.
        phases: Of the config that it is to go on with.

    Raises:
        ConfigError: A phase that has ended would have other epochs, or one that has begun and whose
            learning rate falls to 0 at its end.
    """
    begun = saved.values["phase"]
    for before, phase in zip(saved.values["phases"][:begun], phases, strict=False):
        if before != _of_phase(phase):
            raise ConfigError(
                f"--epochs={len(phase.epochs)} comes too late: the phase after {phase.name} has "
                f"begun at epoch {before['stop'] + 1}. Give --epochs={before['stop']}, another "
                "--run_dir, or --overwrite."
            )
    before, phase = saved.values["phases"][begun], phases[begun]
    if phase.warmup is not None and before != _of_phase(phase):
        planned = before["stop"] - before["start"]
        raise ConfigError(
            f"--fine_tune_epochs={len(phase.epochs)} comes too late: the learning rate falls to 0 "
            f"over the {counted(planned, 'epoch')} that fine-tuning began with. Give "
            f"--fine_tune_epochs={planned}, another --run_dir, or --overwrite."
        )
