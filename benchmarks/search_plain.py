"""A search's trials as Keras' guides write them: the peer of `benchmarks.search`.

Every trial runs each image through a frozen VGG16 in each epoch, with new augmented views and a
validation behind every epoch, in the precision that the machine does best.
`python -m benchmarks.search_plain --folder=DIR --trials=64:1e-3,256:1e-4` times epochs of these
heads and prints a line of JSON with their seconds.
"""

import json
import time
from typing import Any

from absl import flags

from benchmarks import article_code, harness


def flows(values: flags.FlagValues) -> dict[str, "keras.utils.PyDataset"]:  # noqa: F821
    """The images of each split in FOLDER/SPLIT/train/CLASS; those of validation only scaled."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    scaled = {"rescale": article_code.ARGUMENTS["rescale"]}
    arguments = {"train": article_code.ARGUMENTS if values.augment else scaled}
    return {
        split: ImageDataGenerator(**arguments.get(split, scaled)).flow_from_directory(
            f"{values.folder}/{split}/train", target_size=(values.image_size,) * 2,
            batch_size=values.batch_size, class_mode="sparse", shuffle=split == "train",
            seed=values.seed,
        )
        for split in ("train", "validation")
    }  # fmt: skip


def head(units: int, classes: int) -> list["keras.Layer"]:  # noqa: F821
    """The trainer's default head."""
    import keras

    return [
        keras.layers.Flatten(),
        keras.layers.Dense(units, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(classes, activation="softmax", dtype="float32"),
    ]


def compiled(model: "keras.Model", rate: float) -> "keras.Model":  # noqa: F821
    """Compiled with what Keras takes by itself."""
    import keras

    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(learning_rate=rate),
        metrics=["accuracy"],
    )
    return model


def network(base: "keras.Model", units: int, rate: float, classes: int) -> "keras.Model":  # noqa: F821
    """The head on the frozen base."""
    import keras

    return compiled(keras.Sequential([base, *head(units, classes)]), rate)


def seconds(model: "keras.Model", images: dict, epochs: int) -> list[float]:  # noqa: F821
    """Seconds of each epoch with its validation; a batch of both before them compiles."""
    import keras

    model.fit(
        images["train"], steps_per_epoch=1, validation_steps=1, verbose=0,
        validation_data=images["validation"],
    )  # fmt: skip
    taken: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.begin = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            taken.append(time.perf_counter() - self.begin)

    model.fit(
        images["train"], validation_data=images["validation"], epochs=epochs, callbacks=[Clock()],
        verbose=0,
    )  # fmt: skip
    return taken


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines this command's flags."""
    given = {"flag_values": values}
    flags.DEFINE_string("folder", None, "Images: FOLDER/SPLIT/train/CLASS/*.png.", **given)
    flags.DEFINE_list("trials", None, "Heads to time, each UNITS:LEARNING_RATE.", **given)
    flags.mark_flags_as_required(["folder", "trials"], values)
    flags.DEFINE_boolean("augment", True, "Whether with the article's augmentation.", **given)
    flags.DEFINE_integer("classes", 4, "2, 3 or 4.", **given)
    flags.DEFINE_integer("image_size", article_code.SIZE, "Pixels of a side.", **given)
    flags.DEFINE_integer("batch_size", 32, "Images a step.", **given)
    flags.DEFINE_integer("epochs", 2, "Epochs of each head to time.", lower_bound=1, **given)
    flags.DEFINE_integer("seed", 1, "Of weights, order and augmentation.", **given)
    flags.DEFINE_string("weights", "imagenet", "As in trainer.main.", **given)


def measure(values: flags.FlagValues) -> dict[str, Any]:
    """Times the heads that the flags name, and counts the images of each split."""
    import keras

    from trainer.model import precision

    policy, _ = precision.choose_precision("auto")  # what the trainer computes in here
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(values.seed)
    base, images = article_code.base(values.weights, values.image_size), flows(values)
    timed = []
    for trial in values.trials:
        units, rate = trial.split(":")
        model = network(base, int(units), float(rate), values.classes)
        timed.append({"head_units": int(units), "seconds": seconds(model, images, values.epochs)})
    counts = {split: each.samples for split, each in images.items()}
    return {"timed": timed, "images": counts, "policy": policy}


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    print(json.dumps(measure(flags.FLAGS)))


if __name__ == "__main__":
    define_flags()
    harness.run(main)
