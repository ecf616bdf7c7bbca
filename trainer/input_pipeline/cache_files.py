"""The files of a cache folder: opened under its locks, read and written at an offset.

An error of the machine becomes a sentence, and is never taken for a damaged row.
"""

import contextlib
import errno
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from trainer.run import files, machine
from trainer.run.errors import RunError

_LONGEST_USE = 24 * 3600.0  # seconds that a process is taken to have a folder open
_MEND = {
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
    errno.ENFILE: "Close other programs",
    errno.ENOSPC: "Make room on that disk",
    errno.EDQUOT: "Make room in your quota",
    errno.EFBIG: "Raise the limit of a file's size (ulimit -f)",
}


class CacheError(RunError):
    """The machine does not let a cache folder be read or written, or a row of it is damaged."""


@contextlib.contextmanager
def machine_errors(folder: Path) -> Iterator[None]:
    """Makes an error of the machine a sentence about a cache folder.

    Raises:
        CacheError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        mend = _MEND.get(error.errno or 0, "See to it that it can be read and written")
        if error.errno == errno.ENOSPC and machine.takes_no_file(folder):
            mend = "That disk takes no more files (df -i): remove some"
        raise CacheError(
            f"The cache folder {folder} can't be used ({error.strerror or error}). {mend}, or give "
            "another --cache_dir; the rows that were computed so far stay."
        ) from error


def open_for_use(folder: Path) -> IO[str]:
    """Opens a folder's lock for sharing and notes the time; the folder is made where it is not."""
    used = folder / "used"
    while True:  # until no other process evicted it between the lines
        files.make_folder(folder)
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as opened:
            lock = opened.enter_context(used.open("a+"))  # NFS locks what can be read, for sharing
            files.try_lock(lock, shared=True, wait=True)
            if os.path.samestat(os.fstat(lock.fileno()), used.stat()):
                os.utime(used)
                opened.pop_all()
                status = os.fstat(lock.fileno())
                _open_here[lock] = status.st_dev, status.st_ino
                return lock


# Locks of folders that this process has open -> device and inode of each.
_open_here: weakref.WeakKeyDictionary[IO[str], tuple[int, int]] = weakref.WeakKeyDictionary()


def is_open_here(folder: Path) -> bool:
    """Whether this process has the folder open."""
    status = (folder / "used").stat()
    lock = status.st_dev, status.st_ino
    return any(same == lock and not held.closed for held, same in list(_open_here.items()))


@contextlib.contextmanager
def claimed(folder: Path, *, recent: bool = True) -> Iterator[bool]:
    """Whether no process has the folder open; none can open it meanwhile.

    Args:
        folder: Of the cache.
        recent: Whether one that was opened within a day counts as open where the file system has no
            locks, which would tell.
    """
    path = folder / "used"  # not there if a process was killed while it made the folder
    with open(_opened(path)) as lock:
        if is_open_here(folder):
            yield False
            return
        free = files.try_lock(lock)
        if free is None:
            free = not recent or time.time() - os.fstat(lock.fileno()).st_mtime > _LONGEST_USE
        # Another process may have evicted the folder and a third have made it again before that.
        yield free and os.path.samestat(os.fstat(lock.fileno()), path.stat())


def _opened(path: Path) -> int:
    """A descriptor to lock: NFS gives the whole lock to what can be written alone."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY)


def open_file(path: Path) -> IO[bytes]:
    """Opens a file for reading and writing anywhere, made if it is not there."""
    path.touch()
    return path.open("r+b", buffering=0)


def read(file: IO[bytes], buffers: list[np.ndarray], offset: int) -> int:
    """Fills buffers of bytes from a file; returns how many bytes there were."""
    rest = [memoryview(buffer) for buffer in buffers if len(buffer)]
    done = 0
    while rest:
        got = os.preadv(file.fileno(), rest, offset + done)
        if not got:
            break
        done += got
        while rest and got >= len(rest[0]):
            got -= len(rest.pop(0))
        if got:
            rest[0] = rest[0][got:]
    return done


def write(file: IO[bytes], data: np.ndarray | bytes, offset: int) -> None:
    """Writes all bytes of `data`."""
    rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while rest:
        written = os.pwrite(file.fileno(), rest, offset)
        rest, offset = rest[written:], offset + written
