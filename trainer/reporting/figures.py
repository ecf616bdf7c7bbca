"""Figures that only pages have, and figures as SVG images of a page."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from trainer.evaluation.calibration import BINS, by_confidence
from trainer.evaluation.drawing import (
    BLUE,
    GREY,
    STYLE,
    any_letters,
    draw_legend,
    line_of_class,
    new_figure,
    operating_point,
    panels_and_legend,
)
from trainer.evaluation.effective import Sums, of_share
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.shares import jeffreys
from trainer.run.text import counted, estimate, short_names

_POINTS = 1000  # of a curve at most: a page has to stay small, whatever its split
# Text stays text, which is smaller and can be searched; the same figure is the same file.
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "covid_tfds",
    "font.size": 12,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
}


def svg(draw: Callable[..., Figure], *args: Any, **named: Any) -> bytes:
    """Draws a figure as SVG without a background; its heading and its footer are the page's.

    Args:
        draw: Makes the figure.
        args: Of `draw`.
        named: Of `draw`.
    """
    file = io.BytesIO()
    with style.context([*STYLE, _SETTINGS]), any_letters():
        figure = draw(*args, **named)
        figure.suptitle("")
        figure.supxlabel("")
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


def draw_intervals(rows: Sequence[tuple[str, Mapping[str, Any]]], label: str) -> Figure:
    """Estimates with their intervals, one below the other.

    Args:
        rows: Names and E of `metrics.score`; the first is drawn as what is measured.
        label: Of the axis.
    """
    figure = new_figure(6.4, 1 + 0.42 * len(rows), "", "", "")
    axes = figure.subplots()
    for place, (_, each) in enumerate(rows):
        colour = BLUE if place == 0 else GREY
        ends = [[each["value"] - each["low"]], [each["high"] - each["value"]]]
        axes.errorbar([each["value"]], [place], xerr=ends, color=colour, markersize=8, capsize=5,
                      fmt="o" if place == 0 else "s")  # fmt: skip
    names = short_names([name for name, _ in rows], 32)
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlabel=label, xlim=(-0.01, 1.01), ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    return figure


def draw_precision_recall(table: Predictions, scores: Mapping[str, Any]) -> Figure:
    """One curve of precision over sensitivity a class, with areas, intervals and rings as in ROC.

    Args:
        table: The rows of one split.
        scores: Of `metrics.score`, for these rows.
    """
    names = table.class_names
    figure = new_figure(6.4, 6.8 + 0.22 * len(names), "", "", "")
    axes, legend = panels_and_legend(figure, 1)
    for c, (name, short) in enumerate(zip(names, short_names(names), strict=True)):
        of_class = scores["classes"][name]
        precision = recall = np.empty(0)  # an area that is undefined still has its line
        if of_class["pr_auc"]["value"] is not None:
            of = precision_recall_curve(table.labels == c, table.probabilities[:, c])
            at = np.linspace(0, len(of[0]) - 1, min(len(of[0]), _POINTS)).round().astype(int)
            precision, recall = of[0][at], of[1][at]
        held = counted(of_class["n"], "image")
        area = estimate(of_class["pr_auc"])
        line = line_of_class(c, len(names))
        axes.step(recall, precision, where="post", label=f"{short} ({held}): AP {area}", **line)
    for c, of_class in enumerate(scores["classes"].values()):
        sensitivity, ppv = (of_class[key]["value"] for key in ("sensitivity", "ppv"))
        if None not in (sensitivity, ppv):
            operating_point(axes, sensitivity, ppv, c)
    axes.set(xlabel="sensitivity (recall)", ylabel="positive predictive value (precision)")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(alpha=0.3)
    draw_legend(legend, axes, columns=1)
    return figure


def draw_reliability(table: Predictions) -> Figure:
    """How often calls of each confidence are right, above how many there are.

    Args:
        table: The rows of one split.
    """
    figure = new_figure(6.4, 6.4, "", "", "")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    share, number, confidence = reliability(table)
    there = number > 0
    middle = (np.arange(BINS) + 0.5) / BINS
    ends = np.abs(np.stack([share.low, share.high]) - share.value)[:, there]
    # At the mean confidence of a bin, not in its middle: most of the last one's images are near 1.
    curve.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="as often right as confident")
    curve.errorbar(
        confidence[there], share.value[there], yerr=ends, color=BLUE, fmt="o", markersize=7,
        capsize=4, label="right calls, with 95 % intervals",
    )  # fmt: skip
    curve.set(ylabel="share of right calls", xlim=(0, 1), ylim=(-0.02, 1.02))
    curve.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False)  # it would hide points
    counts.bar(middle, number, width=0.9 / BINS, color=BLUE)
    counts.set(xlabel="confidence (probability of the class that is called)", ylabel="images")
    for axes in (curve, counts):
        axes.grid(alpha=0.3)
    return figure


def reliability(table: Predictions) -> tuple[Any, np.ndarray, np.ndarray]:
    """The share of right calls by confidence, the number of images, and their mean confidence.

    Args:
        table: The rows of one split.

    Returns:
        `shares.Limits` of float64 [bins], over patient groups; int64 [bins]; and float64 [bins],
        NaN where there is no image.
    """
    confidence, bins = by_confidence(table.probabilities)
    within = bins == np.arange(BINS)[:, None]
    right = np.broadcast_to(table.predicted == table.labels, within.shape)
    groups = np.unique(np.asarray(table.groups), return_inverse=True)[1]
    sums = Sums.of_groups(within, right, groups)
    number = within.sum(axis=1)
    mean = (within @ confidence) / np.where(number, number, np.nan)
    return jeffreys(sums.mean, of_share(sums)), number, mean
