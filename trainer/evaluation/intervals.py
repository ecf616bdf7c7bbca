"""Statistics of predicted probabilities, each with a 95 % interval over patients.

The method is the percentile bootstrap over patients (Efron 1979): whole patients are drawn with
replacement, all their images with them. It breaks down where every resample gives one value (all
right, all wrong, a perfect ranking), where fewer than half define one, and where fewer than 5
patients of a kind are there to draw: its interval would be a boast. There it is Wilson's, with
patients as trials; of all means of values in 0..1 a proportion varies most, so that errs on the
wide side.

Simulated for a proportion (1 or 2 images a patient, correlation 0 or .3, truth .6 to .97), the rule
covers the truth in 90 to 100 % of cases from 9 patients on, in 86 % at worst with 5. So with
under 20 patients read an interval as somewhat too narrow.
"""

from __future__ import annotations

import math

import numpy as np

PROBABILITY_FLOOR = 1e-7
Z95 = 1.959964

# Resamples weighed at once; bounds the memory to a few arrays [CHUNK, images] of float64.
CHUNK = 250

# With fewer patients of a kind the resamples know next to nothing of how such patients differ.
FEWEST_TO_DRAW = 5

# A statistic by its name, or by its name and class.
Key = str | tuple[str, int]


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927): (low, high), both in 0..1.

    Args:
      successes: 0..n; need not be whole (a mean of shares in 0..1 times n).
      n: independent units, more than 0; need not be whole (an effective number).
      z: normal quantile, 1.959964 for 95 %.

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
    patients: np.ndarray,
    *,
    seed: int,
    resamples: int,
) -> dict[Key, dict]:
    """Every statistic of one split, with its interval.

    Args:
      labels: int [n], 0..classes-1.
      probabilities: float [n, classes], 0..1, rows sum to 1.
      patients: int [n], the patients' numbers, 0..patients-1, each in use.
      seed: of the draws.
      resamples: number of draws, at least 1.

    Returns:
      {"value", "low", "high", "n", "interval"} for "accuracy", "balanced_accuracy" (mean
      sensitivity of the classes present), "loss" (cross-entropy in nats, probabilities clipped to
      1e-7), and for (name, class) with the names sensitivity, specificity, ppv, roc_auc and pr_auc
      (average precision), one class against the rest. n counts the images of the denominator.
      Undefined numbers are None.
    """
    count = int(patients.max()) + 1
    point = _statistics(labels, probabilities, np.ones((1, len(labels))))
    draws = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=resamples
    )
    parts = [
        _statistics(labels, probabilities, draws[start : start + CHUNK][:, patients])
        for start in range(0, resamples, CHUNK)
    ]
    units = _independent_units(labels, probabilities, patients)
    return {
        key: _estimate(float(value[0]), np.concatenate([part[key] for part in parts]), *units[key])
        for key, value in point.items()
    }


