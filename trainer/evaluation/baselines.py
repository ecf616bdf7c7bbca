"""The shortcut floor: what a classifier that barely sees the lungs gets on the same splits.

A linear model of 32x32 grey pixels cannot read an image. What it scores comes from exposure,
framing, age, markers and borders, and with the lungs blacked out from these alone. A network has to
be far above both numbers before its own number says anything about lungs. Research use, not for
diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.evaluation.metrics import Predictions, score

FLOOR_SIZE = 32
REMOVED_SHARE = 0.7

Split = tuple[np.ndarray, np.ndarray, list[str]]


def lungs_removed(images: np.ndarray) -> np.ndarray:
    """Blacks out the central 70 % of the height and of the width (22 of 32 pixels).

    Args:
      images: uint8 [n, 32, 32], 0..255.

    Returns:
      A copy, the same shape and type; the 5-pixel frame is untouched.

    Raises:
      ValueError: another shape or type.
    """
    _check_images(images)
    hidden = round(FLOOR_SIZE * REMOVED_SHARE)
    first = (FLOOR_SIZE - hidden) // 2
    blacked = images.copy()
    blacked[:, first : first + hidden, first : first + hidden] = 0
    return blacked


def shortcut_floor(
    train: tuple[np.ndarray, np.ndarray], splits: Mapping[str, Split], n_classes: int
) -> dict:
    """Fits the floor's model on the train images and scores it on other splits.

    Logistic regression with C = 0.01 on standardised pixels, once on whole images, once on images
    with `lungs_removed`. Balanced accuracy is what is reported, so classes are weighed equally
    when fitting too. Deterministic.

    Args:
      train: images uint8 [n, 32, 32], 0..255, and labels int [n], 0..n_classes-1.
      splits: by name: images uint8 [m, 32, 32], labels int [m], m patient keys.
      n_classes: number of classes; train must hold at least two of them.

    Returns:
      {split: {"whole_image": {"balanced_accuracy": E}, "lungs_removed": {"balanced_accuracy": E}}},
      E with its interval over patients as in `evaluation.score`.

    Raises:
      ValueError: images of another shape or type, labels that do not fit, fewer than two classes in
        train, or an empty split.
    """
    images, labels = train
    _check_images(images)
    present = np.unique(labels).tolist()
    if len(labels) != len(images) or len(present) < 2 or not set(present) <= set(range(n_classes)):
        raise ValueError(
            f"The train split has {len(images)} images and {len(labels)} labels of the classes "
            f"{present}. Pass one label per image, at least two classes, all in 0..{n_classes - 1}."
        )
    views = {"whole_image": np.copy, "lungs_removed": lungs_removed}
    floors: dict = {name: {} for name in splits}
    for view, see in views.items():
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
        )
        model.fit(_pixels(see(images)), labels)
        for name, split in splits.items():
            floors[name][view] = {"balanced_accuracy": _scored(model, see, split, n_classes)}
    return floors


def _check_images(images: np.ndarray) -> None:
    if images.ndim != 3 or images.shape[1:] != (FLOOR_SIZE, FLOOR_SIZE) or images.dtype != np.uint8:
        raise ValueError(
            f"The images are {images.dtype} {images.shape}, expected uint8 [n, {FLOOR_SIZE}, "
            f"{FLOOR_SIZE}]. Resize the grey images with antialiasing before."
        )


def _pixels(images: np.ndarray) -> np.ndarray:
    """float32 [n, 1024], 0..255; standardised inside the model."""
    return images.reshape(len(images), -1).astype(np.float32)


def _scored(
    model: Pipeline, see: Callable[[np.ndarray], np.ndarray], split: Split, n_classes: int
) -> dict:
    """Balanced accuracy of a fitted model on one split, an E of `evaluation.score`."""
    images, labels, patients = split
    _check_images(images)
    if len(images) == 0:
        raise ValueError("A split has no image. Leave it out, or pass at least one.")
    # A class that train lacks has no column in the model; here it has probability 0.
    probabilities = np.zeros((len(images), n_classes), dtype=np.float32)
    probabilities[:, model.classes_] = model.predict_proba(_pixels(see(images)))
    n = len(images)
    predictions = Predictions([str(i) for i in range(n)], patients, [""] * n, labels, probabilities)
    return score(predictions, [str(c) for c in range(n_classes)])["balanced_accuracy"]
