"""ONNX: the format that ONNX Runtime reads."""

import json
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from covid_tfds.parallel import CORES
from trainer.inference import served
from trainer.inference.network import Network
from trainer.run.files import written_whole

if TYPE_CHECKING:
    import onnx

__all__ = ["opened", "write", "written"]

PLACE = "model.onnx"
PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
QUANTIZED = True
_OPSET = 18
_MANY = 1000  # numbers of an array that is worth being stored in 16 bits
_ERRORS = 3  # of ONNX Runtime's levels; below are warnings that nobody can mend
written = written_whole


def write(network: Network, path: pathlib.Path, *, float16: bool) -> None:
    """Writes a network; its metadata has `labels` and `about`, JSON.

    Args:
        network: The network.
        path: Of the file.
        float16: Whether weights are stored in 16 bits. They are computed with in 32: what
            resizes and aligns an image is exact in both.
    """
    import onnx
    import tf2onnx

    function = served.from_pixels(network)
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
    if float16:
        _halve(model.graph)
    model.producer_name = "covid_tfds"
    text = served.documents(network)
    labels = json.dumps(network.class_names, ensure_ascii=False)
    onnx.helper.set_model_props(model, {"labels": labels, "about": text[served.ABOUT]})
    path.write_bytes(model.SerializeToString())


def _halve(graph: "onnx.GraphProto") -> None:
    """Stores large arrays in 16 bits, each with a cast to 32 in front of what reads it."""
    import onnx

    casts = []
    for array in graph.initializer:
        values = onnx.numpy_helper.to_array(array)
        if values.dtype != np.float32 or values.size < _MANY:
            continue
        name, stored = array.name, f"{array.name}/float16"
        array.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
        to = onnx.TensorProto.FLOAT
        casts.append(onnx.helper.make_node("Cast", [stored], [name], f"{name}/float32", to=to))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def opened(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """What is exported, in its own runtime; see `saved_model.opened`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run([served.PROBABILITIES], {served.PIXELS: pixels})[0]
