"""Whole stages are evicted, never one in use; what `verify` and `clear` leave and remove."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from trainer.input_pipeline import cache, cache_folders
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.input_pipeline.cache_files import CacheError
from trainer.run import files

ROW = 64  # bytes


def spec_of(name: str) -> Spec:
    return Spec(name, (4, 16), "uint8", {})


def digests_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16), np.uint8)


def rows_of(digests: np.ndarray) -> np.ndarray:
    return np.tile(digests, (1, 4)).reshape(-1, 4, 16)


def opened(cache_dir, name: str, count: int) -> CachedRows:
    rows = CachedRows(cache_dir, spec_of(name))
    digests = digests_of(count)
    with rows.filling():
        rows.append(digests, 0, rows_of(digests))
    return rows


@pytest.fixture
def three(tmp_path):
    """Folders of stages a, b and c, of 10, 20 and 30 rows, last used in this order."""
    folders = []
    for hour, name in enumerate("abc"):
        with opened(tmp_path, name, 10 * (hour + 1)) as rows:
            pass
        os.utime(rows.folder / "used", (hour * 3600, hour * 3600))
        folders.append(rows.folder)
    return folders


def sizes(cache_dir) -> dict[str, int]:
    return {entry.key["name"]: entry.bytes for entry in cache_folders.entries(cache_dir)}


def test_entries_are_listed_the_last_used_first(tmp_path, three) -> None:
    with CachedRows(tmp_path, spec_of("b")):
        listed = cache_folders.entries(tmp_path)
        assert [entry.key["name"] for entry in listed] == ["b", "c", "a"]
        assert [entry.in_use for entry in listed] == [True, False, False]
    assert [entry.rows for entry in listed] == [20, 30, 10]
    assert [entry.folder for entry in listed] == [three[1], three[2], three[0]]
    assert [entry.used for entry in listed[1:]] == [7200, 0]
    assert listed[1].bytes == sum(path.stat().st_size for path in three[2].iterdir()) > 30 * ROW
    assert listed[1].key == json.loads((three[2] / "key.json").read_text()) == spec_of("c").key()


def test_a_cache_that_is_not_there_is_empty(tmp_path) -> None:
    nowhere = tmp_path / "no" / "cache"
    assert cache_folders.entries(nowhere) == []
    assert cache_folders.room(nowhere, 100) == 100
    assert cache_folders.make_room(nowhere, 100, 100)
    assert cache_folders.old_release(nowhere) is None
    assert cache_folders.clear(nowhere) == (0, [])
    assert not nowhere.exists()


def test_a_folder_that_cannot_be_read_is_listed_all_the_same(tmp_path, three) -> None:
    (three[0] / "key.json").write_text("{")
    (three[1] / "key.json").write_text("[]")
    shutil.rmtree(three[2])
    three[2].mkdir()  # what is left if a process is killed while it makes the folder
    listed = {entry.folder: entry for entry in cache_folders.entries(tmp_path)}
    assert all(listed[folder].key == {} and not listed[folder].rows for folder in three)
    freed, in_use = cache_folders.clear(tmp_path)
    assert freed > 30 * ROW and not in_use and not any(folder.exists() for folder in three)


@pytest.mark.parametrize(("spare", "left"), [(0, "abc"), (1, "bc"), (2, "c"), (3, "")])
def test_the_least_recently_used_stages_are_evicted(tmp_path, three, spare, left) -> None:
    each = sizes(tmp_path)
    limit = sum(each.values())
    needed = sum(each[name] for name in "abc"[:spare])
    assert cache_folders.room(tmp_path, limit) == limit
    assert cache_folders.make_room(tmp_path, needed, limit)
    assert set(sizes(tmp_path)) == set(left)
    assert len(list((tmp_path / "stages").iterdir())) == len(left)


def test_a_listing_waits_for_no_folder_of_its_own_process_and_once_for_all_others(
    tmp_path, three, monkeypatch
) -> None:
    waits = []
    monkeypatch.setattr(cache_folders, "time", types.SimpleNamespace(sleep=waits.append))
    with CachedRows(tmp_path, spec_of("a")), CachedRows(tmp_path, spec_of("b")):
        assert [entry.in_use for entry in cache_folders.entries(tmp_path)].count(True) == 2
    assert not waits
    with (three[0] / "used").open() as one, (three[1] / "used").open() as other:  # as of others
        for lock in (one, other):
            files.try_lock(lock, shared=True)
        assert [entry.in_use for entry in cache_folders.entries(tmp_path)].count(True) == 2
        assert waits == list(cache_folders._WAITS)
        # Another listing has let the second go meanwhile.
        monkeypatch.setattr(cache_folders.time, "sleep", lambda _: other.close())
        assert [entry.in_use for entry in cache_folders.entries(tmp_path)].count(True) == 1


def test_a_stage_in_use_is_never_evicted(tmp_path, three) -> None:
    each = sizes(tmp_path)
    limit = sum(each.values())
    with CachedRows(tmp_path, spec_of("a")) as rows:
        os.utime(rows.folder / "used", (0, 0))
        assert cache_folders.room(tmp_path, limit) == each["b"] + each["c"]
        assert cache_folders.room(tmp_path, each["a"] - 1) == 0
        assert not cache_folders.remove(rows.folder)
        # What can't be had costs nothing.
        assert not cache_folders.make_room(tmp_path, each["b"] + each["c"] + 1, limit)
        assert set(sizes(tmp_path)) == set("abc")
        assert cache_folders.make_room(tmp_path, each["b"], limit)
        assert set(sizes(tmp_path)) == set("ac")
        assert cache_folders.make_room(tmp_path, each["b"] + each["c"], limit)
        assert set(sizes(tmp_path)) == {"a"}
        np.testing.assert_array_equal(rows.read(digests_of(10), 0), rows_of(digests_of(10)))
    assert cache_folders.make_room(tmp_path, limit, limit)
    assert sizes(tmp_path) == {}


def test_stages_are_evicted_for_the_disk_too(tmp_path, three, monkeypatch) -> None:
    each = sizes(tmp_path)
    total = sum(each.values())

    def disk_usage(_: object) -> tuple[int, int, int]:
        held = sum(sizes(tmp_path).values())
        return shutil._ntuple_diskusage(total + 500, held, total + 500 - held)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    assert cache_folders.room(tmp_path, 10**12) == total + 500
    assert cache_folders.make_room(tmp_path, 500, 10**12) and len(sizes(tmp_path)) == 3
    assert cache_folders.make_room(tmp_path, 501, 10**12) and set(sizes(tmp_path)) == set("bc")
    assert not cache_folders.make_room(tmp_path, total + 501, 10**12)
    assert set(sizes(tmp_path)) == set("bc")


def test_what_a_killed_eviction_left_goes_with_the_next(tmp_path, three) -> None:
    left = three[0].rename(three[0].with_name(f".evicted-{three[0].name}-1-1"))
    assert cache_folders.make_room(tmp_path, 0, 10**12)
    assert not left.exists() and set(sizes(tmp_path)) == set("bc")


USER = """
import os, pathlib, sys, numpy as np
from trainer.input_pipeline.cache import CachedRows, Spec
digests = np.random.default_rng(0).integers(0, 256, (3, 16), np.uint8)
computed = np.tile(digests, (1, 4)).reshape(-1, 4, 16)
print("ready", flush=True)
for _ in range(300):
    with CachedRows(pathlib.Path(sys.argv[1]), Spec("a", (4, 16), "uint8", {})) as rows:
        with rows.filling():
            if len(rows.missing(digests, 0)):
                rows.append(digests, 0, computed)
        assert os.path.samestat(os.fstat(rows._rows.fileno()), (rows.folder / "rows.bin").stat())
        np.testing.assert_array_equal(rows.read(digests, 0), computed)
