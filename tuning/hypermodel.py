"""What a trial trains and how it is measured."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from trainer import cross_validation
from trainer.config import Config
from trainer.evaluation import metrics
from trainer.input_pipeline.dataset import Images
from trainer.model import vgg16
from trainer.run import command
from trainer.run.errors import ConfigError, DivergedError
from trainer.training.callbacks import EarlyStopping
from trainer.training.loop import TrainState, train_phases
from trainer.training.training import Training
from trainer.training.validation import Validation
from tuning.bench import Bench, parameters
from tuning.pulse import Pulse
from tuning.settings import Settings
from tuning.space import Space

_PREFIX = "val_"


class ClassifierHyperModel(keras_tuner.HyperModel):
    """The trainer's network with the values of a trial."""

    def __init__(self, space: Space, settings: Settings, bench: Bench, pulse: Pulse) -> None:
        """Assigns the folds, where there are any.

        Args:
            space: What is searched.
            settings: How.
            bench: On what.
            pulse: Where each step is noted.
        """
        super().__init__()
        self._space, self._settings, self._bench, self._pulse = space, settings, bench, pulse
        config = space.config({})
        self._fold, scored = None, bench.images["validation"]
        if settings.folds:
            scored = bench.everyone
            repeats = settings.executions_per_trial
            self._fold = cross_validation.assign_folds(
                bench.everyone, settings.folds, repeats, config.seed
            )

        self._counts = {
            "val_images": float(len(scored.labels)),
            "val_groups": float(len(set(scored.groups))),
        }

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The network of some values; see `Bench.training`. Raises as `fit` does."""
        with failing(), self._pulse.watched():
            self._training = self._bench.training(self._space.config(hp.values), self._pulse.beat)
        return self._training.networks.trained

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
    ) -> dict[str, float]:
        """Trains and scores what `build` gave last.

        Returns:
            Means over folds and executions: `val_loss` (nats), `val_accuracy` and
            `val_balanced_accuracy`, each with its standard deviation under NAME_sd where there are
            several; without folds also `loss`, `accuracy` and `epoch` (see
            `train_and_score`); `seconds`, `images_per_second` and `parameters`; and how
            many images and patient groups were scored, `val_images` and `val_groups`.

        Raises:
            keras_tuner.errors.FailedTrialError: It diverged, or ran out of memory.
            RunError: Something is wrong that is wrong for every trial.
        """
        config, begin = self._space.config(hp.values), time.perf_counter()
        with failing(), self._pulse.watched():
            measured, images = self._measured(config)
        seconds = time.perf_counter() - begin
        return {
            **_mean_and_sd(measured),
            "seconds": seconds,
            "images_per_second": images / seconds,
            "parameters": float(parameters(model)),
            **self._counts,
        }

    def check_objective(self) -> None:
        """Fits one batch, so that a metric that is not there is an error before the search.

        Raises:
            ConfigError: The objective is not among the metrics.
        """
        config = dataclasses.replace(self._space.config({}), epochs=1, early_stopping=0)
        if config.fine_tune_from != "none":
            config = dataclasses.replace(config, fine_tune_epochs=1)
        few = {s: _one_batch(images, config) for s, images in self._bench.images.items()}
        training = self._bench.whole(config, images=few, quiet=True)
        scores = train_and_score(training, config.seed)
        names = [name for name in scores if not self._settings.folds or name.startswith(_PREFIX)]
        if self._settings.objective not in names:
            raise ConfigError(
                f"--objective={self._settings.objective} is no metric of a trial. "
                f"Choose from: {', '.join(sorted(names))}."
            )

    def _measured(self, config: Config) -> tuple[Sequence[Mapping[str, float]], int]:
        """Metrics of each fold and execution, and how many images passed the trained part."""
        beat = _Beat(self._pulse)
        if self._fold is not None:
            epochs = config.phases[-1].epochs.stop
            images = self._fold.size * (self._settings.folds - 1)
            return self._crossed([beat]), images * epochs
        scores = []
        for execution in range(self._settings.executions_per_trial):
            if execution and config.fine_tune_from != "none":  # its blocks have been trained
                self._training = self._bench.training(config, self._pulse.beat)
            scores.append(train_and_score(self._training, config.seed + execution, [beat]))
        return scores, len(self._bench.images["train"].labels) * beat.epochs

    def _crossed(
        self, callbacks: Sequence[keras.callbacks.Callback]
    ) -> Sequence[Mapping[str, float]]:
        labels = self._bench.everyone.labels
        predicted = cross_validation.out_of_fold(
            self._training, self._fold, label="", callbacks=callbacks
        )
        return [
            {f"{_PREFIX}{name}": value for name, value in scores.items()}
            for repeat in metrics.scores_by_fold(labels, self._fold, predicted)
            for scores in repeat
        ]


def train_and_score(
    training: Training, seed: int, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> dict[str, float]:
    """Trains all phases with a new head and scores validation at each epoch's end.

    Args:
        training: Of `train`, with `validation` to score.
        seed: Of the head's weights, of dropout and of the images' order.
        callbacks: Further callbacks.

    Returns:
        Of the epoch that `trainer.main` would keep: `val_loss`, `val_accuracy`,
        `val_balanced_accuracy`, the training's `loss` and `accuracy`, and `epoch`, from 1.

    Raises:
        DivergedError: The network gives no finite probabilities any more.
    """
    vgg16.reset_head(training.networks.trained, seed)
    patience = training.config.early_stopping
    stopping = [EarlyStopping(training.plan, patience)] if patience else []
    best = train_phases(
        training, TrainState(), [*stopping, *callbacks], seed=seed, evaluate=Validation(training)
    ).best
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy")
    return {name: best.logs[name] for name in names} | {"epoch": best.epoch + 1}


@contextlib.contextmanager
def failing() -> Iterator[None]:
    """Turns what is wrong with a trial alone into KerasTuner's failure, with the reason."""
    try:
        yield
    except DivergedError as error:
        raise keras_tuner.errors.FailedTrialError(str(error)) from None
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise keras_tuner.errors.FailedTrialError(f"Out of memory: {first}") from None


class _Beat(keras.callbacks.Callback):
    """Beats after each execution of steps, and counts epochs."""

    def __init__(self, pulse: Pulse) -> None:
        super().__init__()
        self._pulse, self.epochs = pulse, 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs += 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        command.raise_if_interrupted()
        self._pulse.beat()


def _one_batch(images: Images, config: Config) -> Images:
    """As many images as a batch holds, and one of each class at least."""
    _, first = np.unique(images.labels, return_index=True)
    others = np.setdiff1d(np.arange(len(images.labels)), first)
    return images.take([*first, *others[: max(0, config.batch_size - len(first))]])


def _mean_and_sd(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    scores = list(scores)
    means = {name: statistics.fmean(each[name] for each in scores) for name in scores[0]}
    if len(scores) == 1:
        return means
    of_validation = [name for name in means if name.startswith(_PREFIX)]
    return means | {
        f"{name}_sd": statistics.stdev(each[name] for each in scores) for name in of_validation
    }
