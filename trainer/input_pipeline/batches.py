"""Cached rows -> batches, with tf.data: one kind of batch whatever stage the rows are of.

Up to `MEMORY` the rows are held as one tensor; above it each batch is read from the disk in its
turn, where the system's cache keeps what was read last. Both give the same batches.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from covid_tfds import streaming
from covid_tfds.parallel import CORES
from trainer.input_pipeline import host_tensor
from trainer.input_pipeline.cache import CachedRows

MEMORY = 2 * 2**30  # bytes of rows that are held
_BLOCK = 8 * 2**20  # bytes of rows that are read at once
AHEAD = 4  # elements made while one is worked on

# Nothing here needs AutoGraph, which takes some .1 s a function.
_plain = tf.autograph.experimental.do_not_convert

# The random numbers of the views that are made on the device, float32 [batch, DRAWS], of an epoch:
# from its number and int64 [batch] indices of images.
Draws = Callable[[int, np.ndarray], np.ndarray]


class Rows:
    """Rows of one stage, of some images and views, to be gathered from.

    Attributes:
        views: Numbers of the views.
        count: Number of the images.
    """

    def __init__(self, cached: CachedRows, digests: np.ndarray, views: Sequence[int]) -> None:
        """Reads nothing yet.

        Args:
            cached: The stage, open; all the rows are there.
            digests: uint8 [n, 16], of the images.
            views: Numbers of the views; (0,) where rows are of the images as they are.
        """
        self._cached, self._digests, self.views = cached, digests, tuple(views)
        self.count = len(digests)

    @property
    def held(self) -> bool:
        """Whether they are held in memory."""
        return len(self.views) * self.count * self._cached.spec.row_bytes <= MEMORY

    def read(self, view: int, at: np.ndarray) -> np.ndarray:
        """Rows of one view of the images with some indices, [len(at), *shape], from the disk."""
        return self._cached.read(self._digests[at], int(view))

    def reader(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """`read` for tf.data: from an int64 [] position in `views` and int64 [batch] indices."""
        if self.held:
            held, count = self._tensor, self.count
            return lambda position, at: tf.gather(held, position * count + at)
        views, spec = tf.constant(self.views, tf.int64), self._cached.spec

        def read(position: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
            rows = tf.numpy_function(self.read, [views[position], at], spec.dtype, stateful=False)
            return tf.ensure_shape(rows, (None, *spec.shape))

        return read

    def slices(self, batch_size: int) -> Iterator[tf.Tensor]:
        """All held rows of the first view in their order, [batch, *shape]; the last may be smaller.

        Args:
            batch_size: Images a batch.
        """
        for first in range(0, self.count, batch_size):
            yield self._tensor[first : min(first + batch_size, self.count)]

    @functools.cached_property
    def _tensor(self) -> tf.Tensor:
        spec, count = self._cached.spec, self.count
        rows = host_tensor.empty((len(self.views) * count, *spec.shape), spec.dtype)
        at_once = max(1, _BLOCK // spec.row_bytes)
        for i, view in enumerate(self.views):
            for first in range(0, count, at_once):
                at = np.arange(first, min(first + at_once, count))
                rows[i * count + at] = self.read(view, at)
        return host_tensor.tensor(rows)


def orders(
    at: np.ndarray, epochs: range, seed: int, batch_size: int, skip: int = 0, together: int = 1
) -> tf.data.Dataset:
    """Which images make which batch; an epoch's order depends on the seed and its number alone.

    What reads the rows is mapped over all epochs at once, so that it does not stop where one ends
    and the next begins.

    Args:
        at: int64 [n], indices of the images of an epoch.
        epochs: Numbers of the epochs, counted over the whole run.
        seed: Of the orders.
        batch_size: Images a batch; the last batch of an epoch may be smaller.
        skip: Batches of the first epoch to leave out.
        together: Batches an element, one behind the other; the last of an epoch may have fewer.

    Returns:
        The batches of all epochs in turn, (epoch int64 [], indices int64 [together * batch]).
    """
    indices, size = tf.constant(at, tf.int64), together * batch_size

    @_plain
    def one(epoch: tf.Tensor) -> tf.data.Dataset:
        number = tf.cast(epoch, tf.int32)
        order = tf.random.experimental.stateless_shuffle(indices, [seed, number])
        first = tf.where(epoch == epochs.start, tf.constant(skip * batch_size, tf.int64), 0)
        # Slices cost less than batching does.
        starts = tf.data.Dataset.range(first, len(at), size)
        return starts.map(_plain(lambda start: (epoch, order[start : start + size])))

    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one)


def train_batches(
    rows: Rows,
    labels: np.ndarray,
    *,
    at: np.ndarray,
    batch_size: int,
    seed: int,
    epochs: range,
    skip: int = 0,
    together: int = 1,
    view_count: int = 1,
    draws: Draws | None = None,
) -> tf.data.Dataset:
    """Rows in a new order each epoch.

    Args:
        rows: Of any stage.
        labels: int64 [n], of all images of `rows`.
        at: int64, indices of the images to train on.
        batch_size: Images a batch; the last batch of an epoch may be smaller.
        seed: Of the order.
        epochs: Numbers of the epochs, counted over the whole run.
        skip: Batches of the first epoch to leave out.
        together: Batches an element; see `orders`.
        view_count: Epoch e takes view e mod `view_count`, if it is one of `rows`.
        draws: Gives the random numbers of views that are made on the device.

    Returns:
        Elements of (rows [together * batch, *shape], int64 [together * batch]); with `draws`, of
        ((rows, float32 [together * batch, draws]), labels).
    """
    truth, read = tf.constant(labels, tf.int64), rows.reader()
    place = tf.constant(
        [rows.views.index(view) if view in rows.views else 0 for view in range(max(view_count, 1))],
        tf.int64,
    )
    width = 0 if draws is None else draws(epochs.start, at[:1]).shape[1]

    @_plain
    def batch(epoch: tf.Tensor, which: tf.Tensor) -> tuple:
        inputs = read(place[epoch % len(place)], which)
        if draws is not None:
            numbers = tf.numpy_function(draws, [epoch, which], tf.float32, stateful=False)
            inputs = inputs, tf.ensure_shape(numbers, (None, width))
        return inputs, tf.gather(truth, which)

    made = orders(at, epochs, seed, batch_size, skip, together)
    if draws is not None or not rows.held:
        # Python makes them, which waits for the disk and for hashes: several batches side by side.
        read_ahead = made.map(batch, CORES, deterministic=True).prefetch(AHEAD)
        return read_ahead.with_options(streaming.options())
    # One thread of its own: a head's step takes all cores, and handing a batch from thread to
    # thread costs more than gathering it (1.1 times the images/s of a head on two cores).
    options = streaming.options()
    options.threading.private_threadpool_size = 1
    return made.map(batch).prefetch(AHEAD).with_options(options)


def ordered_batches(rows: Rows, at: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """The first view of some images, each once, in their order: batches of [batch, *shape].

    Args:
        rows: Of any stage.
        at: int64, indices of images.
        batch_size: Images a batch; the last one may be smaller.
    """
    order = tf.data.Dataset.from_tensor_slices(tf.constant(at, tf.int64)).batch(batch_size)
    read = rows.reader()
    made = order.map(_plain(lambda which: read(tf.constant(0, tf.int64), which))).prefetch(1)
    return made.with_options(streaming.options())
