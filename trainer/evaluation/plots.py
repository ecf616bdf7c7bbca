"""Pictures of a run: learning curves, confusion matrix, ROC curves and a gallery of images.

Each function draws one PNG, whole or not at all, with a footer that says what was measured on how
many images and that it is for research use. `title` names the dataset and the model, and says
"synthetic" when the images are phantoms. Colours are those of Okabe and Ito (2008), told apart by
colour-blind eyes; line styles, marks and words repeat what a colour says.
"""

from __future__ import annotations

import itertools
import math
import os
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from trainer.evaluation.metrics import Predictions, score
from trainer.run.files import written_whole

NOTICE = "research use, not for diagnosis"
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK, GREY = "#56B4E9", "#E69F00", "#000000", "#666666"
CLASS_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK)
LINE_STYLES = ("-", "--", "-.", ":")
DOTS_PER_INCH = 120
GALLERY_IMAGES = 16
LONGEST_NAME = 16  # characters of a class name that fit over an image


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


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def curves(history: Sequence[dict], path: str | os.PathLike, *, title: str) -> None:
    """Draws accuracy and loss over the epochs, train beside validation.

    Args:
      history: one row per epoch with epoch (int, rising through both phases), phase ("head" or
        "fine_tune"), loss and val_loss (at least 0), accuracy, val_accuracy and
        val_balanced_accuracy (0..1), and kept (True at the epoch whose weights were kept). A
        number that is None or not finite leaves a gap.
      path: of the PNG.
      title: names dataset and model, for the footer.

    Raises:
      ValueError: no row, or epochs that do not rise.
    """
    epochs = [row["epoch"] for row in history]
    if not epochs or any(b <= a for a, b in itertools.pairwise(epochs)):
        raise ValueError(
            f"The history's epochs are {epochs[:8]}. Pass at least one row, and number the "
            "epochs of the head and of fine-tuning in one rising sequence."
        )
    count = f"{len(epochs)} epoch{'s' * (len(epochs) > 1)}"
    figure = new_figure(10, 4.8, "Learning curves", title, count)
    accuracy, loss, legend = panels_and_legend(figure, 2)
    _curve(accuracy, history, "accuracy", "train", BLUE, "-")
    _curve(accuracy, history, "val_accuracy", "validation", VERMILLION, "--")
    _curve(accuracy, history, "val_balanced_accuracy", "validation, balanced", GREEN, ":")
    _curve(loss, history, "loss", "train", BLUE, "-")
    _curve(loss, history, "val_loss", "validation", VERMILLION, "--")
    accuracy.set(ylabel="accuracy", ylim=(0, 1.05))
    losses = [row[key] for row in history for key in ("loss", "val_loss")]
    highest = max((x for x in losses if x is not None and math.isfinite(x)), default=0) or 1
    loss.set(ylabel="loss (cross-entropy, nats)", ylim=(0, 1.1 * highest))
    # Epochs are kept by balanced accuracy, so that is the curve the ring belongs on.
    for axes, key in ((accuracy, "val_balanced_accuracy"), (loss, "val_loss")):
        _mark_epochs(axes, history, key)
    draw_legend(legend, accuracy, columns=5)
    save(figure, path)


def _curve(
    axes: Axes, history: Sequence[dict], key: str, label: str, colour: str, style: str
) -> None:
    """Draws one number of the history; single epochs would be invisible without their dots."""
    values = [math.nan if row[key] is None else row[key] for row in history]
    dots = "o" if len(history) <= 20 else ""
    epochs = [row["epoch"] for row in history]
    axes.plot(epochs, values, style, marker=dots, markersize=4, color=colour, label=label)


