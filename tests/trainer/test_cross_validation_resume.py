"""A cross-validation that was killed goes on: by fold, and within the one that was under way."""

import contextlib
import io
import pathlib
import signal
import time

import keras
import pytest
from tensorflow.python.framework import config as tf_config

from tests.helpers import clusters, commands, trainings
from trainer import cross_validation
from trainer.run import files, run_dir, saved_folds, saved_state
from trainer.run.manifest import REPORT
from trainer.run.run_dir import Identity
from trainer.training.loop import train_phases
from trainer.training.training import Training

pytestmark = pytest.mark.slow

FOLDS, REPEATS = 2, 2
WRITTEN = ("predictions.csv", "crossval.json")
CHANGES = {"deterministic": True, "dropout": 0.3, "learning_rate": 1e-2, "checkpoint_every": 0.0}


class Killed(BaseException):
    """In place of SIGKILL: nothing is saved when it is raised."""


@pytest.fixture(scope="module")
def config(data_dir):
    return trainings.quick(data_dir, **CHANGES)


def steps_of(patch: pytest.MonkeyPatch, kill: tuple[int, int] | None = None) -> list[int]:
    """Steps of each training that begins from now on, counted as they are done.

    Args:
        patch: Ends it.
        kill: The training, from 0, in whose step, from 0, the process is killed; or before its
            first, where that is -1.
    """
    counts = []

    def step(batch, logs):
        if kill == (len(counts) - 1, counts[-1]):
            raise Killed
        counts[-1] += 1

    def counted(training, callbacks, **more):
        if kill == (len(counts), -1):
            raise Killed
        counts.append(0)
        count = keras.callbacks.LambdaCallback(on_train_batch_end=step)
        return train_phases(training, [*callbacks, count], **more)

    patch.setattr(cross_validation, "train_phases", counted)
    patch.setattr(Training, "steps_per_call", lambda self, plan: 1)
    return counts


def crossval(config, folder, folds=FOLDS, repeats=REPEATS) -> dict[str, bytes]:
    """What the command does, and what is written then."""
    numbers = {"folds": folds, "repeats": repeats}
    identity = Identity("trainer.crossval", config.to_json() | numbers)
    before = keras.config.dtype_policy()
    try:
        with run_dir.create(folder, "", identity, overwrite=False) as opened:
            cross_validation.cross_validate(config, folds, repeats, opened)
    finally:
        keras.config.set_dtype_policy(before)
        tf_config.disable_op_determinism()
    return {name: (folder / name).read_bytes() for name in WRITTEN}


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Without an end in between: what is written, and the steps of each fold."""
    with pytest.MonkeyPatch.context() as patch:
        counts = steps_of(patch)
        return crossval(config, tmp_path_factory.mktemp("whole") / "cv"), counts


def kill(config, folder, monkeypatch, at) -> list[pathlib.Path]:
    """Kills a cross-validation; the files of its folds."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        steps_of(patch, at)
        crossval(config, folder)
    return sorted((folder / saved_folds.FOLDER).iterdir())


def test_the_folds_of_a_cross_validation_are_trained_once(whole):
    _, counts = whole
    assert len(counts) == FOLDS * REPEATS
    assert min(counts) >= 6


# Before the first fold, between two, within one, and within one of the last repeat.
@pytest.mark.parametrize("at", [(0, -1), (0, 3), (2, -1), (2, 4), (3, 1)])
def test_killed_anywhere_it_goes_on_there_bit_for_bit(at, config, whole, tmp_path, monkeypatch):
    written, counts = whole
    fold, done = at
    left = kill(config, tmp_path / "cv", monkeypatch, at)
    assert [path.suffix for path in left].count("") == fold
    assert [path.suffix for path in left].count(".state") == (done > 0)
    again = steps_of(monkeypatch)
    assert crossval(config, tmp_path / "cv") == written
    assert again == [counts[fold] - max(0, done), *counts[fold + 1 :]]
    names = {path.name for path in (tmp_path / "cv").iterdir()}
    assert names == {"manifest.json", "config.json", "flags.txt", *WRITTEN}


def test_a_damaged_fold_and_a_damaged_state_are_trained_again(config, whole, tmp_path, monkeypatch):
    written, counts = whole
    left = kill(config, tmp_path / "cv", monkeypatch, (2, 4))
    ended = min((path for path in left if not path.suffix), key=lambda each: each.stat().st_mtime)
    (state,) = (path for path in left if path.suffix)
    for path in (ended, state):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    again = steps_of(monkeypatch)
    assert crossval(config, tmp_path / "cv") == written
    assert again == [counts[0], *counts[2:]]


def left_of(config, folder) -> str:
    """What the command says of what is there, before it begins."""
    numbers = {"folds": FOLDS, "repeats": REPEATS}
    identity = Identity("trainer.crossval", config.to_json() | numbers)
    said = io.StringIO()
    with (
        run_dir.create(folder, "", identity, overwrite=False) as opened,
        contextlib.redirect_stdout(said),
    ):
        run_dir.nothing_left(opened)
    return " ".join(said.getvalue().split())


