"""The 2020 article's code against this trainer: same images, same epochs, same cores.

`python -m benchmarks.article_race --data_dir=DIR` (config `article` built there). Time: whole
commands, one after the other in alternation; ours begins with an empty cache, ends with its plots,
and computes in the precision that the machine does best. The peer computes in float32, as it was
published, and runs a few epochs; its time is scaled to all of them, as its line says.
Score: balanced accuracy of out-of-fold predictions, folds of patients, the same for all, clean
images. The peer's network is trained fold by fold on what its base computes of a few augmented
views an image by ImageDataGenerator, taken in turn, instead of a hundred: a view of its own for
each epoch would take hours, and more views than 4 to 8 have not changed a score here.
"""

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
from absl import flags

from benchmarks import harness

_ROOT = pathlib.Path(__file__).parents[1]
_FOLDS = 5
# Claim (a) the article's protocol as the recipe article_4.flags has it: its augmentation, batches
# and head without dropout; (b) this project's own default.
_SETTINGS = {
    "a": {"align": "none", "augmentation": "article", "views": 8, "batch_size": 10, "dropout": 0.0},
    "b": {},
}


def export(
    dataset: "Dataset",  # noqa: F821
    images: "Images",  # noqa: F821
    folder: pathlib.Path,
) -> None:
    """Writes images of a dataset as PNG files, FOLDER/train/CLASS/*.png."""
    for index, encoded in dataset.encoded(images):
        label = images.labels[index]
        path = folder / "train" / f"{label}_{images.class_names[label]}" / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)


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
        copy_weights(values.cache_dir, folder)
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


def peer_right(
    grey: np.ndarray, labels: np.ndarray, fold: np.ndarray, values: flags.FlagValues
) -> np.ndarray:
    """Share of the peer's seeds that call each image right out of fold.

    Args:
        grey: uint8 [n, SIZE, SIZE, 1], 0..255.
        labels: int64 [n].
        fold: int64 [n], 0..4.
        values: Of the command line.

    Returns:
        float [seeds, n], 0 or 1.
    """
    import keras

    from benchmarks import article_code

    keras.config.set_dtype_policy("float32")
    rgb = np.repeat(grey, 3, axis=-1).astype(np.float32)
    base = article_code.base("imagenet")
    clean = base.predict(rgb / 255, batch_size=32, verbose=0)
    right = np.zeros((values.peer_seeds, len(labels)))
    for seed in range(values.peer_seeds):
        views = [
            base.predict(_views(rgb, 1000 * seed + view), batch_size=32, verbose=0)
            for view in range(values.peer_views)
        ]
        for number in range(fold.max() + 1):
            held_out = np.flatnonzero(fold == number)
            head = _peer_head(views, labels, np.flatnonzero(fold != number), seed, values)
            called = head.predict(clean[held_out], verbose=0).argmax(axis=1)
            right[seed, held_out] = called == labels[held_out]
    return right


def _peer_head(
    views: list[np.ndarray],
    labels: np.ndarray,
    seen: np.ndarray,
    seed: int,
    values: flags.FlagValues,
) -> "keras.Model":  # noqa: F821
    """The article's head, trained on some images' activations, a view an epoch in turn."""
    import keras

    from benchmarks import article_code

    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.Input(views[0].shape[1:]), *article_code.head(values.classes)])
    article_code.compiled(head, values.classes)
    one_hot = keras.utils.to_categorical(labels, values.classes)
    for epoch in range(values.epochs):
        view = views[epoch % len(views)]
        head.fit(view[seen], one_hot[seen], batch_size=article_code.BATCH, verbose=0)
    return head


