"""The area under the ROC curve of one class against the rest, with limits.

It has Newcombe's score interval (2006, part 2, method 5) on effective numbers of positives and
negatives, which are lessened until its variance is no smaller than that of Obuchowski (1997),
DeLong's over groups, with Satterthwaite's degrees of freedom.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit
from scipy.stats import rankdata

from trainer.evaluation.effective import TINY, Sums, by_correlation, ratio
from trainer.evaluation.shares import TAIL, Limits, Z

# Of a variance for few degrees of freedom: (t / z)^2 is 4.8 for 2 of them and 42 for one, with
# which an interval would say nothing.
LARGEST_FACTOR = 4.0
_HALVINGS = 50  # of an interval of 1, until nothing is left of it in float64
_PRIOR = 2.0  # groups whose images are all alike, beside those that show a correlation


class Area(NamedTuple):
    """The area under a ROC curve.

    Args:
        limits: 95 %, float64 of the leading axes.
        positives: Effective number of positives before they are lessened, as average precision
            takes it.
        n: What the interval stands on: the lesser effective number of both sides.
    """

    limits: Limits
    positives: np.ndarray
    n: np.ndarray


def placements(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of the others that each score is above; half of those that are equal.

    Args:
        scores: float [..., n], along the last axis.
        others: float [..., m].

    Returns:
        float64 [..., n], 0..1.
    """
    together = rankdata(np.concatenate((scores, others), axis=-1), axis=-1)
    return (together[..., : scores.shape[-1]] - rankdata(scores, axis=-1)) / others.shape[-1]


class _Side(NamedTuple):
    """One side of a ROC curve.

    Args:
        n: Its effective number.
        groups: How many it has.
        variance: Its share of the area's variance.
        names: int [groups], which they are, ascending.
        parts: float64 [..., groups], of each group in the area's error.
    """

    n: np.ndarray
    groups: np.ndarray
    variance: np.ndarray
    names: np.ndarray
    parts: np.ndarray


def _side(values: np.ndarray, groups: np.ndarray) -> _Side:
    names, numbers = np.unique(groups, return_inverse=True)
    sums = Sums.of_groups(np.ones_like(values), values, numbers)
    count, n = sums.groups, sums.size.sum(axis=-1)
    several = np.count_nonzero(sums.size > 1, axis=-1)
    scale = np.sqrt(count / np.maximum(count - 1, 1)) / n
    parts = scale[..., None] * sums.errors
    variance = np.square(parts).sum(axis=-1)
    return _Side(by_correlation(sums, several, _PRIOR), count, variance, names, parts)


def roc_area(
    above: np.ndarray, below: np.ndarray, groups_above: np.ndarray, groups_below: np.ndarray
) -> Area:
    """The area and its interval.

    Args:
        above: float64 [..., positives], `placements` of the positives among the negatives, or the
            mean of each over repeats.
        below: float64 [..., negatives], the share of positives that each negative is below.
        groups_above: int [positives], the group of each.
        groups_below: int [negatives].
    """
    area = above.mean(axis=-1)
    area = np.where(area >= 1 - TINY, 1.0, np.where(area <= TINY, 0.0, area))
    of_above, of_below = _side(above, groups_above), _side(below, groups_below)
    factor = _factor(area, of_above, of_below)
    n1, n0 = (np.maximum(side.n / factor, 1) for side in (of_above, of_below))
    low, high = (_score_limit(area, n1, n0, bound) for bound in (0.0, 1.0))
    return Area(Limits(area, low, high), of_above.n, np.minimum(n1, n0))


def _factor(area: np.ndarray, above: _Side, below: _Side) -> np.ndarray:
    """How many times Newcombe's variance the estimated one is, with its uncertainty; from 1."""
    model, apart = _variance(area, above.n, below.n), above.variance + below.variance
    _, own, other = np.intersect1d(above.names, below.names, return_indices=True)
    # Groups that are on both sides; what makes an interval narrower is left out.
    shared = 2 * (above.parts[..., own] * below.parts[..., other]).sum(axis=-1)
    variance = apart + shared.clip(0)
    freedom = ratio(
        np.square(apart),
        sum(np.square(side.variance) / np.maximum(side.groups - 1, 1) for side in (above, below)),
    )
    # A side of one group has no variance of its own: the largest factor.
    freedom = np.where(np.minimum(above.groups, below.groups) > 1, freedom, 1.0)
    times = np.square(stdtrit(freedom, 1 - TAIL) / Z).clip(max=LARGEST_FACTOR)
    measured = (model > 1e-12) & (variance > 0)
    return np.where(measured, np.fmax(ratio(variance * times, model), 1), 1.0)


def _variance(area: np.ndarray, n1: np.ndarray, n0: np.ndarray) -> np.ndarray:
    """Of an area, from itself and the numbers of both sides (Hanley & McNeil 1982, Newcombe)."""
    spread = (1 - area) / (2 - area) + area / (1 + area)
    return area * (1 - area) / (n1 * n0) * (1 + ((n1 + n0) / 2 - 1) * spread)


def _score_limit(area: np.ndarray, n1: np.ndarray, n0: np.ndarray, bound: float) -> np.ndarray:
    """The farthest area towards the bound that the measured one does not contradict."""
    outside, inside = np.full_like(area, bound), area
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        beyond = np.abs(area - middle) > Z * np.sqrt(_variance(middle, n1, n0))
        outside, inside = np.where(beyond, middle, outside), np.where(beyond, inside, middle)
    return np.where(area == bound, bound, inside)
