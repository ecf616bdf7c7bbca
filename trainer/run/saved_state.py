"""The saved state of a training: one file of plain values and arrays, whole and sealed.

Knows no TensorFlow, so that a command can state where a run is before it imports that.
"""

import dataclasses
import io
import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.run import files

FILE = "checkpoints/state"  # in a run's folder
SEED = "seed_*"  # the run of one of several seeds, in the folder of all
KEPT = "kept"  # the best epoch of a training that diverged behind the state
_VALUES = "values"


def of_seed(folder: pathlib.Path, seed: int) -> pathlib.Path:
    """The folder of the run of one of several seeds, in the folder of all."""
    return folder / SEED.replace("*", str(seed))


@dataclasses.dataclass(frozen=True)
class SavedState:
    """What was saved.

    Attributes:
        values: What JSON holds; see `training.checkpoint.Checkpoints`.
        arrays: By name.
    """

    values: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def best(self) -> dict[str, Any] | None:
        """The best epoch so far, its number from 0 and its logs; None before one was scored.

        It may be later than the state: that of a training that diverged since.
        """
        return self.values.get(KEPT) or self.values["best"]

    @property
    def best_epoch(self) -> int | None:
        """Its number, from 1."""
        return None if self.best is None else self.best["epoch"] + 1

    def best_weights(self, count: int) -> list[np.ndarray]:
        """Its weights, so many."""
        name = KEPT if KEPT in self.values else "best"
        return [self.arrays[f"{name}/{i}"] for i in range(count)]

    def text(self) -> str:
        """Where the training is, in words: "epoch 12 of 40, step 7 of 14"."""
        epochs, steps = self.values["phases"][-1]["stop"], self.values["steps"]
        epoch, step = self.values["epoch"], self.values["step"]
        if epoch == epochs or self.values["ended"]:
            return "the end of its training"
        at = f"epoch {epoch + 1} of {epochs}"
        return at + (f", step {step} of {steps}" if step else "")


def kept(
    epoch: int, logs: Mapping[str, Any], weights: Sequence[np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Values and arrays of the best epoch of a training that diverged after the saved state.

    Args:
        epoch: Its number, from 0.
        logs: Its numbers.
        weights: Of all layers that the training ever changes.
    """
    return {KEPT: {"epoch": epoch, "logs": dict(logs)}}, named(KEPT, weights)


def named(name: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by the names under which a state holds them, `name/0` and so on."""
    return {f"{name}/{i}": array for i, array in enumerate(arrays)}


def write(path: pathlib.Path, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a state in place of the one before, which stays until this one is whole.

    Args:
        path: Of the file.
        values: What JSON can write.
        arrays: By name, of NumPy's own dtypes.
    """
    text = np.frombuffer(json.dumps(values).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_VALUES: text}, **arrays)
    files.write_sealed(path, buffer.getvalue())


def read(path: pathlib.Path) -> SavedState | None:
    """The state in a file; None where there is none.

    Raises:
        files.DamagedError: A bit of it changed.
    """
    try:
        sealed = files.read_sealed(path)
    except FileNotFoundError:  # also of a fold that ended this very moment
        return None
    with np.load(io.BytesIO(sealed)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return SavedState(json.loads(arrays.pop(_VALUES).tobytes()), arrays)


def where_it_goes_on(folder: pathlib.Path, *, overwrite: bool = False) -> str:
    """One line on what an interrupted run has left, and what goes on with it.

    Args:
        folder: Of the run, or of runs with several seeds.
        overwrite: Whether the command had --overwrite, which would begin again.
    """
    again = goes_on(folder, overwrite=overwrite)
    if seeds := sorted(folder.glob(SEED), key=lambda each: each.stat().st_mtime):
        ended = [each for each in seeds if (each / "metrics.json").exists()]
        left = f"{len(ended)} of the seeds in {folder} have ended"
        return f"{left}: {again}." if seeds[-1] in ended else f"{left}; {_of_run(seeds[-1], again)}"
    return _of_run(folder, again)


def goes_on(folder: pathlib.Path, *, overwrite: bool = False) -> str:
    """What to do with an interrupted run, in words; see `where_it_goes_on`.

    The command may not have named the folder.
    """
    without = " and without --overwrite" if overwrite else ""
    return f"the same command with --run_dir={shlex.quote(str(folder))}{without} goes on there"


def _of_run(folder: pathlib.Path, again: str) -> str:
    try:
        saved = read(folder / FILE)
    except files.DamagedError as error:
        return str(error)
    if saved is None:
        return f"nothing of the training is saved in {folder} yet: {again} with what is cached."
    best = ""
    if saved.best is not None:
        accuracy = saved.best["logs"]["val_balanced_accuracy"]
        best = (
            f" Best so far: epoch {saved.best_epoch}, balanced accuracy {accuracy:.3f} on "
            f"validation; trainer.load({json.dumps(str(folder), ensure_ascii=False)}).model() "
            "has it."
        )
    return f"{folder} is at {saved.text()}: {again}.{best}"
