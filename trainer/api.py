"""The trainer from Python: `fit`, `load` and `cross_validate`, with the commands' own guards.

What the commands refuse, these refuse, with `ConfigError` for a setting and `RunError` for a run
that can't go on. Nothing here ends the process, handles a signal or leaves Keras' settings changed;
only `Config(deterministic=True)` binds TensorFlow to deterministic operations for good.
"""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import Config, check_folds
from trainer.evaluation import history as history_lib
from trainer.evaluation import predictions as predictions_lib
from trainer.evaluation.predictions import Predictions
from trainer.execution import ray
from trainer.execution.options import Options
from trainer.run import run_dir as run_dirs
from trainer.run.errors import RunError
from trainer.run.files import expanded
from trainer.run.libraries import heavy_imports, keras_settings

if TYPE_CHECKING:
    import keras

_METRICS = ("metrics.json", "crossval.json")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run or a cross-validation left in its folder; everything is read at its first use.

    Attributes:
        path: The folder.
    """

    path: Path

    @functools.cached_property
    def config(self) -> Config:
        """The settings, as resolved."""
        return Config.read(self.path)

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """All numbers: see `evaluation.metrics.run_metrics` and `cross_validation_metrics`."""
        path = next(self.path / name for name in _METRICS if (self.path / name).exists())
        return json.loads(path.read_text(encoding="utf-8"))

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        """One dictionary an epoch; none for a cross-validation."""
        path = self.path / "history.csv"
        return history_lib.read(path) if path.exists() else []

    @functools.cached_property
    def predictions(self) -> Predictions:
        """The probabilities of every scored image."""
        return predictions_lib.read(self.path / "predictions.csv")


def fit(
    config: Config,
    run_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
) -> Run:
    """Trains and evaluates a network, as `python -m trainer.main` does.

        >>> run = trainer.fit(trainer.Config(classes=2, dataset="phantom"), "runs/first")
        >>> run.metrics["splits"]["test"]["balanced_accuracy"]["value"]

    Args:
        config: What is trained.
        run_dir: The folder of the run; runs/DATASET-CLASSES-TIME unless given.
        overwrite: Whether to replace a run that is there.
        callbacks: Further Keras callbacks, EarlyStopping for example; they see `loss`, `accuracy`,
            `val_loss`, `val_accuracy` and `val_balanced_accuracy` after each epoch.

    Returns:
        The run.

    Raises:
        ConfigError: The folder holds a run, or can't be written.
        RunError: The dataset or the weights are missing, or the training failed.
    """
    default = f"{config.dataset}-{config.classes}"
    with run_dirs.create(run_dir or "", default, overwrite=overwrite) as folder:
        with keras_settings():
            with heavy_imports():
                from trainer.train import train_and_evaluate
            train_and_evaluate(config, folder, callbacks)
        return Run(folder)


def cross_validate(
    config: Config,
    folds: int = 5,
    repeats: int = 3,
    run_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    execution: Options | None = None,
) -> Run:
    """Cross-validates a configuration, as `python -m trainer.crossval` does.

    Args:
        config: What is trained.
        folds: From 2.
        repeats: From 1.
        run_dir: The folder; runs/crossval-DATASET-CLASSES-TIME unless given.
        overwrite: Whether to replace what is there.
        execution: Where folds are trained, `trainer.Options(workers=4)` for
            example; in this process unless given.

    Returns:
        The cross-validation.

    Raises:
        ConfigError, RunError: As for `fit`, or there are too few patient groups.
    """
    check_folds(config, folds, repeats)
    default = f"crossval-{config.dataset}-{config.classes}"
    with (
        run_dirs.create(run_dir or "", default, overwrite=overwrite) as folder,
        ray.connected(execution or Options()) as cluster,
        keras_settings(),
    ):
        with heavy_imports():
            from trainer import cross_validation
        cross_validation.cross_validate(config, folds, repeats, folder, cluster)
        return Run(folder)


def load(run_dir: str | Path) -> Run:
    """Opens what a run or a cross-validation left.

    Args:
        run_dir: Its folder.

    Raises:
        RunError: The folder holds no run that has ended, or one of release 1.0.0.
    """
    path = Path(expanded(run_dir))
    if not any((path / name).exists() for name in _METRICS):
        raise RunError(
            f"{path} holds no run that has ended (no metrics.json). Give the folder of one, or "
            "train: trainer.fit(trainer.Config(), folder)."
        )
    columns = (path / "predictions.csv").open(encoding="utf-8").readline()
    if "image_id" not in columns:
        raise RunError(
            f"{path} holds a run of release 1.0.0, which this release does not read. Train it "
            f"again: python -m trainer.main --run_dir={path} --overwrite."
        )
    return Run(path)
