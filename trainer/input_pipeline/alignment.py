"""Chest alignment: the lungs of every image in one place and of one size in the square.

Where lungs lie in an image, and how tall they are, differs with the patient, the collimation and
the aspect ratio, and a network learns it where it goes with the class. So the pose of each chest is
fitted to a template (see `pose`), and the square shows the part of the image that the template
shows (see `resize.Frame`), a little less at the edges, with mirrored pixels beyond the image.

The template is drawn by a formula, of no patient: nothing is fitted to a training's images, and
all trainings, folds and searches share one cache. One image is aligned without regard to others.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from trainer.input_pipeline import pose, resize

SIDE = pose.SIDE  # of the thumbnails that poses are fitted on
POSE = ("scale_x", "scale_y", "shift_x", "shift_y", "correlation")
WEAK = 0.5  # correlation below which a pose is not to be relied on
_SHOWN = pose.IDENTITY / resize.SCALE_STEPS  # of the template's sides that a square shows
_STEPS = np.array([1 / pose.IDENTITY] * 2 + [1 / resize.SHIFT_STEPS] * 2, "float32")


@functools.cache
def template() -> np.ndarray:
    """The chest that all others are fitted to, as `pose.prepared` would show it: dense is large.

    Its numbers are set so that it looks like the mean of many chests.

    Returns:
        float32 [64, 64], read-only: multiples of 1/64.
    """
    line = (np.arange(SIDE) + 0.5) * (2 / SIDE) - 1  # from edge to edge, -1 to 1
    x, y = line[None, :], line[:, None]
    out = np.abs(x)
    depth = np.clip((y + 0.71) / 1.22, 0, 1)  # in the lungs, from their top
    heart = np.where(x > 0, 0.21 * np.exp(-(((y - 0.24) / 0.37) ** 2)), 0)
    outer, inner = 0.20 + 0.51 * np.sqrt(depth), 0.15 + 0.10 * depth + heart
    diaphragm = 0.51 + 2.2 * (out - 0.42) ** 2
    lungs = _soft(outer - out, 0.12) * _soft(out - inner, 0.12) * _soft(diaphragm - y, 0.12)
    body = _soft(0.76 - out, 0.05) * _soft(y + 0.93 - 0.6 * x**2, 0.1)
    spine = _soft(0.16 - out, 0.15) * _soft(0.4 - y, 0.3)
    drawn = np.round(64 * (1.4 * body - 2.5 * lungs + 0.7 * spine)) / 64
    drawn = drawn.astype("float32")
    drawn.flags.writeable = False
    return drawn


def shown() -> np.ndarray:
    """The part of the template that a square shows, float32 [64, 64]."""
    middle = (SIDE - 1) / 2
    at = middle + _SHOWN * (np.arange(SIDE) - middle)
    part = template()
    for _ in range(2):
        part = np.stack([np.interp(at, np.arange(SIDE), line) for line in part]).T
    return part.astype("float32")


def frame_of(pose: np.ndarray) -> resize.Frame:
    """The frame of an image in which its square is made: the one that its pose was made of.

    Args:
        pose: float32 [5], with the columns `POSE`.
    """
    return resize.Frame(*np.round(pose[:4] / _STEPS).astype(int).tolist())


def parts(poses: np.ndarray) -> np.ndarray:
    """The parts of images that squares show.

    Args:
        poses: float32 [n, 5], with the columns `POSE`.

    Returns:
        float [n, 4]: left, top, right and bottom, as shares of the image's sides; what lies outside
        0..1 is mirrored.
    """
    half, middle = poses[:, :2] * (_SHOWN / 2), 0.5 + poses[:, 2:4]
    return np.concatenate([middle - half, middle + half], axis=1)


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """A step from 0 to 1 where a distance changes its sign, `width` to either side."""
    return 0.5 + 0.5 * np.tanh(distance / width)


def _fingerprint() -> str:
    return hashlib.sha256(template().tobytes()).hexdigest()[:16]


# Changes with the pixels: caches go by it.
FORMULA = f"{pose.FORMULA}; {resize.FRAMES}; template {_fingerprint()}"


def aligned(images: keras.KerasTensor, size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Aligned squares as nodes of a functional model, of built-in layers and operations.

    Args:
        images: [batch, height, width, 1] of whole numbers in 0..255, of any type.
        size: Side of the squares in pixels, at least 32.

    Returns:
        float32 [batch, size, size, 1] of whole numbers in 0..255, and float32 [batch, 5], the poses
        with the columns `POSE`: scales as shares of the template's, above 1 where the chest is
        larger in its image; shifts as shares of the image's side, to the right and down; the
        correlation with the template, -1..1.
    """
    _, poses = _posed(resize.squared(images, SIDE)[..., 0])
    # On the way to the squares, so that it is in a saved model, whose outputs are others.
    poses = keras.layers.Identity(dtype="float32", name="pose")(poses)
    frames = ops.cast(ops.floor(poses[:, :4] * (1 / _STEPS) + 0.5), "int32")
    return resize.framed(images, size, frames), poses


