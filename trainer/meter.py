"""How long the device waited for input."""

import time

import numpy as np
import tensorflow as tf


class Meter:
    """Measures the time between asking a dataset for a batch and having it.

    tf.data pulls: zipped, a clock is read, then the batch is waited for, then the clock is read
    again. The two readings cost some 20 microseconds a batch. (`tf.timestamp` would cost less, and
    is refused in deterministic runs.)

    Attributes:
        seconds: Waited so far.
    """

    def __init__(self) -> None:
        """Starts at 0."""
        self.seconds = self._asked = 0.0

    def measured(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches; `seconds` grows by what each was waited for."""

        def called(function: object) -> tf.data.Dataset:
            return tf.data.Dataset.counter().map(
                lambda _: tf.ensure_shape(tf.numpy_function(function, [], tf.int64), [])
            )

        timed = tf.data.Dataset.zip(called(self._ask), batches, called(self._have))
        return timed.map(lambda _, batch, __: batch)

    def _ask(self) -> np.int64:
        self._asked = time.perf_counter()
        return np.int64(0)

    def _have(self) -> np.int64:
        self.seconds += time.perf_counter() - self._asked
        return np.int64(0)
