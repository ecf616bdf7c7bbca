"""Fine-tuning block 5 and the head: from kept activations, against Keras' fit of the same.

`python -m benchmarks.fine_tune --dataset=article_grouped`. The peer is Keras' own guide to transfer
learning: `keras.applications.VGG16` with the blocks below frozen, every image through all of
it in every epoch, pixels resident in memory, float32 as Keras begins, and mixed_bfloat16 beside it.
"""

import contextlib
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import harness
from trainer import feeds, train
from trainer.base import Base
from trainer.config import Config
from trainer.input_pipeline import batches as pipeline
from trainer.model import vgg16
from trainer.training.setup import start

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds in alternation.")
_IMAGES = flags.DEFINE_integer("images", 192, "Images of an epoch of ours.")
_PEER_IMAGES = flags.DEFINE_integer("peer_images", 64, "Images of an epoch of the peer's.")
_DATASET = flags.DEFINE_string("dataset", "auto", "As in trainer.main.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "As in trainer.main.")
_CACHE_DIR = flags.DEFINE_string("cache_dir", "", "As in trainer.main.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 150, "Pixels of a side.")
_WEIGHTS = flags.DEFINE_string("weights", "imagenet", "As in trainer.main.")
_BATCH = 32
_CLAIM = "images/s of block 5 and head, times Keras' fit"


def peer(images: np.ndarray, labels: np.ndarray, policy: str) -> keras.Model:
    """VGG16 with block 5 and a head to train, compiled as Keras compiles by default."""
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


def main(argv: list[str]) -> None:
    """Times one epoch of each a round."""
    config = Config(
        dataset=_DATASET.value, data_dir=_DATA_DIR.value, cache_dir=_CACHE_DIR.value,
        image_size=_IMAGE_SIZE.value, weights=_WEIGHTS.value, epochs=1, batch_size=_BATCH,
        fine_tune_from="block5", fine_tune_epochs=_ROUNDS.value + 1,
    )  # fmt: skip
    started = start(config)
    policy = keras.config.dtype_policy().name
    source = started.images.splits["train"]
    count = min(_IMAGES.value, len(source.labels) // _BATCH * _BATCH)
    images = source.take(range(count))
    some = images.take(range(min(_PEER_IMAGES.value, count)))
    squares = pipeline.pixels(some, config.image_size)
    rgb = np.repeat(squares, 3, axis=-1).astype(np.float32) - 117.0

    base = Base(started.config, started.model)
    with contextlib.closing(base):
        vgg16.set_trainable(base.model, "block5")
        epochs = range(1, _ROUNDS.value + 2)
        feed = feeds.Feeds(base, {**started.images.splits, "train": images}).feed("block5", epochs)
        ours = train.compiled(feed.trained, config, 1e-5, feed.steps_at_once)
        batches = iter(feed.train)

        def our_epoch() -> float:
            begin = time.perf_counter()
            for _ in range(count // _BATCH):
                ours.train_on_batch(*next(batches))
            return count / (time.perf_counter() - begin)

        sides = {"ours": our_epoch}
        for name in ("float32", "mixed_bfloat16"):
            sides[f"keras_fit_{name}"] = _fit(peer(rgb, some.labels, name), rgb, some.labels)
        for run in sides.values():
            run()  # compiles
        figures = harness.alternate(sides, _ROUNDS.value)
    against = {
        name: harness.ratios(figures["ours"], values)
        for name, values in figures.items()
        if name != "ours"
    }
    harness.report(
        "fine_tune",
        figures={f"{name}, images/s": harness.spread(v) for name, v in figures.items()},
        ratios=against,
        targets={_CLAIM: (8.0, against["keras_fit_float32"]["median"])},
        spreads={_CLAIM: against["keras_fit_float32"]},
        bound=(
            "arithmetic: block 5 forward and backward is about a fifth of what Keras computes "
            "per image; the rest of the ratio is bfloat16"
        ),
        images=count,
        image_size=config.image_size,
        precision=policy,
        dataset=started.images.name,
    )


def _fit(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> object:
    def epoch() -> float:
        begin = time.perf_counter()
        model.fit(images, labels, batch_size=_BATCH, epochs=1, verbose=0)
        return len(images) / (time.perf_counter() - begin)

    return epoch


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    app.run(main)
