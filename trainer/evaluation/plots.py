"""Plots of a run: learning curves, confusion matrix, ROC curves and a gallery of images.

Each function writes one PNG, whole or not at all, with a footer that names what was measured on how
many images, and that it is for research use; `draw_...` has the figure of it. `title` names the
dataset, and has the word "synthetic" where the images are phantoms.
"""

import itertools
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, roc_curve

from trainer.evaluation import history as history_lib
from trainer.evaluation.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    STYLE,
    VERMILLION,
    any_letters,
    draw_legend,
    line_of_class,
    new_figure,
    operating_point,
    panels_and_legend,
    save,
    title_of,
)
from trainer.evaluation.metrics import shown_split
from trainer.evaluation.predictions import Predictions, read
from trainer.run.text import counted, estimate, percent, short_names

GALLERY_IMAGES = 16

Gallery = tuple[np.ndarray, np.ndarray, np.ndarray]


def gallery_sample(n: int, seed: int) -> np.ndarray:
    """The images that a run's gallery shows, drawn at random.

    Args:
        n: The number of images of the split, at least 1.
        seed: Of the run.

    Returns:
        int64 [at most 16], distinct, 0..n-1.
    """
    return np.random.default_rng(seed).permutation(n)[:GALLERY_IMAGES]


@style.context(STYLE)
def draw_run(run_dir: pathlib.Path, metrics: Mapping[str, Any], images: Gallery | None) -> None:
    """Draws all plots of a run into its folder plots/.

    Args:
        run_dir: Holds history.csv and predictions.csv.
        metrics: Of `metrics.run_metrics`.
        images: Images of `metrics.shown_split` for the gallery, of `gallery_sample`: uint8 [m,
            height, width], 0..255, labels int [m], probabilities float [m, classes]; None for no
            gallery.
    """
    folder = run_dir / "plots"
    folder.mkdir(exist_ok=True)
    data, shown = metrics["dataset"], shown_split(metrics)
    scores = metrics["splits"][shown]
    title = title_of(data)
    table = read(run_dir / "predictions.csv").of_split(shown)
    names = table.class_names
    history = history_lib.read(run_dir / "history.csv")
    curves(history, folder / "curves.png", title=title, baseline=validation_baseline(metrics))
    of_split = f"{title}, {shown}"
    confusion_matrix(scores["confusion"], names, folder / "confusion.png", title=of_split)
    roc(table, scores, folder / "roc.png", title=of_split)
    if images is not None:
        gallery(*images, names, folder / "gallery.png", total=scores["n"],
                title=f"{of_split}, images drawn at random")  # fmt: skip


def validation_baseline(metrics: Mapping[str, Any]) -> float:
    """The higher one of the two shortcut baselines of validation, a balanced accuracy.

    Args:
        metrics: Of `metrics.run_metrics`.
    """
    of = metrics["splits"]["validation"]["shortcut_baseline"].values()
    return max(each["balanced_accuracy"]["value"] for each in of)


def curves(
    history: Sequence[dict],
    path: str | os.PathLike,
    *,
    title: str,
    baseline: float | None = None,
) -> None:
    """Draws accuracy and loss over the epochs, train beside validation, as a PNG.

    Args:
        history: As for `draw_curves`.
        path: Of the PNG.
        title: Names the dataset, for the footer.
        baseline: As for `draw_curves`.

    Raises:
        ValueError: No row, or epochs that do not rise.
    """
    save(draw_curves(history, title, baseline), path)


def draw_curves(history: Sequence[dict], title: str, baseline: float | None = None) -> Figure:
    """The figure of `curves`.

    Args:
        history: One row per epoch with epoch (int, rising through both phases), phase ("head" or
            "fine_tune"), loss and val_loss (at least 0), accuracy, val_accuracy and
            val_balanced_accuracy (0..1), and best (True at the epoch whose weights the run ended
            with). A number that is missing or not finite leaves a gap.
        title: Names the dataset, for the footer.
        baseline: Balanced accuracy of the shortcut baseline on validation, for a line.

    Raises:
        ValueError: No row, or epochs that do not rise.
    """
    epochs = [row["epoch"] for row in history]
    if not epochs or any(b <= a for a, b in itertools.pairwise(epochs)):
        raise ValueError(
            f"The history's epochs are {epochs[:8]}. Pass at least one row, and number the "
            "epochs of the head and of fine-tuning in one rising sequence."
        )
    figure = new_figure(10, 4.8, "Learning curves", title, counted(len(epochs), "epoch"))
    accuracy, loss, legend = panels_and_legend(figure, 2)
    _curve(accuracy, history, "accuracy", "train", BLUE, "-")
    _curve(accuracy, history, "val_accuracy", "validation", VERMILLION, "--")
    _curve(accuracy, history, "val_balanced_accuracy", "validation, balanced", GREEN, ":")
    _curve(loss, history, "loss", "train", BLUE, "-")
    _curve(loss, history, "val_loss", "validation", VERMILLION, "--")
    accuracy.set(ylabel="accuracy", ylim=(0, 1.05))
    losses = [_number(row, key) for row in history for key in ("loss", "val_loss")]
    highest = max(filter(math.isfinite, losses), default=0) or 1
    loss.set(ylabel="loss (cross-entropy, nats)", ylim=(0, 1.1 * highest))
    # The best epoch has the highest balanced accuracy, so that is the curve the ring belongs on.
    for axes, key in ((accuracy, "val_balanced_accuracy"), (loss, "val_loss")):
        _mark_epochs(axes, history, key)
    if baseline is not None:
        accuracy.axhline(baseline, label="shortcut baseline, balanced", color=BLACK, linewidth=1,
                         linestyle=(0, (6, 3)))  # fmt: skip
    draw_legend(legend, accuracy, columns=3 if baseline is not None else 5)
    return figure


