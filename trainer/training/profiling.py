"""A trace of some steps of a training, for TensorBoard's profiler (the extra `profile`)."""

import dataclasses
import pathlib
import tempfile
from typing import Any

import keras
import tensorflow as tf

from trainer.run import files, machine
from trainer.run.manifest import TRACE
from trainer.run.progress import fitted

_PROFILE = "The profile"
_WITHOUT = "The run goes on without it."


@dataclasses.dataclass
class _Place:
    """Where the process is. No plain numbers, which a saved state would bring back."""

    done: int = 0  # steps
    first: int = 0  # of those that are run now, in its epoch
    state: str = "before"  # "before", "tracing" or "over"


class Profile(keras.callbacks.Callback):
    """Traces steps of this process, from its first one: host and device, in whole calls of steps.

    See `Training.steps_per_call`. Nothing of the training changes by it.
    """

    def __init__(self, steps: range, folder: pathlib.Path) -> None:
        """Traces nothing yet.

        Args:
            steps: Their numbers, from 1, of a process that may go on with an earlier training.
            folder: Of the run.
        """
        super().__init__()
        self._steps, self._folder, self._place = steps, folder, _Place()
        self._step: tf.profiler.experimental.Trace | None = None
        self._temporary: tempfile.TemporaryDirectory | None = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins before the first call that begins with one of the steps."""
        place, place.first = self._place, batch
        if place.state == "before" and place.done + 1 >= self._steps.start:
            self._next("tracing", self._start)
        if place.state == "tracing":
            self._step = tf.profiler.experimental.Trace("train", step_num=place.done + 1, _r=1)
            self._step.__enter__()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends behind the call that holds the last one."""
        place = self._place
        place.done += batch + 1 - place.first
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None
        if place.state == "tracing" and place.done + 1 >= self._steps.stop:
            self._next("over", self._write)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Ends what no step is left for."""
        if self._place.state == "tracing":
            self._next("over", self._write)
        elif self._place.state == "before":
            line = (
                f"No profile was written: the training ended after {self._place.done} steps. Give "
                "a lower START to --profile."
            )
            print(fitted(line), flush=True)

    def _next(self, state: str, function: Any) -> None:
        done = machine.attempted(_PROFILE, _WITHOUT, function)
        self._place.state = state if done else "over"

    def _start(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        tf.profiler.experimental.start(self._temporary.name)

    def _write(self) -> None:
        """TensorFlow names a trace by the time; the run's manifest knows but one name."""
        assert self._temporary is not None  # since `_start`
        with self._temporary as temporary:
            tf.profiler.experimental.stop()
            (trace,) = pathlib.Path(temporary).rglob("*.xplane.pb")
            path = self._folder / TRACE
            files.make_folder(path.parent)
            for earlier in path.parent.iterdir():  # the profiler reads what it made of another one
                earlier.unlink()
            with files.written_whole(path) as beside:
                beside.write_bytes(trace.read_bytes())
