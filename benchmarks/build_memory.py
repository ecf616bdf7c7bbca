"""Peak memory and speed of a `folder` build over the number of images.

`python -m benchmarks.build_memory --images=1000,10000,100000` draws so many small images of two
classes, one image a patient in a table, and builds each lot in a process of its own; the peak is
the kernel's count for that process. What grows is the account of the images, not their pixels.
"""

import itertools
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from benchmarks import harness
from benchmarks.scale import StageError, counts_of, stage

FLAGS = flags.FLAGS
_CLASSES = ("normal", "effusion")
_TARGET = 1.0  # images that a further KiB holds, at least


def measure(counts: Sequence[int], *, rounds: int, side: int) -> dict[str, Any]:
    """Builds every number of images and prints the line.

    Args:
        counts: Numbers of images, ascending.
        rounds: Rounds; each builds all numbers.
        side: Pixels of an image's side.

    Returns:
        The line, as `harness.report` returns it.

    Raises:
        StageError: A build failed.
    """
    peaks: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for count in counts:
            draw(root / str(count), count, side)

        def run(count: int) -> float:
            done = _build(root, count)
            peaks[count].append(done.mebibytes)
            return count / done.seconds

        speed = harness.alternate({str(c): lambda c=c: run(c) for c in counts}, rounds)
    figures = {f"{c} images: MiB at the peak": harness.spread(peaks[c]) for c in counts}
    figures |= {f"{c} images: images/s, start-up in": harness.spread(speed[str(c)]) for c in counts}
    growth = {
        f"from {low} to {high}": harness.spread(
            [
                1024 * (after - before) / (high - low)
                for before, after in zip(peaks[low], peaks[high], strict=True)
            ]
        )
        for low, high in itertools.pairwise(counts)
    }
    return harness.report(
        "build_memory",
        figures=figures,
        targets={
            f"{name}: images a KiB holds": (_TARGET, 1 / max(spread["max"], 1e-9))
            for name, spread in growth.items()
        },
        bound="the records of the images: ids, patients and digests; pixels wait on the disk",
        packages=("tensorflow-datasets",),
        growth_kib_an_image=growth,
        images=list(counts),
        side=side,
    )


def draw(folder: pathlib.Path, count: int, side: int) -> None:
    """Writes `count` smooth random images and their table; no two are alike."""
    rows = ["path,label,patient"]
    for number in range(count):
        label = _CLASSES[number % 2]
        path = folder / label / f"{number // 1000:03d}" / f"image-{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (9, 9), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path)
        rows.append(f"{path.relative_to(folder)},{label},patient-{number:06d}")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")


def _build(root: pathlib.Path, count: int) -> Any:
    with tempfile.TemporaryDirectory(dir=root) as data_dir:
        config = json.dumps({"name": "memory", "images": "folder"})
        flags_ = [f"--config={config}", f"--manual_dir={root / str(count)}"]
        return stage(
            "tensorflow_datasets.scripts.cli.main",
            ["build", "covid_tfds", *flags_, f"--data_dir={data_dir}"],
        )


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    counts = counts_of(FLAGS.images, "images")
    try:
        measure(counts, rounds=FLAGS.rounds, side=FLAGS.side)
    except StageError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    flags.DEFINE_list("images", "1000,10000", "Numbers of images, e.g. 1000,10000,100000.")
    flags.DEFINE_integer("rounds", 1, "Rounds; each builds all numbers.", lower_bound=1)
    flags.DEFINE_integer("side", 160, "Pixels of an image's side.", lower_bound=64)
    harness.run(main)
