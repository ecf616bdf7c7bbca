"""How the article of 2020 (A. Y. Xu) read its numbers, for `--as_published`.

Its notebooks averaged accuracies over the last 10 epochs, read validation through the augmentation
and took the accuracy of 2 to 4 images for the test accuracy. A run with `--as_published` is read
in the same way, beside what the article printed and beside how it should be read.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.evaluation.intervals import estimate as estimate_of
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.shares import jeffreys
from trainer.run.text import counted, estimate, number, table

_LAST = 10  # epochs that the article's curves were averaged over


@dataclasses.dataclass(frozen=True)
class Published:
    """What the article printed for one number of classes; accuracies are shares, 0..1.

    Args:
        validation_accuracy_last_epoch: After the last epoch.
        train_accuracy_last_10: Mean over the last 10 epochs.
        validation_accuracy_last_10: The same, of validation.
        test_accuracy: As printed.
        test_images: The number of images behind `test_accuracy`.
    """

    validation_accuracy_last_epoch: float
    train_accuracy_last_10: float
    validation_accuracy_last_10: float
    test_accuracy: float
    test_images: int


PUBLISHED = {
    2: Published(0.8125, 0.961, 0.931, 1.0, 2),
    3: Published(0.75, 0.929, 0.848, 1.0, 3),
    4: Published(0.66, 0.79, 0.66, 0.5, 4),
}


def misread_test_accuracy(test: Predictions, batch_size: int) -> dict[str, Any]:
    """The article's misreading of the test accuracy.

    Its notebooks ran ceil(n / batch_size) steps of a generator that gave one image a step, in the
    order of a directory reader (class, then name). So 2, 3 and 4 images made the published figures.

    Args:
        test: The test split.
        batch_size: Of the training, 10 in the article.

    Returns:
        An E of `metrics.score`, as if the images were independent.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}. Pass the training's batch size, at least 1.")
    n = math.ceil(len(test.labels) / batch_size)
    listed = np.lexsort((np.asarray(test.image_ids), test.labels))[:n]
    share = np.mean((test.predicted == test.labels)[listed])
    groups = len({test.groups[i] for i in listed})
    return estimate_of("Jeffreys 95 %", jeffreys(share, n), n, np.float64(n), groups)


def validation_images(n: int, batch_size: int) -> int:
    """How many of n validation images the article scored: it left out the unfilled last batch.

    Args:
        n: Number of validation images, at least 1.
        batch_size: Of the training; where it is above n, all images count.
    """
    return n // batch_size * batch_size or n


def as_published(
    history: Sequence[Mapping[str, Any]], test: Predictions, batch_size: int
) -> dict[str, Any]:
    """Each number as the article's notebooks would have read it from this run.

    Args:
        history: One row per epoch with `accuracy` and `published_val_accuracy`.
        test: The test split.
        batch_size: Of the training.

    Returns:
        `test_accuracy` (of `misread_test_accuracy`), and as shares in 0..1:
        `validation_accuracy_last_epoch`, `validation_accuracy_last_10`, `train_accuracy_last_10`.
    """

    def last(key: str) -> float:
        return float(np.mean([row[key] for row in history[-_LAST:]]))

    return {
        "test_accuracy": misread_test_accuracy(test, batch_size),
        "validation_accuracy_last_epoch": history[-1]["published_val_accuracy"],
        "validation_accuracy_last_10": last("published_val_accuracy"),
        "train_accuracy_last_10": last("accuracy"),
    }


def lines(metrics: Mapping[str, Any]) -> list[str]:
    """This run read in the article's way, beside what the article printed, for the summary.

    Args:
        metrics: Of `metrics.run_metrics`, with `as_published`.
    """
    old, splits = metrics["as_published"], metrics["splits"]
    printed = PUBLISHED.get(len(splits["test"]["classes"]))
    rows = [["accuracy as published", "this run", "article", "as it should be read"]]
    for label, key, right in (
        ("train, last 10 epochs", "train_accuracy_last_10", ""),
        ("validation, last 10 epochs", "validation_accuracy_last_10", ""),
        (
            "validation, last epoch",
            "validation_accuracy_last_epoch",
            estimate(splits["validation"]["accuracy"]),
        ),
        (
            f"test, first {counted(old['test_accuracy']['n'], 'image')}",
            "test_accuracy",
            estimate(splits["test"]["accuracy"]),
        ),
    ):
        ours = old[key]["value"] if key == "test_accuracy" else old[key]
        theirs = getattr(printed, key) if printed else None
        rows.append([f"  {label}", number(ours), number(theirs), right])
    text = table(rows, align="<>><").split("\n")
    if printed:
        text.append(f"  (the article's test accuracy was of {printed.test_images} images)")
    return text
