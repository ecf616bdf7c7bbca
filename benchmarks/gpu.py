"""Frozen forward and training step on an accelerator, as a share of its measured matrix rate.

`python -m benchmarks.gpu`, or `KERAS_BACKEND=jax python -m benchmarks.gpu` where only JAX sees the
GPU: nothing here needs TensorFlow. Without an accelerator it says so and measures
nothing. How long the device waits for tf.data is `python -m benchmarks.step`.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from absl import flags
from keras import ops

from benchmarks import harness
from trainer.augmentation import layer, random
from trainer.model import precision, vgg16
from trainer.model.weights import VGG16_LAYERS, Weights

_PRODUCTS = 4  # of matrices, one behind the other
_SECONDS = 1.0  # of one side in a round


def operations(image_size: int, trained_from: str | None) -> float:
    """Floating-point operations of an image in VGG16's convolutions; a product and a sum are two.

    Args:
        image_size: Pixels of a side.
        trained_from: First trained block; below it there is a forward pass alone, from it on a
            forward pass and two products of its size backward. None: forward alone.
    """
    total, side = 0.0, image_size
    for name, (channels_in, channels_out, *_) in VGG16_LAYERS.items():
        side = image_size // 2 ** (int(name[5]) - 1)
        forward = 2.0 * side * side * 9 * channels_in * channels_out
        trained = trained_from is not None and name[:6] >= trained_from
        total += forward * (3 if trained else 1)
    return total


def main(argv: list[str]) -> None:
    """Measures where there is something to measure."""
    values = flags.FLAGS
    if precision.gpu_capability() is None and not values.any_device:
        print(json.dumps({"benchmark": "gpu", "skipped": "no accelerator is visible"}))
        return
    measure(
        size=values.image_size, batch=values.batch_size, matrix=values.matrix,
        rounds=values.rounds, seconds=_SECONDS,
    )  # fmt: skip


def measure(*, size: int, batch: int, matrix: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Runs all sides and prints the line.

    Args:
        size: Pixels of an image's side.
        batch: Images a step.
        matrix: Side of the matrices whose product is the rate.
        rounds: Rounds, in alternation.
        seconds: How long each side works in a round, at least.

    Returns:
        The line, as `harness.report` returns it.
    """
    policy, reason = precision.choose_precision("auto")
    keras.config.set_dtype_policy(policy)
    sides = {
        "matrix": _matrix_side(matrix, policy, seconds),
        **_network_sides(size, batch, seconds),
    }
    figures = harness.alternate(sides, rounds)
    shares = {
        f"{name}: share of the matrix rate": harness.spread(
            [
                images_per_second * operations(size, block) / rate
                for images_per_second, rate in zip(figures[name], figures["matrix"], strict=True)
            ]
        )
        for name, block in (("forward", None), ("step", "block5"))
    }
    return harness.report(
        "gpu",
        figures={name: harness.spread(values) for name, values in figures.items()},
        units={"matrix": "FLOP/s", "others": "images/s"},
        targets={claim: (0.5, share["median"]) for claim, share in shares.items()},
        spreads=shares,
        augmentation_share=harness.ratios(figures["step"], figures["augmentation"]),
        bound="not profiled yet: results to and from the host are in every figure",
        packages=["jax"],
        precision=policy,
        why=reason,
        backend=keras.backend.backend(),
        image_size=size,
        batch_size=batch,
    )


def _network_sides(size: int, batch: int, seconds: float) -> dict[str, Callable[[], float]]:
    """Images/s forward through the frozen part, of a step of block 5, and of the augmentation."""
    model = vgg16.build_model(
        classes=4, image_size=size, head_units=256, dropout=0.5, pooling="flatten",
        weights=Weights(None, "", "random numbers"),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images = ops.convert_to_tensor(rng.uniform(0, 255, (batch, size, size, 1)).astype("float32"))
    draws = ops.convert_to_tensor(rng.random((batch, random.DRAWS), np.float32))
    labels = ops.convert_to_tensor(rng.integers(0, 4, batch))
    frozen = vgg16.part(model, vgg16.SQUARE, f"{vgg16.BLOCKS[-1]}_pool")
    vgg16.set_trainable(model, "block5")
    augmented = layer.augmentation("radiograph")
    inputs = [keras.Input((size, size, 1)), keras.Input((random.DRAWS,))]
    logits = vgg16.part(model, vgg16.SQUARE, "logits")
    trained = keras.Model(inputs, logits(augmented(*inputs)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.Adam(1e-5), loss)
    augment = keras.Model(inputs, augmented(*inputs))
    runs = {
        "forward": lambda: frozen.predict_on_batch(images),
        "step": lambda: trained.train_on_batch([images, draws], labels),
        "augmentation": lambda: augment.predict_on_batch([images, draws]),
    }
    return {name: _rate(run, batch, seconds) for name, run in runs.items()}


def _matrix_side(side: int, policy: str, seconds: float) -> Callable[[], float]:
    """Floating-point operations a second of products of large matrices."""
    numbers = np.random.default_rng(0).random((side, side), np.float32)
    compute = keras.dtype_policies.get(policy).compute_dtype
    matrix = ops.cast(ops.convert_to_tensor(numbers), compute)
    # One column comes back to the host: a whole product would take longer to fetch than to make.
    products = [keras.layers.Dense(side, use_bias=False) for _ in range(_PRODUCTS)]
    product = keras.Sequential([keras.Input((side,)), *products, keras.layers.Dense(1)])
    return _rate(lambda: product.predict_on_batch(matrix), 2.0 * _PRODUCTS * side**3, seconds)


def _rate(run: Callable[[], object], each: float, seconds: float) -> Callable[[], float]:
    """`each` times the runs a second; the first run compiles and is not counted."""
    run()

    def side() -> float:
        begin, count = time.perf_counter(), 0
        while not count or time.perf_counter() - begin < seconds:
            run()
            count += 1
        return each * count / (time.perf_counter() - begin)

    return side


if __name__ == "__main__":
    flags.DEFINE_integer("image_size", 150, "Pixels of a side.")
    flags.DEFINE_integer("batch_size", 256, "Images a step.")
    flags.DEFINE_integer("rounds", 5, "Rounds in alternation.", lower_bound=1)
    flags.DEFINE_integer("matrix", 8192, "Side of the matrices whose product is the rate.")
    flags.DEFINE_boolean("any_device", False, "Measure without an accelerator too.")
    harness.run(main)
