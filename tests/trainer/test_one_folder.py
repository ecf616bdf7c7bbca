"""Two commands on one folder, in the ways that people and schedulers bring that about.

Whatever is started, one of them has the folder, the other says so, and nothing is lost. What needs
no training is quick; the rest are commands in processes of their own.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import commands, run_folders, searches, trainings
from tests.helpers.commands import ROOT
from trainer.run import lease, run_dir, saved_state
from trainer.run.manifest import Manifest

MINE = "thesis.svg"
# A command as on another host, with which no locks are shared; silence is shorter there.
ELSEWHERE = """
import runpy, sys
from trainer.run import files, lease
files.try_lock = lambda *_, **__: None
lease.HERE["host"], lease.SILENCE, lease.RENEWED_EVERY = sys.argv[1], float(sys.argv[2]), 0.2
module, sys.argv = sys.argv[3], sys.argv[3:]
runpy.run_module(module, run_name="__main__")
"""
CHANGES = {"deterministic": True, "dropout": 0.3, "checkpoint_every": 0.0, "epochs": 150}
COMPARED = ("history.csv", "metrics.json", "predictions.csv")


# Without a training


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--seed=2"], ["--overwrite", "--seed=2"]])
def test_a_second_command_on_a_live_run_ends_with_one_line(flags, tmp_path):
    folder = run_folders.left(tmp_path / "run")
    (folder / MINE).write_text("mine")
    before = run_folders.contents(folder)
    with run_dir.held(folder, "run_dir"):
        ended = commands.run("trainer.main", f"--run_dir={folder}", "--dataset=phantom", *flags)
    assert ended.status == 1
    assert ended.err.startswith(f"--run_dir {folder} is in use by process {os.getpid()} since ")
    assert ended.err.endswith(". Wait for it or stop it, or give another folder.\n")
    assert (ended.out, ended.err.count("\n")) == ("", 1)
    assert run_folders.contents(folder) == before


WRONG = {
    "fulll": ["--dataset=fulll"],
    "There is no file": ["--dataset=tiny", "--weights=nowhere.h5"],
    "--classes=9, and ": ["--dataset=tiny", "--classes=9"],
    "--fine_tune_epochs=3 has no effect": ["--fine_tune_epochs=3"],
}


@pytest.mark.parametrize("message", WRONG)
@pytest.mark.parametrize("finished", [True, False])
def test_overwrite_with_a_wrong_flag_removes_nothing(message, finished, data_dir, tmp_path):
    folder = run_folders.left(tmp_path / "run", finished=finished)
    (folder / MINE).write_text("mine")
    (folder / "plots" / MINE).write_text("mine, too")
    before = run_folders.contents(folder)
    ended = commands.run(
        "trainer.main", f"--run_dir={folder}", f"--data_dir={data_dir}", "--overwrite",
        f"--cache_dir={tmp_path}/cache", *WRONG[message],
    )  # fmt: skip
    assert ended.status in (1, 2)
    assert message in ended.err
    assert run_folders.contents(folder) == before
    assert not (folder / lease.NAME).exists()


# Commands that train


@pytest.fixture(scope="module")
def flagfile(data_dir, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("flags") / "run.flags"
    path.write_text(trainings.quick(data_dir, **CHANGES).to_flags())
    return path


@pytest.fixture(scope="module")
def whole(flagfile, tmp_path_factory) -> dict[str, bytes]:
    """What a run that nobody disturbs writes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ended = commands.process("trainer.main", f"--flagfile={flagfile}", f"--run_dir={folder}")
    assert ended.status == 0, ended.err
    return result_of(folder)


def result_of(folder: pathlib.Path) -> dict[str, bytes]:
    assert Manifest.read(folder).damaged(folder) == []
    return {name: (folder / name).read_bytes() for name in COMPARED}


