"""A source's files in a folder, and single files."""

import os
import pathlib
import stat

from covid_tfds.errors import DatasetError
from covid_tfds.sources import listing
from covid_tfds.sources.walk import Walk


def folder(root: str | os.PathLike, *, twice: bool = False) -> listing.Storage:
    """All files under a folder; links are followed.

    Args:
        root: The folder.
        twice: Whether a linked folder that lies under the root itself is listed under the link's
            name, too: in a source whose paths are fixed, that may be the one that is looked for.

    Raises:
        DatasetError: There is no such folder, or it can't be opened.
    """
    path = pathlib.Path(root).absolute()  # a later change of the working folder moves nothing
    if sentence := is_a_file(path):
        raise DatasetError(sentence)
    try:
        with os.scandir(path):
            pass
    except (OSError, ValueError) as error:  # ValueError: a name that no folder can have
        why = getattr(error, "strerror", None) or error
        raise DatasetError(
            f"{listing.shown(str(root))} can't be opened as a folder ({why}). "
            "Give the folder that holds the images (--manual_dir)."
        ) from None
    return _Folder(path, listing.shown(str(root)), twice)


def is_a_file(root: str | os.PathLike) -> str:
    """A sentence where a path is, or leads through, a file in place of a folder; else ""."""
    path = pathlib.Path(root)
    for place in (path, *path.parents):
        if os.path.isfile(place):
            return (
                f"{listing.shown(str(place))} is a file; --manual_dir is the folder that holds it."
            )
    return ""


def read_file(path: str | os.PathLike) -> bytes:
    """The bytes of a file. Thread-safe.

    Args:
        path: Of the file.

    Raises:
        Unreadable: It can't be read; the message is the reason.
    """
    try:
        # What was a file when it was listed may be a pipe now: never wait for its writer.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(number, "rb") as file:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                raise listing.Unreadable(listing.NOT_REGULAR)
            if status.st_size > listing.LIMIT:
                raise listing.Unreadable(listing.TOO_LARGE)
            return file.read()
    except FileNotFoundError:
        raise listing.Unreadable(listing.VANISHED) from None
    except IsADirectoryError:
        raise listing.Unreadable(listing.NOT_REGULAR) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise listing.cant_open(error, path) from None


class _Folder(listing.Storage):
    def __init__(self, root: pathlib.Path, where: str, twice: bool) -> None:
        self._root = root
        walk = Walk(str(root), visits=2 if twice else 1)
        super().__init__(where, walk.files(), walk.exclusions, listing.commit_in(root.name))
        self.aliases = {listing.nfc(name): first for name, first in walk.aliases.items()}

    def read(self, name: str) -> bytes:
        return read_file(self._root / name)
