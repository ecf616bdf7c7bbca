"""What is left of a cluster whose driver is gone: its processes end, its folder goes."""

import io
import os
import signal
import subprocess
import sys

import psutil
import pytest

from trainer.execution import cleanup

# Writes into a folder until it is killed, as Ray's processes do.
WRITES = "import sys, time; file = open(sys.argv[1], 'w'); print(flush=True); time.sleep(1000)"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """That of a cluster whose driver is gone: nobody holds the other end of stdin."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    (tmp_path / "cluster").mkdir()
    return tmp_path / "cluster"


def test_processes_of_the_cluster_end_and_others_and_the_driver_do_not(folder, tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", WRITES, path, name], stdout=subprocess.PIPE)
        for path, name in (
            (folder / "log", "raylet"), (folder / "log", "other"), (tmp_path / "log", "raylet"),
            (folder / "driver", "raylet"),
        )
    ]  # fmt: skip
    try:
        assert all(process.stdout.readline() for process in started)
        cleanup.main(str(folder), driver=started[-1].pid)
        assert started[0].wait(timeout=60) == -signal.SIGKILL
        assert [process.poll() for process in started[1:]] == [None, None, None]
        assert not folder.exists()
    finally:
        for process in started:
            process.kill()
            process.communicate()


class Process:
    """Of the cluster; what happens when it is killed."""

    pid = 0

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.kills = error, 0

    def kill(self) -> None:
        self.kills += 1
        if self.error:
            raise self.error


def test_a_process_that_is_gone_or_stays_keeps_nothing_else_from_its_end(folder, monkeypatch):
    """One that waits for a disk ends when the disk answers."""
    both = [Process(psutil.NoSuchProcess(0)), Process()]
    monkeypatch.setattr(psutil, "process_iter", lambda: both)
    monkeypatch.setattr(cleanup, "_of_cluster", lambda process, folder: True)
    monkeypatch.setattr(cleanup.time, "sleep", lambda seconds: None)
    cleanup.main(str(folder), os.getpid())
    assert [process.kills for process in both] == [20, 20]
    assert not folder.exists()
