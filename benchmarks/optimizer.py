"""A head's training step: Adam in one pass over the weights, against Keras' Adam.

`python -m benchmarks.optimizer` trains heads of three sizes on made-up rows of what block 5 gives
at 150 pixels; nothing of a dataset is read. Both sides are the trainer's own compiled head, and
differ in the optimizer alone.
"""

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import harness
from trainer import train
from trainer.config import Config
from trainer.model import precision, vgg16

_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds in alternation.")
_STEPS = flags.DEFINE_integer("steps", 96, "Steps a round.")
_UNITS = flags.DEFINE_list("head_units", "64,256,1024", "Sizes of the hidden layer.")
_AT_ONCE = 16  # steps an execution
_BATCH = 32
_ROWS = (4, 4, 512)  # what block 5 gives of an image of 150 pixels
_CLAIM = "steps/s of a head of 256 units, times Keras' Adam"


def side(units: int, ours: bool, batches: tf.data.Dataset, steps: int) -> Callable[[], float]:
    """What trains some steps and returns steps/s; compiled and warm."""
    config = Config(head_units=units)
    rows = keras.KerasTensor((None, *_ROWS), "bfloat16")
    head = vgg16.build_head(rows, classes=4, head_units=units, dropout=0.5, pooling="flatten")
    train.compiled(head, config, 1e-4, _AT_ONCE)
    if not ours:
        head.optimizer = keras.optimizers.Adam(1e-4)

    def run() -> float:
        begin = time.perf_counter()
        head.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
        return steps / (time.perf_counter() - begin)

    run()
    return run


def main(argv: list[str]) -> None:
    """Times both sides of each size."""
    policy, _ = precision.choose_precision("auto")
    keras.config.set_dtype_policy(policy)
    rng = np.random.default_rng(0)
    images = tf.cast(rng.normal(size=(16 * _BATCH, *_ROWS)), tf.bfloat16)
    labels = rng.integers(0, 4, 16 * _BATCH)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(_BATCH).cache()
    batches = batches.repeat().prefetch(4)
    figures, against = {}, {}
    for units in map(int, _UNITS.value):
        sides = {
            name: side(units, name == "ours", batches, _STEPS.value) for name in ("ours", "keras")
        }
        found = harness.alternate(sides, _ROUNDS.value)
        figures |= {f"{name}, {units} units, steps/s": v for name, v in found.items()}
        against[units] = harness.ratios(found["ours"], found["keras"])
    claimed = against.get(256) or next(iter(against.values()))
    harness.report(
        "optimizer",
        figures={name: harness.spread(values) for name, values in figures.items()},
        ratios={f"{units} units": each for units, each in against.items()},
        targets={_CLAIM: (1.5, claimed["median"])},
        spreads={_CLAIM: claimed},
        bound="memory: a step reads and writes all weights and both moments of Adam once",
        precision=policy,
        batch=_BATCH,
    )


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    app.run(main)
