"""Files that appear whole, locks that end with their process, and paths as users write them."""

import errno
import fcntl
import json
import math
import os
import pathlib
import signal
import stat
import subprocess
import sys

import pytest

from trainer.run import files
from trainer.run.errors import RunError

# Holds a lock, signed, until its stdin ends.
HOLDER = (
    "import sys; from trainer.run import files\n"
    "with files.Lock(sys.argv[1], shared=sys.argv[2] == 'shared') as lock:\n"
    "    lock.sign(); print('held', flush=True); sys.stdin.read()"
)
# Is killed, or runs out of room, while it writes.
KILLED = (
    "import os, signal, sys; from trainer.run import files\n"
    "with files.written_whole(sys.argv[1]) as beside:\n"
    "    beside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
)
NO_ROOM = (
    "import resource, sys; from trainer.run import files\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    "files.write_json(sys.argv[1], {'x': 'y' * 100_000})"
)


@pytest.fixture
def holder():
    """Starts processes that hold a lock; they have ended when the test has."""
    started = []

    def start(path: pathlib.Path, kind: str = "alone") -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_file_appears_whole_with_the_usual_permissions(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(ZeroDivisionError), files.written_whole(path) as beside:
        assert beside.suffix == ".json"  # Keras goes by it
        beside.write_text("half")
        assert json.loads(path.read_text()) == {"x": 1}
        _ = 1 / 0
    assert json.loads(path.read_text()) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]
    (tmp_path / "plain").touch()
    assert stat.filemode(path.stat().st_mode) == stat.filemode((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("program", [KILLED, NO_ROOM], ids=["killed", "no room"])
def test_the_file_before_stays_where_the_new_one_is_not_finished(program, tmp_path):
    path = tmp_path / "state.json"
    files.write_json(path, {"x": 1})
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == (-signal.SIGKILL if program == KILLED else 1)
    assert json.loads(path.read_text()) == {"x": 1}
    left = [each for each in tmp_path.iterdir() if each != path]
    assert [files.unfinished(each) for each in left] == ["state.json"] * (program == KILLED)


def test_only_what_was_being_written_is_taken_for_unfinished():
    for name in ("state.json", ".12.state.json", ".a.12345678.b", "1.12345678.x", ".1.12345678."):
        assert files.unfinished(pathlib.Path(name)) is None, name


def test_the_disk_has_a_file_before_it_bears_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, pathlib.Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (steps.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    monkeypatch.setattr(
        pathlib.Path, "replace", lambda *paths: (steps.append("rename"), replace(*paths))
    )
    files.write_json(tmp_path / "a.json", {})
    assert files.unfinished(pathlib.Path(steps[0])) == "a.json"
    assert steps[1:] == ["rename", str(tmp_path)]


def test_json_holds_no_number_that_other_tools_can_not_read(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": math.nan})
    assert not os.listdir(tmp_path)


def test_a_table_has_the_header_of_its_first_row(tmp_path):
    files.write_csv(tmp_path / "a.csv", [{"image_id": "ä,b", "n": 1}, {"image_id": "c", "n": 2}])
    assert (tmp_path / "a.csv").read_bytes() == 'image_id,n\n"ä,b",1\nc,2\n'.encode()


def test_who_holds_a_lock_is_said(holder, tmp_path):
    first = holder(tmp_path / ".lock")
    with pytest.raises(RunError) as refused:
        files.Lock(tmp_path / ".lock")
    message = str(refused.value)
    assert f"in use by process {first.pid} since " in message
    assert f"{sys.executable} -c " in message
    assert refused.value.holder.host == os.uname().nodename


def test_the_machine_of_the_holder_is_named_where_it_is_another():
    there = files.Holder(7, "node12", "python -m trainer.main", "2026-01-02T03:04:05+01:00")
    text = "process 7 on node12 since 2026-01-02 03:04:05 (python -m trainer.main)"
    assert there.text() == text


def test_a_long_command_is_one_line():
    there = files.Holder(7, "", "python -c 'import os\nx'" + " --flag=1" * 50, "2026-01-02")
    text = there.text()
    assert "\n" not in text and "import os x" in text and text.endswith("--flag=1 ...)")
    assert len(text) < 200


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\x00"])
def test_a_lock_whose_file_tells_nothing_is_held_by_another_process(text, tmp_path):
    with files.Lock(tmp_path / ".lock"):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(files.LockHeldError, match="in use by another process"):
            files.Lock(tmp_path / ".lock")


def test_a_lock_ends_with_a_process_that_is_killed(holder, tmp_path):
    first = holder(tmp_path / ".lock")
    looks = []

    def kill_it():
        looks.append(1)
        first.kill()

    files.Lock(tmp_path / ".lock", wait=math.inf, on_wait=kill_it).close()
    assert looks


def test_waiting_ends_in_time(holder, tmp_path):
    holder(tmp_path / ".lock")
    looks = []
    with pytest.raises(files.LockHeldError):
        files.Lock(tmp_path / ".lock", wait=0.5, on_wait=lambda: looks.append(1))
    assert len(looks) >= 2


def test_a_shared_lock_keeps_out_who_wants_it_alone(holder, tmp_path):
    holder(tmp_path / ".lock", "shared")
    with (
        files.Lock(tmp_path / ".lock", shared=True),
        pytest.raises(files.LockHeldError),
        open(tmp_path / ".lock") as file,
    ):
        assert files.locked(file, shared=True)
        files.Lock(tmp_path / ".lock")


def test_a_lock_whose_file_was_removed_meanwhile_counts_for_nothing(tmp_path):
    path = tmp_path / ".lock"
    removed = files.Lock(path)

    def remove():
        path.unlink()
        path.write_text("another file")
        removed.close()

    with files.Lock(path, wait=math.inf, on_wait=remove):
        with pytest.raises(files.LockHeldError):
            files.Lock(path)
        assert path.read_text() == "another file"


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, capsys):
    """As some network and FUSE mounts answer; there is none here to try."""

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.Lock(tmp_path / ".lock"), files.Lock(tmp_path / ".lock"):
        pass
    said = f"The file system of {tmp_path} has no locks: nothing keeps a second process out of it."
    assert capsys.readouterr().err == said + "\n"


def test_paths_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("SCRATCH", "/big disk")
    monkeypatch.chdir(tmp_path)
    os.makedirs("cost in $US")
    wanted = {
        "": "",
        "~": "/home/ann",
        "~/x": "/home/ann/x",
        "$SCRATCH/a": "/big disk/a",
        "${SCRATCH}/a": "/big disk/a",
        "~/$SCRATCH": "/home/ann//big disk",
        "a~b": "a~b",
        "gs://bucket/a": "gs://bucket/a",
        "cost in $US": "cost in $US",
    }
    assert {path: files.expanded(path) for path in wanted} == wanted
    assert files.expanded(pathlib.Path("~/x")) == "/home/ann/x"
    os.mkdir("~")  # left by a program that expands nothing
    assert files.expanded("~/x") == "/home/ann/x"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("$NOWHERE/runs", "The path $NOWHERE/runs names the variable NOWHERE, which is not set"),
        ("a/${NOWHERE}", "the variable NOWHERE, which is not set"),
        ("~no_such_user/x", "the home folder of 'no_such_user', which is not known here"),
    ],
)
def test_a_path_that_can_not_be_expanded_makes_no_strange_folder(path, message, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(RunError) as refused:
        files.expanded(path)
    assert message in str(refused.value)