def _statistics(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> dict[Key, np.ndarray]:
    """Every statistic under every row of image weights [r, n]: float64 [r], NaN where undefined."""
    (n, classes), rows = probabilities.shape, np.arange(len(labels))
    weights = weights.astype(np.float64)
    cells = np.zeros((n, classes * classes))
    cells[rows, labels.astype(np.int64) * classes + probabilities.argmax(axis=1)] = 1
    confusion = (weights @ cells).reshape(-1, classes, classes)
    truth, called = confusion.sum(axis=2), confusion.sum(axis=1)
    right, total = np.diagonal(confusion, axis1=1, axis2=2), weights.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: undefined in this resample
        by_class = {
            "sensitivity": right / truth,
            "specificity": (total[:, None] - truth - called + right) / (total[:, None] - truth),
            "ppv": right / called,
        }
    losses = -np.log(probabilities[rows, labels].astype(np.float64).clip(PROBABILITY_FLOOR, 1))
    found = {
        "accuracy": right.sum(axis=1) / total,
        "balanced_accuracy": by_class["sensitivity"][:, np.unique(labels)].mean(axis=1),
        "loss": weights @ losses / total,
    }
    for c in range(classes):
        found |= {(name, c): values[:, c] for name, values in by_class.items()}
        found["roc_auc", c], found["pr_auc", c] = ranking_areas(
            labels == c, probabilities[:, c], weights
        )
    return found


def ranking_areas(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision, under every row of image weights.

    scikit-learn's `roc_auc_score` and `average_precision_score` give the same numbers (the tests
    compare) one row at a time; 2000 resamples of 4 classes would keep them busy for half a minute.

    Args:
      positive: bool [n].
      scores: float [n], higher means more positive; equal scores share a threshold.
      weights: float64 [r, n], at least 0.

    Returns:
      Two float64 [r], 0..1; NaN where a row has no positive or no negative weight.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    ordered = weights[:, order]
    hits = np.add.reduceat(ordered * positive[order], starts, axis=1)
    alarms = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
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
    labels: np.ndarray, probabilities: np.ndarray, patients: np.ndarray
) -> dict[Key, tuple[int, int, float | None]]:
    """For each statistic: images of its denominator, fewest patients of a kind, Wilson's trials.

    Trials are patients. For the mean of k sensitivities they are the number whose proportion
    would have the mean's variance, k² / sum(1 / patients of each class). An area is a mean over
    the positives, and just as well over the negatives: the fewer patients of the two are its
    trials. The loss is no share and has none.
    """

    def count(images: np.ndarray) -> tuple[int, int, int]:
        number = len(np.unique(patients[images]))
        return int(images.sum()), number, number

    n, people, _ = count(np.full(len(labels), True))
    per_class = [count(labels == c)[1] for c in np.unique(labels)]
    effective = len(per_class) ** 2 / sum(1 / number for number in per_class)
    units: dict[Key, tuple[int, int, float | None]] = {
        "accuracy": (n, people, people),
        "balanced_accuracy": (n, min(per_class), effective),
        "loss": (n, people, None),
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
            method = f"patient-cluster bootstrap, 95 % percentile, {len(defined)} resamples"
            return {"value": value, "low": low, "high": high, "n": n, "interval": method}
    if trials is None:
        return {**undefined, "value": value, "interval": "none: too few patients"}
    low, high = wilson(min(value, 1.0) * trials, trials)
    return {"value": value, "low": low, "high": high, "n": n, "interval": "Wilson 95 %, patients"}


def paired_difference(
    labels: np.ndarray,
    patients: np.ndarray,
    ours: np.ndarray,
    peers: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> dict:
    """Balanced accuracy of one classifier less another's on the same images, with its interval.

    Patients are drawn with replacement, and both are scored on each draw: what makes a draw hard
    for both cancels out.

    Args:
      labels: int [n], 0..classes-1.
      patients: int [n], the patients' numbers, 0..patients-1, each in use.
      ours: float [n], 0..1, share of the repeats in which an image was called right.
      peers: the same of the other classifier.
      seed: of the draws.
      resamples: number of draws, at least 1.

    Returns:
      {"value", "low", "high", "n", "interval"}: the difference in -1..1 with its 95 % percentile
      interval; n counts images.
    """
    classes = np.unique(labels)
    of_class = (labels[:, None] == classes).astype(np.float64)
    count = int(patients.max()) + 1
    draws = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=resamples
    )

    def differences(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # a class that no drawn patient has
            shares = weights @ (of_class * (ours - peers)[:, None]) / (weights @ of_class)
        return np.nanmean(shares, axis=1)

    value = differences(np.ones((1, len(labels))))[0]
    parts = [
        differences(draws[start : start + CHUNK][:, patients])
        for start in range(0, resamples, CHUNK)
    ]
    low, high = np.percentile(np.concatenate(parts), (2.5, 97.5))
    return {
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "n": len(labels),
        "interval": f"paired patient-cluster bootstrap, 95 % percentile, {resamples} resamples",
    }
