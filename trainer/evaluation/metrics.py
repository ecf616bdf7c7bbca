"""Every number of a run or a cross-validation, computed from predictions.csv.

Ranges used throughout: probabilities, accuracies, areas and Cramer's V are shares in 0..1; the loss
is in nats. Intervals are over patient groups, see `intervals`. Research use, not for diagnosis.
"""

import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, recall_score

from trainer.evaluation import article, history, images_used
from trainer.evaluation.confounding import confounding
from trainer.evaluation.intervals import RESAMPLES, SMALLEST_PROBABILITY, estimates, wilson
from trainer.evaluation.predictions import Predictions, read
from trainer.run.files import write_json

NOTICE = "Research use, not for diagnosis."
PREVALENCES = (0.01, 0.05, 0.2)
CALIBRATION_BINS = 10
CLASS_SCORES = ("sensitivity", "specificity", "ppv", "roc_auc", "pr_auc")
# What metrics.json has of config.json.
_COPIED = (
    "name", "fingerprint", "synthetic", "planted_shortcut", "groups_in_more_than_one_split"
)  # fmt: skip
BASELINED = ("validation", "test")  # the splits that have a shortcut baseline


def score(predictions: Predictions, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """All numbers of a table of predictions, ready for JSON.

    Every estimate E is {"value", "low", "high", "n", "interval"}: n counts the images of its
    denominator (for ppv the images that were called so), low and high bound 95 %, `interval` names
    the method, see `intervals`.

    Args:
        predictions: The rows of one split, or of all repeats of a cross-validation: the rows of a
            group are drawn together, so that repeats narrow no interval.
        seed: Of the resampling; the same seed gives the same numbers.
        resamples: Bootstrap draws of the groups, at least 1.

    Returns:
        n (images), patients, groups, accuracy E, balanced_accuracy E (mean sensitivity of the
        classes present), loss E (cross-entropy in nats), confusion [[int]] (rows are the truth),
        classes {name: n, patients, groups, sensitivity E, specificity E, ppv E, roc_auc E, pr_auc
        E, ppv_at_prevalence {"0.01", "0.05", "0.2"}}, calibration {ece, bins},
        patients_for_5_points. Areas are of one class against the rest. ppv_at_prevalence is Bayes'
        rule on the two values without their intervals: a measured specificity of 1 gives 1 at any
        prevalence. What the images cannot define (a class that is absent, ppv with no positive
        call) has the value None, never NaN.

    Raises:
        ValueError: `resamples` is below 1.
    """
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}. Pass at least 1; {RESAMPLES} is the default.")
    labels, names = predictions.labels, predictions.class_names
    groups = np.unique(np.asarray(predictions.groups), return_inverse=True)[1]
    patients = np.unique(np.asarray(predictions.patients), return_inverse=True)[1]
    measured = estimates(labels, predictions.probabilities, groups, seed=seed, resamples=resamples)
    classes = {}
    for c, name in enumerate(names):
        own = {key: measured[key, c] for key in CLASS_SCORES}
        own["ppv_at_prevalence"] = {str(p): _ppv_at(p, own) for p in PREVALENCES}
        classes[name] = {**_counts(patients, groups, labels == c), **own}
    return {
        **_counts(patients, groups, np.full(len(labels), True)),
        **{key: measured[key] for key in ("accuracy", "balanced_accuracy", "loss")},
        "confusion": confusion_matrix(
            labels, predictions.predicted, labels=range(len(names))
        ).tolist(),
        "classes": classes,
        "calibration": {"ece": _expected_calibration_error(predictions), "bins": CALIBRATION_BINS},
        "patients_for_5_points": patients_for_5_points(measured["accuracy"]["value"]),
    }


def _counts(patients: np.ndarray, groups: np.ndarray, rows: np.ndarray) -> dict[str, int]:
    """Images, patients and groups of some rows (bool [n])."""
    people, held = (len(np.unique(each[rows])) for each in (patients, groups))
    return {"n": int(rows.sum()), "patients": people, "groups": held}


def _ppv_at(prevalence: float, scores: Mapping[str, Any]) -> float | None:
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
    # Bins are (0, .1], (.1, .2] and so on.
    bins = np.ceil(np.minimum(confidence, 1) * CALIBRATION_BINS).astype(np.int64)
    return float(np.abs(np.bincount(bins, weights=gap)).sum() / len(gap))


def patients_for_5_points(accuracy: float) -> int:
    """The fewest independent patients whose Wilson interval is +-5 points wide or narrower.

    Args:
        accuracy: The measured share of right calls, 0..1.
    """
    for n in itertools.count(1):
        low, high = wilson(accuracy * n, n)
        if high - low <= 0.1:
            return n


