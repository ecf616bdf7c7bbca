"""The 2020 article's code, as published but for what Keras has renamed since: the peer of the race.

A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with Transfer Learning" (2020):
frozen VGG16 on 0..1 RGB, Flatten, Dense(256), Dense(classes); ImageDataGenerator with its arguments
(featurewise and ZCA switches on and never fitted, so without effect), batches of 10, Adam, float32.
`python -m benchmarks.article_code --folder=DIR --epochs=2` trains on DIR/train/CLASS and prints
a line of JSON with its seconds.
"""

import json
import time
import warnings
from typing import Any

from absl import flags

from benchmarks import harness

SIZE = 150
BATCH = 10
RATE = 1e-4
AUGMENTATION = {
    "rotation_range": 50,
    "width_shift_range": 0.2,
    "height_shift_range": 0.2,
    "shear_range": 0.25,
    "zoom_range": 0.1,
    "channel_shift_range": 20,
    "fill_mode": "constant",
    "cval": 0,
    "horizontal_flip": True,
    "vertical_flip": True,
}
ARGUMENTS = {"rescale": 1 / 255, **AUGMENTATION}
# Switched on by the notebooks and never fitted: Keras warns and leaves the pixels as they are.
UNFITTED = {
    "featurewise_center": True,
    "featurewise_std_normalization": True,
    "zca_whitening": True,
}


def base(weights: str, size: int = SIZE) -> "keras.Model":  # noqa: F821
    """VGG16 to its last pooling, frozen; float32 RGB in 0..1 goes in."""
    import keras

    from trainer.config import cache_folder
    from trainer.model import weights as weights_lib

    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(size, size, 3))
    start = weights_lib.vgg16_weights(weights, cache_folder(""))
    for name, (kernel, bias) in (start.layers or {}).items():
        # The notebooks' channels are red, green, blue, which Keras' weights are not made for.
        model.get_layer(name).set_weights([kernel, bias])
    model.trainable = False
    return model


def head(classes: int) -> list:
    """The article's own layers."""
    import keras

    last = (
        keras.layers.Dense(1, activation="sigmoid")
        if classes == 2
        else keras.layers.Dense(classes, activation="softmax")
    )
    return [keras.layers.Flatten(), keras.layers.Dense(256, activation="relu"), last]


def compiled(model: "keras.Model", classes: int) -> "keras.Model":  # noqa: F821
    """Compiled as in the notebooks."""
    import keras

    model.compile(
        loss="binary_crossentropy" if classes == 2 else "categorical_crossentropy",
        optimizer=keras.optimizers.Adam(learning_rate=RATE),
        metrics=["acc"],
    )
    return model


def train(
    folder: str, *, classes: int, epochs: int, weights: str = "imagenet", size: int = SIZE
) -> dict[str, Any]:
    """Trains, and measures the seconds before the first epoch and of each epoch.

    Args:
        folder: Images: FOLDER/train/CLASS/*.png.
        classes: 2 or more.
        epochs: 1 or more.
        weights: As in trainer.main.
        size: Pixels of a side; the article's is 150.

    Returns:
        {"before": seconds, "epochs": [seconds, ...]}.
    """
    begin = time.perf_counter()
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    keras.utils.set_random_seed(1)
    warnings.simplefilter("ignore")
    generator = ImageDataGenerator(validation_split=0.2, **ARGUMENTS, **UNFITTED)
    flows = {
        subset: generator.flow_from_directory(
            f"{folder}/train", target_size=(size, size), batch_size=BATCH, subset=subset,
            class_mode="categorical" if classes > 2 else "binary", shuffle=True, seed=42,
        )
        for subset in ("training", "validation")
    }  # fmt: skip
    model = compiled(keras.Sequential([base(weights, size), *head(classes)]), classes)
    begins, ends = [], []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: begins.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()),
    )
    model.fit(
        flows["training"], validation_data=flows["validation"], epochs=epochs, callbacks=[clock],
        verbose=0,
    )  # fmt: skip
    seconds = [end - start for start, end in zip(begins, ends, strict=True)]
    return {"before": begins[0] - begin, "epochs": seconds}


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    names = ("folder", "classes", "epochs", "weights")
    print(json.dumps(train(**{name: flags.FLAGS[name].value for name in names})))


if __name__ == "__main__":
    flags.DEFINE_string("folder", None, "Images: FOLDER/train/CLASS/*.png.", required=True)
    flags.DEFINE_integer("classes", 4, "2, 3 or 4.")
    flags.DEFINE_integer("epochs", 100, "Epochs.", lower_bound=1)
    flags.DEFINE_string("weights", "imagenet", "As in trainer.main.")
    harness.run(main)
