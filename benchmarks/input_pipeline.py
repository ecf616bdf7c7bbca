"""Images a second from stored images to augmented batches, ours and others', on the same cores.

`python -m benchmarks.input_pipeline --data_dir=DIR` takes the train images of a dataset to 224 px.
Cold is the first epoch from an empty cache: reading the TFRecords, decoding, resizing, caching the
squares and making the batches. Warm is any later epoch, whose batches are gathered from cached
squares and augmented on the device. All files are in the system's page cache. ImageDataGenerator
and the Keras directory pipeline keep nothing between epochs and have one figure for both; they read
a folder of at most 200 of the images, evenly chosen, since they are slow and their rates do not
depend on the number. They augment, and are compared with ours and our augmentation layer; grain,
which gets the encoded images in memory, and the plain tf.data loop don't, and are compared with
ours without it. Compiling the layers is in nobody's time.
"""

import concurrent.futures
import contextlib
import io
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image

from benchmarks import article_code, harness
from trainer.augmentation import layer, random
from trainer.input_pipeline import batches as batches_lib
from trainer.input_pipeline import dataset as dataset_lib
from trainer.input_pipeline import decode, resize, stages
from trainer.input_pipeline.dataset import Dataset, Images

_BATCH = 32
_WARM = 3  # later epochs that make one warm figure
_SLOW = 200  # images for the peers that take milliseconds each

Side = Callable[[], float]


