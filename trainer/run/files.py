"""Files that appear whole, locks that end with their process, and paths as users write them."""

import contextlib
import csv
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import pathlib
import re
import secrets
import shlex
import socket
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Self

from trainer.run.errors import RunError

_POLL = 0.2  # seconds between looks at a lock
_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")
_UNFINISHED = re.compile(r"\.\d+\.[0-9a-f]{8}\.(.+)")
# What file systems without locks answer: some network and FUSE mounts.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def expanded(path: str | os.PathLike) -> str:
    """A path with `~` and `$VARIABLES` replaced; one of a bucket (gs://...) keeps its slashes.

    Args:
        path: As a user wrote it; "" stays "".

    Raises:
        RunError: It names a variable that is not set, or a user that does not exist.
    """
    given = os.path.expanduser(os.fspath(path))
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
    """
    path = pathlib.Path(path)
    # Two processes of two machines may have one number; Keras goes by the suffix.
    beside = path.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.{path.name}")
    try:
        yield beside
        _flush(beside)
        beside.replace(path)
        _flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def unfinished(path: pathlib.Path) -> str | None:
    """The name of the file that a killed process was writing here; None for all other files."""
    match = _UNFINISHED.fullmatch(path.name)
    return match[1] if match else None


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
        rows: One or more; all have the keys of the first.
    """
    with written_whole(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as it wrote it into the file.

    Attributes:
        pid: Its number.
        host: Its machine.
        command: Its command line.
        started: When it took the lock, in local time with the offset from UTC (ISO 8601).
    """

    pid: int
    host: str
    command: str
    started: str

    def text(self) -> str:
        """One line on the process, without its machine where that is this one."""
        since = datetime.datetime.fromisoformat(self.started)
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        command = textwrap.shorten(self.command, 120, placeholder=" ...")
        return f"process {self.pid}{where} since {since:%Y-%m-%d %H:%M:%S} ({command})"


class LockHeldError(RunError):
    """Another process holds a lock.

    Attributes:
        holder: Who, where it is known.
        text: "in use by ...", for other messages.
    """

    def __init__(self, path: pathlib.Path, holder: Holder | None) -> None:
        """Makes the message.

        Args:
            path: Of the lock's file.
            holder: Who has it; None where the file does not tell.
        """
        self.holder = holder
        self.text = f"in use by {holder.text() if holder else 'another process'}"
        super().__init__(f"{path} is {self.text}. Wait for it, or stop it.")


class Lock:
    """A file that one process holds, or several share, until it is closed or the process ends.

    Used as `with Lock(folder / ".lock", wait=20.0): ...`, or closed by hand.

    An advisory lock (flock): it keeps out who takes it, too, also on other machines of a network
    file system that passes locks on. Where a file system has none, a line says so and all goes on.

    Attributes:
        path: Of the file, which stays when the lock is given back.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        shared: bool = False,
        wait: float = 0.0,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        """Takes the lock; the file is made if it is not there, its folder is not.

        Args:
            path: Of the file.
            shared: Whether others may share it, and nobody have it alone meanwhile.
            wait: Seconds to wait for it; math.inf waits as long as it takes.
            on_wait: Called before each look but the first.

        Raises:
            LockHeldError: Another process holds it.
            OSError: The file can't be made or opened.
        """
        self.path = pathlib.Path(path)
        until = time.monotonic() + wait
        while True:
            self._file = _open(self.path)
            try:
                held = locked(
                    self._file, shared=shared, wait=until - time.monotonic(), on_wait=on_wait
                )
                if held and _same(self._file, self.path):
                    return
            except BaseException:
                self._file.close()
                raise
            holder = self.holder()
            self._file.close()
            if not held:
                raise LockHeldError(self.path, holder)
            # Else the file was removed or replaced between opening and locking: begin again.

    def sign(self) -> None:
        """Writes into the file which process has it, for the messages of others."""
        if not self._file.writable():
            return
        values = Holder(
            pid=os.getpid(),
            host=socket.gethostname(),
            command=shlex.join(sys.orig_argv),
            started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        )
        self._file.seek(0)
        self._file.truncate()
        self._file.write((json.dumps(dataclasses.asdict(values)) + "\n").encode())
        self._file.flush()

    def holder(self) -> Holder | None:
        """Who signed the file last; None where nobody did."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            holder = Holder(**json.loads(self.path.read_bytes()))
            holder.text()  # whether it can be shown
            return holder
        return None

    def close(self) -> None:
        """Gives the lock back."""
        self._file.close()

    def remove(self) -> None:
        """Removes the file and gives the lock back; who has opened it meanwhile begins again."""
        self.path.unlink(missing_ok=True)
        self.close()

    def __enter__(self) -> Self:
        """The lock, which is held already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the lock back."""
        self.close()


def locked(
    file: IO,
    *,
    shared: bool = False,
    wait: float = 0.0,
    on_wait: Callable[[], None] | None = None,
) -> bool:
    """Whether an open file could be locked; it stays so until it is closed. See `Lock`.

    Args:
        file: An open file.
        shared: Whether others may share it.
        wait: Seconds to wait for it; math.inf waits as long as it takes.
        on_wait: Called before each look but the first.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            left = until - time.monotonic()
            if left <= 0:
                return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _no_locks(file)
            return True
        else:
            return True
        if on_wait:
            on_wait()
        time.sleep(min(_POLL, left))


_without_locks: set[str] = set()


def _no_locks(file: IO) -> None:
    folder = os.path.dirname(os.path.realpath(f"/proc/self/fd/{file.fileno()}"))
    if folder not in _without_locks:
        _without_locks.add(folder)
        print(
            f"The file system of {folder} has no locks: nothing keeps a second process out of it.",
            file=sys.stderr,
        )


def _open(path: pathlib.Path) -> IO[bytes]:
    """Opens a lock's file; one of a folder that is only to be read can be shared, too."""
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS) or not path.exists():
            raise
        return open(path, "rb")


def _same(file: IO, path: pathlib.Path) -> bool:
    """Whether the file at a path is the one that is open."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _flush(path: pathlib.Path) -> None:
    """Has the system write a file or a folder's names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
