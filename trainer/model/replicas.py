"""Replicas of a network, one on each device of this machine, that train on parts of each batch.

A model belongs to the strategy in whose scope it was built (`model.distribute_strategy`); what is
computed with it goes by that. With one device it is TensorFlow's default strategy, which does
nothing.
"""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.distribute import values


def strategy(distribute: str) -> tf.distribute.Strategy:
    """Where a network is built: on one device, or mirrored on all of them.

    Args:
        distribute: "none": one device; "mirrored": all GPUs, or all CPU devices that TensorFlow
            shows where there is no GPU; "auto": mirrored where there are several GPUs.

    Returns:
        The same object each time.
    """
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    several = {"none": False, "mirrored": len(devices) > 1, "auto": len(gpus) > 1}[distribute]
    return _mirrored() if several else tf.distribute.get_strategy()


@functools.cache
def _mirrored() -> tf.distribute.Strategy:
    # `float(optimizer.learning_rate)`, as callbacks have it, works with all variables but these.
    values.DistributedVariable.__float__ = lambda self: float(self.numpy())
    # Of all GPUs, or of all CPU devices. One a process: variables of two of them do not mix.
    return tf.distribute.MirroredStrategy()


def describe(model: keras.Model, batch_size: int) -> str:
    """One line: which devices train a model, and on how much of a batch.

    Args:
        model: A model of `strategy`.
        batch_size: Images of a batch, of all devices together.
    """
    count = model.distribute_strategy.num_replicas_in_sync
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    if count == 1:
        return f"Devices: 1 {kind}, batches of {batch_size} images."
    part = -(-batch_size // count)
    return f"Devices: {count} {kind}s, {part} images of a batch of {batch_size} each."


def divided(strategy: tf.distribute.Strategy, batch: Any) -> tuple[Any, Any]:
    """A batch in parts of equal size, one for each replica, in the order of the batch.

    What a batch of uneven size leaves empty is filled up with repeats of its last row, since a
    part without any row is not what every kernel computes.

    Args:
        strategy: Of `strategy`.
        batch: Tensors or arrays [batch, ...], nested; at least one row.

    Returns:
        The parts, nested as the batch; and float32 [part], 1 for a row of the batch, 0 for a
        repeat. With one replica the batch itself, and a 1 for each of its rows.
    """
    replicas = strategy.num_replicas_in_sync
    with tf.device("CPU"):  # where batches are made: each device gets its own part alone
        rows = tf.shape(tf.nest.flatten(batch)[0])[0]
        if replicas == 1:
            return batch, tf.ones([rows])
        size = -(-rows // replicas)
        parts = []
        for replica in range(replicas):
            at = tf.range(size) + replica * size
            within = tf.minimum(at, rows - 1)
            part = tf.nest.map_structure(lambda each, at=within: tf.gather(each, at), batch)
            parts.append((part, tf.cast(at < rows, tf.float32)))
    return strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )


def summed(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The sums over all replicas of some tensors, for each replica; called in each of them.

    As `ReplicaContext.all_reduce`, whose gradient TensorFlow registers for ever, and with it the
    graph and all variables of the model: a search would hold the weights of every trial.
    """

    def merged(strategy: tf.distribute.Strategy, *each: Any) -> list[Any]:
        pairs = [(value, value) for value in each]
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)

    return tf.distribute.get_replica_context().merge_call(merged, args=tensors)


def predict(part: keras.Model, batch: Any) -> np.ndarray:
    """What a part of a network gives of a batch, each row once, all devices at work.

    Keras' `predict_on_batch` gives every replica the whole batch.

    Args:
        part: Of a model of `strategy`.
        batch: Its inputs, [batch, ...].

    Returns:
        [batch, ...], as one device gives it.
    """
    strategy = part.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return np.asarray(part.predict_on_batch(batch))
    rows = len(tf.nest.flatten(batch)[0])
    parts, _ = divided(strategy, batch)
    return np.asarray(part.predict_on_batch(parts))[:rows]
