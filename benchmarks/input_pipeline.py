"""Images a second from stored images to augmented batches, ours and others', on the same cores.

`python -m benchmarks.input_pipeline --data_dir=DIR` takes the train images of a dataset to the
trainer's 150 px. Cold is the first epoch from an empty cache: reading the TFRecords, decoding,
resizing, caching the squares and making the batches. Warm is any later epoch, whose batches are
gathered from cached squares and augmented on the device. All files are in the page cache of the
system. Compiling layers and starting processes is in nobody's time. The peers, which are in
`benchmarks.input_peers`, are called as their own documentation advises:

* ImageDataGenerator and Keras' directory pipeline keep nothing between epochs and have one figure
  for both; they read a folder of at most 200 of the images, evenly chosen, since they are slow and
  their rates do not depend on the number. They augment, grey or, as VGG16 wants it, RGB.
* tf.data decodes, resizes, caches, shuffles, batches and, in one side, augments with Keras' layers,
  all in parallel as it finds best.
* grain gets the encoded images, or the squares, in memory, and does not augment. Cold it runs in
  threads, or in worker processes as PyTorch's DataLoader has them, warm on records or on whole
  batches of them; the fastest way of a round counts. PyTorch itself is not here: on Linux, PyPI has
  it only with CUDA's libraries.

Sides that don't augment are compared with ours without augmentation. The limit is decoding and
resizing alone.
"""

import contextlib
import io
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import harness, input_peers
from benchmarks.input_peers import BATCH, WARM, Side, rate
from covid_tfds.parallel import CORES
from trainer.augmentation import layer, random
from trainer.input_pipeline import batches as batches_lib
from trainer.input_pipeline import dataset as dataset_lib
from trainer.input_pipeline import stages
from trainer.input_pipeline.dataset import Dataset, Images

_SLOW = 200  # images for the peers that take milliseconds each