def _posed(thumbnails: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Frames int32 [batch, 4] and poses float32 [batch, 5] of [batch, 64, 64]."""
    frames, correlations = pose.fitted(pose.prepared(thumbnails), template())
    shares = ops.cast(frames, "float32") * _STEPS
    return frames, ops.concatenate([shares, correlations], axis=1)


class Aligner:
    """Aligns single images outside the network, to the very pixels and pose of `aligned`."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Builds what finds poses.

        Args:
            sizes: Sides of the squares in pixels; all are made of one pose.
        """
        self._sizes = tuple(sizes)
        self._posed = _compiled()

    def __call__(self, image: np.ndarray) -> tuple[dict[int, np.ndarray], np.ndarray]:
        """Aligns an image; from several threads at once, if need be.

        Args:
            image: uint8 [height, width].

        Returns:
            uint8 [size, size] by size, and the pose, float32 [5], with the columns `POSE`.
        """
        thumbnail = resize.square(image, SIDE).astype("float32")
        frames, poses = self._posed(thumbnail[None])
        frame = resize.Frame(*frames.numpy()[0].tolist())
        squares = {size: resize.square(image, size, frame) for size in self._sizes}
        return squares, poses.numpy()[0]


@functools.cache
def _compiled() -> Callable[[np.ndarray], tuple[Any, Any]]:
    """`_posed` of one image; what TensorFlow makes of it is kept: that takes half a second."""
    import tensorflow as tf  # not above: a saved model's layers need no TensorFlow

    def posed(thumbnails: np.ndarray) -> tuple[Any, Any]:
        with cpu():
            return compute(thumbnails)

    # One image at a time: a GPU would only wait.
    cpu = functools.partial(tf.device, "CPU:0")
    with cpu():
        thumbnails = keras.Input((SIDE, SIDE), dtype="float32")
        model = keras.Model(thumbnails, _posed(thumbnails))
    shape = tf.TensorSpec((1, SIDE, SIDE), tf.float32)
    compute = tf.function(model, input_signature=[shape], autograph=False)
    return posed


def at_bounds(poses: np.ndarray) -> np.ndarray:
    """Which poses are the last of the grid: the chest may lie beyond.

    Args:
        poses: float32 [n, 5], with the columns `POSE`.

    Returns:
        bool [n].
    """
    frames = np.round(poses[:, :4] / _STEPS)
    scales, shifts = frames[:, :2], np.abs(frames[:, 2:])
    last = (scales <= pose.LEAST_SCALE) | (scales >= resize.MOST_SCALE)
    return (last | (shifts >= resize.MOST_SHIFT)).any(axis=1)


def weak(poses: np.ndarray) -> np.ndarray:
    """Which poses correlate so little with the template that they are not to be relied on.

    Args:
        poses: float32 [n, 5], with the columns `POSE`.

    Returns:
        bool [n].
    """
    return poses[:, POSE.index("correlation")] < WEAK