@contextlib.contextmanager
def elsewhere(host: str, silence: float, *flags: str, module: str = "trainer.main"):
    """Starts a command as on another host; it is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, host, str(silence), module, *flags],
        text=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_epoch(folder: pathlib.Path, epoch: int, process: subprocess.Popen) -> int:
    """Waits until a training is at an epoch, and is far from its end."""
    while True:
        assert process.poll() is None, process.communicate()
        saved = saved_state.read(folder / saved_state.FILE)
        if saved is not None and saved.values["epoch"] >= epoch:
            return saved.values["epoch"]
        time.sleep(0.01)


@pytest.mark.slow
def test_two_commands_in_one_second_have_a_folder_each(flagfile, whole, tmp_path):
    flags = (f"--flagfile={flagfile}",)
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    with (
        commands.started("trainer.main", *flags, **options) as one,
        commands.started("trainer.main", *flags, **options) as other,
    ):
        ends = [process.communicate(timeout=1200) for process in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], ends
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert sorted(out.split("run folder: ")[1].split()[0] for out, _ in ends) == [
        f"runs/{folder.name}" for folder in folders
    ]
    assert [result_of(folder) for folder in folders] == [whole, whole]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_live_training_is_not_disturbed_by_a_second_command(flags, flagfile, whole, tmp_path):
    arguments = (f"--flagfile={flagfile}", f"--run_dir={tmp_path}/run")
    with commands.started("trainer.main", *arguments) as first:
        wait_for_epoch(tmp_path / "run", 5, first)
        second = commands.process("trainer.main", *arguments, *flags)
        assert first.poll() is None
        _, err = first.communicate(timeout=1200)
    assert second.status == 1
    assert f"is in use by process {first.pid} since " in second.err
    assert first.returncode == 0, err
    assert result_of(tmp_path / "run") == whole


@pytest.mark.slow
def test_overwrite_with_a_wrong_dataset_leaves_a_finished_run_whole(flagfile, whole, tmp_path):
    arguments = (f"--flagfile={flagfile}", f"--run_dir={tmp_path}/run")
    assert commands.process("trainer.main", *arguments).status == 0
    (tmp_path / "run" / MINE).write_text("mine")
    every = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in every}
    ended = commands.process("trainer.main", *arguments, "--dataset=fulll", "--overwrite")
    assert ended.status == 1
    assert "fulll" in ended.err
    assert {path: path.read_bytes() for path in before} == before
    assert result_of(tmp_path / "run") == whole
    assert commands.process("trainer.main", *arguments, "--overwrite").status == 0
    assert (tmp_path / "run" / MINE).read_text() == "mine"


@pytest.mark.slow
def test_a_job_that_is_requeued_on_another_host_goes_on(flagfile, whole, tmp_path):
    arguments = (f"--flagfile={flagfile}", f"--run_dir={tmp_path}/run")
    with elsewhere("node11", 60.0, *arguments) as first:
        wait_for_epoch(tmp_path / "run", 5, first)
        with elsewhere("node12", 60.0, *arguments) as second:  # the first is seen to live
            _, refused = second.communicate(timeout=600)
        assert second.returncode == 1
        assert f"is in use by process {first.pid} on node11 since " in refused
        epoch = wait_for_epoch(tmp_path / "run", 5, first)
        first.kill()
        first.wait()
        with elsewhere("node12", 2.0, *arguments) as second:
            out, err = second.communicate(timeout=1200)
    assert second.returncode == 0, err
    assert f"process {first.pid} on node11" in err and "the folder is taken over" in err
    at = int(out.split("The run goes on at epoch ")[1].split()[0])
    assert at > epoch
    assert result_of(tmp_path / "run") == whole


@pytest.mark.slow
def test_a_stopped_process_that_wakes_up_leaves_the_run_alone(flagfile, whole, tmp_path):
    arguments = (f"--flagfile={flagfile}", f"--run_dir={tmp_path}/run")
    with elsewhere("node11", 60.0, *arguments) as first:
        wait_for_epoch(tmp_path / "run", 5, first)
        first.send_signal(signal.SIGSTOP)
        with elsewhere("node12", 2.0, *arguments) as second:
            wait_for_epoch(tmp_path / "run", 20, second)
            first.send_signal(signal.SIGCONT)  # while the other trains
            _, lost = first.communicate(timeout=600)
            assert second.poll() is None
            _, err = second.communicate(timeout=1200)
    assert first.returncode == 1
    assert f"is in use by process {second.pid} on node12 since " in lost
    assert "it took the folder over" in lost and "Traceback" not in lost
    assert second.returncode == 0, err
    assert result_of(tmp_path / "run") == whole
    assert not (tmp_path / "run" / lease.NAME).exists()


SEARCH = (*searches.QUICK, "--epochs=60", "--head_units=8:256:log2",
          "--learning_rate=1e-4:1e-2:log", "--max_trials=7", "--final_folds=0")  # fmt: skip


def wait_for_trials(folder: pathlib.Path, count: int, process: subprocess.Popen) -> None:
    """Waits until so many trials of a search have ended, and is far from its end."""
    log = folder / "log.jsonl"
    while not log.exists() or log.read_text().count('"ended"') < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_a_stopped_search_that_wakes_up_leaves_its_folder_alone(data_dir, tmp_path):
    flags = (*SEARCH, f"--data_dir={data_dir}", f"--cache_dir={tmp_path}/cache")
    folder = tmp_path / "search"
    arguments = (*flags, f"--search_dir={folder}")
    with elsewhere("node11", 60.0, *arguments, module="tuning.main") as first:
        wait_for_trials(folder, 4, first)
        first.send_signal(signal.SIGSTOP)
        with elsewhere("node12", 2.0, *arguments, module="tuning.main") as second:
            wait_for_trials(folder, 5, second)
            theirs = (folder / "log.jsonl").read_bytes()
            first.send_signal(signal.SIGCONT)  # while the other searches
            _, lost = first.communicate(timeout=600)
            _, err = second.communicate(timeout=1200)
    assert first.returncode == 1
    assert f"is in use by process {second.pid} on node12 since " in lost
    assert "it took the folder over" in lost and "Traceback" not in lost
    assert second.returncode == 0, err
    assert (folder / "log.jsonl").read_bytes().startswith(theirs)
    undisturbed = commands.process("tuning.main", *flags, f"--search_dir={tmp_path}/undisturbed")
    assert undisturbed.status == 0, undisturbed.err
    assert searches.ranking(folder) == searches.ranking(tmp_path / "undisturbed")
    shown = commands.process("tuning.main", *arguments)  # the log can be read
    assert shown.status == 0, shown.err
