"""What happens around the epochs: exact validation, the best weights, progress, TensorBoard."""

import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm
from sklearn import metrics

from trainer.evaluation import plots
from trainer.run import command
from trainer.run.errors import DivergedError
from trainer.run.files import write_csv, written_whole
from trainer.training.meter import Meter

_MUCH_WAITING = 0.02  # share of the time
_EPSILON = 1e-7  # Keras' own clip of a probability under a logarithm


def predict(model: keras.Model, batches: Iterable[tf.Tensor]) -> np.ndarray:
    """Probabilities of every image, in order.

    Args:
        model: A model of `backbone.build_model`.
        batches: What it takes, in order.

    Returns:
        float32 [n, classes]; rows sum to 1, for 2 classes too.
    """
    # Model.predict sets up callbacks and an iterator of its own: more than a head's work.
    raw = np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in batches])
    raw = raw.astype(np.float32)
    return np.concatenate([1 - raw, raw], axis=1) if raw.shape[1] == 1 else raw


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Cross-entropy in nats (`loss`), `accuracy` and `balanced_accuracy` of predictions.

    Args:
        labels: int64 [n].
        probabilities: float32 [n, classes], finite.
    """
    called = probabilities.argmax(axis=1)
    of_truth = np.clip(probabilities[np.arange(len(called)), labels], _EPSILON, 1)
    return {
        "loss": float(-np.log(of_truth).mean()),
        "accuracy": float((called == labels).mean()),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, called)),
    }


class Validation(keras.callbacks.Callback):
    """Scores every validation image at each epoch's end, and keeps the weights of the best epoch.

    They are kept in memory and, where a path is given, in a file as well.

    Weights that the whole run leaves frozen are not among them.

    Best is the highest balanced accuracy and, among equals, the lowest loss. Comes first, since
    the others read what it puts into the logs. One object serves all phases of a run.

    Attributes:
        best_epoch: The epoch whose weights are kept, counted from 1; 0 before the first.
        confusion: int [classes, classes] of the last epoch, rows are the truth.
    """

    def __init__(
        self, kept: keras.Model, labels: np.ndarray, path: pathlib.Path | None = None
    ) -> None:
        """Takes all layers that the run trains, the validation labels, where the weights go."""
        super().__init__()
        self._kept, self._labels, self._path = kept, labels, path
        self._best = (-1.0, 0.0)
        self.best_epoch = 0
        self.confusion = np.zeros((0, 0), int)

    def look_at(self, scored: keras.Model, batches: Iterable[tf.Tensor]) -> None:
        """Sets what is scored: the model on images, or its trained part on activations."""
        self._scored, self._batches = scored, batches

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Adds `val_loss`, `val_accuracy` and `val_balanced_accuracy`; saves when they are best.

        Raises:
            DivergedError: The network gives no finite probabilities.
        """
        probabilities = predict(self._scored, self._batches)
        if not np.isfinite(probabilities).all():
            raise DivergedError(
                f"In epoch {epoch + 1} the network gives no finite probabilities any more. "
                f"Lower the learning rate ({float(self.model.optimizer.learning_rate):g})."
            )
        logs |= {f"val_{k}": v for k, v in scores(self._labels, probabilities).items()}
        called = probabilities.argmax(axis=1)
        self.confusion = metrics.confusion_matrix(
            self._labels, called, labels=range(probabilities.shape[1])
        )
        rank = (logs["val_balanced_accuracy"], -logs["val_loss"])
        if rank > self._best:
            self._best, self.best_epoch = rank, epoch + 1
            self._weights = self._kept.get_weights()
            if self._path:
                with written_whole(self._path) as beside:
                    self._kept.save_weights(beside)

    def restore_best(self) -> None:
        """Puts the kept weights back into the model."""
        self._kept.set_weights(self._weights)


