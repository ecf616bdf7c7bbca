"""The 2020 article's code against this trainer: same images, same epochs, same cores.

`python -m benchmarks.article_race --data_dir=DIR` (config `article` built there). Time: whole
commands, one after the other in alternation; ours begins without kept activations and ends with
its report. The peer runs a few epochs, and its time is scaled to all of them, as its line says.
Score: balanced accuracy of out-of-fold predictions, folds of patients, the same for all, clean
images. The peer's network is trained fold by fold on what its base computes of a few
ImageDataGenerator views an image, taken in turn, instead of a hundred: fresh ones would take hours,
and more views than 4 to 8 have not changed a score here.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import harness

_ROOT = pathlib.Path(__file__).parents[1]
_FOLDS = 5
# Claim (a) the article's augmentation in both; (b) this project's own default.
_SETTINGS = {"a": {"augmentation": "article", "views": 4}, "b": {}}


def export(images: "dataset.Images", folder: pathlib.Path) -> None:  # noqa: F821
    """Writes the images as PNG files, FOLDER/train/CLASS/*.png."""
    from covid_tfds.records import LABELS

    for number, (label, image) in enumerate(zip(images.labels, images.encoded, strict=True)):
        path = folder / "train" / f"{label}_{LABELS[label]}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)


def run(command: list[str]) -> subprocess.CompletedProcess:
    """Runs a command from the repository's root; its failure is this program's."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done


def our_seconds(values: flags.FlagValues, setting: dict[str, Any]) -> float:
    """Wall time of the whole command, from an empty cache but for the converted weights."""
    with tempfile.TemporaryDirectory() as folder:
        for kept in _cache(values).glob("*.npz"):
            shutil.copy(kept, folder)
        given = {
            "dataset": "article", "data_dir": values.data_dir, "classes": values.classes,
            "epochs": values.epochs, "cache_dir": folder, "run_dir": f"{folder}/run", **setting,
        }  # fmt: skip
        begin = time.perf_counter()
        run(["trainer.main", *(f"--{name}={value}" for name, value in given.items())])
        return time.perf_counter() - begin


def peer_seconds(values: flags.FlagValues, folder: pathlib.Path) -> float:
    """Wall time of the article's code, its epochs behind the first scaled to all."""
    done = run(["benchmarks.article_code", f"--folder={folder}", f"--classes={values.classes}",
                f"--epochs={values.peer_epochs}"])  # fmt: skip
    line = json.loads(done.stdout.splitlines()[-1])
    first, *others = line["epochs"]
    each = float(np.mean(others)) if others else first
    return line["before"] + first + (values.epochs - 1) * each


def peer_right(images: "dataset.Images", fold: np.ndarray, values: flags.FlagValues) -> np.ndarray:  # noqa: F821
    """Share of the peer's seeds that call each image right out of fold, float [n]."""
    import keras

    from benchmarks import article_code
    from trainer.input_pipeline import batches

    keras.config.set_dtype_policy("float32")
    grey = batches.pixels(images, article_code.SIZE)
    rgb = np.repeat(grey, 3, axis=-1).astype(np.float32)
    base = article_code.base("imagenet")
    clean = base.predict(rgb / 255, batch_size=32, verbose=0)
    one_hot = keras.utils.to_categorical(images.labels, values.classes)
    right = np.zeros((values.peer_seeds, len(images.labels)))
    for seed in range(values.peer_seeds):
        views = [
            base.predict(_views(rgb, 1000 * seed + view), batch_size=32, verbose=0)
            for view in range(values.peer_views)
        ]
        for number in range(_FOLDS):
            seen, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            keras.utils.set_random_seed(seed)
            head = keras.Sequential(
                [keras.Input(clean.shape[1:]), *article_code.head(values.classes)]
            )
            article_code.compiled(head, values.classes)
            for epoch in range(values.epochs):
                view = views[epoch % len(views)]
                head.fit(view[seen], one_hot[seen], batch_size=article_code.BATCH, verbose=0)
            called = head.predict(clean[held_out], verbose=0).argmax(axis=1)
            right[seed, held_out] = called == images.labels[held_out]
    return right


def _views(rgb: np.ndarray, seed: int) -> np.ndarray:
    """One ImageDataGenerator view of each image, float32 in 0..1."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    from benchmarks import article_code

    generator = ImageDataGenerator(**article_code.ARGUMENTS)
    return np.stack(
        [
            generator.standardize(generator.random_transform(image.copy(), seed=seed * 100_000 + i))
            for i, image in enumerate(rgb)
        ]
    )


def scores(values: flags.FlagValues) -> dict[str, Any]:
    """Scores of both settings and of the peer, and the paired differences."""
    from trainer import cross_validation
    from trainer.config import Config
    from trainer.evaluation.intervals import paired_difference

    common = Config(dataset="article", data_dir=values.data_dir, cache_dir=values.cache_dir,
                    classes=values.classes, epochs=values.epochs)  # fmt: skip
    found, right, result = {}, {}, None
    for name, setting in _SETTINGS.items():
        result = cross_validation.cross_validate(
            dataclasses.replace(common, **setting), _FOLDS, values.our_seeds
        )
        images = result.images
        right[name] = (result.probabilities.argmax(axis=2) == images.labels).mean(axis=0)
        found[name] = {
            "balanced_accuracy": result.scores["pooled"]["balanced_accuracy"],
            "folds": {k: result.scores["folds"][k] for k in ("mean", "sd", "min")},
            "floor": {view: f["mean"] for view, f in result.scores["floor"].items()},
        }
    theirs = peer_right(images, result.fold[0], values)
    by_class = [theirs[:, images.labels == label].mean() for label in range(values.classes)]
    found["peer"] = {
        "balanced_accuracy": float(np.mean(by_class)),
        "seeds": [
            float(np.mean([seed[images.labels == c].mean() for c in range(values.classes)]))
            for seed in theirs
        ],
    }
    patients = np.unique(images.groups, return_inverse=True)[1]
    for name in _SETTINGS:
        found[name]["less_peer"] = paired_difference(
            images.labels, patients, right[name], theirs.mean(axis=0)
        )
    return found


def main(argv: list[str]) -> None:
    """Times, scores, reports."""
    values = flags.FLAGS
    from trainer.input_pipeline import dataset

    opened = dataset.open_dataset("article", values.data_dir, values.classes)
    images = dataset.joined([opened.splits[name] for name in ("train", "validation")])
    with tempfile.TemporaryDirectory() as folder:
        export(images, pathlib.Path(folder))
        sides = {
            "ours, a": lambda: our_seconds(values, _SETTINGS["a"]),
            "ours, b": lambda: our_seconds(values, _SETTINGS["b"]),
            "article": lambda: peer_seconds(values, pathlib.Path(folder)),
        }
        seconds = harness.alternate(sides, values.rounds)
    faster = {
        name: harness.ratios(seconds["article"], seconds[f"ours, {name}"]) for name in _SETTINGS
    }
    claims = {
        "a: times as fast": (25.0, faster["a"]["median"]),
        "b: times as fast": (50.0, faster["b"]["median"]),
    }
    found = scores(values) if values.our_seeds else {}
    if found:
        claims["a: score less the article's, low end"] = (-0.02, found["a"]["less_peer"]["low"])
        claims["b: score less the article's, low end"] = (0.0, found["b"]["less_peer"]["low"])
    harness.report(
        "article_race",
        figures={f"{name}, seconds": harness.spread(each) for name, each in seconds.items()},
        ratios=faster,
        scores=found,
        targets=claims,
        spreads={f"{name}: times as fast": each for name, each in faster.items()},
        bound="a: one pass of the frozen base per view; b: start-up and the report's statistics",
        images=len(images.labels),
        epochs=values.epochs,
        peer_epochs_timed=values.peer_epochs,
        our_seeds=values.our_seeds,
        peer_seeds=values.peer_seeds,
        peer_views=values.peer_views,
    )


def _cache(values: flags.FlagValues) -> pathlib.Path:
    from trainer.config import cache_folder

    return cache_folder(values.cache_dir)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    flags.DEFINE_string("data_dir", "", "As in trainer.main.")
    flags.DEFINE_string("cache_dir", "", "As in trainer.main.")
    flags.DEFINE_integer("classes", 4, "2, 3 or 4.")
    flags.DEFINE_integer("epochs", 100, "Epochs of both.")
    flags.DEFINE_integer("rounds", 3, "Rounds of the times, in alternation.")
    flags.DEFINE_integer("peer_epochs", 3, "Epochs of the peer that are timed.")
    flags.DEFINE_integer("our_seeds", 5, "Repeats of our cross-validation; 0: times only.")
    flags.DEFINE_integer("peer_seeds", 2, "Repeats of the peer's.")
    flags.DEFINE_integer("peer_views", 10, "ImageDataGenerator views of an image in its score.")
    app.run(main)
