"""What TensorBoard shows of a training while it goes on: numbers, and now and then pictures.

A point an epoch, and within epochs that last longer than a second at most one a second. Pictures
are of a new best epoch alone, and take at most a fiftieth of the time.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.evaluation.areas import placements
from trainer.run import machine
from trainer.training.callbacks import numbers
from trainer.training.training import Training
from trainer.training.validation import Validation

CURVES = "What TensorBoard shows"
WITHOUT_CURVES = "The run goes on without it; history.csv has the same numbers."
_PICTURES = "TensorBoard's pictures"
_WITHOUT_PICTURES = "The run goes on without them."
_BETWEEN_POINTS = 1.0  # seconds within an epoch, at the least
_BETWEEN_PICTURES = 30.0  # seconds, at the least
_LONGEST_SHARE = 0.02  # of the time that goes into pictures


@dataclasses.dataclass(frozen=True)
class _Reading:
    """Where the steps of an epoch are."""

    at: float  # of a clock, in seconds
    sums: np.ndarray  # `Steps.sums`
    waited: float  # seconds


class _Pace:
    """When pictures may be drawn again. No plain number, which a saved state would bring back."""

    def __init__(self) -> None:
        self._next = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    def drew(self, seconds: float) -> None:
        self._next = time.monotonic() + max(_BETWEEN_PICTURES, seconds / _LONGEST_SHARE)


class _Switch:
    """Whether the files can be written. No plain value, which a saved state would bring back."""

    on = True


class TensorBoard(keras.callbacks.Callback):
    """Every number of the logs, of steps where they are long, and pictures of best epochs.

    Attributes:
        pictured: The epoch, from 1, whose pictures were drawn last; 0 if none were.
    """

    def __init__(
        self,
        writer: tf.summary.SummaryWriter,
        training: Training,
        validation: Validation,
        pictures: Callable[[np.ndarray], None] = lambda probabilities: None,
    ) -> None:
        """Writes nothing yet.

        Args:
            writer: Where to.
            training: What is shown.
            validation: Has scored the epoch before.
            pictures: Writes those of an epoch to the default writer, at its default step, of the
                probabilities of the validation images.
        """
        super().__init__()
        self._writer, self._training, self._validation = writer, training, validation
        self._draw, self._pace, self.pictured = pictures, _Pace(), 0
        self._writes, self._epoch = _Switch(), 0
        self._last: _Reading | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins an epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins the first interval of an epoch, or of what is left of one."""
        if self._writes.on and self._last is None:
            self._last = self._reading()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a point of all steps since the last one, if that is a while ago."""
        last = self._last
        if self._writes.on and last and time.monotonic() - last.at >= _BETWEEN_POINTS:
            self._attempt(self._write_steps, last, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Writes the epoch, until that fails."""
        self._last = None
        if self._writes.on:
            self._attempt(self._write_epoch, epoch, logs)
        if self._writes.on and logs["best"] and self._pace.due:
            self._write_pictures(epoch)

    def _attempt(self, function: Callable[..., None], *args: Any) -> None:
        self._writes.on = machine.attempted(CURVES, WITHOUT_CURVES, function, *args)

    def _reading(self) -> _Reading:
        steps = self._training.begun_steps(self._training.plan.phase_of(self._epoch))
        return _Reading(time.monotonic(), steps.sums, steps.waited)

    def _write_steps(self, last: _Reading, batch: int) -> None:
        self._last = now = self._reading()
        seconds = now.at - last.at
        loss, right, images = (now.sums - last.sums).tolist()
        shown = {
            "loss": loss / images,
            "accuracy": right / images,
            "images_per_second": images / seconds,
            "input_wait": (now.waited - last.waited) / seconds,
            "learning_rate": self.model.optimizer.learning_rate,
        }
        with self._writer.as_default(self._epoch * self._training.steps_per_epoch + batch + 1):
            for name, value in shown.items():
                tf.summary.scalar(f"steps/{name}", float(value))
        self._writer.flush()  # a state that is saved next goes by the size of the file

    def _write_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        with self._writer.as_default(step=epoch + 1):
            write_logs(epoch + 1, {**logs, "learning_rate": self.model.optimizer.learning_rate})
            for tag, value in self._of_classes():
                tf.summary.scalar(tag, value)
        self._writer.flush()

    def _of_classes(self) -> Iterator[tuple[str, float]]:
        """ROC AUC and sensitivity of each class that some validation images have, and others."""
        images, probabilities = self._training.images["validation"], self._validation.probabilities
        called = probabilities.argmax(axis=1)
        for c, name in enumerate(images.class_names):
            own = images.labels == c
            if 0 < own.sum() < len(own):
                shares = probabilities[:, c]
                yield f"validation_auc/{name}", placements(shares[own], shares[~own]).mean()
                yield f"validation_sensitivity/{name}", (called[own] == c).mean()

    def _write_pictures(self, epoch: int) -> None:
        begin = time.monotonic()
        if machine.attempted(_PICTURES, _WITHOUT_PICTURES, self._draw_epoch, epoch):
            self.pictured = epoch + 1
        self._pace.drew(time.monotonic() - begin)

    def _draw_epoch(self, epoch: int) -> None:
        with self._writer.as_default(step=epoch + 1):
            self._draw(self._validation.probabilities)
        self._writer.flush()


def write_logs(epoch: int, logs: Mapping[str, Any]) -> None:
    """Writes every number of an epoch to the default writer of TensorBoard's summaries.

    Args:
        epoch: Its number, from 1.
        logs: By name; what begins with `val_` is shown under `validation/`, all else under
            `train/`, and what is no number nowhere.
    """
    for name, value in numbers(logs).items():
        group = "validation" if name.startswith("val_") else "train"
        tf.summary.scalar(f"{group}/{name.removeprefix('val_')}", float(value), step=epoch)
