"""Files that appear whole and are checked when they are read; paths as users write them."""

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


def test_a_folder_appears_whole_or_the_one_before_stays(tmp_path):
    path = tmp_path / "made"
    for content in ("first", "second"):
        with files.folder_written_whole(path) as beside:
            (beside / "inside").mkdir()
            (beside / "inside" / content).write_text(content)
            assert beside.parent == tmp_path
        assert [each.name for each in (path / "inside").iterdir()] == [content]
    with pytest.raises(ZeroDivisionError), files.folder_written_whole(path) as beside:
        (beside / "third").write_text("half")
        _ = 1 / 0
    assert [each.name for each in (path / "inside").iterdir()] == ["second"]
    assert os.listdir(tmp_path) == ["made"]


@pytest.mark.parametrize("before", [True, False])
def test_where_a_new_folder_gets_no_name_the_one_before_has_its_own_again(
    before, tmp_path, monkeypatch
):
    path, rename = tmp_path / "made", pathlib.Path.rename
    if before:
        path.mkdir()
        (path / "first").touch()

    def refused(source, target):
        if target == path and not source.name.startswith(".before."):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(source, target)

    monkeypatch.setattr(pathlib.Path, "rename", refused)
    with pytest.raises(OSError, match="Input/output"), files.folder_written_whole(path) as beside:
        (beside / "second").touch()
    assert os.listdir(tmp_path) == (["made"] if before else [])
    assert not before or os.listdir(path) == ["first"]


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


def test_folders_are_made_with_their_names_on_the_disk(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files, "flush", lambda path: flushed.append(pathlib.Path(path)))
    files.make_folder(tmp_path / "a" / "b" / "c")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert flushed == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    (tmp_path / "file").touch()
    for path in ("file", "file/below"):
        with pytest.raises(FileExistsError):
            files.make_folder(tmp_path / path)


def test_a_folder_that_another_process_makes_meanwhile_will_do(tmp_path, monkeypatch):
    mkdir = pathlib.Path.mkdir

    def later(path):
        mkdir(path)  # by the other
        mkdir(path)

    monkeypatch.setattr(pathlib.Path, "mkdir", later)
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_folders_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.make_folder("runs/a")
    files.make_folder("runs/a")
    assert (tmp_path / "runs" / "a").is_dir()


PAYLOADS = [b"", b"x", bytes(range(256)) * 40]


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_sealed_bytes_come_back(payload, tmp_path):
    files.write_sealed(tmp_path / "state", payload)
    assert files.read_sealed(tmp_path / "state") == payload


def test_every_flipped_bit_of_a_sealed_file_is_found(tmp_path):
    path = tmp_path / "state"
    files.write_sealed(path, b"weights")
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(files.DamagedError, match=f"^{path} is damaged"):
            files.read_sealed(path)


@pytest.mark.parametrize("size", [0, 31, 32, 38])
def test_a_sealed_file_that_was_cut_is_damaged(size, tmp_path):
    path = tmp_path / "state"
    files.write_sealed(path, b"weights")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RunError, match=str(path)):
        files.read_sealed(path)


def test_nothing_is_written_below_a_guarded_folder_that_was_lost(tmp_path, monkeypatch):
    def lost():
        raise RunError("another process has it")

    for name in ("run", "run/plots", "runs", "other"):
        (tmp_path / name).mkdir()
    files.write_json(tmp_path / "run" / "a.json", "before")
    (tmp_path / "link").symlink_to("run")
    monkeypatch.chdir(tmp_path / "run")
    with files.guarded(tmp_path / "link", lost):
        for path in ("a.json", tmp_path / "run/plots/a.json", tmp_path / "link/a.json"):
            with pytest.raises(RunError, match="another process has it"):
                files.write_json(path, "after")
        files.write_json(tmp_path / "runs" / "a.json", "after")
        files.write_json("../other/a.json", "after")
    assert json.loads((tmp_path / "run" / "a.json").read_text()) == "before"
    assert sorted(os.listdir(tmp_path / "run")) == ["a.json", "plots"]
    assert not os.listdir(tmp_path / "run" / "plots")
    files.write_json("a.json", "after")
    assert json.loads((tmp_path / "run" / "a.json").read_text()) == "after"


def test_a_folder_that_is_lost_while_the_disk_is_waited_for_gets_no_file(tmp_path, monkeypatch):
    looks = iter([True, False])

    def check():
        if not next(looks):
            raise RunError("another process has it")

    with files.guarded(tmp_path, check), pytest.raises(RunError):
        files.write_json(tmp_path / "a.json", {})
    assert not os.listdir(tmp_path)


def test_a_file_is_locked_by_one_or_shared_by_several(tmp_path):
    path = tmp_path / "used"
    path.touch()
    with path.open() as one, path.open() as two:
        assert files.locked(one) and not files.locked(two)
        assert files.try_lock(one, shared=True) and files.try_lock(two, shared=True)
        assert files.try_lock(two) is False


def test_a_disk_that_fails_is_not_taken_for_one_without_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (tmp_path / "used").open("w") as file, pytest.raises(OSError, match="Input/output"):
        files.try_lock(file)


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, capsys):
    """As some network and FUSE mounts answer; there is none here to try."""

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (tmp_path / "used").open("w") as file:
        assert files.try_lock(file) is None
        assert files.locked(file) is None and files.locked(file) is None
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


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"b": 1}', b"\xff", b"[" * 10**5])
def test_json_that_is_not_what_was_written_is_a_sentence(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(files.DamagedError, match=r"a\.json is damaged: .* written\. Remove it\.$"):
        files.read_json(tmp_path / "a.json", "a", mend="Remove it.")
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert files.read_json(tmp_path / "a.json", "a", mend="Remove it.") == {"a": 1}
