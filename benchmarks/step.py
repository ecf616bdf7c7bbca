"""Real training against the same step on one resident batch: what the input costs.

`python -m benchmarks.step --dataset=article_grouped`. On the fly (images, augmentation, the whole
network) and from cached activations (a head; block 5 and a head). 1 is a device that never waits.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import flags

from benchmarks import harness, trainings
from trainer.config import Config
from trainer.training.training import Training

_BATCH = 32

# name: (images at most, changes of the config); the last phase is timed, in all of its epochs
_WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "on the fly": (6 * _BATCH, {"augmentation": "radiograph", "views": 0, "epochs": 2}),
    "cached, head": (6 * _BATCH, {"augmentation": "radiograph", "views": 2, "epochs": 20}),
    "cached, block 5 and head": (
        6 * _BATCH,
        {"epochs": 1, "fine_tune_from": "block5", "fine_tune_epochs": 2},
    ),
}


def measure(common: Config, rounds: int) -> dict[str, Any]:
    """Times each way of training and its resident twin in alternation, and prints the line.

    Args:
        common: What all ways share.
        rounds: Rounds.

    Returns:
        The line, as `harness.report` returns it.
    """
    figures, shares = {}, {}
    for name, (most, changes) in _WAYS.items():
        config = dataclasses.replace(common, batch_size=_BATCH, **changes)
        with trainings.ready(config, most=most) as (setup, training):
            sides = _sides(training)
            for side in sides.values():
                side()  # compiles
            speeds = harness.alternate(sides, rounds)
        claim = f"{name}: share of the resident step's speed"
        shares[claim] = harness.ratios(speeds["real"], speeds["resident"])
        for side, values in speeds.items():
            figures[f"{name}, {side}, images/s"] = harness.spread(values)
    return harness.report(
        "step",
        figures=figures,
        targets={claim: (0.98, share["median"]) for claim, share in shares.items()},
        spreads=shares,
        bound="the step itself; the rest is one core's share of gathering and of hashing views",
        image_size=common.image_size,
        width=common.width,
        precision=keras.config.dtype_policy().name,
        dataset=setup.dataset.name,
    )


def _sides(training: Training) -> dict[str, Callable[[], float]]:
    """Images/s of the last phase, and of as many steps on its first batch."""
    plan = training.plan.phases[-1]
    steps, epochs = training.steps(plan), plan.phase.epochs
    steps.reset(training.class_weights)
    each = min(training.steps_per_call(plan), training.steps_per_epoch)  # as the first element has
    calls = len(epochs) * training.steps_per_epoch // each
    real = training.batches(plan, epochs, training.config.seed)
    resident = tf.data.Dataset.from_tensors(next(iter(real))).repeat().prefetch(2)

    def side(dataset: tf.data.Dataset) -> Callable[[], float]:
        def run() -> float:
            batches = iter(dataset)
            steps.start_epoch()
            steps.run(batches, _BATCH)  # opening a pipeline is no part of a step
            steps.means()  # which waits for the device
            begin = time.perf_counter()
            for _ in range(calls - 1):
                steps.run(batches, _BATCH)
            steps.means()
            return (calls - 1) * each * _BATCH / (time.perf_counter() - begin)

        return run

    return {"real": side(real), "resident": side(resident)}


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    measure(trainings.from_flags(flags.FLAGS), flags.FLAGS.rounds)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    trainings.define_flags()
    harness.run(main)
