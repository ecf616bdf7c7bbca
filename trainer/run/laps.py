"""Where the time of a run goes: seconds of its parts, one behind the other."""

import time
from collections.abc import Callable


class Laps:
    """A clock that is read where parts of a run end.

    Attributes:
        seconds: Of each part that has ended, by its name.
    """

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        """Starts the clock.

        Args:
            on_end: Called where a part ends.
        """
        self._on_end = on_end
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def end(self, part: str) -> None:
        """Ends a part: what passed since the last one ended is its time.

        Args:
            part: Its name.
        """
        now = time.monotonic()
        self.seconds[part], self._last = now - self._last, now
        self._on_end()
