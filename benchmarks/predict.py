"""How fast files are answered, against the network alone: `python -m benchmarks.predict PATH...`.

Every round takes the same files (of real images: give a folder of them) both ways: as
`trainer.predict` does, reading, decoding, scaling and framing them while the network computes; and
the network alone on their squares, which are ready in memory. Both in batches of 32, in this
process, without start-up and compilation. A third side only reads the files, on all cores. The
network's weights are random: its speed does not depend on them.
"""

import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import harness
from covid_tfds import parallel, reading
from trainer.inference import network as network_lib
from trainer.inference.answers import answers
from trainer.inference.image_files import ImageFile, ImageFiles
from trainer.inference.network import Network
from trainer.model import saved, vgg16
from trainer.model.weights import Weights
from trainer.run.errors import ConfigError
from trainer.run.text import listed

FLAGS = flags.FLAGS
_TARGET = 0.95
_NAMES = ("healthy", "covid19", "bacterial", "viral")


def measure(
    paths: Sequence[str], *, images: int, size: int, align: str, width: float, rounds: int
) -> dict[str, Any]:
    """Runs all sides and prints the line.

    Args:
        paths: Where the images are; see `ImageFiles`.
        images: At most so many of them, evenly spaced.
        size: Pixels of a side of the network's squares.
        align: How it frames images, "none" or "chest".
        width: Share of VGG16's channels.
        rounds: Rounds.

    Returns:
        The line, as `harness.report` returns it.

    Raises:
        ConfigError: None of them can be read.
    """
    given = ImageFiles(paths)
    at = np.linspace(0, len(given) - 1, min(images, len(given))).round().astype(int)
    network = _network(size, align, width)
    chosen = [given[i] for i in at]
    square_of = {each.file: each.square for each in answers(network, chosen) if not each.error}
    files = [file for file in chosen if file.name in square_of]
    if not files:
        raise ConfigError(f"{listed(paths)}: no image that can be read. Give other folders.")
    squares = np.stack([square_of[file.name] for file in files])
    work = {
        "files": lambda: answers(network, files),
        "ready squares": lambda: network.probabilities(squares),
        "reading alone": lambda: parallel.in_order(_squared(network), files),
    }
    sides = {name: lambda each=each: _rate(len(files), each) for name, each in work.items()}
    rates = harness.alternate(sides, rounds)
    ratio = harness.ratios(rates["files"], rates["ready squares"])
    claim = "files/s, share of the network's own rate"
    return harness.report(
        "predict",
        figures={f"{name}, images/s": harness.spread(each) for name, each in rates.items()},
        targets={claim: (_TARGET, ratio["median"])},
        spreads={claim: ratio},
        bound="reading takes the cores that the network computes on; with an accelerator, reading",
        images=len(files),
        size=size,
        align=align,
        width=width,
    )


def _network(size: int, align: str, width: float) -> Network:
    """Opened from a file, as a command does it."""
    model = vgg16.build_model(
        classes=len(_NAMES), image_size=size, head_units=256, dropout=0.5, pooling="flatten",
        weights=Weights(None, "", "random"), align=align, width=width,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        saved.save(model, path, _NAMES)
        return network_lib.load(path)


def _squared(network: Network) -> Callable[[ImageFile], np.ndarray]:
    return lambda file: network.square(reading.read_image(file.read()).pixels)


def _rate(count: int, work: Callable[[], Iterable[Any]]) -> float:
    """Images per second."""
    begin = time.perf_counter()
    for _ in work():
        pass
    return count / (time.perf_counter() - begin)


def main(argv: list[str]) -> None:
    """Flags and paths -> one call."""
    if len(argv) == 1:
        raise ConfigError("Give folders of images, e.g. MANUAL_DIR/chest_xray/train.")
    measure(
        argv[1:], images=FLAGS.images, size=FLAGS.size, align=FLAGS.align, width=FLAGS.width,
        rounds=FLAGS.rounds,
    )  # fmt: skip


if __name__ == "__main__":
    flags.DEFINE_integer("images", 2000, "At most so many.", lower_bound=1)
    flags.DEFINE_integer("size", 150, "Pixels of a square's side.", lower_bound=32)
    flags.DEFINE_enum("align", "chest", ["chest", "none"], "How images are framed.")
    flags.DEFINE_float("width", 1.0, "Share of VGG16's channels.", lower_bound=0.0)
    flags.DEFINE_integer("rounds", 3, "Rounds, in alternation.", lower_bound=1)
    harness.run(main, words=True)
