"""One build from the request to the summary."""

import atexit
import contextlib
import datetime
import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from covid_tfds import digests, find_sources, paths, progress, replacing
from covid_tfds.errors import DatasetError, under_tfds_command
from covid_tfds.report import SUMMARY, next_command
from covid_tfds.sources import wording

# What a full disk is called by the kernel, and so by TensorFlow, and the sentence for it.
_FULL = {
    errno.ENOSPC: (
        "No space left on device",
        "The disk of {folder} is full: a build needs the room of the dataset and of its pixels "
        "(about 150 KiB an image) besides. Free some, or give another --data_dir.",
    ),
    errno.EDQUOT: (
        "Disk quota exceeded",
        "Your quota on the disk of {folder} is used up. Free some, or give another --data_dir.",
    ),
    errno.EFBIG: (
        "File too large",
        "A file grows beyond what this session may write to {folder} (`ulimit -f` shows it). Raise "
        "the limit, and build again.",
    ),
}
_OTHER_FORMAT = "File format is already set to"  # what TFDS says of it


class Info(tfds.core.DatasetInfo):
    """TFDS' description of a dataset, which is the last that is written of it.

    Attributes:
        known_digests: Hexadecimal sha256 of files that are known already, by name.
    """

    known_digests: Mapping[str, str] = MappingProxyType({})

    def __repr__(self) -> str:
        """Nothing under `tfds build`, where the summary says what was built."""
        return "" if under_tfds_command() else super().__repr__()

    def write_to_directory(self, dataset_info_dir: os.PathLike, all_metadata: bool = True) -> None:
        """Writes it, then the digests of all files; then the dataset's name is free for it."""
        super().write_to_directory(dataset_info_dir, all_metadata)
        folder = epath.Path(dataset_info_dir)
        with progress.shown("flushing the files to the disk"):
            digests.write(folder, digests.of_files(folder, self.known_digests))
        replacing.make_room(folder)


def prepare(
    builder: tfds.core.DatasetBuilder,
    download_and_prepare: Callable[..., None],
    *,
    always_summary: bool = False,
    **kwargs: Any,
) -> None:
    """Builds, if that is asked for, and prints the summary.

    Args:
        builder: The builder.
        download_and_prepare: TFDS' own.
        always_summary: Print it also in Python, and of a dataset that is there.
        **kwargs: Arguments of `download_and_prepare`.

    Raises:
        DatasetError: The disk is full, or what is built under this name is something else.
    """
    asked = kwargs.get("download_config") or tfds.download.DownloadConfig()
    if asked.max_examples_per_split is not None and asked.max_examples_per_split < 0:
        raise DatasetError(
            f"max_examples_per_split is {asked.max_examples_per_split}; give 0 or more."
        )
    asked.manual_dir = asked.manual_dir and paths.expanded(asked.manual_dir)
    replace = asked.download_mode.overwrite_dataset
    replacing.recover(builder)
    if builder.is_prepared() and not replace:
        _require_same_request(builder, asked)
        download_and_prepare(**kwargs)
        if under_tfds_command() or always_summary:
            _show_last(_summary(builder, asked.manual_dir, built_before=True))
        return
    if under_tfds_command():
        print(f"building {builder.info.full_name} in {builder.data_dir_root}", flush=True)
    with replacing.alone(builder):
        # Another build may have made it while this one waited.
        built_before = builder.is_prepared() and not replace
        if built_before:
            builder.info.read_from_directory(builder.data_dir)
            _require_same_request(builder, asked)
        download_and_prepare(**kwargs)
    _show_last(_summary(builder, asked.manual_dir, built_before=built_before))


def request(
    builder: tfds.core.DatasetBuilder, asked: tfds.download.DownloadConfig
) -> dict[str, Any]:
    """What decides which images a dataset has, as JSON has it."""
    limit = asked.max_examples_per_split
    return builder.builder_config.request() | {"max_examples_per_split": limit}


