"""Real training against the same step on one resident batch: what the input costs.

`python -m benchmarks.step --dataset=article_grouped`. On the fly (images, augmentation, the whole
network) and from kept activations (a head; block 5 and a head). 1 is a device that never waits.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import app, flags

from benchmarks import harness
from trainer import feeds, train
from trainer.base import Base
from trainer.config import Config
from trainer.model import vgg16
from trainer.training.setup import start

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds in alternation.")
_DATASET = flags.DEFINE_string("dataset", "auto", "As in trainer.main.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As in trainer.main.")
_CACHE_DIR = flags.DEFINE_string("cache_dir", "", "As in trainer.main.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 150, "Pixels of a side.")
_WEIGHTS = flags.DEFINE_string("weights", "imagenet", "As in trainer.main.")
_BATCH = 32

# name: (block that training starts from, epochs a round, changes of the config, images at most)
_ROADS = {
    "on the fly": (None, 1, {"augmentation": "radiograph", "views": 0}, 4 * _BATCH),
    "kept, head": (None, 20, {"augmentation": "radiograph", "views": 2}, 6 * _BATCH),
    "kept, block 5 and head": ("block5", 1, {"fine_tune_from": "block5"}, 6 * _BATCH),
}


def main(argv: list[str]) -> None:
    """Times each road and its resident twin in alternation."""
    common = Config(
        dataset=_DATASET.value, data_dir=_DATA_DIR.value, cache_dir=_CACHE_DIR.value,
        image_size=_IMAGE_SIZE.value, weights=_WEIGHTS.value, batch_size=_BATCH,
    )  # fmt: skip
    figures, shares = {}, {}
    for name, (block, epochs, changes, most) in _ROADS.items():
        started = start(dataclasses.replace(common, **changes))
        base = Base(started.config, started.model)
        with contextlib.closing(base):
            real, resident = _sides(base, started.images.splits, block, epochs, most)
            real()
            resident()  # both compile
            rounds = harness.alternate({"real": real, "resident": resident}, _ROUNDS.value)
        shares[name] = harness.ratios(rounds["real"], rounds["resident"])
        for side, values in rounds.items():
            figures[f"{name}, {side}, images/s"] = harness.spread(values)
    harness.report(
        "step",
        figures=figures,
        ratios=shares,
        targets={
            f"{name}: share of the resident step's speed": (0.98, share["median"])
            for name, share in shares.items()
        },
        spreads={f"{name}: share of the resident step's speed": s for name, s in shares.items()},
        bound="the step itself; the rest is one core's share of gathering and decoding",
        image_size=common.image_size,
        precision=keras.config.dtype_policy().name,
        dataset=started.images.name,
    )


def _sides(
    base: Base, splits: dict, block: str | None, epochs: int, most: int
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Images/s of some epochs of training, and of as many steps on their first batch."""
    # Whole batches only: a part of one costs nearly as much, and is no matter of input.
    count = min(most, len(splits["train"].labels) // _BATCH * _BATCH)
    steps = epochs * count // _BATCH
    vgg16.set_trainable(base.model, block)
    images = {**splits, "train": splits["train"].take(range(count))}
    feed = feeds.Feeds(base, images).feed(block, range(epochs))
    model = train.compiled(
        feed.trained, base.config, 1e-5, train.at_once(steps, feed.steps_at_once)
    )
    one = tf.data.Dataset.from_tensors(next(iter(feed.train))).repeat().prefetch(2)

    def side(batches: tf.data.Dataset) -> Callable[[], float]:
        def run() -> float:
            clock = _Clock()
            model.fit(batches, steps_per_epoch=steps, callbacks=[clock], verbose=0, shuffle=False)
            return clock.steps_per_second() * _BATCH

        return run

    return side(feed.train), side(one)


class _Clock(keras.callbacks.Callback):
    """Steps a second behind the first execution: opening a dataset is no part of a step."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._ends: list[tuple[int, float]] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._ends.append((batch, time.perf_counter()))

    def steps_per_second(self) -> float:
        (first, begin), (last, end) = self._ends[0], self._ends[-1]
        return (last - first) / (end - begin)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    app.run(main)
