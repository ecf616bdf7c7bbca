"""Files and folders of this machine and of buckets."""

import errno
import os
import pathlib
import re

from etils import epath

from covid_tfds.errors import DatasetError

# Some disks of a network know no flushing of folders.
_CAN_NOT_FLUSH = (errno.EINVAL, errno.ENOTSUP)
_VARIABLE = re.compile(r"\$(\w|\{)")


def local_folder(path: epath.Path) -> pathlib.Path | None:
    """A path on this machine's disks; None for one in a bucket (`gs://...`)."""
    text = os.fspath(path)
    return None if "://" in text else pathlib.Path(text)


def expanded(path: os.PathLike | str) -> str:
    """A path with `~` and `$VARIABLES` replaced, which no shell does within quotes.

    Raises:
        DatasetError: It names a user or a variable that is not known, or is no text.
    """
    given = os.fspath(path)
    full = os.path.expanduser(given)
    if not os.path.exists(full):  # the name of a folder may hold a $
        full = os.path.expandvars(full)
    if full.startswith("~") or (_VARIABLE.search(full) and not os.path.exists(full)):
        raise DatasetError(
            f"The path {given} names a home folder or a variable that is not known here. Write it "
            "out."
        )
    try:
        full.encode()
    except UnicodeEncodeError:
        raise DatasetError(
            f"The path {given!a} is not UTF-8, and TensorFlow can't write there. Give another."
        ) from None
    return full


def flush(*paths: os.PathLike) -> None:
    """Has the system write files, or the names in folders, to the disk; nothing of buckets."""
    for path in filter(None, map(local_folder, paths)):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _CAN_NOT_FLUSH:
                raise
        finally:
            os.close(handle)
