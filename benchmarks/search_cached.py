"""A search as a careful user of Keras and KerasTuner writes it: a peer of `benchmarks.search`.

VGG16 sees every image once, or once a view, with `model.predict`; its activations are held as
arrays, and KerasTuner trains heads on them, with validation behind every epoch, all as the two do
it by themselves: each trial compiles its head and keeps the weights of its best epoch in a file.
`python -m benchmarks.search_cached --folder=DIR --trials=64:1e-3,256:1e-4` runs these trials, all
epochs of each, and prints a line of JSON with the seconds of its parts.
"""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
from absl import flags

from benchmarks import article_code, harness, search_plain


class Views(keras.utils.PyDataset):
    """Rows of one view after the other: each epoch trains on another view of every image."""

    def __init__(self, rows: np.ndarray, labels: np.ndarray, batch_size: int, seed: int) -> None:
        """Begins with the first view.

        Args:
            rows: float32 [views, n, height, width, channels], activations.
            labels: int [n].
            batch_size: Images a step.
            seed: Of the order, which is another one in each epoch.
        """
        super().__init__()
        self._rows, self._labels, self._batch_size = rows, labels, batch_size
        self._view, self._generator = 0, np.random.default_rng(seed)
        self._order = self._generator.permutation(len(labels))

    def __len__(self) -> int:
        """Steps of an epoch."""
        return -(-len(self._labels) // self._batch_size)

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and labels of a step."""
        batch = self._order[step * self._batch_size : (step + 1) * self._batch_size]
        return self._rows[self._view, batch], self._labels[batch]

    def on_epoch_end(self) -> None:
        """Turns to the next view."""
        self._view = (self._view + 1) % len(self._rows)
        self._order = self._generator.permutation(len(self._labels))


class Head(keras_tuner.HyperModel):
    """The trainer's default head on activations.

    Attributes:
        saving: Seconds that went into KerasTuner's files of weights.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        """Builds nothing yet.

        Args:
            shape: Of an image's activations.
            classes: 2, 3 or 4.
        """
        super().__init__()
        self._shape, self._classes, self.saving = shape, classes, 0.0

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The head of some values, compiled."""
        units = hp.Int("head_units", 1, 2**16)
        rate = hp.Float("learning_rate", 1e-9, 1.0, sampling="log")
        head = search_plain.head(units, self._classes)
        model = search_plain.compiled(keras.Sequential([keras.Input(self._shape), *head]), rate)
        save = model.save_weights

        def timed(*arguments: Any) -> None:
            begin = time.perf_counter()
            save(*arguments)
            self.saving += time.perf_counter() - begin

        model.save_weights = timed
        return model


class Given(keras_tuner.oracles.RandomSearchOracle):
    """What `keras_tuner.RandomSearch` proposes by, with the values of given trials."""

    def __init__(self, trials: Sequence[tuple[int, float]]) -> None:
        """Proposes nothing yet.

        Args:
            trials: Units and learning rate of each, in their order.
        """
        objective = keras_tuner.Objective("val_accuracy", "max")
        super().__init__(objective=objective, max_trials=len(trials))
        self._given = iter(trials)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of the next trial."""
        units, rate = next(self._given)
        values = {"head_units": units, "learning_rate": rate}
        return {"status": keras_tuner.engine.trial.TrialStatus.RUNNING, "values": values}


def activations(values: flags.FlagValues) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By split float32 [views, n, height, width, channels], and int32 [n], the labels."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    base = article_code.base(values.weights, values.image_size)
    clean = {"preprocessing_function": keras.applications.vgg16.preprocess_input}
    augmented = {**article_code.AUGMENTATION, **clean}
    arguments = {"train": augmented if values.views else clean}
    rows = {}
    for split in ("train", "validation"):
        flow = ImageDataGenerator(**arguments.get(split, clean)).flow_from_directory(
            f"{values.folder}/{split}/train", target_size=(values.image_size,) * 2,
            batch_size=values.batch_size, class_mode="sparse", shuffle=False, seed=values.seed,
        )  # fmt: skip
        flow.workers = len(os.sched_getaffinity(0))
        views = max(1, values.views) if split == "train" else 1
        seen = [base.predict(flow, verbose=0).astype(np.float32) for _ in range(views)]
        rows[split] = np.stack(seen), flow.classes
    return rows


def search(
    values: flags.FlagValues, rows: dict[str, tuple[np.ndarray, np.ndarray]], folder: str
) -> tuple[keras_tuner.Tuner, Head]:
    """Runs all trials.

    Args:
        values: Of the command line.
        rows: Of `activations`.
        folder: For KerasTuner's files.
    """
    trials = [(int(units), float(rate)) for units, rate in map(_split, values.trials)]
    (train, labels), (validation, their_labels) = rows["train"], rows["validation"]
    head = Head(train.shape[2:], values.classes)
    # `keras_tuner.RandomSearch` is a `Tuner` with its oracle, and nothing else.
    tuner = keras_tuner.Tuner(
        oracle=Given(trials), hypermodel=head, directory=folder, project_name="search"
    )
    images = {"x": train[0], "y": labels, "batch_size": values.batch_size}
    if len(train) > 1:
        images = {"x": Views(train, labels, values.batch_size, values.seed)}
    tuner.search(
        **images, validation_data=(validation[0], their_labels), epochs=values.epochs, verbose=0,
        validation_batch_size=values.batch_size,
    )  # fmt: skip
    return tuner, head


def _split(trial: str) -> list[str]:
    return trial.split(":")


def measure(values: flags.FlagValues) -> dict[str, Any]:
    """Computes the activations and runs all trials.

    Args:
        values: Of the command line.

    Returns:
        `trials` (each `head_units`, `learning_rate` and its best `val_accuracy`), `seconds` of
        `activations`, `search` and, part of it, `saving`; `images` of each split, and the `policy`.
    """
    from trainer.model import precision

    policy, _ = precision.choose_precision(values.precision)  # what the trainer computes in here
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(values.seed)
    begin = time.perf_counter()
    rows = activations(values)
    computed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tuner, head = search(values, rows, folder)
    trials = sorted(tuner.oracle.trials.items())
    return {
        "trials": [{**trial.hyperparameters.values, "score": trial.score} for _, trial in trials],
        "seconds": {
            "activations": computed - begin,
            "search": time.perf_counter() - computed,
            "saving": head.saving,
        },
        "images": {split: len(labels) for split, (_, labels) in rows.items()},
        "policy": policy,
    }


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines this command's flags."""
    given = {"flag_values": values}
    flags.DEFINE_string("folder", None, "Images: FOLDER/SPLIT/train/CLASS/*.png.", **given)
    flags.DEFINE_list("trials", None, "Heads, each UNITS:LEARNING_RATE.", **given)
    flags.mark_flags_as_required(["folder", "trials"], values)
    flags.DEFINE_integer("views", 0, "Augmented views of an image; 0: it as it is.", **given)
    flags.DEFINE_integer("classes", 4, "2, 3 or 4.", **given)
    flags.DEFINE_integer("image_size", article_code.SIZE, "Pixels of a side.", **given)
    flags.DEFINE_integer("batch_size", 32, "Images a step.", **given)
    flags.DEFINE_integer("epochs", 100, "Epochs of each trial.", lower_bound=1, **given)
    flags.DEFINE_integer("seed", 1, "Of weights, order and augmentation.", **given)
    flags.DEFINE_string("weights", "imagenet", "As in trainer.main.", **given)
    flags.DEFINE_string("precision", "auto", "As in trainer.main.", **given)


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    print(json.dumps(measure(flags.FLAGS)))


if __name__ == "__main__":
    define_flags()
    harness.run(main)
