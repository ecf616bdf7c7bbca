"""The frozen part of the network: where it ends, and what it computes of images, once.

Below the cut between frozen and trained, a view of an image gives the same numbers in every epoch.
A phase trained on those numbers equals one trained on images, at a fraction of the cost: VGG16
below block 5 is nine tenths of the arithmetic.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
import tqdm

from trainer import features
from trainer.augmentation.layer import Augmentation
from trainer.augmentation.random import uniform_draws
from trainer.config import BLOCKS
from trainer.input_pipeline import batches
from trainer.input_pipeline.dataset import Images
from trainer.input_pipeline.decode import CORES
from trainer.run.errors import RunError

_BATCH = 64  # images through the frozen part at a time, and rows of a shard: what a kill costs
MEMORY = 2 * 2**30  # bytes of rows held; above it they are read from the disk in every epoch
_RESIZED = "resize"  # the layer whose output is an image at the network's size

# Images to compute, as indices, by view -> (view, indices, rows), in any order.
Produce = Callable[[Mapping[int, Sequence[int]]], Iterator[tuple[int, list[int], np.ndarray]]]


def cut(from_block: str | None) -> str | None:
    """Name of the last frozen layer when training starts at a block; None: nothing is frozen."""
    frozen = BLOCKS[: BLOCKS.index(from_block)] if from_block else BLOCKS
    return f"{frozen[-1]}_pool" if frozen else None


def part(model: keras.Model, below: str | None, upto: str | None, jit: bool = False) -> keras.Model:
    """The layers of a model between two cuts; it shares the model's weights.

    Args:
        model: A model of `backbone.build_model`.
        below: The layer whose output is the part's input; None: images at the network's size.
        upto: The layer whose output is the part's; None: the probabilities.
        jit: Whether XLA compiles what passes images through it. It slows VGG16 down on CPUs (.7 of
            the speed); `autotune` measures.
    """
    start = model.get_layer(below or _RESIZED).output
    between = keras.Model(start, model.get_layer(upto).output if upto else model.output)
    between.jit_compile = jit
    return between


def digest(frozen: keras.Model) -> str:
    """sha256 over the settings and the weights of a part's layers, whether trainable or not."""
    found = hashlib.sha256()
    for layer in frozen.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            settings = {k: v for k, v in layer.get_config().items() if k != "trainable"}
            found.update(json.dumps(settings, sort_keys=True).encode())
            for array in layer.get_weights():
                found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def bytes_a_row(output: tf.TensorSpec) -> int:
    """Size of what a part puts out for one view of one image, in the compute precision."""
    return int(np.prod(output.shape[1:])) * tf.as_dtype(output.dtype).size


def taken(epochs: range, views: int) -> list[int]:
    """The views that some epochs take, epoch e view e mod views; ascending."""
    return sorted({epoch % views for epoch in epochs})


