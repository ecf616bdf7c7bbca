"""Patient-grouped folds, and the out-of-fold predictions of a configuration."""

import contextlib
import dataclasses
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tqdm
from sklearn.model_selection import StratifiedGroupKFold

from trainer import feeds, train
from trainer.base import Base
from trainer.config import Config
from trainer.evaluation import baselines, metrics
from trainer.input_pipeline import batches, dataset
from trainer.model import vgg16
from trainer.run import files
from trainer.run.errors import DivergedError, RunError
from trainer.training import callbacks
from trainer.training.setup import start


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold predictions of every image in every repeat.

    Attributes:
        images: The images, in the order of the arrays.
        fold: int64 [repeats, n], the fold that holds an image.
        probabilities: float32 [repeats, n, classes], by the network that did not see the fold.
        scores: `dataset`, `n`, `patients`, `folds_n`, `repeats`; `pooled` (see `metrics.score`,
            each image once a repeat, so that its numbers are means over repeats); `folds`, balanced
            accuracy over folds and repeats: `mean`, `sd`, `min`, `values` [repeats][folds]; and
            `floor`.
    """

    images: dataset.Images
    fold: np.ndarray
    probabilities: np.ndarray
    scores: dict[str, Any]


def deal(
    labels: np.ndarray, groups: Sequence[str], folds: int, seed: int, class_names: Sequence[str]
) -> np.ndarray:
    """Deals images into folds, stratified by class, each group into one.

    Args:
        labels: int64 [n].
        groups: n patient groups.
        folds: How many, from 2.
        seed: Of the dealing.
        class_names: For messages.

    Returns:
        int64 [n], 0..folds-1.

    Raises:
        RunError: A class has fewer groups than there are folds, or a fold lacks a class.
    """
    for label in np.unique(labels).tolist():
        count = len({g for g, each in zip(groups, labels, strict=True) if each == label})
        if count < folds:
            raise RunError(
                f"{folds} folds need as many patients of each class, and {class_names[label]} has "
                f"{count}. Ask for fewer."
            )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        # It warns of classes with fewer images than folds; `count` above is stricter.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            fold[held_out] = number
    for number in range(folds):
        lacking = set(labels.tolist()) - set(labels[fold == number].tolist())
        if lacking:
            names = ", ".join(class_names[label] for label in sorted(lacking))
            raise RunError(f"Fold {number + 1} of {folds} has no image of {names}. Ask for fewer.")
    return fold


def deals(images: dataset.Images, folds: int, repeats: int, seed: int) -> np.ndarray:
    """`deal` once a repeat, with seed, seed + 1, ...: int64 [repeats, n].

    Raises:
        RunError: As for `deal`.
    """
    return np.stack(
        [
            deal(images.labels, images.groups, folds, seed + r, images.class_names)
            for r in range(repeats)
        ]
    )


def cross_validate(
    config: Config, folds: int, repeats: int, run_dir: pathlib.Path | None = None
) -> CrossValidation:
    """Trains folds x repeats networks on kept activations.

    Args:
        config: What is trained; `epochs` of each phase are run to their end.
        folds: From 2.
        repeats: From 1; repeat r deals, draws weights and orders images with seed + r. The views
            are those of `config.seed` in all repeats.
        run_dir: Where config.json, crossval.json and predictions.csv go; None writes nothing.

    Raises:
        RunError: As for `trainer.main`, or the images can't be dealt.
    """
    started = start(config)
    config = started.config
    images = dataset.joined([started.images.splits[name] for name in ("train", "validation")])
    fold = deals(images, folds, repeats, config.seed)
    base = Base(config, started.model, started.jit)
    with contextlib.closing(base):
        train.keep_rows(base, {"train": images, "validation": images}, quiet=False)
        probabilities = out_of_fold(base, images, fold)
    found = {
        "dataset": started.images.name,
        "folds_n": folds,
        "repeats": repeats,
        **scores(images, fold, probabilities, images.class_names),
        "floor": floors(images, fold[0], config.classes),
    }
    result = CrossValidation(images, fold, probabilities, found)
    if run_dir:
        files.write_json(run_dir / "config.json", started.facts)
        files.write_json(run_dir / "crossval.json", found)
        files.write_csv(run_dir / "predictions.csv", _rows(result, images.class_names))
    return result


def out_of_fold(
    base: Base,
    images: dataset.Images,
    fold: np.ndarray,
    *,
    seed: int | None = None,
    label: str = "folds",
    follow: Sequence[keras.callbacks.Callback] = (),
) -> np.ndarray:
    """Predicts every image by networks that did not see its fold.

    Args:
        base: Of the configuration; its model's weights are where every fold begins.
        images: All images.
        fold: int64 [repeats, n], from `deals`.
        seed: Repeat r trains with seed + r; the run's unless given.
        label: Of the progress bar; "" for none.
        follow: Callbacks of every fold's training.

    Returns:
        float32 [repeats, n, classes], finite.

    Raises:
        DivergedError: A network gives no finite probabilities any more.
    """
    config, model = base.config, base.model
    folds = fold.max() + 1
    train.keep_rows(base, {"train": images, "validation": images}, quiet=True)
    begin = {layer.name: layer.get_weights() for layer in base.trained().layers}
    out = np.full((*fold.shape, config.classes), np.nan, np.float32)
    with tqdm.tqdm(
        total=fold.shape[0] * folds, desc=label, unit=" folds", disable=not label
    ) as bar:
        for repeat, number in np.ndindex(fold.shape[0], folds):
            for layer in base.trained().layers:
                layer.set_weights(begin[layer.name])
            turn = (config.seed if seed is None else seed) + repeat
            keras.utils.set_random_seed(turn)
            vgg16.reset_head(model, turn)
            held_out = np.flatnonzero(fold[repeat] == number)
            splits = {
                "train": images.take(np.flatnonzero(fold[repeat] != number)),
                "validation": images.take(held_out),
            }
            out[repeat, held_out] = _fold(base, splits, turn, follow)
            if not np.isfinite(out[repeat, held_out]).all():
                raise DivergedError(
                    "The network gives no finite probabilities any more. Lower the learning rate "
                    f"({config.learning_rate:g})."
                )
            bar.update()
    return out


def _fold(
    base: Base,
    splits: Mapping[str, dataset.Images],
    seed: int,
    follow: Sequence[keras.callbacks.Callback],
) -> np.ndarray:
    """Trains on one split from the weights as they are, and predicts the other."""
    config, labels = base.config, splits["train"].labels
    source, epoch = feeds.Feeds(base, splits, seed=seed, quiet=True), 0
    phases = train.phases(config)
    for _, block, epochs, rate in phases:
        vgg16.set_trainable(base.model, block)
        feed = source.feed(block, range(epoch, epoch + epochs))
        steps = epochs * -(-len(labels) // config.batch_size)
        # Where rows find no room, all phases train one model: each its own weights, at its rate.
        anew = len(phases) > 1 and feed.trained is base.model
        _ready(feed.trained, config, rate, train.at_once(steps, feed.steps_at_once), anew)
        # All epochs are one to Keras: nothing happens between them.
        feed.trained.fit(
            train.smoothed(feed.train, config),
            steps_per_epoch=steps,
            class_weight=train.class_weights(config, labels),
            callbacks=list(follow),
            shuffle=False,
            verbose=0,
        )
        epoch += epochs
    return callbacks.predict(feed.scored, feed.split("validation"))


def _ready(model: keras.Model, config: Config, rate: float, steps_at_once: int, anew: bool) -> None:
    """Compiles a part, or empties the optimizer it has: tracing again costs more than a fold."""
    if anew or not model.compiled or model.steps_per_execution != steps_at_once:
        train.compiled(model, config, rate, steps_at_once)
        return
    begin = {"dynamic_scale": getattr(model.optimizer, "initial_scale", 0.0)}  # float16 has one
    for variable in model.optimizer.variables:
        if variable.name != "learning_rate":  # all others begin at 0
            variable.assign(keras.ops.full_like(variable, begin.get(variable.name, 0.0)))


def scores(
    images: dataset.Images, fold: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """What `CrossValidation.scores` holds of the network; arguments as there."""
    repeats, n = fold.shape
    # A patient's images of all repeats are drawn together: their mean is what is estimated.
    pooled = metrics.score(
        metrics.Predictions(
            image_ids=[f"{r}/{image_id}" for r in range(repeats) for image_id in images.image_ids],
            patients=images.groups * repeats,
            sources=images.sources * repeats,
            labels=np.tile(images.labels, repeats),
            probabilities=probabilities.reshape(repeats * n, -1),
        ),
        names,
    )
    values = [
        [each["balanced_accuracy"] for each in by_fold]
        for by_fold in scores_by_fold(images.labels, fold, probabilities)
    ]
    return {
        "n": n,
        "patients": len(set(images.groups)),
        "pooled": pooled,
        "folds": {**_spread(values), "min": float(np.min(values)), "values": values},
    }


def scores_by_fold(
    labels: np.ndarray, fold: np.ndarray, probabilities: np.ndarray
) -> list[list[dict[str, float]]]:
    """`callbacks.scores` of each fold's images, by repeat and fold.

    Args:
        labels: int64 [n].
        fold: int64 [repeats, n].
        probabilities: float32 [repeats, n, classes].
    """
    return [
        [callbacks.scores(labels[at == k], found[at == k]) for k in range(at.max() + 1)]
        for at, found in zip(fold, probabilities, strict=True)
    ]


def _spread(values: Sequence) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}


def floors(images: dataset.Images, fold: np.ndarray, classes: int) -> dict[str, Any]:
    """Balanced accuracy of the linear model of 32 x 32 pixels over the same folds."""
    small = batches.squares(images, baselines.FLOOR_SIZE)
    found: dict[str, list[float]] = {"whole_image": [], "lungs_removed": []}
    for number in range(fold.max() + 1):
        seen, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        groups = [images.groups[i] for i in held_out]
        scored = baselines.shortcut_floor(
            (small[seen], images.labels[seen]),
            {"fold": (small[held_out], images.labels[held_out], groups)},
            classes,
        )["fold"]
        for view, values in found.items():
            values.append(scored[view]["balanced_accuracy"]["value"])
    return {view: {**_spread(values), "values": values} for view, values in found.items()}


def _rows(result: CrossValidation, names: Sequence[str]) -> list[dict[str, Any]]:
    images = result.images
    return [
        {
            "image_id": images.image_ids[i],
            "group": images.groups[i],
            "source": images.sources[i],
            "label": names[images.labels[i]],
            "repeat": r,
            "fold": int(result.fold[r, i]),
            **{
                f"p_{name}": f"{p:.6f}"
                for name, p in zip(names, result.probabilities[r, i], strict=True)
            },
        }
        for r, i in np.ndindex(*result.fold.shape)
    ]
