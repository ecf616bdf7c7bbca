"""What trainings take on the disk of their folder, known before anything is computed."""

from collections.abc import Iterable
from pathlib import Path

from trainer.config import Config
from trainer.model import vgg16
from trainer.model.normalization import ZCA_IMAGES
from trainer.run import machine, saved_state
from trainer.run.run_folder import RunFolder
from trainer.run.text import counted

_FLOAT32 = 4  # bytes
# Values that are saved of a trained parameter: of the optimizers, and its own.
_SAVED = {"adam": 3, "sgd": 2}
_REST = 5 * 2**20  # plots, tables, and what TensorBoard shows at the beginning
_REST_OF_EPOCH = 64 * 2**10  # numbers of TensorBoard, also of its steps
_PICTURES, _MOST_PICTURES = 512 * 2**10, 100  # bytes of an epoch's, and epochs that have some


def network_bytes(config: Config) -> int:
    """Of `model.keras`, nearly."""
    whitening = 2 * config.image_size**2 * ZCA_IMAGES if config.normalization == "zca" else 0
    return _FLOAT32 * (sum(vgg16.parameters(config).values()) + whitening)


def state_bytes(config: Config, *, scored: bool = True) -> int:
    """Of a saved state, nearly.

    Args:
        config: Of the training.
        scored: Whether its epochs are scored, so that the state holds the best one, too.
    """
    trained = (*vgg16.trained_blocks(config), "head")
    counts = vgg16.parameters(config)
    values = _SAVED[config.optimizer] + scored
    return _FLOAT32 * values * sum(counts[name] for name in trained)


def run_bytes(config: Config) -> int:
    """Of a whole run at the moment when it takes most: a state is written beside the one before."""
    state = state_bytes(config)
    return state + max(state, network_bytes(config)) + _rest(config)


def fold_bytes(config: Config) -> int:
    """Of the saved states of one fold at the moment when they take most."""
    return 2 * state_bytes(config, scored=False)


def require_for_run(config: Config, folder: RunFolder) -> None:
    """Refuses a run that its disk has no room for.

    Args:
        config: The run.
        folder: Its folder; what is there and will be replaced counts as room.

    Raises:
        RunError: The message has the numbers.
    """
    path = folder.path
    if folder.state == "new":  # `begin` removes what an earlier run left
        replaced = folder.before.files_of(path) if folder.before else []
    else:
        replaced = [each for each in [path / saved_state.FILE] if each.exists()]
    there = sum(each.lstat().st_size for each in replaced)
    _require(path, run_bytes(config) - there, config)


def require_for_runs(config: Config, path: Path, count: int, replaced: Iterable[Path] = ()) -> None:
    """Refuses some runs, one after the other, that their disk has no room for.

    Args:
        config: Of each.
        path: The folder of all.
        count: Of those that are still to be trained.
        replaced: Folders of runs that are removed first: what is there counts as room.

    Raises:
        RunError: The message has the numbers.
    """
    ended = state_bytes(config) + network_bytes(config) + _rest(config)
    needed = ended * (count - 1) + run_bytes(config) if count else 0
    there = (each for folder in replaced for each in folder.rglob("*") if each.is_file())
    _require(path, needed - sum(each.lstat().st_size for each in there), config, count)


def require_for_folds(config: Config, path: Path, at_once: int) -> None:
    """Refuses a cross-validation that its disk has no room for.

    Args:
        config: Of each fold.
        path: Its folder.
        at_once: How many folds save their states there at a time.

    Raises:
        RunError: The message has the numbers.
    """
    states = f"the saved states of {counted(at_once, 'fold')} at a time, and tables"
    machine.require_room(path, at_once * fold_bytes(config) + _REST, states)


def _require(path: Path, needed: int, config: Config, runs: int = 1) -> None:
    what = (
        f"{'its network' if runs == 1 else f'{runs} networks'} "
        f"({machine.size(network_bytes(config))}{'' if runs == 1 else ' each'}), saved states "
        f"({machine.size(state_bytes(config))} each), plots and tables"
    )
    machine.require_room(path, needed, what)
    machine.require_file(path, max(network_bytes(config), state_bytes(config)))


def _rest(config: Config) -> int:
    epochs = config.phases[-1].epochs.stop
    return _REST + epochs * _REST_OF_EPOCH + min(epochs, _MOST_PICTURES) * _PICTURES
