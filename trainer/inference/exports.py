"""One call of `trainer.export`: a network in other formats, each compared before it is kept."""

import dataclasses
import importlib.util
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from covid_tfds import phantom
from trainer.inference import litert_model, onnx_model, saved_model
from trainer.inference.network import Network, load
from trainer.inference.quantization import costs
from trainer.run import files
from trainer.run.errors import ConfigError, RunError
from trainer.run.libraries import no_greeting
from trainer.run.machine import size
from trainer.run.progress import fitted, working
from trainer.run.text import listed, table

Compute = Callable[[np.ndarray], np.ndarray]
FORMATS = {"savedmodel": saved_model, "onnx": onnx_model, "litert": litert_model}
QUANTIZE = ("none", "float16")
_COMPARED = 64  # images
_APART = {"none": 1e-3, "float16": 0.05}  # probabilities may be, at most
_SIZES = (64, 150, 224, 320, 401)  # of the images, before some lose a part of their width
_TIMED = 15  # calls, of which the median is shown, after two
_SIDE = 320  # pixels of the image that is timed, as most stored ones have
_COLUMNS = ("format", "size", f"{_SIDE} x {_SIDE} px", "largest difference")


@dataclasses.dataclass(frozen=True)
class Exported:
    """A network in another format.

    Attributes:
        kind: A key of `FORMATS`.
        path: Of the file, or of the folder.
        bytes: Of it.
        milliseconds: That one image takes in its own runtime, median.
        difference: The largest to Keras' probabilities, of 64 images.
    """

    kind: str
    path: pathlib.Path
    bytes: int
    milliseconds: float
    difference: float


@dataclasses.dataclass(frozen=True, eq=False)
class Exports:
    """What `export` made.

    Attributes:
        network: The network.
        made: One a format.
        milliseconds: That one image takes as `trainer.predict` does it, median.
        costs: Sentences on what the quantization costs, if there was any.
    """

    network: Network
    made: list[Exported]
    milliseconds: float
    costs: list[str]


def export(
    run: str | os.PathLike,
    formats: Sequence[str],
    output: str | os.PathLike,
    quantize: str = "none",
) -> Exports:
    """Writes a network in other formats.

    Args:
        run: A run folder, or a file .keras.
        formats: Keys of `FORMATS`.
        output: A folder, made where it is missing. What is there of the same format is replaced.
        quantize: One of `QUANTIZE`: "float16" stores the weights in half of the room.

    Raises:
        ConfigError: There is no such format, or it does not offer what `quantize` says.
        RunError: A package or the network is missing, or a format gives other probabilities.
    """
    require(formats, quantize)
    with working("loading the network"):
        network = load(run)
    folder = pathlib.Path(files.expanded(output))
    with working("computing what Keras gives"):
        images = drawn(_COMPARED)
        expected = network.probabilities(network.squares([each[0, ..., 0] for each in images]))
        with_keras = _milliseconds(
            lambda pixels: network.probabilities(network.squares(pixels[..., 0])), images
        )
    kinds = list(dict.fromkeys(formats))
    made = [_exported(network, kind, folder, quantize, images, expected) for kind in kinds]
    lost = []
    if quantize != "none":
        with no_greeting():
            computes = {each.kind: FORMATS[each.kind].opened(each.path) for each in made}
            for compute in computes.values():
                compute(images[0])  # some print at the first image what they do
        lost = costs(network, computes)
    return Exports(network, made, with_keras, lost)


