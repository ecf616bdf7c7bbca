"""The run of the best values: trained and tested where tasks run, in the search's folder."""

import contextlib
import dataclasses
import io
import json
import pathlib
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from trainer import train
from trainer.config import Config
from trainer.evaluation import summary
from trainer.execution.local import opened_executor
from trainer.execution.ray import Cluster
from trainer.execution.tasks import Task, progressed, run_all
from trainer.run import manifest, run_dir
from trainer.run.errors import ConfigError, RunError
from trainer.run.manifest import Identity, Manifest
from trainer.run.progress import working
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
        ConfigError: What is there can't be gone on with, or can't be replaced.
        RunError: The same, or the training failed.
    """
    identity = Identity("tuning.main", {**config.to_json(), "trial": origin["trial"]})
    with _advised(path), _opened(path, identity) as folder:
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
            task = Task("the run of the best values", _run, (of_worker, path.absolute()))
            with working("training with the best values"):
                (ended,) = run_all(tasks, [task])
            archive = ended.result()
            if not tasks.shares_files:
                folder.begin(tasks.setup.origin)
                _unpack(archive, folder)
        metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
        print(summary.run_summary(metrics, path))


@contextlib.contextmanager
def _advised(path: pathlib.Path) -> Iterator[None]:
    """Says what to do where a run's error advises --overwrite, which here begins all again."""
    try:
        yield
    except (ConfigError, RunError) as error:
        if "--overwrite" in str(error):
            error.args = (f"{error} Here --overwrite begins the whole search again: to train its "
                          f"best values alone again, remove {path}.",)  # fmt: skip
        raise


@contextlib.contextmanager
def _opened(path: pathlib.Path, identity: Identity) -> Iterator[RunFolder]:
    """The folder of the run; one of another trial may be replaced."""
    there = Manifest.read(path)
    other = there is not None and there.flags.get("trial") != identity.flags["trial"]
    with run_dir.create(path, "", identity, overwrite=other) as folder:
        yield folder


def _run(setup: Setup, folder: RunFolder | None, named: pathlib.Path) -> bytes:
    """A task's function: runs in a folder of this machine, or returns one as a tar archive.

    Args:
        setup: Of the run.
        folder: Of this machine; None: a temporary one.
        named: The folder where the run will be. A temporary one has its name, and that of the
            folder above, which the report and TensorBoard show.
    """
    if folder is not None:
        folder = _begun_before(folder)
        train.train_and_evaluate(setup.config, folder, setup=setup, on_progress=progressed)
        return b""
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary, named.parent.name, named.name)
        plain = run_dir.plain(path)
        train.train_and_evaluate(setup.config, plain, setup=setup, on_progress=progressed)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as files:
            files.add(path, arcname=".")
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
