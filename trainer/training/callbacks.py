"""What a run shows and writes at its epochs' ends, as Keras callbacks."""

import contextlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from trainer.evaluation import article
from trainer.input_pipeline.plan import PhasePlan, Plan
from trainer.run.files import write_csv
from trainer.run.progress import fitted, progress
from trainer.training.training import Training

# Advice to change a setting, and with it the result, is worth its while above both.
_MUCH_WAITING, _LONG_WAITING = 0.2, 30.0  # share of the time, seconds of a phase
_TIMES = ("images_per_second", "input_wait")  # of the logs


class EarlyStopping(keras.callbacks.Callback):
    """Ends a phase after some epochs of it without a new best one."""

    def __init__(self, plan: Plan, patience: int) -> None:
        """Knows no epoch yet.

        Args:
            plan: Of the training.
            patience: Epochs, 1 or more.
        """
        super().__init__()
        self._plan, self._patience, self._best = plan, patience, -1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Counts the epochs since the best one, or since the phase's start."""
        self._best = epoch if logs["best"] else self._best
        first = self._plan.phase_of(epoch).phase.epochs.start
        if epoch - max(self._best, first - 1) >= self._patience:
            self.model.stop_training = True


class PublishedValidation(keras.callbacks.Callback):
    """Reads validation as the article of 2020 did: one augmented view, without the last batch.

    Adds `published_val_accuracy` to the logs.
    """

    def __init__(self, training: Training) -> None:
        """Reads nothing yet.

        Args:
            training: Has the views of the validation images.
        """
        super().__init__()
        labels = training.images["validation"].labels
        self._training = training
        self._labels = labels[: article.validation_images(len(labels), training.config.batch_size)]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Scores the epoch's view."""
        at = np.arange(len(self._labels))
        predicted = self._training.logits_of_view(epoch, "validation", at).argmax(axis=1)
        logs["published_val_accuracy"] = float((predicted == self._labels).mean())


class Progress(keras.callbacks.Callback):
    """A bar, or plain lines, for each phase, and a line on its speed."""

    def __init__(
        self, plan: Plan, images: int, scored: int, batch_size: int, advice: Callable[[Any], str]
    ) -> None:
        """Draws nothing yet.

        Args:
            plan: Of the training.
            images: That are trained on in an epoch.
            scored: Images that are scored after it.
            batch_size: Images of a step.
            advice: What to change in a phase whose device waits for input.
        """
        super().__init__()
        self._plan, self._images, self._batch_size, self._advice = plan, images, batch_size, advice
        self._scored = scored
        self._phase: PhasePlan | None = None  # whose bar is shown
        self._shown, self._done = contextlib.ExitStack(), 0
        self._epochs: list[tuple[float, float]] = []  # images per second, share waited

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins an epoch, and with a phase its bar."""
        self._epoch, self._done = epoch, 0
        self._require_bar()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar; `batch` is the last of those that were run at once."""
        self._require_bar()
        done = min((batch + 1) * self._batch_size, self._images)
        self._bar.update(done - self._done)
        self._done = done

    def on_scored(self, images: int) -> None:
        """Moves the bar by the images of a batch that was scored."""
        self._require_bar()
        self._bar.update(images)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Shows the epoch's numbers."""
        self._require_bar()
        self._epochs.append((logs["images_per_second"], logs["input_wait"]))
        self._bar.part(
            f"epoch {epoch + 1}",
            f"loss {logs['loss']:.3f}",
            f"val. loss {logs['val_loss']:.3f}",
            f"balanced accuracy {logs['val_balanced_accuracy']:.3f}",
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves the last bar as it is."""
        self._end_phase()

    def close(self) -> None:
        """Ends the bar of a training that failed."""
        self._shown.close()

    def _require_bar(self) -> None:
        """Begins the bar of a phase, where a training goes on at what is done of it."""
        plan = self._plan.phase_of(self._epoch)
        if plan is not self._phase:
            self._end_phase()
            self._phase, of_epoch = plan, self._images + self._scored
            total = len(plan.phase.epochs) * of_epoch
            done = (self._epoch - plan.phase.epochs.start) * of_epoch + self._done
            shown = progress(total, plan.phase.name, done=done, parts=True)
            self._bar = self._shown.enter_context(shown)

    def _end_phase(self) -> None:
        self._shown.close()
        if self._phase is not None and self._epochs:
            print(self._speed(self._phase), flush=True)
        self._epochs = []

    def _speed(self, plan: PhasePlan) -> str:
        """One line; the first epoch, which compiles, counts only where it is the only one."""
        speed, waited = np.mean(self._epochs[1:] or self._epochs, axis=0)
        lost = sum(share * self._images / speed for speed, share in self._epochs if speed)
        line = (
            f"{plan.phase.name}: {speed:,.0f} images/s; the device waited for input "
            f"{waited:.0%} of the time."
        )
        much = waited > _MUCH_WAITING and lost > _LONG_WAITING
        return fitted(f"{line} {self._advice(plan)}".rstrip() if much else line)


class History(keras.callbacks.Callback):
    """Writes `history.csv` after every epoch, so that a killed run leaves what it learned.

    Attributes:
        rows: One an epoch: epoch (from 1), phase, every number in the logs, and `best`.
    """

    def __init__(self, path: pathlib.Path, plan: Plan, *, timed: bool = True) -> None:
        """Writes nothing yet.

        Args:
            path: Of the table.
            plan: Of the training.
            timed: Whether rows hold what a clock measured, which no second run repeats.
        """
        super().__init__()
        self._path, self._plan, self._left_out = path, plan, () if timed else _TIMES
        self.rows: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Adds a row; `best` stands at the best epoch so far alone."""
        best, phase = bool(logs["best"]), self._plan.phase_of(epoch).phase.name
        if best:
            self.rows = [{**row, "best": False} for row in self.rows]
        shown = {k: v for k, v in numbers(logs).items() if k not in self._left_out}
        self.rows.append({"epoch": epoch + 1, "phase": phase, **shown, "best": best})
        write_csv(self._path, self.rows)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Writes the table of a training that ended in an earlier process."""
        write_csv(self._path, self.rows)


def numbers(logs: Mapping[str, Any]) -> dict[str, Any]:
    """What is a number in an epoch's logs.

    Args:
        logs: Ours are plain numbers; a callback of a user may have added a truth value, a tensor or
            a variable, the optimizer's learning rate for example, which become numbers, or a text,
            a complex number or an array, which are left out.
    """
    found = {}
    for name, value in logs.items():
        if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
            found[name] = value
        elif not isinstance(value, (str, bytes)) and not np.iscomplexobj(value):
            with contextlib.suppress(TypeError, ValueError):
                found[name] = float(value)
    return found
