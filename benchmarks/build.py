"""`tfds build` of `full` on all cores against one core, and against decoding and encoding alone.

`python -m benchmarks.build --manual_dir=DIR` prints images per second. The build is the command as
a user types it, in a process and a folder of its own, so Python's and TensorFlow's start, grouping
and the writing of TFRecords are in. The peer is the same command on one core, where one thread does
it all. The limit is what must be done at least, decoding, scaling and encoding, on all cores, in a
process that has started. Start-up, that of the command on a dataset that is there already, is timed
in every round and taken off.
"""

import concurrent.futures
import functools
import io
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from benchmarks import harness
from covid_tfds import reading
from covid_tfds.parallel import CORES, in_order
from covid_tfds.sources import cohen, kaggle
from covid_tfds.sources.storage import Unreadable
from trainer.run.errors import ConfigError

FLAGS = flags.FLAGS
_ROOT = pathlib.Path(__file__).parents[1]
_SPEED = ("times the speed of one core, which groups and writes, too; start-up taken off", 1.7)
_SHARE = ("share of what decoding and encoding allow, start-up taken off", 0.8)
_ONE_CORE = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
Read = Callable[[], bytes]  # gives one file's bytes


def measure(
    manual_dir: pathlib.Path, *, rounds: int, shorter_side: int, every: int = 1
) -> dict[str, Any]:
    """Runs all sides and prints the line.

    Args:
        manual_dir: Where both sources lie.
        rounds: Rounds, in alternation.
        shorter_side: Pixels of Kaggle's images' shorter side; 0 takes them as they are.
        every: With a shorter side, so many-th image of Kaggle's is taken.

    Returns:
        The line, as `harness.report` returns it.
    """
    with tempfile.TemporaryDirectory() as folder:
        if shorter_side:
            manual_dir = _enlarged(manual_dir, shorter_side, pathlib.Path(folder) / "manual", every)
        reads = _reads(manual_dir)
        processor: dict[str, list[float]] = {"build": [], "limit": []}
        start = _command(
            f"--data_dir={folder}/start", '--config={"name": "start", "images": "phantom"}'
        )
        _seconds(start, [])  # from now on it is there, and the command has nothing to do
        seconds = harness.alternate(
            {
                "all cores": lambda: _build_seconds(manual_dir, [], processor["build"]),
                "one core": lambda: _build_seconds(manual_dir, _ONE_CORE, []),
                "start-up": lambda: _seconds(start, []),
                "start-up on one core": lambda: _seconds([*_ONE_CORE, *start], []),
                "limit": lambda: _limit_seconds(reads, processor["limit"]),
            },
            rounds,
        )
    return _report(seconds, processor, len(reads), shorter_side)


def _report(
    seconds: dict[str, list[float]],
    processor: dict[str, list[float]],
    count: int,
    shorter_side: int,
) -> dict[str, Any]:
    running = {
        "all cores": _less(seconds["all cores"], seconds["start-up"]),
        "one core": _less(seconds["one core"], seconds["start-up on one core"]),
        "limit": seconds["limit"],
    }
    spreads = {
        _SPEED[0]: harness.ratios(running["one core"], running["all cores"]),
        _SHARE[0]: harness.ratios(running["limit"], running["all cores"]),
    }
    return harness.report(
        "build" if not shorter_side else f"build, Kaggle's images at {shorter_side} px",
        figures={
            name: harness.spread([count / each for each in values])
            for name, values in running.items()
        },
        targets={claim: (target, spreads[claim]["min"]) for claim, target in (_SPEED, _SHARE)},
        bound=_bound(processor, seconds["start-up"], count),
        packages=("tensorflow-datasets", "pillow"),
        unit="images/s, start-up taken off",
        spreads=spreads,
        start_up_in=harness.ratios(seconds["one core"], seconds["all cores"]),
        seconds={name: harness.spread(values) for name, values in seconds.items()},
        images=count,
        threads=CORES,
    )


def _less(seconds: list[float], start: list[float]) -> list[float]:
    return [whole - part for whole, part in zip(seconds, start, strict=True)]


def _bound(processor: dict[str, list[float]], start: list[float], count: int) -> str:
    """Where a build's processor time goes, which other work on the machine does not change."""
    whole, bare = statistics.median(processor["build"]), statistics.median(processor["limit"])
    return (
        f"of the build's {whole:.1f} s of processor ({1000 * whole / count:.2f} ms an image), "
        f"decoding, scaling and encoding take {bare / whole:.0%}, start-up some "
        f"{statistics.median(start) / whole:.0%}; the rest checks, hashes, groups and writes"
    )


