"""Patient-grouped folds, and the out-of-fold predictions of a configuration.

The images of train and validation are assigned to folds, stratified by class, no patient group in
two; each fold is predicted by a network trained on the others. The test split is not opened. No
epoch is chosen: what is scored is the last one, so that no fold scores what it chose. The frozen
part is computed once for all folds and repeats.
"""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from trainer.config import Config
from trainer.evaluation import baselines, linear_model, metrics, predictions, summary
from trainer.execution.local import opened_executor
from trainer.execution.tasks import Executor, Task, progressed, reported_to, run_all
from trainer.fold_assignment import ALL, SPLITS, assign_folds, images_of_folds
from trainer.input_pipeline.dataset import Images
from trainer.model.head import reset_head
from trainer.run import command, files, saved_folds
from trainer.run.errors import DivergedError
from trainer.run.manifest import OF_THE_MACHINE, PREDICTIONS, REPORT
from trainer.run.progress import Lines, progress, working
from trainer.run.run_dir import RunFolder
from trainer.run.saved_folds import SavedFolds
from trainer.training import aligned, divergence, room
from trainer.training.checkpoint import Checkpoints
from trainer.training.loop import train_phases
from trainer.training.setup import Setup, set_up
from trainer.training.training import Training
from trainer.training.validation import predictions_of

if TYPE_CHECKING:
    from trainer.execution.ray import Cluster


@command.deferred()  # TensorFlow can crash where an exception strikes inside of it
def cross_validate(
    config: Config,
    folds: int,
    repeats: int,
    folder: RunFolder | None = None,
    cluster: "Cluster | None" = None,
) -> dict[str, Any]:
    """Trains folds x repeats networks on cached activations, and writes and prints the scores.

    What is in the folder already is gone on with: folds that ended are not trained again, and those
    that were under way go on where their state was saved. Where all of it has ended and a file was
    lost, that is made of predictions.csv; if it is that file, all folds are trained again.

    Args:
        config: What is trained; `epochs` of each phase are run to their end.
        folds: From 2.
        repeats: From 1; repeat r assigns folds, draws weights and orders images with seed + r. The
            views are those of `config.seed` in all repeats.
        folder: Of `run_dir.create`, where the tables go; None writes nothing.
        cluster: Of `execution.ray.connected`, where folds are trained; None: in this process.

    Returns:
        For crossval.json: `metrics.cross_validation_metrics`, `aligned.write_poses`.

    Raises:
        RunError: As for `train.train_and_evaluate`, or there are too few groups, or a fold failed.
    """
    began = folder.origin if folder else None
    with opened_executor(cluster, lambda: set_up(config, splits=SPLITS, began=began)) as tasks:
        setup, saved = tasks.setup, None
        images = images_of_folds(setup)
        fold = assign_folds(images, folds, repeats, setup.config.seed)
        probabilities = None
        if folder is not None:
            probabilities = _predicted_before(folder, images, fold)
            at_once = min(tasks.slots, folds * repeats) if tasks.shares_files else 1
            room.require_for_folds(config, folder.path, at_once)
            folder.begin(setup.origin)
            saved = SavedFolds(folder.path / saved_folds.FOLDER)
        if probabilities is None:
            probabilities = out_of_fold_by_tasks(tasks, setup.config, fold, saved=saved)
            if folder is not None:  # of earlier networks, where there is one
                (folder.path / REPORT).unlink(missing_ok=True)
        shortcuts = shortcut_baselines(setup, images, fold[0])
        alignment = aligned.write_poses(setup, images, None if folder is None else folder.path)
    table = as_predictions(images, fold, probabilities)
    with working("computing the scores and their intervals"):
        result = {
            **metrics.cross_validation_metrics(table, shortcuts, setup.origin["dataset"]),
            **alignment,
        }
    if folder is not None and saved is not None:
        predictions.write(folder.path / PREDICTIONS, table)
        files.write_json(folder.path / "crossval.json", result)
        folder.finish()
        saved.remove()  # which only what is finished can do without
        print(summary.cross_validation_summary(result, folder.path))
    return result


def _predicted_before(folder: RunFolder, images: Images, fold: np.ndarray) -> np.ndarray | None:
    """What the networks of a cross-validation that has ended gave; None where that is lost."""
    if folder.state != "finished" or PREDICTIONS in folder.damaged():
        return None
    table = predictions.read(folder.path / PREDICTIONS)
    same = list(table.image_ids) == images.image_ids.tolist() * len(fold)
    if not same or table.folds is None or not np.array_equal(table.folds, fold.reshape(-1)):
        return None  # folds of another release of what divides them
    return table.probabilities.reshape(*fold.shape, -1)


