"""The picture of an explanation: the image, what the network gets of it, and both maps."""

import os
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from trainer.evaluation import drawing
from trainer.evaluation.heatmaps import enlarged, overlay
from trainer.inference.explanations import Explanation
from trainer.input_pipeline import resize
from trainer.run.text import number, short_names, shortened

_FOR_AND_AGAINST = "PuOr_r"  # violet against, orange for: colour-blind readers distinguish them
_LEAST_SCALE = 0.5  # nats; maps of less are pale, since they are nothing much
_OPACITY = 0.7
_LONG, _LINE = 60, 100  # letters of a name, and of a line of the heading


@style.context(drawing.STYLE)
def panels(explanation: Explanation, notes: Sequence[str], path: str | os.PathLike) -> None:
    """Draws the image as it is stored, its square, the Grad-CAM map and the occlusion map.

    Args:
        explanation: Of the image.
        notes: Sentences that go with every answer of the network.
        path: Of the PNG, which appears whole.
    """
    each = explanation
    names = short_names(each.class_names)
    shares = zip(names, each.probabilities, strict=True)
    answer = ", ".join(f"{name} {share:.3f}" for name, share in shares)
    folder, name = os.path.split(each.name)
    inside = os.path.join(os.path.basename(folder), name)  # which tells equal names apart
    name = inside if len(inside) <= _LONG else shortened(name, _LONG)
    heading = f"{name}\n{textwrap.fill(answer, _LINE)}"
    footer = f"maps of the class {names[each.label]}"
    if each.lungs is not None and np.isfinite(each.lungs.share):
        footer += (
            f", {number(each.lungs.share, decimals=2)} of the Grad-CAM map inside the lungs, "
            f"which are {number(each.lungs.area, decimals=2)} of the square"
        )
    figure = drawing.new_figure(12, 4.4, heading, " ".join(notes), footer)
    stored, square, gradcam, occlusion = figure.subplots(1, 4)
    _as_stored(stored, each.pixels, each.frame)
    square.imshow(each.square, cmap="gray", vmin=0, vmax=255)
    square.set_title("what the network gets", fontsize=9)
    gradcam.imshow(overlay(each.square, each.gradcam))
    nothing = "" if each.gradcam.any() else "\nnothing speaks for the class"
    gradcam.set_title(f"Grad-CAM{nothing}", fontsize=9)
    _occluded(occlusion, each.square, each.occlusion)
    for axes in (stored, square, gradcam, occlusion):
        axes.set_xticks([])
        axes.set_yticks([])
    drawing.save(figure, path)


def _as_stored(axes: Axes, pixels: np.ndarray, frame: resize.Frame) -> None:
    """The image, and a box around the part that the network gets, where it is no whole one."""
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axes.set_title("the image as it is stored", fontsize=9)
    if frame == resize.WHOLE:
        return
    height, width = pixels.shape
    scales = np.array(frame[:2]) / resize.SCALE_STEPS
    middle = 0.5 + np.array(frame[2:]) / resize.SHIFT_STEPS
    ends = np.clip([middle - scales / 2, middle + scales / 2], 0, 1) * (width, height)
    box = Rectangle(ends[0] - 0.5, *(ends[1] - ends[0]), fill=False)
    box.set(edgecolor=drawing.SKY, linewidth=1.5)
    axes.add_patch(box)
    axes.set_title("the image as it is stored\n(boxed: what the network gets)", fontsize=9)


def _occluded(axes: Axes, square: np.ndarray, fallen: np.ndarray) -> None:
    """The square with orange patches that spoke for the class, and violet ones against it."""
    axes.imshow(square, cmap="gray", vmin=0, vmax=255)
    scale = max(float(np.abs(fallen).max()), _LEAST_SCALE)
    signed = enlarged(fallen, len(square)) / scale
    opacity = _OPACITY * np.minimum(np.abs(signed), 1)
    drawn = axes.imshow(
        signed * scale, cmap=_FOR_AND_AGAINST, alpha=opacity, vmin=-scale, vmax=scale
    )
    axes.set_title("occlusion: patches covered", fontsize=9)
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.7)
    assert bar.solids is not None  # drawn by `colorbar`
    bar.solids.set(alpha=1)
    bar.set_label("fall of the log-odds", fontsize=8)
    bar.ax.tick_params(labelsize=7)
