"""The verdict on a trained model: every number with its n, its interval and its shortcut floor."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.evaluation import baselines, metrics, plots, summary
from trainer.input_pipeline import batches, dataset
from trainer.run import files
from trainer.training import callbacks

_SCORED = ("validation", "test")
_LAST = 10  # epochs the article's curves were averaged over
NOTICE = "Research use, not for diagnosis."


def judge(
    config: Config,
    images: dataset.Dataset,
    probabilities: Callable[[str], np.ndarray],
    record: callbacks.Record,
    best_epoch: int,
    run_dir: pathlib.Path,
) -> dict[str, Any]:
    """Scores validation, test and control once each, writes the results, prints the last screen.

    Args:
        config: The run.
        images: Its dataset.
        probabilities: What the best epoch's model gives for a split, float32 [n, classes].
        record: The epochs.
        best_epoch: The epoch that was kept, from 1.
        run_dir: Where metrics.json, predictions.csv and plots/ go.

    Returns:
        What metrics.json holds: `splits` (see `metrics.score`, and `floor` in each),
        `confounding` of train, `dataset`, `kept_epoch`, `notice`, `control` (images of the COVID
        source without COVID, never trained on) where the dataset has it, and `as_published` on
        demand.
    """
    names = images.class_names
    predictions = {split: _scored(images.splits[split], probabilities(split)) for split in _SCORED}
    floors = _floors(config, images)
    train = images.splits["train"]
    result: dict[str, Any] = {
        "dataset": {
            "name": images.name,
            "synthetic": images.synthetic,
            "train_images": len(train.labels),
            "train_groups": len(set(train.groups)),
            "train_classes": dict(
                zip(names, dataset.class_counts(train.labels, config.classes), strict=True)
            ),
            "groups_in_more_than_one_split": images.leaks,
        },
        "kept_epoch": best_epoch,
        "epochs": len(record.rows),
        "splits": {
            split: {**metrics.score(scored, names), "floor": floors[split]}
            for split, scored in predictions.items()
        },
        "confounding": metrics.confounding(train.labels, train.sources, names),
        "notice": NOTICE,
    }
    control = images.splits.get("control")
    if control and control.image_ids:
        predictions["control"] = _scored(control, probabilities("control"))
        result["control"] = metrics.score(predictions["control"], names)
    if config.as_published:
        result["as_published"] = _as_published(config, predictions["test"], record)
    files.write_json(run_dir / "metrics.json", result)
    metrics.write_predictions(run_dir / "predictions.csv", predictions, names)
    _draw(config, images, result, predictions, record, run_dir / "plots")
    print(summary.text(config, result, run_dir))
    return result


def _scored(images: dataset.Images, probabilities: np.ndarray) -> metrics.Predictions:
    return metrics.Predictions(
        image_ids=images.image_ids,
        patients=images.groups,
        sources=images.sources,
        labels=images.labels,
        probabilities=probabilities,
    )


def _floors(config: Config, images: dataset.Dataset) -> dict[str, Any]:
    """What a linear model of 32 x 32 pixels gets on the same splits, with and without the lungs."""
    small = {
        split: batches.squares(images.splits[split], baselines.FLOOR_SIZE)
        for split in ("train", *_SCORED)
    }
    splits = {s: (small[s], images.splits[s].labels, images.splits[s].groups) for s in _SCORED}
    return baselines.shortcut_floor(
        (small["train"], images.splits["train"].labels), splits, config.classes
    )


def _as_published(
    config: Config, test: metrics.Predictions, record: callbacks.Record
) -> dict[str, Any]:
    """Each number as the article's notebooks would have read it from this very run."""

    def last(key: str) -> float:
        return float(np.mean([row[key] for row in record.rows[-_LAST:]]))

    return {
        "test_accuracy": metrics.as_published(test, config.batch_size),
        "validation_accuracy_last_epoch": record.rows[-1]["published_val_accuracy"],
        "validation_accuracy_last_10": last("published_val_accuracy"),
        "train_accuracy_last_10": last("accuracy"),
    }


def _draw(
    config: Config,
    images: dataset.Dataset,
    result: dict[str, Any],
    predictions: dict[str, metrics.Predictions],
    record: callbacks.Record,
    folder: pathlib.Path,
) -> None:
    names, test = images.class_names, predictions["test"]
    title = images.name + (" (synthetic)" if images.synthetic else "")
    plots.curves(record.rows, folder / "curves.png", title=title)
    confusion = result["splits"]["test"]["confusion"]
    plots.confusion_matrix(confusion, names, folder / "confusion.png", title=f"{title}, test")
    plots.roc(test, names, folder / "roc.png", title=f"{title}, test")
    shown = np.random.default_rng(config.seed).permutation(len(test.labels))
    pixels = batches.squares(images.splits["test"], config.image_size)
    plots.gallery(
        list(pixels[shown]), test.labels[shown], test.probabilities[shown], names,
        folder / "gallery.png", title=f"{title}, test, images drawn at random",
    )  # fmt: skip
