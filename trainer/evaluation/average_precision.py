"""Average precision of one class against the rest, with limits.

It is a mean over positives, and stands on the negatives, too: a single one above all positives
lowers the precision of each. So its error has two parts, which are added as by MOVER. That of the
positives is Jeffreys' interval, see `shares`, on their effective number, lessened until its
variance is no smaller than the linearized one between groups. That of the negatives is their
linearized variance between groups with Student's t, and the covariance of groups that are on both
sides where it makes the interval wider. Few groups of negatives may by chance have none
above a positive, which shows no variance: so the low limit has the effect of a tenth of a group
more that is above all, with which simulated patients are covered, see docs/intervals.md.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit
from scipy.stats import rankdata

from trainer.evaluation import shares
from trainer.evaluation.areas import LARGEST_FACTOR
from trainer.evaluation.effective import TINY, Sums, ratio
from trainer.evaluation.shares import TAIL, Limits, Z

_FOREMOST = 0.1  # of a group of negatives, above all positives


class Precision(NamedTuple):
    """Average precision, and what each image adds to its error.

    Args:
        value: float64 [...], 0..1.
        positives: float64 [..., n], the derivative by the weight of each positive, times n.
        negatives: float64 [..., m], the same of each negative.
        foremost: float64 [...], that of a negative above all positives.
    """

    value: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    foremost: np.ndarray


def precision(positives: np.ndarray, negatives: np.ndarray) -> Precision:
    """The mean over positives of the precision at each one's own score.

    Args:
        positives: float [..., n], their scores.
        negatives: float [..., m].
    """
    n, m = positives.shape[-1], negatives.shape[-1]
    own = rankdata(-positives, "max", axis=-1)  # positives that are no lower
    together = rankdata(-np.concatenate((positives, negatives), axis=-1), "max", axis=-1)[..., :n]
    above = together - own  # negatives that are no lower
    value = (own / together).mean(axis=-1, keepdims=True)
    # How much each positive's precision changes with the share of either side that is no lower.
    by_own, by_above = n * above / together**2, m * own / together**2
    mean_own, mean_above = (
        (slope * rank).mean(axis=-1, keepdims=True) / count
        for slope, rank, count in ((by_own, own, n), (by_above, above, m))
    )
    reached = _no_higher(positives, negatives)
    of_own = _sums_to(by_own, positives, reached[..., :n]) / n - mean_own
    of_above = mean_above - _sums_to(by_above, positives, reached[..., n:]) / n
    foremost = mean_above - by_above.mean(axis=-1, keepdims=True)
    return Precision(value[..., 0], own / together - value + of_own, of_above, foremost[..., 0])


def _no_higher(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """int [..., n + m]: how many positives are no higher than each image."""
    n = positives.shape[-1]
    together = rankdata(np.concatenate((positives, negatives), axis=-1), "max", axis=-1)
    others = together[..., n:] - rankdata(negatives, "max", axis=-1)
    return np.concatenate((rankdata(positives, "max", axis=-1), others), axis=-1).astype(int)


def _sums_to(values: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums of the values of so many of the lowest scores."""
    ascending = np.take_along_axis(values, np.argsort(scores, axis=-1), axis=-1)
    sums = np.insert(np.cumsum(ascending, axis=-1), 0, 0, axis=-1)
    return np.take_along_axis(sums, counts, axis=-1)


def limits_of(
    of: Precision, positives: np.ndarray, groups_positives: np.ndarray, groups_negatives: np.ndarray
) -> tuple[Limits, np.ndarray]:
    """The 95 % limits, and the effective number of positives that they stand on.

    Args:
        of: Of `precision`, or its mean over repeats.
        positives: float64 [...], their effective number by their correlation, see `areas.Area`.
        groups_positives: int [n], the group of each.
        groups_negatives: int [m].
    """
    value = np.where(of.value >= 1 - TINY, 1.0, of.value)
    names, of_own = _by_group(of.positives, groups_positives)
    other_names, of_others = _by_group(of.negatives, groups_negatives)
    own, others = (np.square(each).sum(axis=-1) for each in (of_own, of_others))
    _, left, right = np.intersect1d(names, other_names, return_indices=True)
    others += 2 * (of_own[..., left] * of_others[..., right]).sum(axis=-1).clip(0)
    seen = np.where(own > TINY**2, ratio(value * (1 - value), own), np.inf)
    n = np.maximum(np.fmin(positives, seen), 1)
    alone = shares.jeffreys(value, n)
    count = len(other_names)
    more = others + _FOREMOST * np.square(of.foremost / count) * _factor(count)
    low = value - np.hypot(value - alone.low, Z * np.sqrt(more))
    high = value + np.hypot(alone.high - value, Z * np.sqrt(others))
    return Limits(value, low.clip(0), high.clip(max=1)), n


def _by_group(errors: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups, and the part of each in a mean's error, as large as its uncertainty makes it."""
    names, parts = np.unique(groups), Sums.of_groups(np.ones_like(errors), errors, groups).total
    count = len(names)
    scale = count / max(count - 1, 1) * _factor(count)
    return names, parts / len(groups) * np.sqrt(scale)


def _factor(groups: int) -> float:
    """Of a variance between so few groups: (t / z)^2."""
    return min(float(stdtrit(max(groups - 1, 1), 1 - TAIL) / Z) ** 2, LARGEST_FACTOR)
