"""Fine-tuning block 5 and the head: from cached activations, against Keras' fit of the same.

`python -m benchmarks.fine_tune --dataset=article_grouped`. The peer is Keras' own guide to transfer
learning: `keras.applications.VGG16` with the blocks below frozen, every image through all of
it in every epoch, pixels resident in memory, float32 as Keras begins, and mixed_bfloat16 beside it.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import harness, trainings
from trainer.config import Config

_BATCH = 32
_CLAIM = "images/s of block 5 and head, times the fastest way of Keras' fit"


def peer(images: np.ndarray, labels: np.ndarray, policy: str) -> keras.Model:
    """VGG16 with block 5 and a head to train, compiled as Keras compiles by default.

    Args:
        images: float32 [n, size, size, 3].
        labels: int64 [n], of all classes.
        policy: Keras' dtype policy.
    """
    keras.config.set_dtype_policy(policy)
    base = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=(*images.shape[1:3], 3)
    )
    for layer in base.layers:
        layer.trainable = layer.name.startswith("block5")
    x = keras.layers.Flatten()(base.output)
    x = keras.layers.Dense(256, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(int(labels.max()) + 1, activation="softmax", dtype="float32")(x)
    model = keras.Model(base.input, x)
    model.compile(
        keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def measure(config: Config, *, rounds: int, images: int, peer_images: int) -> dict[str, Any]:
    """Times one epoch of each a round, and prints the line.

    Args:
        config: The images and the network.
        rounds: Rounds.
        images: Of an epoch of ours, at most.
        peer_images: Of an epoch of the peer's, at most.

    Returns:
        The line, as `harness.report` returns it.
    """
    config = dataclasses.replace(
        config, batch_size=_BATCH, epochs=1, fine_tune_from="block5", fine_tune_epochs=rounds + 1
    )
    with trainings.ready(config, most=images) as (setup, training):
        policy = keras.config.dtype_policy().name
        some = training.images["train"].take(range(min(peer_images, len(training.labels))))
        grey = setup.squares(some, config.image_size)
        rgb = np.repeat(grey, 3, axis=-1).astype(np.float32) - 117.0
        sides = {"ours": trainings.epochs(training)}
        for name in ("float32", "mixed_bfloat16"):
            sides[f"Keras' fit in {name}"] = _fit(peer(rgb, some.labels, name), rgb, some.labels)
        for run in sides.values():
            run()  # compiles
        figures = harness.alternate(sides, rounds)
    peers = {name: values for name, values in figures.items() if name != "ours"}
    against = harness.ratios(figures["ours"], harness.fastest(peers.values()))
    return harness.report(
        "fine_tune",
        figures={f"{name}, images/s": harness.spread(v) for name, v in figures.items()},
        ratios={
            f"images/s, times {name}": harness.ratios(figures["ours"], values)
            for name, values in peers.items()
        },
        targets={_CLAIM: (8.0, against["median"])},
        spreads={_CLAIM: against},
        bound=(
            "arithmetic: block 5 forward and backward is about a fifth of what Keras computes "
            "per image"
        ),
        images=len(training.labels),
        image_size=config.image_size,
        width=config.width,
        precision=policy,
        dataset=setup.dataset.name,
    )


def _fit(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    def run() -> float:
        begin = time.perf_counter()
        model.fit(images, labels, batch_size=_BATCH, epochs=1, verbose=0)
        return len(images) / (time.perf_counter() - begin)

    return run


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    measure(
        trainings.from_flags(values), rounds=values.rounds, images=values.images,
        peer_images=values.peer_images,
    )  # fmt: skip


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    trainings.define_flags()
    flags.DEFINE_integer("images", 192, "Images of an epoch of ours.", lower_bound=_BATCH)
    flags.DEFINE_integer("peer_images", 64, "Images of an epoch of the peer's.", lower_bound=1)
    harness.run(main)
