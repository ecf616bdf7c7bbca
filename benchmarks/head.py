"""A head trained on cached activations: the trainer's loop against Keras' fit on the same rows.

`python -m benchmarks.head` makes up rows of what block 5 gives at 150 pixels (8192 numbers), puts
them into a cache, and trains a head of two dense layers on them, in steps/s: ours reads the cache
and runs the trainer's steps, 32 a call. The peers are `fit` with Keras' Adam and 32 steps an
execution, from the same rows in memory, in the ways that Keras offers: arrays or a tf.data.Dataset,
compiled with XLA or without, as Keras chooses on CPUs. The claim is against the fastest of them
in each round. Nothing of a dataset is read.
"""

import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import harness
from trainer.input_pipeline import batches, cache
from trainer.model import precision, vgg16
from trainer.model.head import build_head as built_head
from trainer.training.steps import Steps

SHAPE = (4, 4, 512)  # what block 5 gives of an image of 150 pixels
BATCH = 32
CLASSES = 4
RATE = 1e-4
_PER_CALL = 32  # steps
_CLAIM = "steps/s of a head, times the fastest way of Keras' fit"
Side = Callable[[], float]


def build_head(units: int) -> keras.Model:
    """The trainer's head over activations of block 5, from rows to logits."""
    rows = keras.KerasTensor((None, *SHAPE), row_dtype())
    head = built_head(rows, classes=CLASSES, head_units=units, dropout=0.5, pooling="flatten")
    return vgg16.part(head, f"{vgg16.BLOCKS[-1]}_pool", "logits")


def row_dtype() -> str:
    """What activations are cached in under the global policy."""
    return keras.config.dtype_policy().compute_dtype


def made_up(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations [count, *SHAPE] in the global precision, and int64 [count] labels."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, *SHAPE), np.float32)
    return rows.astype(cache.DTYPES[row_dtype()]), rng.integers(0, CLASSES, count)


def measure(*, images: int, units: int, epochs: int, rounds: int) -> dict[str, Any]:
    """Trains for some epochs a round in each way, and prints the line.

    Args:
        images: Of an epoch; a multiple of 32 times 32 makes whole executions for Keras.
        units: Of the hidden layer.
        epochs: Of one round.
        rounds: Rounds, in alternation.

    Returns:
        The line, as `harness.report` returns it.
    """
    policy, _ = precision.choose_precision("auto")
    keras.config.set_dtype_policy(policy)
    rows, labels = made_up(images)
    with tempfile.TemporaryDirectory() as folder, _cached(pathlib.Path(folder), rows) as cached:
        sides = {"ours": _ours(cached, labels, units, epochs)}
        sides |= _peers(rows, labels, units, epochs)
        for side in sides.values():
            side()  # compiles
        speeds = harness.alternate(sides, rounds)
    peers = {name: values for name, values in speeds.items() if name != "ours"}
    against = harness.ratios(speeds["ours"], harness.fastest(peers.values()))
    return harness.report(
        "head",
        figures={f"{name}, steps/s": harness.spread(values) for name, values in speeds.items()},
        ratios={
            f"steps/s, times {name}": harness.ratios(speeds["ours"], values)
            for name, values in peers.items()
        },
        targets={_CLAIM: (1.0, against["median"])},
        spreads={_CLAIM: against},
        bound="memory: a step reads and writes all weights and both moments of Adam once",
        images=images,
        head_units=units,
        epochs=epochs,
        batch=BATCH,
        steps_per_call=_PER_CALL,
        precision=policy,
    )


def _cached(folder: pathlib.Path, rows: np.ndarray) -> cache.CachedRows:
    cached = cache.CachedRows(folder, cache.Spec("block5_pool", SHAPE, row_dtype(), {}))
    with cached.filling():
        cached.append(_digests(len(rows)), 0, rows)
    return cached


def _digests(count: int) -> np.ndarray:
    """Names of made-up images, uint8 [count, 16]."""
    return np.random.default_rng(1).integers(0, 256, (count, 16), np.uint8)


def _ours(cached: cache.CachedRows, labels: np.ndarray, units: int, epochs: int) -> Side:
    head, count = build_head(units), len(labels)
    rows = batches.Rows(cached, _digests(count), (0,))
    steps = Steps(head, RATE, classes=CLASSES)
    per_epoch = -(-count // BATCH)

    def run() -> float:
        begin = time.perf_counter()
        made = batches.train_batches(
            rows, labels, at=np.arange(count), batch_size=BATCH, seed=1, epochs=range(epochs),
            together=_PER_CALL,
        )  # fmt: skip
        iterator = iter(made)
        for _ in range(epochs):
            steps.start_epoch()
            for _ in range(0, per_epoch, _PER_CALL):
                steps.run(iterator, BATCH)
            steps.means()  # which waits for the device
        return epochs * per_epoch / (time.perf_counter() - begin)

    return run


def _peers(rows: np.ndarray, labels: np.ndarray, units: int, epochs: int) -> dict[str, Side]:
    tensor = tf.constant(rows)
    stored = tf.data.Dataset.from_tensor_slices((tensor, labels)).cache()
    shuffled = stored.shuffle(len(labels)).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    stream, sides = {"x": shuffled, "shuffle": False}, {}
    for xla in (True, False):
        how = "with XLA" if xla else "without XLA"
        arrays = {"x": tensor, "y": labels, "batch_size": BATCH}
        sides[f"fit on arrays, {how}"] = _fit(units, xla, epochs, len(labels), arrays)
        sides[f"fit on tf.data, {how}"] = _fit(units, xla, epochs, len(labels), stream)
    return sides


def _fit(units: int, xla: bool, epochs: int, count: int, given: dict[str, Any]) -> Side:
    head = build_head(units)
    head.compile(
        keras.optimizers.Adam(RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=_PER_CALL,
        jit_compile=xla,
    )

    def run() -> float:
        begin = time.perf_counter()
        head.fit(epochs=epochs, verbose=0, **given)
        return epochs * -(-count // BATCH) / (time.perf_counter() - begin)

    return run


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    measure(
        images=values.images, units=values.head_units, epochs=values.epochs, rounds=values.rounds
    )


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    flags.DEFINE_integer("images", 1024, "Images of an epoch.", lower_bound=1)
    flags.DEFINE_integer("head_units", 256, "Units of the hidden layer.", lower_bound=1)
    flags.DEFINE_integer("epochs", 10, "Epochs of a round.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "Rounds in alternation.", lower_bound=1)
    harness.run(main)
