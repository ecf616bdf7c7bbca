"""The plot of how a run's images were aligned: the template, and images before and after."""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from trainer.evaluation import drawing
from trainer.evaluation.poses import Poses
from trainer.run.text import counted, short_names

_PER_CLASS, _LOWEST, _AT_BOUNDS = 2, 4, 3  # images of the sheet; with four classes, four rows
_ACROSS = 4  # tiles of a row
_GAP = 0.04  # between an image before and after, as a share of its side
_EDGE = -0.3  # of the template, where lungs begin


class Choice(NamedTuple):
    """An image of the sheet.

    Attributes:
        at: Its index.
        why: Why it is shown, in words.
        name: Of its class.
    """

    at: int
    why: str
    name: str


def choose(table: Poses, labels: np.ndarray, class_names: Sequence[str], seed: int) -> list[Choice]:
    """The images that the sheet shows: of each class some at random, then the most doubtful.

    Args:
        table: Of n images.
        labels: int64 [n].
        class_names: One a class.
        seed: Of the run.

    Returns:
        Distinct ones: at most two a class, four of the lowest correlation, three at the bounds.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    names = short_names(class_names)
    chosen = [
        Choice(int(at), "at random", name)
        for label, name in enumerate(names)
        for at in order[labels[order] == label][:_PER_CLASS]
    ]
    lowest = np.argsort(table.poses[:, -1], kind="stable")
    at_bounds = order[table.at_bounds[order]]
    for why, doubtful, most in (
        ("lowest correlation", lowest, _LOWEST),
        ("at bounds", at_bounds, _AT_BOUNDS),
    ):
        shown = {choice.at for choice in chosen}
        new = [int(at) for at in doubtful if at not in shown][:most]
        chosen += [Choice(at, why, names[labels[at]]) for at in new]
    return chosen


@style.context(drawing.STYLE)
def sheet(
    template: np.ndarray,
    choices: Sequence[Choice],
    before: np.ndarray,
    after: np.ndarray,
    parts: np.ndarray,
    table: Poses,
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws the template, then each image as it is stored and as it was aligned, side by side.

    A box in an image as it is stored marks the part that the network gets; an outline in that part
    is where the template has its lungs. Poses in doubt are named, in red.

    Args:
        template: float32 [height, width], the part that the network gets of one: dense is
            large, about -1 in the lungs, about 0 around the body.
        choices: Of `choose`, m.
        before: uint8 [m, side, side], 0..255.
        after: uint8 [m, side, side].
        parts: float [m, 4]: left, top, right and bottom of the part, as shares of the image; what
            lies outside 0..1 is mirrored.
        table: Of all images.
        path: Of the PNG.
        title: Names the dataset, for the footer.
    """
    rows = math.ceil((1 + len(choices)) / _ACROSS)
    numbers = table.counts()
    count = (
        f"n = {counted(numbers['images'], 'image')}, {len(choices)} shown, "
        f"{numbers['at_bounds']} at the bounds of the pose, {numbers['weak']} of weak correlation"
    )
    heading = (
        "Alignment: each image as it is stored, and the part in the box as the network gets it"
    )
    figure = drawing.new_figure(2.9 * _ACROSS, 2.0 * rows + 0.9, heading, title, count)
    tiles = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
    for tile in tiles:
        tile.set_axis_off()
        tile.set(xlim=(0, 2 + _GAP), ylim=(1, 0), aspect=1)
    middle = (1 + _GAP) / 2
    _image(tiles[0], template, middle)
    _outline(tiles[0], template, middle)
    tiles[0].set_title("template, with the outline\nthat is drawn on each image", fontsize=9)
    for tile, choice, *pair in zip(tiles[1:], choices, before, after, parts, strict=False):
        _pair(tile, template, *pair)
        doubts = _doubts(table, choice)
        text = f"{choice.why}: {choice.name}\nr = {table.poses[choice.at, -1]:.2f}"
        colour = drawing.VERMILLION if doubts else drawing.BLACK
        tile.set_title(", ".join([text, *doubts]), fontsize=9, color=colour)
    drawing.save(figure, path)


def _doubts(table: Poses, choice: Choice) -> list[str]:
    """What makes a pose doubtful."""
    marks = {"at bounds": table.at_bounds, "weak": table.weak}
    return [mark for mark, doubtful in marks.items() if doubtful[choice.at]]


def _pair(
    tile: Axes, template: np.ndarray, before: np.ndarray, after: np.ndarray, part: np.ndarray
) -> None:
    """An image before, with its box, and after, with the outline."""
    _image(tile, before, 0, vmin=0, vmax=255)
    _image(tile, after, 1 + _GAP, vmin=0, vmax=255)
    left, top, right, bottom = np.clip(part, 0, 1)
    box = Rectangle((left, top), right - left, bottom - top)
    box.set(fill=False, edgecolor=drawing.SKY, linewidth=1.2)
    tile.add_patch(box)
    _outline(tile, template, 1 + _GAP)


def _image(tile: Axes, image: np.ndarray, left: float, **levels: Any) -> None:
    """An image of width and height 1."""
    tile.imshow(image, cmap="gray", extent=(left, left + 1, 1, 0), **levels)
    tile.set(xlim=(0, 2 + _GAP), ylim=(1, 0))  # again: an image sets them to its own


def _outline(tile: Axes, template: np.ndarray, left: float) -> None:
    """The lungs of the template, in an image of width and height 1."""
    y, x = ((np.arange(n) + 0.5) / n for n in template.shape)
    tile.contour(
        left + x, y, template, levels=[_EDGE], colors=drawing.ORANGE, linewidths=0.8,
        linestyles="solid",
    )  # fmt: skip
