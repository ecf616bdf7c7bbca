"""Every number of a run or a cross-validation, computed from predictions.csv.

Ranges used throughout: probabilities, accuracies, areas and Cramer's V are shares in 0..1; the loss
is in nats. Intervals are over patient groups, see `intervals`. Research use, not for diagnosis.
"""

import itertools
import json
import operator
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix, recall_score

from trainer.evaluation import article, calibration, history, images_used, poses
from trainer.evaluation.confounding import confounding
from trainer.evaluation.intervals import SMALLEST_PROBABILITY, estimates
from trainer.evaluation.predictions import Predictions, read
from trainer.evaluation.shares import Limits, patients_for_5_points, ppv_at
from trainer.run.files import write_json
from trainer.run.text import FEW

NOTICE = "Research use, not for diagnosis."
PREVALENCES = (0.01, 0.05, 0.2)
CLASS_SCORES = ("sensitivity", "specificity", "ppv", "roc_auc", "pr_auc")
# What metrics.json has of config.json.
_COPIED = (
    "name", "fingerprint", "synthetic", "planted_shortcut", "groups_in_more_than_one_split"
)  # fmt: skip
BASELINED = ("validation", "test")  # the splits that have a shortcut baseline
_OPENED = ("test", "control")  # the splits that --notest leaves unread


def score(predictions: Predictions) -> dict[str, Any]:
    """All numbers of a table of predictions, ready for JSON.

    Every estimate E is {"value", "low", "high", "n", "n_effective", "groups", "interval"}. n counts
    the images of its denominator (for ppv the images that were called so, by any of several
    networks; for areas all), groups the patient groups that have them (for areas the fewer
    of the class's and the others'), n_effective how many independent images these are
    worth, see `effective`; low and high bound 95 %, and `interval` names the method, see
    `intervals`.

    Args:
        predictions: The rows of one split, or of all repeats of a cross-validation. There an image
            counts once, as right in the share of the repeats in which it was called right: every
            value but the ppv, which is of all calls, is a mean over repeats, and every n counts
            images.

    Returns:
        `n` (images), `patients`, `groups`, `accuracy` E, `balanced_accuracy` E (mean sensitivity of
        the classes present), `loss` E (cross-entropy in nats), `confusion` [[int]] (rows are the
        truth; of several repeats, their sum), `classes` {name: `n`, `patients`, `groups`,
        `sensitivity` E, `specificity` E, `ppv` E, `roc_auc` E, `pr_auc` E, `ppv_at_prevalence`
        {"0.01", "0.05", "0.2": {"value", "low", "high", "groups"}}}, `calibration` {`ece` (expected
        calibration error, 0..1), `bins` (of it)}, `patients_for_5_points` (the fewest whose
        interval of this accuracy would be +-.05). Areas are of one class against the rest.
        `ppv_at_prevalence` is Bayes' rule on sensitivity and specificity, with the interval of
        both and the groups of the scarcer. A class of fewer than `FEW` groups has its counts as
        `by_group`, [[right images, images]] of each. What the images cannot define (a class that is
        absent, ppv with no positive call) has the value None, never NaN.
    """
    names, images = predictions.class_names, _images(predictions)
    labels, patients, groups = images.labels, images.patients, images.groups
    measured = estimates(labels, images.probabilities, groups)
    classes: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(names):
        own = {key: measured[key, c] for key in CLASS_SCORES}
        own["ppv_at_prevalence"] = {str(p): _ppv_at(p, own) for p in PREVALENCES}
        classes[name] = {**_counts(patients, groups, labels == c), **own}
        if classes[name]["groups"] < FEW:
            classes[name]["by_group"] = _by_group(images, c)
    return {
        **_counts(patients, groups, np.full(len(labels), True)),
        **{key: measured[key] for key in ("accuracy", "balanced_accuracy", "loss")},
        "confusion": confusion_matrix(
            predictions.labels, predictions.predicted, labels=range(len(names))
        ).tolist(),
        "classes": classes,
        "calibration": {
            "ece": calibration.expected_error(labels, images.probabilities),
            "bins": calibration.BINS,
        },
        "patients_for_5_points": patients_for_5_points(measured["accuracy"]["value"]),
    }


def stressed_score(predictions: Predictions) -> dict[str, Any]:
    """The numbers of images that were scored in several frames each.

    Args:
        predictions: A repeat a draw, by one network or by several; every draw has all images.

    Returns:
        `n` (images), `patients`, `groups`, `draws` (of all networks together), and `accuracy` E,
        `balanced_accuracy` E and `loss` E as in `score`. An image counts once: as right in the
        share of its draws that are.
    """
    images = _images(predictions)
    measured = estimates(images.labels, images.probabilities, images.groups, areas=False)
    return {
        **_counts(images.patients, images.groups, np.full(len(images.labels), True)),
        "draws": len(images.probabilities),
        **{key: measured[key] for key in ("accuracy", "balanced_accuracy", "loss")},
    }


