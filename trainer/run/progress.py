"""Progress of long work: a bar on a terminal and in a notebook, plain lines everywhere else."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

from tqdm import asyncio, auto, std

from trainer.run.text import WIDTH, wrapped

_STEPS = 10  # plain lines of the whole work
_PAUSE = 2.0  # seconds at least between two of them
_SILENCE = 60.0  # seconds after which a plain line is due in any case
_TICK = 1.0  # seconds between two looks of a clock on a terminal
_SHORTEST_BAR = 6  # columns
_ERASED = "\r\x1b[K"
_status: Callable[[str], None] | None = None
_clocks = 0  # that are drawn now


@contextlib.contextmanager
def shown_by(status: Callable[[str], None]) -> Iterator[None]:
    """Hands progress over as text, for something that draws the screen itself.

    Args:
        status: Called with a line whenever it changed, and with "" at the end of each work.
    """
    global _status
    before, _status = _status, status
    try:
        yield
    finally:
        _status = before


@contextlib.contextmanager
def working(label: str) -> Iterator[None]:
    """Shows on stderr what is being done, where nothing can be counted.

    On a terminal as a line with the seconds so far, which is erased at the end; elsewhere as one
    plain line, at once; or as `shown_by` has it.

        with working("loading TensorFlow"):
            import tensorflow

    Args:
        label: What is done; "" shows nothing.
    """
    if not label:
        yield
    elif (status := _status) is not None:
        status(label)
        try:
            yield
        finally:
            status("")
    elif columns():
        with _clock(label):
            yield
    else:
        note(f"{label} ...")
        yield


@contextlib.contextmanager
def _ticking(draw: Callable[[], Any]) -> Iterator[None]:
    """Calls a function again and again meanwhile, in a thread, since the work may be one call."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_TICK):
            draw()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _clock(label: str) -> Iterator[None]:
    """A line with the seconds so far."""
    # A descriptor of its own: stderr leads nowhere while TensorFlow is imported.
    terminal = os.dup(sys.stderr.fileno())

    def draw(line: str) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed
            room = os.get_terminal_size(terminal).columns - 1
            os.write(terminal, f"{_ERASED}{line[:room]}".encode())

    global _clocks
    _clocks += 1
    begun = time.monotonic()
    draw(f"{label} ...")
    try:
        with _ticking(lambda: draw(f"{label} ... {time.monotonic() - begun:.0f} s")):
            yield
    finally:
        draw("")
        _clocks -= 1
        os.close(terminal)


class Shown(Protocol):
    """How far a piece of work is, on view within the context."""

    def __enter__(self) -> Self:
        """Begins it."""

    def __exit__(self, *_: object) -> None:
        """Ends it."""

    def update(self, n: int) -> None:
        """Counts `n` units more."""

    def part(self, *texts: str) -> None:
        """Shows the numbers of a part that has ended."""


def progress(
    total: int, label: str, unit: str = "images", done: int = 0, *, parts: bool = False
) -> "Shown":
    """Shows on stderr how far a piece of work is; or elsewhere, see `shown_by`.

        with progress(len(rows), "computing block4_pool activations") as shown:
            for batch in batches:
                shown.update(len(batch))

    Args:
        total: Units of the whole work; 0 shows nothing.
        label: What is done; "" shows nothing.
        unit: What is counted, in the plural.
        done: Units that were done before.
        parts: Whether the work has parts, such as epochs, whose numbers `part` shows. Then these
            are shown in place of the units, and elsewhere than on a terminal in a line each.

    Returns:
        A context manager with `update(n)` and `part(*texts)`.
    """
    if _status is not None and total and label:
        return Status(total, label, unit, done, _status)
    notebook = auto.tqdm is not asyncio.tqdm  # no terminal, but tqdm can draw there
    drawn = columns() or notebook or not (total and label)
    return (Bar if drawn else Lines)(total, label, unit, done, parts=parts)


def columns() -> int:
    """Columns of the terminal that stderr is; 0 if it is none.

    Some containers' terminals have a width of 0, in which nothing can be drawn.
    """
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (AttributeError, OSError, ValueError):  # there is no stderr, or it is no terminal
        return 0


def fitted(text: str) -> str:
    """The lines as wide as the terminal; elsewhere, where words are searched for, as they are.

    Args:
        text: Paragraphs, a line each. A word that is longer than a line (a path) stays whole.
    """
    width = min(columns(), WIDTH)
    return "\n".join(wrapped(each, width=width) for each in text.split("\n")) if width else text


def note(line: str) -> None:
    """Prints a line on stderr, `fitted`, above what `working` draws there.

    Args:
        line: Without a line break at its end.
    """
    print((_ERASED if _clocks else "") + fitted(line), file=sys.stderr, flush=True)