def require(formats: Sequence[str], quantize: str) -> None:
    """Refuses what can't be exported; needs no network.

    Args:
        formats: As for `export`.
        quantize: As for `export`.

    Raises:
        ConfigError: There is no such format, or it does not offer what `quantize` says.
        RunError: A package is missing.
    """
    if not formats or set(formats) - FORMATS.keys():
        given = ",".join(formats)
        raise ConfigError(f"--format is {given!r}. Give one or several of: {', '.join(FORMATS)}.")
    if quantize not in QUANTIZE:
        raise ConfigError(f"--quantize is {quantize!r}. Choose one of: {', '.join(QUANTIZE)}.")
    plain = [kind for kind in formats if not FORMATS[kind].QUANTIZED]
    if quantize != "none" and plain:
        raise ConfigError(
            f"--quantize={quantize} is not offered by {listed(plain)}. Give --format="
            f"{','.join(kind for kind, each in FORMATS.items() if each.QUANTIZED)}."
        )
    for kind in formats:
        missing = [name for name in FORMATS[kind].PACKAGES if not importlib.util.find_spec(name)]
        if missing:
            raise RunError(
                f"--format={kind} needs {listed(missing)}, which is not installed. Install it: "
                'pip install "covid-tfds[export]".'
            )


def drawn(count: int) -> list[np.ndarray]:
    """Drawn images of many sizes and shapes, the same each time: uint8 [1, height, width, 1]."""
    images = []
    for number in range(count):
        side = _SIZES[number % len(_SIZES)]
        pixels = phantom.draw(0, number, 0, size=side)
        left = side // 8 * (number % 3)
        images.append(np.ascontiguousarray(pixels[None, :, left:, None]))
    return images


def _exported(
    network: Network,
    kind: str,
    folder: pathlib.Path,
    quantize: str,
    images: Sequence[np.ndarray],
    expected: np.ndarray,
) -> Exported:
    """Writes one format; it has its name only if its own runtime gives what Keras gives."""
    form = FORMATS[kind]
    path = folder / form.PLACE
    if quantize != "none":
        path = path.with_suffix(f".{quantize}{path.suffix}")
    files.make_folder(path.parent)
    with working(f"exporting {kind}"), form.written(path) as beside:
        with no_greeting():  # converters and runtimes write what nobody can mend
            form.write(network, beside, float16=quantize == "float16")
            compute = form.opened(beside)
            difference = _difference(kind, form, compute, images, expected, _APART[quantize])
            milliseconds = _milliseconds(compute, images)
        held = [beside] if beside.is_file() else beside.rglob("*")
        total = sum(each.stat().st_size for each in held if each.is_file())
    return Exported(kind, path, total, milliseconds, difference)


def _difference(
    kind: str,
    form: ModuleType,
    compute: Compute,
    images: Sequence[np.ndarray],
    expected: np.ndarray,
    most: float,
) -> float:
    given = np.concatenate([compute(each) for each in images])
    apart = float(np.abs(given - expected).max()) if given.shape == expected.shape else np.inf
    if not apart <= most:  # nor NaN
        raise RunError(
            f"The {kind} gives other probabilities than Keras: of {len(images)} images the largest "
            f"difference is {apart:.2g}, and {most:g} is allowed. It was not kept; packages of "
            f"other versions may be the reason ({_versions(form)})."
        )
    return apart


def _versions(form: ModuleType) -> str:
    names = ("tensorflow", "keras", *form.PACKAGES)
    modules = {name: importlib.import_module(name) for name in names}
    versions = {name: getattr(each, "__version__", "?") for name, each in modules.items()}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _milliseconds(compute: Compute, images: Sequence[np.ndarray]) -> float:
    """What one image of the usual size takes."""
    one = next(each for each in images if each.shape[1:3] == (_SIDE, _SIDE))
    times = []
    for _ in range(_TIMED + 2):
        begun = time.perf_counter()
        compute(one)
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times[2:])


def show(exports: Exports) -> None:
    """Prints what was exported, Keras' own file first, and what the answers are worth."""
    network = exports.network
    keras_size = size(network.path.stat().st_size)
    rows = [_COLUMNS, ("keras", keras_size, f"{exports.milliseconds:.0f} ms", "")]
    rows += [
        (each.kind, size(each.bytes), f"{each.milliseconds:.0f} ms", f"{each.difference:.1g}")
        for each in exports.made
    ]
    print(table(rows))
    print(fitted(f"Differences are between probabilities, the largest of {_COMPARED} images."))
    for each in exports.made:
        print(f"{each.kind}: {each.path}")
    for sentence in (*exports.costs, *network.worth()):
        print(fitted(sentence))
