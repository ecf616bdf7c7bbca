"""The plot of how a run's images were aligned: the template, and images before and after."""

import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes

from trainer.evaluation import plots
from trainer.evaluation.poses import Poses
from trainer.run.text import counted, short_names

_PER_CLASS, _LOWEST, _AT_BOUNDS = 2, 4, 3  # images of the sheet; with four classes, four rows
_ACROSS = 4  # tiles of a row
_GAP = 0.04  # between an image before and after, as a share of its side


class Choice(NamedTuple):
    """An image of the sheet.

    Attributes:
        at: Its index.
        why: Why it is shown, in words.
    """

    at: int
    why: str


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
    chosen = [
        Choice(int(at), name)
        for label, name in enumerate(short_names(class_names))
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
        chosen += [Choice(at, why) for at in new]
    return chosen


@style.context("default")
def sheet(
    template: np.ndarray,
    choices: Sequence[Choice],
    before: np.ndarray,
    after: np.ndarray,
    table: Poses,
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws the template, then each image as it is stored and as it was aligned, side by side.

    Args:
        template: float32 [height, width].
        choices: Of `choose`, m.
        before: uint8 [m, side, side], 0..255.
        after: uint8 [m, side, side].
        table: Of all images.
        path: Of the PNG.
        title: Names the dataset and the splits, for the footer.
    """
    rows = math.ceil((1 + len(choices)) / _ACROSS)
    numbers = table.counts()
    count = (
        f"n = {counted(numbers['images'], 'image')}, {len(choices)} shown, "
        f"{numbers['at_bounds']} at the bounds of the pose, {numbers['weak']} of weak correlation"
    )
    heading = "Alignment: each image as it is stored, and as the network gets it"
    figure = plots.new_figure(2.9 * _ACROSS, 1.85 * rows + 0.9, heading, title, count)
    tiles = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
    for tile in tiles:
        tile.set_axis_off()
    _draw(tiles[0], template, "template")
    gap = np.full((len(before), before.shape[1], max(1, round(_GAP * before.shape[2]))), 255)
    pairs = np.concatenate([before, gap.astype(np.uint8), after], axis=2)
    for tile, choice, pair in zip(tiles[1:], choices, pairs, strict=False):
        text = f"{choice.why}, r = {table.poses[choice.at, -1]:.2f}"
        _draw(tile, pair, text, vmin=0, vmax=255)
    plots.save(figure, path)


def _draw(tile: Axes, image: np.ndarray, text: str, **levels: float) -> None:
    tile.imshow(image, cmap="gray", **levels)
    tile.set_title(text, fontsize=9)
