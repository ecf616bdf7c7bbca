"""The shortcut baseline: what a classifier that hardly sees the lungs gets on the same images.

A linear model of 32 x 32 grey pixels cannot read a radiograph. What it scores comes from exposure,
framing, age, markers and borders, and with the lungs masked from these alone. A network has to be
far above both numbers before its own number shows anything about lungs. Research use, not for
diagnosis.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.evaluation import linear_model
from trainer.evaluation.intervals import estimates
from trainer.evaluation.metrics import in_columns, mean_and_sd

SIZE = 32  # pixels of a side
MASKED_SHARE = 0.7
# Of more images than this, so many are fitted to: 1,024 weights a class are settled by then, and
# the memory of a run does not grow with its dataset. Of a rare class all are.
MOST_FITTED = 10_000

Split = tuple[np.ndarray, np.ndarray, Sequence[str] | np.ndarray]


def lungs_masked(squares: np.ndarray) -> np.ndarray:
    """Blacks out the central 70 % of the height and of the width (22 of 32 pixels).

    Args:
        squares: uint8 [n, 32, 32], 0..255.

    Returns:
        A copy of the same shape and type; the 5-pixel frame is untouched.

    Raises:
        ValueError: The squares have another shape or type.
    """
    _check_squares(squares)
    hidden = round(SIZE * MASKED_SHARE)
    first = (SIZE - hidden) // 2
    masked = squares.copy()
    masked[:, first : first + hidden, first : first + hidden] = 0
    return masked


def fitted_images(labels: np.ndarray) -> np.ndarray:
    """int64, ascending: the indices of the train images that are fitted to.

    They are evenly spaced within each class, and as many of each as there are, or can be had
    without more of another.

    Args:
        labels: int [n], of the train images.
    """
    classes, counts = np.unique(labels, return_counts=True)
    left, kept = MOST_FITTED, []
    order = np.argsort(counts, kind="stable")
    for more, place in enumerate(order):
        count = min(int(counts[place]), left // (len(order) - more))
        of_class = np.flatnonzero(labels == classes[place])
        kept.append(of_class[np.linspace(0, len(of_class) - 1, count).round().astype(np.int64)])
        left -= count
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


# What the two baselines see of an image.
_INPUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "full_image": np.copy,
    "lungs_masked": lungs_masked,
}


def shortcut_baseline(
    train_squares: np.ndarray,
    train_labels: np.ndarray,
    splits: Mapping[str, Split],
    classes: int,
    folder: pathlib.Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Fits the linear models on the train images and scores them on other splits.

    Logistic regression with C = 0.01 on standardised pixels, once on full images, once on images
    with the lungs masked. Balanced accuracy is what is reported, so classes are weighed equally
    when fitting, too. Deterministic.

    Args:
        train_squares: uint8 [n, 32, 32], 0..255.
        train_labels: int [n], 0..classes-1; at least two classes occur.
        splits: By name: squares uint8 [m, 32, 32], labels int [m], m patient groups.
        classes: Number of classes.
        folder: Where fitted models are kept, so that the same images are fitted to once; None
            keeps none.

    Returns:
        {split: {"full_image": {"balanced_accuracy": E}, "lungs_masked": {"balanced_accuracy":
        E}}}, E with its interval over patient groups as in `metrics.score`.

    Raises:
        ValueError: Squares have another shape or type, labels do not fit, train has fewer than two
            classes, or a split is empty.
    """
    _check_train(train_squares, train_labels, classes)
    results: dict[str, dict[str, Any]] = {name: {} for name in splits}
    for split, (squares, _, _) in splits.items():
        _check_squares(squares)
        if len(squares) == 0:
            raise ValueError(
                f"The split {split!r} has no image. Leave it out, or pass at least one."
            )
    for name, see in _INPUTS.items():
        what = f"the shortcut baseline, {name.replace('_', ' ')}"
        model = linear_model.fitted(see(train_squares), train_labels, what, folder)
        for split, (squares, labels, groups) in splits.items():
            shares = linear_model.probabilities(model, see(squares), classes)
            results[split][name] = {"balanced_accuracy": _scored(shares, labels, groups)}
    return results


def cross_validated(
    squares: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    classes: int,
    folder: pathlib.Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Balanced accuracy of the linear models, each fold scored by models of the other folds.

    Args:
        squares: uint8 [n, 32, 32], 0..255.
        labels: int64 [n], 0..classes-1.
        fold: int64 [n], 0..folds-1; groups are in one fold each.
        groups: n patient groups.
        classes: Number of classes.
        folder: As for `shortcut_baseline`.

    Returns:
        `full_image` and `lungs_masked`: `balanced_accuracy` E over all images as in
        `metrics.score`, `mean` and `sd` over the folds, and `values`, `low` and `high`, one a
        fold.

    Raises:
        ValueError: As for `shortcut_baseline`.
    """
    return {
        name: _of_folds(name, see(squares), labels, fold, groups, classes, folder)
        for name, see in _INPUTS.items()
    }


def _of_folds(
    name: str,
    seen: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    classes: int,
    folder: pathlib.Path | None,
) -> dict[str, Any]:
    """One baseline of `cross_validated`, of the squares as it sees them."""
    of_folds, predicted = [], np.zeros((len(labels), classes), np.float32)
    held = np.asarray(groups)
    for number in range(fold.max() + 1):
        out = fold == number
        _check_train(seen[~out], labels[~out], classes)
        at = np.flatnonzero(~out)[fitted_images(labels[~out])]
        what = f"the shortcut baseline of fold {number + 1}, {name.replace('_', ' ')}"
        model = linear_model.fitted(seen[at], labels[at], what, folder)
        predicted[out] = linear_model.probabilities(model, seen[out], classes)
        of_folds.append(_scored(predicted[out], labels[out], held[out]))
    by_fold = in_columns(of_folds)
    pooled = _scored(predicted, labels, groups)
    return {"balanced_accuracy": pooled, **mean_and_sd(by_fold["values"]), **by_fold}


def _check_squares(squares: np.ndarray) -> None:
    if squares.ndim != 3 or squares.shape[1:] != (SIZE, SIZE) or squares.dtype != np.uint8:
        raise ValueError(
            f"The squares are {squares.dtype} {squares.shape}, expected uint8 [n, {SIZE}, {SIZE}]. "
            "Resize the grey images with antialiasing before."
        )


def _check_train(squares: np.ndarray, labels: np.ndarray, classes: int) -> None:
    _check_squares(squares)
    present = np.unique(labels).tolist()
    if len(labels) != len(squares) or len(present) < 2 or not set(present) <= set(range(classes)):
        raise ValueError(
            f"The train split has {len(squares)} images and {len(labels)} labels of the classes "
            f"{present}. Pass one label per image, at least two classes, all in 0..{classes - 1}."
        )


def _scored(
    probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str] | np.ndarray
) -> dict[str, Any]:
    """The balanced accuracy, an E of `metrics.score`."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    return estimates(labels, probabilities, numbers, areas=False)["balanced_accuracy"]
