"""The closing comparison: the best values against the trainer's defaults, on new folds.

The best of many trials looks better than it is on what chose it. So both are cross-validated on the
images of train and validation, with other folds and seeds than the search's; the difference is
paired, image by image, with its interval over patients. The images are the same, and some of the
optimism stays; the test split, which is free of it, is opened by `trainer.main` alone, once.
"""

import dataclasses
from typing import Any

from trainer import cross_validation
from trainer.config import Config
from trainer.evaluation import baselines, intervals, metrics
from trainer.run.text import estimate, number, table
from tuning.bench import Bench
from tuning.hypermodel import train_and_score

_OTHER_SEED = 1000  # what is added to the search's seed


def compare(bench: Bench, best: Config, default: Config, count: int) -> dict[str, Any]:
    """Cross-validates two configurations on the same folds.

    Args:
        bench: The images.
        best: Of the best trial.
        default: Of the trainer's defaults.
        count: Folds.

    Returns:
        `best` and `default` (`balanced_accuracy` as in `metrics.score`, and mean and sd over
        folds), `difference` (see `intervals.paired_difference`),
        `shortcut_baseline`, `folds`, `groups` and `seed`.

    Raises:
        RunError: The images can't be assigned to folds.
    """
    bench = bench.crossed()
    images, seed = bench.everyone, best.seed + _OTHER_SEED
    fold = cross_validation.assign_folds(images, count, 1, seed)
    right, compared = {}, {}
    for side, config in (("best", best), ("default", default)):
        training = bench.training(config)
        predicted = cross_validation.out_of_fold(training, fold, seed=seed, label=f"{side:7s}")
        table = cross_validation.as_predictions(images, fold, predicted)
        by_fold = [
            each["balanced_accuracy"]
            for each in metrics.scores_by_fold(images.labels, fold, predicted)[0]
        ]
        compared[side] = {
            "balanced_accuracy": metrics.score(table)["balanced_accuracy"],
            "by_fold": {**metrics.mean_and_sd(by_fold), "values": by_fold},
            "epochs": config.epochs,
        }
        right[side] = (predicted.argmax(axis=2) == images.labels).mean(axis=0)
    small = bench.squares(images, baselines.SIZE)[..., 0]
    return {
        **compared,
        "difference": intervals.paired_difference(
            images.labels, images.group_numbers, right["best"], right["default"]
        ),
        "shortcut_baseline": baselines.cross_validated(small, images.labels, fold[0], best.classes),
        "folds": count,
        "groups": len(set(images.groups)),
        "seed": seed,
    }


def kept_epoch(bench: Bench, config: Config) -> float:
    """The epoch that validation chooses, as in a trial of one execution; from 1."""
    return train_and_score(bench.training(config), config.seed)["epoch"]


def at_epoch(config: Config, epoch: float) -> Config:
    """The config that ends at a kept epoch, or a mean of some: a fold has nothing to choose it by.

    Fine-tuning has two phases, and both are run to their ends.
    """
    if config.fine_tune_from != "none":
        return config
    return dataclasses.replace(config, epochs=max(1, round(epoch)), early_stopping=0)


def text(compared: dict[str, Any]) -> str:
    """The comparison on the screen, at most 80 columns."""
    difference = compared["difference"]
    n = f"n = {difference['n']:,} images of {compared['groups']:,} patient groups"
    rows = [[f"out of {compared['folds']} new folds", "balanced accuracy", "sd over folds"]]
    for side in ("best", "default"):
        of = compared[side]
        label = f"  {side}, {of['epochs']} epochs"
        rows.append([label, estimate(of["balanced_accuracy"]), number(of["by_fold"]["sd"])])
    rows.append(["  difference, paired", estimate(difference, "+"), ""])
    for key, label in (("full_image", "full image"), ("lungs_masked", "lungs masked")):
        baseline = compared["shortcut_baseline"][key]
        shown = [number(baseline["mean"]), number(baseline["sd"])]
        rows.append([f"  shortcut baseline, {label}", *shown])
    lines = ["", table(rows), f"  (95 % intervals over patient groups, {n})"]
    if difference["high"] < 0:
        lines.append("  The defaults are better on folds that the search did not see: keep them.")
    elif difference["low"] <= 0:
        lines.append("  The interval holds 0: the search has not shown a gain.")
    return "\n".join(lines)
