"""`tfds build` of `full` against one thread of Pillow, and against decoding and encoding alone.

`python -m benchmarks.build --manual_dir=DIR` prints films per second. The build is the command as a
user types it, in a process and a folder of its own, so Python's and TensorFlow's start and the
writing of TFRecords are in; the same start, timed in every round, is taken off in a second figure.
Neither peer starts or writes anything: both have the files' names and go.
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

from absl import app, flags
from PIL import Image

from benchmarks import harness
from covid_tfds import cohen, films, kaggle

FLAGS = flags.FLAGS
_ROOT = pathlib.Path(__file__).parents[1]
_START = "import tensorflow, tensorflow_datasets, covid_tfds"
_SPEED = ("times the speed of one thread, start-up taken off", 1.8)
_SHARE = ("share of what decoding and encoding allow, start-up taken off", 0.8)
Read = Callable[[], bytes]  # gives one file's bytes


def measure(manual_dir: pathlib.Path, *, rounds: int, shorter_side: int) -> dict[str, Any]:
    """Runs all sides and prints the line.

    Args:
        manual_dir: Where both sources lie.
        rounds: Rounds, in alternation.
        shorter_side: Pixels of Kaggle's films' shorter side; 0 takes them as they are.

    Returns:
        The line, as `harness.report` returns it.
    """
    with tempfile.TemporaryDirectory() as folder:
        if shorter_side:
            manual_dir = _enlarged(manual_dir, shorter_side, pathlib.Path(folder) / "manual")
        reads = _reads(manual_dir)
        work: dict[str, list[float]] = {name: [] for name in ("build", "start", "checked", "bare")}
        start = [sys.executable, "-c", _START]
        seconds = harness.alternate(
            {
                "build": lambda: _build_seconds(manual_dir, work["build"]),
                "start-up": lambda: _seconds(start, work["start"]),
                "one thread": lambda: _pool_seconds(films.read_film, reads, 1, work["checked"]),
                "limit": lambda: _pool_seconds(_bare, reads, os.cpu_count() or 1, work["bare"]),
            },
            rounds,
        )
    seconds["build, start-up taken off"] = [
        whole - start for whole, start in zip(seconds["build"], seconds["start-up"], strict=True)
    ]
    return _report(seconds, work, len(reads), shorter_side)


def _report(
    seconds: dict[str, list[float]], work: dict[str, list[float]], count: int, shorter_side: int
) -> dict[str, Any]:
    figures = {
        name: harness.spread([count / each for each in values])
        for name, values in seconds.items()
        if name != "start-up"
    }
    used = {name: statistics.median(each) for name, each in work.items()}
    running = seconds["build, start-up taken off"]
    spreads = {
        _SPEED[0]: harness.ratios(seconds["one thread"], running),
        _SHARE[0]: harness.ratios(seconds["limit"], running),
    }
    whole = {
        "one thread": harness.ratios(seconds["one thread"], seconds["build"]),
        "limit": harness.ratios(seconds["limit"], seconds["build"]),
    }
    return harness.report(
        "build" if not shorter_side else f"build, Kaggle's films at {shorter_side} px",
        figures=figures,
        targets={claim: (target, spreads[claim]["median"]) for claim, target in (_SPEED, _SHARE)},
        bound=_bound(used, count),
        packages=("tensorflow-datasets", "pillow"),
        unit="films/s",
        spreads=spreads,
        start_up_in=whole,
        start_up_seconds=harness.spread(seconds["start-up"]),
        processor_seconds={name: harness.rounded(each) for name, each in used.items()},
        films=count,
        threads=os.cpu_count(),
        load=harness.rounded(os.getloadavg()[0]),
    )


def _bound(used: dict[str, float], count: int) -> str:
    """Where a build's processor time goes, which other work on the machine does not change."""
    whole, bare, start = used["build"], used["bare"], used["start"]
    checks = used["checked"] - bare
    rest = whole - start - used["checked"]
    return (
        f"of the build's {whole:.1f} s of processor ({1000 * whole / count:.2f} ms a film), "
        f"decoding, scaling and encoding take {bare / whole:.0%}, checks and fingerprints "
        f"{checks / whole:.0%}, start-up {start / whole:.0%}, grouping, writing and the rest "
        f"{rest / whole:.0%}"
    )


def _reads(manual_dir: pathlib.Path) -> list[Read]:
    """What reads each file that the `full` config reads."""
    reads = []
    for source in (kaggle, cohen):
        stored = source.find(manual_dir)
        if stored is None:
            raise app.UsageError(f"--manual_dir {manual_dir} lacks:\n{source.TREE}")
        found, _ = source.films(stored)
        reads += [functools.partial(stored.read, film.name) for film in found]
    return reads


def _build_seconds(manual_dir: pathlib.Path, processor: list[float]) -> float:
    """The whole command, from the shell's point of view."""
    with tempfile.TemporaryDirectory() as data_dir:
        command = [sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", "build"]
        command += ["covid_tfds", "--config=full", f"--manual_dir={manual_dir}"]
        return _seconds([*command, f"--data_dir={data_dir}"], processor)


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


def _pool_seconds(
    work: Callable[[bytes], object], reads: Sequence[Read], threads: int, processor: list[float]
) -> float:
    """Wall time of one function over all files; appends the processor's time to `processor`."""

    def one(read: Read) -> None:
        try:
            work(read())
        except (films.Unusable, OSError):
            return  # left out by the build as well

    start, used = time.perf_counter(), time.process_time()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(one, reads):
            pass
    processor.append(time.process_time() - used)
    return time.perf_counter() - start


def _bare(data: bytes) -> bytes:
    """Decoding to grey, scaling and encoding, as the build does, and nothing else."""
    grey = Image.open(io.BytesIO(data)).convert("L")
    scale = films.SHORTER_SIDE / min(grey.size)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize(size, Image.Resampling.BICUBIC)
    return films.encode(grey)


def _enlarged(manual_dir: pathlib.Path, shorter_side: int, into: pathlib.Path) -> pathlib.Path:
    """A manual folder whose Kaggle films are enlarged copies, for those who have small ones.

    The published films are some 1,400 x 1,000 px and 0.3 MB. A quality of 95 comes near those
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
        for _ in pool.map(enlarge, source.rglob("*.jpeg")):
            pass
    return into


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1:]} are no flags. Flags begin with --.")
    manual_dir = pathlib.Path(FLAGS.manual_dir)
    measure(manual_dir, rounds=FLAGS.rounds, shorter_side=FLAGS.shorter_side)


if __name__ == "__main__":
    flags.DEFINE_string("manual_dir", None, "Where both sources lie, unpacked.", required=True)
    flags.DEFINE_integer("rounds", 3, "Rounds, in alternation.", lower_bound=1)
    flags.DEFINE_integer(
        "shorter_side",
        0,
        "Enlarge Kaggle's films to this shorter side first, in a temporary folder (published: "
        "about 1000). 0: take them as they are.",
        lower_bound=0,
    )
    app.run(main)
