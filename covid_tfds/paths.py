"""Files and folders of this machine and of buckets."""

import os
import pathlib

from etils import epath


def local_folder(path: epath.Path) -> pathlib.Path | None:
    """A path on this machine's disks; None for one in a bucket (`gs://...`)."""
    text = os.fspath(path)
    return None if "://" in text else pathlib.Path(text)


def flush(*paths: os.PathLike) -> None:
    """Has the system write files, or the names in folders, to the disk; nothing of buckets."""
    for path in filter(None, map(local_folder, paths)):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