def _reads(manual_dir: pathlib.Path) -> list[Read]:
    """What reads each file that the `full` config reads."""
    reads = []
    for source in (kaggle, cohen):
        stored = source.find(manual_dir)
        if stored is None:
            raise ConfigError(f"--manual_dir {manual_dir} lacks:\n{source.TREE}")
        listed, _ = source.images(stored)
        reads += [functools.partial(stored.read, image.name) for image in listed]
    return reads


def _build_seconds(
    manual_dir: pathlib.Path, pinned: Sequence[str], processor: list[float]
) -> float:
    """The whole command, from the shell's point of view."""
    with tempfile.TemporaryDirectory() as data_dir:
        flags_ = ("--config=full", f"--manual_dir={manual_dir}", f"--data_dir={data_dir}")
        return _seconds([*pinned, *_command(*flags_)], processor)


def _command(*arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", "build", "covid_tfds",
        *arguments,
    ]  # fmt: skip


def _seconds(command: Sequence[str], processor: list[float]) -> float:
    """Wall time of a command; appends the processor's time to `processor`."""
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    start, used = time.perf_counter(), _children()
    subprocess.run(
        command,
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    processor.append(_children() - used)
    return time.perf_counter() - start


def _children() -> float:
    """Processor seconds of all commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _limit_seconds(reads: Sequence[Read], processor: list[float]) -> float:
    """Wall time of the least work on all cores; appends the processor's time to `processor`."""

    def one(read: Read) -> int:
        try:
            return len(_bare(read()))
        except (Unreadable, OSError):
            return 0  # left out by the build as well

    start, used = time.perf_counter(), time.process_time()
    for _ in in_order(one, reads):
        pass
    processor.append(time.process_time() - used)
    return time.perf_counter() - start


def _bare(data: bytes) -> bytes:
    """Decoding to grey, scaling and encoding, as the build does, and nothing else."""
    grey = Image.open(io.BytesIO(data)).convert("L")
    scale = reading.SHORTER_SIDE / min(grey.size)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize(size, Image.Resampling.BICUBIC)
    return reading.encode(np.asarray(grey))


def _enlarged(
    manual_dir: pathlib.Path, shorter_side: int, into: pathlib.Path, every: int = 1
) -> pathlib.Path:
    """A manual folder whose Kaggle images are enlarged copies, for those who have small ones.

    The published images are some 1,400 x 1,000 px and 0.3 MB. A quality of 95 comes near those
    bytes; the blur of enlarging makes them somewhat easier to decode than the originals.
    """
    source = (manual_dir / "chest_xray").resolve()
    into.mkdir()
    (into / "covid-chestxray-dataset").symlink_to(
        (manual_dir / "covid-chestxray-dataset").resolve()
    )

    def enlarge(path: pathlib.Path) -> None:
        with Image.open(path) as opened:
            grey = opened.convert("L")
        scale = max(1.0, shorter_side / min(grey.size))
        size = tuple(round(side * scale) for side in grey.size)
        target = into / "chest_xray" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        grey.resize(size, Image.Resampling.BICUBIC).save(target, "JPEG", quality=95)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(enlarge, sorted(source.rglob("*.jpeg"))[::every]):
            pass
    return into


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    if FLAGS.every > 1 and not FLAGS.shorter_side:
        raise ConfigError(f"--every={FLAGS.every} belongs to --shorter_side. Give both.")
    manual_dir = pathlib.Path(FLAGS.manual_dir)
    measure(manual_dir, rounds=FLAGS.rounds, shorter_side=FLAGS.shorter_side, every=FLAGS.every)


if __name__ == "__main__":
    flags.DEFINE_string("manual_dir", None, "Where both sources lie, unpacked.", required=True)
    flags.DEFINE_integer("rounds", 3, "Rounds, in alternation.", lower_bound=1)
    flags.DEFINE_integer(
        "shorter_side",
        0,
        "Enlarge Kaggle's images to this shorter side first, in a temporary folder (published: "
        "about 1000). 0: take them as they are.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "every", 1, "With --shorter_side: take every so many-th of Kaggle's images.", lower_bound=1
    )
    harness.run(main)
