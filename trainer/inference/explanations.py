"""Explanations of a network's answers: for each image its maps, their check, and a picture."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np

from trainer.inference import gradcam, lungs, occlusion, randomized
from trainer.inference.lungs import Inside, Masks
from trainer.inference.network import Network
from trainer.input_pipeline import alignment, resize
from trainer.model import about


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """What a network makes of an image, and where in it.

    Attributes:
        name: Of the image.
        pixels: uint8 [height, width], 0..255, the image as it is stored.
        square: uint8 [size, size], 0..255, what the network gets.
        frame: The part of the image that the square shows.
        class_names: What the probabilities are of.
        probabilities: float32 [classes].
        label: The class that the maps are of.
        gradcam: float32 [height, width], 0..1, of `gradcam.heatmaps`.
        occlusion: float32 [rows, columns], in nats, of `occlusion.maps`.
        lungs: How much of the Grad-CAM map lies inside the lungs; None without a mask.
    """

    name: str
    pixels: np.ndarray
    square: np.ndarray
    frame: resize.Frame
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    label: int
    gradcam: np.ndarray
    occlusion: np.ndarray
    lungs: Inside | None = None


def explained(
    network: Network,
    images: Sequence[tuple[str, np.ndarray]],
    class_name: str = "",
    masks: Masks | None = None,
    on_explained: Callable[[Explanation], None] = lambda explanation: None,
) -> tuple[list[Explanation], dict[str, np.ndarray]]:
    """Explains the answers for some images.

    Args:
        network: Whose answers.
        images: Names and uint8 [height, width], 0..255.
        class_name: The class that the maps are of; "": of each image the most probable.
        masks: Of the lungs.
        on_explained: Called with each, as soon as its maps are there.

    Returns:
        The explanations, and the check of all Grad-CAM maps together, of
        `randomized.correlations`.

    Raises:
        ConfigError: The network has no such class.
        RunError: A mask is none of its image.
    """
    only = _label(network, class_name)
    of_lungs = [None if masks is None else masks.of(name, pixels) for name, pixels in images]
    squares = network.squares([pixels for _, pixels in images])
    probabilities = network.probabilities(squares)
    labels = probabilities.argmax(axis=1) if only is None else np.full(len(images), only)
    maps = gradcam.heatmaps(network.model, squares, labels)
    frame_of = _frames(network)
    made = []
    for row, (name, pixels) in enumerate(images):
        frame, mask, at = frame_of(pixels), of_lungs[row], slice(row, row + 1)
        covered = occlusion.maps(network.probabilities, squares[at], labels[at])[0]
        made.append(
            Explanation(
                name=name,
                pixels=pixels,
                square=squares[row, ..., 0],
                frame=frame,
                class_names=network.class_names,
                probabilities=probabilities[row],
                label=int(labels[row]),
                gradcam=maps[row],
                occlusion=covered,
                lungs=None if mask is None
                else lungs.inside(maps[row], mask, network.image_size, frame),
            )
        )  # fmt: skip
        on_explained(made[-1])
    return made, randomized.correlations(network.model, squares, labels, maps)


def _label(network: Network, class_name: str) -> int | None:
    if not class_name:
        return None
    about.require_class(class_name, network.class_names)
    return network.class_names.index(class_name)


def _frames(network: Network) -> Callable[[np.ndarray], resize.Frame]:
    """Of an image, the frame that the network gives it."""
    if network.align == "none":
        return lambda pixels: resize.WHOLE
    posed = keras.Model(network.model.input, network.model.get_layer("pose").output)
    return lambda pixels: alignment.frame_of(posed(pixels[None, ..., None]).numpy()[0])
