"""Plots of a run: learning curves, confusion matrix, ROC curves and a gallery of images.

Each function draws one PNG, whole or not at all, with a footer that names what was measured on how
many images, and that it is for research use. `title` names the dataset, and has the word
"synthetic" where the images are phantoms. Colours are those of Okabe and Ito (2008), which
colour-blind readers can distinguish; line styles, marks and words repeat what a colour shows.
"""

import itertools
import math
import os
import pathlib
import textwrap
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
from trainer.evaluation.metrics import shown_split
from trainer.evaluation.predictions import Predictions, read
from trainer.run.files import written_whole
from trainer.run.text import counted, estimate, short_names

NOTICE = "research use, not for diagnosis"
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK, GREY = "#56B4E9", "#E69F00", "#000000", "#666666"
CLASS_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK)
LINE_STYLES = ("-", "--", "-.", ":")
DOTS_PER_INCH = 120
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


@style.context("default")  # the user's settings are for other plots, and may need LaTeX
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
    curves(history_lib.read(run_dir / "history.csv"), folder / "curves.png", title=title)
    of_split = f"{title}, {shown}"
    confusion_matrix(scores["confusion"], names, folder / "confusion.png", title=of_split)
    roc(table, scores, folder / "roc.png", title=of_split)
    if images is not None:
        gallery(*images, names, folder / "gallery.png", total=scores["n"],
                title=f"{of_split}, images drawn at random")  # fmt: skip


def title_of(dataset: Mapping[str, Any]) -> str:
    """The name of a dataset in a footer; `dataset` has its `name` and whether it is `synthetic`."""
    return dataset["name"] + (" (synthetic images)" if dataset["synthetic"] else "")


def new_figure(width: float, height: float, heading: str, title: str, count: str) -> Figure:
    """A figure of width x height inches: heading above, below title, count and notice."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    FigureCanvasAgg(figure)
    figure.suptitle(heading, fontsize=12, fontweight="bold")
    # The constrained layout keeps room for a supxlabel, so the footer never meets the axes.
    letters = int(width * 13)  # that fit on a line at 8 points
    footer = f"{textwrap.fill(title, letters)}\n{count} · {NOTICE}"
    figure.supxlabel(footer, fontsize=8, color=GREY)
    return figure


def panels_and_legend(figure: Figure, number: int, across: int | None = None) -> list[Axes]:
    """Axes in rows of `across` (by default all in one), then a blank one below for the legend."""
    across = across or number
    cells = [str(i) for i in range(number)] + ["."] * (-number % across)
    rows = [cells[start : start + across] for start in range(0, len(cells), across)]
    ratios = [1] * len(rows) + [0.05]
    axes = figure.subplot_mosaic([*rows, ["legend"] * across], height_ratios=ratios)
    axes["legend"].set_axis_off()
    return list(axes.values())


def draw_legend(blank: Axes, axes: Axes, columns: int) -> None:
    """Draws the legend of `axes`, each label once, in the `blank` ones, where it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    blank.legend(once.values(), once.keys(), loc="center", ncols=columns, frameon=False)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes the figure as a PNG that appears whole."""
    with written_whole(path) as beside:
        figure.savefig(beside, format="png")


def curves(history: Sequence[dict], path: str | os.PathLike, *, title: str) -> None:
    """Draws accuracy and loss over the epochs, train beside validation.

    Args:
        history: One row per epoch with epoch (int, rising through both phases), phase ("head" or
            "fine_tune"), loss and val_loss (at least 0), accuracy, val_accuracy and
            val_balanced_accuracy (0..1), and best (True at the epoch whose weights the run ended
            with). A number that is missing or not finite leaves a gap.
        path: Of the PNG.
        title: Names the dataset, for the footer.

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
    draw_legend(legend, accuracy, columns=5)
    save(figure, path)


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
            ring = {"marker": "o", "markersize": 13, "markeredgewidth": 2, "fillstyle": "none"}
            axes.plot(row["epoch"], row[key], ls="", color=BLACK, label="best epoch", **ring)
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
    save(_draw_confusion(confusion, class_names, title), path)


@style.context("default")
def confusion_figure(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], *, title: str
) -> np.ndarray:
    """The picture of `confusion_matrix` as uint8 [height, width, 3] RGB, for TensorBoard.

    Raises:
        ValueError: The matrix does not fit the names.
    """
    canvas = FigureCanvasAgg(_draw_confusion(confusion, class_names, title))
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _draw_confusion(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str
) -> Figure:
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
        share = f"\n{shares[cell]:.0%}" if totals[cell[0]] else ""
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

    Args:
        predictions: The rows of one split.
        scores: Of `metrics.score`, for these predictions.
        path: Of the PNG.
        title: Names the dataset and the split, for the footer.
    """
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
        # Thinner and thinner, so that curves that coincide all show.
        width = 4 - 2 * c / len(names)
        style = {"linestyle": LINE_STYLES[c % 4], "color": CLASS_COLOURS[c % 7], "linewidth": width}
        RocCurveDisplay(fpr=points[0], tpr=points[1]).plot(
            ax=axes,
            name=f"{shown[c]} ({held}): {_area(area)}",
            curve_kwargs={**style, "clip_on": False},
            plot_chance_level=c == len(names) - 1,
            chance_level_kw={"color": GREY, "linestyle": "-", "linewidth": 1,
                             "label": "chance: AUC 0.5"},
        )  # fmt: skip
    axes.get_legend().remove()  # it would hide curves
    axes.set(xlabel="1 - specificity (false-positive rate)", ylabel="sensitivity")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.3)
    draw_legend(legend, axes, columns=1)
    save(figure, path)


def _area(area: Mapping[str, Any]) -> str:
    return "AUC undefined" if area["value"] is None else f"AUC {estimate(area)}"


def gallery(
    images: Sequence[np.ndarray],
    labels: Sequence[int],
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
