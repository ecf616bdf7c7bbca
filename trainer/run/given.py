"""Paths that a command was given, looked at before what takes seconds to load."""

import glob
import os
import pathlib
import sys
from collections.abc import Sequence

from trainer.run import files, names
from trainer.run.errors import RunError
from trainer.run.text import listed

_NAMED = 5  # paths in a message
_COMPARED = 2000  # names that a mistyped one is compared with: some 0.2 s


def on_stdin() -> list[str]:
    """The paths on stdin, a line each, or separated by NUL as `find -print0` does it.

    No shell has seen them, so that a `~` at their beginning is a part of the name.
    """
    data = sys.stdin.buffer.read()
    lines = data.split(b"\0") if b"\0" in data else data.replace(b"\r\n", b"\n").split(b"\n")
    found = [os.fsdecode(path) for path in lines if path]
    return [os.path.join(".", path) if path.startswith("~") else path for path in found]


def require_something(paths: Sequence[str | os.PathLike]) -> None:
    """Refuses paths of which none is there.

    Args:
        paths: Of files and folders, and patterns; none at all are let through.

    Raises:
        RunError: Nothing is there, of none of them, or one is empty.
    """
    if not all(map(os.fspath, paths)):
        raise RunError("One of the paths is empty: is a variable of the shell not set?")
    given = [files.expanded(path) for path in paths]
    if given and not any(map(_is_there, given)):
        shown = given[:_NAMED] + ([f"{len(given) - _NAMED} more"] if len(given) > _NAMED else [])
        raise RunError(f"There is no file {listed(shown)}.{did_you_mean(given[0])}")


def require_written(path: str | os.PathLike, flag: str) -> None:
    """Refuses a file that can't be written, as far as that is known beforehand.

    Args:
        path: Of the file; "" is none.
        flag: What names it.

    Raises:
        RunError: Its folder is not there or can't be written, or a folder has its name.
    """
    if not path:
        return
    file = pathlib.Path(files.expanded(path))
    if os.path.isdir(file):
        raise RunError(f"--{flag} {file} is a folder. Give a file.")
    if not os.path.isdir(file.parent):
        raise RunError(
            f"--{flag} {file} can't be written: there is no folder {file.parent}. Make it, or give "
            "another file."
        )
    _require_access(file.parent, file, flag, "file")


def require_made(path: str | os.PathLike, flag: str) -> None:
    """Refuses a folder that can't be made or written, as far as that is known beforehand.

    Args:
        path: Of the folder, which need not be there.
        flag: What names it.

    Raises:
        RunError: A file has its name or one above it, or it can't be written.
    """
    folder = pathlib.Path(files.expanded(path))
    there = nearest_there(folder)
    if not os.path.isdir(there):
        raise RunError(f"--{flag} {folder} can't be made: {there} is no folder. Give another.")
    _require_access(there, folder, flag, "folder")


def nearest_there(path: pathlib.Path) -> pathlib.Path:
    """The path if it is there, else the nearest one above that is, absolute."""
    return next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))


def did_you_mean(path: str | os.PathLike) -> str:
    """` Did you mean runs/art4?` with what lies beside a path that does not exist, or "".

    Args:
        path: As `files.expanded` gives it.
    """
    folder, name = os.path.split(os.path.normpath(path))
    try:
        there = os.listdir(folder or ".")
    except OSError:
        return ""
    near = names.nearest(name, sorted(there), most=1) if len(there) <= _COMPARED else []
    return f" Did you mean {os.path.join(folder, near[0])}?" if near else ""


def _is_there(path: str) -> bool:
    """Whether a path, or the first match of a pattern, is there."""
    return os.path.lexists(path) or any(True for _ in glob.iglob(path, recursive=True))


def _require_access(there: pathlib.Path, path: pathlib.Path, flag: str, kind: str) -> None:
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(
            f"--{flag} {path} can't be written: {there} is not writable. Give another {kind}."
        )
