"""TensorFlow's SavedModel: the format that TensorFlow Serving reads."""

import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.inference import served
from trainer.inference.network import Network
from trainer.run.files import folder_written_whole

__all__ = ["opened", "write", "written"]

PLACE = "savedmodel/1"  # TensorFlow Serving reads the highest of numbered folders
PACKAGES = ()  # beside those that are there
QUANTIZED = False
_EXTRA = "assets.extra"  # where the format has files that TensorFlow does not read
written = folder_written_whole


def write(network: Network, path: pathlib.Path, *, float16: bool) -> None:
    """Writes a network with the signatures `serving_default` and `serving_bytes`.

    Args:
        network: The network.
        path: A folder, which is there and empty.
        float16: Is False.
    """
    signatures = {
        "serving_default": served.from_pixels(network, labels=True),
        "serving_bytes": served.from_bytes(network),
    }
    tf.saved_model.save(served.variables(network), path, signatures=signatures)
    extra = path / _EXTRA
    extra.mkdir()
    for name, text in served.documents(network).items():
        (extra / name).write_text(text, encoding="utf-8")


def opened(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """What is exported, in its own runtime.

    Args:
        path: Of the folder.

    Returns:
        From uint8 [batch, height, width, 1] to float32 [batch, classes].
    """
    loaded = tf.saved_model.load(path)

    def compute(pixels: np.ndarray) -> np.ndarray:
        answer = loaded.signatures["serving_default"]  # here: variables live as long as `loaded`
        return answer(tf.constant(pixels))[served.PROBABILITIES].numpy()

    return compute
