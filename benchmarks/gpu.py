"""Frozen forward and training step on an accelerator, as a share of its measured matrix rate.

`python -m benchmarks.gpu`, or `KERAS_BACKEND=jax python -m benchmarks.gpu` where only JAX sees the
GPU: nothing here needs TensorFlow. Without an accelerator it says so and measures
nothing. How long the device waits for tf.data is `python -m benchmarks.step`.
"""

import json
import time
from collections.abc import Callable

import keras
import numpy as np
from absl import app, flags
from keras import ops

from benchmarks import harness
from trainer.augmentation import layer, random
from trainer.model import precision, vgg16
from trainer.model.weights import VGG16_LAYERS, Weights

_SIZE = flags.DEFINE_integer("image_size", 150, "Pixels of a side.")
_BATCH = flags.DEFINE_integer("batch_size", 256, "Images a step.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds in alternation.")
_MATRIX = flags.DEFINE_integer("matrix", 8192, "Side of the matrices whose product is the rate.")
_ANY = flags.DEFINE_boolean("any_device", False, "Measure without an accelerator too.")
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
    if precision.gpu_capability() is None and not _ANY.value:
        print(json.dumps({"benchmark": "gpu", "skipped": "no accelerator is visible"}))
        return
    policy, reason = precision.choose_precision("auto")
    keras.config.set_dtype_policy(policy)
    size, batch = _SIZE.value, _BATCH.value
    model = vgg16.build_model(
        classes=4, image_size=size, head_units=256, dropout=0.5, pooling="flatten",
        weights=Weights(None, "", "random numbers"),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images = ops.convert_to_tensor(rng.uniform(0, 255, (batch, size, size, 1)).astype("float32"))
    draws = ops.convert_to_tensor(rng.random((batch, random.DRAWS), np.float32))
    labels = ops.convert_to_tensor(rng.integers(0, 4, batch))
    frozen = keras.Model(model.get_layer("resize").output, model.get_layer("block5_pool").output)
    vgg16.set_trainable(model, "block5")
    augmented = layer.augmentation("radiograph")
    inputs = [keras.Input((size, size, 1)), keras.Input((random.DRAWS,))]
    trained = keras.Model(inputs, model(augmented(*inputs)))
    trained.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy")
    augment = keras.Model(inputs, augmented(*inputs))
    side = _MATRIX.value
    matrix = ops.cast(ops.convert_to_tensor(rng.random((side, side), np.float32)), _compute(policy))
    # One column comes back to the host: a whole product would take longer to fetch than to make.
    products = [keras.layers.Dense(side, use_bias=False) for _ in range(_PRODUCTS)]
    product = keras.Sequential([keras.Input((side,)), *products, keras.layers.Dense(1)])

    sides = {
        "matrix": _rate(lambda: product.predict_on_batch(matrix), 2.0 * _PRODUCTS * side**3),
        "forward": _rate(lambda: frozen.predict_on_batch(images), batch),
        "step": _rate(lambda: trained.train_on_batch([images, draws], labels), batch),
        "augmentation": _rate(lambda: augment.predict_on_batch([images, draws]), batch),
    }
    figures = harness.alternate(sides, _ROUNDS.value)
    shares = {
        name: harness.spread(
            [
                images_per_second * operations(size, block) / rate
                for images_per_second, rate in zip(figures[name], figures["matrix"], strict=True)
            ]
        )
        for name, block in (("forward", None), ("step", "block5"))
    }
    claims = {name: f"{name}: share of the matrix rate" for name in shares}
    harness.report(
        "gpu",
        figures={name: harness.spread(values) for name, values in figures.items()},
        units={"matrix": "FLOP/s", "others": "images/s"},
        targets={claims[name]: (0.5, share["median"]) for name, share in shares.items()},
        spreads={claims[name]: share for name, share in shares.items()},
        augmentation_share=harness.ratios(figures["step"], figures["augmentation"]),
        bound="not profiled yet: results to and from the host are in every figure",
        packages=["jax"],
        precision=policy,
        why=reason,
        backend=keras.backend.backend(),
        image_size=size,
        batch_size=batch,
    )


def _compute(policy: str) -> str:
    return keras.dtype_policies.get(policy).compute_dtype


def _rate(run: Callable[[], object], each: float) -> Callable[[], float]:
    """`each` times the runs a second; the first run compiles and is not counted."""
    run()

    def measure() -> float:
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < _SECONDS:
            run()
            count += 1
        return each * count / (time.perf_counter() - begin)

    return measure


if __name__ == "__main__":
    app.run(main)
