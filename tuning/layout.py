"""What the pictures of a search show, as numbers: trials, order of merit, places on an axis."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import numbers
import re
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

LETTERS = 16  # of a name or a choice that fit on a line
Value = float | int | str


@dataclasses.dataclass(frozen=True)
class Axis:
    """A parameter of the search.

    Attributes:
      name: of the parameter.
      log: whether a numeric parameter is drawn on a logarithmic axis.
      choices: of a categorical parameter, drawn at even places in this order; empty for a numeric
        one. A value is the choice that reads like it, so 64 is the choice "64".
    """

    name: str
    log: bool
    choices: tuple[str, ...]

    def fault(self, value: Value) -> str:
        """Why a value has no place on the axis and how to mend it; empty if it has one."""
        if self.choices:
            named = str(value) in self.choices
            advice = f"is none of {', '.join(self.choices)}. Name it among the axis' choices."
            return "" if named else f"{value!r} {advice}"
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            return f"{value!r} is no finite number. Give the axis its choices, or a number."
        if self.log and value <= 0:
            return f"{value!r} has no logarithm. Draw the axis with log=False."
        return ""


@dataclasses.dataclass(frozen=True)
class Point:
    """A trial. It failed if it has no score, or one that is not finite.

    Attributes:
      number: of the trial, in the order they started.
      values: of its parameters, by the name of the axis.
      score: the objective; None for a trial that failed.
      sd: standard deviation of the score over folds or executions; None when there was one only.
    """

    number: int
    values: Mapping[str, Value]
    score: float | None
    sd: float | None


def check(points: Sequence[Point], axes: Sequence[Axis] | None, direction: str) -> None:
    """Refuses what can't be drawn.

    Args:
      points: the trials.
      axes: the parameters; None for a picture that shows none.
      direction: "max" or "min".

    Raises:
      ValueError: no point, no axis, another direction, or a value that is missing or that its axis
        can't place.
    """
    if not points:
        raise ValueError("There is no trial to draw. Pass at least one point.")
    if axes is not None and not axes:
        raise ValueError("There is no parameter to draw. Pass at least one axis.")
    if direction not in ("max", "min"):
        raise ValueError(f'The direction is {direction!r}. Pass "max" or "min".')
    for point, axis in itertools.product(points, axes or ()):
        known = axis.name in point.values
        fault = axis.fault(point.values[axis.name]) if known else "no value. Give it one."
        if fault:
            raise ValueError(f"Trial {point.number}, parameter {axis.name!r}: {fault}")


def finished(point: Point) -> bool:
    """Whether the trial has a score that can be compared."""
    return point.score is not None and math.isfinite(point.score)


def good_first(points: Sequence[Point], direction: str) -> list[Point]:
    """The finished trials; equals stay in their order."""
    sign = -1 if direction == "max" else 1
    return sorted(filter(finished, points), key=lambda p: sign * p.score)


def best_series(points: Sequence[Point], direction: str) -> tuple[list[int], list[float]]:
    """Numbers of the finished trials, rising, and the best score up to each.

    Args:
      points: the trials, in any order.
      direction: "max" or "min".
    """
    ordered = sorted(filter(finished, points), key=lambda point: point.number)
    better = max if direction == "max" else min
    scores = itertools.accumulate((point.score for point in ordered), better)
    return [point.number for point in ordered], list(scores)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The tick marks of an axis, from its foot to its top.

    Attributes:
      axis: whose values are placed.
      ticks: rising values; for a categorical axis, its choices in order.
    """

    axis: Axis
    ticks: tuple[Value, ...]

    def at(self, value: Value) -> float:
        """The place of a value, 0 at the first tick and 1 at the last; the middle if one is all."""
        first, last = self._measure(self.ticks[0]), self._measure(self.ticks[-1])
        return (self._measure(value) - first) / (last - first) if last > first else 0.5

    def _measure(self, value: Value) -> float:
        if self.axis.choices:
            return self.axis.choices.index(str(value))
        return math.log10(value) if self.axis.log else float(value)

    @property
    def places(self) -> list[float]:
        """Of the ticks."""
        return [self.at(tick) for tick in self.ticks]

    @property
    def labels(self) -> list[str]:
        """Of the ticks: choices on lines of at most 16 letters, numbers no longer than needed."""
        if self.axis.choices:
            return [wrapped(choice) for choice in self.axis.choices]
        ticks = [float(tick) for tick in self.ticks]
        if 0 < min(ticks) < 1e-3 and all(float(f"{tick:.0e}") == tick for tick in ticks):
            return [f"{tick:.0e}" for tick in ticks]
        gaps = [b - a for a, b in itertools.pairwise(ticks)] or [abs(ticks[0])]
        for digits in range(4, 17):
            labels = [f"{tick:.{digits}g}" for tick in ticks]
            far = max(abs(float(label) - tick) for label, tick in zip(labels, ticks, strict=True))
            if far <= min(gaps) / 1000:
                break
        return labels


def scale_of(axis: Axis, values: Sequence[Value]) -> Scale:
    """The scale that takes in all values: a few of them are its ticks, many lie between round ones.

    Args:
      axis: whose values they are.
      values: at least one, in any order.
    """
    if axis.choices:
        return Scale(axis, axis.choices)
    distinct = tuple(sorted(set(values)))
    few = Scale(axis, distinct)
    apart = min((b - a for a, b in itertools.pairwise(few.places)), default=1)
    short = all(float(f"{value:g}") == value and len(f"{value:g}") <= 6 for value in distinct)
    low, high = distinct[0], distinct[-1]
    if low == high or (len(distinct) <= 6 and short and apart >= 0.07):
        return few
    if axis.log and high > 2 * low:
        foot, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
        if high >= 100 * low:
            step = math.ceil((top - foot) / 6)
            return Scale(axis, tuple(float(f"1e{e}") for e in range(foot, top + step, step)))
        steps = [float(f"{m}e{e}") for e in range(foot, top + 1) for m in (1, 2, 5)]
        first = max(i for i, tick in enumerate(steps) if tick <= low)
        last = min(i for i, tick in enumerate(steps) if tick >= high)
        return Scale(axis, tuple(steps[first : last + 1]))
    whole = all(isinstance(value, int) for value in distinct)
    locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=whole)
    return Scale(axis, tuple(float(tick) for tick in locator.tick_values(low, high)))


def fanned(places: Sequence[float]) -> list[float]:
    """Places that trials share, spread a little to both sides in the order given, so all show."""
    distinct = sorted(set(places))
    reach = min(0.03, *((b - a) / 4 for a, b in itertools.pairwise(distinct)), 1)
    total, seen = collections.Counter(places), collections.Counter()
    spread = []
    for place in places:
        steps = max(total[place] - 1, 1)
        spread.append(place + reach * (2 * seen[place] - total[place] + 1) / steps)
        seen[place] += 1
    return spread


def wrapped(name: str) -> str:
    """The name on lines of at most 16 letters, broken behind its marks where it has some."""
    marked = re.sub(r"(?<=[_+/.,])(?=\w)", "\t", name)
    lines = textwrap.wrap(marked, LETTERS, expand_tabs=False, replace_whitespace=False)
    return "\n".join(lines).replace("\t", "")