def shortcut_baselines(setup: Setup, images: Images, fold: np.ndarray) -> dict[str, Any]:
    """What linear models of 32 x 32 pixels get on the folds; see `baselines.cross_validated`.

    Args:
        setup: Of the images.
        images: Those that were assigned to folds.
        fold: int64 [n], of one repeat.
    """
    small, classes = setup.squares(images, baselines.SIZE)[..., 0], setup.config.classes
    kept = setup.opened.cache_dir / linear_model.FOLDER
    return baselines.cross_validated(small, images.labels, fold, images.groups, classes, kept)


def out_of_fold_by_tasks(
    tasks: Executor,
    config: Config,
    fold: np.ndarray,
    *,
    seed: int | None = None,
    label: str = "folds",
    quiet: bool = False,
    saved: SavedFolds | None = None,
) -> np.ndarray:
    """What `out_of_fold` returns, each fold of each repeat by a task.

    Args:
        tasks: What runs them, with the images of train and validation.
        config: What is trained.
        fold: int64 [repeats, n], of `assign_folds`.
        seed: Repeat r trains with seed + r; the config's unless given.
        label: Of the progress bar; "" for none.
        quiet: Whether to print nothing of what is computed before.
        saved: Where folds are that ended, and states of those under way; None keeps nothing.

    Raises:
        RunError: A fold failed.
    """
    tasks.provide(_training_of_all(tasks.setup, config, quiet=quiet).training)
    out = np.full((*fold.shape, config.classes), np.nan, np.float32)
    first = config.seed if seed is None else seed
    turns = {
        f"fold {number + 1} of repeat {repeat + 1}": (repeat, number)
        for repeat, number in np.ndindex(fold.shape[0], fold.max() + 1)
    }
    left, keys = [], {}
    for name, (repeat, number) in turns.items():
        arguments = (config, fold[repeat], number, first + repeat)
        keys[name] = _key(tasks.setup, *arguments)
        if saved and (probabilities := saved.read(keys[name])) is not None:
            out[repeat, fold[repeat] == number] = probabilities
            continue
        state = saved.state(keys[name]).absolute() if saved and tasks.shares_files else None
        left.append(Task(name, train_fold, (*arguments, state)))
    with _shown(len(turns), len(turns) - len(left), label) as fold_ended:
        for ended in run_all(tasks, left):
            repeat, number = turns[ended.task.name]
            out[repeat, fold[repeat] == number] = probabilities = ended.result()
            if saved:
                saved.write(keys[ended.task.name], probabilities)
            fold_ended()
    return out


@contextlib.contextmanager
def _shown(total: int, done: int, label: str) -> Iterator[Callable[[], None]]:
    """Shows folds as they end, and on a terminal how far those under way are."""
    with progress(total, label, "folds", done=done, parts=True) as shown:

        def report(name: str, text: str) -> None:
            if not isinstance(shown, Lines):  # one for each epoch of each fold is too many
                shown.part(f"{done} of {total} folds", f"{name}, {text}")

        def fold_ended() -> None:
            nonlocal done
            done += 1
            shown.update(1)
            shown.part(f"{done} of {total} folds")

        with reported_to(report):
            yield fold_ended


def _key(setup: Setup, config: Config, fold: np.ndarray, number: int, seed: int) -> str:
    """16 hexadecimal digits of all that the probabilities of a fold follow from."""
    values = {k: v for k, v in config.to_json().items() if k not in OF_THE_MACHINE}
    of_setup = [setup.dataset.fingerprint, setup.weights.sha256, setup.precision.policy,
                setup.precision.jit]  # fmt: skip
    text = json.dumps([values, of_setup, number, seed], sort_keys=True)
    return hashlib.sha256(text.encode() + fold.tobytes()).hexdigest()[:16]


