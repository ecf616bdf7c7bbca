"""The effective number of images: what correlated images of patient groups are worth.

The images of one patient look alike, so n images of few groups hold less than n independent ones
would (Kish 1965). Every interval of a share stands on n*, the number of independent images that
would leave the same uncertainty. It is the lesser of two numbers:

    n1 = n / (1 + (q - 1) rho*),  q = sum s^2 / n       (s images of each group)
    n2 = p (1 - p) n^2 / sum (y - p s)^2               (y right of each group, p = sum y / n)

n1 has the intraclass correlation of the images: that of the analysis of variance, cut to 0..1
(Ridout, Demetrio & Firth 1999), and drawn towards 1 by one more group, as few groups hardly show
it. n2 has the linearized variance between groups (Rao & Scott 1992), which sees what n1 does not:
groups with many images that are harder.

All functions work on arrays whose last axis is the groups; axes before it are as many separate
denominators, or data sets.
"""

from typing import NamedTuple, Self

import numpy as np

# Sums of shares are whole but for rounding: nearer than this to a bound is at the bound.
TINY = 1e-9


class Sums(NamedTuple):
    """What is known of each group: sums over its images, float64 [..., groups].

    Args:
        size: Images, or the sum of their weights in 0..1; 0 where a group has none.
        total: Weighted sum of the values.
        squares: Weighted sum of the squared values.
    """

    size: np.ndarray
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of_groups(cls, weights: np.ndarray, values: np.ndarray, groups: np.ndarray) -> Self:
        """Sums over the images of each group.

        Args:
            weights: float [..., n], 0..1: 1 where an image belongs to the denominator.
            values: float [..., n]: 1 where an image is right, or its share of the repeats.
            groups: int [n], the group of each image, 0..k-1, each in use.
        """
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0])
        weights, values = weights[..., order].astype(np.float64), values[..., order]
        weighted = weights * values
        return cls(
            *(
                np.add.reduceat(each, starts, axis=-1)
                for each in (weights, weighted, weighted * values)
            )
        )

    @property
    def groups(self) -> np.ndarray:
        """int [...]: the number of groups that have an image."""
        return np.count_nonzero(self.size, axis=-1)

    @property
    def mean(self) -> np.ndarray:
        """float64 [...]: mean of the values over all images; NaN where there is none."""
        return ratio(self.total.sum(axis=-1), self.size.sum(axis=-1))

    @property
    def errors(self) -> np.ndarray:
        """float64 [..., groups]: total - mean size; over n, a group's part in the mean's error."""
        return self.total - self.mean[..., None] * self.size

    @property
    def deviations(self) -> np.ndarray:
        """float64 [...]: sum over groups of the squared errors; over n^2, a variance."""
        return np.square(self.errors).sum(axis=-1)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below; NaN where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)


def kish(size: np.ndarray) -> np.ndarray:
    """n^2 / sum s^2: the number that is left where the images of a group are all alike.

    Args:
        size: float64 [..., groups], images of each group.
    """
    return ratio(np.square(size.sum(axis=-1)), (size * np.maximum(size, 1)).sum(axis=-1))


def by_correlation(sums: Sums, informative: np.ndarray, prior: float = 1.0) -> np.ndarray:
    """n1: images over their design effect, with a correlation that few groups draw towards 1.

    Args:
        sums: Of the values.
        informative: int [...], groups that show the correlation.
        prior: Groups whose images are all alike that are added to them.

    Returns:
        float64 [...], at most n; NaN where there is no image.
    """
    size, n, groups = sums.size, sums.size.sum(axis=-1), sums.groups
    # A group of less than one image, in weights, is as single as one with one image.
    mean_size = ratio((size * np.maximum(size, 1)).sum(axis=-1), n)
    by_group = np.divide(sums.total, size, out=np.zeros_like(sums.total), where=size > 0)
    between = (size * np.square(by_group - sums.mean[..., None])).sum(axis=-1)
    within = (sums.squares - sums.total * by_group).sum(axis=-1).clip(0)
    between, within = (
        ratio(squares, freedom)
        for squares, freedom in ((between, groups - 1), (within, (size - 1).clip(0).sum(axis=-1)))
    )
    typical = ratio(n - mean_size, groups - 1)
    with np.errstate(invalid="ignore"):
        spread = between + (typical - 1) * within
        # Undefined without any spread, or with one group: as if all images of a group were alike.
        icc = np.divide(between - within, spread, out=np.ones_like(n), where=spread > 1e-12)
    icc = (informative * icc.clip(0, 1) + prior) / (informative + prior)
    return n / (1 + (mean_size - 1) * icc)


def of_share(sums: Sums) -> np.ndarray:
    """n* of a share.

    Args:
        sums: Of values in 0..1.

    Returns:
        float64 [...], in 0..n; NaN where there is no image. n without several images of a group,
        `kish` where all are right or all wrong.
    """
    several, n, share = sums.size > 1 + TINY, sums.size.sum(axis=-1), sums.mean
    missed = (several & (sums.size - sums.total > TINY)).sum(axis=-1)
    hit = (several & (sums.total > TINY)).sum(axis=-1)
    n1 = by_correlation(sums, np.minimum(missed, hit))
    seen, variance = share * (1 - share) * n * n, sums.deviations
    n2 = np.divide(seen, variance, out=np.full_like(n, np.inf), where=variance > TINY)
    return np.minimum(n1, n2)


def shared_between(sums: Sums) -> np.ndarray:
    """How many times the variance of a mean of shares is that of independent shares; from 1.

    A person with images in two classes, before an illness and in it, moves the shares of both. Of
    a group's part in each share's error, d = (y - p s) / n, independent shares have the variance
    sum d^2 over groups and shares; what is seen is the sum over groups of (sum d)^2.

    Args:
        sums: Of each share, float64 [..., shares, groups]; none without an image.

    Returns:
        float64 [...]: 1 where no group has images in two shares, at most their number.
    """
    parts = sums.errors / sums.size.sum(axis=-1, keepdims=True)
    apart, together = np.square(parts).sum(axis=(-2, -1)), np.square(parts.sum(axis=-2)).sum(-1)
    times = np.divide(together, apart, out=np.ones_like(apart), where=apart > TINY**2)
    return np.where(times > 1 + TINY, times, 1.0)


def of_mean(n: np.ndarray) -> np.ndarray:
    """Of a mean of shares along the last axis: the n of one share with the variance of that mean.

    Args:
        n: float64 [..., classes], of each share.
    """
    return n.shape[-1] ** 2 / (1 / n).sum(axis=-1)
