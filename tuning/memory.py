"""A process that is replaced before its memory has climbed.

TensorFlow keeps some 2 MiB of every function that was ever traced, and a trial traces two. A search
survives being killed at any time, so the cure is to replace the process by itself between trials.
"""

import contextlib
import ctypes
import gc
import os
import sys

import psutil

from tuning import processes

MOST = 256 * 2**20  # bytes that a process may have grown by since its first trial


class Memory:
    """Watches the growth of this process from trial to trial."""

    def __init__(self) -> None:
        """Begins before the first trial."""
        self._first: int | None = None

    def has_climbed(self) -> bool:
        """Whether the process has grown by more than `MOST` since the first call."""
        gc.collect()  # a model is full of cycles, and Python would wait for more of them
        with contextlib.suppress(OSError, AttributeError):  # glibc keeps what was freed
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        now = psutil.Process().memory_info().rss
        self._first = now if self._first is None else self._first
        return now - self._first > MOST


def replace_process() -> None:
    """Replaces this process by the command that started it; a search goes on where it is."""
    print("Memory has climbed: the process is replaced and goes on.", flush=True)
    sys.stderr.flush()
    os.execv(sys.executable, processes.again())
