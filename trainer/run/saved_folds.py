"""Folds that ended, and states of those under way: what a cross-validation goes on from."""

import contextlib
import fnmatch
import pathlib

import numpy as np

from trainer.run import files, saved_state

FOLDER, NAMES = "checkpoints", "fold_*"  # in that of a cross-validation
_STATE = ".state"


class SavedFolds:
    """Files of folds in a folder. A fold's key is a digest of all that its result follows from."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Reads nothing yet.

        Args:
            folder: Made when a fold is written.
        """
        self._folder = folder

    def read(self, key: str) -> np.ndarray | None:
        """The probabilities of a fold that ended, float32 [n, classes]; None where it did not.

        A file that is not what was written counts as none: the fold is trained again.
        """
        with contextlib.suppress(files.DamagedError):
            if saved := saved_state.read(self._path(key)):
                return saved.arrays["probabilities"]
        return None

    def write(self, key: str, probabilities: np.ndarray) -> None:
        """Writes a fold that ended, and removes its state."""
        files.make_folder(self._folder)
        saved_state.write(self._path(key), {}, {"probabilities": probabilities})
        self.state(key).unlink(missing_ok=True)

    def state(self, key: str) -> pathlib.Path:
        """The file of a fold that is under way."""
        files.make_folder(self._folder)
        return self._path(key).with_suffix(_STATE)

    def remove(self) -> None:
        """Removes all folds, which are not needed when everything has ended."""
        with contextlib.suppress(FileNotFoundError):
            for path in [*self._folder.iterdir()]:
                # A worker that was killed may have left one that is not whole.
                if fnmatch.fnmatchcase(files.unfinished(path) or path.name, NAMES):
                    path.unlink()
        with contextlib.suppress(OSError):  # it holds something else, or is not there
            self._folder.rmdir()

    def _path(self, key: str) -> pathlib.Path:
        return self._folder / NAMES.replace("*", key)


def where_it_goes_on(folder: pathlib.Path, *, overwrite: bool = False) -> str:
    """One line on what an interrupted cross-validation has left.

    Args:
        folder: Of the cross-validation.
        overwrite: Whether the command had --overwrite, which would begin again.
    """
    every = {path.name for path in (folder / FOLDER).glob(NAMES)}
    ended = sum(not name.endswith(_STATE) for name in every)
    folds = "1 fold that ended is" if ended == 1 else f"{ended} folds that ended are"
    # A process may have been killed after it wrote a fold, and before it removed the fold's state.
    states = len({name.removesuffix(_STATE) for name in every}) - ended
    under_way = ", and the state of one that was under way" if states else ""
    again = saved_state.goes_on(folder, overwrite=overwrite)
    return f"{folds} in {folder}{under_way}: {again}."
