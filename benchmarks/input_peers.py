"""Input pipelines of others, each as its own documentation advises: sides of `input_pipeline`."""

import concurrent.futures
import contextlib
import io
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from benchmarks import article_code
from covid_tfds.parallel import CORES
from trainer.input_pipeline import decode, resize

try:
    import grain
except ImportError:
    grain = None

BATCH = 32
WARM = 3  # later epochs that make one warm figure
GRAIN = {  # by the side that is compared, the ways of which the fastest counts
    "grain, cold": ("grain threads, cold", "grain workers, cold"),
    "grain, warm": ("grain records, warm", "grain gathers, warm"),
}

Side = Callable[[], float]


def rate(images: int, batches: Iterator) -> float:
    """Images a second of an iterator that gives all of them."""
    begin = time.perf_counter()
    for _ in batches:
        pass
    return images / (time.perf_counter() - begin)


def generator(folder: pathlib.Path, size: int, color: str) -> Side:
    """Keras' ImageDataGenerator on a folder of files, with the article's arguments."""

    def side() -> float:
        made = ImageDataGenerator(**article_code.AUGMENTATION).flow_from_directory(
            folder, (size, size), color_mode=color, class_mode="sparse", batch_size=BATCH
        )
        with concurrent.futures.ThreadPoolExecutor(CORES) as pool:  # Keras' own way, with workers
            return rate(made.samples, pool.map(made.__getitem__, range(len(made))))

    return side


def _augmentation() -> keras.Sequential:
    """Keras' layers for the article's augmentation; no shear, which favours this side."""
    return keras.Sequential([
        keras.layers.RandomFlip(),
        keras.layers.RandomRotation(50 / 360, fill_mode="constant"),
        keras.layers.RandomTranslation(0.2, 0.2, fill_mode="constant"),
        keras.layers.RandomZoom((-0.1, 0.1), (-0.1, 0.1), fill_mode="constant"),
    ])  # fmt: skip


def directory(folder: pathlib.Path, size: int, color: str) -> Side:
    """image_dataset_from_directory and Keras' layers; nothing is cached."""
    stack = _augmentation()
    with contextlib.redirect_stdout(io.StringIO()):
        files = keras.utils.image_dataset_from_directory(
            folder, color_mode=color, image_size=(size, size), batch_size=BATCH
        )
    augmented = files.map(
        lambda images, labels: (stack(images, training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)
    count = len(files.file_paths)
    return lambda: rate(count, iter(augmented))


def tf_data(encoded: Sequence[bytes], folder: pathlib.Path, size: int) -> dict[str, Side]:
    """As tf.data's guide to performance has it: decode, resize, cache, shuffle, batch, augment.

    Args:
        encoded: PNG files.
        folder: For the TFRecords that are made of them.
        size: Pixels of a side.

    Returns:
        Sides of the first epoch, and of later ones with and without augmentation.
    """
    path = str(folder / "images.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for image in encoded:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
            example = tf.train.Example(features=tf.train.Features(feature={"image": feature}))
            writer.write(example.SerializeToString())

    def square(record: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_single_example(record, {"image": tf.io.FixedLenFeature([], tf.string)})
        decoded = tf.io.decode_png(parsed["image"], channels=1)
        resized = tf.image.resize(decoded, [size, size], antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)  # a quarter of the cache, as ours

    auto, stack = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": False}, _augmentation()
    squares = tf.data.TFRecordDataset(path).map(square, **auto)  # traced here

    def batches(*, augmented: bool = False, epochs: int = 1) -> tf.data.Dataset:
        # Repeated behind the shuffle, which goes on from one epoch to the next.
        made = squares.cache().shuffle(len(encoded)).repeat(epochs).batch(BATCH, **auto)
        if augmented:  # of whole batches, which the guide calls vectorized
            made = made.map(lambda images: stack(tf.cast(images, "float32"), training=True), **auto)
        return made.prefetch(tf.data.AUTOTUNE)

    def warm(*, augmented: bool) -> Side:
        made, first = batches(augmented=augmented, epochs=1 + WARM), -(-len(encoded) // BATCH)

        def side() -> float:
            each = iter(made)
            for _ in range(first):  # the first epoch, which fills the cache
                next(each)
            return rate((1 + WARM) * len(encoded) - first * BATCH, each)

        return side

    return {
        "tf.data, cold": lambda: rate(len(encoded), iter(batches())),
        "tf.data, warm": warm(augmented=False),
        "tf.data, augmented, warm": warm(augmented=True),
    }


class _Square(grain.transforms.Map if grain else object):  # here: processes look for it by name
    def __init__(self, size: int) -> None:
        self._size = size

    def map(self, image: bytes) -> np.ndarray:
        return resize.square(decode.pixels(image, "of grain"), self._size)


def grains(encoded: Sequence[bytes], squares: np.ndarray, workers: int) -> dict[str, Side]:
    """Grain, decoding and resizing as ours does; cold keeps nothing, warm has squares in memory.

    Workers are processes, in the way of PyTorch's DataLoader; their start is in nobody's time, and
    they are there until the program ends. For records in memory grain advises no thread at all,
    since threads contend for Python's lock.

    Args:
        encoded: PNG files.
        squares: uint8 [n, size, size, 1], of the same images.
        workers: Processes of the DataLoader; 0: none, all in this one.

    Returns:
        The sides of `GRAIN`; none where grain is not installed.
    """
    if grain is None:
        return {}
    count, square = len(encoded), _Square(squares.shape[1])
    threads, none = grain.ReadOptions(CORES, 4 * BATCH), grain.ReadOptions(0, 0)

    loader = grain.DataLoader(
        data_source=encoded,
        sampler=grain.samplers.IndexSampler(count, shuffle=True, seed=1),
        operations=[square, grain.transforms.Batch(BATCH)],
        worker_count=workers,
        read_options=grain.ReadOptions(1, 2 * BATCH) if workers else threads,
    )
    source = grain.MapDataset.source
    cold = source(encoded).map(square).shuffle(seed=1).to_iter_dataset(threads).batch(BATCH)
    records = source(squares).shuffle(seed=1).batch(BATCH)
    gathers = grain.MapDataset.range(count).shuffle(seed=1).batch(BATCH).map(squares.__getitem__)

    def warm(made: grain.MapDataset) -> Side:
        return lambda: rate(WARM * count, iter(made.repeat(WARM).to_iter_dataset(none)))

    return {
        "grain threads, cold": lambda: rate(count, iter(cold)),
        "grain workers, cold": _steady(loader, count, workers),
        "grain records, warm": warm(records),
        "grain gathers, warm": warm(gathers),
    }


def _steady(loader: "grain.DataLoader", count: int, workers: int) -> Side:
    """Of a loader without end, when its workers have started and what waits in them is taken."""
    batches = iter(loader)

    def side() -> float:
        for _ in range(1 + 4 * workers):
            next(batches)
        whole = -(-count // BATCH)
        return rate(whole * BATCH, (next(batches) for _ in range(whole)))

    return side


def limit(encoded: Sequence[bytes], size: int) -> dict[str, Side]:
    """Decoding and resizing, which every pipeline has to do, in as many threads as cores.

    Args:
        encoded: PNG files.
        size: Pixels of a side.

    Returns:
        One side: no file is read, no batch is made, nothing is cached or in a wanted order.
    """

    def square(image: bytes) -> None:
        resize.square(decode.pixels(image, "of the limit"), size)

    def side() -> float:
        with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
            return rate(len(encoded), pool.map(square, encoded))

    return {"decode and resize limit": side}