def loss_and_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The numbers of an epoch or a fold, without intervals.

    Args:
        labels: int64 [n], 0..classes-1.
        probabilities: float32 [n, classes], finite, 0..1.

    Returns:
        `loss` (cross-entropy in nats), `accuracy` and `balanced_accuracy` (mean sensitivity of the
        classes present).
    """
    predicted = probabilities.argmax(axis=1)
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST_PROBABILITY, 1)
    return {
        "loss": float(-np.log(of_truth).mean()),
        "accuracy": float((predicted == labels).mean()),
        # As balanced_accuracy_score, which warns of calls of a class that is absent.
        "balanced_accuracy": float(
            recall_score(labels, predicted, labels=np.unique(labels), average="macro")
        ),
    }


def run_metrics(run_dir: pathlib.Path, baselines: Mapping[str, Any]) -> dict[str, Any]:
    """Computes all numbers of a run from what is in its folder, and writes metrics.json.

    Args:
        run_dir: Holds config.json, history.csv, images_used.csv and predictions.csv.
        baselines: Of `baselines.shortcut_baseline`, for validation and test.

    Returns:
        What metrics.json holds: `dataset` (name, fingerprint, synthetic, planted_shortcut,
        train_images, train_patients, train_groups, train_classes {class: images},
        groups_in_more_than_one_split), `best_epoch` and `epochs`, `splits` {split: `score` and
        its `shortcut_baseline`}, `confounding` of train, `control` (the score of images that are
        never trained on: of the COVID-19 source without COVID-19, or, where a shortcut was planted,
        with the marker of another class) where the dataset has such images,
        `as_published` where the flag of that name is on, and `notice`.
    """
    setup = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    epochs = history.read(run_dir / "history.csv")
    table = read(run_dir / "predictions.csv")
    train = _train(run_dir / "images_used.csv")
    names = table.class_names
    labels = [names.index(name) for name in train["label"]]
    counts = np.bincount(labels, minlength=len(names)).tolist()
    result: dict[str, Any] = {
        "dataset": {
            **{key: setup["dataset"][key] for key in _COPIED},
            "train_images": len(labels),
            "train_patients": len(set(train["patient"])),
            "train_groups": len(set(train["group"])),
            "train_classes": dict(zip(names, counts, strict=True)),
        },
        "best_epoch": history.best_epoch(epochs),
        "epochs": len(epochs),
        "splits": {
            split: {**score(table.of_split(split)), "shortcut_baseline": baselines[split]}
            for split in BASELINED
        },
        "confounding": confounding(labels, train["source"], names),
        "notice": NOTICE,
    }
    if "control" in table.split_names:
        result["control"] = score(table.of_split("control"))
    if setup["config"]["as_published"]:
        result["as_published"] = article.as_published(
            epochs, table.of_split("test"), setup["config"]["batch_size"]
        )
    write_json(run_dir / "metrics.json", result)
    return result


def _train(path: pathlib.Path) -> dict[str, list[str]]:
    """The columns of images_used.csv, of the train split."""
    columns = images_used.read(path)
    rows = [i for i, split in enumerate(columns["split"]) if split == "train"]
    return {name: [values[i] for i in rows] for name, values in columns.items()}


def cross_validation_metrics(
    predictions: Predictions, baselines: Mapping[str, Any]
) -> dict[str, Any]:
    """All numbers of a cross-validation, ready for JSON.

    Args:
        predictions: The out-of-fold predictions of every image in every repeat.
        baselines: Of `baselines.cross_validated`.

    Returns:
        `n` (images), `patients`, `groups`, `folds` and `repeats` (their numbers); `pooled`
        (`score` of all rows: its numbers are means over repeats); `by_fold`, the balanced accuracy
        over folds and repeats: `mean`, `sd`, `min`, `values` [repeats][folds], `n` [repeats][folds]
        (images);
        `shortcut_baseline`; `notice`.

    Raises:
        ValueError: The predictions have no repeats or no folds.
    """
    if predictions.repeats is None or predictions.folds is None:
        raise ValueError("The predictions have no repeats and folds. Pass those of folds.")
    repeats = np.unique(predictions.repeats)
    values, counts = [], []
    for repeat in repeats:
        rows = predictions.repeats == repeat
        fold, labels = predictions.folds[rows], predictions.labels[rows]
        (folds,) = scores_by_fold(labels, fold[None], predictions.probabilities[rows][None])
        values.append([each["balanced_accuracy"] for each in folds])
        counts.append(np.bincount(fold).tolist())
    pooled = score(predictions)
    return {
        "n": pooled["n"] // len(repeats),
        "patients": pooled["patients"],
        "groups": pooled["groups"],
        "folds": int(predictions.folds.max()) + 1,
        "repeats": len(repeats),
        "pooled": pooled,
        "by_fold": {
            **mean_and_sd(values),
            "min": float(np.min(values)),
            "values": values,
            "n": counts,
        },
        "shortcut_baseline": baselines,
        "notice": NOTICE,
    }


def scores_by_fold(
    labels: np.ndarray, fold: np.ndarray, probabilities: np.ndarray
) -> list[list[dict[str, float]]]:
    """`loss_and_accuracy` of each fold's images, by repeat and fold.

    Args:
        labels: int64 [n], 0..classes-1.
        fold: int64 [repeats, n], 0..folds-1; each fold holds an image.
        probabilities: float32 [repeats, n, classes].
    """
    return [
        [loss_and_accuracy(labels[at == k], shares[at == k]) for k in range(at.max() + 1)]
        for at, shares in zip(fold, probabilities, strict=True)
    ]


def mean_and_sd(values: Sequence) -> dict[str, float]:
    """Mean and sample standard deviation (n - 1) of at least 2 numbers, of any shape."""
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
