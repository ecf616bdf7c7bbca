"""How long the device waited for input."""

import time

import numpy as np
import tensorflow as tf


class Meter:
    """Measures the time between asking a dataset for a batch and having it.

    tf.data pulls: zipped, a clock is read, then the batch is waited for, then the clock is read
    again.
    """

    def __init__(self, deterministic: bool = False) -> None:
        """Takes whether TensorFlow is bound to deterministic ops, of which its own clock is none.

        Python's clock does then; it costs .4 ms a batch, where TensorFlow's costs next to nothing.
        """
        self._clock = _python_clock if deterministic else tf.timestamp
        with tf.device("CPU"):
            self._waited = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    def measured(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches; `seconds` grows by what each was waited for."""
        clock = tf.data.Dataset.counter().map(lambda _: self._clock())

        def add(asked: tf.Tensor, batch: tuple, had: tf.Tensor) -> tuple:
            self._waited.assign_add(had - asked)
            return batch

        return tf.data.Dataset.zip(clock, batches, clock).map(add)

    @property
    def seconds(self) -> float:
        """Waited so far."""
        return float(self._waited.numpy())


def _python_clock() -> tf.Tensor:
    return tf.ensure_shape(tf.numpy_function(lambda: np.float64(time.time()), [], tf.float64), [])