def ours(
    dataset: Dataset, images: Images, size: int, preset: str, filled: stages.OpenStages
) -> dict[str, Side]:
    """Our pipeline, with the augmentation layer of a preset behind it (or "none").

    Args:
        dataset: Where the images are stored.
        images: Of the dataset.
        size: Pixels of a side.
        preset: As for `layer.augmentation`.
        filled: A cache that has their squares.
    """
    count, augment, stage = len(images), layer.augmentation(preset), stages.square_stage(size)

    def draws(epoch: int, at: np.ndarray) -> np.ndarray:
        return random.uniform_draws(images.image_ids[at], int(epoch), 1)

    def epochs(opened: stages.OpenStages, number: int) -> Iterator:
        rows = batches_lib.Rows(opened.rows(stage), images.digests, (0,))
        made = batches_lib.train_batches(
            rows, images.labels, at=np.arange(count), batch_size=BATCH, seed=1,
            epochs=range(number), draws=draws if augment else None,
        )  # fmt: skip
        for inputs, _ in made:
            yield inputs if augment is None else augment(*inputs).numpy()

    def warm() -> float:
        made = epochs(filled, 1 + WARM)
        for _ in range(-(-count // BATCH)):
            next(made)
        return rate(WARM * count, made)

    def cold() -> float:
        with _empty_cache() as opened:
            begin = time.perf_counter()
            stages.fill_squares(dataset, images, [stage], opened)
            for _ in epochs(opened, 1):
                pass
            return count / (time.perf_counter() - begin)

    for _ in epochs(filled, 1):  # compiles the layer for both sizes of batch
        pass
    name = "ours" if augment is None else "ours, augmented"
    return {f"{name}, cold": cold, f"{name}, warm": warm}


@contextlib.contextmanager
def _empty_cache() -> Iterator[stages.OpenStages]:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(stages.OpenStages(pathlib.Path(folder))) as opened,
    ):
        yield opened


@contextlib.contextmanager
def files_of(images: Sequence[bytes]) -> Iterator[pathlib.Path]:
    """A folder of images as files, for peers that read nothing else; deleted at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for i, image in enumerate(images):
            path = folder / "images" / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
        yield folder


def measure(
    dataset: Dataset, images: Images, size: int, *, rounds: int, workers: int
) -> dict[str, list[float]]:
    """Images a second of all sides on some images of a dataset, by round."""
    encoded = [image for _, image in sorted(dataset.encoded(images))]
    stage = stages.square_stage(size)
    with files_of(evenly(encoded, _SLOW)) as folder, _empty_cache() as filled:
        stages.fill_squares(dataset, images, [stage], filled)
        squares = filled.rows(stage).read(images.digests, 0)
        sides = {
            **ours(dataset, images, size, "article", filled),
            **ours(dataset, images, size, "none", filled),
            **input_peers.tf_data(encoded, folder, size),
            **input_peers.grains(encoded, squares, workers),
            **input_peers.limit(encoded, size),
        }
        for color in ("rgb", "grayscale"):
            path = folder / "images"
            sides[f"ImageDataGenerator, {color}"] = input_peers.generator(path, size, color)
            sides[f"Keras directory, {color}"] = input_peers.directory(path, size, color)
            sides[f"Keras directory, {color}"]()  # traces
        with contextlib.redirect_stdout(io.StringIO()):  # "Found ... images", every round
            rates = harness.alternate(sides, rounds)
    return rates | fastest(rates, input_peers.GRAIN)


def fastest(
    rates: dict[str, list[float]], ways: dict[str, tuple[str, ...]]
) -> dict[str, list[float]]:
    """By peer, the rates of the fastest of its ways in each round.

    Args:
        rates: By side, of all rounds.
        ways: By peer, its sides; one whose sides are not in `rates` is left out.
    """
    return {
        peer: harness.fastest(rates[side] for side in sides)
        for peer, sides in ways.items()
        if rates.keys() >= set(sides)
    }


def compared(rates: dict[str, list[float]]) -> dict[str, tuple[float, dict[str, float]]]:
    """By name, what a ratio of two sides is wanted to be (0: nothing) and its spread."""
    wanted = [
        ("ours, augmented, warm", "ImageDataGenerator, rgb", 10),
        ("ours, augmented, warm", "Keras directory, rgb", 8),
        ("ours, augmented, warm", "ImageDataGenerator, grayscale", 0),
        ("ours, augmented, warm", "Keras directory, grayscale", 0),
        ("ours, augmented, warm", "tf.data, augmented, warm", 2),
        ("ours, augmented, cold", "ImageDataGenerator, rgb", 5),
        ("ours, augmented, cold", "Keras directory, rgb", 5),
        ("ours, augmented, cold", "ImageDataGenerator, grayscale", 0),
        ("ours, augmented, cold", "Keras directory, grayscale", 0),
        ("ours, cold", "tf.data, cold", 1.2),
        ("ours, warm", "tf.data, warm", 1.2),
        ("ours, cold", "grain, cold", 1.2),
        ("ours, warm", "grain, warm", 1.2),
        ("ours, cold", "decode and resize limit", 0.9),
    ]
    return {
        f"{one} / {other}": (target, harness.ratios(rates[one], rates[other]))
        for one, other, target in wanted
        if rates.keys() >= {one, other}
    }


def evenly(things: Sequence, count: int) -> list:
    """At most so many of them, from the whole length."""
    count = min(count, len(things))
    return [things[i * len(things) // count] for i in range(count)]


def _bound(rates: dict[str, list[float]]) -> str:
    def milliseconds(side: str) -> str:
        return f"{1e3 / statistics.median(rates[side]):.2g}"

    return (
        f"augmented and warm an image takes {milliseconds('ours, augmented, warm')} ms, of which "
        f"{milliseconds('ours, warm')} ms gather the batch and the rest is the augmentation layer; "
        f"cold, {milliseconds('ours, cold')} ms go to reading, Pillow's decoding, resizing and "
        "caching"
    )


def run(
    dataset: Dataset, images: Images, size: int, *, rounds: int, workers: int
) -> dict[str, Any]:
    """Measures all sides and prints the benchmark's line.

    Args:
        dataset: Where the images are stored.
        images: Of the dataset.
        size: Pixels of a side of the batches.
        rounds: Of all sides in alternation.
        workers: Processes of grain's DataLoader; 0: none.

    Returns:
        See `harness.report`.
    """
    rates = measure(dataset, images, size, rounds=rounds, workers=workers)
    ratios = compared(rates)
    claims = {name: (target, spread) for name, (target, spread) in ratios.items() if target}
    peers = {"grain": "grain, warm"}
    return harness.report(
        "input_pipeline",
        figures={side: harness.spread(values) for side, values in rates.items()},
        targets={claim: (target, spread["median"]) for claim, (target, spread) in claims.items()},
        spreads={claim: spread for claim, (_, spread) in claims.items()},
        ratios={name: spread for name, (target, spread) in ratios.items() if not target},
        bound=_bound(rates),
        packages=["pillow", *(package for package, side in peers.items() if side in rates)],
        skipped=[package for package, side in peers.items() if side not in rates],
        unit="images/s",
        images=len(images),
        dataset=dataset.name,
        image_size=size,
        workers=workers,
    )


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    dataset = dataset_lib.open_dataset(values.dataset, values.data_dir, values.classes)
    images = dataset.splits["train"]
    if values.images:
        images = images.take(range(min(values.images, len(images))))
    run(dataset, images, values.image_size, rounds=values.rounds, workers=values.workers)


if __name__ == "__main__":
    flags.DEFINE_string("dataset", "full", "Config of covid_tfds that was built.")
    flags.DEFINE_string("data_dir", "", "Where datasets are. Default: TFDS' own.")
    flags.DEFINE_integer("classes", 4, "The first so many of the dataset.", lower_bound=2)
    flags.DEFINE_integer("images", 0, "The first so many train images; 0: all.", lower_bound=0)
    flags.DEFINE_integer("image_size", 150, "Pixels of a side.")
    flags.DEFINE_integer("workers", CORES, "Processes of grain's DataLoader.", lower_bound=0)
    flags.DEFINE_integer("rounds", 5, "Rounds of all sides.", lower_bound=1)
    harness.run(main)
