"""Occlusion maps: how much less probable a class becomes where a patch of the image is covered.

M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks" (2013). Unlike
Grad-CAM it looks at nothing inside of the network, and costs `GRID`² passes of it for each image.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

GRID = 8  # patches of a row and of a column
_WIDE = 2  # a patch in steps between patches, so that a finding on a border is covered whole, too
_LEAST = 1e-6  # a probability that is taken for 0: float32 knows none between 1 and 1 - 6e-8


def maps(
    probabilities: Callable[[np.ndarray], np.ndarray],
    squares: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    on_progress: Callable[[int], None] = lambda images: None,
) -> np.ndarray:
    """How far the log-odds of a class fall where a patch is covered.

    Of log-odds, because a network that is sure changes its probability by nothing that shows.

    Args:
        probabilities: The network, from squares to float32 [n, classes].
        squares: uint8 [n, size, size, 1], 0..255.
        classes: Of each image.
        on_progress: Called with 1 after each image.

    Returns:
        float32 [n, GRID, GRID], in nats: above 0 where the patch spoke for the class, below where
        it spoke against it. The patches lie side by side, and each reaches half a patch beyond
        the middle of the next one.
    """
    fallen = np.zeros((len(squares), GRID, GRID), np.float32)
    for row, (square, label) in enumerate(zip(squares, classes, strict=True)):
        as_it_is = _log_odds(probabilities(square[None])[:, label])
        covered = _log_odds(probabilities(np.stack(list(_covered(square))))[:, label])
        fallen[row] = (as_it_is - covered).reshape(GRID, GRID)
        on_progress(1)
    return fallen


def _covered(square: np.ndarray) -> Iterator[np.ndarray]:
    """A square with one patch after the other covered, row by row.

    With the mean of the square: black would be more air than any lung and white more bone than any
    rib, both of which a network has learned to call something. The mean adds no such object, and
    it is the one value that leaves the brightness of an image with the same mean in every patch.
    """
    size = len(square)
    fill = np.uint8(round(float(square.mean())))
    edges = [
        [round(size * (i + 0.5 + end * _WIDE / 2) / GRID) for i in range(GRID)] for end in (-1, 1)
    ]
    bounds = [(max(low, 0), high) for low, high in zip(*edges, strict=True)]
    for top, bottom in bounds:
        for left, right in bounds:
            patched = square.copy()
            patched[top:bottom, left:right] = fill
            yield patched


def _log_odds(shares: np.ndarray) -> np.ndarray:
    shares = np.clip(shares.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.log(shares) - np.log1p(-shares)
