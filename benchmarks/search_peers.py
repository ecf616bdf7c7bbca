"""Our search beside its two peers, on the same trials: `benchmarks.search --part=plain`.

All commands run as processes of their own and begin with nothing cached. `benchmarks.search_plain`
computes the frozen part in every epoch: a few epochs of three heads are timed and scaled to all.
`benchmarks.search_cached` computes it once, and runs all trials in full.
"""

import dataclasses
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import article_race, harness
from benchmarks.search_watch import Row, Watched, cold

SPLITS = ("train", "validation")
VIEWS = {"article": 8, "none": 0}  # by augmentation
_SHARED = ("classes", "image_size", "weights", "seed")


@dataclasses.dataclass(frozen=True)
class Raced:
    """What all sides took.

    Attributes:
        ours: Our searches by augmentation.
        seconds: By side (`ours, article`, `plain, none`, ...), of each round.
        cached: Lines of the peer that caches, by augmentation.
    """

    ours: dict[str, list[Watched]]
    seconds: dict[str, list[float]]
    cached: dict[str, list[dict[str, Any]]]


def race(values: flags.FlagValues, dataset: "Dataset") -> Raced:  # noqa: F821
    """Runs all sides, with augmentation and without.

    Args:
        values: Of `benchmarks.search`.
        dataset: Its train and validation images are what all sides get.
    """
    ours: dict[str, list[Watched]] = {name: [] for name in VIEWS}
    cached: dict[str, list[dict[str, Any]]] = {name: [] for name in VIEWS}

    def our_seconds(name: str) -> float:
        views = VIEWS[name]
        more = (f"--augmentation={name}", f"--views={views}") if views else ()
        ours[name].append(cold(values, *more))
        return ours[name][-1].seconds

    def rows() -> Sequence[Row]:  # of the first side of all: the trials are known by then
        return ours["article"][0].rows

    def cached_seconds(name: str) -> float:
        seconds, line = run_cached(values, folder, rows(), VIEWS[name])
        cached[name].append(line)
        return seconds

    with tempfile.TemporaryDirectory() as folder:
        for split in SPLITS:
            article_race.export(dataset, dataset.splits[split], pathlib.Path(folder) / split)
        sides: dict[str, Callable[[], float]] = {}
        for name in VIEWS:
            sides[f"ours, {name}"] = lambda name=name: our_seconds(name)
        for name, views in VIEWS.items():
            sides[f"cached, {name}"] = lambda name=name: cached_seconds(name)
            sides[f"plain, {name}"] = lambda views=views: plain_seconds(
                values, folder, rows(), augment=bool(views)
            )
        return Raced(ours, harness.alternate(sides, values.rounds), cached)


def plain_seconds(
    values: flags.FlagValues, folder: str, rows: Sequence[Row], *, augment: bool
) -> float:
    """Seconds of the plain way for the trials of these rows, scaled from a few epochs."""
    more = [f"--epochs={values.peer_epochs}", f"--augment={str(augment).lower()}"]
    line = _run("benchmarks.search_plain", values, folder, three(rows), more)
    return scaled(line["timed"], rows, values.epochs)


def run_cached(
    values: flags.FlagValues, folder: str, rows: Sequence[Row], views: int
) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command that caches activations, for these trials, and its line."""
    more = [f"--epochs={values.epochs}", f"--views={views}"]
    begin = time.perf_counter()
    line = _run("benchmarks.search_cached", values, folder, rows, more)
    return time.perf_counter() - begin, line


def _run(
    module: str, values: flags.FlagValues, folder: str, rows: Sequence[Row], more: list[str]
) -> dict[str, Any]:
    trials = ",".join(f"{row['head_units']}:{row['learning_rate']}" for row in rows)
    shared = [f"--{name}={values[name].value}" for name in _SHARED]
    done = article_race.run([module, f"--folder={folder}", f"--trials={trials}", *shared, *more])
    return json.loads(done.stdout.splitlines()[-1])


def three(rows: Sequence[Row]) -> list[Row]:
    """The trials with the smallest, the median and the largest head, each size once."""
    order = sorted(rows, key=lambda row: int(row["head_units"]))
    chosen = (order[0], order[len(order) // 2], order[-1])
    return list({row["head_units"]: row for row in chosen}.values())


def scaled(timed: Sequence[dict[str, Any]], rows: Sequence[Row], epochs: int) -> float:
    """Seconds of all trials from those of a few heads' epochs, between which it interpolates."""
    units = [each["head_units"] for each in timed]
    epoch = [statistics.fmean(each["seconds"]) for each in timed]
    return epochs * float(sum(np.interp(int(row["head_units"]), units, epoch) for row in rows))