class Rows:
    """The kept activations of a split's images.

    Attributes:
        images: Their keys in the store, in stored order.
        shape: Of one row.
    """

    def __init__(self, store: features.Store, images: Sequence[str], output: tf.TensorSpec) -> None:
        """Takes an open store, the images' keys, and what the frozen part puts out."""
        self._store, self.images = store, list(images)
        self.shape, self._dtype = tuple(output.shape[1:]), tf.as_dtype(output.dtype)
        self._bytes = bytes_a_row(output)

    def read(self, view: int, at: Sequence[int]) -> np.ndarray:
        """Rows of one view of the images with the given indices, [len(at), height, width, c]."""
        return np.stack(self._store.locate([self.images[i] for i in at], int(view)))

    def held(self, views: int) -> bool:
        """Whether so many views of all images fit into `MEMORY`."""
        return views * len(self.images) * self._bytes <= MEMORY

    def reader(self, views: Sequence[int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """`read` within tf.data, of some views that are kept.

        Up to `MEMORY` the rows are held as one tensor; above it each batch is read from the disk
        in its turn, where the system's cache keeps what was read last. (Through Python, which
        costs .4 ms a batch.)

        Returns:
            From (position in `views`, int32 [batch] indices) to [batch, *shape].
        """
        if self.held(len(views)):
            with tf.device("CPU"):
                everyone = range(len(self.images))
                held = tf.constant(np.concatenate([self.read(view, everyone) for view in views]))
            count = len(self.images)
            return lambda view, at: tf.gather(held, tf.cast(view, tf.int32) * count + at)
        numbers = tf.constant(views, tf.int64)

        def read(view: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
            found = tf.numpy_function(self.read, [numbers[view], at], self._dtype, stateful=False)
            return tf.ensure_shape(found, (None, *self.shape))

        return read

    def lacking(self, views: Sequence[int]) -> dict[int, list[int]]:
        """Indices of the images that a view is not kept of, by view; without full views."""
        found = {view: self._store.missing(self.images, view) for view in views}
        return {view: at for view, at in found.items() if at}

    def fill(self, views: Sequence[int], produce: Produce, tell: Callable[[], None]) -> int:
        """Computes and keeps what is lacking; returns how many rows that were.

        Args:
            views: Of all images.
            produce: Computes them.
            tell: Called after each batch, and while another process computes the same.

        Raises:
            RunError: The disk is full, say.
        """
        say = f"Another process computes up to {self._store.key.cut}: waiting for it ..."
        with self._store.filling(say, tell):
            lacking = self.lacking(views)
            count = sum(map(len, lacking.values()))
            name = f"once up to {self._store.key.cut}"
            with tqdm.tqdm(total=count, desc=name, unit=" images", disable=not count) as bar:
                for view, at, rows in produce(lacking) if count else ():
                    try:
                        self._store.add(view, [self.images[i] for i in at], rows)
                    except OSError as error:
                        raise RunError(
                            f"{self._store.folder} can't be written ({error.strerror}). Make room "
                            "or give another --cache_dir; what was computed so far is kept."
                        ) from None
                    bar.update(len(at))
                    tell()
        return count


def from_images(
    frozen: keras.Model, images: Images, image_size: int, augment: Augmentation | None, seed: int
) -> Produce:
    """Rows from the images themselves; each is decoded once for all its views.

    Args:
        frozen: The `part` from the images to a cut.
        images: The images.
        image_size: Pixels of a side.
        augment: Makes the views; None takes the images as they are.
        seed: Of the views.
    """

    def produce(lacking: Mapping[int, Sequence[int]]) -> Iterator[tuple]:
        wanted = sorted(set().union(*lacking.values()))
        lack = {view: set(at) for view, at in lacking.items()}
        stream = batches.evaluation_batches(
            images.take(wanted), image_size=image_size, batch_size=_BATCH
        )
        done = 0
        for pixels, _ in stream:
            batch = wanted[done : done + len(pixels)]
            done += len(batch)
            for view, missing in lack.items():
                here = [row for row, image in enumerate(batch) if image in missing]
                if here:
                    seen, at = tf.gather(pixels, here), [batch[row] for row in here]
                    if augment is not None:
                        ids = [images.image_ids[image] for image in at]
                        seen = augment(seen, uniform_draws(ids, view, seed))
                    yield view, at, np.asarray(frozen.predict_on_batch(seen))

    return produce


def from_rows(between: keras.Model, below: Rows) -> Produce:
    """Rows from those of an earlier cut.

    Args:
        between: The `part` between the two cuts.
        below: Kept at the earlier one; what is lacking here is there.
    """

    def produce(lacking: Mapping[int, Sequence[int]]) -> Iterator[tuple]:
        for view, missing in lacking.items():
            for first in range(0, len(missing), _BATCH):
                at = list(missing[first : first + _BATCH])
                yield view, at, np.asarray(between.predict_on_batch(below.read(view, at)))

    return produce


def train_batches(
    rows: Rows, labels: np.ndarray, *, batch_size: int, seed: int, epochs: range, views: int
) -> tf.data.Dataset:
    """As `batches.train_batches`, in the same order, of activations.

    Args:
        rows: Kept activations.
        labels: int64 [n].
        batch_size: Images a batch.
        seed: Of the order.
        epochs: Numbers of the epochs, counted over the whole run.
        views: Epoch e takes view e mod views.

    Returns:
        Batches of (activations [batch, ...], int64 [batch]).
    """
    seen = taken(epochs, views)
    read, truth = rows.reader(seen), tf.constant(labels)
    place = tf.constant([seen.index(view) if view in seen else -1 for view in range(views)])

    def batch(epoch: tf.Tensor, at: tf.Tensor) -> tuple:
        return read(place[epoch % views], at), tf.gather(truth, at)

    made = batches.orders(len(labels), epochs, seed, batch_size)
    # One thread of its own: a head's step takes all cores, and handing a batch from thread to
    # thread costs more than gathering it (1.1 times the images/s of a head on two cores).
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return made.map(batch).prefetch(batches.AHEAD).with_options(options)


def ordered_batches(rows: Rows, *, batch_size: int) -> tf.data.Dataset:
    """Every image's first view once, in stored order: batches of [batch, ...]."""
    order = tf.data.Dataset.from_tensor_slices(tf.range(len(rows.images))).batch(batch_size)
    read = rows.reader([0])
    return order.map(lambda at: read(0, at), CORES, deterministic=True).prefetch(1)
