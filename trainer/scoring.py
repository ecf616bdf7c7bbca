"""What is said of a trained network: the tables of a run, its numbers, its file, its plots.

Test and control are in all of them or in none: a run with `--notest` has a setup without them.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.config import Config
from trainer.evaluation import (
    baselines,
    heatmaps,
    images_used,
    linear_model,
    metrics,
    notes,
    plots,
    predictions,
)
from trainer.inference import gradcam
from trainer.input_pipeline import stress
from trainer.input_pipeline.dataset import Dataset, joined
from trainer.model import about, saved
from trainer.run import machine
from trainer.run.manifest import ALIGNED, HEATMAPS, PLOTS
from trainer.run.progress import progress, working
from trainer.training import aligned
from trainer.training.setup import Setup
from trainer.training.training import Training
from trainer.training.validation import predictions_of

_SCORED = ("validation", "test", "control")
_PLOTS_LATER = (
    "The run has all else; when that is mended, the same command on the same --run_dir evaluates "
    "again and draws them."
)


def scored_splits(setup: Setup) -> list[str]:
    """Names of the splits that a run scores."""
    return [name for name in _SCORED if len(setup.dataset.splits.get(name, ()))]


def write_used(dataset: Dataset, folder: pathlib.Path) -> None:
    """Writes images_used.csv, of the splits that the run reads."""
    columns = images_used.columns_of(dataset.splits.values())
    images_used.write(folder / "images_used.csv", columns)


def write_tables(setup: Setup, training: Training, folder: pathlib.Path) -> predictions.Predictions:
    """Scores the images of a run and writes predictions.csv, stressed.csv and alignment.csv.

    Args:
        setup: Of the run.
        training: Whose networks have the best epoch's weights.
        folder: Of the run.

    Returns:
        The rows of predictions.csv.
    """
    table = _predictions(setup, training)
    predictions.write(folder / "predictions.csv", table)
    predictions.write(folder / "stressed.csv", _stressed(training))
    aligned.write_poses(setup, joined(list(setup.dataset.splits.values())), folder)
    return table


def _predictions(setup: Setup, training: Training) -> predictions.Predictions:
    """What the best network gives of all images that a run scores."""
    scored = scored_splits(setup)
    images = joined([setup.dataset.splits[name] for name in scored])
    last = training.plan.phases[-1]
    with progress(len(images), "scoring") as bar:
        parts = [training.probabilities(last, name, on_progress=bar.update) for name in scored]
    return predictions_of(images, np.concatenate(parts))


def _stressed(training: Training) -> predictions.Predictions:
    """What the best network gives of the re-framed validation images, a repeat a draw."""
    images = training.images[stress.NAME]
    last = training.plan.phases[-1]
    with progress(len(images), "scoring re-framed images") as bar:
        probabilities = training.probabilities(last, stress.NAME, on_progress=bar.update)
    return predictions_of(images, probabilities, repeats=stress.draw_numbers(images))


def write_metrics(setup: Setup, folder: pathlib.Path) -> dict[str, Any]:
    """Computes all numbers from the tables of a run and writes metrics.json; returns them."""
    names = [name for name in metrics.BASELINED if name in setup.dataset.splits]
    baseline = shortcut_baselines(setup, names)
    with working("computing the scores and their intervals"):
        return metrics.run_metrics(folder, baseline)


def write_model(
    setup: Setup, training: Training, result: Mapping[str, Any], folder: pathlib.Path
) -> None:
    """Writes model.keras, the network with what its answers are worth.

    Args:
        setup: Of the run.
        training: Whose networks have the best epoch's weights.
        result: Of `write_metrics`.
        folder: Of the run.
    """
    data, names = result["dataset"], setup.dataset.class_names
    says = about.About(
        class_names=tuple(names),
        image_size=setup.config.image_size,
        align=setup.config.align,
        dataset=data["name"],
        fingerprint=data["fingerprint"],
        synthetic=data["synthetic"],
        version=about.release(),
        notes=notes.notes_of(result),
        scores=notes.scores_of(result),
    )
    saved.save(training.networks.served, folder / "model.keras", names, says)


def shortcut_baselines(setup: Setup, scored: Sequence[str]) -> dict[str, Any]:
    """What linear models of 32 x 32 pixels get on splits; see `baselines.shortcut_baseline`.

    Args:
        setup: Of the run, with train and those splits.
        scored: Names of the splits.
    """
    splits = setup.dataset.splits
    train = splits["train"].take(baselines.fitted_images(splits["train"].labels))
    small = {
        name: setup.squares(images, baselines.SIZE)[..., 0]
        for name, images in {**splits, "train": train}.items()
        if name in ("train", *scored)
    }
    return baselines.shortcut_baseline(
        small["train"], train.labels,
        {n: (small[n], splits[n].labels, splits[n].groups) for n in scored},
        setup.config.classes, setup.opened.cache_dir / linear_model.FOLDER,
    )  # fmt: skip


def draw(
    setup: Setup,
    training: Training,
    table: predictions.Predictions,
    result: dict[str, Any],
    folder: pathlib.Path,
) -> bool:
    """Draws the plots of a run and its heatmaps, and returns whether the machine let it.

    Args:
        setup: Of the run.
        training: Whose networks have the best epoch's weights.
        table: Of `write_tables`.
        result: Of `write_metrics`.
        folder: Of the run.
    """
    with working("drawing plots"):
        arguments = setup, training, table, result, folder
        return machine.attempted("The plots", _PLOTS_LATER, _draw, *arguments)


def _draw(
    setup: Setup,
    training: Training,
    table: predictions.Predictions,
    result: dict[str, Any],
    folder: pathlib.Path,
) -> None:
    of_split = table.of_split(metrics.shown_split(result))
    plots.draw_run(folder, result, _gallery(setup, of_split))
    heatmaps.write(folder / HEATMAPS, _heatmaps(setup, training, of_split))
    if setup.config.align != "none":
        aligned.draw_sheet(setup, folder / ALIGNED)


def plots_of(config: Config) -> tuple[str, ...]:
    """The files that `draw` writes, relative to the folder of the run."""
    return PLOTS if config.align == "none" else (*PLOTS, ALIGNED)


def _heatmaps(
    setup: Setup, training: Training, table: predictions.Predictions
) -> heatmaps.Heatmaps:
    """Where the network saw the class that it called, in some images of a table's split."""
    split, chosen = table.splits[0], heatmaps.select(table)
    rows = np.concatenate(list(chosen.values()))
    images = setup.dataset.splits[split].take(rows)
    squares = setup.squares(images, setup.config.image_size)
    return heatmaps.Heatmaps(
        split=split,
        image_ids=images.image_ids.tolist(),
        kinds=[kind for kind, of_kind in chosen.items() for _ in of_kind],
        squares=squares[..., 0],
        maps=gradcam.heatmaps(training.networks.served, squares, table.predicted[rows]),
    )


def _gallery(setup: Setup, table: predictions.Predictions) -> plots.Gallery:
    """Some images of the split that a table is of."""
    at = plots.gallery_sample(len(table.labels), setup.config.seed)
    shown = setup.dataset.splits[table.splits[0]].take(at)
    squares = setup.squares(shown, setup.config.image_size)[..., 0]
    return squares, table.labels[at], table.probabilities[at]
