"""The live table of trials in the terminal; elsewhere, plain lines of trials that begin and end."""

import contextlib
import functools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import rich.console
import rich.live
import rich.table
from rich.text import Text
from tqdm.auto import tqdm

from trainer.execution.tasks import reported_to
from trainer.run.progress import shown_by
from trainer.run.text import counted, shortened, wrapped
from tuning import results
from tuning.results import Row
from tuning.settings import Settings
from tuning.space import Parameter, Space

_ROWS = 12  # trials shown, the running ones first
_RUNNING = 6  # of them at most
_LETTERS = 10  # of a parameter's name or value
_FIXED = 35  # columns of trial, score and time
_FREE = 8  # lines that the table leaves to its head and to the terminal's own
_SILENCE = 10.0  # seconds after which a plain line on a trial under way is due


class Table:
    """Trials as they run: a table that is redrawn in place and gone at the end, or plain lines.

    The table has as many columns as the terminal has, which may change meanwhile.
    """

    def __init__(
        self,
        console: rich.console.Console | None,
        budget: int | None,
        space: Space,
        settings: Settings,
        slots: Callable[[], int],
        rows: Sequence[Row] = (),
    ) -> None:
        """Shows nothing yet.

        Args:
            console: Where the table is drawn; None prints plain lines.
            budget: Trials of the whole search; 0 or None where that is not known.
            space: What is searched.
            settings: How.
            slots: How many trials can run at the same time now.
            rows: Of the trials of a search that goes on; see `results.rows`.
        """
        self._console, self._budget, self._slots, self._capacity = console, budget, slots, slots()
        self._space, self._settings = space, settings
        self._ended = [row for row in rows if row["status"] in ("COMPLETED", "FAILED")]
        self._best = results.best_of(rows, settings)
        # Replaced, never changed: another thread draws.
        self._running: dict[str, tuple[float, Mapping[str, Any], str]] = {}
        self._status, self._closed = "", contextlib.ExitStack()
        self._begun = self._printed = time.monotonic()
        # What is printed meanwhile appears above the table; an error file gets what is its own.
        self._live = None if console is None else rich.live.Live(
            console=console, get_renderable=self._drawn, refresh_per_second=2, transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )  # fmt: skip

    @classmethod
    def make(cls, *arguments: Any, **others: Any) -> Self:
        """A table on a terminal, lines in a file, a pipe or a notebook; arguments but `console`."""
        console = rich.console.Console()
        live = sys.stdout.isatty() and console.is_interactive and not console.is_jupyter
        return cls(console if live else None, *arguments, **others)

    def begun(self, trial_id: str, values: Mapping[str, Any]) -> None:
        """Adds a running trial.

        Args:
            trial_id: Of the trial.
            values: By parameter.
        """
        self._running = {**self._running, trial_id: (time.monotonic(), values, "running")}
        self._capacity = self._slots()
        if self._live is None:
            self._line(results.begun(trial_id, values, self._space))

    def _report(self, trial_id: str, text: str) -> None:
        """Shows how far a running trial is."""
        if trial_id in self._running:  # and no fill of the cache, say
            self._running = {**self._running, trial_id: (*self._running[trial_id][:2], text)}
        if self._live is None and time.monotonic() - self._printed > _SILENCE:
            self._line(f"trial {trial_id}  {text}")

    def _line(self, text: str) -> None:
        """Prints a line on a trial, in a file or a pipe with the time since the table was made."""
        if self._live is None:
            self._printed = time.monotonic()
            text = f"{tqdm.format_interval(self._printed - self._begun)}  {text}"
        # A terminal that can't be drawn on has columns all the same.
        drawn = sys.stdout.isatty() or self._live
        self.note(wrapped(text, indent=2) if drawn else text.replace("\u00a0", " "))

    def ended(self, row: Row, best: Row | None) -> None:
        """Moves a trial to those that have ended; on a terminal only a failed one leaves a line.

        Args:
            row: Of the trial; see `results.rows`.
            best: Of the best trial so far, if one is completed.
        """
        self._running = {name: each for name, each in self._running.items() if name != row["trial"]}
        self._ended, self._best = [*self._ended, row], best
        self._capacity = self._slots()
        if self._live is None or row["status"] != "COMPLETED":
            self._line(results.line(row, best, self._space, self._settings))

    def note(self, text: str) -> None:
        """Prints lines that stay, above the table."""
        if self._console is None:
            print(text, flush=True)
        else:
            self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Removes the table from the screen."""
        self._closed.close()
        if self._live is not None:
            self._live.stop()

    def __enter__(self) -> Self:
        """The table, drawn from now on."""
        if self._live is not None:
            self._live.start(refresh=True)
            self._closed.enter_context(shown_by(self._set_status))
        self._closed.enter_context(reported_to(self._report))
        return self

    def _set_status(self, text: str) -> None:
        self._status = text

    def __exit__(self, *_: object) -> None:
        """Removes the table, also after an error or an interrupt."""
        self.close()

    def _drawn(self) -> rich.console.Group:
        console = self._console
        assert console is not None  # else nothing is drawn
        width = console.width
        parameters = _fitting(self._space.parameters, width)
        more = len(self._space.parameters) - len(parameters)
        foot = [f"({counted(more, 'more parameter')} in {results.TABLE_FILE})"] if more else []
        status = [Text(shortened(self._status, width))] if self._status else []
        grid = self._trials(parameters, console.height)
        return rich.console.Group(Text(self._head()), *status, grid, *foot)

    def _head(self) -> str:
        failed = sum(row["status"] != "COMPLETED" for row in self._ended)
        count = f"{len(self._ended)} of {self._budget or '?'} trials ended, {failed} failed"
        lines = [f"{count}; {len(self._running)} running; time left {self._time_left()}"]
        if self._best is not None:
            best = f"best: trial {self._best['trial']}, {results.score(self._best, self._settings)}"
            lines.append(f"{best}, {results.counted(self._best)}")
        return "\n".join(lines)

    def _time_left(self) -> str:
        """Of the whole search, if trials go on taking as long as they have taken so far."""
        seconds = [row["seconds"] for row in self._ended if row.get("seconds")]
        if not (self._budget and seconds and self._capacity):
            return "?"
        mean, now = statistics.fmean(seconds), time.monotonic()
        done = sum(min(now - begin, mean) for begin, *_ in self._running.values())
        left = mean * max(self._budget - len(self._ended), 0) - done
        return tqdm.format_interval(max(left, 0) / self._capacity)

    def _trials(self, parameters: Sequence[Parameter], height: int) -> rich.table.Table:
        """At most `_ROWS` trials, fewer on a low terminal."""
        grid = rich.table.Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        cells = functools.partial(_cells, parameters)
        ranked_by = self._settings.objective.replace("_", " ").replace("stressed ", "stressed\n")
        for name in ("trial", ranked_by, "time"):
            grid.add_column(name, no_wrap=True)
        for parameter in parameters:
            words = [shortened(word, _LETTERS) for word in parameter.name.split("_")]
            grid.add_column("\n".join(words), no_wrap=True)
        most, now = min(_ROWS, max(height - _FREE, 2)), time.monotonic()
        running = list(self._running.items())[: min(_RUNNING, most - 1)]
        for name, (begin, values, far) in running:
            time_so_far = tqdm.format_interval(now - begin)
            grid.add_row(name, far, time_so_far, *cells(values))
        for row in reversed(self._ended[len(running) - most :]):
            score = "FAILED"
            if row["status"] == "COMPLETED":
                score = results.score(row, self._settings)
            took = tqdm.format_interval(row["seconds"]) if row.get("seconds") else ""
            grid.add_row(row["trial"], score, took, *cells(row))
        return grid


def _cells(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> list[str]:
    return [_compact(values[p.name]) for p in parameters]


def _fitting(parameters: Sequence[Parameter], width: int) -> list[Parameter]:
    """The first parameters, as many as have a place in the table whatever their values."""
    shown, room = [], width - _FIXED
    for parameter in parameters:
        texts = [*parameter.name.split("_"), *map(_compact, parameter.values or ("0.00012",))]
        room -= 1 + max(len(shortened(text, _LETTERS)) for text in texts)
        if room < 0:
            break
        shown.append(parameter)
    return shown


def _compact(value: Any) -> str:
    if value is None:  # without effect
        return "-"
    text = f"{value:.2g}" if isinstance(value, float) else str(value)
    return shortened(text, _LETTERS)
