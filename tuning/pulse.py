"""Whether a trial goes on: noted where it computes, read where its worker is watched."""

import contextlib
import time
from collections.abc import Iterator


class Pulse:
    """Time since the last sign of a trial."""

    def __init__(self) -> None:
        """Begins at rest."""
        self._last: float | None = None

    def beat(self) -> None:
        """Notes that a step was made."""
        self._last = time.monotonic()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Counts from now on, and no longer afterwards: only trials are expected to go on."""
        self.beat()
        try:
            yield
        finally:
            self._last = None

    def age(self) -> float:
        """Seconds since the last step; 0 where none is expected."""
        last = self._last
        return 0.0 if last is None else time.monotonic() - last
