"""Who has a folder: one process, shown by a file in it that the process renews while it runs.

The file is locked, which keeps out who shares the locks of its file system. What holds everywhere
is its content: who wrote it, and a count that rises every `RENEWED_EVERY` seconds. It is renewed in
place and taken over by a rename, so that a process that was stopped and wakes up renews a file that
no name leads to any more, and sees by the one that is there that it lost the folder.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import pathlib
import secrets
import shlex
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, Self

from trainer.run import files
from trainer.run.errors import ConfigError, RunError
from trainer.run.progress import note

NAME = ".lock"
RENEWED_EVERY = 10.0  # seconds
SILENCE = 60.0  # seconds without a renewal after which another host's process counts as gone
_POLL = 0.2  # seconds between looks at a file
_SIZE = 2048  # bytes of it; the command is cut so that all fits in, escaped as it may be


def _here() -> dict[str, str]:
    """What makes process numbers comparable: two containers may share a name, or a kernel."""
    host = socket.gethostname()
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"host": host, "boot": boot, "namespace": os.readlink("/proc/self/ns/pid")}
    except OSError:  # no /proc: no other process' number means anything, and renewals alone count
        return {"host": host, "boot": secrets.token_hex(16), "namespace": ""}


HERE: dict[str, Any] = _here()
_held: set[str] = set()  # tokens of this process' leases


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a folder, as it wrote itself into the file.

    Attributes:
        pid: Its number.
        host: Its machine.
        command: Its command line, in one short line.
        started: When it took the folder, in local time with the offset from UTC (ISO 8601).
        boot: Id of the machine's last start; "" in files of earlier releases, as what follows.
        namespace: Of process numbers.
        start: When the process began, in clock ticks after that start of the machine.
        token: Of this one holding, random.
        count: Of renewals.
    """

    pid: int
    host: str
    command: str
    started: str
    boot: str = ""
    namespace: str = ""
    start: int = 0
    token: str = ""
    count: int = 0

    @classmethod
    def of_this_process(cls) -> Self:
        """A new holder."""
        return cls(
            pid=os.getpid(),
            command=textwrap.shorten(shlex.join(sys.orig_argv), 120, placeholder=" ..."),
            started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            start=_start_of(os.getpid()) or 0,
            token=secrets.token_hex(16),
            **HERE,
        )

    def text(self) -> str:
        """One line on the process, without its machine where that is this one."""
        since = datetime.datetime.fromisoformat(self.started)
        where = "" if self.host == HERE["host"] else f" on {self.host}"
        return f"process {self.pid}{where} since {since:%Y-%m-%d %H:%M:%S} ({self.command})"

    def is_here(self) -> bool:
        """Whether its number means something on this machine."""
        return all(getattr(self, name) == value for name, value in HERE.items())

    def is_gone(self) -> bool:
        """Whether the process is seen to have ended; False where that can't be seen from here."""
        if self.is_here() and self.pid == os.getpid():
            return self.token not in _held  # else it was replaced (exec) while it had the folder
        return self.is_here() and _start_of(self.pid) not in (self.start, None)


class LockHeldError(RunError):
    """Another process holds a folder.

    Attributes:
        text: "in use by ...", for other messages.
    """

    def __init__(self, path: pathlib.Path, holder: Holder | None) -> None:
        """Makes the message.

        Args:
            path: Of the file.
            holder: Who has it; None where that is not known.
        """
        self.text = f"in use by {holder.text() if holder else 'another process'}"
        super().__init__(f"{path.parent} is {self.text}. Wait for it, or stop it.")


