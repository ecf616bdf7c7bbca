"""Folders of this machine and of buckets."""

import os
import pathlib

from etils import epath


def local_folder(path: epath.Path) -> pathlib.Path | None:
    """A path on this machine's disks; None for one in a bucket (`gs://...`)."""
    text = os.fspath(path)
    return None if "://" in text else pathlib.Path(text)
