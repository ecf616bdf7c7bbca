"""The run of the best values: trained and tested where tasks run, in the search's folder."""

import io
import json
import pathlib
import tarfile
import tempfile
from collections.abc import Mapping
from typing import Any

import keras

from trainer import train
from trainer.config import Config
from trainer.evaluation import summary
from trainer.execution.local import opened_executor
from trainer.execution.ray import Cluster
from trainer.execution.tasks import Task, progressed, run_all
from trainer.run import run_dir
from trainer.training.setup import Setup, set_up


def retrain(
    config: Config, path: pathlib.Path, origin: Mapping[str, Any], cluster: Cluster | None
) -> None:
    """Trains and tests a configuration as `trainer.main` does, and prints the summary.

    Args:
        config: Of the best trial.
        path: Folder of the run, which replaces an earlier one.
        origin: Where the values come from, for config.json.
        cluster: Where it is trained; None: in this process.

    Raises:
        RunError: The training failed.
    """
    with run_dir.create(path, "", overwrite=True) as folder:
        if cluster is None:
            train.train_and_evaluate(config, folder, hparams=origin)
            return
        with opened_executor(cluster, lambda: set_up(config, hparams=origin)) as tasks:
            tasks.provide(train.training_of(tasks.setup))
            (ended,) = run_all(tasks, [Task("the run of the best values", _run)])
            archive = ended.result()
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        print(summary.run_summary(metrics, folder))


def _run(setup: Setup) -> bytes:
    """A task's function: the folder of the run, as a tar archive."""
    step = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progressed())
    with tempfile.TemporaryDirectory() as folder:
        train.train_and_evaluate(setup.config, pathlib.Path(folder), [step], setup=setup)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as files:
            files.add(folder, arcname=".")
    return archive.getvalue()


def is_of(path: pathlib.Path, trial: str) -> bool:
    """Whether a folder holds the ended run of a trial's values."""
    if not (path / "metrics.json").exists():
        return False
    origin = json.loads((path / "config.json").read_text(encoding="utf-8")).get("hparams") or {}
    return origin.get("trial") == trial
