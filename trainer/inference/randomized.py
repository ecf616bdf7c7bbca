"""The randomized-weights check: how much of a Grad-CAM map comes from what the network learned.

J. Adebayo et al., "Sanity Checks for Saliency Maps" (2018): a map that stays as it was when the
weights are replaced by random ones shows edges and brightness of the image, and not what the
network makes of it. Here weights keep their values and lose their places, so that the scale of
activations stays what it was.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
from scipy import stats

from trainer.inference import gradcam

# Names of the layers whose weights are moved, by what they are called in a sentence.
PARTS = {"head": ("head", "last"), "head and block 5": ("head", "last", "block5_")}
DRAWS = 3
_MUCH = 0.5  # a rank correlation from which maps are alike


def correlations(
    model: keras.Model,
    squares: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    maps: np.ndarray,
) -> dict[str, np.ndarray]:
    """Spearman's rank correlation of maps with those of the network with random weights.

    Args:
        model: As for `gradcam.heatmaps`; it is as it was afterwards.
        squares: As there.
        classes: Of each image.
        maps: What `gradcam.heatmaps` gives of these.

    Returns:
        By the keys of `PARTS`, float [n], -1..1: the mean over `DRAWS`. It is 0 where one of both
        maps is the same everywhere.
    """
    result = {}
    for part, names in PARTS.items():
        of_draws = []
        for seed in range(DRAWS):
            with _moved(model, names, seed):
                randomized = gradcam.heatmaps(model, squares, classes)
            pairs = zip(maps, randomized, strict=True)
            of_draws.append([_rank_correlation(*pair) for pair in pairs])
        result[part] = np.mean(of_draws, axis=0)
    return result


def sentence(of_parts: Mapping[str, np.ndarray]) -> str:
    """What the check says of the maps of some images, in words.

    Args:
        of_parts: Of `correlations`, of one image or more.
    """
    means = {part: float(values.mean()) for part, values in of_parts.items()}
    numbers = " and ".join(
        f"{round(value, 2) + 0.0:.2f} (random {part})" for part, value in means.items()
    )
    lowest = min(means.values())
    if max(means.values()) < _MUCH:
        what = "most of a map comes from what was learned"
    elif lowest < _MUCH:
        what = "a map comes from the convolutions that were learned, and less from the head"
    else:
        what = "much of a map would be there without learning, so it explains little"
    return (
        f"Maps of the network with random weights have a rank correlation of {numbers} with these, "
        f"where 1 is the same map: {what}."
    )


@contextlib.contextmanager
def _moved(model: keras.Model, names: Sequence[str], seed: int) -> Iterator[None]:
    """Puts the weights of layers to random places, each array for itself, and back."""
    draw = np.random.default_rng(seed)
    layers = [each for each in model.layers if each.name.startswith(tuple(names)) and each.weights]
    before = [layer.get_weights() for layer in layers]
    try:
        for layer, arrays in zip(layers, before, strict=True):
            layer.set_weights(
                [draw.permutation(each.ravel()).reshape(each.shape) for each in arrays]
            )
        yield
    finally:
        for layer, arrays in zip(layers, before, strict=True):
            layer.set_weights(arrays)


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)
