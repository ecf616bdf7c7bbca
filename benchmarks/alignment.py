"""What chest alignment costs, against the frozen forward pass that it stands in front of.

`taskset -c 1 python -m benchmarks.alignment` prints milliseconds per image of synthetic images, on
the CPU: aligned squares by the model, alone and in batches; VGG16 up to `block5_pool` on as many,
in float32; and an image outside the model, as the cache is filled, beside VGG16 as a run computes
it, in the precision that the machine does best.
"""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import harness
from covid_tfds import phantom
from trainer.config import BLOCKS
from trainer.input_pipeline import alignment, resize
from trainer.model import precision, vgg16
from trainer.model.weights import Weights

FLAGS = flags.FLAGS
_BATCHES = (1, 32)
_OF_RUN = "VGG16 in a run's precision, batch 32"
_TARGET = 10.0  # forward passes in the time of an alignment: at most 10 % of one


def measure(*, size: int, pixels: int, width: float, rounds: int, seconds: float) -> dict[str, Any]:
    """Runs all sides and prints the line.

    Args:
        size: Side of the squares in pixels.
        pixels: Side of the images.
        width: Share of VGG16's channels.
        rounds: Rounds.
        seconds: Work of each side in a round.

    Returns:
        The line, as `harness.report` returns it.
    """
    drawn = [phantom.draw(0, number, 0, size=pixels) for number in range(max(_BATCHES))]
    steps: dict[str, tuple[Callable[[], Any], int]] = {}
    align, forward = _aligned(size), _forward(size, width, "float32")
    policy, _ = precision.choose_precision("auto")
    of_run = _forward(size, width, policy)
    for batch in _BATCHES:
        images = tf.constant(np.stack(drawn[:batch])[..., None], "float32")
        squares = align(images)[0]
        steps[f"aligned, batch {batch}"] = (lambda x=images: align(x), batch)
        steps[f"VGG16, batch {batch}"] = (lambda x=squares: forward(x), batch)
    steps[_OF_RUN] = (lambda x=squares: of_run(x), _BATCHES[-1])
    aligner = alignment.Aligner([size])
    steps["cache: aligned"] = (lambda: [aligner(image) for image in drawn], len(drawn))
    steps["cache: as it is"] = (lambda: [resize.square(image, size) for image in drawn], len(drawn))
    for step, _ in steps.values():
        step()  # compiles
    sides = {
        name: lambda step=step, batch=batch: _milliseconds(step, batch, seconds)
        for name, (step, batch) in steps.items()
    }
    times = harness.alternate(sides, rounds)
    ratios = {
        f"frozen VGG16 in float32 / alignment, batch {batch}": harness.ratios(
            times[f"VGG16, batch {batch}"], times[f"aligned, batch {batch}"]
        )
        for batch in _BATCHES
    }
    return harness.report(
        "alignment",
        figures={f"{name}, ms an image": harness.spread(each) for name, each in times.items()},
        targets={claim: (_TARGET, ratio["median"]) for claim, ratio in ratios.items()},
        spreads=ratios,
        ratios={
            "frozen VGG16 in a run's precision, batch 32 / alignment as the cache is filled": (
                harness.ratios(times[_OF_RUN], times["cache: aligned"])
            )
        },
        precision=policy,
        bound="the convolution that correlates 58 warps of an axis, six times an image",
        size=size,
        pixels=pixels,
        width=width,
    )


def _aligned(size: int) -> Callable:
    images = keras.Input((None, None, 1))
    return tf.function(keras.Model(images, alignment.aligned(images, size)), autograph=False)


def _forward(size: int, width: float, policy: str) -> Callable:
    """From squares to `block5_pool`, by a dtype policy; speed does not depend on the weights."""
    keras.config.set_dtype_policy(policy)
    model = vgg16.build_model(
        classes=2, image_size=size, head_units=1, dropout=0.0, pooling="average",
        weights=Weights(None, "", "random"), width=width,
    )  # fmt: skip
    keras.config.set_dtype_policy("float32")
    return tf.function(vgg16.part(model, vgg16.SQUARE, f"{BLOCKS[-1]}_pool"), autograph=False)


def _milliseconds(step: Callable[[], Any], batch: int, seconds: float) -> float:
    """Mean time per image of as many batches as fill `seconds`."""
    done, start = 0, time.perf_counter()
    while not done or time.perf_counter() - start < seconds:
        step()
        done += 1
    return 1000 * (time.perf_counter() - start) / (done * batch)


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    measure(
        size=FLAGS.size, pixels=FLAGS.pixels, width=FLAGS.width, rounds=FLAGS.rounds,
        seconds=FLAGS.seconds,
    )  # fmt: skip


if __name__ == "__main__":
    flags.DEFINE_integer("size", 150, "Pixels of a square's side.", lower_bound=32)
    flags.DEFINE_integer("pixels", 224, "Pixels of an image's side.", lower_bound=32)
    flags.DEFINE_float("width", 1.0, "Share of VGG16's channels.", lower_bound=0.0)
    flags.DEFINE_integer("rounds", 5, "Rounds, in alternation.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "Work of each side in a round.", lower_bound=0.0)
    harness.run(main)
