"""Runs on odd machines: folders that vanish, odd paths, file systems that refuse or do nothing."""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.helpers import commands
from tests.helpers.trainings import epochs, quick, run
from tests.trainer.test_full_disk import TINY, Once, whole
from trainer import train
from trainer.input_pipeline import cache_folders
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.run import files, lease, process, run_dir, saved_state
from trainer.run.errors import ConfigError, RunError
from trainer.run.run_dir import Identity

NOBODY = Identity("", {})
# What `rename` answers on network file systems, whose file is there all the same.
OF_NFS = (errno.ESTALE, errno.EBUSY, errno.EIO, errno.EXDEV)


def without_locks(*_) -> None:
    """A `flock` that does nothing, as on some FUSE and network mounts."""


def no_locks(*_) -> None:
    """A `flock` as other such mounts have it."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@contextlib.contextmanager
def renames_that_fail(monkeypatch, number: int):
    def replace(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "replace", replace)
        yield


@pytest.mark.parametrize("number", OF_NFS, ids=errno.errorcode.get)
def test_a_rename_that_fails_leaves_the_file_before_and_nothing_beside_it(
    number, tmp_path, monkeypatch
):
    path = tmp_path / "a.json"
    files.write_json(path, [1])
    with renames_that_fail(monkeypatch, number), pytest.raises(OSError) as error:
        files.write_json(path, [2])
    assert (error.value.errno, error.value.filename) == (number, str(path))
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "[\n 1\n]\n"


@pytest.mark.slow
def test_a_folder_of_a_run_that_is_removed_meanwhile_ends_it_in_a_sentence(data_dir, tmp_path):
    path = tmp_path / "a"
    with (
        pytest.raises(RunError, match=r"was removed or replaced, so that .* is not held"),
        run_dir.create(path, "", NOBODY, overwrite=False) as folder,
    ):
        gone = Once(lambda: shutil.rmtree(path))
        train.train_and_evaluate(quick(data_dir, epochs=3), folder, [gone])
    assert not path.exists()


@pytest.mark.slow
def test_a_cache_that_is_removed_meanwhile_costs_no_result(data_dir, tmp_path):
    config = quick(data_dir, tmp_path / "cache", epochs=3)
    run(config, tmp_path / "a", callbacks=[Once(lambda: shutil.rmtree(tmp_path / "cache"))])
    assert whole(tmp_path / "a")
    assert epochs(tmp_path / "a") == epochs_of_another(config, tmp_path / "b")


def epochs_of_another(config, folder) -> list[dict]:
    run(config, folder)
    return epochs(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["ünï 日本 \u202e", os.fsdecode(b"a\xff\xfeb"), "a'b\"c;d&e$(f)", "a\nb", "%41 {a} [b] *?"],
    ids=["other letters", "no letters", "of the shell", "a line", "patterns"],
)
def test_folders_may_have_any_name(name, data_dir, tmp_path, capsys):
    process.prepare()  # as commands do: names are printed
    config = quick(data_dir, tmp_path / name / "cache", epochs=1)
    with run_dir.create(tmp_path / name / "run", "", NOBODY, overwrite=False) as folder:
        train.train_and_evaluate(config, folder)
    assert whole(tmp_path / name / "run")
    assert list((tmp_path / name / "run" / "plots").iterdir())
    assert "could not be written" not in capsys.readouterr().err
    with run_dir.create(tmp_path / name / "run", "", NOBODY, overwrite=False) as folder:
        assert run_dir.nothing_left(folder)


def test_a_name_that_no_file_system_takes_is_refused():
    with (
        pytest.raises(ConfigError, match=r"can't be written \(File name too long"),
        run_dir.create("x" * 300, "", NOBODY, overwrite=False),
    ):
        pass


def test_locks_that_do_nothing_let_no_second_process_into_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", without_locks)
    with lease.Lease(tmp_path), pytest.raises(lease.LockHeldError):
        lease.Lease(tmp_path)
    with lease.Lease(tmp_path):  # and it is free afterwards
        pass


@pytest.mark.parametrize("flock", [without_locks, no_locks])
def test_a_disk_without_locks_has_no_wrong_row_in_the_cache(flock, tmp_path, monkeypatch):
    """Two processes append at once; what one wrote over is missing, and computed again."""
    monkeypatch.setattr(fcntl, "flock", flock)
    spec = Spec("square", (4,), "uint8", {})
    digests = np.arange(48, dtype=np.uint8).reshape(3, 16)
    first, second = (np.full((3, 4), value, np.uint8) for value in (1, 2))
    with (
        CachedRows(tmp_path, spec) as ours,
        CachedRows(tmp_path, spec) as theirs,
        ours.filling(),
        theirs.filling(),
    ):
        ours.append(digests[:2], 0, first[:2])
        theirs.append(digests[1:], 0, second[1:])
    with CachedRows(tmp_path, spec) as rows:
        rows.check(digests, 0)
        missing = rows.missing(digests, 0)
        with rows.filling():
            rows.append(digests[missing], 0, first[missing])
        assert set(np.unique(rows.read(digests, 0))) <= {1, 2}
        assert rows.check_all()[1] == 0


def test_without_locks_what_was_opened_within_a_day_is_not_evicted(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with CachedRows(tmp_path, Spec("square", (4,), "uint8", {})) as rows, rows.filling():
        assert not cache_folders.remove(rows.folder) and rows.folder.is_dir()
    assert [entry.in_use for entry in cache_folders.entries(tmp_path)] == [True]
    assert not cache_folders.make_room(tmp_path, 1, 1) and rows.folder.is_dir()
    yesterday = time.time() - 25 * 3600
    os.utime(rows.folder / "used", (yesterday, yesterday))
    assert cache_folders.make_room(tmp_path, 1, 1) and not rows.folder.exists()


def test_without_locks_clear_removes_all_but_its_own_processs(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with CachedRows(tmp_path, Spec("square", (4,), "uint8", {})) as rows:
        assert cache_folders.clear(tmp_path)[1] == [rows.folder]
    assert not cache_folders.clear(tmp_path)[1] and not rows.folder.exists()


@pytest.mark.slow
def test_a_state_of_the_future_is_no_hindrance(data_dir, tmp_path):
    """A clock that was wrong and is set back leaves files that are newer than now."""
    config = quick(data_dir, tmp_path / "cache", epochs=1)
    run(config, tmp_path / "a")
    for path in [*tmp_path.rglob("*")]:
        os.utime(path, (4e9, 4e9))
    run(config, tmp_path / "a")
    assert whole(tmp_path / "a")
    assert saved_state.read(tmp_path / "a" / saved_state.FILE) is not None


LEASE = """
import os, sys
from trainer.run import command, run_dir
def main(argv):
    with run_dir.create(argv[1], "", run_dir.Identity("", {}), overwrite=False) as folder:
        print(f"has {folder.path.name}")
