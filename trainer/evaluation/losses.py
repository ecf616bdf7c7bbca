"""95 % limits of a mean loss: misses as a weighted Poisson sum, the rest by Student's t.

A confident miss costs ten times what all else does, and a test that happens to have none does not
show that there are none. So the losses of images that were called wrong have the gamma limits of
Fay & Feuer (1997), whose upper one counts one more miss, of the greatest loss that any image would
have had; the others' limits are those of a mean over groups; both are combined (Zou & Donner 2008).
"""

import numpy as np
from scipy.special import gammaincinv, stdtrit

from trainer.evaluation.effective import ratio
from trainer.evaluation.shares import TAIL, Limits


def mean_loss(
    size: np.ndarray, missed: np.ndarray, rest: np.ndarray, worst: np.ndarray, bound: float
) -> Limits:
    """A mean loss over images.

    Args:
        size: float64 [..., groups], images of each group, more than 0.
        missed: The same shape: the summed loss of each group's images that were called wrong.
        rest: The summed loss of those that were called right.
        worst: float64 [...], the greatest loss that any of the images would have had, with its
            least probable class as the label.
        bound: The greatest loss that there is.
    """
    n, groups = size.sum(axis=-1), size.shape[-1]
    of_missed, of_rest = missed.sum(axis=-1) / n, rest.sum(axis=-1) / n
    half = np.full_like(n, bound)
    if groups > 1:
        deviations = np.square(rest - of_rest[..., None] * size).sum(axis=-1)
        half = stdtrit(groups - 1, 1 - TAIL) * np.sqrt(groups / (groups - 1) * deviations) / n
    variance, unseen = np.square(missed).sum(axis=-1) / np.square(n), worst / groups
    low = np.where(of_missed > 0, _gamma(of_missed, variance, TAIL), 0.0)
    high = _gamma(of_missed + unseen, variance + np.square(unseen), 1 - TAIL)
    value = of_missed + of_rest
    below = np.hypot(of_missed - np.fmin(low, of_missed), half)
    above = np.hypot(np.maximum(high, of_missed) - of_missed, half)
    return Limits(value, (value - below).clip(0), np.minimum(value + above, bound))


def _gamma(mean: np.ndarray, variance: np.ndarray, probability: float) -> np.ndarray:
    """The quantile of a gamma distribution with this mean and variance."""
    return ratio(variance, mean) * gammaincinv(ratio(np.square(mean), variance), probability)
