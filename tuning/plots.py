"""Pictures of a search: its trials as lines over the parameters, score by parameter, best so far.

Each function draws one PNG, whole or not at all, with a footer that says what was searched, how
many trials finished and failed, and that it is for research use. A score that is None or not
finite is a failed trial; it is drawn (grey and dashed, or a cross), for where trials fail is part
of what a search finds. Places on an axis, marks and words repeat what a colour says.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from trainer.evaluation.plots import (
    BLACK,
    BLUE,
    GREY,
    SKY,
    VERMILLION,
    draw_legend,
    new_figure,
    panels_and_legend,
    save,
)
from tuning.layout import (
    Axis,
    Point,
    Scale,
    best_series,
    check,
    fanned,
    finished,
    good_first,
    scale_of,
    wrapped,
)

ACROSS = 3  # panels side by side
MANY = 50  # trials from which on lines and bars are drawn thin


def parallel_coordinates(
    points: Sequence[Point],
    axes: Sequence[Axis],
    path: str | os.PathLike,
    *,
    objective: str,
    direction: str,
    title: str,
) -> None:
    """Draws a line per trial over one vertical axis per parameter and a last one for the objective.

    Args:
      points: the trials; of equal scores the first is called best.
      axes: the parameters, from left to right.
      path: of the PNG.
      objective: name of the score.
      direction: "max" or "min", what the search did to the score.
      title: names what was searched, for the footer.

    Raises:
      ValueError: no point, no axis, another direction, or a value that is missing or that its axis
        can't place.
    """
    check(points, axes, direction)
    scales = [scale_of(axis, [point.values[axis.name] for point in points]) for axis in axes]
    tallest = max(map(_tallest, scales))
    stacked = max(len(scale.ticks) * _tallest(scale) for scale in scales)  # lines of labels
    width, height = max(7, 2.2 + 1.45 * len(axes)), max(6, 2.6 + 0.17 * stacked)
    figure = _figure(width, height, "Trials by parameter", points, title)
    plot, legend = panels_and_legend(figure, 1)
    plot.set(xlim=(0, len(axes)), ylim=(0, 1))
    plot.set_axis_off()
    # Names are kept clear of the upper half of the labels beside the axes' tops.
    above = {"xytext": (0, 6 + 6 * tallest), "textcoords": "offset points", "va": "bottom"}
    names = [axis.name + " (log)" * axis.log for axis in axes] + [objective]
    for place, name in enumerate(names):
        plot.plot([place] * 2, (0, 1), color=BLACK, linewidth=1, clip_on=False, zorder=3)
        plot.annotate(wrapped(name), (place, 1), ha="center", fontsize=9, weight="bold", **above)
    # The lines run behind the labels, which stay readable on a veil.
    veil = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    left = {"xytext": (-6, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
    for place, scale in enumerate(scales):
        ticks = ([place] * len(scale.ticks), scale.places)
        plot.plot(*ticks, "_", color=BLACK, clip_on=False, zorder=3)
        for y, label in zip(scale.places, scale.labels, strict=True):
            plot.annotate(label, (place, y), fontsize=8, zorder=5, bbox=veil, **left)

    def draw(point: Point, ends: Sequence[float], style: str, **more: object) -> None:
        ys = [scale.at(point.values[scale.axis.name]) for scale in scales]
        plot.plot(range(len(ys) + len(ends)), [*ys, *ends], style, clip_on=False, **more)

    dashed = {"color": GREY, "linewidth": 0.8, "marker": "x", "markevery": [-1]}
    for point in points:
        if not finished(point):
            draw(point, (), "--", label="failed trial", **dashed)
    # Drawn from bad to good, good ones dark, so that the trials that matter stand out.
    by_merit = good_first(points, direction)[::-1]
    if by_merit:
        scores = scale_of(Axis(objective, False, ()), [point.score for point in by_merit])
        colours = matplotlib.colormaps["viridis_r" if direction == "max" else "viridis"]
        for point in by_merit:
            best = point is by_merit[-1]
            halo = [withStroke(linewidth=6, foreground="white")] if best else ()
            label = _best_label(point) if best else "finished trial"
            more = {"path_effects": halo, "zorder": 4} if best else {}
            more["linewidth"] = 4 if best else 0.9 if len(points) > MANY else 1.5
            end = scores.at(point.score)
            draw(point, (end,), "-", color=colours(end), label=label, **more)
        # The bar stands against the last axis, so that its ticks are that axis' ticks too.
        bar = plot.inset_axes((1, 0, 0.16 / width, 1))
        figure.colorbar(ScalarMappable(cmap=colours), cax=bar)
        bar.set_yticks(scores.places, scores.labels, fontsize=8)
        bar.set_ylabel(f"{_better(direction)}, and drawn darker")
    draw_legend(legend, plot, columns=3)
    save(figure, path)


def objective_by_parameter(
    points: Sequence[Point],
    axes: Sequence[Axis],
    path: str | os.PathLike,
    *,
    objective: str,
    direction: str,
    title: str,
) -> None:
    """Draws the score against each parameter, a panel each, at most 3 side by side.

    Bars are standard deviations. Trials that share a value stand beside each other, in their order
    among `points`. Arguments and errors are those of `parallel_coordinates`.
    """
    check(points, axes, direction)
    scales = [scale_of(axis, [point.values[axis.name] for point in points]) for axis in axes]
    stacked = max(len(scale.ticks) * _tallest(scale) for scale in scales)  # lines of labels
    across = min(ACROSS, len(axes))
    rows = math.ceil(len(axes) / across)
    heading = "Score by parameter (equal values side by side)"
    width, height = max(7, 4 * across, (1 + 0.17 * stacked) * across), 2 + 3.1 * rows
    figure = _figure(width, height, heading, points, title)
    *panels, legend = panels_and_legend(figure, len(axes), across)
    for number, (panel, axis, scale) in enumerate(zip(panels, axes, scales, strict=True)):
        places = fanned([scale.at(point.values[axis.name]) for point in points])
        _draw_scores(panel, places, points, direction)
        panel.set_xticks(scale.places, scale.labels, fontsize=8)
        if sum(map(len, scale.labels)) > 40:
            panel.tick_params(axis="x", rotation=90)
        panel.set(xlabel=axis.name + " (log)" * axis.log, xlim=(-0.08, 1.08))
        panel.set_ylabel("" if number % across else f"{objective}\n({_better(direction)})")
    draw_legend(legend, panels[0], columns=2)
    save(figure, path)


def best_so_far(
    points: Sequence[Point],
    path: str | os.PathLike,
    *,
    objective: str,
    direction: str,
    title: str,
) -> None:
    """Draws the score of each trial in the order they started, and the best up to each.

    Arguments and errors are those of `parallel_coordinates`.
    """
    check(points, None, direction)
    figure = _figure(9, 5.2, "Best score so far", points, title)
    axes, legend = panels_and_legend(figure, 1)
    numbers = [point.number for point in points]
    numbered, best = best_series(points, direction)
    if best:
        # Half a trial further, so that a best that came last still shows as a line.
        steps = ([*numbered, max(numbers) + 0.5], [*best, best[-1]])
        axes.step(*steps, where="post", color=VERMILLION, linewidth=2, label="best so far")
    _draw_scores(axes, numbers, points, direction)
    axes.set(
        xlabel="trial, in the order they started", ylabel=f"{objective}\n({_better(direction)})"
    )
    beside = 0.6 + 0.01 * (max(numbers) - min(numbers))
    axes.set_xlim(min(numbers) - beside, max(numbers) + beside)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    draw_legend(legend, axes, columns=2)
    save(figure, path)


def _draw_scores(
    axes: Axes, places: Sequence[float], points: Sequence[Point], direction: str
) -> None:
    """Dots with error bars, the best one ringed, and failed trials along the bottom."""
    dots = [(x, point) for x, point in zip(places, points, strict=True) if finished(point)]
    failed = [x for x, point in zip(places, points, strict=True) if not finished(point)]
    axes.grid(alpha=0.3)
    if dots:
        sds = [point.sd or math.nan for _, point in dots]  # NaN draws no bar
        known = not all(map(math.isnan, sds))
        thin = {"markersize": 3, "elinewidth": 0.5, "alpha": 0.7}
        style = thin if len(points) > MANY else {"markersize": 5, "elinewidth": 1.2}
        label = "finished trial" + " (bar: standard deviation)" * known
        xs, scores = [x for x, _ in dots], [point.score for _, point in dots]
        style |= {"color": BLUE, "ecolor": SKY, "yerr": sds if known else None}
        axes.errorbar(xs, scores, fmt="o", label=label, **style)
        best = good_first(points, direction)[0]
        place = next(x for x, point in dots if point is best)
        ring = {"marker": "o", "markersize": 13, "markeredgewidth": 2, "fillstyle": "none"}
        axes.plot(place, best.score, ls="", color=BLACK, label=_best_label(best), zorder=5, **ring)
    else:
        axes.set(yticks=(), ylim=(0, 1))
    if failed:
        foot, top = axes.get_ylim()
        axes.set_ylim(foot - 0.12 * (top - foot), top)  # room for the crosses below all dots
        style = {"color": GREY, "markeredgewidth": 1.5, "transform": axes.get_xaxis_transform()}
        axes.plot(failed, [0.04] * len(failed), "x", label="failed trial", **style)


def _figure(
    width: float, height: float, heading: str, points: Sequence[Point], title: str
) -> Figure:
    good = sum(map(finished, points))
    count = f"{good} trial{'s' * (good != 1)} finished, {len(points) - good} failed"
    return new_figure(width, height, heading + ": no trial finished" * (not good), title, count)


def _tallest(scale: Scale) -> int:
    """Lines of the tallest label."""
    return max(label.count("\n") + 1 for label in scale.labels)


def _best_label(best: Point) -> str:
    return f"best: trial {best.number}, {best.score:.4g}" + (f" ± {best.sd:.2g}" if best.sd else "")


def _better(direction: str) -> str:
    return f"{'higher' if direction == 'max' else 'lower'} is better"
