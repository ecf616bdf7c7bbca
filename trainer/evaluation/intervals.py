"""Statistics of predicted probabilities, each with a 95 % interval over patient groups.

The images of one patient look alike, so an interval that counts images claims more than the data
hold. The independent unit is the patient group (the patients that are kept in one split). All
limits are closed forms on an effective number of images, the same whenever they are computed; no
group is drawn, and nothing is random. A bootstrap knows nothing of what was not drawn: with five
patients, or a class that is all right, it covers the truth in far less than 95 % of cases.

`effective` has the effective number, `shares`, `areas`, `average_precision` and `losses` the
limits, `paired` those of a difference. docs/intervals.md has the formulas and how often they cover.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.evaluation import areas as curves
from trainer.evaluation import average_precision, effective, losses, shares
from trainer.evaluation.effective import Sums
from trainer.evaluation.shares import Limits
from trainer.run.text import counted

SMALLEST_PROBABILITY = 1e-7  # under the logarithm of the loss, as in Keras
GREATEST_LOSS = -math.log(SMALLEST_PROBABILITY)
OF_CLASS = ("sensitivity", "specificity", "ppv")

# A statistic by its name, or by its name and class.
Key = str | tuple[str, int]


def estimates(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, *, areas: bool = True
) -> dict[Key, dict[str, Any]]:
    """Every statistic of one split, with its interval.

    Args:
        labels: int [n], 0..classes-1.
        probabilities: float [n, classes], 0..1, rows sum to 1; or [repeats, n, classes], of the
            same images by several networks. An image counts once: as right by its share of the
            repeats, with the mean of its losses, and its mean place in the rankings, so that every
            value but the ppv (of all calls) is the mean of the repeats' and no interval narrows
            with their number.
        groups: int [n], the number of each image's group, 0..k-1, each in use.
        areas: Whether to compute areas under curves, which take most of the time.

    Returns:
        An E of `metrics.score` for "accuracy", "balanced_accuracy" (mean sensitivity of the classes
        present), "loss" (cross-entropy in nats, probabilities clipped to 1e-7), and for
        (name, class) with the names sensitivity, specificity, ppv, roc_auc and pr_auc (average
        precision), one class against the rest.
    """
    by_repeat = probabilities.reshape(-1, *probabilities.shape[-2:])
    result = _shares(labels, by_repeat, groups)
    result["loss"] = _loss(labels, by_repeat, groups)
    if areas:
        for c in range(by_repeat.shape[-1]):
            result |= dict(_areas(c, labels == c, by_repeat[..., c], groups))
    return result


def _shares(labels: np.ndarray, by_repeat: np.ndarray, groups: np.ndarray) -> dict[Key, dict]:
    """The estimates that are shares of images, and the mean of some."""
    classes, rows = by_repeat.shape[-1], np.arange(len(labels))
    numbers = np.arange(classes)[:, None]
    # [classes, n]; the share of the repeats in which an image was called so.
    called = (by_repeat.argmax(axis=-1) == numbers[..., None]).mean(axis=1)
    truth = labels == numbers
    everything = np.ones((1, len(labels)))
    sums = Sums.of_groups(
        weights := np.concatenate((everything, truth, ~truth, called)),
        np.concatenate((called[labels, rows][None], called, 1 - called, truth)),
        groups,
    )
    n, held = effective.of_share(sums), sums.groups
    limits, counts = shares.jeffreys(sums.mean, n), np.count_nonzero(weights, axis=1)
    keys: list[Key] = ["accuracy", *((name, c) for name in OF_CLASS for c in range(classes))]
    result = {
        key: estimate("Jeffreys 95 %", Limits(*of), *more)
        for key, *of, more in zip(keys, *limits, zip(counts, n, held, strict=True), strict=True)
    }
    present = 1 + np.unique(labels)  # rows of the sensitivities
    times = effective.shared_between(Sums(*(each[present] for each in sums)))
    result["balanced_accuracy"] = estimate(
        "MOVER of the sensitivities, 95 %",
        shares.balanced_accuracy(limits.value[present], n[present], times),
        len(labels),
        effective.of_mean(n[present]) / times,
        held[0],
    )
    return result


def _loss(labels: np.ndarray, by_repeat: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """The estimate of the cross-entropy."""
    certain = by_repeat.astype(np.float64).clip(SMALLEST_PROBABILITY, 1)
    each = -np.log(certain[:, np.arange(len(labels)), labels])
    wrong = by_repeat.argmax(axis=-1) != labels
    size, missed, rest = (
        np.bincount(groups, weights=of_image)
        for of_image in (
            np.ones(len(labels)), (each * wrong).mean(axis=0), (each * ~wrong).mean(axis=0)
        )
    )  # fmt: skip
    worst = -np.log(certain.min())
    limits = losses.mean_loss(size, missed, rest, worst, GREATEST_LOSS)
    n = effective.kish(size)
    return estimate("Fay & Feuer and t, 95 %", limits, len(labels), n, len(size))


def _areas(
    c: int, positive: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> Iterator[tuple[Key, dict]]:
    """The areas of one class: bool [n], its probabilities [repeats, n]."""
    held = [len(np.unique(groups[images])) for images in (positive, ~positive)]
    if not min(held):
        for name in ("roc_auc", "pr_auc"):
            yield (name, c), _undefined(len(positive))
        return
    own, others = scores[:, positive], scores[:, ~positive]
    above = curves.placements(own, others).mean(axis=0)
    below = 1 - curves.placements(others, own).mean(axis=0)
    area = curves.roc_area(above, below, groups[positive], groups[~positive])
    n, sides = len(positive), f"{counted(held[0], 'patient group')} against {held[1]} of others"
    of = f"of the class or of the others, which are fewer, {sides}"
    yield ("roc_auc", c), estimate("Newcombe 95 %", area.limits, n, area.n, min(held), of)
    precision = average_precision.precision(own, others)
    limits, of_own = average_precision.limits_of(
        average_precision.Precision(*(each.mean(axis=0) for each in precision)),
        area.positives, groups[positive], groups[~positive],
    )  # fmt: skip
    of = f"of {counted(own.shape[1], 'positive')}, {sides}"
    yield ("pr_auc", c), estimate("Jeffreys and t 95 %", limits, n, of_own, min(held), of)


def _undefined(n: int) -> dict[str, Any]:
    numbers = {"value": None, "low": None, "high": None, "n": n, "n_effective": None, "groups": 0}
    return {**numbers, "interval": "undefined"}


def estimate(
    method: str,
    limits: Limits,
    n: int,
    n_effective: np.ndarray | np.floating,
    groups: int,
    of: str = "",
) -> dict[str, Any]:
    """An E of `metrics.score`.

    Args:
        method: Of the interval.
        limits: Scalars; NaN where they are not defined.
        n: Images.
        n_effective: Of them, a scalar.
        groups: Of them.
        of: Of which images and groups the effective number is, in words; "": of all of them.
    """
    if math.isnan(limits.value):
        return _undefined(int(n))
    of = of or f"of {counted(int(n), 'image')}, {counted(int(groups), 'patient group')}"
    return {
        **{name: float(each) for name, each in limits._asdict().items()},
        "n": int(n),
        "n_effective": float(n_effective),
        "groups": int(groups),
        "interval": f"{method}, n* = {n_effective:.1f} {of}",
    }
