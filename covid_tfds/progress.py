"""How far long work is: a bar on a terminal and in a notebook, plain lines everywhere else."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import asyncio, auto

Item = TypeVar("Item")

_NOTEBOOK = auto.tqdm is not asyncio.tqdm
_STEPS = 10  # plain lines of the whole work
_PAUSE = 2.0  # seconds at least between two of them
_TICK = 0.5  # seconds after which a bar's clock moves, whatever the work does


def drawn() -> bool:
    """Whether a bar can be drawn on stderr."""
    return _NOTEBOOK or _columns() > 0


@contextlib.contextmanager
def shown(label: str, total: int | None = None, unit: str = "images") -> Iterator[Callable]:
    """Shows on stderr that something is done, and how far it is.

    Args:
        label: What is done.
        total: Units of the whole work; None: not known, the seconds are shown.
        unit: What is counted, in the plural.

    Yields:
        What is called with the number of units that were done.
    """
    if not drawn():
        yield _Lines(label, total, unit).update
        return
    bar = auto.tqdm(
        total=total,
        desc=label,
        unit=f" {unit}",
        leave=total is not None,
        bar_format=None if total is not None else "{desc} ... {elapsed}",
        # One column less than there are: some terminals begin a line where the last is full.
        **({} if _NOTEBOOK else {"ncols": _columns() - 1}),
    )
    with bar, _moving(bar):
        yield bar.update


def counted(items: Iterable[Item], label: str, total: int, unit: str = "images") -> Iterator[Item]:
    """Yields items, and shows how many were taken; arguments as for `shown`."""
    with shown(label, total, unit) as update:
        for item in items:
            yield item
            update(1)


@contextlib.contextmanager
def no_greeting() -> Iterator[None]:
    """Drops what C++ writes to stderr, such as TensorFlow's lines while it is imported.

    What Python writes there, `shown` included, comes through.
    """
    try:
        own, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is no stderr
        yield
        return
    before, sys.stderr = sys.stderr, os.fdopen(os.dup(own), "w", encoding="utf-8")
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        os.dup2(own, 2)
        os.close(own)
        os.close(nowhere)


def _columns() -> int:
    """Columns of the terminal; 0 where stderr is none, or has none as in some containers."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 0
    except (AttributeError, OSError, ValueError):  # no stderr, or one that is no file
        return 0


@contextlib.contextmanager
def _moving(bar: Any) -> Iterator[None]:
    """Redraws a bar while the work is between two of its units."""
    ended = threading.Event()

    def redraw() -> None:
        while not ended.wait(_TICK):
            bar.refresh()

    thread = threading.Thread(target=redraw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Lines:
    """A line at the start, for every tenth of slow work, and at its end."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        """Prints the first line.

        Args:
            label: What is done.
            total: Units of the whole work, or None.
            unit: What is counted.
        """
        self._label, self._total, self._unit = label, total, unit
        self._done, self._begun = 0, time.monotonic()
        self._last = self._begun
        self._print("..." if total is None else f"{total:,} {unit} ...")

    def update(self, n: int) -> None:
        """Counts `n` units more."""
        if not self._total:
            return
        before, self._done, now = self._done, self._done + n, time.monotonic()
        tenth = _STEPS * before // self._total < _STEPS * self._done // self._total
        if tenth and (now - self._last >= _PAUSE or self._done >= self._total):
            self._last = now
            elapsed = auto.tqdm.format_interval(now - self._begun)
            share = f"{100 * self._done / self._total:.0f} %"
            self._print(f"{share}, {self._done:,} of {self._total:,} {self._unit}, {elapsed}")

    def _print(self, text: str) -> None:
        print(f"{self._label}: {text}", file=sys.stderr, flush=True)
