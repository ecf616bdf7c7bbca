"""How far the confidence of a network is from its accuracy, over equal bins of confidence."""

import numpy as np

BINS = 10


def by_confidence(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin of confidence that each image is in: (0, .1], (.1, .2] and so on.

    Args:
        probabilities: float32 [n, classes], 0..1.

    Returns:
        float64 [n], the probability of the class that is called, at most 1; and int64 [n], 0 to
        `BINS` - 1.
    """
    confidence = np.minimum(probabilities.max(axis=1).astype(np.float64), 1)
    return confidence, np.ceil(confidence * BINS).astype(np.int64) - 1


def expected_error(labels: np.ndarray, by_repeat: np.ndarray) -> float:
    """Mean gap of confidence and accuracy over the bins (Guo et al. 2017), 0..1.

    Of several repeats their mean: together, one that is too sure would hide one that is too unsure.

    Args:
        labels: int [n], 0..classes-1.
        by_repeat: float32 [repeats, n, classes], 0..1, of the same images.
    """
    errors = []
    for probabilities in by_repeat:
        confidence, bins = by_confidence(probabilities)
        gap = (probabilities.argmax(axis=1) == labels) - confidence
        errors.append(np.abs(np.bincount(bins, weights=gap)).sum() / len(gap))
    return float(np.mean(errors))