def _views(rgb: np.ndarray, seed: int) -> np.ndarray:
    """One augmented view of each image by ImageDataGenerator, float32 in 0..1."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    from benchmarks import article_code

    generator = ImageDataGenerator(**article_code.ARGUMENTS)
    return np.stack(
        [
            generator.standardize(generator.random_transform(image.copy(), seed=seed * 100_000 + i))
            for i, image in enumerate(rgb)
        ]
    )


def scores(
    dataset: "Dataset",  # noqa: F821
    images: "Images",  # noqa: F821
    values: flags.FlagValues,
) -> dict[str, Any]:
    """Scores of both settings and of the peer, and the paired differences.

    Args:
        dataset: `article`.
        images: Of its train and validation splits, one after the other, as folds join them.
        values: Of the command line.
    """
    from benchmarks import article_code
    from trainer.evaluation.paired import paired_difference
    from trainer.input_pipeline import decode

    results, right, fold = {}, {}, None
    for name, setting in _SETTINGS.items():
        results[name], right[name], fold = _our_folds(images, values, setting)
    grey = np.empty((len(images), article_code.SIZE, article_code.SIZE, 1), np.uint8)
    kind = decode.Kind(article_code.SIZE)
    for at, squares in decode.squares(dataset, images, (kind,)):
        grey[at] = squares[kind]
    theirs = peer_right(grey, images.labels, fold, values)
    seeds = [
        float(np.mean([seed[images.labels == c].mean() for c in range(values.classes)]))
        for seed in theirs
    ]
    results["peer"] = {"balanced_accuracy": float(np.mean(seeds)), "seeds": seeds}
    for name in _SETTINGS:
        results[name]["less_peer"] = paired_difference(
            images.labels, images.group_numbers, right[name], theirs.mean(axis=0)
        )
    return results


def _our_folds(
    images: "Images",  # noqa: F821
    values: flags.FlagValues,
    setting: dict[str, Any],
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Our scores of a setting; each image's share of right calls; the folds of the first repeat."""
    from trainer import cross_validation
    from trainer.config import Config
    from trainer.evaluation import predictions
    from trainer.run import run_dir

    given = {name: values[name].value for name in ("data_dir", "cache_dir", "classes", "epochs")}
    config = Config(**{"dataset": "article", **given, **setting})
    with tempfile.TemporaryDirectory() as folder:
        result = cross_validation.cross_validate(
            config, _FOLDS, values.our_seeds, run_dir.plain(pathlib.Path(folder))
        )
        table = predictions.read(f"{folder}/predictions.csv")
    repeats = (values.our_seeds, len(images))
    np.testing.assert_array_equal(table.image_ids[: len(images)], images.image_ids)
    right = (table.probabilities.argmax(axis=1) == table.labels).reshape(repeats)
    listed = {
        "balanced_accuracy": result["pooled"]["balanced_accuracy"],
        "by_fold": {name: result["by_fold"][name] for name in ("mean", "sd", "min")},
        "shortcut_baseline": {
            name: each["mean"] for name, each in result["shortcut_baseline"].items()
        },
    }
    return listed, right.mean(axis=0), table.folds.reshape(repeats)[0]


def timed(
    dataset: "Dataset",  # noqa: F821
    images: "Images",  # noqa: F821
    values: flags.FlagValues,
) -> dict[str, list[float]]:
    """Seconds of both settings and of the article's code, by round."""
    with tempfile.TemporaryDirectory() as folder:
        export(dataset, images, pathlib.Path(folder))
        sides = {
            "ours, a": lambda: our_seconds(values, _SETTINGS["a"]),
            "ours, b": lambda: our_seconds(values, _SETTINGS["b"]),
            "article": lambda: peer_seconds(values, pathlib.Path(folder)),
        }
        return harness.alternate(sides, values.rounds)


def copy_weights(cache_dir: str, folder: str) -> None:
    """Copies the converted weights of a cache into another one's folder."""
    from trainer.config import cache_folder

    for path in cache_folder(cache_dir).glob("*.npz"):
        shutil.copy(path, folder)


def main(argv: list[str]) -> None:
    """Times, scores, reports."""
    values = flags.FLAGS
    from trainer.input_pipeline import dataset as dataset_lib

    dataset = dataset_lib.open_dataset("article", values.data_dir, values.classes)
    images = dataset_lib.joined([dataset.splits[name] for name in ("train", "validation")])
    seconds = timed(dataset, images, values)
    faster = {
        name: harness.ratios(seconds["article"], seconds[f"ours, {name}"]) for name in _SETTINGS
    }
    claims = {
        "a: times as fast": (35.0, faster["a"]["median"]),
        "b: times as fast": (80.0, faster["b"]["median"]),
    }
    results = scores(dataset, images, values) if values.our_seeds else {}
    if results:
        claims["a: score less the article's, low end"] = (-0.02, results["a"]["less_peer"]["low"])
        claims["b: score less the article's, low end"] = (0.0, results["b"]["less_peer"]["low"])
    harness.report(
        "article_race",
        figures={f"{name}, seconds": harness.spread(each) for name, each in seconds.items()},
        scores=results,
        targets=claims,
        spreads={f"{name}: times as fast": each for name, each in faster.items()},
        bound="a: one pass of the frozen base per view; b: start-up, and one pass of all images "
        "and of the re-framed ones",
        images=len(images),
        epochs=values.epochs,
        peer_epochs_timed=values.peer_epochs,
        our_seeds=values.our_seeds,
        peer_seeds=values.peer_seeds,
        peer_views=values.peer_views,
    )


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines this command's flags."""
    given = {"flag_values": values}
    flags.DEFINE_string("data_dir", "", "As in trainer.main.", **given)
    flags.DEFINE_string("cache_dir", "", "As in trainer.main.", **given)
    flags.DEFINE_integer("classes", 4, "2, 3 or 4.", **given)
    flags.DEFINE_integer("epochs", 100, "Epochs of both.", **given)
    counts = (
        ("rounds", 3, 1, "Rounds of the times, in alternation."),
        ("peer_epochs", 3, 1, "Epochs of the peer that are timed."),
        ("our_seeds", 10, 0, "Repeats of our folds; 0: times only."),
        ("peer_seeds", 2, 1, "Repeats of the peer's."),
        ("peer_views", 10, 1, "Views of an image in the peer's score."),
    )
    for name, usual, least, text in counts:
        flags.DEFINE_integer(name, usual, text, lower_bound=least, **given)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    define_flags()
    harness.run(main)
