"""Stressed validation: the images of validation, re-framed at random.

Where height or place of the lungs in the image tells the classes of a training set apart, a network
may go by it. Validation has the same frames and does not show what is lost where they are others.
Here they are: a network that needs the frames of its train images scores lower. So a shift that a
test split may bring is met without opening it.

A re-framed image is an image like another: it has a name in the cache, squares, activations.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from PIL import Image

from trainer.augmentation import random
from trainer.input_pipeline.dataset import Images

NAME = "stressed"  # of the images, beside those of the splits
DRAWS = 2  # frames of an image
# How far the columns of `Images.frames` stray to either side: logarithms of height and width, and
# shifts down and to the right, as shares of the sides.
REACH = (0.17, 0.08, 0.05, 0.05)
# Not a run's: all runs, seeds, trials and folds score the same frames, and share their cached rows.
SEED = 15


def stressed(images: Images, seed: int = SEED) -> Images:
    """Each image `DRAWS` times, re-framed at random.

    Args:
        images: n images as they are.
        seed: Of the draws. A frame depends on it, on the image's id and on the draw alone.

    Returns:
        `DRAWS` n images, all of the first draw first (see `draw_numbers`).
    """
    draws = [random.uniform_draws(images.image_ids, draw, seed) for draw in range(DRAWS)]
    units = np.concatenate(draws)[:, : len(REACH)]
    repeated = images.take(np.tile(np.arange(len(images)), DRAWS))
    return dataclasses.replace(repeated, frames=np.array(REACH, np.float32) * (2 * units - 1))


def draw_numbers(images: Images) -> np.ndarray:
    """int64 [n]: the number of the draw, from 0, of each image that `stressed` returned."""
    return np.repeat(np.arange(DRAWS), len(images) // DRAWS)


def with_stressed(splits: Mapping[str, Images]) -> dict[str, Images]:
    """The images of the splits by name and, under `NAME`, those of validation re-framed."""
    return {**splits, NAME: stressed(splits["validation"])}


def reframed(image: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """What stands in another frame of an image, as large as the image; edges are mirrored.

    Args:
        image: uint8 [height, width].
        frame: float32 [4], a row of `Images.frames`: the frame's height and width are those of the
            image times e^frame[0] and e^frame[1], and its centre is moved down and to the right by
            the shares frame[2] and frame[3] of the image's sides. Zeros: the image itself.

    Returns:
        uint8 [height, width], antialiased.
    """
    if not frame.any():
        return image
    height, width = image.shape
    top, bottom = _edges(height, frame[0], frame[2])
    left, right = _edges(width, frame[1], frame[3])
    before = [max(0, math.ceil(-first)) for first in (top, left)]
    after = [max(0, math.ceil(last - side)) for last, side in ((bottom, height), (right, width))]
    padded = np.pad(image, list(zip(before, after, strict=True)), mode="symmetric")
    box = (left + before[1], top + before[0], right + before[1], bottom + before[0])
    whole = Image.fromarray(padded)
    return np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR, box=box))


def _edges(side: int, log_scale: float, shift: float) -> tuple[float, float]:
    """The first and the last edge of a frame along a side, in pixels."""
    half = side * math.exp(log_scale) / 2
    centre = side * (0.5 + float(shift))
    return centre - half, centre + half
