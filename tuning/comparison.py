"""The closing comparison: the best values against the trainer's defaults, on new folds.

The best of many trials looks better than it is on what chose it. So both are cross-validated on the
images of train and validation, with other folds and seeds than the search's; the difference is
paired, image by image, with its interval over patients. The images are the same, and some of the
optimism stays; the test split, which is free of it, is opened by `trainer.main` alone, once.
"""

import dataclasses
from typing import Any

import numpy as np

from trainer import config as config_lib
from trainer import cross_validation, fold_assignment
from trainer.config import Config
from trainer.evaluation import intervals, metrics, paired
from trainer.evaluation.summary import not_above_baseline
from trainer.execution.tasks import Executor, Task, run_all
from trainer.input_pipeline.dataset import Images
from trainer.run.progress import working
from trainer.run.saved_folds import SavedFolds
from trainer.run.text import counted, estimate, may_be_none, number, table
from trainer.training.setup import Setup
from tuning import trainings
from tuning import trial as trial_lib

_OTHER_SEED = 1000  # what is added to the search's seed
_EPOCH = "epoch"  # of the defaults, kept beside the folds, whose keys are digests


def compare(
    tasks: Executor, best: Config, default: Config, count: int, saved: SavedFolds | None = None
) -> dict[str, Any]:
    """Cross-validates two configurations on the same folds, each fold a task.

    Args:
        tasks: What runs them, with the images of train and validation.
        best: Of the best trial.
        default: Of the trainer's defaults.
        count: Folds.
        saved: Where folds are that ended before, and states of those under way; None keeps nothing.

    Returns:
        `best` and `default` (`balanced_accuracy` as in `metrics.score`, mean and sd over folds,
        `epochs` and `align`), whether they are the `same`, `difference` (see
        `paired.paired_difference`), `shortcut_baseline` (of images aligned as the best's),
        `folds`, `groups` and `seed`.

    Raises:
        ConfigError, RunError: The images can't be assigned to folds, or a training failed.
    """
    images, fold, seed = assigned(tasks.setup, best, count)
    right, compared = {}, {}
    for side, config in (("best", best), ("default", default)):
        if side == "best" or config != best:  # else they are one configuration
            predicted = cross_validation.out_of_fold_by_tasks(
                tasks, config, fold, seed=seed, label=f"folds of the {side}", quiet=True,
                saved=saved,
            )  # fmt: skip
        by_fold = [
            each["balanced_accuracy"]
            for each in metrics.scores_by_fold(images.labels, fold, predicted)[0]
        ]
        compared[side] = {
            "balanced_accuracy": intervals.estimates(
                images.labels, predicted[0], images.group_numbers, areas=False
            )["balanced_accuracy"],
            "by_fold": {**metrics.mean_and_sd(by_fold), "values": by_fold},
            "epochs": config.epochs,
            "align": config.align,
        }
        right[side] = (predicted.argmax(axis=2) == images.labels).mean(axis=0)
    return {
        **compared,
        "same": best == default,
        "difference": paired.paired_difference(
            images.labels, images.group_numbers, right["best"], right["default"]
        ),
        "shortcut_baseline": cross_validation.shortcut_baselines(
            trainings.aligned_as(tasks.setup, best), images, fold[0]
        ),
        "folds": count,
        "groups": len(set(images.groups)),
        "seed": seed,
    }


def assigned(setup: Setup, config: Config, count: int) -> tuple[Images, np.ndarray, int]:
    """The folds of a comparison: its images, int64 [1, n] and the seed.

    Args:
        setup: With the images of train and validation.
        config: One that is compared, whose seed is the search's.
        count: Folds.

    Raises:
        ConfigError, RunError: There can be none: of such a configuration, or of such images.
    """
    config_lib.check_folds(dataclasses.replace(config, early_stopping=0), count, 1)
    images, seed = fold_assignment.images_of_folds(setup), config.seed + _OTHER_SEED
    return images, fold_assignment.assign_folds(images, count, 1, seed), seed


def at_kept_epoch(
    tasks: Executor, config: Config, epoch: float | None, saved: SavedFolds | None = None
) -> Config:
    """The config that ends at the epoch that validation chooses, as `trainer.main` does.

    A fold has nothing to choose an epoch by. Fine-tuning has two phases, and both are run to their
    ends.

    Args:
        tasks: What trains it, where the epoch is not known.
        config: The configuration.
        epoch: The epoch, from 1, or a mean of some, where it was a trial.
        saved: Of the comparison: where it is kept once it is chosen, so that folds go on after a
            kill, whose results follow from it. The search has one such configuration.

    Raises:
        RunError: The training failed.
    """
    if config.fine_tune_from != "none":
        return dataclasses.replace(config, early_stopping=0)
    kept = saved.read(_EPOCH) if saved and epoch is None else None
    if kept is not None:
        epoch = float(kept[0])
    elif epoch is None:
        trainings.provide(tasks, config, folds=False)
        task = Task("the training of the defaults", _kept_epoch, (config,))
        if tasks.setup.compute is None:  # its rows first, with a bar of their own
            trainings.rows_training(tasks.setup, config, folds=False)
        with working("training the defaults, which were no trial, to choose their epoch"):
            (ended,) = run_all(tasks, [task])
        epoch = ended.result()
        if saved:
            saved.write(_EPOCH, np.array([epoch]))
    return dataclasses.replace(config, epochs=max(1, round(epoch)), early_stopping=0)


def _kept_epoch(setup: Setup, config: Config) -> float:
    training = trainings.training_of(setup, config, folds=False)
    return trial_lib.train_and_score(training, config.seed)["epoch"]


def text(compared: dict[str, Any]) -> str:
    """The comparison on the screen, at most 80 columns."""
    difference = compared["difference"]
    groups = counted(compared["groups"], "patient group")
    n = f"n = {counted(difference['n'], 'image')} of {groups}"
    rows = [[f"out of {compared['folds']} new folds", "balanced accuracy", "sd over folds"]]
    for side in ("best", "default"):
        of = compared[side]
        label = f"  {side}, {counted(of['epochs'], 'epoch')}"
        rows.append([label, estimate(of["balanced_accuracy"]), number(of["by_fold"]["sd"])])
    if not compared["same"]:
        rows.append(["  difference, paired", estimate(difference, "+"), ""])
    for key, label in (("full_image", "full image"), ("lungs_masked", "lungs masked")):
        baseline = compared["shortcut_baseline"][key]
        shown = [estimate(baseline["balanced_accuracy"]), number(baseline["sd"])]
        rows.append([f"  shortcut baseline, {label}", *shown])
    lines = ["", table(rows), f"  (95 % intervals over patient groups, {n})"]
    if compared["best"]["align"] != compared["default"]["align"]:
        aligned = compared["best"]["align"]
        lines.append(f"  (the baselines have the images as the best has them, --align={aligned})")
    best = compared["best"]["balanced_accuracy"]
    lines += not_above_baseline(best, compared["shortcut_baseline"])
    if compared["same"]:
        lines.append("  The best trial is that of the defaults.")
    elif difference["high"] < 0:
        lines.append("  The defaults are better on folds that the search did not see: keep them.")
    elif may_be_none(difference):
        lines.append(
            "  Not distinguishable, the interval holds 0: the search has not shown a gain."
        )
        ours, theirs = difference["discordant"].values()
        lines.append(f"  (patient groups that only one has right: {ours} best, {theirs} default)")
    return "\n".join(lines)
