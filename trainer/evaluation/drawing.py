"""What every plot has in common: colours, a heading, a footer that names images and use, a legend.

Colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish; line styles,
marks and words repeat what a colour shows.
"""

import contextlib
import os
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from trainer.run.files import written_whole

NOTICE = "research use, not for diagnosis"
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK, GREY = "#56B4E9", "#E69F00", "#000000", "#666666"
CLASS_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK)
LINE_STYLES = ("-", "--", "-.", ":")
DOTS_PER_INCH = 120
# Of every plot: the settings of a user are for other plots and may need LaTeX, and a class name may
# have dollar signs.
STYLE: list[str | dict[str, Any]] = ["default", {"text.parse_math": False}]


def title_of(dataset: Mapping[str, Any]) -> str:
    """The name of a dataset in a footer; `dataset` has its `name` and whether it is `synthetic`."""
    return dataset["name"] + (" (synthetic images)" if dataset["synthetic"] else "")


def new_figure(width: float, height: float, heading: str, title: str, count: str) -> Figure:
    """A figure of width x height inches: heading above, below title, count and notice."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)
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
    rows: list[Any] = [cells[start : start + across] for start in range(0, len(cells), across)]
    ratios = [1] * len(rows) + [0.05]
    axes = figure.subplot_mosaic([*rows, ["legend"] * across], height_ratios=ratios)
    axes["legend"].set_axis_off()
    return list(axes.values())


def draw_legend(blank: Axes, axes: Axes, columns: int) -> None:
    """Draws the legend of `axes`, each label once, in the `blank` ones, where it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    blank.legend(once.values(), once.keys(), loc="center", ncols=columns, frameon=False)


@contextlib.contextmanager
def any_letters() -> Iterator[None]:
    """Lets names have letters that the font lacks: a box stands for each, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes the figure as a PNG that appears whole."""
    with written_whole(path) as beside, any_letters():
        figure.savefig(beside, format="png")


def line_of_class(c: int, classes: int) -> dict[str, Any]:
    """How the curve of a class is drawn: each thinner, so that curves that coincide all show."""
    return {
        "linestyle": LINE_STYLES[c % 4],
        "color": CLASS_COLOURS[c % 7],
        "linewidth": 4 - 2 * c / classes,
        "clip_on": False,
    }


def operating_point(axes: Axes, x: float, y: float, c: int) -> None:
    """Rings the point of class `c` where the most probable class is called."""
    axes.plot(
        x, y, ls="", clip_on=False, zorder=3, marker="o", markersize=9, markeredgewidth=2,
        fillstyle="full", color=CLASS_COLOURS[c % 7], markerfacecolor="white",
    )  # fmt: skip
