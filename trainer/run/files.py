"""Files that appear whole and are checked when they are read; paths as users write them."""

import contextlib
import csv
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from trainer.run.errors import RunError
from trainer.run.progress import note

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")
_UNFINISHED = re.compile(r"\.\d+\.[0-9a-f]{8}\.(.+)")
# What file systems without locks answer: some network and FUSE mounts.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_DIGEST = hashlib.sha256().digest_size

_guards: list[tuple[pathlib.Path, Callable[[], None]]] = []


class DamagedError(RunError):
    """A file is not what was written."""


def expanded(path: str | os.PathLike) -> str:
    """A path with `~` and `$VARIABLES` replaced; one of a bucket (gs://...) keeps its slashes.

    Args:
        path: As a user wrote it; "" stays "".

    Raises:
        RunError: It names a variable that is not set, or a user that does not exist, or it holds a
            NUL character.
    """
    given = os.path.expanduser(os.fspath(path))
    if "\0" in given:
        raise RunError(f"The path {given!r} holds a NUL character. Leave it out.")
    if given.startswith("~"):
        raise RunError(
            f"The path {given} begins with the home folder of {given.split('/')[0][1:]!r}, which "
            "is not known here. Write the path out."
        )
    if "$" not in given or os.path.exists(given):  # a name may hold a $
        return given
    names = [name.strip("{}") for name in _VARIABLE.findall(given)]
    unset = [name for name in names if name not in os.environ]
    if unset:
        raise RunError(
            f"The path {given} names the variable {unset[0]}, which is not set. Set it, or write "
            "the path out."
        )
    return os.path.expandvars(given)


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a path beside `path` to write to; it takes the place of `path` when all went well.

    The file is on the disk before it bears its name, so that a power cut leaves the old one or the
    new one.

    Args:
        path: Of the file; its folder exists. The path beside it ends in the same suffix.

    Raises:
        RunError: The folder is `guarded`, and was lost.
        OSError: The file can't be written; one that was there stays.
    """
    path = pathlib.Path(path)
    # Two processes of two machines may have one number; Keras goes by the suffix.
    beside = path.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.{path.name}")
    try:
        yield beside
        require_held(path)  # who has the folder now may have removed the file beside
        flush(beside)
        require_held(path)  # that took its time
        beside.replace(path)
        flush(path.parent)
    except OSError as error:
        require_held(path)  # who has the folder now may be the reason
        if error.filename is None:  # what writes does not know the name
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing is to be removed
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a folder beside `path` to write into; it takes the place of `path` when all went well.

    A folder that was there is put aside first, and is back where the new one can't be named.

    Args:
        path: Of the folder; the one above it exists.

    Raises:
        OSError: It can't be written; one that was there stays.
    """
    path = pathlib.Path(path)
    end = f"{os.getpid()}.{secrets.token_hex(4)}.{path.name}"
    beside, before = path.with_name(f".{end}"), path.with_name(f".before.{end}")
    beside.mkdir()
    try:
        yield beside
        for each in (*beside.rglob("*"), beside):
            flush(each)
        if path.exists():
            path.rename(before)
        try:
            beside.rename(path)
        except OSError:
            if before.exists():
                before.rename(path)
            raise
        flush(path.parent)
    finally:
        for each in (beside, before):
            shutil.rmtree(each, ignore_errors=True)


@contextlib.contextmanager
def guarded(folder: str | os.PathLike, check: Callable[[], None]) -> Iterator[None]:
    """Meanwhile, no file below a folder that is `written_whole` takes its name without a check.

    Args:
        folder: The folder.
        check: Raises RunError where the folder was lost to another process.
    """
    guard = pathlib.Path(os.path.realpath(folder)), check
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def require_held(path: pathlib.Path) -> None:
    """Looks whether a file may be written or removed still: whether its folder was not lost.

    Args:
        path: Of the file; below no folder that is `guarded` it always may.

    Raises:
        RunError: Another process took the folder over.
    """
    parents = pathlib.Path(os.path.realpath(path.parent), path.name).parents
    for folder, check in tuple(_guards):
        if folder in parents:
            check()