def rate(images: int, batches: Iterator) -> float:
    """Images a second of an iterator that gives all of them."""
    begin = time.perf_counter()
    for _ in batches:
        pass
    return images / (time.perf_counter() - begin)


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
            rows, images.labels, at=np.arange(count), batch_size=_BATCH, seed=1,
            epochs=range(number), draws=draws if augment else None,
        )  # fmt: skip
        for inputs, _ in made:
            yield inputs if augment is None else augment(*inputs).numpy()

    def warm() -> float:
        made = epochs(filled, 1 + _WARM)
        for _ in range(-(-count // _BATCH)):
            next(made)
        return rate(_WARM * count, made)

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


def generator(folder: pathlib.Path, size: int, color: str) -> Side:
    """Keras' ImageDataGenerator on a folder of files, with the article's arguments."""

    def side() -> float:
        made = ImageDataGenerator(**article_code.AUGMENTATION).flow_from_directory(
            folder, (size, size), color_mode=color, class_mode="sparse", batch_size=_BATCH
        )
        return rate(made.samples, (made[i] for i in range(len(made))))

    return side


def directory(folder: pathlib.Path, size: int, color: str) -> Side:
    """image_dataset_from_directory and Keras' layers; no shear, which favours this side."""
    stack = keras.Sequential([
        keras.layers.RandomFlip(),
        keras.layers.RandomRotation(50 / 360, fill_mode="constant"),
        keras.layers.RandomTranslation(0.2, 0.2, fill_mode="constant"),
        keras.layers.RandomZoom((-0.1, 0.1), (-0.1, 0.1), fill_mode="constant"),
    ])  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        files = keras.utils.image_dataset_from_directory(
            folder, color_mode=color, image_size=(size, size), batch_size=_BATCH
        )
    augmented = files.map(
        lambda images, labels: (stack(images, training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)
    count = len(files.file_paths)
    return lambda: rate(count, iter(augmented))


def plain(images: Sequence[bytes], folder: pathlib.Path, size: int) -> dict[str, Side]:
    """As tf.data's guide has it: records, parse, decode, resize, cache, shuffle, batch."""
    path = str(folder / "images.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for image in images:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
            example = tf.train.Example(features=tf.train.Features(feature={"image": feature}))
            writer.write(example.SerializeToString())

    def image(record: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_single_example(record, {"image": tf.io.FixedLenFeature([], tf.string)})
        decoded = tf.io.decode_png(parsed["image"], channels=1)
        return tf.image.resize(decoded, [size, size], antialias=True)

    def batches(*, cached: bool) -> tf.data.Dataset:
        images = tf.data.TFRecordDataset(path).map(image, num_parallel_calls=tf.data.AUTOTUNE)
        images = images.cache() if cached else images
        return images.shuffle(1024).batch(_BATCH).prefetch(tf.data.AUTOTUNE)

    filled = batches(cached=True)
    rate(1, iter(filled))  # fills the cache

    def warm() -> float:
        return rate(_WARM * len(images), (each for _ in range(_WARM) for each in filled))

    return {
        "plain tf.data, cold": lambda: rate(len(images), iter(batches(cached=False))),
        "plain tf.data, warm": warm,
    }


def grain_sides(encoded: Sequence[bytes], squares: np.ndarray) -> dict[str, Side]:
    """Grain in threads: cold decodes and resizes as ours does, warm has squares as its records.

    Args:
        encoded: PNG files.
        squares: uint8 [n, size, size, 1], of the same images.
    """
    try:
        import grain
    except ImportError:
        return {}
    options, count = grain.ReadOptions(num_threads=decode.CORES), len(encoded)

    def square(image: bytes) -> np.ndarray:
        return resize.square(decode.pixels(image, "of grain"), squares.shape[1])

    def batches(source: grain.MapDataset) -> grain.IterDataset:
        return source.shuffle(seed=1).to_iter_dataset(options).batch(_BATCH)

    cold = grain.MapDataset.source(encoded).map(square)
    warm = grain.MapDataset.source(squares)
    return {
        "grain, cold": lambda: rate(count, iter(batches(cold))),
        "grain, warm": lambda: rate(_WARM * count, iter(batches(warm.repeat(_WARM)))),
    }


def limits(encoded: Sequence[bytes]) -> dict[str, Side]:
    """Pillow's decoder in as many threads as cores: no resize, no batch, no order."""

    def decoded(image: bytes) -> None:
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()

    def side() -> float:
        with concurrent.futures.ThreadPoolExecutor(decode.CORES) as pool:
            return rate(len(encoded), pool.map(decoded, encoded))

    return {"decode limit": side}


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


def measure(dataset: Dataset, images: Images, size: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of all sides on some images of a dataset, by round."""
    encoded = [image for _, image in sorted(dataset.encoded(images))]
    stage = stages.square_stage(size)
    with files_of(evenly(encoded, _SLOW)) as folder, _empty_cache() as filled:
        stages.fill_squares(dataset, images, [stage], filled)
        squares = filled.rows(stage).read(images.digests, 0)
        sides = {
            **ours(dataset, images, size, "article", filled),
            **ours(dataset, images, size, "none", filled),
            **plain(encoded, folder, size),
            **grain_sides(encoded, squares),
            **limits(encoded),
        }
        for color in ("rgb", "grayscale"):
            sides[f"ImageDataGenerator, {color}"] = generator(folder / "images", size, color)
            sides[f"Keras directory, {color}"] = directory(folder / "images", size, color)
            sides[f"Keras directory, {color}"]()  # traces
        with contextlib.redirect_stdout(io.StringIO()):  # "Found ... images", every round
            return harness.alternate(sides, rounds)


def claims(figures: dict[str, list[float]]) -> dict[str, tuple[float, dict[str, float]]]:
    """By claim, the ratio that is wanted and the spread of those measured."""
    wanted = [
        ("ours, augmented, warm", "ImageDataGenerator, rgb", 10),
        ("ours, augmented, warm", "Keras directory, rgb", 8),
        ("ours, augmented, cold", "ImageDataGenerator, rgb", 5),
        ("ours, augmented, cold", "Keras directory, rgb", 5),
        ("ours, cold", "plain tf.data, cold", 1.2),
        ("ours, warm", "plain tf.data, warm", 1.2),
        ("ours, cold", "grain, cold", 1.2),
        ("ours, warm", "grain, warm", 1.2),
        ("ours, cold", "decode limit", 0.9),
    ]
    return {
        f"{one} / {other}": (target, harness.ratios(figures[one], figures[other]))
        for one, other, target in wanted
        if other in figures
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


def run(dataset: Dataset, images: Images, size: int, rounds: int) -> dict[str, Any]:
    """Measures all sides and prints the benchmark's line.

    Args:
        dataset: Where the images are stored.
        images: Of the dataset.
        size: Pixels of a side of the batches.
        rounds: Of all sides in alternation.

    Returns:
        See `harness.report`.
    """
    rates = measure(dataset, images, size, rounds)
    peers = {"grain": "grain, warm"}
    return harness.report(
        "input_pipeline",
        figures={side: harness.spread(values) for side, values in rates.items()},
        targets={
            claim: (target, ratio["median"]) for claim, (target, ratio) in claims(rates).items()
        },
        spreads={claim: ratio for claim, (_, ratio) in claims(rates).items()},
        bound=_bound(rates),
        packages=[package for package, side in peers.items() if side in rates],
        skipped=[package for package, side in peers.items() if side not in rates],
        unit="images/s",
        images=len(images),
        dataset=dataset.name,
        image_size=size,
    )


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    logging.set_verbosity(logging.ERROR)  # TFDS logs every file that it opens
    values = flags.FLAGS
    dataset = dataset_lib.open_dataset(values.dataset, values.data_dir, values.classes)
    images = dataset.splits["train"]
    if values.images:
        images = images.take(range(min(values.images, len(images))))
    run(dataset, images, values.image_size, values.rounds)


if __name__ == "__main__":
    flags.DEFINE_string("dataset", "full", "Config of covid_tfds that was built.")
    flags.DEFINE_string("data_dir", "", "Where datasets are. Default: TFDS' own.")
    flags.DEFINE_integer("classes", 4, "The first so many of the dataset.", lower_bound=2)
    flags.DEFINE_integer("images", 0, "The first so many train images; 0: all.", lower_bound=0)
    flags.DEFINE_integer("image_size", 224, "Pixels of a side.")
    flags.DEFINE_integer("rounds", 5, "Rounds of all sides.", lower_bound=1)
    app.run(main)
