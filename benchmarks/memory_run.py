"""One process of `benchmarks.memory`: does a part of a run and writes its peak memory.

`--part=open` opens the dataset, `--part=fill` computes all cached rows, `--part=run` trains and
evaluates; `--noheld` sets the limit for rows that are held in memory to 0. `--out=FILE` gets a JSON
object: MiB at the peak by part (`open`; `fill`; `train` and `evaluate`), and `swapped`.
"""

import contextlib
import json
import pathlib
import resource
import sys
import tempfile
from typing import Any

import keras
import psutil
from absl import flags

from benchmarks import harness, scale, trainings
from trainer import train
from trainer.config import Config
from trainer.input_pipeline import batches, dataset
from trainer.run import run_dir

_EPOCHS = 2
_SCORED = ("validation", "test")


class Peaks(keras.callbacks.Callback):
    """Reads the peak of a training, and begins it again for what follows.

    Attributes:
        train: MiB at the peak between the training's begin and end.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins the peak of the training."""
        reset_peak()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Reads it."""
        self.train = peak()
        reset_peak()


def reset_peak() -> None:
    """Lets the kernel count this process' peak from now on; nothing where it can't (no Linux)."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """MiB that this process has held in memory at the most, as the kernel counted it."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def peaks_of(part: str, config: Config, *, held: bool) -> dict[str, float]:
    """Does a part and returns its peaks.

    Args:
        part: `open`, `fill` or `run`.
        config: Of the run.
        held: Whether rows may be held in memory.

    Returns:
        MiB by part, and `swapped`: MiB of this process that are swapped out.
    """
    batches.MEMORY = batches.MEMORY if held else 0
    reset_peak()
    if part == "open":
        opened = dataset.open_dataset(config.dataset, config.data_dir, config.classes)
        names = [images.digests for images in opened.splits.values()]
        peaks = {"open": peak()}
        del names
    elif part == "fill":
        with trainings.ready(config, score=_SCORED):
            peaks = {"fill": peak()}
    else:
        training = Peaks()
        with tempfile.TemporaryDirectory() as folder:
            train.train_and_evaluate(config, run_dir.plain(pathlib.Path(folder)), [training])
        peaks = {"train": training.train, "evaluate": peak()}
    swapped = getattr(psutil.Process().memory_full_info(), "swap", 0)
    return {**peaks, "swapped": swapped / 2**20}


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    values = flags.FLAGS
    config = Config(
        dataset=scale.DATASET, data_dir=values.data_dir, cache_dir=values.cache_dir,
        image_size=values.image_size, width=values.width, weights="none", epochs=_EPOCHS,
    )  # fmt: skip
    peaks = peaks_of(values.part, config, held=values.held)
    pathlib.Path(values.out).write_text(json.dumps(peaks))


if __name__ == "__main__":
    flags.DEFINE_enum("part", None, ["open", "fill", "run"], "What is done.", required=True)
    flags.DEFINE_string("out", None, "File of the peaks.", required=True)
    flags.DEFINE_boolean("held", True, "Whether rows may be held in memory.")
    flags.DEFINE_string("data_dir", None, "Where the dataset is.", required=True)
    flags.DEFINE_string("cache_dir", None, "The cache.", required=True)
    flags.DEFINE_integer("image_size", 32, "Pixels of a side.")
    flags.DEFINE_float("width", 0.05, "Share of VGG16's channels.")
    harness.run(main)
