"""Statistics of predicted probabilities, each with a 95 % interval over patient groups.

The images of one patient look alike, so an interval that counts images claims more than the data
hold. The independent unit is the patient group (the patients that are kept in one split).

The method is the percentile bootstrap over groups (Efron 1979): whole groups are drawn with
replacement, all their images with them. It breaks down where every resample gives one value (all
right, all wrong, a perfect ranking), where fewer than half define one, and where fewer than 5
groups of a kind are there to draw: its interval would be far too narrow. There it is Wilson's, with
groups as trials; of all means of values in 0..1 a proportion varies most, so that this errs on the
wide side.

Simulated for a proportion (1 or 2 images a group, correlation 0 or .3, truth .6 to .97), the rule
covers the truth in 90 to 100 % of cases from 9 groups on, in 86 % at worst with 5. So with
under 20 groups read an interval as somewhat too narrow.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

SMALLEST_PROBABILITY = 1e-7  # under the logarithm of the loss, as in Keras
Z95 = 1.959964
RESAMPLES = 2000  # of every interval that is written or shown

# Resamples are weighed some at a time, in a few float64 arrays [draws, images]. The most draws and
# the most cells (4 MiB an array) bound the memory whatever the number of images.
MOST_DRAWS = 250
CELLS = 2**19

# With fewer groups of a kind the resamples know next to nothing of how such groups differ.
FEWEST_TO_DRAW = 5

# A statistic by its name, or by its name and class.
Key = str | tuple[str, int]


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927): (low, high), both in 0..1.

    Args:
        successes: 0..n; need not be whole (a mean of shares in 0..1 times n).
        n: Independent units, more than 0; need not be whole (an effective number).
        z: Normal quantile, 1.959964 for 95 %.

    Raises:
        ValueError: `n` is not positive or `successes` lies outside 0..n.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(
            f"{successes} successes of {n} is no proportion. Pass n > 0 and 0 <= successes <= n."
        )
    share, shrink = successes / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Wilson's interval reaches 0 and 1 exactly at no and at all successes; rounding must not.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def estimates(
    labels: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    resamples: int,
    areas: bool = True,
) -> dict[Key, dict]:
    """Every statistic of one split, with its interval.

    Args:
        labels: int [n], 0..classes-1.
        probabilities: float [n, classes], 0..1, rows sum to 1.
        groups: int [n], the number of each image's group, 0..k-1, each in use.
        seed: Of the draws.
        resamples: Number of draws, at least 1.
        areas: Whether to compute areas under curves, which take most of the time.

    Returns:
        {"value", "low", "high", "n", "interval"} for "accuracy", "balanced_accuracy" (mean
        sensitivity of the classes present), "loss" (cross-entropy in nats, probabilities clipped to
        1e-7), and for (name, class) with the names sensitivity, specificity, ppv, roc_auc and
        pr_auc (average precision), one class against the rest. n counts the images of the
        denominator. Undefined numbers are None.
    """
    statistics = _statistics(labels, probabilities, areas)
    point = statistics(np.ones((1, len(labels))))
    parts = [statistics(weights) for weights in _resampled(groups, seed, resamples)]
    units = _independent_units(labels, probabilities, groups)
    return {
        key: _estimate(float(value[0]), np.concatenate([part[key] for part in parts]), *units[key])
        for key, value in point.items()
    }


def _resampled(groups: np.ndarray, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Draws of groups with replacement, as weights of images: float64 [some draws, n] a time."""
    rng, count = np.random.default_rng(seed), int(groups.max()) + 1
    rows = max(1, min(MOST_DRAWS, CELLS // len(groups)))
    for start in range(0, resamples, rows):
        # The generator draws row after row: the same numbers however they are cut into parts.
        size = min(rows, resamples - start)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=size)
        yield draws.astype(np.float64)[:, groups]


def _statistics(
    labels: np.ndarray, probabilities: np.ndarray, areas: bool
) -> Callable[[np.ndarray], dict[Key, np.ndarray]]:
    """A function of image weights [r, n]: every statistic, float64 [r], NaN where undefined."""
    (n, classes), rows = probabilities.shape, np.arange(len(labels))
    cells = np.zeros((n, classes * classes))
    cells[rows, labels.astype(np.int64) * classes + probabilities.argmax(axis=1)] = 1
    losses = -np.log(probabilities[rows, labels].astype(np.float64).clip(SMALLEST_PROBABILITY, 1))
    ranked = range(classes) if areas else ()
    rankings = {c: Ranking(labels == c, probabilities[:, c]) for c in ranked}
    present = np.unique(labels)

    def weighed(weights: np.ndarray) -> dict[Key, np.ndarray]:
        confusion = (weights @ cells).reshape(-1, classes, classes)
        truth, called = confusion.sum(axis=2), confusion.sum(axis=1)
        right, total = np.diagonal(confusion, axis1=1, axis2=2), weights.sum(axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: undefined in this resample
            by_class = {
                "sensitivity": right / truth,
                "specificity": (total[:, None] - truth - called + right) / (total[:, None] - truth),
                "ppv": right / called,
            }
        statistics = {
            "accuracy": right.sum(axis=1) / total,
            "balanced_accuracy": by_class["sensitivity"][:, present].mean(axis=1),
            "loss": weights @ losses / total,
        }
        for c in range(classes):
            statistics |= {(name, c): values[:, c] for name, values in by_class.items()}
        for c, ranking in rankings.items():
            statistics["roc_auc", c], statistics["pr_auc", c] = ranking.areas(weights)
        return statistics

    return weighed


class Ranking:
    """Images in the order of a score, to take areas under curves of any weights of the images.

    scikit-learn's `roc_auc_score` and `average_precision_score` give the same numbers (the tests
    compare) one row of weights at a time; 2000 resamples of 4 classes would take half a minute.

    Args:
        positive: bool [n].
        scores: float [n], higher means more positive; equal scores share a threshold.
    """

    def __init__(self, positive: np.ndarray, scores: np.ndarray) -> None:
        """Sorts the images."""
        self._order = np.argsort(-scores, kind="stable")
        self._starts = np.flatnonzero(np.r_[True, np.diff(scores[self._order]) != 0])
        self._positive = positive[self._order]

    def areas(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Area under the ROC curve and average precision, under every row of image weights.

        Args:
            weights: float64 [r, n], at least 0.

        Returns:
            Two float64 [r], 0..1; NaN where a row has no positive or no negative weight.
        """
        ordered = weights[:, self._order]
        hits = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        alarms = np.add.reduceat(ordered * ~self._positive, self._starts, axis=1)
        true_positives, false_positives = np.cumsum(hits, axis=1), np.cumsum(alarms, axis=1)
        positives, negatives = true_positives[:, -1:], false_positives[:, -1:]
        with np.errstate(invalid="ignore"):
            below = (negatives - false_positives + alarms / 2) / negatives
            # A threshold that nothing reaches has no hits either, whatever its precision is called.
            called = true_positives + false_positives
            precision = true_positives / np.where(called > 0, called, 1)
            roc = (hits * below).sum(axis=1) / positives[:, 0]
            average_precision = (hits * precision).sum(axis=1) / positives[:, 0]
        return roc, np.where(negatives[:, 0] > 0, average_precision, np.nan)


def _independent_units(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray
) -> dict[Key, tuple[int, int, float | None]]:
    """For each statistic: images of its denominator, fewest groups of a kind, Wilson's trials.

    Trials are groups. For the mean of k sensitivities they are the number whose proportion
    would have the mean's variance, k² / sum(1 / groups of each class). An area is a mean over
    the positives, and just as well over the negatives: the fewer groups of the two are its
    trials. The loss is no share and has none.
    """

    def count(images: np.ndarray) -> tuple[int, int, int]:
        held = len(np.unique(groups[images]))
        return int(images.sum()), held, held

    n, number, _ = count(np.full(len(labels), True))
    per_class = [count(labels == c)[1] for c in np.unique(labels)]
    effective = len(per_class) ** 2 / sum(1 / held for held in per_class)
    units: dict[Key, tuple[int, int, float | None]] = {
        "accuracy": (n, number, number),
        "balanced_accuracy": (n, min(per_class), effective),
        "loss": (n, number, None),
    }
    for c in range(probabilities.shape[1]):
        units["sensitivity", c], units["specificity", c] = count(labels == c), count(labels != c)
        units["ppv", c] = count(probabilities.argmax(axis=1) == c)
        fewer = min(units["sensitivity", c][1], units["specificity", c][1])
        units["roc_auc", c] = units["pr_auc", c] = (n, fewer, fewer)
    return units


def _estimate(value: float, drawn: np.ndarray, n: int, fewest: int, trials: float | None) -> dict:
    """One entry of `estimates`, from its value, its resampled values and `_independent_units`."""
    undefined = {"value": None, "low": None, "high": None, "n": n, "interval": "undefined"}
    if math.isnan(value):
        return undefined
    defined = drawn[~np.isnan(drawn)]
    if 2 * len(defined) > len(drawn) and fewest >= FEWEST_TO_DRAW:
        low, high = map(float, np.percentile(defined, (2.5, 97.5)))
        if high - low > 1e-9:  # wider than rounding
            method = f"patient-group bootstrap, 95 % percentile, {len(defined)} resamples"
            return {"value": value, "low": low, "high": high, "n": n, "interval": method}
    if trials is None:
        return {**undefined, "value": value, "interval": "none: too few patient groups"}
    low, high = wilson(min(value, 1.0) * trials, trials)
    method = "Wilson 95 %, patient groups"
    return {"value": value, "low": low, "high": high, "n": n, "interval": method}


def paired_difference(
    labels: np.ndarray,
    groups: np.ndarray,
    ours: np.ndarray,
    peers: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict:
    """Balanced accuracy of one classifier less another's on the same images, with its interval.

    Groups are drawn with replacement, and both are scored on each draw: what makes a draw hard
    for both cancels out.

    Args:
        labels: int [n], 0..classes-1.
        groups: int [n], the number of each image's group, 0..k-1, each in use.
        ours: float [n], 0..1, share of the repeats in which an image was called right.
        peers: The same of the other classifier.
        seed: Of the draws.
        resamples: Number of draws, at least 1.

    Returns:
        {"value", "low", "high", "n", "interval"}: the difference in -1..1 with its 95 % percentile
        interval; n counts images.
    """
    classes = np.unique(labels)
    of_class = (labels[:, None] == classes).astype(np.float64)

    def differences(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a class that no drawn group has
            shares = weights @ (of_class * (ours - peers)[:, None]) / (weights @ of_class)
        return np.nanmean(shares, axis=1)

    value = differences(np.ones((1, len(labels))))[0]
    parts = [differences(weights) for weights in _resampled(groups, seed, resamples)]
    low, high = np.percentile(np.concatenate(parts), (2.5, 97.5))
    return {
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "n": len(labels),
        "interval": f"paired patient-group bootstrap, 95 % percentile, {resamples} resamples",
    }
