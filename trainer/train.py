"""A run: from a config to a trained and evaluated network in a folder."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer import scoring
from trainer.augmentation.layer import Augmentation
from trainer.augmentation.random import uniform_draws
from trainer.config import Config
from trainer.evaluation import summary
from trainer.input_pipeline import stress
from trainer.model import saved as saved_model
from trainer.model.networks import build
from trainer.run import command, machine, saved_state
from trainer.run.errors import RunError
from trainer.run.manifest import EVENTS, Manifest
from trainer.run.run_dir import RunFolder
from trainer.training import aligned, hparams, memory, room
from trainer.training import callbacks as callbacks_lib
from trainer.training.callbacks import CURVES, WITHOUT_CURVES
from trainer.training.checkpoint import Checkpoints, require_phases
from trainer.training.loop import train_phases
from trainer.training.setup import Setup, set_up
from trainer.training.training import Training
from trainer.training.validation import Validation

_COMPARED = ("balanced_accuracy", "accuracy", "loss")  # runs, in HPARAMS
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

    A run that is in the folder already is gone on with where its state was saved. One that ended
    with `--notest` is scored on test and control by the network that was kept.

    Args:
        config: The run.
        folder: Of `run_dir.create`.
        callbacks: Further Keras callbacks, see `loop.train_phases`.
        setup: Of `set_up`, with `stressed`; it stays open. One is opened, and closed, here unless
            given.
        origin: What else config.json is to hold.

    Returns:
        What metrics.json holds (see `metrics.run_metrics`).

    Raises:
        ConfigError: The epochs of a phase that has ended would change.
        RunError: The dataset or the weights are missing, the training failed, or the network that
            was kept is not there any more.
    """
    path = folder.path
    with contextlib.ExitStack() as closed:
        saved = None if folder.origin is None else saved_state.read(path / saved_state.FILE)
        if saved:
            require_phases(saved, config.phases)
        _require_ended(saved, folder)
        memory.require_parameters(config)
        room.require_for_run(config, folder)
        if setup is None:
            setup = set_up(config, stressed=True, began=folder.origin, **origin)
            closed.enter_context(contextlib.closing(setup.opened))
        config = setup.config
        command.raise_if_interrupted()
        folder.begin(setup.origin)
        scoring.write_used(setup.dataset, path)
        training = training_of(setup)
        command.raise_if_interrupted()
        _fit(setup, training, path, callbacks)
        saved_model.save(training.networks.served, path / "model.keras", setup.dataset.class_names)
        table = scoring.write_tables(setup, training, path)
        result = scoring.write_metrics(setup, path)
        command.raise_if_interrupted()
        machine.attempted(CURVES, WITHOUT_CURVES, _write_hparams, config, result, path)
        drawn = scoring.draw(setup, table, result, path)
        folder.finish(missing=() if drawn else scoring.plots_of(config))
    print(summary.run_summary(result, path))
    return result


def _require_ended(saved: saved_state.SavedState | None, folder: RunFolder) -> None:
    """Refuses to train again where a run that has ended is to be scored on test, and no more."""
    scores_alone = folder.state == "finished" and set(folder.grown) == {"test"}
    if scores_alone and not (saved and saved.values["ended"]):
        raise RunError(
            f"{folder.path / saved_state.FILE} is not that of the end of the training, so test "
            "would be scored by another network than the one that was kept. Put back a copy of "
            "it, or train again with --overwrite."
        )


def training_of(setup: Setup) -> Training:
    """The training of a run, its rows computed where they are missing."""
    images = stress.with_stressed(setup.dataset.splits)
    scored = [*scoring.scored_splits(setup), stress.NAME]
    return Training(setup, setup.config, images, train="train", score=scored)


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


def _write_samples(writer: tf.summary.SummaryWriter, setup: Setup) -> None:
    """Shows in TensorBoard what the network gets: the first images and their first view."""
    config, first = setup.config, setup.dataset.splits["train"].take(range(_SAMPLES))
    squares = setup.squares(first, config.image_size)
    shown = {"stored": squares}
    if config.align != "none":
        shown = {"stored": aligned.stored_squares(setup, first), "aligned": squares}
    with writer.as_default(step=0):
        for name, each in shown.items():
            tf.summary.image(f"images/{name}", each / 255, max_outputs=_SAMPLES)
        if config.augmentation_ranges is not None:
            draws = uniform_draws(first.image_ids, 0, config.seed)
            views = Augmentation(config.augmentation_ranges)(squares, draws)
            tf.summary.image("images/augmented", views / 255, max_outputs=_SAMPLES)


def _write_hparams(config: Config, result: dict, folder: pathlib.Path) -> None:
    """The run's row of TensorBoard's HPARAMS table."""
    scores = result["splits"]["validation"]
    measured = {f"val_{name}": scores[name]["value"] for name in _COMPARED}
    measured["val_stressed_balanced_accuracy"] = scores["stressed"]["balanced_accuracy"]["value"]
    with _writer(folder).as_default(step=0):
        hparams.write_row(config, {**measured, "epoch": result["best_epoch"]}, folder)
