"""Training that saves its state against the same training that saves nothing.

`python -m benchmarks.checkpoint --dataset=article_grouped`. Whole phases with their validation, of
some minutes: a head on cached rows, whose epochs take milliseconds, and block 5 with a head. States
are saved as by default: a minute apart, or as much more as keeps them under 1 % of the time, and at
each phase's end. What is claimed is the share of the training's own seconds that is left; the ratio
of both ways' speeds, in which a state costs less than the machine's noise, stands beside it.
"""

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import flags

from benchmarks import harness, trainings
from trainer.config import Config
from trainer.training.checkpoint import Checkpoints
from trainer.training.loop import train_phases
from trainer.training.training import Training
from trainer.training.validation import Validation

_WAYS: dict[str, dict[str, Any]] = {
    "head": {"epochs": 3000},
    "block 5 and head": {"epochs": 1, "fine_tune_from": "block5", "fine_tune_epochs": 60},
}


def measure(common: Config, rounds: int) -> dict[str, Any]:
    """Times both ways in alternation, and prints the line.

    Args:
        common: What all ways share.
        rounds: Rounds.

    Returns:
        The line, as `harness.report` returns it.
    """
    figures, shares, ratios = {}, {}, {}
    for name, changes in _WAYS.items():
        config = dataclasses.replace(common, **changes)
        with (
            tempfile.TemporaryDirectory() as folder,
            trainings.ready(config, score=("validation",)) as (setup, training),
        ):
            saves: list[float] = []
            left: list[float] = []
            sides = _sides(training, pathlib.Path(folder, "state"), saves, left)
            train_phases(training, [_OneEpoch()], seed=1, evaluate=Validation(training))  # compiles
            speeds = harness.alternate(sides, rounds)
            figures[f"{name}, MB of a state"] = pathlib.Path(folder, "state").stat().st_size / 1e6
        shares[f"{name}: share of the time that states leave"] = harness.spread(left)
        ratios[f"{name}: with states / without"] = harness.ratios(
            speeds["saves states"], speeds["saves nothing"]
        )
        figures[f"{name}, seconds to save a state"] = harness.spread(saves)
        for side, values in speeds.items():
            figures[f"{name}, {side}, images/s"] = harness.spread(values)
    return harness.report(
        "checkpoint",
        figures=figures,
        targets={claim: (0.98, share["median"]) for claim, share in shares.items()},
        spreads=shares,
        ratios=ratios,
        bound="the copy of all weights to the host, one pass of SHA-256, and fsync",
        every=common.checkpoint_every,
        image_size=common.image_size,
        width=common.width,
        precision=keras.config.dtype_policy().name,
        dataset=setup.dataset.name,
    )


class _OneEpoch(keras.callbacks.Callback):
    """Ends each phase behind its first epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.stop_training = True


class _Timed(Checkpoints):
    """Notes how long each saving took."""

    def __init__(self, path: pathlib.Path, every: float, saves: list[float]) -> None:
        super().__init__(path, every=every)
        self._saves = saves

    def save(self, *args: Any, **kwargs: Any) -> None:
        begin = time.perf_counter()
        super().save(*args, **kwargs)
        self._saves.append(time.perf_counter() - begin)


def _sides(
    training: Training, path: pathlib.Path, saves: list[float], left: list[float]
) -> dict[str, Callable[[], float]]:
    """Images/s of all phases, with states and without.

    Args:
        training: What is trained.
        path: Of the state.
        saves: Is given the seconds of each state.
        left: Is given the share of the seconds of each training with states that they leave.
    """
    every = training.config.checkpoint_every
    images = len(training.train_at) * training.plan.phases[-1].phase.epochs.stop

    def side(saved: bool) -> Callable[[], float]:
        def run() -> float:
            checkpoints, before = None, len(saves)
            if saved:
                path.unlink(missing_ok=True)
                checkpoints = _Timed(path, every, saves)
            begin = time.perf_counter()
            train_phases(training, seed=1, evaluate=Validation(training), checkpoints=checkpoints)
            seconds = time.perf_counter() - begin
            if saved:
                left.append(1 - sum(saves[before:]) / seconds)
            return images / seconds

        return run

    return {"saves states": side(True), "saves nothing": side(False)}


def main(argv: list[str]) -> None:
    """Flags -> one call."""
    measure(trainings.from_flags(flags.FLAGS), flags.FLAGS.rounds)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    trainings.define_flags()
    flags.FLAGS.set_default("rounds", 2)
    harness.run(main)
