"""Draws overview.png: `python docs/make_overview.py RUN`, the folder of a run on synthetic images.

Every pixel comes from the code that it explains, and no image is of a patient.
"""

import pathlib
import sys

import keras
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from covid_tfds import phantom
from trainer.augmentation.layer import augmentation
from trainer.augmentation.random import uniform_draws
from trainer.input_pipeline.alignment import Aligner
from trainer.model import vgg16
from trainer.model.saved import class_names_of

_SIDE = 150  # pixels of the square
_PATIENTS = (138, 109, 101)  # of phantom's population 7; the first one lies on top
_INK, _ACCENT, _PALE = "#1f2933", "#0b6e99", "#c8d6df"
_LEFT = (0.012, 0.222, 0.415, 0.612, 0.850)  # of the five panels, as shares of the width
_STEPS = (
    ("image", "PNG, JPEG, TIFF, DICOM\n(here synthetic)"),
    ("aligned square", "150 x 150 pixels\ncached"),
    ("augmented view", "8 of each image,\nby default none"),
    ("VGG16 activations", "of the frozen blocks\ncached"),
    ("probabilities", "of each class"),
)


def _cards(figure: plt.Figure, left: float, images: list[np.ndarray]) -> None:
    """A pile of images, the first one in front."""
    for depth in reversed(range(len(images))):
        axes = figure.add_axes((left + 0.009 * depth, 0.29 + 0.028 * depth, 0.155, 0.465))
        axes.imshow(images[depth], cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color="white", linewidth=2.5)


def _montage(channels: np.ndarray, columns: int) -> np.ndarray:
    """The strongest channels of [height, width, channels] as tiles with a gap between them."""
    strongest = np.argsort(-channels.max(axis=(0, 1)))[: columns * columns]
    tiles = [
        np.pad(channels[..., i] / channels[..., i].max(), (0, 1), constant_values=np.nan)
        for i in strongest
    ]
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)[:-1, :-1]


def _bars(axes: Axes, names: tuple[str, ...], probabilities: np.ndarray) -> None:
    """A bar a class, its name above it."""
    at = np.arange(len(names))[::-1]
    axes.barh(at, 1.0, height=0.34, color=_PALE)
    axes.barh(at, probabilities, height=0.34, color=_ACCENT)
    for y, name, share in zip(at, names, probabilities, strict=True):
        axes.text(0, y + 0.27, name, fontsize=18, color=_INK)
        axes.text(1, y + 0.27, f"{share:.2f}", fontsize=18, color=_INK, ha="right")
    axes.set(xlim=(0, 1), ylim=(-0.3, len(names) - 0.3))
    axes.axis("off")


def _span(figure: plt.Figure, left: float, right: float, text: str) -> None:
    """A line under some panels with what happens along it."""
    line = plt.Line2D((left, right), (0.105, 0.105), color=_ACCENT, linewidth=4)
    figure.add_artist(line)
    figure.text((left + right) / 2, 0.03, text, fontsize=19, color=_ACCENT, ha="center")


def main(run: str) -> None:
    """Computes each step with the run's network, and draws it."""
    model = keras.saving.load_model(pathlib.Path(run) / "model.keras")
    frozen = vgg16.part(model, vgg16.SQUARE, "block5_pool")
    head = vgg16.part(model, "block5_pool", "probabilities")
    images = [phantom.draw(7, number, 0, size=320) for number in _PATIENTS]
    align = Aligner([_SIDE])
    squares = [align(image)[0][_SIDE] for image in images]
    draws = [uniform_draws(["overview"], view, seed=3) for view in range(3)]
    layer = augmentation("radiograph")
    views = [np.asarray(layer(squares[0][None, ..., None], each))[0, ..., 0] for each in draws]
    activations = keras.ops.convert_to_numpy(frozen(views[0][None, ..., None]))
    probabilities = keras.ops.convert_to_numpy(head(activations))[0]

    figure = plt.figure(figsize=(18, 6.1), dpi=100, facecolor="white")
    for left, (title, caption) in zip(_LEFT, _STEPS, strict=True):
        figure.text(left, 0.89, title, fontsize=23, color=_INK, weight="bold")
        figure.text(left, 0.243, caption, fontsize=18, color=_INK, linespacing=1.25, va="top")
    _cards(figure, _LEFT[0], images)
    _cards(figure, _LEFT[1], squares)
    _cards(figure, _LEFT[2], views)
    axes = figure.add_axes((_LEFT[3], 0.29, 0.182, 0.538))
    axes.imshow(_montage(activations[0], 7), cmap="magma", interpolation="nearest")
    axes.axis("off")
    _bars(figure.add_axes((_LEFT[4], 0.29, 0.135, 0.52)), class_names_of(model), probabilities)
    for start, panel in zip((0.188, 0.381, 0.575, 0.797), _LEFT[1:], strict=True):
        arrow = {"arrowstyle": "-|>", "color": _ACCENT, "linewidth": 3, "mutation_scale": 26}
        ends = {"xy": (panel - 0.004, 0.52), "xytext": (start + 0.006, 0.52)}
        figure.add_artist(plt.Annotation("", **ends, xycoords="figure fraction", arrowprops=arrow))
    _span(
        figure,
        _LEFT[0],
        0.79,
        "once for each image and view, then read from the cache by all later runs",
    )
    _span(figure, 0.81, 0.988, "again in every epoch")
    figure.savefig(pathlib.Path(__file__).with_name("overview.png"))


if __name__ == "__main__":
    main(sys.argv[1])
