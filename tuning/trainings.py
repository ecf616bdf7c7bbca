"""What the trials of a search share: images, networks, and cached rows of their frozen part.

Only train and validation are opened: a trial can't reach the test split.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer import cross_validation, fold_assignment, scoring
from trainer.config import Config
from trainer.execution.tasks import Executor, progressed
from trainer.input_pipeline import stress
from trainer.input_pipeline.dataset import Images
from trainer.input_pipeline.decode import Kind
from trainer.run.errors import ConfigFailedError
from trainer.training.setup import Setup, set_up
from trainer.training.training import Training
from tuning.settings import Settings

SPLITS = fold_assignment.SPLITS
_SHARED = 2  # trainings whose rows several trials use; each may hold 2 GiB of them
# What concerns the head alone: trials that differ in it share networks and rows.
_OF_HEAD = (
    "learning_rate", "head_units", "pooling", "dropout", "ensemble", "l2", "label_smoothing",
    "batch_size", "class_weights", "optimizer", "weight_decay", "early_stopping", "epochs",
)  # fmt: skip


def open_images(
    config: Config,
    kinds: Sequence[Kind] = (),
    *,
    stressed: bool = False,
    began: Mapping[str, Any] | None = None,
) -> Setup:
    """Opens what all trials share, without the test split.

    Args:
        config: Of any trial.
        kinds: Of further squares that trials use.
        stressed: Whether trials are scored on the re-framed images of validation, too; they are
            then among the splits by their name.
        began: See `set_up`.

    Raises:
        RunError: As for `set_up`.
    """
    setup = set_up(config, splits=SPLITS, further=kinds, stressed=stressed, began=began)
    if not stressed:
        return setup
    splits = stress.with_stressed(setup.dataset.splits)
    return dataclasses.replace(setup, dataset=dataclasses.replace(setup.dataset, splits=splits))


def scored_images(setup: Setup, folds: int) -> Images:
    """The images that a trial is scored on: all with folds, else those of validation."""
    if folds:
        return fold_assignment.images_of_folds(setup)
    return setup.dataset.splits["validation"]


def assigned(setup: Setup, settings: Settings, config: Config) -> np.ndarray | None:
    """int64 [executions, n], the fold of each scored image; None without folds.

    Raises:
        RunError: The images can't be assigned to so many folds.
    """
    if not settings.folds:
        return None
    images = scored_images(setup, settings.folds)
    return fold_assignment.assign_folds(
        images, settings.folds, settings.executions_per_trial, config.seed
    )


def aligned_as(setup: Setup, config: Config) -> Setup:
    """The setup whose squares are aligned as those of a configuration are.

    Args:
        setup: Of `open_images`, which has the squares of every alignment that is searched.
        config: Of a trial.
    """
    return dataclasses.replace(setup, config=dataclasses.replace(setup.config, align=config.align))


def shortcut_baselines(setup: Setup, settings: Settings, config: Config) -> dict[str, Any]:
    """Balanced accuracies of linear models on the images that trials are scored on.

    Args:
        setup: Of `open_images`.
        settings: How trials are scored.
        config: Of the trial that is judged by them: they see the images aligned as it does.

    Returns:
        `full_image` and `lungs_masked`, each an E of `metrics.score`.
    """
    fold, setup = assigned(setup, settings, setup.config), aligned_as(setup, config)
    if fold is not None:
        images = scored_images(setup, settings.folds)
        measured = cross_validation.shortcut_baselines(setup, images, fold[0])
    else:
        measured = scoring.shortcut_baselines(setup, ("validation",))["validation"]
    return {name: each["balanced_accuracy"] for name, each in measured.items()}


def training_of(setup: Setup, config: Config, *, folds: bool) -> Training:
    """The training of a configuration, its rows computed where they are missing.

    One that changes the head alone builds that head over networks and rows that the trials of this
    process share; one that trains blocks, or whose rows do not fit into the cache, has a whole
    network of its own.

    Args:
        setup: Of `open_images`.
        config: What is trained.
        folds: Whether it is scored in folds, whose images are those of both splits.
    """
    if config.fine_tune_from == "none" and config.view_count:
        shared = _shared_training(setup, config, folds)
        if shared.plan.phases[0].train.compute is not None:
            return shared.under(config)
    return whole_training(setup, config, folds=folds)


def whole_training(setup: Setup, config: Config, *, folds: bool) -> Training:
    """A training with whole networks of its own; see `training_of`."""
    _let_go(setup)
    images: Mapping[str, Images] = setup.dataset.splits
    train, score = "train", [each for each in ("validation", stress.NAME) if each in images]
    if folds:
        train, score = fold_assignment.ALL, [fold_assignment.ALL]
        images = {fold_assignment.ALL: scored_images(setup, folds)}
    return Training(
        setup, config, images, train=train, score=score, on_progress=progressed, quiet=True
    )


def _let_go(setup: Setup) -> None:
    """Closes the stages that no training reads which is kept: else none could ever be evicted.

    Not where tasks compute rows: those that wait for their trials are this process's to hold.
    """
    if setup.compute is None:
        kept = [*setup.kept.get("trainings", {}).values()]
        if "folds" in setup.kept:
            kept.append(setup.kept["folds"][1].training)
        setup.opened.close_networks_but(stage for each in kept for stage, *_ in each.reads)


def rows_key(setup: Setup, config: Config) -> Config:
    """The configuration whose rows a configuration trains on; equal for all heads over them."""
    usual = {name: getattr(Config, name) for name in _OF_HEAD}
    return dataclasses.replace(
        config, **{**usual, "epochs": max(config.epochs, setup.config.epochs)}
    )


def rows_training(setup: Setup, config: Config, *, folds: bool) -> Training:
    """The training whose rows a configuration trains on, computed where they are missing."""
    if config.fine_tune_from == "none" and config.view_count:
        return _shared_training(setup, config, folds)
    return whole_training(setup, config, folds=folds)


def provide(tasks: Executor, config: Config, folds: bool) -> None:
    """Has all workers compute the rows of a configuration before one of them trains on them.

    Args:
        tasks: What runs trials; in this process a trial computes its rows itself.
        config: What is to be trained.
        folds: Whether it is scored in folds.
    """
    setup = tasks.setup
    if setup.compute is None:
        return
    key, provided = (rows_key(setup, config), folds), setup.kept.setdefault("provided", set())
    if key not in provided:
        with contextlib.suppress(ConfigFailedError):  # the trial that reads them says it
            tasks.provide(rows_training(setup, config, folds=folds))
            provided.add(key)


def _shared_training(setup: Setup, config: Config, folds: bool) -> Training:
    """The training under all heads of one kind of rows, with the views of the longest of them."""
    shared = setup.kept.setdefault("trainings", collections.OrderedDict())
    longest = rows_key(setup, config)
    key = longest, folds
    if key not in shared:
        while len(shared) >= _SHARED:
            shared.popitem(last=False)
        shared[key] = whole_training(setup, longest, folds=folds)
    shared.move_to_end(key)
    return shared[key]
