"""A trial: a task that trains the network of some values and measures it."""

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import keras_tuner
import numpy as np

from trainer import cross_validation, fold_assignment
from trainer.config import Config
from trainer.evaluation import intervals, metrics
from trainer.execution.tasks import TaskFailed, progressed
from trainer.input_pipeline import stress
from trainer.input_pipeline.dataset import Images
from trainer.input_pipeline.plan import PhasePlan
from trainer.model import networks, saved
from trainer.model.head import reset_head
from trainer.model.precision import Precision
from trainer.model.weights import Weights
from trainer.run.errors import ConfigFailedError
from trainer.training.callbacks import EarlyStopping
from trainer.training.loop import train_phases
from trainer.training.setup import Setup
from trainer.training.training import Training
from trainer.training.validation import Validation
from tuning import trainings
from tuning.settings import OBJECTIVES, STRESSED, Settings
from tuning.space import Space

_PREFIX = "val_"
Logs = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What a trial measured.

    Attributes:
        metrics: Means over executions: `val_loss` (nats), `val_accuracy`, `val_balanced_accuracy`
            and, where trials are ranked by it, `STRESSED`, each with its 95 % interval over
            patient groups (NAME_low, NAME_high) and, where there are several, its standard
            deviation over folds and executions (NAME_sd). With folds they are of all images out
            of fold, as in a cross-validation; without folds also `loss`, `accuracy` and `epoch`
            (see `train_and_score`); `seconds` (without those in which rows are computed),
            `images_per_second` and `parameters`; how many images and patient groups were scored,
            `val_images` and `val_groups`, and without folds how many were trained on,
            `train_images` and `train_groups`.
        curves: Of each execution, or of each fold of each execution, the logs of its epochs (see
            `loop.train_phases`) with `epoch`, from 1, and `learning_rate`.
        probabilities: float32 [executions, n, classes] of the scored images.
        weights: The file `.weights.h5` of the network as it is served, of the first execution, with
            --keep_best; else None.
    """

    metrics: dict[str, float]
    curves: list[list[Logs]]
    probabilities: np.ndarray
    weights: bytes | None = None


def run(
    setup: Setup,
    space: Space,
    settings: Settings,
    values: Mapping[str, Any],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrialResult:
    """Trains and scores the network of some values; a task.

    Args:
        setup: Of `trainings.open_images`.
        space: What is searched.
        settings: How.
        values: By parameter, and those of the tuner's own.
        callbacks: Of the user; each training gets copies.

    Raises:
        TaskFailed: It diverged, learns nothing, or takes more memory than there is.
        RunError: Something is wrong that is wrong for every trial.
    """
    config = space.config(values)
    try:
        training = trainings.training_of(setup, config, folds=bool(settings.folds))
        begin = time.perf_counter()  # what the first of several computes for all is not its own
        measure = _by_folds if settings.folds else _by_executions
        of = measure(setup, settings, training, callbacks)
    except ConfigFailedError as error:
        raise TaskFailed(str(error)) from None
    images, seconds = trainings.scored_images(setup, settings.folds), time.perf_counter() - begin
    passed = sum(len(curve) for curve in of.curves) * len(training.train_at)
    share = 1 - 1 / settings.folds if settings.folds else 1  # of the images, in each fold's epochs
    measured = {
        **_mean_and_sd(of.scores),
        **_estimates(images, of.probabilities),
        **({} if of.stressed is None else _estimates(images, of.stressed, f"{_PREFIX}stressed_")),
        "seconds": seconds,
        "images_per_second": passed * share / seconds,
        "parameters": float(_trained(training.networks.trained)),
        "val_images": float(len(images)),
        "val_groups": float(len(set(images.groups))),
    }
    if not settings.folds:  # of `loss` and `accuracy`
        trained = training.images["train"].take(training.train_at)
        measured["train_images"] = float(len(trained))
        measured["train_groups"] = float(len(set(trained.groups)))
    return TrialResult(measured, of.curves, of.probabilities, of.weights)


class _Measured(NamedTuple):
    """What the executions of a trial gave.

    Args:
        scores: Of each execution, or of each fold of each.
        curves: See `TrialResult`.
        probabilities: See `TrialResult`.
        stressed: float32 [executions x draws, n, classes] of the same images re-framed, where the
            trial is ranked by them.
        weights: See `TrialResult`.
    """

    scores: list[Logs]
    curves: list[list[Logs]]
    probabilities: np.ndarray
    stressed: np.ndarray | None = None
    weights: bytes | None = None


def _by_executions(
    setup: Setup,
    settings: Settings,
    training: Training,
    callbacks: Sequence[keras.callbacks.Callback],
) -> _Measured:
    """Each execution on the validation split."""
    config, scores, curves, probabilities, stressed = training.config, [], [], [], []
    weights = None
    for execution in range(settings.executions_per_trial):
        if execution and config.fine_tune_from != "none":  # its blocks have been trained
            training = trainings.training_of(setup, config, folds=False)
        watch = _Watch(training, settings, execution)
        calls = [*copy.deepcopy(list(callbacks)), watch]
        seed, last = config.seed + execution, training.plan.phases[-1]
        scores.append(train_and_score(training, seed, calls, stressed=settings.stressed))
        curves += watch.curves
        probabilities.append(training.probabilities(last, "validation"))
        if settings.stressed:
            of_draws = training.probabilities(last, stress.NAME)
            stressed.append(of_draws.reshape(stress.DRAWS, *probabilities[-1].shape))
        if settings.keep_best and not execution:  # of the seed that is the config's
            weights = _weights(setup, training)
    reframed = np.concatenate(stressed) if stressed else None
    return _Measured(scores, curves, np.stack(probabilities), reframed, weights)


def _by_folds(
    setup: Setup,
    settings: Settings,
    training: Training,
    callbacks: Sequence[keras.callbacks.Callback],
) -> _Measured:
    """Scores and curves of each fold, and probabilities of each execution."""
    fold = trainings.assigned(setup, settings, training.config)
    assert fold is not None  # there are folds
    watch = _Watch(training, settings)
    predicted = cross_validation.out_of_fold(
        training, fold, label="", callbacks=lambda: [*copy.deepcopy(list(callbacks)), watch]
    )
    labels = training.images[fold_assignment.ALL].labels
    scores = [
        {f"{_PREFIX}{name}": value for name, value in each.items()}
        for repeat in metrics.scores_by_fold(labels, fold, predicted)
        for each in repeat
    ]
    return _Measured(scores, watch.curves, predicted)


def train_and_score(
    training: Training,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    stressed: bool = False,
) -> dict[str, float]:
    """Trains all phases with a new head and scores validation at each epoch's end.

    Args:
        training: Of `train`, with `validation` to score.
        seed: Of the head's weights, of dropout and of the images' order.
        callbacks: Further callbacks.
        stressed: Whether to score the re-framed images of validation at each epoch's end, too.

    Returns:
        Of the epoch that `trainer.main` would keep, by validation as it is, whose weights the
        networks then have: `val_loss`, `val_accuracy`, `val_balanced_accuracy` (and that of the
        re-framed images, `STRESSED`), the training's `loss` and `accuracy`, and `epoch`, from 1.

    Raises:
        DivergedError: The network gives no finite probabilities any more.
    """
    reset_head(training.networks.trained, seed)
    patience = training.config.early_stopping
    stopping = [EarlyStopping(training.plan, patience)] if patience else []
    best = train_phases(
        training, [*stopping, *callbacks], seed=seed, evaluate=_evaluation(training, stressed)
    ).best
    assert best is not None  # of the epochs, 1 or more
    names = ["loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy"]
    names += [STRESSED] * stressed
    return {name: best.logs[name] for name in names} | {"epoch": best.epoch + 1}


def _evaluation(training: Training, stressed: bool) -> Callable[[PhasePlan], Logs]:
    """What is scored at an epoch's end."""
    plain = Validation(training)
    if not stressed:
        return plain
    reframed = Validation(training, stress.NAME)
    return lambda plan: {**plain(plan), STRESSED: reframed(plan)["val_balanced_accuracy"]}


