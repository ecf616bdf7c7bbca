"""Peak memory of opening, filling, training and evaluating, over the number of images.

`python -m benchmarks.memory --images=1000,10000` builds so many synthetic images, and then opens
the dataset, fills an empty cache, and trains and evaluates from the full one, each in a process of
its own (`benchmarks.memory_run`), with a tiny network on small squares: what grows is the account
of the images. It runs twice where rows are read, with the limit for rows that are held in memory
set to 0, which the claims are of, and as it is. `--folder=DIR` leaves the datasets there for the
next time; 100,000 images take half an hour to build.

The figure is the kernel's peak of resident memory, begun again with each part. No file of data is
mapped into memory, so that shared pages are libraries alone and do not grow with the images; what
was swapped out would be missing, and is given beside it.
"""

import itertools
import json
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from absl import flags

from benchmarks import harness, scale

PARTS = ("open", "fill", "train", "evaluate")
HELD = ("train", "evaluate")  # the parts that read rows for training and scoring
_TARGET = 1.0  # images that a further KiB holds, at least
_LEAST = 0.01  # KiB an image: less is nothing that could be measured


def measure(
    counts: Sequence[int], *, rounds: int, image_size: int, width: float, folder: pathlib.Path
) -> dict[str, Any]:
    """Runs every part for every number of images and prints the line.

    Args:
        counts: Numbers of images, ascending.
        rounds: Rounds; each runs all numbers.
        image_size: Pixels of a side in training.
        width: Share of VGG16's channels.
        folder: Where the datasets are built, unless they are there.

    Returns:
        The line, as `harness.report` returns it.

    Raises:
        StageError: A process failed.
    """
    peaks: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for count in counts:
        data_dir = folder / str(count)
        if not data_dir.exists():
            scale.build(data_dir, count)
    network = [f"--image_size={image_size}", f"--width={width}"]

    def run(count: int) -> float:
        peaks[count].append(_run(folder / str(count), network))
        return peaks[count][-1]["train"]

    harness.alternate({str(count): lambda count=count: run(count) for count in counts}, rounds)
    growth = {
        part: {
            f"from {low} to {high}": _growth(part, low, high, peaks)
            for low, high in itertools.pairwise(counts)
        }
        for part in (*PARTS, *(f"{part}, rows held" for part in HELD))
    }
    return harness.report(
        "memory",
        figures={
            f"{count} images, {part}: MiB at the peak": harness.spread([e[part] for e in each])
            for count, each in peaks.items()
            for part in growth
        },
        targets={
            f"{part}, {pair}: images a KiB holds": (_TARGET, 1 / max(spread["max"], _LEAST))
            for part in PARTS
            for pair, spread in growth[part].items()
        },
        bound=_bound(growth),
        packages=("tensorflow-datasets", "psutil"),
        growth_kib_an_image=growth,
        peak="ru_maxrss, begun again with each part",
        swapped_mib=max(one["swapped"] for each in peaks.values() for one in each),
        images=list(counts),
        image_size=image_size,
        width=width,
    )


def _growth(
    part: str, low: int, high: int, peaks: dict[int, list[dict[str, float]]]
) -> dict[str, float]:
    """KiB that a further image costs, by round."""
    pairs = zip(peaks[low], peaks[high], strict=True)
    return harness.spread(
        [1024 * (large[part] - small[part]) / (high - low) for small, large in pairs]
    )


def _bound(growth: dict[str, dict[str, dict[str, float]]]) -> str:
    last = {part: [*pairs.values()][-1]["median"] for part, pairs in growth.items() if pairs}
    listed = ", ".join(f"{value:.3g} in {part}" for part, value in last.items())
    return f"KiB that a further image costs between the largest numbers: {listed or 'not measured'}"


def _run(data_dir: pathlib.Path, network: Sequence[str]) -> dict[str, float]:
    """MiB at the peak, by part; `swapped`, the most that any process had swapped out."""
    with tempfile.TemporaryDirectory() as folder:
        given = [f"--data_dir={data_dir}", f"--cache_dir={folder}/cache", *network]

        def stage(part: str, *more: str) -> dict[str, float]:
            path = pathlib.Path(folder) / "peaks.json"
            scale.stage("benchmarks.memory_run", [f"--part={part}", f"--out={path}", *given, *more])
            return json.loads(path.read_text())

        opened, filled = stage("open"), stage("fill")
        read, held = (stage("run", f"--{held}held") for held in ("no", ""))
    every = (opened, filled, read, held)
    return {
        **opened,
        **filled,
        **read,
        **{f"{part}, rows held": held[part] for part in HELD},
        "swapped": max(one["swapped"] for one in every),
    }


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    counts = scale.counts_of(values.images, "images")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(values.folder or temporary).expanduser()
        try:
            measure(
                counts, rounds=values.rounds, image_size=values.image_size, width=values.width,
                folder=folder,
            )  # fmt: skip
        except scale.StageError as error:
            print(error, file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    flags.DEFINE_list("images", "1000,10000", "Numbers of images, e.g. 1000,10000,100000.")
    flags.DEFINE_integer("rounds", 3, "Rounds; each runs all numbers.", lower_bound=1)
    flags.DEFINE_integer("image_size", 32, "Pixels of a side in training.", lower_bound=32)
    flags.DEFINE_float("width", 0.05, "Share of VGG16's channels.", lower_bound=0.01)
    flags.DEFINE_string("folder", "", "Where the datasets stay. Default: a temporary folder.")
    harness.run(main)