def flush(path: str | os.PathLike) -> None:
    """Has the system write a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: str | os.PathLike) -> None:
    """Makes a folder, and those above it, where they are missing; their names are on the disk.

    Raises:
        OSError: It can't be made, or a file is there.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():  # else another process was faster
            raise
    flush(path.parent)


def write_sealed(path: str | os.PathLike, payload: bytes) -> None:
    """Writes bytes behind their SHA-256, whole.

    Args:
        path: Of the file.
        payload: The bytes.
    """
    with written_whole(path) as beside, open(beside, "wb") as file:
        file.write(hashlib.sha256(payload).digest())
        file.write(payload)


def read_sealed(path: str | os.PathLike) -> bytes:
    """The bytes that `write_sealed` wrote.

    Raises:
        DamagedError: The file is not what was written.
        OSError: It can't be read.
    """
    with open(path, "rb") as file:
        digest, payload = file.read(_DIGEST), file.read()
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedError(
            f"{path} is damaged: its content is not what was written. Put back a copy of it, or "
            "remove it."
        )
    return payload


def unfinished(path: pathlib.Path) -> str | None:
    """The name of the file that a killed process was writing here; None for all other files."""
    match = _UNFINISHED.fullmatch(path.name)
    return match[1] if match else None


def flag_lines(flags: Mapping[str, Any]) -> str:
    """Lines for a `--flagfile`: values by the names of their flags.

    `--test` is among them only where it is off: the commands that never score the test split have
    no such flag, and read the files of runs.
    """
    lines = {name: f"--{name}={value}\n" for name, value in flags.items()}
    if flags.get("test"):
        del lines["test"]
    return "".join(lines.values())


def read_json(path: pathlib.Path, *names: str, mend: str) -> dict[str, Any]:
    """Reads a JSON file that this project wrote and that a user may have edited.

    Args:
        path: Of the file.
        names: What it has to hold.
        mend: What to do with a damaged one, a sentence.

    Raises:
        DamagedError: It is no JSON object with these names.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict) and values and values.keys() >= set(names):
        return values
    raise DamagedError(f"{path} is damaged: its content is not what was written. {mend}")


def write_json(path: str | os.PathLike, values: Any) -> None:
    """Writes JSON that other tools can read, whole: no NaN, no infinity.

    Args:
        path: Of the file.
        values: What `json` can write.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(values, indent=1, allow_nan=False)
    with written_whole(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def write_table(
    path: str | os.PathLike, header: Iterable[str], rows: Iterable[Iterable[Any]]
) -> None:
    """Writes the cells of a table as they come, whole.

    Args:
        path: Of the file.
        header: Names of the columns.
        rows: One cell a column.
    """
    with written_whole(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table with a header, whole.

    Args:
        path: Of the file.
        rows: One or more, from which the columns come in their order; what a row lacks is empty.
    """
    columns = dict.fromkeys(name for row in rows for name in row)
    with written_whole(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def try_lock(file: IO, *, shared: bool = False, wait: bool = False) -> bool | None:
    """Locks an open file (flock) until it is closed, if no other process has it.

    Args:
        file: An open file.
        shared: Whether others may share it.
        wait: Whether to wait until no other process has it.

    Returns:
        Whether it is locked now; None where its file system has no locks.
    """
    try:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def locked(file: IO) -> bool | None:
    """Whether an open file could be locked; it stays so until it is closed.

    Where its file system has no locks it is None, a line on stderr says so, and all goes on.
    """
    got = try_lock(file)
    if got is None:
        _no_locks(file)
    return got


_without_locks: set[str] = set()


def _no_locks(file: IO) -> None:
    folder = os.path.dirname(os.path.realpath(f"/proc/self/fd/{file.fileno()}"))
    if folder not in _without_locks:
        _without_locks.add(folder)
        note(f"The file system of {folder} has no locks: nothing keeps a second process out of it.")