class _Begin:
    """The training of all images, and the weights that every fold begins with.

    Attributes:
        training: Of the images `ALL`.
    """

    def __init__(self, training: Training) -> None:
        """Remembers the weights.

        Args:
            training: Nothing is trained of it yet.
        """
        self.training, self._weights = training, training.trained_part.get_weights()

    def predicted(
        self,
        fold: np.ndarray,
        number: int,
        seed: int,
        callbacks: Sequence[keras.callbacks.Callback],
        checkpoints: Checkpoints | None = None,
    ) -> np.ndarray:
        """Trains on the other folds' images and predicts a fold's.

        Args:
            fold: int64 [n], of one repeat.
            number: Of the fold.
            seed: Of the head's weights, of dropout and of the images' order.
            callbacks: Of the training.
            checkpoints: Of the training.

        Returns:
            float32 [of the fold, classes], finite.

        Raises:
            DivergedError: The network gives no finite probabilities any more.
        """
        training, last = self.training, self.training.plan.phases[-1]
        training.trained_part.set_weights(self._weights)
        keras.utils.set_random_seed(seed)
        reset_head(training.networks.trained, seed)
        others = training.on(np.flatnonzero(fold != number))
        train_phases(others, callbacks, seed=seed, checkpoints=checkpoints)
        out = training.probabilities(last, ALL, np.flatnonzero(fold == number))
        if not np.isfinite(out).all():
            raise divergence.of_validation(training, last, last.phase.epochs.stop - 1)
        return out


def _training_of_all(setup: Setup, config: Config, *, quiet: bool) -> _Begin:
    """The training that all folds of a config share, built once a process."""
    key, begin = setup.kept.get("folds", (None, None))
    if key != config:
        images = {ALL: images_of_folds(setup)}
        training = Training(
            setup, config, images, train=ALL, score=(ALL,), on_progress=progressed, quiet=quiet
        )
        begin = _Begin(training)
        setup.kept["folds"] = config, begin  # in place of those of another config
    return begin


def train_fold(
    setup: Setup,
    config: Config,
    fold: np.ndarray,
    number: int,
    seed: int,
    state: pathlib.Path | None = None,
) -> np.ndarray:
    """A task's function: the probabilities of a fold's images by a network trained on the others.

    Args:
        setup: Of the process; its dataset has the images of train and validation.
        config: What is trained.
        fold: int64 [n], of one repeat.
        number: Of the fold.
        seed: Of the head's weights, of dropout and of the images' order.
        state: File in which the state of the training is saved; None saves nothing.

    Returns:
        float32 [of the fold, classes], finite.

    Raises:
        DivergedError: The network gives no finite probabilities any more.
    """
    begin, checkpoints = _training_of_all(setup, config, quiet=True), None
    last = begin.training.plan.phases[-1].phase.epochs.stop
    shown = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progressed(f"epoch {epoch + 1} of {last}")
    )
    if state is not None:
        # A fold's end is saved by the driver, as its result.
        every = config.checkpoint_every
        try:
            checkpoints = Checkpoints(state, every=every, at_ends=False)
        except files.DamagedError:  # the fold begins again
            state.unlink()
            checkpoints = Checkpoints(state, every=every, at_ends=False)
    try:
        return begin.predicted(fold, number, seed, [shown], checkpoints)
    except DivergedError as error:
        raise DivergedError(f"Fold {number + 1} (seed {seed}) failed. {error}") from None


def out_of_fold(
    training: Training,
    fold: np.ndarray,
    *,
    seed: int | None = None,
    label: str = "folds",
    callbacks: Callable[[], Sequence[keras.callbacks.Callback]] = tuple,
) -> np.ndarray:
    """Predicts every image by networks that did not see its fold, one after the other.

    Args:
        training: Of the images `ALL`; its networks' weights are where every fold begins.
        fold: int64 [repeats, n], of `assign_folds`.
        seed: Repeat r trains with seed + r; the config's unless given.
        label: Of the progress bar; "" for none.
        callbacks: Gives those of a fold's training.

    Returns:
        float32 [repeats, n, classes], finite.

    Raises:
        DivergedError: A network gives no finite probabilities any more.
    """
    begin, first = _Begin(training), training.config.seed if seed is None else seed
    out = np.full((*fold.shape, training.config.classes), np.nan, np.float32)
    with progress(fold.shape[0] * (fold.max() + 1), label, "folds") as shown:
        for repeat, number in np.ndindex(fold.shape[0], fold.max() + 1):
            of_fold = fold[repeat], number, first + repeat, callbacks()
            out[repeat, fold[repeat] == number] = begin.predicted(*of_fold)
            shown.update(1)
    return out


def as_predictions(
    images: Images, fold: np.ndarray | None, probabilities: np.ndarray
) -> predictions.Predictions:
    """Probabilities of several repeats as a table, one row an image and repeat.

    Args:
        images: n images.
        fold: int64 [repeats, n]; None where no folds were held out.
        probabilities: float32 [repeats, n, classes].
    """
    repeats, n = probabilities.shape[:2]
    return predictions_of(
        images.take(np.tile(np.arange(n), repeats)),
        probabilities.reshape(repeats * n, -1),
        repeats=np.repeat(np.arange(repeats), n),
        folds=None if fold is None else fold.reshape(-1),
    )
