"""What a smaller network loses: its balanced accuracy against the whole one's on validation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trainer.evaluation.intervals import estimates
from trainer.evaluation.paired import paired_difference
from trainer.inference import run_dataset
from trainer.inference.network import Network
from trainer.input_pipeline import decode
from trainer.input_pipeline.dataset import Images
from trainer.run.errors import RunError
from trainer.run.progress import progress
from trainer.run.text import counted, difference, estimate


def costs(
    network: Network, computes: Mapping[str, Callable[[np.ndarray], np.ndarray]]
) -> list[str]:
    """Sentences on what smaller networks lose.

    Args:
        network: The whole one, from a run folder.
        computes: The smaller ones by name, from uint8 [1, height, width, 1] to float32 [1,
            classes].

    Returns:
        For each, its balanced accuracy beside the whole one's on the images that chose the network,
        and the difference with its interval; or why none could be measured.
    """
    try:
        dataset = run_dataset.opened(network)
    except RunError as error:
        return [f"What that costs in balanced accuracy was not measured. {error}"]
    images = dataset.splits["validation"]
    squares: list[Any] = [None] * len(images)
    smaller = np.zeros((len(computes), len(images), len(network.class_names)), np.float32)
    with progress(len(images), "scoring validation") as bar:
        for index, encoded in dataset.encoded(images):
            pixels = decode.pixels(encoded, str(images.image_ids[index]))
            squares[index] = network.square(pixels)
            for of, compute in zip(smaller, computes.values(), strict=True):
                of[index] = compute(pixels[None, ..., None])[0]
            bar.update(1)
    whole = network.probabilities(np.stack(squares))
    return [
        f"{name}: {_against(whole, of, images)}" for name, of in zip(computes, smaller, strict=True)
    ]


def _against(whole: np.ndarray, smaller: np.ndarray, images: Images) -> str:
    """Both balanced accuracies, and their difference where they have one."""
    both, groups = (smaller, whole), images.group_numbers
    shown = [
        estimate(estimates(images.labels, each, groups, areas=False)["balanced_accuracy"])
        for each in both
    ]
    calls = [each.argmax(axis=1) for each in both]
    changed = int((calls[0] != calls[1]).sum())
    text = f"balanced accuracy on validation {shown[0]} against {shown[1]} of float32"
    n = f"{counted(len(images), 'image')} of {counted(len(set(groups)), 'patient group')}"
    if not changed:
        return f"{text}; all {n} are called as before."
    right = [(each == images.labels).astype(float) for each in calls]
    lost = difference(paired_difference(images.labels, groups, *right))
    return f"{text}, {lost}; of {n}, {changed} are called otherwise."
