"""Training on all devices of this machine against training on one of them.

`python -m benchmarks.replicas --dataset=article_grouped`. A head on cached activations, and block 5
and a head; each batch of 32 is divided among all GPUs, or between two devices that are made of the
CPU where there is no GPU. No gain is claimed on a CPU, whose cores one device uses already: there
it is what dividing a batch and summing gradients cost.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import flags

from benchmarks import harness, trainings
from trainer.config import Config
from trainer.model import replicas

_BATCH = 32
_SIDES = {"one device": "none", "all devices": "mirrored"}

# name: (epochs of a round, changes of the config of so many epochs); the last phase is timed
_WAYS: dict[str, tuple[int, Callable[[int], dict[str, Any]]]] = {
    "head": (20, lambda epochs: {"epochs": epochs}),
    "block 5 and head": (
        1,
        lambda epochs: {"epochs": 1, "fine_tune_from": "block5", "fine_tune_epochs": epochs},
    ),
}


def measure(common: Config, *, rounds: int, images: int) -> dict[str, Any]:
    """Times each way of training on one device and on all in alternation, and prints the line.

    Args:
        common: What all ways share.
        rounds: Rounds.
        images: Of an epoch, at most.

    Returns:
        The line, as `harness.report` returns it.
    """
    figures, ratios = {}, {}
    for name, (epochs, changes) in _WAYS.items():
        config = dataclasses.replace(common, batch_size=_BATCH, **changes((rounds + 1) * epochs))
        with contextlib.ExitStack() as opened:
            sides = {}
            for side, distribute in _SIDES.items():
                own = dataclasses.replace(config, distribute=distribute)
                setup, training = opened.enter_context(trainings.ready(own, most=images))
                sides[side] = trainings.epochs(training, epochs)
                sides[side]()  # compiles
            speeds = harness.alternate(sides, rounds)
        ratios[f"{name}: all devices / one"] = harness.ratios(*reversed(speeds.values()))
        for side, values in speeds.items():
            figures[f"{name}, {side}, images/s"] = harness.spread(values)
    return harness.report(
        "replicas",
        figures=figures,
        ratios=ratios,
        targets={},
        bound="on a CPU its cores, which one device uses already; on GPUs the sums of gradients",
        devices=replicas.describe(training.networks.trained, _BATCH),
        images=len(training.labels),
        image_size=common.image_size,
        width=common.width,
        precision=keras.config.dtype_policy().name,
        dataset=setup.dataset.name,
    )


def _divide_cpu() -> None:
    """Makes two devices of the CPU where there is no GPU; before TensorFlow computes anything."""
    if not tf.config.list_physical_devices("GPU"):
        half = tf.config.LogicalDeviceConfiguration()
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [half, half])


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    _divide_cpu()
    measure(trainings.from_flags(values), rounds=values.rounds, images=values.images)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    trainings.define_flags()
    flags.DEFINE_integer("images", 192, "Images of an epoch, at most.", lower_bound=_BATCH)
    harness.run(main)
