"""Images a second from encoded bytes to augmented batches, ours and others', on the same cores.

`python -m benchmarks.input_pipeline --data_dir=DIR` takes the stored images of a dataset to 224 px.
Cold is the first epoch, decoding included, with the files in the page cache; warm is any later one.
ImageDataGenerator and the Keras directory pipeline keep nothing between epochs and have one figure
for both; they read a folder of at most 200 of the images, evenly chosen, since they are slow and
their rates do not depend on the number. They augment, and are compared with ours and our
augmentation layer; grain and the plain tf.data loop don't, and are compared with ours without it.
Compiling the layers is in nobody's time.
"""

import contextlib
import io
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image

from benchmarks import article_code, harness
from trainer.augmentation import layer, random
from trainer.input_pipeline import dataset, decode

_BATCH = 32
_WARM = 3  # later epochs that make one warm figure
_SLOW = 200  # images for the peers that take milliseconds each

Side = Callable[[], float]


def rate(images: int, batches: Iterator) -> float:
    """Images a second of an iterator that gives all of them."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return images / (time.perf_counter() - start)


def ours(images: dataset.Images, size: int, preset: str) -> dict[str, Side]:
    """Our pipeline, with the augmentation layer of a preset behind it (or "none")."""
    count, augment = len(images.encoded), layer.augmentation(preset)

    def batches(epochs: int) -> Iterator:
        def draws(epoch: int, rows: np.ndarray) -> np.ndarray:
            return random.uniform_draws([images.image_ids[i] for i in rows], int(epoch), 1)

        made = batches.train_batches(
            images, image_size=size, batch_size=_BATCH, seed=1, epochs=range(epochs),
            draws=draws if augment else None,
        )  # fmt: skip
        for inputs, _ in made:
            yield inputs if augment is None else augment(*inputs).numpy()

    def warm() -> float:
        made = batches(1 + _WARM)
        for _ in range(-(-count // _BATCH)):
            next(made)
        return rate(_WARM * count, made)

    def cold() -> float:
        return rate(count, batches(1))

    cold()  # compiles the layer for both sizes of batch
    name = "ours" if augment is None else "ours, augmented"
    return {f"{name}, cold": cold, f"{name}, warm": warm}


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
    """What tf.data's guide tells: records, parse, decode, resize, cache, shuffle, batch."""
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

    kept = batches(cached=True)
    rate(1, iter(kept))  # fills the cache

    def warm() -> float:
        return rate(_WARM * len(images), (each for _ in range(_WARM) for each in kept))

    return {
        "plain tf.data, cold": lambda: rate(len(images), iter(batches(cached=False))),
        "plain tf.data, warm": warm,
    }


def grain_sides(images: dataset.Images, size: int) -> dict[str, Side]:
    """Grain in threads: cold decodes as ours does, warm has uint8 squares as its records."""
    try:
        import grain
    except ImportError:
        return {}
    options = grain.ReadOptions(num_threads=decode.CORES)

    def batches(source: grain.MapDataset) -> grain.IterDataset:
        return source.shuffle(seed=1).to_iter_dataset(options).batch(_BATCH)

    encoded = grain.MapDataset.source(images.encoded).map(lambda image: decode.square(image, size))
    raw = grain.MapDataset.source(list(batches.squares(images, size)))
    count = len(images.encoded)
    return {
        "grain, cold": lambda: rate(count, iter(batches(encoded))),
        "grain, warm": lambda: rate(_WARM * count, iter(batches(raw.repeat(_WARM)))),
    }


def limits(images: Sequence[bytes]) -> dict[str, Side]:
    """Pillow's decoder in as many threads as cores: no resize, no batch, no order."""

    def decode(i: int) -> None:
        with Image.open(io.BytesIO(images[i])) as image:
            image.load()

    def side() -> float:
        start = time.perf_counter()
        decode.in_chunks(len(images), decode)
        return len(images) / (time.perf_counter() - start)

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


