"""A source's files in a folder."""

import os
import pathlib
import stat
from collections.abc import Iterator

from covid_tfds.errors import DatasetError
from covid_tfds.sources import listing

_LOOP = "link to a folder above it"
HERE = "a link to a folder that is here itself"
_NOT_TEXT = "name is not UTF-8"
_CANT_LIST = "folder can't be opened"
_EMPTY = "empty folder"


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
    try:
        with os.scandir(path):
            pass
    except OSError as error:
        raise DatasetError(
            f"{listing.shown(str(root))} can't be opened as a folder ({error.strerror}). "
            "Give the folder that holds the images (--manual_dir)."
        ) from None
    return _Folder(path, listing.shown(str(root)), twice)


class _Folder(listing.Storage):
    def __init__(self, root: pathlib.Path, where: str, twice: bool) -> None:
        self._root = root
        exclusions: list[tuple[str, str]] = []
        files = _walk(str(root), exclusions, twice)
        super().__init__(where, files, exclusions, listing.commit_in(root.name))

    def read(self, name: str) -> bytes:
        try:
            # What was a file when it was listed may be a pipe now: never wait for its writer.
            number = os.open(self._root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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
        except (OSError, ValueError):  # ValueError: a name that no file can have
            raise listing.Unreadable(listing.CANT_OPEN) from None


def _walk(
    root: str, exclusions: list[tuple[str, str]], twice: bool
) -> Iterator[tuple[str, int, int]]:
    """Yields (name, bytes, time of change) of the files; adds what is no candidate to `exclusions`.

    A folder that is reached by a link is listed under the link's name, unless it is one of those
    above the link (that would never end) or, unless `twice`, is listed under its own name.
    """
    status, real_root = os.stat(root), os.path.realpath(root)
    todo = [("", ((status.st_dev, status.st_ino),))]
    while todo:
        above, chain = todo.pop()
        empty = True
        try:
            with os.scandir(os.path.join(root, above)) as entries:
                for entry in entries:
                    empty = False
                    name, status, reason = _look(above, entry)
                    here = (status.st_dev, status.st_ino) if status else None
                    if not reason and stat.S_ISREG(status.st_mode):
                        yield name, status.st_size, status.st_mtime_ns
                    elif reason:
                        exclusions.append((name, reason))
                    elif here in chain:
                        exclusions.append((f"{name}/", _LOOP))
                    elif not twice and entry.is_symlink() and _is_listed(entry.path, real_root):
                        exclusions.append((f"{name}/", HERE))
                    else:
                        todo.append((f"{name}/", (*chain, here)))
        except OSError:
            exclusions.append((above or "./", _CANT_LIST))
            continue
        if empty and above:
            exclusions.append((above, _EMPTY))


def _is_listed(link: str, real_root: str) -> bool:
    """Whether a link leads to a folder that is found without it: under the root, not hidden."""
    real = os.path.realpath(link)
    if os.path.commonpath([real, real_root]) != real_root:
        return False
    below = os.path.relpath(real, real_root)
    return listing.is_text(below) and not listing.hidden_part(below)


def _look(above: str, entry: os.DirEntry) -> tuple[str, os.stat_result | None, str]:
    """Name, status (of what a link leads to) and why it can't be used, or "", of one entry."""
    name = listing.shown(above + entry.name)
    try:
        status = entry.stat()
    except OSError:
        if listing.is_hidden(entry.name):
            return name, None, listing.HIDDEN
        return name, None, listing.BROKEN_LINK if entry.is_symlink() else listing.CANT_OPEN
    is_folder = stat.S_ISDIR(status.st_mode)
    end = "/" if is_folder else ""
    if listing.is_hidden(entry.name):
        return name + end, status, listing.HIDDEN
    if not listing.is_text(entry.name):
        return name + end, status, _NOT_TEXT
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return name, status, listing.NOT_REGULAR
    return name, status, ""