"""


@pytest.mark.slow
def test_a_folder_is_evicted_before_or_after_its_use_by_another_process(tmp_path) -> None:
    command = [sys.executable, "-c", USER, tmp_path]
    folder = tmp_path / "stages" / spec_of("a").folder_name()
    users = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for user in users:
        user.stdout.readline()
    while any(user.poll() is None for user in users):
        if folder.exists():
            cache_folders.remove(folder)
    assert [user.wait() for user in users] == [0, 0]
    for user in users:
        user.stdout.close()
    with CachedRows(tmp_path, spec_of("a")) as rows:
        assert not cache_folders.remove(folder)
        assert len(rows.missing(digests_of(3), 0)) in (0, 3)
    assert cache_folders.remove(folder) and not list((tmp_path / "stages").iterdir())


def test_what_a_process_still_puts_into_a_folder_goes_with_it(tmp_path, three, monkeypatch) -> None:
    rmdir, late = os.rmdir, []

    def with_a_late_file(path, *args, **kwargs) -> None:
        if cache_folders._EVICTED in str(path) and not late:
            late.append(Path(path) / "late")
            late[0].touch()
        rmdir(path, *args, **kwargs)

    monkeypatch.setattr(os, "rmdir", with_a_late_file)
    assert cache_folders.remove(three[0])
    assert late and not late[0].parent.exists()


@pytest.mark.parametrize("code", [errno.EBUSY, errno.ENOTEMPTY])
def test_a_folder_that_the_machine_keeps_is_named(tmp_path, three, monkeypatch, code) -> None:
    """Of a network disk, say, whose server holds a file of it for good."""

    def kept(path, *args, **kwargs) -> None:
        raise OSError(code, os.strerror(code), os.fspath(path))

    monkeypatch.setattr(os, "rmdir", kept)
    with pytest.raises(CacheError, match=os.strerror(code)):
        cache_folders.remove(three[0])


@pytest.mark.parametrize("made_again", [False, True])
def test_a_folder_that_is_evicted_while_it_is_opened_is_opened_again(
    tmp_path, three, monkeypatch, made_again
) -> None:
    flock, evicted = fcntl.flock, []

    def late(file: object, how: int) -> None:
        if how == fcntl.LOCK_SH and not evicted:
            evicted.append(cache_folders.remove(three[0]))
            if made_again:
                CachedRows(tmp_path, spec_of("a")).close()  # by a third process
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with CachedRows(tmp_path, spec_of("a")) as rows:
        assert evicted == [True] and len(rows.missing(digests_of(10), 0)) == 10
        assert not cache_folders.remove(three[0]) and three[0].exists()


def test_a_folder_that_is_made_again_during_its_eviction_stays(
    tmp_path, three, monkeypatch
) -> None:
    try_lock, users = files.try_lock, []

    def late(file: object, **how: bool) -> bool | None:
        monkeypatch.setattr(files, "try_lock", try_lock)
        shutil.rmtree(three[0])  # by another eviction
        users.append(CachedRows(tmp_path, spec_of("a")))
        return try_lock(file, **how)

    monkeypatch.setattr(files, "try_lock", late)
    assert not cache_folders.remove(three[0])
    assert three[0].exists() and cache_folders.remove(three[1])
    users[0].close()


def test_locks_are_asked_for_as_nfs_gives_them(tmp_path, monkeypatch) -> None:
    """Of one that is shared the file has to be readable, of a whole one writable (flock(2))."""
    flock = fcntl.flock

    def of_nfs(file, what):
        number = file if isinstance(file, int) else file.fileno()
        mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
        needed = {fcntl.LOCK_SH: os.O_RDONLY, fcntl.LOCK_EX: os.O_WRONLY}
        for kind, access in needed.items():
            if what & kind and mode not in (access, os.O_RDWR):
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, what)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    spec = Spec("a", (2,), "uint8", {})
    digests = np.zeros((1, 16), np.uint8)
    with CachedRows(tmp_path, spec) as rows, rows.filling():
        rows.append(digests, 0, np.ones((1, 2), np.uint8))
    (entry,) = cache_folders.entries(tmp_path)
    assert entry.rows == 1 and not entry.in_use
    assert cache_folders.clear(tmp_path)


def test_a_file_that_gets_its_name_while_a_folder_is_listed_costs_no_entry(
    tmp_path, three, monkeypatch
) -> None:
    iterdir = Path.iterdir
    monkeypatch.setattr(
        Path, "iterdir", lambda folder: [*iterdir(folder), folder / ".7.0123abcd.key.json"]
    )
    assert len(cache_folders.entries(tmp_path)) == 3


def test_a_folder_loses_its_name_before_its_files(tmp_path, three, monkeypatch) -> None:
    rmtree, there = shutil.rmtree, []

    def watched(folder: object, **options: object) -> None:
        there.append(three[0].exists())
        rmtree(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    assert cache_folders.remove(three[0]) and there == [False]


def test_verify_counts_damaged_rows_once_and_the_next_use_computes_them(tmp_path, three) -> None:
    path = three[2] / "rows.bin"
    data = np.fromfile(path, np.uint8)
    data[[5 * ROW, 5 * ROW + 1, 17 * ROW + 63]] ^= 8
    data.tofile(path)
    before = os.stat(three[2] / "used").st_mtime_ns
    assert cache_folders.verify(three[2]) == (30, 2)
    assert cache_folders.verify(three[2]) == (28, 0)
    assert os.stat(three[2] / "used").st_mtime_ns == before
    digests = digests_of(30)
    with CachedRows(tmp_path, spec_of("c")) as rows:
        assert rows.missing(digests, 0).tolist() == [5, 17]
        with rows.filling():
            rows.append(digests[[5, 17]], 0, rows_of(digests[[5, 17]]))
        np.testing.assert_array_equal(rows.read(digests, 0), rows_of(digests))
    assert cache_folders.verify(three[2]) == (30, 0)


def test_verify_forgets_nothing_where_it_cannot_know(tmp_path, three, monkeypatch) -> None:
    written = {path: path.read_bytes() for folder in three for path in folder.glob("*.bin")}
    key = three[0] / "key.json"
    key.write_text(key.read_text().replace("16", "32"))  # would make other rows of the bytes
    with pytest.raises(CacheError, match=r"key\.json is damaged"):
        cache_folders.verify(three[0])

    def failing(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, pytest.raises(CacheError, match="Input/output error"):
        patch.setattr(os, "preadv", failing)
        cache_folders.verify(three[1])
    with monkeypatch.context() as patch:
        patch.setattr(cache, "FORMAT", cache.FORMAT + 1)
        with CachedRows(tmp_path, spec_of("c")) as newer:
            pass
    with pytest.raises(CacheError, match=r"has format 3.*--clear"):
        cache_folders.verify(newer.folder)
    with pytest.raises(CacheError, match="No such file"):
        cache_folders.verify(tmp_path / "stages" / "0123456789abcdef")
    assert {path: path.read_bytes() for path in written} == written


def test_clear_removes_all_but_what_is_in_use_and_the_old_release_too(tmp_path, three) -> None:
    old = tmp_path / "features" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / "00000-0.shard").write_bytes(b"\0" * 3 * 2**20)
    (old / "used").touch()
    message = cache_folders.old_release(tmp_path)
    assert message.startswith(f"{tmp_path / 'features'} holds 3.0 MiB of release 1.0.0, ")
    assert "python -m trainer.features --clear" in message
    (tmp_path / "weights.h5").touch()
    for of_user in (tmp_path / "stages" / "base_run", tmp_path / "features" / "abc"):
        of_user.mkdir()
        (of_user / "model.keras").touch()
    freed = sum(sizes(tmp_path)[name] for name in "bc") + 3 * 2**20
    with CachedRows(tmp_path, spec_of("a")):
        assert cache_folders.clear(tmp_path) == (freed, [three[0]])
    assert cache_folders.old_release(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "stages", "weights.h5"]
    assert set(sizes(tmp_path)) == {"a"}
    assert len(list(tmp_path.rglob("model.keras"))) == 2  # a user's are left alone


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "stages").touch()
    with pytest.raises(CacheError, match=rf"{tmp_path}/stages/[0-9a-f]+ can't be used \("):
        CachedRows(tmp_path, spec_of("a"))
    with pytest.raises(CacheError, match="can't be used"):
        CachedRows(tmp_path / "stages" / "under a file", spec_of("a"))