command.run(main)
"""


def test_a_command_needs_no_proc(tmp_path):
    line = f'mount -t tmpfs tmpfs /proc && exec {sys.executable} -c "$CODE" "$0"'
    shell = ["unshare", "--mount", "bash", "-c", line, str(tmp_path / "a")]
    mounts = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if mounts.returncode:
        pytest.skip("this process may not have mounts of its own")
    environment = {**os.environ, "CODE": LEASE}
    done = subprocess.run(
        shell, env=environment, cwd=commands.ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "has a\n", "")


def test_a_folder_that_is_gone_under_the_command_is_a_sentence(tmp_path):
    def ran(code: str) -> subprocess.CompletedProcess:
        (tmp_path / "gone").mkdir()
        return subprocess.run(
            ["bash", "-c", line, str(tmp_path / "gone")], capture_output=True, text=True,
            env={**os.environ, "CODE": code, "PYTHONPATH": str(commands.ROOT)}, timeout=60,
            check=False,
        )  # fmt: skip

    line = f'cd "$0" && rmdir "$0" && exec {sys.executable} -c "$CODE" ""'
    if ran("import socket").returncode:
        pytest.skip("this Python imports nothing there (3.13.0)")
    done = ran(LEASE)
    assert done.returncode == 2
    assert "can't be written (No such file or directory)" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_a_run_needs_nothing_of_its_environment(data_dir, tmp_path):
    """No home, no backend for plots, warnings that raise, few files, one core, ASCII, no input."""
    odd = {
        "MPLBACKEND": "nope", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "ascii",
        "LANG": "C", "TERM": "dumb", "TZ": ":/nowhere", "TMPDIR": "/nowhere",
        "PYTHONOPTIMIZE": "2", "MPLCONFIGDIR": "/proc/nowhere", "COLUMNS": "0",
        "PATH": os.environ["PATH"],
    }  # fmt: skip
    flags = (*TINY, f"--data_dir={data_dir}", f"--cache_dir={tmp_path / 'cache'}")
    command = [sys.executable, "-m", "trainer.main", *flags, f"--run_dir={tmp_path / 'a'}"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -n 64; exec taskset -c 0 "$0" "$@" <&-', *command],
        env=odd, cwd=commands.ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert whole(tmp_path / "a")
    assert "Traceback" not in done.stderr