def measure(images: dataset.Images, size: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of all sides on one set of images, by round."""
    with files_of(_evenly(images.encoded, _SLOW)) as folder:
        sides = {
            **ours(images, size, "article"),
            **ours(images, size, "none"),
            **plain(images.encoded, folder, size),
            **grain_sides(images, size),
            **limits(images.encoded),
        }
        for color in ("rgb", "grayscale"):
            sides[f"ImageDataGenerator, {color}"] = generator(folder / "images", size, color)
            sides[f"Keras directory, {color}"] = directory(folder / "images", size, color)
            sides[f"Keras directory, {color}"]()  # traces
        with contextlib.redirect_stdout(io.StringIO()):  # "Found ... images", every round
            return harness.alternate(sides, rounds)


def claims(figures: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """By claim, the ratio that is wanted and the median of those measured."""
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
        f"{one} / {other}": (target, harness.ratios(figures[one], figures[other])["median"])
        for one, other, target in wanted
        if other in figures
    }


def stored_images(name: str, data_dir: str, count: int) -> dataset.Images:
    """Train images of a built dataset, evenly from all of them."""
    images = dataset.open_dataset(name, data_dir, 4).splits["train"]
    return as_images(_evenly(images.encoded, count))


def _evenly(things: list, count: int) -> list:
    """At most so many of them, from the whole length."""
    return (
        [things[i * len(things) // count] for i in range(count)] if count < len(things) else things
    )


def as_images(images: list[bytes]) -> dataset.Images:
    """Images of which nothing but the bytes is known."""
    names = [f"image{i}" for i in range(len(images))]
    labels = np.arange(len(images), dtype=np.int64) % 2
    return dataset.Images(names, names, names, names, labels, images, ("a", "b"))


def _bound(figures: dict[str, dict[str, list[float]]]) -> str:
    def milliseconds(rates: dict[str, list[float]], side: str) -> str:
        return f"{1e3 / statistics.median(rates[side]):.2g}"

    said = [
        f"{name}: augmented and warm an image takes {milliseconds(rates, 'ours, augmented, warm')} "
        f"ms, of which {milliseconds(rates, 'ours, warm')} ms gather the batch and the rest is "
        f"the augmentation layer; cold, {milliseconds(rates, 'ours, cold')} ms go to Pillow's "
        "decoding and resizing"
        for name, rates in figures.items()
    ]
    return "; ".join(said) + "."


def run(sets: dict[str, dataset.Images], size: int, rounds: int) -> dict:
    """Measures every set of images and prints the benchmark's line.

    Args:
        sets: By name, the images.
        size: Pixels of a side of the batches.
        rounds: Of all sides in alternation.

    Returns:
        See `harness.report`.
    """
    figures = {name: measure(images, size, rounds) for name, images in sets.items()}
    sides = {side for rates in figures.values() for side in rates}
    peers = {"grain": "grain, warm"}
    return harness.report(
        "input_pipeline",
        figures={
            name: {side: harness.spread(values) for side, values in rates.items()}
            for name, rates in figures.items()
        },
        targets={
            f"{name}: {claim}": ratio
            for name, rates in figures.items()
            for claim, ratio in claims(rates).items()
        },
        bound=_bound(figures),
        packages=[package for package, side in peers.items() if side in sides],
        skipped=[package for package, side in peers.items() if side not in sides],
        unit="images/s",
        images={name: len(images.encoded) for name, images in sets.items()},
        image_size=size,
    )


def main(argv: Sequence[str]) -> None:
    """Entry point."""
    del argv
    values = flags.FLAGS
    sets = {"stored": stored_images(values.dataset, values.data_dir, values.images)}
    run(sets, values.image_size, values.rounds)


if __name__ == "__main__":
    flags.DEFINE_string("dataset", "full", "Config of covid_tfds that was built.")
    flags.DEFINE_string("data_dir", "", "Where datasets are. Default: TFDS' own.")
    flags.DEFINE_integer("images", 2000, "Images of each set at most.", lower_bound=1)
    flags.DEFINE_integer("image_size", 224, "Pixels of a side.")
    flags.DEFINE_integer("rounds", 5, "Rounds of all sides.", lower_bound=1)
    app.run(main)