class _PartsBar(std.tqdm):
    """A bar with as many of the numbers behind it as the terminal has room for."""

    texts: tuple[str, ...] = ()  # the last one stays longest

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm formats the line from, whenever it draws it."""
        values = super().format_dict
        room = (values["ncols"] or 80) - len(self.desc) - len(" 100%: ")
        texts = list(self.texts)
        while texts and len(", ".join(texts)) > room:
            texts.pop(0)
        behind = ", ".join(texts).replace("{", "{{").replace("}", "}}")
        time_ = "{remaining} left" if self.n > self.initial else "{elapsed}"
        # The time, and a bar, where there is room for them, too.
        with_bar = len(", 00:00 left||") + _SHORTEST_BAR <= room - len(behind)
        values["bar_format"] = (
            f"{{desc}} {{percentage:.0f}}%|{{bar}}|{time_}" + (behind and f", {behind}")
            if with_bar
            else "{desc} {percentage:.0f}%" + (behind and f": {behind}")
        )
        return values


class Bar:
    """Tqdm's bar, redrawn in place."""

    def __init__(self, total: int, label: str, unit: str, done: int, *, parts: bool) -> None:
        """Draws it; arguments as for `progress`.

        Args:
            total: Units of the whole work; 0 shows nothing.
            label: What is done; "" shows nothing.
            unit: What is counted.
            done: Units that were done before.
            parts: Whether the numbers of parts take the place of the units.
        """
        nothing = not (total and label)
        self._bar = (_PartsBar if parts and columns() else auto.tqdm)(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            mininterval=0.5,
            dynamic_ncols=True,
            disable=nothing,
        )
        self._redrawn = contextlib.ExitStack()
        if not nothing:
            self._redrawn.enter_context(_ticking(self._bar.refresh))

    def update(self, n: int) -> None:
        """Counts `n` units more."""
        self._bar.update(n)

    def part(self, *texts: str) -> None:
        """Shows the numbers of a part that has ended, in place of those of the one before.

        Args:
            texts: The numbers, the most important one last.
        """
        if isinstance(self._bar, _PartsBar):
            self._bar.texts = texts
            self._bar.refresh()
        else:
            self._bar.set_postfix_str(", ".join(texts))

    def __enter__(self) -> Self:
        """The bar, which is drawn already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the bar on the screen as it is."""
        self._redrawn.close()
        self._bar.close()


class Lines:
    """A line for every tenth of slow work, or for every part; and after a minute without one."""

    def __init__(self, total: int, label: str, unit: str, done: int, *, parts: bool) -> None:
        """Starts the clock.

        Args:
            total: Units of the whole work, 1 or more.
            label: What is done.
            unit: What is counted.
            done: Units that were done before.
            parts: Whether lines are due where parts end, and not at tenths.
        """
        self._total, self._label, self._unit, self._parts = total, label, unit, parts
        self._done = done
        self._printed: int | None = None
        self._steps = self._step()
        self._begun = self._last = time.monotonic()

    def update(self, n: int) -> None:
        """Counts `n` units more."""
        self._done += n
        since = time.monotonic() - self._last
        tenth = not self._parts and self._step() > self._steps and since >= _PAUSE
        due = tenth or since >= _SILENCE
        if due and self._done < self._total:  # the last line is for the end
            self._print()

    def part(self, *texts: str) -> None:
        """Prints the numbers of a part that has ended."""
        self._print(*texts)

    def __enter__(self) -> Self:
        """The lines, of which none has been printed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Prints how far the work went, unless the last line has it."""
        if self._printed != self._done:
            self._print()

    def _step(self) -> int:
        return _STEPS * self._done // self._total

    def _print(self, *texts: str) -> None:
        self._last, self._steps, self._printed = time.monotonic(), self._step(), self._done
        elapsed = auto.tqdm.format_interval(self._last - self._begun)
        far = (
            f"{100 * self._done / self._total:.0f} %",
            _counted(self._done, self._total, self._unit),
        )
        note(f"{self._label}: {', '.join((*(texts or far), elapsed))}")


class Status:
    """A line of text that something else shows."""

    def __init__(
        self, total: int, label: str, unit: str, done: int, show: Callable[[str], None]
    ) -> None:
        """Shows nothing yet.

        Args:
            total: Units of the whole work, 1 or more.
            label: What is done.
            unit: What is counted.
            done: Units that were done before.
            show: Called with the line.
        """
        self._total, self._label, self._unit, self._show = total, label, unit, show
        self._done = done
        self._texts: tuple[str, ...] = ()

    def update(self, n: int) -> None:
        """Counts `n` units more."""
        self._done += n
        share = f"{100 * self._done / self._total:.0f} %"
        far = (share, *(self._texts or [_counted(self._done, self._total, self._unit)]))
        self._show(f"{self._label}: {', '.join(far)}")

    def part(self, *texts: str) -> None:
        """Shows the numbers of a part that has ended, in place of the units, from now on."""
        self._texts = texts
        self.update(0)

    def __enter__(self) -> Self:
        """The line, which is not shown yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Clears the line."""
        self._show("")


def _counted(done: int, total: int, unit: str) -> str:
    return f"{done:,} of {total:,} {unit}"