class _Images(NamedTuple):
    """A table by image: int [n] and, of the probabilities, [repeats, n, classes]."""

    labels: np.ndarray
    patients: np.ndarray
    groups: np.ndarray
    probabilities: np.ndarray


def _images(table: Predictions) -> _Images:
    """The rows of a table, those of an image together; every repeat has every image."""
    repeats = np.zeros(len(table.labels), int) if table.repeats is None else table.repeats
    count = len(np.unique(repeats))
    order = np.lexsort((np.asarray(table.image_ids), repeats)).reshape(count, -1)
    patients, groups = (
        np.unique(np.asarray(names), return_inverse=True)[1][order[0]]
        for names in (table.patients, table.groups)
    )
    return _Images(table.labels[order[0]], patients, groups, table.probabilities[order])


def _by_group(images: _Images, c: int) -> list[list[float]]:
    """Right images and images of each group of a class; of several repeats their mean."""
    own = images.labels == c
    right = (images.probabilities[:, own].argmax(axis=-1) == c).mean(axis=0)
    numbers = np.unique(images.groups[own], return_inverse=True)[1]
    sums = np.bincount(numbers, weights=right).round(6), np.bincount(numbers)
    return [[float(hits), int(n)] for hits, n in zip(*sums, strict=True)]


def _counts(patients: np.ndarray, groups: np.ndarray, rows: np.ndarray) -> dict[str, int]:
    """Images, patients and groups of some rows (bool [n])."""
    people, held = (len(np.unique(each[rows])) for each in (patients, groups))
    return {"n": int(rows.sum()), "patients": people, "groups": held}


def _ppv_at(prevalence: float, scores: Mapping[str, Any]) -> dict[str, float | int | None]:
    """The share of positive calls that are right where the class is this frequent."""
    both = [scores["sensitivity"], scores["specificity"]]
    groups = min(each["groups"] for each in both)
    if None in [each["value"] for each in both]:
        return {**dict.fromkeys(Limits._fields), "groups": groups}
    limits = (np.array([each[name] for name in Limits._fields]) for each in both)
    ppv = ppv_at(prevalence, *(Limits(*each) for each in limits))._asdict()
    known = {name: None if np.isnan(each) else float(each) for name, each in ppv.items()}
    return {**known, "groups": groups}


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


def shown_split(metrics: Mapping[str, Any]) -> str:
    """The split whose classes are printed and drawn: test, or validation where test is not opened.

    Args:
        metrics: Of `run_metrics`.
    """
    return "test" if metrics["opened"]["test"] else "validation"


def run_metrics(run_dir: pathlib.Path, baselines: Mapping[str, Any]) -> dict[str, Any]:
    """Computes all numbers of a run from what is in its folder, and writes metrics.json.

    Args:
        run_dir: Holds config.json, history.csv, images_used.csv, predictions.csv, stressed.csv and,
            where images are aligned, alignment.csv.
        baselines: Of `baselines.shortcut_baseline`, for validation and, if it was scored, test.

    Returns:
        What metrics.json holds: `dataset` (`name`, `fingerprint`, `synthetic`, `planted_shortcut`,
        `train_images`, `train_patients`, `train_groups`, `train_classes` {class: images},
        `images_without_patient` of all splits that the run was given,
        `groups_in_more_than_one_split` {group: splits}), `best_epoch` and `epochs`, `splits`
        {split: `score` and its `shortcut_baseline`; of validation also `stressed`, see
        `stressed_score`}, `opened` {"test": bool, "control": bool} (whether images of these splits
        were scored; test is one of `splits` only then), `confounding` of train, `control` (the
        score of images that are never trained on: of the COVID-19 source without COVID-19, or,
        where a shortcut was planted, with the marker of another class) where the dataset has such
        images and they were scored, `as_published` where the flag of that name is on, `alignment`
        (`template`, which it was, and `Poses.counts`) where images are aligned, and `notice`.
    """
    setup = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    epochs = history.read(run_dir / "history.csv")
    table = read(run_dir / "predictions.csv")
    used = images_used.read(run_dir / "images_used.csv")
    train = _of_split(used, "train")
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
            "images_without_patient": _without_patient(used["image_id"], used["patient"]),
        },
        "best_epoch": history.best_epoch(epochs),
        "epochs": len(epochs),
        "splits": {
            split: {**score(table.of_split(split)), "shortcut_baseline": baselines[split]}
            for split in BASELINED
            if split in table.split_names
        },
        "opened": {split: split in table.split_names for split in _OPENED},
        "confounding": confounding(labels, train["source"], names),
        "notice": NOTICE,
    }
    result["splits"]["validation"]["stressed"] = stressed_score(read(run_dir / "stressed.csv"))
    if "control" in table.split_names:
        result["control"] = score(table.of_split("control"))
    if "alignment" in setup:
        table_of_poses = poses.read(run_dir / "alignment.csv")
        result["alignment"] = {"template": setup["alignment"], **table_of_poses.counts()}
    if setup["config"]["as_published"]:
        result["as_published"] = article.as_published(
            epochs, table.of_split("test"), setup["config"]["batch_size"]
        )
    write_json(run_dir / "metrics.json", result)
    return result


