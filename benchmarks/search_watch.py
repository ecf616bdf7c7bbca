"""Runs searches and looks at them while they run: what `benchmarks.search` is made of."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil
from absl import flags

from benchmarks import article_race

_ROOT = pathlib.Path(__file__).parents[1]
_ENDED = ("COMPLETED", "FAILED")
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


@dataclasses.dataclass(frozen=True)
class Watched:
    """A search that has ended.

    Attributes:
        seconds: Wall time of the command, its start included.
        rows: Of trials.csv.
        samples: In their order.
    """

    seconds: float
    rows: Sequence[Row]
    samples: Sequence[Sample]

    @property
    def trained(self) -> float:
        """Seconds that the trials took, added up."""
        return sum(float(row["seconds"]) for row in self.rows)

    @property
    def images_per_second(self) -> float:
        """Images that trials trained on, by the time from the first's begin to the last's end."""
        images = sum(float(row["images_per_second"]) * float(row["seconds"]) for row in self.rows)
        begin = next(one.at for one in self.samples if one.begun)
        end = next((one.at for one in self.samples if one.ended == len(self.rows)), self.seconds)
        return images / (end - begin)


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
        seconds, samples = watch(["tuning.main", *given], root / "state.json", every)
        with (root / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
    failed = [row["reason"] for row in rows if row["status"] != "COMPLETED"]
    if failed:
        sys.exit(f"{len(failed)} trials failed, so the times say nothing. The last: {failed[-1]}")
    return Watched(seconds, rows, samples)


def watch(command: Sequence[str], state: pathlib.Path, every: float) -> tuple[float, list[Sample]]:
    """Runs `python -m` to its end; its failure is this program's. Seconds, and what was seen."""
    samples, read = [], _Counts(state)
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=_ROOT, stdout=output, stderr=output
        )
        try:
            while process.poll() is None:
                at = time.perf_counter() - begin
                samples.append(Sample(at, *read(), _resident(process.pid)))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(every)
            seconds = time.perf_counter() - begin
        finally:
            process.kill()
        if process.returncode:
            output.seek(0)
            tail = output.read().decode(errors="replace")[-3000:]
            sys.exit(f"{' '.join(command)} failed:\n{tail}")
    return seconds, samples


class _Counts:
    """How many trials have begun and ended, read when the state's file is a new one."""

    def __init__(self, state: pathlib.Path) -> None:
        self._state, self._changed, self._counts = state, 0, (0, 0)

    def __call__(self) -> tuple[int, int]:
        with contextlib.suppress(FileNotFoundError):
            changed = self._state.stat().st_mtime_ns
            if changed != self._changed:
                trials = json.loads(self._state.read_text())["trials"].values()
                ended = sum(trial["status"] in _ENDED for trial in trials)
                self._changed, self._counts = changed, (len(trials), ended)
        return self._counts


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
