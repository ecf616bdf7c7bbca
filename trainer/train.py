"""A run: from a config to a trained and evaluated network in a folder."""

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer import board, scoring
from trainer.config import Config
from trainer.evaluation import summary
from trainer.input_pipeline import stress
from trainer.model import saved as saved_model
from trainer.model.networks import build
from trainer.reporting import run_report
from trainer.reporting.results import Results
from trainer.run import command, files, machine, saved_state
from trainer.run.errors import RunError
from trainer.run.laps import Laps
from trainer.run.manifest import REPORT, TIMES, Manifest
from trainer.run.progress import working
from trainer.run.run_dir import RunFolder
from trainer.training import callbacks as callbacks_lib
from trainer.training import memory, room
from trainer.training.checkpoint import Checkpoints, require_phases
from trainer.training.curves import CURVES, WITHOUT_CURVES, TensorBoard
from trainer.training.loop import train_phases
from trainer.training.profiling import Profile
from trainer.training.setup import Setup, set_up
from trainer.training.training import Training
from trainer.training.validation import Validation

_REPORT = "The report"
_WITHOUT_REPORT = "The run has all else; python -m trainer.report writes it again."


@command.deferred()  # TensorFlow can crash where an exception strikes inside of it
def train_and_evaluate(
    config: Config,
    folder: RunFolder,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    setup: Setup | None = None,
    profile: range | None = None,
    on_progress: Callable[[], None] = lambda: None,
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
        profile: Steps that are traced, see `Profile`; None: none.
        on_progress: Called behind each call of steps, each scored batch and each part of the run.
        origin: What else config.json is to hold.

    Returns:
        What metrics.json holds (see `metrics.run_metrics`).

    Raises:
        ConfigError: The epochs of a phase that has ended would change.
        RunError: The dataset or the weights are missing, the training failed, or the network that
            was kept is not there any more.
    """
    path, laps = folder.path, Laps(on_progress)
    with contextlib.ExitStack() as closed:
        saved = None if folder.origin is None else saved_state.read(path / saved_state.FILE)
        if saved:
            require_phases(saved, config.phases)
        _require_ended(saved, folder)
        del saved  # which may be as large as the network
        memory.require_parameters(config)
        room.require_for_run(config, folder)
        if setup is None:
            setup = set_up(config, stressed=True, began=folder.origin, **origin)
            closed.enter_context(contextlib.closing(setup.opened))
        config = setup.config
        command.raise_if_interrupted()
        folder.begin(setup.origin)
        scoring.write_used(setup.dataset, path)
        laps.end("opening")
        training = training_of(setup, on_progress)
        command.raise_if_interrupted()
        laps.end("frozen_part")
        traced = [Profile(profile, path)] if profile else []
        pictured = _fit(setup, training, path, [*callbacks, *traced])
        laps.end("training")
        result = _evaluate(setup, training, folder, pictured, laps)
    print(summary.run_summary(result, path))
    return result


def _evaluate(
    setup: Setup, training: Training, folder: RunFolder, pictured: int, laps: Laps
) -> dict[str, Any]:
    """Writes all that is said of a trained network, and ends the run; returns its numbers."""
    config, path = setup.config, folder.path
    table = scoring.write_tables(setup, training, path)
    laps.end("scoring")
    result = scoring.write_metrics(setup, path)
    scoring.write_model(setup, training, result, path)
    laps.end("numbers")
    command.raise_if_interrupted()
    shown = setup, training, result, table, path, pictured
    machine.attempted(CURVES, WITHOUT_CURVES, board.write_end, *shown)
    drawn = scoring.draw(setup, training, table, result, path)
    laps.end("pictures")
    if not config.deterministic:  # of which a second run has the same files
        files.write_json(path / TIMES, laps.seconds)
    missing = [] if drawn else list(scoring.plots_of(config))
    with working("writing the report"):
        if not machine.attempted(_REPORT, _WITHOUT_REPORT, run_report.write, Results(path)):
            missing.append(REPORT)
    folder.finish(missing)
    return result


def _require_ended(saved: saved_state.SavedState | None, folder: RunFolder) -> None:
    """Refuses to train from the beginning where a run that has ended is to grow."""
    grows = folder.state == "finished" and folder.grown
    if grows and not (saved and saved.values["ended"]):
        raise RunError(
            f"{folder.path / saved_state.FILE} is not that of the end of the training, so the run "
            "would go on with another network than the one that was kept. Put back a copy of it, "
            "or train again with --overwrite."
        )


def training_of(setup: Setup, on_progress: Callable[[], None] = lambda: None) -> Training:
    """The training of a run, its rows computed where they are missing; see `Training`."""
    images = stress.with_stressed(setup.dataset.splits)
    scored = [*scoring.scored_splits(setup), stress.NAME]
    return Training(
        setup, setup.config, images, train="train", score=scored, on_progress=on_progress
    )


def _fit(
    setup: Setup,
    training: Training,
    folder: pathlib.Path,
    callbacks: Sequence[keras.callbacks.Callback],
) -> int:
    """Runs the phases; the networks have the best epoch's weights afterwards.

    Returns:
        The epoch, from 1, whose pictures TensorBoard shows last; 0 if there are none.
    """
    config = training.config
    checkpoints = Checkpoints(
        folder / saved_state.FILE,
        every=config.checkpoint_every,
        events=folder / "tensorboard",
    )
    checkpoints.rewind()
    writer = board.writer_of(folder)
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
    curves = TensorBoard(writer, training, validation, board.Pictures(setup, training))
    with contextlib.closing(shown):
        if checkpoints.saved:
            print(f"The run goes on at {checkpoints.saved.text()}.", flush=True)
        else:
            machine.attempted(CURVES, WITHOUT_CURVES, board.write_begin, writer, setup, training)
        train_phases(
            training,
            [
                *optional,
                *callbacks,
                shown,
                history,  # before TensorBoard: it refuses to write where the folder was lost
                curves,
            ],
            seed=config.seed,
            evaluate=validation,
            checkpoints=checkpoints,
        )
    with contextlib.suppress(tf.errors.OpError):  # a line said so before
        writer.close()
    return curves.pictured


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
    there, state = Manifest.read(folder), saved_state.read(folder / saved_state.FILE)
    assert there is not None and there.origin is not None and state is not None
    origin = dict(there.origin)
    setup = set_up(Config.from_json(origin["config"]), began=origin)
    with contextlib.closing(setup.opened), tempfile.TemporaryDirectory() as temporary:
        nets = build(setup.config, setup.precision, setup.weights, setup.normalization)
        nets.train_from(setup.config.phases[-1].first_block)  # what `serve` copies
        part = nets.logits(state.values["below"])
        part.set_weights(state.best_weights(len(part.get_weights())))
        nets.serve()
        path = pathlib.Path(temporary, "model.keras")
        saved_model.save(nets.served, path, setup.dataset.class_names)
        return saved_network(path)