def test_what_was_lost_of_an_ended_one_is_made_of_its_predictions(
    config, whole, tmp_path, monkeypatch
):
    written, counts = whole
    folder, again = tmp_path / "cv", steps_of(monkeypatch)
    crossval(config, folder)
    assert again == counts
    assert commands.run("trainer.report", f"--run={folder}").status == 0
    (folder / "crossval.json").unlink()
    assert "crossval.json" in (said := left_of(config, folder)) and "what follows the folds" in said
    assert crossval(config, folder) == written and again == counts
    assert (folder / REPORT).exists() and "has ended" in left_of(config, folder)

    (folder / REPORT).unlink()
    assert "python -m trainer.report" in (said := left_of(config, folder)) and "has ended" in said

    assert commands.run("trainer.report", f"--run={folder}").status == 0
    (folder / "predictions.csv").write_text("saved by another program")
    assert "all folds are trained again" in left_of(config, folder)
    assert crossval(config, folder) == written and again == counts * 2
    assert not (folder / REPORT).exists()  # of the networks before


def test_what_a_killed_worker_was_writing_is_removed_with_the_folds(tmp_path):
    folds = saved_folds.SavedFolds(tmp_path / saved_folds.FOLDER)
    state = folds.state("0" * 16)
    left = state.with_name(f".7.0123abcd.{state.name}")
    assert files.unfinished(left) == state.name
    left.write_bytes(b"half")
    folds.remove()
    assert not state.parent.exists()


# Processes


LONG = {**CHANGES, "epochs": 60}  # seconds a fold


@pytest.fixture(scope="module")
def long_whole(data_dir, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("long") / "cv"
    return crossval(trainings.quick(data_dir, **LONG), folder)


@contextlib.contextmanager
def process(data_dir, tmp_path, *flags):
    """The command, which goes on with what is in `tmp_path / "cv"`."""
    config = trainings.quick(data_dir, **LONG)
    (tmp_path / "cv.flags").write_text(config.to_flags())
    with commands.started(
        "trainer.crossval", f"--flagfile={tmp_path}/cv.flags", f"--folds={FOLDS}",
        f"--repeats={REPEATS}", f"--run_dir={tmp_path}/cv", *flags,
    ) as started:  # fmt: skip
        yield started


def epochs_under_way(folder: pathlib.Path) -> dict[str, int]:
    """The epoch of each fold that is under way, by the name of its file."""
    epochs = {}
    for path in (folder / "cv" / saved_folds.FOLDER).glob(f"{saved_folds.NAMES}.state"):
        saved = saved_state.read(path)
        # A fold that ends is written, and then its state is removed.
        if saved is not None and not path.with_suffix("").exists():
            epochs[path.name] = saved.values["epoch"]
    return epochs


def wait_for(folder: pathlib.Path, ended: int, epoch: int, process) -> dict[str, int]:
    """Waits until so many folds have ended, and one is at an epoch."""
    while True:
        assert process.poll() is None, process.communicate()
        every = (folder / "cv" / saved_folds.FOLDER).glob(saved_folds.NAMES)
        if sum(path.suffix == "" for path in every) >= ended:
            epochs = epochs_under_way(folder)  # of folds that had not ended then
            if max(epochs.values(), default=0) >= epoch:
                return epochs
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_was_killed_goes_on(number, data_dir, long_whole, tmp_path):
    with process(data_dir, tmp_path) as started:
        wait_for(tmp_path, 1, 5, started)
        started.send_signal(number)
        _, err = started.communicate(timeout=60)
    folder = tmp_path / "cv"
    if number == signal.SIGKILL:
        assert started.returncode == -number
    else:
        assert started.returncode == 128 + number
        assert (
            f"1 fold that ended is in {folder}, and the state of one that was under way"
            in " ".join(err.split())
        )
    before = epochs_under_way(tmp_path)
    with process(data_dir, tmp_path) as started:
        _, err = started.communicate(timeout=300)
    assert started.returncode == 0, err
    assert ": 1 of 4 folds" not in err and ": 2 of 4 folds" in err
    assert before and {name: (folder / name).read_bytes() for name in WRITTEN} == long_whole


def test_the_fold_of_a_killed_worker_goes_on_from_its_state(data_dir, long_whole, tmp_path):
    with process(data_dir, tmp_path, "--workers=2") as started:
        wait_for(tmp_path, 0, 20, started)
        before = epochs_under_way(tmp_path)
        workers = clusters.running(parent=started.pid)
        for worker in workers:
            worker.kill()
        assert workers and before
        least = dict(before)
        while started.poll() is None:
            with contextlib.suppress(files.DamagedError):
                for name, epoch in epochs_under_way(tmp_path).items():
                    least[name] = min(epoch, least.get(name, epoch))
            time.sleep(0.01)
        _, err = started.communicate()
    assert started.returncode == 0, err
    assert "A worker was lost; its task runs again." in err
    assert {name: least[name] for name in before} == before  # none of them began again
    assert {name: (tmp_path / "cv" / name).read_bytes() for name in WRITTEN} == long_whole
