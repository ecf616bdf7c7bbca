"""A run: from a config to a trained and evaluated network in a folder."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.augmentation.layer import Augmentation
from trainer.augmentation.random import uniform_draws
from trainer.config import Config
from trainer.evaluation import baselines, images_used, metrics, plots, predictions, summary
from trainer.input_pipeline.dataset import Dataset, joined
from trainer.model import saved as saved_model
from trainer.model.networks import build
from trainer.run import command, machine, saved_state
from trainer.run.manifest import EVENTS, PLOTS, Manifest
from trainer.run.progress import progress, working
from trainer.run.run_dir import RunFolder
from trainer.training import callbacks as callbacks_lib
from trainer.training import hparams, memory, room
from trainer.training.callbacks import CURVES, WITHOUT_CURVES
from trainer.training.checkpoint import Checkpoints, require_phases
from trainer.training.loop import train_phases
from trainer.training.setup import Setup, set_up
from trainer.training.training import Training
from trainer.training.validation import Validation, predictions_of

_COMPARED = ("balanced_accuracy", "accuracy", "loss")  # runs, in HPARAMS
_SCORED = ("validation", "test", "control")
_PLOTS_LATER = (
    "The run has all else; when that is mended, the same command evaluates again and draws them."
)
_SAMPLES = 8  # images shown in TensorBoard as they are and augmented


@command.deferred()  # TensorFlow can crash where an exception strikes inside of it
def train_and_evaluate(
    config: Config,
    folder: RunFolder,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    setup: Setup | None = None,
    **origin: Any,
) -> dict[str, Any]:
    """Trains in phases, keeps the best validation epoch, and scores each split once.

    A run that is in the folder already is gone on with where its state was saved.

    Args:
        config: The run.
        folder: Of `run_dir.create`.
        callbacks: Further Keras callbacks, see `loop.train_phases`.
        setup: Of all splits, which stays open; it is opened, and closed, here unless given.
        origin: What else config.json is to hold.

    Returns:
        What metrics.json holds (see `metrics.run_metrics`).

    Raises:
        ConfigError: The epochs of a phase that has ended would change.
        RunError: The dataset or the weights are missing, or the training failed.
    """
    path = folder.path
    with contextlib.ExitStack() as closed:
        if folder.origin is not None and (saved := saved_state.read(path / saved_state.FILE)):
            require_phases(saved, config.phases)
        memory.require_parameters(config)
        room.require_for_run(config, folder)
        if setup is None:
            setup = set_up(config, began=folder.origin, **origin)
            closed.enter_context(contextlib.closing(setup.opened))
        config = setup.config
        command.raise_if_interrupted()
        folder.begin(setup.origin)
        images_used.write(path / "images_used.csv", _used(setup.dataset))
        scored, training = scored_splits(setup), training_of(setup)
        command.raise_if_interrupted()
        _fit(setup, training, path, callbacks)
        saved_model.save(training.networks.served, path / "model.keras", setup.dataset.class_names)
        table = _predictions(setup, training, scored)
        predictions.write(path / "predictions.csv", table)
        baseline = shortcut_baselines(setup)
        with working("computing the scores and their intervals"):
            result = metrics.run_metrics(path, baseline)
        command.raise_if_interrupted()
        machine.attempted(CURVES, WITHOUT_CURVES, _write_hparams, config, result, path)
        with working("drawing plots"):
            drawn = machine.attempted("The plots", _PLOTS_LATER, _draw, setup, table, result, path)
        folder.finish(missing=() if drawn else PLOTS)
    print(summary.run_summary(result, path))
    return result


def _draw(
    setup: Setup, table: predictions.Predictions, result: dict[str, Any], path: pathlib.Path
) -> None:
    plots.draw_run(path, result, _gallery(setup, table.of_split("test")))


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
    config = training.config
    checkpoints = Checkpoints(
        folder / saved_state.FILE,
        every=config.checkpoint_every,
        events=folder / "tensorboard",
    )
    checkpoints.rewind()
    writer = _writer(folder)
    shown = callbacks_lib.Progress(
        training.plan,
        len(training.train_at),
        len(training.images["validation"]),
        config.batch_size,
        training.advice,
    )
    validation = Validation(training, on_progress=shown.on_scored)
    optional = [callbacks_lib.PublishedValidation(training)] if config.as_published else []
    if config.early_stopping:
        optional.append(callbacks_lib.EarlyStopping(training.plan, config.early_stopping))
    history = callbacks_lib.History(
        folder / "history.csv", training.plan, timed=not config.deterministic
    )
    with contextlib.closing(shown):
        if checkpoints.saved:
            print(f"The run goes on at {checkpoints.saved.text()}.", flush=True)
        else:
            machine.attempted(CURVES, WITHOUT_CURVES, _write_samples, writer, setup)
        train_phases(
            training,
            [
                *optional,
                *callbacks,
                shown,
                history,  # before TensorBoard: it refuses to write where the folder was lost
                callbacks_lib.TensorBoard(writer, validation, setup.dataset.class_names),
            ],
            seed=config.seed,
            evaluate=validation,
            checkpoints=checkpoints,
        )
    with contextlib.suppress(tf.errors.OpError):  # a line said so before
        writer.close()


def _writer(folder: pathlib.Path) -> tf.summary.SummaryWriter:
    path = os.fsencode(folder / "tensorboard")  # whose letters may be none
    try:
        return tf.summary.create_file_writer(path, filename_suffix=EVENTS)
    except tf.errors.OpError as error:
        machine.print_failed(CURVES, error, WITHOUT_CURVES)
        return tf.summary.create_noop_writer()


def saved_network(path: pathlib.Path) -> keras.Model:
    """The network of a `model.keras`."""
    return keras.saving.load_model(path)


def best_network_so_far(folder: pathlib.Path) -> keras.Model:
    """The network of a run that has not ended, with the weights of its best epoch so far.

    Args:
        folder: Of the run; its saved state has a best epoch.

    Returns:
        What `model.keras` would be, were this the end.

    Raises:
        RunError: The dataset or the weights are not those that the run began with.
    """
    origin = dict(Manifest.read(folder).origin)
    state = saved_state.read(folder / saved_state.FILE)
    setup = set_up(Config.from_json(origin["config"]), began=origin)
    with contextlib.closing(setup.opened), tempfile.TemporaryDirectory() as temporary:
        nets = build(setup.config, setup.precision, setup.weights, setup.normalization)
        nets.train_from(setup.config.phases[-1].first_block)  # what `serve` copies
        part = nets.logits(state.values["below"])
        part.set_weights([state.arrays[f"best/{i}"] for i in range(len(part.get_weights()))])
        nets.serve()
        path = pathlib.Path(temporary, "model.keras")
        saved_model.save(nets.served, path, setup.dataset.class_names)
        return saved_network(path)


def _predictions(setup: Setup, training: Training, scored: list[str]) -> predictions.Predictions:
    """What the best network gives of all images that a run scores."""
    images = joined([setup.dataset.splits[name] for name in scored])
    last = training.plan.phases[-1]
    with progress(len(images), "scoring") as bar:
        parts = [training.probabilities(last, name, on_progress=bar.update) for name in scored]
    return predictions_of(images, np.concatenate(parts))


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


def shortcut_baselines(setup: Setup, scored: Sequence[str] = metrics.BASELINED) -> dict[str, Any]:
    """What linear models of 32 x 32 pixels get on splits; see `baselines.shortcut_baseline`.

    Args:
        setup: Of the run, with train and those splits.
        scored: Names of the splits.
    """
    splits = setup.dataset.splits
    train = splits["train"].take(baselines.fitted_images(len(splits["train"])))
    small = {
        name: setup.squares(images, baselines.SIZE)[..., 0]
        for name, images in {**splits, "train": train}.items()
        if name in ("train", *scored)
    }
    return baselines.shortcut_baseline(
        small["train"], train.labels,
        {n: (small[n], splits[n].labels, splits[n].groups) for n in scored},
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
    """The run's row of TensorBoard's HPARAMS table."""
    scores = result["splits"]["validation"]
    measured = {f"val_{name}": scores[name]["value"] for name in _COMPARED}
    with _writer(folder).as_default(step=0):
        hparams.write_row(config, {**measured, "epoch": result["best_epoch"]}, folder)
