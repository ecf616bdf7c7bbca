"""The run of the best values: trained and tested where tasks run, in the search's folder."""

import dataclasses
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
from trainer.run import manifest, run_dir
from trainer.run.manifest import Identity, Manifest
from trainer.run.run_folder import RunFolder
from trainer.training.setup import Setup, set_up


def retrain(
    config: Config, path: pathlib.Path, origin: Mapping[str, Any], cluster: Cluster | None
) -> None:
    """Trains and tests a configuration as `trainer.main` does, and prints the summary.

    What is there of the same trial is gone on with; one that has ended stays as it is.

    Args:
        config: Of the best trial.
        path: Folder of the run, which replaces that of another trial.
        origin: Where the values come from, for config.json.
        cluster: Where it is trained; None: in this process.

    Raises:
        RunError: The training failed.
    """
    identity = Identity("tuning.main", {**config.to_json(), "trial": origin["trial"]})
    there = Manifest.read(path)
    other = there is not None and there.flags.get("trial") != origin["trial"]
    with run_dir.create(path, "", identity, overwrite=other) as folder:
        if run_dir.nothing_left(folder, within=True):
            return
        if cluster is None:
            train.train_and_evaluate(config, folder, hparams=origin)
            return
        began = folder.origin
        with opened_executor(
            cluster, lambda: set_up(config, stressed=True, began=began, hparams=origin)
        ) as tasks:
            tasks.provide(train.training_of(tasks.setup))
            of_worker = None
            if tasks.shares_files:  # this process holds the folder for the worker
                of_worker = dataclasses.replace(folder, path=path.absolute(), lease=None)
            (ended,) = run_all(tasks, [Task("the run of the best values", _run, (of_worker,))])
            archive = ended.result()
            if not tasks.shares_files:
                folder.begin(tasks.setup.origin)
                _unpack(archive, folder)
        metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
        print(summary.run_summary(metrics, path))


def _run(setup: Setup, folder: RunFolder | None) -> bytes:
    """A task's function: runs in a folder of this machine, or returns one as a tar archive."""
    step = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progressed())
    if folder is not None:
        folder = _begun_before(folder)
        train.train_and_evaluate(setup.config, folder, [step], setup=setup)
        return b""
    with tempfile.TemporaryDirectory() as temporary:
        folder = run_dir.plain(pathlib.Path(temporary))
        train.train_and_evaluate(setup.config, folder, [step], setup=setup)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as files:
            files.add(temporary, arcname=".")
    return archive.getvalue()


def _begun_before(folder: RunFolder) -> RunFolder:
    """The folder of a run that a worker which was lost has begun: it goes on at its state."""
    own = folder.own_manifest()
    return folder if own is None else dataclasses.replace(folder, state="started", before=own)


def _unpack(archive: bytes, folder: RunFolder) -> None:
    """Puts the files of a run into its folder, whose manifest stays its own until the end."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        members = [each for each in files if pathlib.Path(each.name).name != manifest.NAME]
        files.extractall(folder.path, members, filter="data")
    folder.finish()
