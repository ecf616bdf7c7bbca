"""LiteRT (TensorFlow Lite): the format of telephones and small devices."""

import pathlib
import zipfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_tfds.parallel import CORES
from trainer.inference import served
from trainer.inference.network import Network
from trainer.run.files import written_whole

__all__ = ["opened", "write", "written"]

PLACE = "model.tflite"
PACKAGES = ("ai_edge_litert",)
QUANTIZED = True
_DATE = (1980, 1, 1, 0, 0, 0)
written = written_whole


def write(network: Network, path: pathlib.Path, *, float16: bool) -> None:
    """Writes a network, with labels.txt and covid_tfds.json as a zip behind it.

    So the format's own metadata keeps files: the runtime does not read what is behind, and any
    unzip does.

    Args:
        network: The network.
        path: Of the file.
        float16: Whether weights are stored in 16 bits, see `onnx_model.write`.
    """
    function = served.from_pixels(network).get_concrete_function()
    variables = served.variables(network)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], variables)
    if float16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as behind:
        for name, text in served.documents(network).items():
            behind.writestr(zipfile.ZipInfo(name, _DATE), text)


def opened(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """What is exported, in its own runtime; see `saved_model.opened`."""
    from ai_edge_litert.interpreter import Interpreter

    answer = Interpreter(str(path), num_threads=CORES).get_signature_runner()
    return lambda pixels: answer(**{served.PIXELS: pixels})[served.PROBABILITIES]
