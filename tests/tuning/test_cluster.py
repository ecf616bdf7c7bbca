"""Searches on a cluster of several nodes, whatever dies: the real command, with tiny networks."""

import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import psutil
import pytest

pytest.importorskip("ray")

import tuning
from tests.helpers import clusters, commands, searches, trainings
from tests.helpers.clusters import wait_until
from trainer.execution.options import Options

pytestmark = pytest.mark.slow

NODES = 4
KILLS = {"random": ("worker", "node", "driver"), "grid": ("driver", "worker")}  # in this order
TRIALS = 12  # so many that some run or wait whenever one of the kills is due
AT_MOST = 0.3  # seconds from the end of a trial to the kill
HUNG = 900  # seconds without the next trial
SPACE = ("--head_units=8:64:log2", "--learning_rate=1e-4:1e-1:log", "--final_folds=0",
         "--epochs=20")  # fmt: skip


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "tuning.main", *searches.QUICK, *SPACE, *flags]


def events(folder: pathlib.Path, kind: str) -> list[str]:
    """Ids of the trials of all whole lines of the log that are of a kind."""
    log = folder / "log.jsonl"
    text = log.read_text() if log.exists() else ""
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [line["trial"] for line in lines if line["event"] == kind]


@contextlib.contextmanager
def driver(folder: pathlib.Path, *flags: str, **environment):
    """A search in a process of its own, which is gone at the end; its output is in a file."""
    with open(folder.with_suffix(".out"), "a") as out:
        process = subprocess.Popen(
            command(*flags, f"--search_dir={folder}"), cwd=commands.ROOT, stdout=out, stderr=out,
            env={**os.environ, **environment},
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def output(folder: pathlib.Path) -> str:
    return folder.with_suffix(".out").read_text()


def wait_for_trials(process, folder: pathlib.Path, count: int) -> None:
    """Until so many have ended, each within its time."""
    for number in range(count + 1):
        wait_until(
            lambda number=number: process.poll() is not None
            or len(events(folder, "ended")) >= number,
            HUNG, f"trial {number} of {folder}",
        )  # fmt: skip


def disturbed(nodes, folder, kills, *flags: str, seed: int = 0) -> int:
    """Runs a search to its end, with a kill after every second trial; the number of kills."""
    rng, left, done = random.Random(seed), collections.deque(kills), 0
    while True:
        with driver(folder, *flags, f"--cluster={nodes.address}") as process:
            while left and process.poll() is None:
                wait_for_trials(process, folder, 1 + 2 * done)
                if process.poll() is not None:
                    break
                time.sleep(rng.uniform(0, AT_MOST))
                kind = left.popleft()
                if kind == "worker":
                    wait_until(
                        lambda: clusters.kill_a_worker(rng) or process.poll() is not None,
                        HUNG, "a task to kill",
                    )  # fmt: skip
                elif kind == "node":
                    nodes.replace(rng)
                done += 1
                if kind == "driver":
                    process.kill()
                    break
            else:
                wait_for_trials(process, folder, TRIALS)
                assert process.wait(HUNG) == 0, output(folder)
                return done
            if process.poll() not in (None, -signal.SIGKILL):
                return done


def one_process(folder: pathlib.Path, *flags: str) -> list[tuple]:
    """The ranking of a search that nothing disturbs, in one process."""
    subprocess.run(
        command(*flags, f"--search_dir={folder}"), cwd=commands.ROOT, check=True,
        capture_output=True, timeout=HUNG,
    )  # fmt: skip
    return searches.ranking(folder)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with clusters.token(), clusters.nodes(tmp_path_factory.mktemp("homes"), NODES) as started:
        yield started


@pytest.fixture(scope="module")
def images(data_dir, tmp_path_factory) -> list[str]:
    return [f"--data_dir={data_dir}", f"--cache_dir={tmp_path_factory.mktemp('cache')}"]


@pytest.mark.parametrize("tuner", KILLS)
def test_a_search_of_which_all_dies_ends_as_an_undisturbed_one(tuner, nodes, images, tmp_path):
    flags, folder = (*images, f"--tuner={tuner}", f"--max_trials={TRIALS}"), tmp_path / "search"
    assert disturbed(nodes, folder, KILLS[tuner], *flags) == len(KILLS[tuner])
    ids = [f"{number:04}" for number in range(TRIALS)]
    assert sorted(events(folder, "begun")) == sorted(events(folder, "ended")) == ids
    assert searches.ranking(folder) == one_process(tmp_path / "alone", *flags)
    assert "Going on in" in output(folder)


def test_a_node_that_joins_late_runs_trials(images, tmp_path):
    folder, flags = tmp_path / "search", (*images[:1], f"--max_trials={4 * TRIALS}")
    (tmp_path / "homes").mkdir()
    with (
        clusters.token(),
        clusters.nodes(tmp_path / "homes", 1) as nodes,
        driver(folder, *flags, f"--cluster={nodes.address}", HOME=tmp_path) as process,
    ):
        wait_for_trials(process, folder, 1)
        nodes.add()
        assert process.wait(HUNG) == 0, output(folder)
    assert list(tmp_path.glob("homes/node1/.cache/covid_tfds/stages/*/rows.bin"))
    assert f"{4 * TRIALS} trials finished, 0 failed" in output(folder)


def test_a_driver_that_was_stopped_and_goes_on_loses_nothing(nodes, images, tmp_path):
    # Longer than any step takes beside other work on a slow machine: else a trial counts as lost.
    folder, timeout = tmp_path / "search", 30
    flags = (*images, f"--max_trials={TRIALS}", f"--cluster={nodes.address}")
    with driver(folder, *flags, f"--task_timeout={timeout}") as process:
        wait_for_trials(process, folder, 2)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * timeout)
        process.send_signal(signal.SIGCONT)
        assert process.wait(HUNG) == 0, output(folder)
    assert f"{TRIALS} trials finished, 0 failed" in output(folder)
    assert "runs again" not in output(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_workers_whose_driver_is_stopped(number, images, tmp_path):
    folder, temporary = tmp_path / "search", tmp_path / "t"
    temporary.mkdir()
    with driver(folder, *images, "--workers=2", f"--max_trials={TRIALS}", TMPDIR=temporary) as one:
        wait_for_trials(one, folder, 2)
        processes = psutil.Process(one.pid).children(recursive=True)
        (cleanup,) = clusters.running("cleanup.py", one.pid)
        of_cluster = pathlib.Path(cleanup.cmdline()[-2])
        assert of_cluster.is_dir()
        one.send_signal(number)
        assert one.wait(120) == 128 + number
    assert len(processes) > 5
    assert not psutil.wait_procs(processes, timeout=120)[1]
    assert not of_cluster.exists()
    assert len(list(temporary.iterdir())) <= 2  # TensorFlow's, of the driver
    assert len(events(folder, "ended")) < TRIALS


class Fails(keras.callbacks.Callback):
    """A user's, which fails in trials of a head of so many units."""

    def __init__(self, units, how):
        super().__init__()
        self.units, self.how = units, how

    def on_epoch_begin(self, epoch, logs=None):
        if any(getattr(layer, "units", 0) == self.units for layer in self.model.layers):
            self.how()


def hang():
    time.sleep(10_000)


def use_up_memory():
    raise MemoryError("64 GiB")


def test_trials_that_hang_or_find_no_memory_fail_and_the_others_go_on(data_dir, tmp_path):
    config = trainings.quick(data_dir, tmp_path / "cache")
    search = tuning.run(
        config, {"head_units": "8,16,32"}, tmp_path / "search",
        settings=tuning.Settings(tuner="grid", final_folds=0),
        callbacks=[Fails(8, hang), Fails(16, use_up_memory)],
        execution=Options(workers=2, task_timeout=15),
    )  # fmt: skip
    messages = {trial.hyperparameters["head_units"]: trial.message for trial in search.trials}
    assert messages == {
        8: "It made no step for 15 seconds, twice (--task_timeout=15).",
        16: "Out of memory, twice: 64 GiB",
        32: None,
    }
