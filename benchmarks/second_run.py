"""A second run, all of whose activations are cached: seconds to its first epoch, and whole.

`python -m benchmarks.second_run --peer=FOLDER --peer_python=PYTHON --peer_data_dir=DATA` runs
`trainer.main` of this checkout and of another release in alternation: a checkout of it (`git
worktree add FOLDER bb76324` has 1.0.0), the Python it is installed in, and its own build of the
same dataset. Without `--peer` our times are alone. Each side fills its cache before its times
count. What the runs score, on test, too, is thrown away.
"""

import dataclasses
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from absl import flags

from benchmarks import harness, process

_FIRST, _WHOLE = "to the first epoch", "whole"
_TARGET = 2.0  # times as fast as 1.0.0
_POLL = 0.02  # seconds


@dataclasses.dataclass(frozen=True)
class Release:
    """A release that can be run.

    Attributes:
        python: The Python it is installed in.
        root: Its checkout.
        data_dir: Where its build of the dataset is; "" for TFDS' own folder.
    """

    python: str
    root: str
    data_dir: str


def measure(
    releases: Mapping[str, Release], arguments: list[str], *, caches: str, rounds: int
) -> dict[str, Any]:
    """Runs every release once to fill its cache, then in alternation, and prints the line.

    Args:
        releases: "ours", and perhaps "peer".
        arguments: Of `trainer.main`, but for the folders.
        caches: Folder of one cache a release, which stay; "" for one that is removed.
        rounds: Rounds.

    Returns:
        The line, as `harness.report` returns it.
    """
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in releases}
    with tempfile.TemporaryDirectory() as folder:

        def run(name: str) -> float:
            cache = pathlib.Path(caches or folder, f"cache of {name}").resolve()
            given = [*arguments, f"--cache_dir={cache}"]
            seconds[name].append(_timed(releases[name], given, pathlib.Path(folder, name)))
            return seconds[name][-1][_WHOLE]

        for name in reversed(releases):  # what the peer lacks shows first
            run(name)  # computes what is cached
        harness.alternate({name: lambda name=name: run(name) for name in releases}, rounds)
    times = {
        f"{name}, {what}": [each[what] for each in runs[1:]]
        for name, runs in seconds.items()
        for what in (_FIRST, _WHOLE)
    }
    against = {
        f"{what}, times as fast as the peer": harness.ratios(
            times[f"peer, {what}"], times[f"ours, {what}"]
        )
        for what in ((_FIRST, _WHOLE) if "peer" in releases else ())
    }
    parts = [part for part in seconds["ours"][-1] if part not in (_FIRST, _WHOLE)]
    medians = {p: statistics.median(each[p] for each in seconds["ours"][1:]) for p in parts}
    return harness.report(
        "second_run",
        figures={f"{name}, s": harness.spread(values) for name, values in times.items()},
        targets={claim: (_TARGET, ratio["median"]) for claim, ratio in against.items()},
        spreads=against,
        bound="seconds of ours: " + ", ".join(f"{p} {s:.1f}" for p, s in medians.items()),
        arguments=arguments,
    )


def _timed(release: Release, arguments: list[str], run: pathlib.Path) -> dict[str, float]:
    """Seconds until history.csv has an epoch, of the whole command, and of its parts."""
    shutil.rmtree(run, ignore_errors=True)
    command = ["trainer.main", *arguments, f"--run_dir={run}"]
    if release.data_dir:
        command.append(f"--data_dir={pathlib.Path(release.data_dir).resolve()}")
    ends: list[float] = []

    def see(at: float, pid: int) -> None:
        if not ends and _has_epoch(run / "history.csv"):
            ends.append(at)

    whole = process.watched(command, see, _POLL, python=release.python, root=release.root)
    if not ends:
        sys.exit(f"{' '.join(command)} ended without an epoch in history.csv.")
    parts: dict[str, float] = {}
    if (run / "times.json").is_file():  # 1.0.0 has none
        parts = json.loads((run / "times.json").read_text())
        parts = {"start and end": whole - sum(parts.values())} | parts
    return {_FIRST: ends[0], _WHOLE: whole} | {k.replace("_", " "): v for k, v in parts.items()}


def _has_epoch(path: pathlib.Path) -> bool:
    try:
        return path.read_text().count("\n") > 1
    except FileNotFoundError:
        return False


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    root = str(pathlib.Path(__file__).parents[1])
    releases = {"ours": Release(sys.executable, root, values.data_dir)}
    if values.peer:
        releases["peer"] = Release(values.peer_python, values.peer, values.peer_data_dir)
    arguments = [f"--{name}={values[name].value}" for name in ("dataset", "image_size", "epochs")]
    measure(releases, [*arguments, "--classes=4"], caches=values.caches, rounds=values.rounds)


if __name__ == "__main__":
    flags.DEFINE_string("dataset", "full", "Config of covid_tfds.")
    flags.DEFINE_string("data_dir", "", "Where it is. Default: TFDS' own.")
    flags.DEFINE_integer("image_size", 150, "Pixels of a side.", lower_bound=32)
    flags.DEFINE_integer("epochs", 12, "Epochs of a run.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Rounds in alternation.", lower_bound=1)
    flags.DEFINE_string("caches", "", "Keeps both caches here. Default: they are removed.")
    flags.DEFINE_string("peer", "", "Checkout of another release.")
    flags.DEFINE_string("peer_python", sys.executable, "The Python it is installed in.")
    flags.DEFINE_string("peer_data_dir", "", "Where its build of the dataset is.")
    harness.run(main)
