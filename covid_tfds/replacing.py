"""How a dataset comes to stand in its folder: one build at a time, and the old one till the end.

TFDS builds in `incomplete.*` beside the dataset and renames that folder when it is whole. An old
dataset is renamed to `replaced.*` just before, and removed afterwards: wherever a kill strikes, one
of the two is whole, and the next build finds it.
"""

import contextlib
import fcntl
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from covid_tfds import digests, paths
from covid_tfds.errors import DatasetError

_BUILDING, _REPLACED = "incomplete.", "replaced."


# Of which class a local path is depends on the system.
class KeptPath(type(epath.Path())):  # type: ignore[misc]
    """The folder of a dataset that is replaced when the new one is whole, and not before.

    `tfds build --overwrite` removes the folder before it asks the builder anything, and
    `download_and_prepare` does so before it reads a source: a mistyped folder would cost the
    dataset. Here removal is noted, so that TFDS goes on, and the folder stays until `make_room`.
    """

    _replaced = False

    def rmtree(self, missing_ok: bool = False) -> None:
        """Notes that this dataset is to be replaced."""
        self._replaced = True

    def exists(self) -> bool:
        """Whether the dataset is here and to stay."""
        return not self._replaced and super().exists()


def make_room(folder: epath.Path) -> None:
    """Renames the dataset that a finished one is about to replace.

    Args:
        folder: In which TFDS has built, e.g. `incomplete.8C2F1_2.0.0`; others change nothing.
    """
    built = paths.local_folder(folder)
    if built is None or not built.name.startswith(_BUILDING):
        return
    version = built.name.rpartition("_")[2]
    final, aside = built.with_name(version), built.with_name(_REPLACED + version)
    if final.exists():
        _remove(aside)
        final.rename(aside)


@contextlib.contextmanager
def alone(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Holds this config's folder, and clears before and after what builds leave in it.

    While we hold the lock no other build is under way, so all that is unfinished is left over.

    Raises:
        DatasetError: The folder can't be written, or the dataset lies behind a link to nowhere.
    """
    folder = paths.local_folder(builder.data_path.parent)
    if folder is None:  # nothing in a bucket can be locked
        yield
        return
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths.flush(*(each.parent for each in missing))
        lock = open(folder / ".lock", "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DatasetError(
            f"The dataset can't be written to {folder} ({error.strerror}). Give another "
            "--data_dir, or make the folder writable."
        ) from None
    with lock:
        _wait_for(lock, folder)
        _clear(folder, str(builder.version))
        _require_place(folder / str(builder.version))
        try:
            yield
        finally:
            _clear(folder, str(builder.version))


def recover(builder: tfds.core.DatasetBuilder) -> None:
    """Clears what a killed build left, if there is anything and no build is under way."""
    folder = paths.local_folder(builder.data_path.parent)
    if folder is None or not _leftovers(folder):
        return
    with contextlib.suppress(OSError), open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear(folder, str(builder.version))
        if builder.is_prepared():
            builder.info.read_from_directory(builder.data_dir)


def _wait_for(lock: Any, folder: pathlib.Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Another build is under way in {folder}; waiting for its end.", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        return  # a disk that knows no locks: builds there are apart only if the user sees to it


def _require_place(final: pathlib.Path) -> None:
    """Refuses a link to nowhere, in whose place a dataset can't be put when it is built."""
    if final.is_symlink() and not final.exists():
        raise DatasetError(
            f"{final} is a link to {final.readlink()}, which is not there. Mount the disk that it "
            "is on, or remove the link."
        )


def _leftovers(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted([*folder.glob(f"{_BUILDING}*"), *folder.glob(f"{_REPLACED}*")])


def _clear(folder: pathlib.Path, version: str) -> None:
    """Puts what is whole where it belongs, and removes the rest."""
    final = folder / version
    for leftover in folder.glob(f"{_BUILDING}*"):
        if leftover.name.endswith(f"_{version}") and digests.read(epath.Path(leftover)):
            make_room(epath.Path(leftover))
            leftover.rename(final)
        else:
            shutil.rmtree(leftover)
    paths.flush(folder)  # the new dataset has its name before the old one is removed
    for aside in folder.glob(f"{_REPLACED}*"):
        was = aside.with_name(aside.name.removeprefix(_REPLACED))
        if was.exists():
            _remove(aside)
        else:
            aside.rename(was)


def _remove(folder: pathlib.Path) -> None:
    """Removes a folder if it is there, or the link by which a dataset lies on another disk."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
