"""Patient-grouped folds: which images they are of, and how these are assigned to them."""

import warnings

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from trainer.input_pipeline.dataset import Images, joined
from trainer.run.errors import RunError
from trainer.run.text import listed
from trainer.training.setup import Setup

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
            names = listed([images.class_names[label] for label in sorted(absent)])
            raise RunError(
                f"Fold {number + 1} of {folds} has no image of {names}. Give fewer folds."
            )
    return fold


def images_of_folds(setup: Setup) -> Images:
    """The images of train and validation, in that order."""
    return joined([setup.dataset.splits[name] for name in SPLITS])
