"""Runs searches and looks at them while they run: what `benchmarks.search` is made of."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psutil
from absl import flags

from benchmarks import article_race, process

Row = dict[str, str]


class Sample(NamedTuple):
    """A look at a search.

    Attributes:
        at: Seconds since its start.
        begun: Trials that have begun.
        ended: Trials that have ended.
        resident: KiB that its process holds in memory; 0 where it has just ended.
    """

    at: float
    begun: int
    ended: int
    resident: int


class Span(NamedTuple):
    """When a trial was trained, in seconds since the start of the command, and on what.

    Attributes:
        begin: When a process that was ready for it began it.
        end: When its end was logged.
        images: Images that it trained on, each epoch counted.
    """

    begin: float
    end: float
    images: float


@dataclasses.dataclass(frozen=True)
class Watched:
    """A search that has ended.

    Attributes:
        seconds: Wall time of the command, its start included.
        rows: Of trials.csv.
        samples: In their order.
        ends: By trial, when its end was seen, in seconds since the start of the command.
    """

    seconds: float
    rows: Sequence[Row]
    samples: Sequence[Sample]
    ends: Mapping[str, float]

    @property
    def trained(self) -> float:
        """Seconds that the trials took, added up."""
        return sum(float(row["seconds"]) for row in self.rows)

    @property
    def spans(self) -> list[Span]:
        """Of each trial; it begins its own seconds before its end, when its worker has loaded."""
        spans = []
        for row in self.rows:
            end, seconds = self.ends[row["trial"]], float(row["seconds"])
            spans.append(Span(end - seconds, end, float(row["images_per_second"]) * seconds))
        return spans

    @property
    def images_per_second(self) -> float:
        """Images that trials trained on, by the time from the first's begin to the last's end."""
        return speed(self.spans, 1)


def speed(spans: Sequence[Span], workers: int) -> float:
    """Images/s while as many trials run as there are workers.

    Args:
        spans: Of all trials.
        workers: How many run them. With 1 the time is that from the first begin to the last end;
            with more, workers that still load, or have no trial left, do not count.
    """
    begin = sorted(span.begin for span in spans)[workers - 1]
    end = sorted(span.end for span in spans)[-workers]
    images = (
        span.images * max(0, min(span.end, end) - max(span.begin, begin)) / (span.end - span.begin)
        for span in spans
    )
    return sum(images) / (end - begin)


def search(values: flags.FlagValues, *more: str, every: float = 0.1) -> Watched:
    """Runs `python -m tuning.main` with this command's flags and some more.

    Args:
        values: Of this command.
        more: Flags; they win over the others.
        every: Seconds between two samples.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "search"
        shared = ("data_dir", "cache_dir", "dataset", "classes", "image_size", "weights", "seed",
                  "epochs")  # fmt: skip
        given = [f"--{name}={values[name].value}" for name in shared]
        given += [f"--max_trials={values.trials}", "--final_folds=0", f"--search_dir={root}", *more]
        seconds, samples, ends = watch(["tuning.main", *given], root / "log.jsonl", every)
        with (root / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
    failed = [row["reason"] for row in rows if row["status"] != "COMPLETED"]
    if failed:
        sys.exit(f"{len(failed)} trials failed, so the times say nothing. The last: {failed[-1]}")
    return Watched(seconds, rows, samples, ends)


def watch(
    command: Sequence[str], log: pathlib.Path, every: float
) -> tuple[float, list[Sample], dict[str, float]]:
    """Runs `python -m` to its end; its failure is this program's.

    Args:
        command: The module and its arguments.
        log: Of the search, which need not be there yet.
        every: Seconds between two samples.

    Returns:
        Seconds, what was seen, and when each trial's end was seen.
    """
    samples, read = [], _Log(log)

    def see(at: float, pid: int) -> None:
        read(at)
        samples.append(Sample(*read.seen, _resident(pid)))

    seconds = process.watched(command, see, every)
    read(seconds)
    return seconds, samples, read.ends


class _Log:
    """The log of a search, read on from where it was read before."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path, self._read, self._at, self._begun = path, 0, 0.0, 0
        self.ends: dict[str, float] = {}

    @property
    def seen(self) -> tuple[float, int, int]:
        return self._at, self._begun, len(self.ends)

    def __call__(self, at: float) -> None:
        self._at = at
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            for event in map(json.loads, whole.splitlines()):
                self._begun += event["event"] == "begun"
                if event["event"] == "ended":
                    self.ends[event["trial"]] = at


def _resident(pid: int) -> int:
    """KiB that a process holds; 0 where it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss // 1024
    except psutil.Error:
        return 0


def fill(values: flags.FlagValues) -> None:
    """Caches the activations, so that no later search computes them."""
    search(values, "--max_trials=1", "--epochs=1")


def cold(values: flags.FlagValues, *more: str) -> Watched:
    """A search from a cache that has converted weights and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        article_race.copy_weights(values.cache_dir, folder)
        return search(values, f"--cache_dir={folder}", *more)
