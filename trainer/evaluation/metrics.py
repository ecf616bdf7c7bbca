"""Numbers from predictions: each with its n and a 95 % interval that respects patients.

Ranges used throughout: probabilities, accuracies, areas and Cramer's V are shares in 0..1; the loss
is in nats. A patient, not an image, is the independent unit: the images of one patient look alike,
so an interval that counts images claims more than the data hold. Research use, not for diagnosis.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import itertools
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import confusion_matrix

from trainer.evaluation.intervals import estimates, wilson
from trainer.run.files import written_whole

PREVALENCES = (0.01, 0.05, 0.2)
CALIBRATION_BINS = 10
CLASS_SCORES = ("sensitivity", "specificity", "ppv", "roc_auc", "pr_auc")

# Cramer's V from which class and source count as confounded. In the plainest case (two classes, two
# sources, all four margins equal) guessing the class from the source alone is right in (1 + V) / 2
# of the images: at .3 that is 65 % without a look at the image, 15 points above chance, and
# more than what separates the published systems. It is also the customary border of a "medium"
# association (Cohen 1988, w = .3).
CONFOUNDED_FROM = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Every scored image of one split, once, in the dataset's order.

    Attributes:
      image_ids: n distinct names.
      patients: n patient-group keys, the unit of resampling.
      sources: n names of where each image comes from.
      labels: int [n], 0..classes-1, the true class.
      probabilities: float32 [n, classes], 0..1, rows sum to 1 (2 classes: columns 1-p and p).

    Raises:
      ValueError: no image, lengths that differ, a repeated image id, a label out of range, or rows
        that are not probabilities.
    """

    image_ids: list[str]
    patients: list[str]
    sources: list[str]
    labels: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        """Refuses what cannot be scored; a `Predictions` that exists is sound."""
        _check_shapes(self)
        _check_values(self)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class, int64 [n]; of equals the first."""
        return np.argmax(self.probabilities, axis=1)


def _check_shapes(predictions: Predictions) -> None:
    probabilities, labels = predictions.probabilities, predictions.labels
    if np.ndim(probabilities) != 2 or np.shape(probabilities)[1] < 2:
        raise ValueError(
            f"probabilities have shape {np.shape(probabilities)}, expected [n, classes] with at "
            "least 2 classes. For a sigmoid output p, pass the columns 1 - p and p."
        )
    n = len(probabilities)
    if n == 0:
        raise ValueError("There is no image to score. Pass at least one prediction per split.")
    names = ("image_ids", "patients", "sources", "labels")
    lengths = {name: len(getattr(predictions, name)) for name in names}
    if np.ndim(labels) != 1 or set(lengths.values()) != {n}:
        raise ValueError(
            f"{n} rows of probabilities, but labels of shape {np.shape(labels)} and lengths "
            f"{lengths}. Pass one image id, patient, source and label for each row."
        )


def _check_values(predictions: Predictions) -> None:
    probabilities, labels = predictions.probabilities, predictions.labels
    repeated = [i for i, k in collections.Counter(predictions.image_ids).items() if k > 1]
    if repeated:
        raise ValueError(
            f"{len(repeated)} image ids occur more than once, for example {repeated[:3]}. "
            "Score every image once: no repeat, no padding of the last batch."
        )
    classes = probabilities.shape[1]
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels are {labels.dtype} in {labels.min()}..{labels.max()}, expected integers in "
            f"0..{classes - 1}, one for each column of probabilities. Leave out other images."
        )
    if not np.isfinite(probabilities).all():
        bad = predictions.image_ids[int(np.argmin(np.isfinite(probabilities).all(axis=1)))]
        raise ValueError(
            f"The probabilities of image {bad!r} are not finite. The training diverged: lower "
            "the learning rate, or train in float32."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > 1e-3 or probabilities.min() < 0:
        raise ValueError(
            f"Rows of probabilities must be at least 0 and sum to 1, but the least value is "
            f"{probabilities.min():.4g} and the row of image {predictions.image_ids[worst]!r} sums "
            f"to {sums[worst]:.4g}. Pass the output after the softmax (or 1 - p and p), in float32."
        )


def score(
    predictions: Predictions, class_names: Sequence[str], *, seed: int = 0, resamples: int = 2000
) -> dict:
    """All numbers of one split, ready for JSON.

    Every estimate E is {"value", "low", "high", "n", "interval"}: n counts the images of its
    denominator (for ppv the images called so), low and high bound 95 %, `interval` names the
    method, see `resampling`.

    Args:
      predictions: the split.
      class_names: one name per column of the probabilities.
      seed: of the resampling; the same seed gives the same numbers.
      resamples: bootstrap draws of the patients.

    Returns:
      n, patients, accuracy E, balanced_accuracy E (mean sensitivity of the classes present), loss
      E (cross-entropy in nats), confusion [[int]] (rows are the truth), classes {name: n,
      patients, sensitivity E, specificity E, ppv E, roc_auc E, pr_auc E, ppv_at_prevalence {"0.01",
      "0.05", "0.2"}}, calibration {ece, bins}, patients_for_5_points. Areas are of one class
      against the rest. ppv_at_prevalence is Bayes' rule on the two values without their
      intervals: a measured specificity of 1 gives 1 at any prevalence. What the images cannot
      define (a class that is absent, ppv with no positive call) has the value None, never NaN.

    Raises:
      ValueError: the names do not fit the classes, or `resamples` is below 1.
    """
    _check_names(predictions, class_names)
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}. Pass at least 1; 2000 is the default.")
    labels, probabilities = predictions.labels, predictions.probabilities
    keys, patients = np.unique(np.asarray(predictions.patients, dtype=str), return_inverse=True)
    found = estimates(labels, probabilities, patients, seed=seed, resamples=resamples)
    confusion = confusion_matrix(labels, predictions.predicted, labels=range(len(class_names)))
    classes = {}
    for c, name in enumerate(class_names):
        own = {score_name: found[score_name, c] for score_name in CLASS_SCORES}
        own["ppv_at_prevalence"] = {str(p): _ppv_at(p, own) for p in PREVALENCES}
        images = labels == c
        classes[name] = {
            "n": int(images.sum()),
            "patients": len(np.unique(patients[images])),
            **own,
        }
    return {
        "n": len(labels),
        "patients": len(keys),
        **{key: found[key] for key in ("accuracy", "balanced_accuracy", "loss")},
        "confusion": confusion.tolist(),
        "classes": classes,
        "calibration": {"ece": _expected_calibration_error(predictions), "bins": CALIBRATION_BINS},
        "patients_for_5_points": patients_for_5_points(found["accuracy"]["value"]),
    }


def _check_names(predictions: Predictions, class_names: Sequence[str]) -> None:
    classes = predictions.probabilities.shape[1]
    if len(set(class_names)) != classes or len(class_names) != classes:
        raise ValueError(
            f"{classes} columns of probabilities, but the class names are {list(class_names)}. "
            "Pass one distinct name per column, in the labels' order."
        )


def _ppv_at(prevalence: float, scores: dict) -> float | None:
    """Bayes' rule: the share of positive calls that are right where the class is this frequent."""
    sensitivity, specificity = scores["sensitivity"]["value"], scores["specificity"]["value"]
    if sensitivity is None or specificity is None:
        return None
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return right / (right + wrong) if right + wrong > 0 else None


