"""One augmented view: our warp against Keras' layers, ImageDataGenerator and affine_transform.

`python -m benchmarks.augmentation` prints milliseconds per image of float32 images in batches, on
the CPU, with the drawing of the random numbers in each side's time. A side that is named RGB gives
three channels; ours warps one and repeats it in the same compiled function.
"""

import concurrent.futures
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from keras import ops
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from benchmarks import article_code, harness
from covid_tfds.parallel import CORES
from trainer.augmentation import intensity, layer, presets, random, spatial
from trainer.augmentation.random import parameters_from

FLAGS = flags.FLAGS
_RANGES = presets.PRESETS["article"]
_CLAIM, _TARGET = "times the speed of Keras' random layers, RGB", 8.0
_STACK_RGB, _OURS_RGB, _OURS = "Keras stack, RGB", "ours, RGB", "ours, grey"
_UNFUSED = "ours without XLA, grey"
_PARTS = {
    "the warp with its draws": "part: warp",
    "the channel shift": "part: channel shift",
    "drawing the numbers": "part: draws",
}
Step = Callable[[], Any]  # augments one batch


def measure(*, size: int, batch: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Runs all sides and prints the line.

    Args:
        size: Pixels of an image's side.
        batch: Images a batch.
        rounds: Rounds, in alternation.
        seconds: How long each side works in a round, at least.

    Returns:
        The line, as `harness.report` returns it.
    """
    grey = np.random.default_rng(0).uniform(0, 255, (batch, size, size, 1)).astype(np.float32)
    steps = _ours(grey) | _peers(grey)
    # Traced and compiled before the rounds.
    first = {name: _milliseconds(step, 1, 0.0) / 1000 for name, step in steps.items()}
    timed = {
        name: functools.partial(_milliseconds, step, batch, seconds) for name, step in steps.items()
    }
    times = harness.alternate(timed, rounds)
    against = {
        f"{_OURS_RGB} / {peer}": harness.ratios(times[peer], times[_OURS_RGB])
        for peer in (_STACK_RGB, "ImageDataGenerator, RGB")
    } | {
        f"{_OURS} / {peer}": harness.ratios(times[peer], times[_OURS])
        for peer in ("Keras stack, grey", "keras.ops.image.affine_transform, grey", _UNFUSED)
    }
    speed = against[f"{_OURS_RGB} / {_STACK_RGB}"]
    return harness.report(
        "augmentation",
        figures={name: harness.spread(values) for name, values in times.items()},
        targets={_CLAIM: (_TARGET, speed["median"])},
        bound=_bound(times),
        packages=("scipy",),
        spreads={_CLAIM: speed},
        unit="ms per image",
        ratios=against,
        first_call_seconds={name: harness.rounded(first[name]) for name in (_OURS, _UNFUSED)},
        size=size,
        batch=batch,
    )


def _ours(grey: np.ndarray) -> dict[str, Step]:
    """The layer, with and without what surrounds it, and its parts alone."""
    images, names = tf.constant(grey), [f"image-{i}" for i in range(len(grey))]
    augment = layer.augmentation("article")
    plain = functools.partial(layer.augment, ranges=_RANGES)
    unfused = tf.function(plain, autograph=False)
    warp = tf.function(_warp, jit_compile=True, autograph=False)
    shift = tf.function(intensity.shift_channel, jit_compile=True, autograph=False)
    # Three channels where they are wanted: a repeat behind XLA costs as much as the warp in it.
    in_rgb = tf.function(
        lambda images, draws: ops.repeat(plain(images, draws), 3, axis=-1),
        jit_compile=True,
        autograph=False,
    )
    levels = tf.fill([len(grey)], 10.0)

    def draws() -> np.ndarray:
        return random.uniform_draws(names, 0, 0)

    return {
        _OURS: lambda: augment(images, draws()),
        _OURS_RGB: lambda: in_rgb(images, draws()),
        _UNFUSED: lambda: unfused(images, draws()),
        "part: warp": lambda: warp(images, draws()),
        "part: channel shift": lambda: shift(images, levels),
        "part: draws": draws,
    }


def _warp(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    return spatial.warp(images, _matrices(images, draws))


def _matrices(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    parameters = parameters_from(draws, _RANGES)
    return spatial.transforms(parameters, images.shape[1], images.shape[2])


def _peers(grey: np.ndarray) -> dict[str, Step]:
    """What others would write for the same augmentation."""
    rgb, images = np.repeat(grey, 3, axis=-1), tf.constant(grey)
    colour, names = tf.constant(rgb), [f"image-{i}" for i in range(len(grey))]
    stack_of_rgb, stack_of_grey = _stack(), _stack()
    generator = ImageDataGenerator(**article_code.AUGMENTATION)
    threads = concurrent.futures.ThreadPoolExecutor(CORES)  # as Keras takes workers

    @functools.partial(tf.function, autograph=False)
    def composed(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        matrices = tf.pad(_matrices(images, draws), [[0, 0], [0, 2]])
        views = ops.image.affine_transform(images, matrices, fill_mode="constant")
        shift = parameters_from(draws, _RANGES).channel_shift
        return intensity.shift_channel(views, shift)

    return {
        _STACK_RGB: lambda: stack_of_rgb(colour),
        "Keras stack, grey": lambda: stack_of_grey(images),
        "ImageDataGenerator, RGB": lambda: list(threads.map(generator.random_transform, rgb)),
        "keras.ops.image.affine_transform, grey": lambda: composed(
            images, random.uniform_draws(names, 0, 0)
        ),
    }


def _stack() -> Step:
    """Keras' random layers one after the other, as a graph.

    Not with XLA: the geometric ones refuse it.
    """
    fill = {"fill_mode": "constant", "interpolation": "bilinear"}
    layers = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal_and_vertical"),
            keras.layers.RandomRotation(_RANGES.rotation / 360, **fill),
            keras.layers.RandomTranslation(_RANGES.shift, _RANGES.shift, **fill),
            # The article's shear is so many degrees; Keras takes the slope.
            keras.layers.RandomShear(x_factor=float(np.radians(_RANGES.shear)), **fill),
            keras.layers.RandomZoom(_RANGES.zoom, _RANGES.zoom, **fill),
            keras.layers.RandomBrightness(_RANGES.channel_shift / 255, value_range=(0, 255)),
        ]
    )
    return tf.function(lambda images: layers(images, training=True), autograph=False)


def _milliseconds(step: Step, batch: int, seconds: float) -> float:
    """Mean time per image of as many batches as fill `seconds`."""
    done, start = 0, time.perf_counter()
    while not done or time.perf_counter() - start < seconds:
        result = step()
        if isinstance(result, tf.Tensor):
            result.numpy()  # waits for it
        done += 1
    return 1000 * (time.perf_counter() - start) / (done * batch)


def _bound(times: dict[str, list[float]]) -> str:
    """The share of each part in the time of the grey views, as measured in the same rounds."""
    whole = statistics.median(times[_OURS])
    shares = {what: statistics.median(times[part]) / whole for what, part in _PARTS.items()}
    listed = [f"{what} {share:.0%}" for what, share in sorted(shares.items(), key=lambda s: -s[1])]
    return f"of the time of a grey view, each part run alone: {', '.join(listed)}"


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    measure(size=FLAGS.size, batch=FLAGS.batch, rounds=FLAGS.rounds, seconds=FLAGS.seconds)


if __name__ == "__main__":
    flags.DEFINE_integer("size", 150, "Pixels of an image's side.", lower_bound=32)
    flags.DEFINE_integer("batch", 32, "Images a batch.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "Rounds, in alternation.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "Work of each side in a round.", lower_bound=0.0)
    harness.run(main)