def _mark_epochs(axes: Axes, history: Sequence[dict], key: str) -> None:
    """Marks the kept epoch on the curve `key`, and where fine-tuning starts."""
    for row in history:
        if row["kept"] and row[key] is not None:
            ring = {"marker": "o", "markersize": 13, "markeredgewidth": 2, "fillstyle": "none"}
            axes.plot(row["epoch"], row[key], ls="", color=BLACK, label="kept epoch", **ring)
    phases = [row["phase"] for row in history]
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
      class_names: one per row.
      path: of the PNG.
      title: names dataset and model, for the footer.

    Raises:
      ValueError: the matrix does not fit the names.
    """
    save(_draw_confusion(confusion, class_names, title), path)


def confusion_figure(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], *, title: str
) -> np.ndarray:
    """The picture of `confusion_matrix` as uint8 [height, width, 3] RGB, for TensorBoard.

    Raises:
      ValueError: the matrix does not fit the names.
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
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size = 3.2 + 0.85 * classes
    figure = new_figure(size + 0.8, size, "Confusion matrix", title, f"n = {counts.sum()} images")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(name) for name in class_names]
    rows = [f"{name}\nn = {n}" for name, n in zip(names, totals[:, 0], strict=True)]
    axes.set_xticks(range(classes), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(classes), rows)
    axes.set(xlabel="predicted class (images, share of the row)", ylabel="true class")
    for (row, column), count in np.ndenumerate(counts):
        share = f"\n{shares[row, column]:.0%}" if totals[row, 0] else ""
        colour = "white" if shares[row, column] > 0.6 else BLACK
        axes.text(column, row, f"{count}{share}", ha="center", va="center", color=colour)
    return figure


def roc(
    predictions: Predictions, class_names: Sequence[str], path: str | os.PathLike, *, title: str
) -> None:
    """Draws one ROC curve per class against the rest, with areas and intervals of `score`.

    Args:
      predictions: the split.
      class_names: one per column of the probabilities.
      path: of the PNG.
      title: names dataset, split and model, for the footer.

    Raises:
      ValueError: the names do not fit the classes.
    """
    scores = score(predictions, class_names)
    n, patients = scores["n"], scores["patients"]
    count = f"n = {n} images of {patients} patients"
    height = 6.8 + 0.22 * len(class_names)
    figure = new_figure(6.4, height, "ROC curves, each class against the rest", title, count)
    axes, legend = panels_and_legend(figure, 1)
    for c, name in enumerate(class_names):
        area = scores["classes"][name]["roc_auc"]
        label = f"{_short(name)} ({scores['classes'][name]['n']} images): {_area(area)}"
        points = ([], [])  # an area that is undefined still gets its line in the legend
        if area["value"] is not None:
            positive = predictions.labels == c
            points = roc_curve(positive, predictions.probabilities[:, c])[:2]
        # Thinner and thinner, so that curves that coincide all show.
        width = 4 - 2 * c / len(class_names)
        style = {"linestyle": LINE_STYLES[c % 4], "color": CLASS_COLOURS[c % 7], "linewidth": width}
        axes.plot(*points, label=label, clip_on=False, **style)
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=1, label="chance: AUC 0.5")
    axes.set(xlabel="1 - specificity (false-positive rate)", ylabel="sensitivity")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.3)
    draw_legend(legend, axes, columns=1)
    save(figure, path)


def _area(area: dict) -> str:
    if area["value"] is None:
        return "AUC undefined"
    return f"AUC {area['value']:.3f}, 95 % interval {area['low']:.3f} to {area['high']:.3f}"


def gallery(
    images: Sequence[np.ndarray],
    labels: Sequence[int],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws up to 16 images, each with the predicted class, its probability and the truth.

    Args:
      images: uint8 [height, width] each, 0..255, sizes may differ; the first 16 are drawn.
      labels: int, the true class of each image.
      probabilities: float [images, classes], 0..1.
      class_names: one per class.
      path: of the PNG.
      title: names dataset, split and model, for the footer.

    Raises:
      ValueError: no image, lengths that differ, or an image that is not uint8 [height, width].
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
    count = f"n = {len(images)}, {shown} shown"
    figure = new_figure(width, height, "Images and predictions", title, count)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[shown:]:
        axes.set_axis_off()
    for axes, image, label, row in zip(panels[:shown], images, labels, probabilities, strict=False):
        called = int(np.argmax(row))
        _draw_image(axes, image, class_names[label], class_names[called], float(row[called]))
    save(figure, path)


def _draw_image(axes: Axes, image: np.ndarray, truth: str, called: str, probability: float) -> None:
    """Draws an image; a wrong call has a cross, the truth and a dashed frame, not only a colour."""
    wrong = called != truth
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])
    verdict = f"✗ truth: {_short(truth)}" if wrong else "✓ right"
    colour = VERMILLION if wrong else BLACK
    axes.set_title(f"{_short(called)} {probability:.2f}\n{verdict}", fontsize=9, color=colour)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3 if wrong else 0.8, linestyle="--" if wrong else "-")