def _expected_calibration_error(predictions: Predictions) -> float:
    """Mean gap of confidence and accuracy over equal bins of confidence (Guo et al. 2017), 0..1."""
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    gap = (predictions.predicted == predictions.labels) - confidence
    bins = np.ceil(np.minimum(confidence, 1) * CALIBRATION_BINS).astype(
        int
    )  # (0, .1], (.1, .2] ...
    return float(np.abs(np.bincount(bins, weights=gap)).sum() / len(gap))


def patients_for_5_points(accuracy: float) -> int:
    """The fewest independent patients whose Wilson interval is +-5 points wide or narrower.

    Args:
      accuracy: the measured share of right calls, 0..1.
    """
    for n in itertools.count(1):
        low, high = wilson(accuracy * n, n)
        if high - low <= 0.1:
            return n


def as_published(predictions: Predictions, batch_size: int) -> dict:
    """The article's misreading of the test accuracy, an E of `score` to print beside the right one.

    Its notebooks ran ceil(n / batch_size) steps of a generator that gave one image a step, in the
    order of a directory reader (class, then name). So 2, 3 and 4 images made the published figures.

    Args:
      predictions: the test split.
      batch_size: of the training, 10 in the article.

    Raises:
      ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}. Pass the training's batch size, at least 1.")
    n = math.ceil(len(predictions.labels) / batch_size)
    listed = np.lexsort((np.asarray(predictions.image_ids), predictions.labels))[:n]
    right = int((predictions.predicted == predictions.labels)[listed].sum())
    low, high = wilson(right, n)
    return {"value": right / n, "low": low, "high": high, "n": n, "interval": "Wilson 95 %, images"}


def _contingency(labels: Sequence[int], sources: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Counts [classes present, sources present], the class numbers and the source names."""
    if len(labels) != len(sources) or len(labels) == 0:
        raise ValueError(
            f"{len(labels)} labels and {len(sources)} sources. Pass one source per label, not none."
        )
    classes, rows = np.unique(np.asarray(labels), return_inverse=True)
    names, columns = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    table = np.zeros((len(classes), len(names)), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table, classes, names


def cramers_v(labels: Sequence[int], sources: Sequence[str]) -> float:
    """Association of class and source (Cramer 1946, uncorrected), 0..1.

    1 when the class determines the source; 0 when they are independent, and by definition when
    there is one source or one class only.

    Raises:
      ValueError: no label, or lengths that differ.
    """
    table = _contingency(labels, sources)[0]
    if min(table.shape) < 2:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(min(1.0, np.sqrt(chi_squared / table.sum() / (min(table.shape) - 1))))


def confounding(labels: Sequence[int], sources: Sequence[str], class_names: Sequence[str]) -> dict:
    """Whether the source gives the class away (pitfall P1), ready for JSON.

    Returns:
      {"table": {class: {source: images}}, "cramers_v": 0..1, "verdict"}. The verdict is
      "one source"; "CONFOUNDED" where V reaches `CONFOUNDED_FROM` or a whole class has its
      sources for itself; else "not confounded".

    Raises:
      ValueError: no label, lengths that differ, or a label without a name.
    """
    table, classes, names = _contingency(labels, sources)
    if classes[0] < 0 or classes[-1] >= len(class_names):
        raise ValueError(
            f"Labels {classes.tolist()} do not fit the class names {list(class_names)}. "
            "Pass one name per label, in the labels' order."
        )
    v = cramers_v(labels, sources)
    # One class with a source to itself makes V at least 1 / sqrt(min(classes, sources) - 1), which
    # is under .3 from 13 classes and sources on, however surely that class is given away.
    shared = table[:, (table > 0).sum(axis=0) > 1].sum(axis=1)
    alone = len(classes) > 1 and bool((shared == 0).any())
    verdict = "CONFOUNDED" if v >= CONFOUNDED_FROM or alone else "not confounded"
    rows = dict(zip(classes.tolist(), table.tolist(), strict=True))
    return {
        "table": {
            name: dict(zip(names.tolist(), rows.get(c, [0] * len(names)), strict=True))
            for c, name in enumerate(class_names)
        },
        "cramers_v": v,
        "verdict": "one source" if len(names) == 1 else verdict,
    }


def write_predictions(
    path: str | os.PathLike, splits: Mapping[str, Predictions], class_names: Sequence[str]
) -> None:
    """Writes the run folder's predictions.csv: one row per scored image, split after split.

    Columns: split, image_id, patient, source, label and predicted (class names), p_<class>
    (float32 in as many digits as bring the same float32 back).

    Raises:
      ValueError: the number of names differs from the number of classes.
    """
    for predictions in splits.values():
        _check_names(predictions, class_names)
    head = ["split", "image_id", "patient", "source", "label", "predicted"]
    with written_whole(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head + [f"p_{name}" for name in class_names])
        for split, p in splits.items():
            for i, image_id in enumerate(p.image_ids):
                names = (class_names[p.labels[i]], class_names[p.predicted[i]])
                shares = [str(share) for share in p.probabilities[i]]
                writer.writerow([split, image_id, p.patients[i], p.sources[i], *names, *shares])
