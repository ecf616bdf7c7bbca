"""One build from the request to the summary."""

import atexit
import contextlib
import datetime
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from covid_tfds import digests, find_sources, replacing
from covid_tfds.errors import DatasetError, under_tfds_command
from covid_tfds.report import SUMMARY, next_command

# As the kernel, TensorFlow and TFDS say it.
_FULL = re.compile("No space left on device|Not enough disk space")


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
    if under_tfds_command():
        logging.set_verbosity(logging.ERROR)  # TFDS logs every step; errors stay
    replace = asked.download_mode.overwrite_dataset
    replacing.recover(builder)
    if builder.is_prepared() and not replace:
        _require_same_request(builder)
        download_and_prepare(**kwargs)
        if under_tfds_command() or always_summary:
            _show_last(_summary(builder, asked.manual_dir, built_before=True))
        return
    with replacing.alone(builder), full_disk_message(builder.data_path):
        # Another build may have made it while this one waited.
        built_before = builder.is_prepared() and not replace
        if built_before:
            builder.info.read_from_directory(builder.data_dir)
            _require_same_request(builder)
        download_and_prepare(**kwargs)
    _show_last(_summary(builder, asked.manual_dir, built_before=built_before))


def _require_same_request(builder: tfds.core.DatasetBuilder) -> None:
    """Refuses to take a dataset for another one that bears its name."""
    built = (builder.info.metadata or {}).get("config")
    asked = builder.builder_config.request()
    if built is None or built == asked:
        return
    differing = [name for name in asked if asked[name] != built.get(name)]
    said = ", ".join(f"{name} {built.get(name)!r}, not {asked[name]!r}" for name in differing)
    raise DatasetError(
        f"{builder.info.full_name} in {builder.data_path.parent} was built with {said}. Give "
        "another name, or build it again with --overwrite."
    )


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
        if not full and not _FULL.search(str(error)):
            raise
        raise DatasetError(
            f"The disk of {folder.parent} is full. Nothing is left of this build, and a dataset "
            "that was there stays. A build needs the room of the dataset and of its pixels "
            "(about 150 KiB an image) besides. Free some, or give another --data_dir."
        ) from None


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
    return "\n" + text + next_command(builder.builder_config.name, "" if usual else root)


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
        atexit.register(print, text)
    else:
        print(text)
