"""Files that were dropped on the page: in memory until they are answered, and nowhere else."""

import contextlib
import dataclasses
import secrets
import threading
from collections.abc import Iterator, Sequence

from trainer.run.text import counted

MOST_WAITING = 64  # files
_MOST_BYTES = 256 * 2**20  # of all that wait


class Busy(Exception):
    """There are too many files; the message says so to who dropped one more."""


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file that was dropped.

    Attributes:
        name: As the browser gave it.
        data: Its bytes.
    """

    name: str
    data: bytes = dataclasses.field(repr=False)


class Uploads:
    """Files by keys that cannot be guessed; each is handed out once. Thread-safe."""

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._held: dict[str, Upload] = {}
        self._coming = self._bytes = 0  # bytes on the way, and of what is held
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many files are held."""
        return len(self._held)

    @contextlib.contextmanager
    def coming(self, size: int) -> Iterator[None]:
        """Keeps room for files while they come.

        Args:
            size: Bytes of all.

        Raises:
            Busy: There is none.
        """
        with self._lock:
            if self._bytes + self._coming + size > _MOST_BYTES or len(self) >= MOST_WAITING:
                raise Busy(
                    f"The page is busy: {counted(len(self), 'image waits', 'images wait')}. Drop "
                    "the files again in a minute."
                )
            self._coming += size
        try:
            yield
        finally:
            with self._lock:
                self._coming -= size

    def put(self, uploads: Sequence[Upload]) -> list[str]:
        """Holds files; returns a key for each."""
        keys = [secrets.token_hex(16) for _ in uploads]
        with self._lock:
            self._held.update(zip(keys, uploads, strict=True))
            self._bytes += sum(len(each.data) for each in uploads)
        return keys

    def take(self, key: str) -> Upload | None:
        """Hands a file out and holds it no longer; None where there is no such key."""
        with self._lock:
            upload = self._held.pop(key, None)
            self._bytes -= len(upload.data) if upload else 0
        return upload
