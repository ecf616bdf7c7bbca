"""Two classifiers on the same images: the difference of their balanced accuracies, with its limits.

Only images that one of both calls right hold anything about the difference. In each class the
shares of images that only ours and only theirs has right have a Dirichlet distribution on the
effective number of images, with half an image more of each kind (after Agresti & Min 2005); the
classes' limits are combined by MOVER as those of balanced accuracy, see `shares`. The quantiles are
taken over a grid of the distribution's own quantiles, the same for all: no random draws.
"""

from typing import Any

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binomtest

from trainer.evaluation import effective, intervals, shares
from trainer.evaluation.effective import TINY, Sums, by_correlation
from trainer.evaluation.shares import TAIL, Limits

_GRID = 128  # quantiles of each of two independent parts of a Dirichlet distribution


def paired_difference(
    labels: np.ndarray, groups: np.ndarray, ours: np.ndarray, peers: np.ndarray
) -> dict[str, Any]:
    """Balanced accuracy of one classifier less another's on the same images, with its interval.

    Args:
        labels: int [n], 0..classes-1.
        groups: int [n], the number of each image's group, 0..k-1, each in use.
        ours: float [n], 0..1, share of the repeats in which an image was called right.
        peers: The same of the other classifier.

    Returns:
        An E of `metrics.score`, the difference in -1..1, and `discordant`: {"ours", "peers"}, the
        number of groups with an image that only ours, and only theirs, has right. Its n_effective
        is that of one share with the variance of the mean of the classes' shares.
    """
    by_class = labels == np.unique(labels)[:, None]
    difference = ours - peers
    only_ours, only_theirs = (
        Sums.of_groups(by_class, each.clip(0), groups) for each in (difference, -difference)
    )
    signed = Sums.of_groups(by_class, difference, groups)
    n = effective_number(signed, only_ours.mean, only_theirs.mean)
    times = effective.shared_between(signed)
    limits = shares.mean(limits_of(only_ours.mean, only_theirs.mean, n), times)
    discordant = {
        name: int((sums.total.sum(axis=0) > TINY).sum())
        for name, sums in (("ours", only_ours), ("peers", only_theirs))
    }
    method = "paired Dirichlet 95 %, MOVER"
    held = len(np.unique(groups))
    return {
        **intervals.estimate(method, limits, len(labels), effective.of_mean(n) / times, held),
        "discordant": discordant,
    }


def exact_mcnemar(groups: np.ndarray, ours: np.ndarray, peers: np.ndarray) -> dict[str, Any]:
    """McNemar's exact test, with patient groups in the place of images, which are not independent.

    Args:
        groups: As for `paired_difference`.
        ours: float [n], 0..1, share of the repeats in which an image was called right.
        peers: The same of the other classifier.

    Returns:
        {"ours", "peers"}, the number of groups of which each has more images right than the other,
        and "p", of the hypothesis that a group is as likely to be of one kind as of the other,
        two-sided; 1 where there is none. Where each group has one image, it is McNemar's own.
    """
    more = np.bincount(groups, weights=ours - peers)
    counts = {"ours": int((more > TINY).sum()), "peers": int((more < -TINY).sum())}
    total = sum(counts.values())
    return {**counts, "p": float(binomtest(counts["ours"], total).pvalue) if total else 1.0}


def effective_number(signed: Sums, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """n* of the difference, as `effective.of_share` has it of a share.

    Args:
        signed: Of each image 1 where only ours is right, -1 where only theirs is, else 0; or the
            difference of their shares of the repeats. float64 [..., groups].
        ours: float64 [...], mean of the positive parts.
        theirs: The same of the negative parts, without their sign.
    """
    shows = (signed.size > 1) & (signed.squares > TINY)
    n1 = by_correlation(signed, shows.sum(axis=-1))
    seen = (ours + theirs - np.square(ours - theirs)) * np.square(signed.size.sum(axis=-1))
    variance = signed.deviations
    n2 = np.divide(seen, variance, out=np.full_like(n1, np.inf), where=variance > TINY)
    return np.minimum(n1, n2)


def limits_of(ours: np.ndarray, theirs: np.ndarray, n: np.ndarray) -> Limits:
    """Limits of ours - theirs, where (ours, theirs, rest) are shares of n independent images.

    The sum of both is a Beta variable, and so is the part of ours in it, independent of the sum.

    Args:
        ours: float64 [...], share of the images that only ours has right.
        theirs: The same shape; of those that only theirs has right.
        n: Effective number of images, more than 0.
    """
    grid = (np.arange(_GRID) + 0.5) / _GRID
    a, b, rest = (
        each[..., None] * n[..., None] + 0.5 for each in (ours, theirs, (1 - ours - theirs).clip(0))
    )
    both, part = betaincinv(a + b, rest, grid), betaincinv(a, b, grid)
    differences = both[..., :, None] * (2 * part[..., None, :] - 1)
    flat = differences.reshape(*differences.shape[:-2], -1)
    low, high = np.quantile(flat, (TAIL, 1 - TAIL), axis=-1)
    value = ours - theirs
    low = np.where(value <= -1 + TINY, -1.0, np.minimum(low, value))
    return Limits(value, low, np.where(value >= 1 - TINY, 1.0, np.maximum(high, value)))