def _without_patient(image_ids: Iterable[str], patients: Iterable[str]) -> int:
    """How many images name no patient: one by the name of the image is none."""
    return sum(map(operator.eq, image_ids, patients))


def _of_split(columns: Mapping[str, list[str]], name: str) -> dict[str, list[str]]:
    """The columns of images_used.csv, of one split."""
    rows = [i for i, split in enumerate(columns["split"]) if split == name]
    return {name: [values[i] for i in rows] for name, values in columns.items()}


def of_seeds(result: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """What `run_metrics` says of one seed, with the scores of all: their means.

    Args:
        result: What seeds.json holds.
        first: The metrics.json of the first seed, whose images and baselines are those of all.
    """
    splits = {
        name: {**of["pooled"], "shortcut_baseline": first["splits"][name]["shortcut_baseline"]}
        for name, of in result["splits"].items()
    }
    return {**{key: of for key, of in first.items() if key != "control"}, "splits": splits}


def cross_validation_metrics(
    predictions: Predictions, baselines: Mapping[str, Any], dataset: Mapping[str, Any]
) -> dict[str, Any]:
    """All numbers of a cross-validation, ready for JSON.

    Args:
        predictions: The out-of-fold predictions of every image in every repeat.
        baselines: Of `baselines.cross_validated`.
        dataset: That of config.json.

    Returns:
        `dataset` (`name`, `synthetic`, `planted_shortcut`, `images_without_patient` of those in the
        folds), `confounding` of these, `n` (images), `patients`, `groups`, `folds` and `repeats`
        (their numbers); `pooled` (`score` of all rows: its numbers are means over repeats, but for
        the PPV, which is that of all rows); `by_fold`, the balanced accuracy over folds and
        repeats: `mean`, `sd`, `min`, and [repeats][folds] `values`, their 95 %
        limits `low` and `high`, `n` (images) and `groups`; `shortcut_baseline`; `notice`.

    Raises:
        ValueError: The predictions have no repeats or no folds.
    """
    if predictions.repeats is None or predictions.folds is None:
        raise ValueError("The predictions have no repeats and folds. Pass those of folds.")
    repeats = np.unique(predictions.repeats)
    by_fold = _by_fold(predictions, repeats, predictions.folds)
    pooled = score(predictions)
    first = predictions.repeats == repeats[0]
    ids, patients, sources = (
        list(itertools.compress(each, first))
        for each in (predictions.image_ids, predictions.patients, predictions.sources)
    )
    return {
        "dataset": {
            **{name: dataset[name] for name in ("name", "synthetic", "planted_shortcut")},
            "images_without_patient": _without_patient(ids, patients),
        },
        "confounding": confounding(predictions.labels[first], sources, predictions.class_names),
        "n": pooled["n"],
        "patients": pooled["patients"],
        "groups": pooled["groups"],
        "folds": int(predictions.folds.max()) + 1,
        "repeats": len(repeats),
        "pooled": pooled,
        "by_fold": {
            **mean_and_sd(by_fold["values"]),
            "min": float(np.min(by_fold["values"])),
            **by_fold,
        },
        "shortcut_baseline": baselines,
        "notice": NOTICE,
    }


def _by_fold(
    predictions: Predictions, repeats: np.ndarray, fold: np.ndarray
) -> dict[str, list[list]]:
    """Balanced accuracy of each fold's images, with its limits and counts; [repeats][folds]."""
    groups = np.unique(np.asarray(predictions.groups), return_inverse=True)[1]
    result: dict[str, list[list]] = {}
    for repeat in repeats:
        own = predictions.repeats == repeat
        rows = [own & (fold == k) for k in np.unique(fold[own])]
        scored = [
            estimates(
                predictions.labels[at],
                predictions.probabilities[at],
                np.unique(groups[at], return_inverse=True)[1],
                areas=False,
            )["balanced_accuracy"]
            for at in rows
        ]
        counts = {name: [each[name] for each in scored] for name in ("n", "groups")}
        for name, values in (in_columns(scored) | counts).items():
            result.setdefault(name, []).append(values)
    return result


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


def in_columns(estimates_of: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """`values`, `low` and `high` of several E, as lists."""
    keys = {"values": "value", "low": "low", "high": "high"}
    return {name: [each[key] for each in estimates_of] for name, key in keys.items()}


def mean_and_sd(values: Sequence) -> dict[str, float]:
    """Mean and sample standard deviation (n - 1) of at least 2 numbers, of any shape."""
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
