"""Patient-grouped folds, and the out-of-fold predictions of a configuration.

The images of train and validation are assigned to folds, stratified by class, no patient group in
two; each fold is predicted by a network trained on the others. The test split is not opened. No
epoch is chosen: what is scored is the last one, so that no fold scores what it chose. The frozen
part is computed once for all folds and repeats.
"""

import contextlib
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from trainer.config import Config
from trainer.evaluation import baselines, metrics, predictions, summary
from trainer.input_pipeline.dataset import Images, joined
from trainer.model import vgg16
from trainer.run import files
from trainer.run.errors import DivergedError, RunError
from trainer.run.progress import progress
from trainer.training.loop import TrainState, train_phases
from trainer.training.setup import set_up
from trainer.training.training import Training
from trainer.training.validation import predictions_of

SPLITS = ("train", "validation")  # whose images make the folds
ALL = "train and validation"  # name of them together


def assign_folds(images: Images, folds: int, repeats: int, seed: int) -> np.ndarray:
    """Assigns images to folds, stratified by class, each patient group to one.

    Args:
        images: All images.
        folds: How many, from 2.
        repeats: Assignments, from 1.
        seed: Of the first; each has the next seed.

    Returns:
        int64 [repeats, n], 0..folds-1.

    Raises:
        RunError: A class has fewer groups than there are folds, or a fold has none of a class.
    """
    for label, name in enumerate(images.class_names):
        count = len(np.unique(images.group_numbers[images.labels == label]))
        if count < folds:
            raise RunError(
                f"{folds} folds need as many patient groups of each class, and {name} has {count}. "
                "Give fewer folds."
            )
    return np.stack([_assigned(images, folds, seed + repeat) for repeat in range(repeats)])


def _assigned(images: Images, folds: int, seed: int) -> np.ndarray:
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    labels, fold = images.labels, np.empty(len(images), np.int64)
    with warnings.catch_warnings():
        # It warns of classes with fewer images than folds; `assign_folds` is stricter.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, held_out) in enumerate(
            splitter.split(labels, labels, images.group_numbers)
        ):
            fold[held_out] = number
    for number in range(folds):
        absent = set(labels.tolist()) - set(labels[fold == number].tolist())
        if absent:
            names = ", ".join(images.class_names[label] for label in sorted(absent))
            raise RunError(
                f"Fold {number + 1} of {folds} has no image of {names}. Give fewer folds."
            )
    return fold


def cross_validate(
    config: Config, folds: int, repeats: int, folder: pathlib.Path | None = None
) -> dict[str, Any]:
    """Trains folds x repeats networks on cached activations, and writes and prints the scores.

    Args:
        config: What is trained; `epochs` of each phase are run to their end.
        folds: From 2.
        repeats: From 1; repeat r assigns folds, draws weights and orders images with seed + r. The
            views are those of `config.seed` in all repeats.
        folder: Where config.json, crossval.json and predictions.csv go; None writes nothing.

    Returns:
        What crossval.json holds (see `metrics.cross_validation_metrics`), and `dataset`.

    Raises:
        RunError: As for `train.train_and_evaluate`, or there are too few groups.
    """
    setup = set_up(config, splits=SPLITS)
    with contextlib.closing(setup.opened):
        images = joined([setup.dataset.splits[name] for name in SPLITS])
        fold = assign_folds(images, folds, repeats, setup.config.seed)
        training = Training(setup, setup.config, {ALL: images}, train=ALL, score=(ALL,))
        probabilities = out_of_fold(training, fold)
        small = setup.squares(images, baselines.SIZE)[..., 0]
    table = as_predictions(images, fold, probabilities)
    shortcuts = baselines.cross_validated(small, images.labels, fold[0], config.classes)
    result = {
        "dataset": {"name": setup.dataset.name, "synthetic": setup.dataset.synthetic},
        **metrics.cross_validation_metrics(table, shortcuts),
    }
    if folder is not None:
        setup.write_origin(folder)
        predictions.write(folder / "predictions.csv", table)
        files.write_json(folder / "crossval.json", result)
        print(summary.cross_validation_summary(result, folder))
    return result


def out_of_fold(
    training: Training,
    fold: np.ndarray,
    *,
    seed: int | None = None,
    label: str = "folds",
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> np.ndarray:
    """Predicts every image by networks that did not see its fold.

    Args:
        training: Of the images `ALL`; its networks' weights are where every fold begins.
        fold: int64 [repeats, n], of `assign_folds`.
        seed: Repeat r trains with seed + r; the config's unless given.
        label: Of the progress bar; "" for none.
        callbacks: Of every fold's training.

    Returns:
        float32 [repeats, n, classes], finite.

    Raises:
        DivergedError: A network gives no finite probabilities any more.
    """
    config, last = training.config, training.plan.phases[-1]
    begin = training.trained_part.get_weights()
    out = np.full((*fold.shape, config.classes), np.nan, np.float32)
    with progress(fold.shape[0] * (fold.max() + 1), label, "folds") as shown:
        for repeat, number in np.ndindex(fold.shape[0], fold.max() + 1):
            turn = (config.seed if seed is None else seed) + repeat
            held_out = np.flatnonzero(fold[repeat] == number)
            training.trained_part.set_weights(begin)
            keras.utils.set_random_seed(turn)
            vgg16.reset_head(training.networks.trained, turn)
            of_fold = training.on(np.flatnonzero(fold[repeat] != number))
            train_phases(of_fold, TrainState(), callbacks, seed=turn)
            out[repeat, held_out] = training.probabilities(last, ALL, held_out)
            if not np.isfinite(out[repeat, held_out]).all():
                raise DivergedError(
                    "The network gives no finite probabilities any more. Lower the learning rate "
                    f"({config.learning_rate:g})."
                )
            shown.update(1)
    return out


def as_predictions(
    images: Images, fold: np.ndarray, probabilities: np.ndarray
) -> predictions.Predictions:
    """Out-of-fold probabilities as a table, one row an image and repeat.

    Args:
        images: n images.
        fold: int64 [repeats, n].
        probabilities: float32 [repeats, n, classes].
    """
    repeats, n = fold.shape
    return predictions_of(
        images.take(np.tile(np.arange(n), repeats)),
        probabilities.reshape(repeats * n, -1),
        repeats=np.repeat(np.arange(repeats), n),
        folds=fold.reshape(-1),
    )
