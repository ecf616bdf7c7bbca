"""A run: from a config to a trained and evaluated network in a folder."""

import contextlib
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from trainer.augmentation.layer import Augmentation
from trainer.augmentation.random import uniform_draws
from trainer.config import Config
from trainer.evaluation import baselines, images_used, metrics, plots, predictions, summary
from trainer.input_pipeline.dataset import Dataset, joined
from trainer.model import saved
from trainer.run import run_dir
from trainer.training import callbacks as callbacks_lib
from trainer.training.loop import TrainState, train_phases
from trainer.training.setup import Setup, set_up
from trainer.training.training import Training
from trainer.training.validation import Validation, predictions_of

_SCORED = ("validation", "test", "control")
_SAMPLES = 8  # images shown in TensorBoard as they are and augmented


def train_and_evaluate(
    config: Config,
    folder: pathlib.Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    setup: Setup | None = None,
    **origin: Any,
) -> dict[str, Any]:
    """Trains in phases, keeps the best validation epoch, and scores each split once.

    Args:
        config: The run.
        folder: An empty folder, of `run_dir.create`.
        callbacks: Further Keras callbacks, see `loop.train_phases`.
        setup: Of all splits, which stays open; it is opened, and closed, here unless given.
        origin: What else config.json is to hold.

    Returns:
        What metrics.json holds (see `metrics.run_metrics`).

    Raises:
        RunError: The dataset or the weights are missing, or the training failed.
    """
    with contextlib.ExitStack() as closed:
        if setup is None:
            setup = set_up(config, **origin)
            closed.enter_context(contextlib.closing(setup.opened))
        config, splits = setup.config, setup.dataset.splits
        setup.write_origin(folder)
        images_used.write(folder / "images_used.csv", _used(setup.dataset))
        for name in run_dir.FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        scored, training = scored_splits(setup), training_of(setup)
        _fit(setup, training, folder, callbacks)
        saved.save(training.networks.served, folder / "model.keras", setup.dataset.class_names)
        last = training.plan.phases[-1]
        probabilities = np.concatenate([training.probabilities(last, name) for name in scored])
        table = predictions_of(joined([splits[name] for name in scored]), probabilities)
        predictions.write(folder / "predictions.csv", table)
        result = metrics.run_metrics(folder, _baselines(setup))
        plots.draw_run(folder, result, _gallery(setup, table.of_split("test")))
        _write_hparams(config, result, folder)
    print(summary.run_summary(result, folder))
    return result


def scored_splits(setup: Setup) -> list[str]:
    """Names of the splits that a run scores."""
    return [name for name in _SCORED if len(setup.dataset.splits.get(name, ()))]


def training_of(setup: Setup) -> Training:
    """The training of a run, its rows computed where they are missing."""
    splits = setup.dataset.splits
    return Training(setup, setup.config, splits, train="train", score=scored_splits(setup))


def _fit(
    setup: Setup,
    training: Training,
    folder: pathlib.Path,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Runs the phases; the networks have the best epoch's weights afterwards."""
    config, validation = training.config, Validation(training)
    writer = tf.summary.create_file_writer(str(folder / "tensorboard"))
    shown = callbacks_lib.Progress(
        training.plan, len(training.train_at), config.batch_size, training.advice
    )
    optional = [callbacks_lib.PublishedValidation(training)] if config.as_published else []
    if config.early_stopping:
        optional.append(callbacks_lib.EarlyStopping(training.plan, config.early_stopping))
    with writer.as_default(), contextlib.closing(shown):
        _write_samples(writer, setup)
        train_phases(
            training,
            TrainState(),
            [
                *optional,
                *callbacks,
                shown,
                callbacks_lib.TensorBoard(writer, validation, setup.dataset.class_names),
                callbacks_lib.History(folder / "history.csv", training.plan),
            ],
            seed=config.seed,
            evaluate=validation,
            best_file=folder / "checkpoints" / "best.weights.h5",
        )
    writer.close()


def _used(dataset: Dataset) -> dict[str, list[str]]:
    """The columns of images_used.csv."""
    columns: dict[str, list[str]] = {name: [] for name in images_used.COLUMNS}
    for images in dataset.splits.values():
        columns["image_id"] += images.image_ids.tolist()
        columns["patient"] += images.patients.tolist()
        columns["group"] += images.groups.tolist()
        columns["source"] += images.sources.tolist()
        columns["split"] += images.splits.tolist()
        columns["label"] += [dataset.class_names[label] for label in images.labels]
        columns["image_sha256"] += [each.tobytes().hex() for each in images.sha256]
    return columns


def _baselines(setup: Setup) -> dict[str, Any]:
    """What linear models of 32 x 32 pixels get on the same splits."""
    splits = setup.dataset.splits
    train = splits["train"].take(baselines.fitted_images(len(splits["train"])))
    small = {
        name: setup.squares(images, baselines.SIZE)[..., 0]
        for name, images in {**splits, "train": train}.items()
        if name in ("train", *metrics.BASELINED)
    }
    return baselines.shortcut_baseline(
        small["train"], train.labels,
        {n: (small[n], splits[n].labels, splits[n].groups) for n in metrics.BASELINED},
        setup.config.classes,
    )  # fmt: skip


def _gallery(setup: Setup, test: predictions.Predictions) -> plots.Gallery:
    at = plots.gallery_sample(len(test.labels), setup.config.seed)
    shown = setup.dataset.splits["test"].take(at)
    squares = setup.squares(shown, setup.config.image_size)[..., 0]
    return squares, test.labels[at], test.probabilities[at]


def _write_samples(writer: tf.summary.SummaryWriter, setup: Setup) -> None:
    """Shows in TensorBoard what the network gets: the first images and their first view."""
    config, first = setup.config, setup.dataset.splits["train"].take(range(_SAMPLES))
    squares = setup.squares(first, config.image_size)
    with writer.as_default(step=0):
        tf.summary.image("images/stored", squares / 255, max_outputs=_SAMPLES)
        if config.augmentation_ranges is not None:
            draws = uniform_draws(first.image_ids, 0, config.seed)
            views = Augmentation(config.augmentation_ranges)(squares, draws)
            tf.summary.image("images/augmented", views / 255, max_outputs=_SAMPLES)


def _write_hparams(config: Config, result: dict, folder: pathlib.Path) -> None:
    """One row of TensorBoard's HParams table: a table to choose by, so without the test split."""
    chosen = {k: v for k, v in config.to_json().items() if not k.endswith("_dir")}
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default(step=0):
        # The folder names the row: runs of equal flags are rows of their own.
        hparams.hparams(chosen, trial_id=str(folder.absolute()))
        for name in ("balanced_accuracy", "accuracy", "loss"):
            value = result["splits"]["validation"][name]["value"]
            tf.summary.scalar(f"hparams/validation_{name}", value)
