"""How tf.data streams examples and batches."""

import tensorflow as tf
import tensorflow_datasets as tfds


def options() -> tf.data.Options:
    """The options of every pipeline: it runs as it is written.

    Nothing is tuned while it runs. There is nothing to tune where each step says how many threads
    it takes, and where tf.data tunes, the end of an iterator may wait for the tuner's next turn,
    which comes 10, 20, 40 ... ms after the last one, so that reading may take twice as long as it
    does (TensorFlow 2.21: 2.5 s behind 2.6 s of reading).

    Nothing is rewritten before it runs, either: for that, every tensor that a step uses, all held
    rows among them, would be copied and stay copied as long as the iterator lives.
    """
    chosen = tf.data.Options()
    chosen.autotune.enabled = False
    chosen.experimental_optimization.apply_default_optimizations = False
    return chosen


def read_config() -> tfds.ReadConfig:
    """Reads one file of a split after the other, so that an example's place is always the same."""
    return tfds.ReadConfig(options=options(), try_autocache=False, interleave_cycle_length=1)