def _curve(
    axes: Axes, history: Sequence[dict], key: str, label: str, colour: str, style: str
) -> None:
    """Draws one number of the history; single epochs would be invisible without their dots."""
    values = [_number(row, key) for row in history]
    dots = "o" if len(history) <= 20 else ""
    epochs = [row["epoch"] for row in history]
    axes.plot(epochs, values, style, marker=dots, markersize=4, color=colour, label=label)


def _number(row: dict, key: str) -> float:
    """A number of the history; NaN, which leaves a gap, where it is missing."""
    value = row.get(key)
    return math.nan if value is None else value


def _mark_epochs(axes: Axes, history: Sequence[dict], key: str) -> None:
    """Marks the best epoch on the curve `key`, and where fine-tuning starts."""
    for row in history:
        if row.get("best") and row.get(key) is not None:
            axes.plot(row["epoch"], row[key], ls="", color=BLACK, label="best epoch", marker="o",
                      markersize=13, markeredgewidth=2, fillstyle="none",
                      clip_on=False)  # fmt: skip
    phases = [row.get("phase") for row in history]
    if "fine_tune" in phases:
        first = history[phases.index("fine_tune")]["epoch"]
        axes.axvline(first - 0.5, color=GREY, linewidth=1, label="fine-tuning starts")
    axes.set_xlabel("epoch")
    axes.set_xlim(history[0]["epoch"] - 0.6, history[-1]["epoch"] + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)


