"""Keeps what pydicom and tifffile log of damaged files off the screen, in this room only."""

import contextlib
import logging
import threading
from collections.abc import Iterator

_reading = threading.local()


class _WhileReading(logging.Filter):
    """Drops the records of threads that are reading an image; all others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        return not getattr(_reading, "now", False)


_filter = _WhileReading()


@contextlib.contextmanager
def library_logs() -> Iterator[None]:
    """Silences the two libraries' loggers in this thread.

    Each damaged file would log a line or a traceback, and DICOM's may quote the header. Their
    levels and handlers stay as they are: other threads and other code log as before.
    """
    for name in ("pydicom", "tifffile"):
        logging.getLogger(name).addFilter(_filter)  # a second time changes nothing
    _reading.now = True
    try:
        yield
    finally:
        _reading.now = False
