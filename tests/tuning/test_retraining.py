"""The run of the best values: trained once, gone on with, replaced by that of another trial."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import tarfile
import types

import keras
import pytest
from tensorflow.python.framework import config as tf_config

from tests.helpers import run_folders, trainings
from trainer import train
from trainer.evaluation import notes
from trainer.model import about
from trainer.run import lease, run_dir, saved_state
from trainer.run.errors import ConfigError, RunError
from trainer.run.manifest import Manifest
from trainer.training import hparams
from trainer.training.training import Training
from tuning import retraining

ORIGIN = {"file": "search/best_hparams.json", "trial": "0003", "values": {"head_units": 8}}
CHANGES = {"deterministic": True, "dropout": 0.3, "checkpoint_every": 0.0}
pytestmark = pytest.mark.slow  # `tests.tuning.test_main` has one
COMPARED = ("history.csv", "metrics.json", "predictions.csv", "images_used.csv")


class Killed(BaseException):
    """In place of SIGKILL: nothing is saved when it is raised."""


@contextlib.contextmanager
def trained(kill: int | None = None):
    """Counts the steps that are trained; the process is killed behind step `kill`, from 0."""
    steps, original = [], train.train_and_evaluate

    def counted(*arguments, **origin):
        def step(batch, logs):
            if len(steps) == kill:
                raise Killed
            steps.append(batch)

        counts = keras.callbacks.LambdaCallback(on_train_batch_end=step)
        return original(*arguments, callbacks=[counts], **origin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_and_evaluate", counted)
        patch.setattr(Training, "steps_per_call", lambda self, plan: 1)
        yield steps


def retrain(config, folder, **origin) -> str:
    """Runs it in this process; what it printed."""
    before, printed = keras.config.dtype_policy(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            retraining.retrain(config, folder, ORIGIN | origin, None)
    finally:
        keras.config.set_dtype_policy(before)
        tf_config.disable_op_determinism()
    return printed.getvalue()


def result_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in COMPARED}


@pytest.fixture(scope="module")
def config(data_dir):
    return trainings.quick(data_dir, **CHANGES)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Without an end in between: the folder, and the steps."""
    folder = tmp_path_factory.mktemp("whole") / "retrained"
    with trained() as steps:
        retrain(config, folder)
    return folder, len(steps)


def test_it_is_a_finished_run_that_names_its_trial(whole):
    folder, _ = whole
    there = Manifest.read(folder)
    assert (there.command, there.flags["trial"]) == ("tuning.main", "0003")
    assert there.files and there.damaged(folder) == []
    assert json.loads((folder / "config.json").read_text())["hparams"] == ORIGIN
    says, metrics = about.read(folder / "model.keras"), (folder / "metrics.json").read_text()
    assert says.notes == notes.notes_of(json.loads(metrics))


@pytest.mark.parametrize("at", [2, 7])
def test_killed_in_the_middle_it_goes_on_bit_for_bit(at, config, whole, tmp_path):
    folder = tmp_path / "retrained"
    with trained(kill=at), pytest.raises(Killed):
        retrain(config, folder)
    with trained() as steps:
        assert "The run goes on at epoch " in retrain(config, folder)
    assert len(steps) == whole[1] - at
    assert result_of(folder) == result_of(whole[0])


def test_one_that_has_ended_stays_as_it_is(config, whole):
    folder = whole[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with trained() as steps:
        assert "holds this run, and it has ended." in retrain(config, folder)
    assert steps == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_process_keeps_its_run(config, whole):
    with run_dir.held(whole[0], "run_dir"), pytest.raises(RunError, match="in use by process"):
        retrain(config, whole[0])


def test_what_fails_before_it_begins_leaves_the_run_of_another_trial(config, whole):
    before = {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()}
    wrong = trainings.quick(pathlib.Path(config.data_dir), dataset="fulll")
    with pytest.raises(RunError, match="fulll"):
        retrain(wrong, whole[0], trial="0004")
    assert {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()} == before
    assert not (whole[0] / lease.NAME).exists()


def test_another_best_trial_replaces_it_and_nothing_else(config, data_dir, tmp_path):
    folder = run_folders.left(tmp_path / "retrained", finished=True)
    (folder / "thesis.svg").write_text("mine")
    other = trainings.quick(data_dir, **CHANGES, epochs=1)
    with trained() as steps:
        retrain(other, folder, trial="0004")
    assert steps
    assert json.loads((folder / "config.json").read_text())["hparams"]["trial"] == "0004"
    assert Manifest.read(folder).damaged(folder) == []
    assert (folder / "thesis.svg").read_text() == "mine"
    assert (folder / saved_state.FILE).read_bytes() != saved_state.FILE.encode()
    assert not (folder / run_folders.EVENTS.format(1)).exists()


def test_what_advises_to_overwrite_says_that_its_run_alone_is_to_be_removed(config, tmp_path):
    folder = tmp_path / "search" / "retrained"
    with trained(kill=2), pytest.raises(Killed):
        retrain(config, folder)
    other = trainings.quick(pathlib.Path(config.data_dir), **CHANGES, epochs=1)
    with pytest.raises(ConfigError) as refused:
        retrain(other, folder)
    assert "or --overwrite to begin again. Here --overwrite begins the whole search" in str(
        refused.value
    )
    assert str(refused.value).endswith(f"remove {folder}.")


def test_a_run_elsewhere_has_the_name_that_it_will_have(tmp_path, monkeypatch):
    seen = []

    def runs(config, folder, *, setup, on_progress):
        folder.path.mkdir(parents=True)
        (folder.path / "metrics.json").write_text("{}")
        seen.append(hparams.row_name(folder.path))

    monkeypatch.setattr(train, "train_and_evaluate", runs)
    setup = types.SimpleNamespace(config=None)
    archive = retraining._run(setup, None, tmp_path / "searches" / "a" / "retrained")
    assert re.fullmatch(r"a/retrained \([0-9a-f]{4}\)", seen[0])
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        assert sorted(map(os.path.normpath, files.getnames())) == [".", "metrics.json"]


def test_a_run_whose_worker_was_lost_goes_on(tmp_path):
    identity = run_dir.Identity("tuning.main", {"trial": "0003"})
    with run_dir.create(tmp_path / "a", "", identity, overwrite=False) as folder:
        assert retraining._begun_before(folder) is folder
        folder.begin({"config": {}})
        again = retraining._begun_before(folder)
        assert (again.state, again.origin) == ("started", {"config": {}})
        other = dataclasses.replace(
            folder, identity=run_dir.Identity("tuning.main", {"trial": "9"})
        )
        assert retraining._begun_before(other) is other