class _Watch(keras.callbacks.Callback):
    """Notes each epoch as progress, and its logs."""

    def __init__(self, training: Training, settings: Settings, execution: int = 0) -> None:
        """Has seen no epoch; with folds all executions are one's, `execution` is the first."""
        super().__init__()
        self.curves: list[list[Logs]] = []
        each = training.plan.phases[-1].phase.epochs.stop
        self._before, self._total = execution * each, each * settings.executions_per_trial
        self._total *= settings.folds or 1

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.curves.append([])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        rate = float(self.model.optimizer.learning_rate)
        self.curves[-1].append({"epoch": epoch + 1, **(logs or {}), "learning_rate": rate})
        progressed(f"epoch {self._before + sum(map(len, self.curves))} of {self._total}")


class ClassifierHyperModel(keras_tuner.HyperModel):
    """The trainer's network, as it is served, by KerasTuner's values; its weights are random."""

    def __init__(self, space: Space) -> None:
        """Builds nothing yet.

        Args:
            space: What is searched.
        """
        super().__init__()
        self._space = space

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """From images [batch, height, width, 1] in 0..255 to probabilities, in float32.

        `get_best_models` of KerasTuner loads the weights that `--keep_best` kept into it.
        """
        return _served(self._space.config(hp.values), Weights(None, "", "random"))


def _served(config: Config, weights: Weights) -> keras.Model:
    float32 = Precision("float32", False, "as it is served")
    return networks.build(config, float32, weights, None).served


def _weights(setup: Setup, training: Training) -> bytes:
    """The weights of the network as it is served, whole, as Keras writes them."""
    model = _served(training.config, setup.weights)
    for layer in training.networks.served.layers:  # all, or those of a head
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return saved.weights_of(model)


def _trained(model: keras.Model) -> int:
    return sum(weight.shape.num_elements() for weight in model.trainable_weights)


def _estimates(
    images: Images, probabilities: np.ndarray, prefix: str = _PREFIX
) -> dict[str, float]:
    """NAME, NAME_low and NAME_high of what a trial can be ranked by, over patient groups."""
    estimated = intervals.estimates(images.labels, probabilities, images.group_numbers, areas=False)
    return {
        f"{prefix}{name}{end and f'_{end}'}": estimated[name][end or "value"]
        for name in ("balanced_accuracy", "accuracy", "loss")
        for end in ("", "low", "high")
        if prefix + name in OBJECTIVES and estimated[name]["low"] is not None
    }


def _mean_and_sd(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    means = {name: statistics.fmean(each[name] for each in scores) for name in scores[0]}
    if len(scores) == 1:
        return means
    of_validation = [name for name in means if name.startswith(_PREFIX)]
    return means | {
        f"{name}_sd": statistics.stdev(each[name] for each in scores) for name in of_validation
    }
