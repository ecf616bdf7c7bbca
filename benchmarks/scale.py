"""Speed and peak memory of whole commands over the number of images: filling and training.

`python -m benchmarks.scale --images=1000,10000` builds so many synthetic images and trains on them
twice, each time in a process of its own, whose start is in its time and whose peak is the kernel's
count: `fill` is a training that has to compute the activations, `train` the same one again. The
network is VGG16 from random numbers on small images, so that many are affordable: memory and speed
are measured, nothing is learnt. What a process takes whatever it reads, TensorFlow's 800 MiB above
all, is in both numbers of images: the claims are of what a further image costs. It may cost its row
of activations, which is held in memory while there is room (4 KiB at 64 pixels), and as much again.
The peaks of opening, filling, training and evaluating apart, with rows held and not, on a tiny
network: `python -m benchmarks.memory`. The build, of images that lie on the disk as a user's do,
not drawn as here: `python -m benchmarks.build_memory`.
"""

import csv
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from benchmarks import harness
from covid_tfds import phantom
from trainer.run.errors import ConfigError, RunError

FLAGS = flags.FLAGS
_ROOT = pathlib.Path(__file__).parents[1]
_EPOCHS = 2
DATASET = "scale"  # name of the config that is built
_STAGES = ("fill", "train")
_MOST = 8.0  # KiB that a further image may cost
_LEAST = 0.01  # KiB an image: less is nothing that could be measured


class StageError(RunError):
    """A stage's command failed; the message has the command and the end of its output."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One command, run to its end.

    Attributes:
        seconds: Wall time, the process's start included.
        mebibytes: Peak of the resident memory.
    """

    seconds: float
    mebibytes: float


def measure(counts: Sequence[int], *, rounds: int, image_size: int) -> dict[str, Any]:
    """Runs every stage for every number of images and prints the line.

    Args:
        counts: Numbers of images, ascending.
        rounds: Rounds; each runs all numbers.
        image_size: Pixels of a side in training.

    Returns:
        The line, as `harness.report` returns it.

    Raises:
        StageError: A stage's command failed.
    """
    seen: list[tuple[int, dict[str, float]]] = []

    def run(count: int) -> float:
        seen.append((count, _run(count, image_size)))
        return seen[-1][1]["fill: images/s"]

    harness.alternate({str(count): lambda count=count: run(count) for count in counts}, rounds)
    figures = {
        f"{count} images, {name}": harness.spread([one[name] for at, one in seen if at == count])
        for count in counts
        for name in seen[0][1]
    }
    small, large = counts[0], counts[-1]

    def peaks(count: int, stage: str) -> list[float]:
        return [one[f"{stage}: MiB"] for at, one in seen if at == count]

    growth = {
        stage: [
            1024 * (high - low) / (large - small)
            for low, high in zip(peaks(small, stage), peaks(large, stage), strict=True)
        ]
        for stage in (_STAGES if large > small else ())
    }
    spreads = {
        f"{stage}: images that {_MOST:g} KiB hold": harness.spread(
            [_MOST / max(each, _LEAST) for each in grown]
        )
        for stage, grown in growth.items()
    }
    return harness.report(
        "scale",
        figures=figures,
        targets={claim: (1.0, spread["median"]) for claim, spread in spreads.items()},
        bound=_bound(growth),
        packages=("tensorflow-datasets",),
        spreads=spreads,
        growth_kib_an_image={stage: harness.spread(each) for stage, each in growth.items()},
        images=list(counts),
        image_size=image_size,
        weights="none",
        epochs=_EPOCHS,
    )


def _bound(growth: dict[str, list[float]]) -> str:
    each = [f"{statistics.median(grown):.3g} KiB in {stage}" for stage, grown in growth.items()]
    return f"a further image costs {' and '.join(each) or 'what one number of images hides'}"


def _run(count: int, image_size: int) -> dict[str, float]:
    """Builds `count` images and trains on them, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = build(pathlib.Path(folder), count)
        run_dir = pathlib.Path(folder) / "run"
        command = [
            *(f"--dataset={DATASET}", f"--data_dir={folder}", f"--cache_dir={folder}/cache"),
            *(f"--run_dir={run_dir}", "--overwrite", "--weights=none"),
            *(f"--epochs={_EPOCHS}", f"--image_size={image_size}"),
        ]
        fill = stage("trainer.main", command)  # and trains
        train = stage("trainer.main", command)  # on what is cached
        with open(run_dir / "history.csv") as file:
            # The first epoch traces and compiles.
            epoch = float(list(csv.DictReader(file))[-1]["images_per_second"])
    return {
        "fill: images/s": drawn / max(fill.seconds - train.seconds, 1e-9),
        "fill: seconds": fill.seconds,
        "fill: MiB": fill.mebibytes,
        "train: images/s of the last epoch": epoch,
        "train: images/s of the whole run": drawn / train.seconds,
        "train: seconds": train.seconds,
        "train: MiB": train.mebibytes,
    }


def build(data_dir: pathlib.Path, count: int) -> int:
    """Builds the dataset `DATASET` of synthetic images.

    Args:
        data_dir: Where.
        count: Images, at least.

    Returns:
        How many images it has: those of the fewest patients.

    Raises:
        StageError: It failed.
    """
    patients, drawn = patients_of(count)
    config = {"name": DATASET, "images": "phantom", "patients": patients}
    command = ["build", "covid_tfds", f"--config={json.dumps(config)}", f"--data_dir={data_dir}"]
    stage("tensorflow_datasets.scripts.cli.main", command)
    return drawn


def patients_of(count: int) -> tuple[int, int]:
    """The fewest patients who have so many images, and how many images they have."""
    patients = drawn = 0
    while drawn < count:
        drawn += phantom.patient(0, patients).images
        patients += 1
    return patients, drawn


def stage(module: str, arguments: Sequence[str]) -> Stage:
    """Runs `python -m module` and asks the kernel for its peak.

    Raises:
        StageError: It failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=_ROOT, env=os.environ | {"PYTHONPATH": path}, stdout=output, stderr=output
        )
        # wait4 counts this process alone; getrusage would give the largest of all stages. Linux
        # counts a child from its parent's size on, so this file imports no TensorFlow.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            tail = output.read().decode(errors="replace")[-2000:]
            raise StageError(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    kibibytes = usage.ru_maxrss if sys.platform != "darwin" else usage.ru_maxrss / 1024
    return Stage(seconds, kibibytes / 1024)


def counts_of(given: Sequence[str], flag: str) -> list[int]:
    """The numbers that a flag lists, ascending.

    Raises:
        ConfigError: They are no whole numbers of 100 or more.
    """
    try:
        counts = sorted({int(count) for count in given})
    except ValueError:
        raise ConfigError(f"--{flag}={','.join(given)}: give whole numbers.") from None
    if not counts or counts[0] < 100:
        raise ConfigError(f"--{flag}={','.join(given)}: give numbers of 100 or more.")
    return counts


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    counts = counts_of(FLAGS.images, "images")
    measure(counts, rounds=FLAGS.rounds, image_size=FLAGS.image_size)


if __name__ == "__main__":
    flags.DEFINE_list("images", "1000,10000", "Numbers of images, e.g. 1000,10000,100000.")
    flags.DEFINE_integer("rounds", 3, "Rounds; each runs all numbers.", lower_bound=1)
    flags.DEFINE_integer("image_size", 64, "Pixels of a side in training.", lower_bound=32)
    harness.run(main)