class Lease:
    """A folder that this process holds alone, until it is closed or the process ends.

        >>> with Lease(folder) as lease:
        ...     lease.check()

    Attributes:
        path: Of the file, which is removed when the folder is given back.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        """Takes the folder; a thread renews the file from then on.

        Who has it on another host is watched for up to `SILENCE` seconds, and a line says so.

        Args:
            folder: It exists.

        Raises:
            LockHeldError: Another process has it.
            ConfigError: A file of that name is there that no process wrote for this.
            OSError: The file can't be made or opened.
        """
        self.path = pathlib.Path(folder) / NAME
        self._holder = Holder.of_this_process()
        _held.add(self._holder.token)
        self._file = self._taken()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease of {folder}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Looks whether this process has the folder still; one small file is read.

        Raises:
            RunError: It has not: it was stopped for long, and another process took it over.
        """
        data = _read(self.path)
        if self._is_ours(data):
            return
        with contextlib.suppress(ConfigError):
            if holder := _holder_of(data, self.path):
                raise RunError(
                    f"{self.path.parent} is {LockHeldError(self.path, holder).text}: it took the "
                    f"folder over, since this one did not renew its lock for {SILENCE:.0f} s. "
                    "Nothing more is written there; leave it to that process."
                )
        raise RunError(
            f"{self.path} was removed or replaced, so that {self.path.parent} is not held by this "
            "process any more. Nothing more is written there; start again to go on."
        )

    def close(self) -> None:
        """Gives the folder back."""
        self._closed.set()
        self._thread.join()
        _held.discard(self._holder.token)
        # A file that stays is taken over, and its error would hide the one that ended the process.
        with contextlib.suppress(OSError):
            if self._is_ours(_read(self.path)):
                self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        """The lease."""
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the folder back."""
        self.close()

    def _taken(self) -> IO[bytes]:
        """Puts a file of this process in the place of one whose holder is gone, or of none."""
        while True:
            left = _left(self.path)
            with left or contextlib.nullcontext():
                file = self._put(os.replace if left else os.link)
            if file:
                return file

    def _put(self, place: Callable[[pathlib.Path, pathlib.Path], None]) -> IO[bytes] | None:
        """Gives a locked file its name; None where another process was faster."""
        beside = self.path.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.{NAME}")
        with contextlib.ExitStack() as undone:
            undone.callback(beside.unlink, missing_ok=True)
            file = undone.enter_context(open(beside, "x+b", buffering=0))
            files.try_lock(file)
            _write(file, self._holder)
            try:
                place(beside, self.path)
            except FileExistsError:
                # NFS says so, too, where its answer was lost and it was called again.
                if not self._is_ours(_read(self.path)):
                    return None
            except OSError:
                place = os.replace  # there are no hard links here
                place(beside, self.path)
            if place is os.replace:
                time.sleep(_POLL)  # of several that did so at once, the last has it
                if not self._is_ours(_read(self.path)):
                    return None
            undone.pop_all()
        beside.unlink(missing_ok=True)
        return file

    def _is_ours(self, data: bytes) -> bool:
        return self._holder.token.encode() in data

    def _renew(self) -> None:
        holder = self._holder
        while not self._closed.wait(RENEWED_EVERY):
            holder = dataclasses.replace(holder, count=holder.count + 1)
            with contextlib.suppress(OSError):  # the next one may do; else `check` will find out
                _write(self._file, holder)


@contextlib.contextmanager
def shared(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps a folder from being taken while it is read; a folder that nobody left stays as it is.

    Args:
        folder: It exists.

    Raises:
        LockHeldError, ConfigError, OSError: As for `Lease`.
    """
    with _left(pathlib.Path(folder) / NAME, shared=True) or contextlib.nullcontext():
        yield


def _left(path: pathlib.Path, *, shared: bool = False) -> IO[bytes] | None:
    """The file of a holder that is gone, locked; None where there is none."""
    while True:
        try:
            file = _open(path)
        except FileNotFoundError:
            return None
        with contextlib.ExitStack() as undone:
            undone.enter_context(file)
            _require_left(file, path, shared=shared)
            if _same(file, path):
                undone.pop_all()
                return file


def _require_left(file: IO[bytes], path: pathlib.Path, *, shared: bool) -> None:
    """Returns when the holder is gone, or the file was removed.

    Raises:
        LockHeldError: The holder still runs.
        ConfigError: The file is none of ours.
    """
    free = files.try_lock(file, shared=shared) is not False
    data = _read(path)
    holder = _holder_of(data, path)
    if not free:
        raise LockHeldError(path, None if holder is None or holder.is_gone() else holder)
    if holder is None or holder.is_gone():
        return
    if holder.is_here():
        raise LockHeldError(path, holder)
    note(
        f"{path.parent} is in use by {holder.text()}. If its lock is not renewed within "
        f"{SILENCE:.0f} s, the folder is taken over ..."
    )
    until = time.monotonic() + SILENCE
    over = False
    while not over:
        time.sleep(_POLL)
        over = time.monotonic() >= until  # before the look, should this process be stopped here
        if (now := _read(path)) != data:
            if now:
                raise LockHeldError(path, _holder_of(now, path))
            return


def _holder_of(data: bytes, path: pathlib.Path) -> Holder | None:
    """Who wrote a file; None where it is empty, as a power cut may leave it.

    Raises:
        ConfigError: It is none of ours.
    """
    if not data.strip(b"\0"):
        return None
    try:
        values: dict[str, Any] = json.loads(data)
        holder = Holder(**values)
        holder.text()  # whether it can be shown
        return holder
    except (ValueError, TypeError):
        raise ConfigError(
            f"{path} is a file that no run or search wrote. Move it away, or give another folder."
        ) from None


def _write(file: IO[bytes], holder: Holder) -> None:
    text = json.dumps(dataclasses.asdict(holder))
    os.pwrite(file.fileno(), text.encode("ascii").ljust(_SIZE - 1) + b"\n", 0)
    os.fsync(file.fileno())  # a network file system shows it to others from then on


def _read(path: pathlib.Path) -> bytes:
    """The beginning of a file, opened for it: a network file system looks then; b"" of none."""
    try:
        with open(path, "rb") as file:
            return file.read(_SIZE)
    except FileNotFoundError:
        return b""


def _open(path: pathlib.Path) -> IO[bytes]:
    """Opens a file; one of a folder that is only to be read can be shared, too."""
    try:
        return open(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
        return open(path, "rb")


def _same(file: IO, path: pathlib.Path) -> bool:
    """Whether the file at a path is the one that is open."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _start_of(pid: int) -> int | None:
    """When a process began, in ticks after the machine did; 0 if it is gone, None if hidden."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return 0
    except PermissionError:
        pass
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # of another user, where the system hides those
        return None
    state, *values = text.rpartition(")")[2].split()
    return 0 if state in "ZX" else int(values[18])  # a zombie has ended, and has no files open
