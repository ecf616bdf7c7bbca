"""Progress of long work: a bar on a terminal and in a notebook, plain lines everywhere else."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Self

from tqdm import asyncio, auto

_STEPS = 10  # plain lines of the whole work
_SILENCE = 60.0  # seconds after which a plain line is due in any case
_status: Callable[[str], None] | None = None


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


def progress(total: int, label: str, unit: str = "images", done: int = 0) -> "Bar | Lines | Status":
    """Shows on stderr how far a piece of work is; or elsewhere, see `shown_by`.

        with progress(len(rows), "computing block4_pool activations") as shown:
            for batch in batches:
                shown.update(len(batch))

    Args:
        total: Units of the whole work; 0 shows nothing.
        label: What is done; "" shows nothing.
        unit: What is counted, in the plural.
        done: Units that were done before.

    Returns:
        A context manager with `update(n)` and `set(text)`.
    """
    if _status is not None and total and label:
        return Status(total, label, unit, done, _status)
    # Some containers' terminals have a width of 0, in which tqdm draws nothing.
    terminal = (
        sys.stderr is not None
        and sys.stderr.isatty()
        and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    )
    notebook = auto.tqdm is not asyncio.tqdm  # no terminal, but tqdm can draw there
    return (Bar if terminal or notebook or not (total and label) else Lines)(
        total, label, unit, done
    )


class Bar:
    """Tqdm's bar, redrawn in place."""

    def __init__(self, total: int, label: str, unit: str, done: int) -> None:
        """Draws it; arguments as for `progress`.

        Args:
            total: Units of the whole work; 0 shows nothing.
            label: What is done; "" shows nothing.
            unit: What is counted.
            done: Units that were done before.
        """
        nothing = not (total and label)
        self._bar = auto.tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            mininterval=0.5,
            disable=nothing,
        )

    def update(self, n: int) -> None:
        """Counts `n` units more."""
        self._bar.update(n)

    def set(self, text: str) -> None:
        """Shows a text behind the numbers, in place of the one before."""
        self._bar.set_postfix_str(text)

    def __enter__(self) -> Self:
        """The bar, which is drawn already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the bar on the screen as it is."""
        self._bar.close()


class Lines:
    """A line for every tenth of the work, after a minute without one, and at the end."""

    def __init__(self, total: int, label: str, unit: str, done: int) -> None:
        """Starts the clock.

        Args:
            total: Units of the whole work, 1 or more.
            label: What is done.
            unit: What is counted.
            done: Units that were done before.
        """
        self._total, self._label, self._unit = total, label, unit
        self._done, self._text = done, ""
        self._steps = self._step()
        self._begun = self._last = time.monotonic()

    def update(self, n: int) -> None:
        """Counts `n` units more."""
        self._done += n
        due = self._step() > self._steps or time.monotonic() - self._last >= _SILENCE
        if due and self._done < self._total:  # the last line is for the end
            self._print()

    def set(self, text: str) -> None:
        """Shows a text behind the numbers, in place of the one before, in the next line."""
        self._text = text

    def __enter__(self) -> Self:
        """The lines, of which none has been printed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Prints how far the work went."""
        self._print()

    def _step(self) -> int:
        return _STEPS * self._done // self._total

    def _print(self) -> None:
        self._last, self._steps = time.monotonic(), self._step()
        elapsed = auto.tqdm.format_interval(self._last - self._begun)
        parts = (
            f"{self._label.strip()}: {100 * self._done / self._total:.0f} %",
            f"{self._done:,} of {self._total:,} {self._unit}",
            elapsed,
        )
        print(", ".join((*parts, *filter(None, [self._text]))), file=sys.stderr, flush=True)


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
        self._total, self._label, self._unit, self._show = total, label.strip(), unit, show
        self._done, self._text = done, ""

    def update(self, n: int) -> None:
        """Counts `n` units more."""
        self._done += n
        share = f"{100 * self._done / self._total:.0f} %"
        line = f"{self._label}: {share}, {self._done:,} of {self._total:,} {self._unit}"
        self._show(", ".join(filter(None, [line, self._text])))

    def set(self, text: str) -> None:
        """Shows a text behind the numbers from the next one on."""
        self._text = text

    def __enter__(self) -> Self:
        """The line, which is not shown yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Clears the line."""
        self._show("")
