"""What a run with aligned images writes and shows of their alignment."""

import pathlib
from typing import Any

import numpy as np

from trainer.evaluation import alignment_plots, drawing, poses
from trainer.evaluation.poses import Poses
from trainer.input_pipeline import alignment, decode
from trainer.input_pipeline.dataset import Images, joined
from trainer.run.text import listed
from trainer.training.setup import Setup


def poses_of(setup: Setup, images: Images) -> Poses:
    """How images were aligned.

    Args:
        setup: Its config aligns images.
        images: Of its dataset.
    """
    rows = setup.poses(images)
    doubts = alignment.at_bounds(rows), alignment.weak(rows)
    return Poses(images.image_ids.tolist(), images.splits.tolist(), rows, *doubts)


def write_poses(setup: Setup, images: Images, folder: pathlib.Path | None) -> dict[str, Any]:
    """Writes alignment.csv, where images are aligned.

    Args:
        setup: Of the run.
        images: Of its dataset.
        folder: Of the run; None writes nothing.

    Returns:
        `alignment`: `template` (which it was) and `Poses.counts`; nothing where none are aligned.
    """
    if setup.config.align == "none":
        return {}
    table = poses_of(setup, images)
    if folder is not None:
        poses.write(folder / "alignment.csv", table)
    return {"alignment": {"template": alignment.FORMULA, **table.counts()}}


def stored_squares(setup: Setup, images: Images) -> np.ndarray:
    """uint8 [n, size, size, 1]: the squares of a few images before they are aligned."""
    kind = decode.Kind(setup.config.image_size)
    squares = np.empty((len(images), kind.size, kind.size, 1), np.uint8)
    for at, made in decode.squares(setup.dataset, images, (kind,)):
        squares[at] = made[kind]
    return squares


def draw_sheet(setup: Setup, path: pathlib.Path) -> None:
    """Draws images of all splits that are read, before and after; see `alignment_plots.sheet`.

    Args:
        setup: Of the run.
        path: Of the PNG.
    """
    images, config = joined(list(setup.dataset.splits.values())), setup.config
    table = poses_of(setup, images)
    choices = alignment_plots.choose(table, images.labels, images.class_names, config.seed)
    few = images.take([choice.at for choice in choices])
    before, after = stored_squares(setup, few), setup.squares(few, config.image_size)
    alignment_plots.sheet(
        alignment.shown(), choices, before[..., 0], after[..., 0],
        alignment.parts(table.poses[[choice.at for choice in choices]]), table, path,
        title=f"{drawing.title_of(setup.origin['dataset'])}, {listed([*setup.dataset.splits])}",
    )  # fmt: skip