def _require_same_request(
    builder: tfds.core.DatasetBuilder, config: tfds.download.DownloadConfig
) -> None:
    """Refuses to take a dataset for another one that bears its name."""
    built, asked = (builder.info.metadata or {}).get("config"), request(builder, config)
    if built is None:
        return
    differing = [name for name in asked if asked[name] != built.get(name)]
    if not differing:
        return
    said = ", ".join(f"{name} {built.get(name)!r}, not {asked[name]!r}" for name in differing)
    raise DatasetError(
        f"{builder.info.full_name} in {builder.data_path.parent} was built with {said}. Give "
        "another --data_dir, or a config of another name, or replace it with --overwrite."
    )


@contextlib.contextmanager
def disk_messages(folder: os.PathLike | str | None) -> Iterator[None]:
    """Turns what a disk refuses into one sentence.

    Args:
        folder: Of the datasets; None: TFDS' own.

    Raises:
        DatasetError: The disk is full, or refuses something else.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        why = _refused_by_disk(error, os.fspath(folder or tfds.core.constants.DATA_DIR))
        if why is None:
            raise
        raise DatasetError(
            f"{why} Nothing is left of this build, and a dataset that was there stays."
        ) from error


@contextlib.contextmanager
def damage_messages(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Turns whatever TFDS raises of a damaged description into one sentence.

    Args:
        builder: One that is being constructed.

    Raises:
        DatasetError: A dataset is there, and its description can't be read, or is of another
            format of files.
    """
    try:
        yield
    except (DatasetError, OSError):
        raise
    except Exception as error:
        folder = getattr(builder, "_data_dir", None)
        if str(error).startswith(_OTHER_FORMAT):
            raise DatasetError(
                f"The dataset in {folder} has another --file_format than the one that is asked for "
                f"({wording.one_line(str(error))}). Remove that folder, or give another --data_dir."
            ) from error
        if folder is None or not os.path.lexists(os.path.join(folder, "dataset_info.json")):
            raise
        raise DatasetError(
            f"The description of the dataset in {folder} can't be read "
            f"({wording.one_line(str(error))}). Remove that folder, and build it again."
        ) from error


def _refused_by_disk(error: Exception, folder: str) -> str | None:
    """What is wrong and how to mend it; None for errors of another kind."""
    if isinstance(error, OSError) and isinstance(error.__cause__, OSError):
        error = error.__cause__  # of a description TFDS says only that it can't be read
    code = getattr(error, "errno", None) if isinstance(error, OSError) else None
    for number, (words, mend) in _FULL.items():
        if code == number or words in str(error):
            return mend.format(folder=folder)
    if isinstance(error, OSError) and code is not None:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        return f"The dataset can't be built in {folder} ({what}). Mend that, and build again."
    if type(error).__module__ == "tensorflow.python.framework.errors_impl":
        what = str(error).splitlines()[0]
        return f"TensorFlow can't write the dataset to {folder} ({what}). Mend that, and try again."
    return None


def _summary(
    builder: tfds.core.DatasetBuilder, manual_dir: os.PathLike | None, *, built_before: bool
) -> str:
    try:
        text = (builder.data_path / SUMMARY).read_text()
    except OSError:  # removed by hand
        text = f"{builder.info.full_name}\n"
    if built_before:
        sources = (builder.info.metadata or {}).get("sources", [])
        changed = find_sources.changed(builder.builder_config, manual_dir, sources)
        text += f"built on {_day(builder.data_path)}, {changed};\n"
        text += "  --overwrite builds it again\n"
    root = os.fspath(builder.data_dir_root)
    usual = os.path.expanduser(tfds.core.constants.DATA_DIR) == root
    text += f"in {builder.data_path}\n"
    classes = builder.info.features["label"].num_classes
    if classes < 2:
        return f"\n{text}A classifier needs two classes: add images of another, and build it again."
    return f"\n{text}{next_command(builder.builder_config.name, classes, '' if usual else root)}"


def _day(folder: epath.Path) -> str:
    """When a dataset was built: what is in its files depends on the sources alone."""
    try:
        written = (folder / digests.FILE).stat().mtime
    except OSError:  # removed by hand
        return "an unknown day"
    return str(datetime.date.fromtimestamp(written))


def _show_last(text: str) -> None:
    """Prints; under `tfds build`, below the page of DatasetInfo that it prints after a build."""
    encoding = sys.stdout.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)  # names of any script
    if under_tfds_command():
        atexit.register(gc.freeze)  # collecting what TensorFlow holds takes seconds
        atexit.register(print, text)
    else:
        print(text)
