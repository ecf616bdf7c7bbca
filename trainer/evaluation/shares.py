"""95 % limits of shares, and of what is computed from several: closed forms, no resampling.

A share (sensitivity, specificity, ppv, accuracy) has Jeffreys' interval on its effective number n*
(Brown, Cai & DasGupta 2001; `effective`). A mean of shares, balanced accuracy, has the limits of
its shares combined by MOVER, the method of variance estimates recovery (Zou & Donner 2008), as far
apart as the groups that they share make them (`effective.shared_between`), and PPV at a prevalence
has MOVER-R, the same for a ratio (Donner & Zou 2012).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from trainer.evaluation import effective
from trainer.evaluation.effective import TINY, ratio

# Of a tail: 2.5 % of the probability lie beyond each limit.
TAIL = 0.025
Z = 1.959963984540054  # the normal quantile that has it above


class Limits(NamedTuple):
    """A value and its 95 % limits, float64 of one shape.

    Args:
        value: The estimate; NaN where it is not defined.
        low: 97.5 % of the uncertainty lie above.
        high: 97.5 % lie below.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def jeffreys(share: np.ndarray, n: np.ndarray | int) -> Limits:
    """Jeffreys' interval of a share.

    Args:
        share: float64, 0..1.
        n: Independent images, more than 0; need not be whole.

    Returns:
        Quantiles of Beta(n share + 1/2, n (1 - share) + 1/2). Where all are right the low limit is
        TAIL^(1/n), and the high one 1: the one-sided limit of an event that was not seen.
    """
    share = _at_bounds(share)
    right, wrong = share * n + 0.5, (1 - share) * n + 0.5
    low = np.minimum(betaincinv(right, wrong, TAIL), share)
    high = np.maximum(betaincinv(right, wrong, 1 - TAIL), share)
    unseen = TAIL ** (1 / n)
    low = np.where(share == 1, unseen, np.where(share == 0, 0.0, low))
    return Limits(share, low, np.where(share == 0, 1 - unseen, np.where(share == 1, 1.0, high)))


def _at_bounds(share: np.ndarray) -> np.ndarray:
    """Shares of whole counts but for rounding: exactly 0 and 1 at the bounds."""
    return np.where(share >= 1 - TINY, 1.0, np.where(share <= TINY, 0.0, share))


def mean(limits: Limits, times: np.ndarray | float = 1.0) -> Limits:
    """MOVER of a mean of estimates, along the last axis.

    Args:
        limits: Of each.
        times: `effective.shared_between`; 1 where they are independent.
    """
    value = limits.value.mean(axis=-1)
    low, high = (
        # At most as far as all limits are on average, which is where all err together.
        np.minimum(
            np.sqrt(times * np.square(each).sum(axis=-1)) / each.shape[-1], each.mean(axis=-1)
        )
        for each in (limits.value - limits.low, limits.high - limits.value)
    )
    return Limits(value, value - low, value + high)


def balanced_accuracy(
    sensitivity: np.ndarray, n: np.ndarray, times: np.ndarray | float = 1.0
) -> Limits:
    """Mean sensitivity of the classes.

    The limits are those of `mean`, but for one thing. Where a few misses lie in as many classes,
    each class alone could still be nearly all right, and their squares do not add up to a high
    limit that is high enough (simulated: .89 with four classes of 3 single images at .95). It is
    at least that of one share with the mean's variance, as far as the classes' own limits allow.

    Args:
        sensitivity: float64 [..., classes], 0..1.
        n: float64 [..., classes], effective images of each class.
        times: `effective.shared_between` of the classes; 1 where no group is in two of them.
    """
    limits = jeffreys(sensitivity, n)
    combined = mean(limits, times)
    as_one = jeffreys(combined.value, effective.of_mean(n) / times)
    high = np.minimum(as_one.high, limits.high.mean(axis=-1))
    return combined._replace(high=np.maximum(combined.high, high))


def ppv_at(prevalence: float, sensitivity: Limits, specificity: Limits) -> Limits:
    """Share of positive calls that are right, where the class is this frequent (Bayes' rule).

    It falls with Q = (1 - specificity) / sensitivity alone, and has the limits of Q by MOVER-R.

    Args:
        prevalence: Share of the class, more than 0 and less than 1.
        sensitivity: Of the class.
        specificity: The same shape; of other patient groups.

    Returns:
        Not defined (NaN) where the sensitivity is 0.
    """
    b, low_b, high_b = sensitivity
    a, low_a, high_a = (1 - each for each in (specificity.value, specificity.high, specificity.low))
    product, at_low_a, at_high_a = a * b, low_a * (2 * a - low_a), high_a * (2 * a - high_a)
    at_low_b, at_high_b = low_b * (2 * b - low_b), high_b * (2 * b - high_b)
    root_of_least, root_of_most = (
        np.sqrt((np.square(product) - each).clip(0))
        for each in (at_low_a * at_high_b, at_high_a * at_low_b)
    )
    # The least Q with its numerator made rational, which has no 0 / 0 at high_b = 2 b.
    least = np.where(a > 0, at_low_a / np.where(a > 0, product + root_of_least, 1), 0.0)
    most = np.where(low_b > 0, ratio(product + root_of_most, at_low_b), np.inf)

    def ppv(q: np.ndarray) -> np.ndarray:
        return prevalence / (prevalence + (1 - prevalence) * q)

    value = ppv(ratio(a, b))
    return Limits(value, *(np.where(np.isnan(value), np.nan, ppv(q)) for q in (most, least)))


def one_of(columns: Mapping[str, Sequence[float]], place: int, groups: int) -> dict[str, float]:
    """One of several E, of `metrics.in_columns`, as `text.estimate` takes it.

    Args:
        columns: `values`, `low` and `high`.
        place: Which, from 0.
        groups: Patient groups of its images.
    """
    ends = {"value": "values", "low": "low", "high": "high"}
    return {**{end: columns[name][place] for end, name in ends.items()}, "groups": groups}


def patients_for_5_points(accuracy: float) -> int:
    """The fewest independent patients whose interval is +-5 points wide or narrower.

    Args:
        accuracy: The measured share of right calls, 0..1.
    """
    n = np.arange(1, 500)  # 382 at .5
    limits = jeffreys(np.full(len(n), accuracy), n)
    return int(n[np.argmax(limits.high - limits.low <= 0.1)])
