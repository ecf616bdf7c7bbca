"""How a dataset comes to stand in its folder: one build at a time, and the old one till the end.

TFDS builds in `incomplete.*` beside the dataset and renames that folder when it is whole.
"""

import atexit
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from covid_tfds import find_sources, paths
from covid_tfds.errors import DatasetError, under_tfds_command
from covid_tfds.report import SUMMARY, next_command

_INFO = "dataset_info.json"  # the last file that TFDS writes


class KeptPath(type(epath.Path())):
    """The folder of a dataset that is replaced when the new one is whole, and not before.

    `tfds build --overwrite` removes the folder before it asks the builder anything, and
    `download_and_prepare` does so before it reads a source: a mistyped folder would cost the
    dataset. Here removal is noted, so that TFDS goes on, and the folder stays; `incomplete_dir` of
    TFDS replaces it at the end.
    """

    _replaced = False

    def rmtree(self, missing_ok: bool = False) -> None:
        """Notes that this dataset is to be replaced."""
        self._replaced = True

    def exists(self) -> bool:
        """Whether the dataset is here and to stay."""
        return not self._replaced and super().exists()


class Info(tfds.core.DatasetInfo):
    """TFDS' description of a dataset, without the page that `tfds build` prints of it."""

    def __repr__(self) -> str:
        """Nothing under `tfds build`, where the summary says what was built."""
        return "" if under_tfds_command() else super().__repr__()


def prepare(
    builder: tfds.core.DatasetBuilder, download_and_prepare: Callable[..., None], **kwargs: Any
) -> None:
    """Builds, if that is asked for, and prints the summary.

    Args:
        builder: The builder.
        download_and_prepare: TFDS' own.
        **kwargs: Its arguments.
    """
    asked = kwargs.get("download_config") or tfds.download.DownloadConfig()
    if asked.max_examples_per_split is not None and asked.max_examples_per_split < 0:
        raise DatasetError(
            f"max_examples_per_split is {asked.max_examples_per_split}; give 0 or more."
        )
    if under_tfds_command():
        logging.set_verbosity(logging.ERROR)  # TFDS logs every step; errors stay
    replace = asked.download_mode.overwrite_dataset
    if builder.is_prepared() and not replace:
        download_and_prepare(**kwargs)
        if under_tfds_command():
            _show_last(_summary(builder, asked.manual_dir, built_before=True))
        return
    with _alone(builder):
        # Another build may have made it while this one waited, or a killed one before.
        built_before = builder.is_prepared() and not replace
        if built_before:
            builder.info.read_from_directory(builder.data_dir)
        download_and_prepare(**kwargs)
    _show_last(_summary(builder, asked.manual_dir, built_before=built_before))


@contextlib.contextmanager
def full_disk_message(folder: epath.Path) -> Iterator[None]:
    """Turns a full disk into one sentence.

    Raises:
        DatasetError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and "No space left on device" not in str(error):
            raise
        raise DatasetError(
            f"The disk of {folder.parent} is full. Nothing is left of this build, and a dataset "
            "that was there stays. A build needs the room of the dataset and of its pixels "
            "(about 150 KiB an image) besides. Free some, or give another --data_dir."
        ) from None


@contextlib.contextmanager
def _alone(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Holds this config's folder, and clears what killed builds left in it.

    TFDS never looks at an `incomplete.*` again. While we hold the lock no other build is under way,
    so all of them are leftovers.
    """
    folder = paths.local_folder(builder.data_path.parent)
    if folder is None:  # nothing in a bucket can be locked
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DatasetError(
            f"The dataset can't be written to {folder} ({error.strerror}). Give another "
            "--data_dir, or make the folder writable."
        ) from None
    with lock:
        _wait_for(lock, folder)
        for leftover in sorted(folder.glob("incomplete.*")):
            _clear(leftover, folder / str(builder.version))
        yield


def _wait_for(lock: Any, folder: pathlib.Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Another build is under way in {folder}; waiting for its end.", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        return  # a disk that knows no locks: builds there are apart only if the user sees to it


def _clear(leftover: pathlib.Path, final: pathlib.Path) -> None:
    """Removes what a killed build left; if it was whole already, puts it where it belongs."""
    try:
        json.loads((leftover / _INFO).read_text())
    except (OSError, ValueError):
        shutil.rmtree(leftover)
        return
    if leftover.name.endswith(f"_{final.name}"):
        shutil.rmtree(final, ignore_errors=True)
        leftover.rename(final)


def _summary(
    builder: tfds.core.DatasetBuilder, manual_dir: os.PathLike | None, *, built_before: bool
) -> str:
    try:
        text = (builder.data_path / SUMMARY).read_text()
    except OSError:  # removed by hand
        text = f"{builder.info.full_name}\n"
    metadata = builder.info.metadata or {}
    if built_before:
        changed = find_sources.changed(
            builder.builder_config, manual_dir, metadata.get("sources", [])
        )
        text += f"built on {metadata.get('built', 'an unknown day')}, {changed};\n"
        text += "  --overwrite builds it again\n"
    root = os.fspath(builder.data_dir_root)
    usual = os.path.expanduser(tfds.core.constants.DATA_DIR) == root
    text += f"in {builder.data_path}\n"
    return "\n" + text + next_command(builder.builder_config.name, "" if usual else root)


def _show_last(text: str) -> None:
    """Prints; under `tfds build`, below the page of DatasetInfo that it prints after a build."""
    if under_tfds_command():
        atexit.register(print, text)
    else:
        print(text)
