"""Who has a folder where there is no /proc: renewals alone tell."""

import dataclasses
import json
import os
import pathlib

import pytest

from trainer.run import lease
from trainer.run.lease import NAME, Holder, Lease, LockHeldError


@pytest.fixture(autouse=True)
def without_proc(monkeypatch):
    """As this module would be imported there."""

    def hidden(original):
        def call(path, *arguments, **more):
            if str(path).startswith("/proc"):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return original(path, *arguments, **more)

        return call

    monkeypatch.setattr(pathlib.Path, "read_text", hidden(pathlib.Path.read_text))
    monkeypatch.setattr(os, "readlink", hidden(os.readlink))
    monkeypatch.setattr(lease, "HERE", lease._here())
    monkeypatch.setattr(lease, "SILENCE", 0.3)
    monkeypatch.setattr(lease, "_POLL", 0.05)


@pytest.fixture
def of_another(tmp_path) -> Holder:
    """The file of another process of this machine that ended, with a number of no process now."""
    left = dataclasses.replace(Holder.of_this_process(), pid=2**22 + 1, **lease._here())
    (tmp_path / NAME).write_text(json.dumps(dataclasses.asdict(left)))
    return left


def test_the_number_of_another_process_means_nothing(of_another):
    assert of_another.host == lease.HERE["host"]
    assert not of_another.is_here() and not of_another.is_gone()


def test_the_folder_of_another_process_is_taken_over_after_its_silence(
    of_another, tmp_path, capsys
):
    with Lease(tmp_path) as ours:
        ours.check()
    assert f"in use by process {of_another.pid} since" in capsys.readouterr().err


def test_a_process_keeps_what_it_has(tmp_path, capsys):
    with Lease(tmp_path) as ours, pytest.raises(LockHeldError, match=f"process {os.getpid()} "):
        Lease(tmp_path)
    ours.close()
    assert capsys.readouterr().err == ""  # it was not watched