def confusion_matrix(
    confusion: Sequence[Sequence[int]],
    class_names: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws counts and shares of each true class (rows) by predicted class (columns).

    Args:
        confusion: int [classes, classes], rows are the truth.
        class_names: One per row.
        path: Of the PNG.
        title: Names the dataset, for the footer.

    Raises:
        ValueError: The matrix does not fit the names.
    """
    save(draw_confusion(confusion, class_names, title), path)


@style.context(STYLE)
def confusion_figure(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], *, title: str
) -> np.ndarray:
    """The picture of `confusion_matrix` as uint8 [height, width, 3] RGB, for TensorBoard.

    Raises:
        ValueError: The matrix does not fit the names.
    """
    canvas = FigureCanvasAgg(draw_confusion(confusion, class_names, title))
    with any_letters():
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def draw_confusion(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str
) -> Figure:
    """The figure of `confusion_matrix`."""
    counts = np.asarray(confusion)
    classes = len(class_names)
    if counts.shape != (classes, classes):
        raise ValueError(
            f"The confusion matrix has shape {counts.shape}, the class names are "
            f"{list(class_names)}. Pass one row and one column per name."
        )
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    size = 3.2 + 0.85 * classes
    count = f"n = {counted(counts.sum(), 'image')}"
    figure = new_figure(size + 0.8, size, "Confusion matrix", title, count)
    axes = figure.subplots()
    names = short_names(class_names)
    display = ConfusionMatrixDisplay(shares, display_labels=names)
    display.plot(ax=axes, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1})
    # The display writes the shares alone, in colours that fit the matrix' own range of them.
    for cell, text in np.ndenumerate(display.text_):
        share = f"\n{percent(shares[cell])}" if totals[cell[0]] else ""
        text.set(text=f"{counts[cell]}{share}", color="white" if shares[cell] > 0.6 else BLACK)
    axes.set_xticks(range(classes), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticklabels([f"{name}\nn = {n}" for name, n in zip(names, totals, strict=True)])
    axes.set(xlabel="predicted class (images, share of the row)", ylabel="true class")
    return figure


def roc(
    predictions: Predictions,
    scores: Mapping[str, Any],
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws one ROC curve per class against the rest, with areas and intervals.

    A ring is where the most probable class is called: each class' sensitivity and specificity.

    Args:
        predictions: The rows of one split.
        scores: Of `metrics.score`, for these predictions.
        path: Of the PNG.
        title: Names the dataset and the split, for the footer.
    """
    save(draw_roc(predictions, scores, title), path)


def draw_roc(predictions: Predictions, scores: Mapping[str, Any], title: str) -> Figure:
    """The figure of `roc`."""
    names = predictions.class_names
    count = f"n = {counted(scores['n'], 'image')} of {counted(scores['groups'], 'patient group')}"
    height = 6.8 + 0.22 * len(names)
    figure = new_figure(
        6.4, height, "ROC curves, each class against the rest [95 % interval]", title, count
    )
    axes, legend = panels_and_legend(figure, 1)
    shown = short_names(names)
    for c, name in enumerate(names):
        area = scores["classes"][name]["roc_auc"]
        held = counted(scores["classes"][name]["n"], "image")
        points = np.empty((2, 0))  # an area that is undefined still gets its line in the legend
        if area["value"] is not None:
            points = roc_curve(predictions.labels == c, predictions.probabilities[:, c])[:2]
        RocCurveDisplay(fpr=points[0], tpr=points[1]).plot(
            ax=axes,
            name=f"{shown[c]} ({held}): {_area(area)}",
            curve_kwargs=line_of_class(c, len(names)),
            plot_chance_level=c == len(names) - 1,
            chance_level_kw={"color": GREY, "linestyle": "-", "linewidth": 1,
                             "label": "chance: AUC 0.5"},
        )  # fmt: skip
    for c, of_class in enumerate(scores["classes"].values()):
        specificity, sensitivity = (of_class[k]["value"] for k in ("specificity", "sensitivity"))
        if None not in (specificity, sensitivity):
            operating_point(axes, 1 - specificity, sensitivity, c)
    of_sklearn = axes.get_legend()
    assert of_sklearn is not None  # drawn with the curves
    of_sklearn.remove()  # it would hide them
    axes.set(xlabel="1 - specificity (false-positive rate)", ylabel="sensitivity")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.3)
    draw_legend(legend, axes, columns=1)
    return figure


def _area(area: Mapping[str, Any]) -> str:
    return "AUC undefined" if area["value"] is None else f"AUC {estimate(area)}"


def gallery(
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str,
    total: int | None = None,
) -> None:
    """Draws up to 16 images, each with the predicted class, its probability and the truth.

    Args:
        images: uint8 [height, width] each, 0..255, sizes may differ; the first 16 are drawn.
        labels: int, the true class of each image.
        probabilities: float [images, classes], 0..1.
        class_names: One per class.
        path: Of the PNG.
        title: Names the dataset and the split, for the footer.
        total: Number of images of the split, where `images` are a sample of it.

    Raises:
        ValueError: No image, lengths that differ, or an image that is not uint8 [height, width].
    """
    if not len(images) == len(labels) == len(probabilities) > 0:
        raise ValueError(
            f"{len(images)} images, {len(labels)} labels, {len(probabilities)} rows of "
            "probabilities. Pass one of each per image, and at least one image."
        )
    bad = [(f.dtype, f.shape) for f in images if f.ndim != 2 or f.dtype != np.uint8]
    if bad:
        raise ValueError(
            f"An image is {bad[0]}, expected uint8 [height, width]. Drop the last axis."
        )
    shown = min(len(images), GALLERY_IMAGES)
    columns = min(4, shown)
    rows = math.ceil(shown / columns)
    width, height = max(5.5, 2.3 * columns), 2.7 * rows + 0.8
    count = f"n = {total or len(images)}, {shown} shown"
    figure = new_figure(width, height, "Images and predictions", title, count)
    names = short_names(class_names)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[shown:]:
        axes.set_axis_off()
    for axes, image, label, row in zip(panels[:shown], images, labels, probabilities, strict=False):
        called = int(np.argmax(row))
        _draw_image(axes, image, names[label], names[called], float(row[called]))
    save(figure, path)


def _draw_image(axes: Axes, image: np.ndarray, truth: str, called: str, probability: float) -> None:
    """Draws an image; a wrong call has a cross, the truth and a dashed frame, not only a colour."""
    wrong = called != truth
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])
    comment = f"✗ truth: {truth}" if wrong else "✓ right"
    colour = VERMILLION if wrong else BLACK
    axes.set_title(f"{called} {probability:.2f}\n{comment}", fontsize=9, color=colour)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3 if wrong else 0.8, linestyle="--" if wrong else "-")
