"""Keeps what pydicom and tifffile log of damaged files off the screen, in this room only."""

import contextlib
import importlib
import logging
import threading
from collections.abc import Iterator

# What has a logger of its own, and is loaded on demand.
_MODULES = {
    "pydicom": ("pydicom.pixels.decoders.base", "pydicom.pixels.utils", "pydicom.pixels.common"),
    "tifffile": ("tifffile",),
}
_reading = threading.local()


class _WhileReading(logging.Filter):
    """Drops the records of threads that are reading an image; all others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        return not getattr(_reading, "now", False)


_filter = _WhileReading()


@contextlib.contextmanager
def library_logs(library: str) -> Iterator[None]:
    """Silences a library's loggers in this thread.

    Args:
        library: `pydicom` or `tifffile`.

    Each damaged file would log a line or a traceback, and DICOM's may quote the header. Their
    levels and handlers stay as they are: other threads and other code log as before. A logger's
    filters see nothing of what its children log, so each of them gets one.
    """
    for name in _MODULES[library]:
        importlib.import_module(name)  # makes the loggers
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == library:
            logging.getLogger(name).addFilter(_filter)  # a second time changes nothing
    _reading.now = True
    try:
        yield
    finally:
        _reading.now = False