class PublishedValidation(keras.callbacks.Callback):
    """Reads validation as the article did: through the augmentation, without the tail.

    Adds `published_val_accuracy` to the logs.
    """

    def __init__(self, labels: np.ndarray, batch_size: int) -> None:
        """Takes the validation labels, and the batch whose unfilled rest the article dropped."""
        super().__init__()
        self._labels = labels[: len(labels) // batch_size * batch_size]

    def look_at(self, scored: keras.Model, views: Callable[[int], np.ndarray]) -> None:
        """Sets what is scored, and what gives an epoch's augmented images or their activations."""
        self._scored, self._views = scored, views

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Scores one view of the validation images."""
        seen = tf.data.Dataset.from_tensors(self._views(epoch)[: len(self._labels)])
        called = predict(self._scored, seen).argmax(axis=1)
        logs["published_val_accuracy"] = float((called == self._labels).mean())


class EarlyStopping(keras.callbacks.Callback):
    """Ends a phase after `patience` epochs of it without a new best."""

    def __init__(self, validation: Validation, first_epoch: int, patience: int) -> None:
        """Takes the callback that knows which epoch is best, and the phase's first epoch."""
        super().__init__()
        self._validation, self._first, self._patience = validation, first_epoch, patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Counts the epochs since the best one, or since the phase's start."""
        if epoch + 1 - max(self._validation.best_epoch, self._first) >= self._patience:
            self.model.stop_training = True


class Progress(keras.callbacks.Callback):
    """One bar a phase; `images_per_second` and `input_wait` of training (not of validation).

    `input_wait` is the share of the time that the device waited for input.
    """

    def __init__(self, phase: str, epochs: int, images: int, batch_size: int, meter: Meter) -> None:
        """Takes the phase's name, its epochs, the images of an epoch and of a step, the meter."""
        super().__init__()
        self._phase, self._images, self._batch_size, self._meter = phase, images, batch_size, meter
        self._epochs: list[tuple[float, float]] = []  # seconds, and seconds waited
        self._bar = tqdm.tqdm(
            total=epochs * images, desc=f"{phase:9s}", unit=" images", mininterval=0.5
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._started, self._done, self._waited = time.perf_counter(), 0, self._meter.seconds

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar and stops the clock, for now; `batch` is the last of those at once."""
        command.raise_if_interrupted()
        done = min((batch + 1) * self._batch_size, self._images)
        self._bar.update(done - self._done)
        self._done, self._ended = done, time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Reports the epoch."""
        seconds, waited = self._ended - self._started, self._meter.seconds - self._waited
        self._epochs.append((seconds, waited))
        logs["images_per_second"], logs["input_wait"] = self._images / seconds, waited / seconds
        self._bar.set_postfix_str(
            f"epoch {epoch + 1}, loss {logs['loss']:.3f}, validation {logs['val_loss']:.3f}, "
            f"balanced accuracy {logs['val_balanced_accuracy']:.3f}"
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves the bar on the screen as it is."""
        self._bar.close()

    def speed(self, advice: str) -> str:
        """One line on the phase; with `advice` where the device waited noticeably.

        The first epoch, which compiles, counts only where it is the only one.
        """
        counted = self._epochs[1:] or self._epochs
        seconds, waited = map(sum, zip(*counted, strict=True))
        line = (
            f"{self._phase}: {len(counted) * self._images / seconds:,.0f} images/s; "
            f"the device waited for input {waited / seconds:.1%} of the time."
        )
        return f"{line} {advice}" if waited > _MUCH_WAITING * seconds else line


class Record(keras.callbacks.Callback):
    """Writes `history.csv` after every epoch, so that a killed run keeps what it learned. Last.

    Attributes:
        rows: One an epoch: epoch, phase, and everything in the logs.
        phase: Name of the phase under way.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Takes where the table goes."""
        super().__init__()
        self._path = path
        self.rows: list[dict[str, Any]] = []
        self.phase = ""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Adds a row."""
        self.rows.append({"epoch": epoch + 1, "phase": self.phase, **logs})
        write_csv(self._path, self.rows)

    def mark_kept(self, best_epoch: int) -> None:
        """Marks the row whose weights were kept."""
        for row in self.rows:
            row["kept"] = row["epoch"] == best_epoch
        write_csv(self._path, self.rows)


class Board(keras.callbacks.Callback):
    """TensorBoard: every number of the logs, the learning rate, the best epochs' confusion."""

    def __init__(
        self, writer: tf.summary.SummaryWriter, validation: Validation, class_names: Sequence[str]
    ) -> None:
        """Takes where to write and what to draw."""
        super().__init__()
        self._writer, self._validation, self._names = writer, validation, class_names

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Writes the epoch."""
        with self._writer.as_default(step=epoch + 1):
            for name, value in logs.items():
                group = "validation" if name.startswith("val_") else "train"
                tf.summary.scalar(f"{group}/{name.removeprefix('val_')}", value)
            tf.summary.scalar("train/learning_rate", self.model.optimizer.learning_rate)
            if self._validation.best_epoch == epoch + 1:  # a figure costs as much as many steps
                drawn = plots.confusion_figure(
                    self._validation.confusion, self._names, title=f"validation, epoch {epoch + 1}"
                )
                tf.summary.image("validation/confusion", drawn[None])
        self._writer.flush()
