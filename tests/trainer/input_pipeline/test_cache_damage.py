"""Kills, damaged files and errors of the machine: never a wrong row, never a right row lost."""

import errno
import itertools
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from trainer.input_pipeline import cache
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.input_pipeline.cache_files import CacheError

SPEC = Spec("image", (4, 16), "uint8", {})
RECORD, ROW = 24, 64  # bytes


def digests_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16), np.uint8)


def rows_of(digests: np.ndarray, view: int) -> np.ndarray:
    """Rows of SPEC that name their image and view."""
    return (np.tile(digests, (1, 4)) + np.uint8(view)).reshape(-1, 4, 16)


def complete(rows: CachedRows, digests: np.ndarray, view: int, batch: int = 7) -> int:
    """Computes what is missing or damaged, and compares every row; returns how many it computed."""
    computed = 0
    with rows.filling():
        missing = rows.missing(digests, view)
        for first in range(0, len(missing), batch):
            some = digests[missing[first : first + batch]]
            rows.append(some, view, rows_of(some, view))
            computed += len(some)
    np.testing.assert_array_equal(rows.read(digests, view), rows_of(digests, view))
    return computed


@pytest.fixture
def folder(tmp_path):
    """Of 50 rows of view 0."""
    with CachedRows(tmp_path, SPEC) as rows:
        complete(rows, digests_of(50), 0)
    return rows.folder


KILLED = """
import pathlib, sys, numpy as np
from trainer.input_pipeline.cache import CachedRows, Spec
digests = np.random.default_rng(0).integers(0, 256, (400, 16), np.uint8)
with CachedRows(pathlib.Path(sys.argv[1]), Spec("image", (1024, 16), "uint8", {})) as rows:
    for view in range(256):
        with rows.filling():
            missing = rows.missing(digests, view)
            for first in range(0, len(missing), 5):
                some = digests[missing[first:first + 5]]
                data = np.tile(some + np.uint8(view), (1, 1024)).reshape(-1, 1024, 16)
                rows.append(some, view, data)
                print(view * 400 + missing[first] + len(some), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [4, 20])
def test_a_kill_costs_the_batch_in_hand(tmp_path, kills) -> None:
    random, digests = np.random.default_rng(0), digests_of(400)
    spec = Spec("image", (1024, 16), "uint8", {})
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True
        ) as filler:
            lines = [filler.stdout.readline()]
            time.sleep(random.uniform(0, 0.03))
            filler.kill()
            lines += filler.stdout.read().splitlines()
        reported = int([line for line in lines if line.strip()][-1])
        with CachedRows(tmp_path, spec) as rows:
            there = 0
            for view in range(reported // 400 + 2):
                computed = np.setdiff1d(np.arange(400), rows.missing(digests, view))
                assert not len(rows.check(digests, view))
                some = digests[computed[-20:]]
                expected = np.tile(some + np.uint8(view), (1, 1024)).reshape(-1, 1024, 16)
                np.testing.assert_array_equal(rows.read(some, view), expected)
                there += len(computed)
            assert reported <= there <= reported + 5


@pytest.mark.parametrize("file", ["index.bin", "rows.bin"])
@pytest.mark.slow
def test_an_append_that_is_cut_at_any_byte_loses_that_batch_only(
    tmp_path, folder, monkeypatch, file
) -> None:
    digests, pwrite = digests_of(53), os.pwrite
    size = {"index.bin": RECORD, "rows.bin": ROW}[file]
    rest = [0]

    def cut(fd: int, data: memoryview, offset: int) -> int:
        if not os.path.samestat(os.fstat(fd), (folder / file).stat()):
            return pwrite(fd, data, offset)
        if not rest[0]:
            raise KeyboardInterrupt
        written = pwrite(fd, data[: rest[0]], offset)
        rest[0] -= written
        return written

    whole = {path: path.read_bytes() for path in folder.glob("*.bin")}
    for count in range(3 * size):
        for path, data in whole.items():
            path.write_bytes(data)
        with CachedRows(tmp_path, SPEC) as rows:
            rest[0] = count
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), rows.filling():
                patch.setattr(os, "pwrite", cut)
                rows.append(digests[50:], 0, rows_of(digests[50:], 0))
            left = 3 - count // RECORD if file == "index.bin" else 3
            rows.refresh()
            assert rows.missing(digests, 0).tolist() == list(range(53))[53 - left :]
            assert complete(rows, digests, 0) == left
            assert rows.check_all() == (53, 0)


@pytest.mark.parametrize("surplus", [0, 1, ROW - 1, ROW, 5 * ROW + 3])
def test_a_torn_tail_is_overwritten(tmp_path, folder, surplus) -> None:
    whole = {path: path.read_bytes() for path in folder.glob("*.bin")}
    for torn in range(1, RECORD):
        (folder / "index.bin").write_bytes(whole[folder / "index.bin"] + b"\x5a" * torn)
        (folder / "rows.bin").write_bytes(whole[folder / "rows.bin"] + b"\x5a" * surplus)
        with CachedRows(tmp_path, SPEC) as rows:
            assert rows.missing(digests_of(52), 0).tolist() == [50, 51]
            assert complete(rows, digests_of(52), 0) == 2
        with CachedRows(tmp_path, SPEC) as rows:
            assert complete(rows, digests_of(52), 0) == 0
            assert rows.check_all() == (52, 0)


@pytest.mark.parametrize("size", [0, 1, ROW, 20 * ROW, 20 * ROW + 1, 50 * ROW - 1])
def test_rows_behind_the_end_of_the_file_are_computed_again(tmp_path, folder, size) -> None:
    os.truncate(folder / "rows.bin", size)
    left = size // ROW
    with CachedRows(tmp_path, SPEC) as rows:
        assert rows.missing(digests_of(50), 0).tolist() == list(range(left, 50))
        assert rows.check_all() == (50, 50 - left)
        # In another order: no record of before may come back to life over a row of now.
        assert complete(rows, digests_of(53)[::-1], 0) == 53 - left
        assert rows.check_all() == (53, 0)


def test_rows_that_vanish_while_the_folder_is_open_are_not_handed_out(tmp_path, folder) -> None:
    digests = digests_of(50)
    with CachedRows(tmp_path, SPEC) as rows:
        assert not len(rows.check(digests, 0))
        os.truncate(folder / "rows.bin", 30 * ROW)
        with pytest.raises(CacheError, match=r"20 rows .* are damaged"):
            rows.read(digests, 0)
        assert complete(rows, digests, 0) == 20


def flip(folder, bit: int) -> None:
    """Changes a bit of rows.bin, or of index.bin behind it."""
    size = (folder / "rows.bin").stat().st_size * 8
    path = folder / ("rows.bin" if bit < size else "index.bin")
    data = np.fromfile(path, np.uint8)
    data[bit % size // 8] ^= 1 << bit % 8
    data.tofile(path)


def test_no_changed_bit_makes_a_wrong_row(tmp_path, folder) -> None:
    digests = digests_of(50)
    whole = {path: path.read_bytes() for path in folder.glob("*.bin")}
    bits = 8 * sum(len(data) for data in whole.values())
    for bit in np.random.default_rng(0).integers(0, bits, 100):
        for path, data in whole.items():
            path.write_bytes(data)
        flip(folder, int(bit))
        with CachedRows(tmp_path, SPEC) as rows:  # that does not check before it reads
            damaged = rows.missing(digests, 0).tolist()
            if not damaged:
                with pytest.raises(CacheError, match=f"{rows.folder} are damaged.*--verify"):
                    rows.read(digests, 0)
                damaged = rows.missing(digests, 0).tolist()
            assert len(damaged) == 1
            others = np.delete(digests, damaged, 0)
            np.testing.assert_array_equal(rows.read(others, 0), rows_of(others, 0))
        with CachedRows(tmp_path, SPEC) as rows:
            assert rows.check_all() == (50, 1)
            assert rows.missing(digests, 0).tolist() == damaged
            assert complete(rows, digests, 0) == 1
        with CachedRows(tmp_path, SPEC) as rows:  # the damaged one does not count any more
            assert rows.check_all() == (50, 0)


def test_a_hundred_changed_bits_are_all_noticed(tmp_path, folder) -> None:
    digests = digests_of(50)
    bits = 8 * sum(path.stat().st_size for path in folder.glob("*.bin"))
    for bit in np.random.default_rng(1).integers(0, bits, 100):
        flip(folder, int(bit))
    with CachedRows(tmp_path, SPEC) as rows:
        damaged = rows.check(digests, 0)
        missing = rows.missing(digests, 0)
        assert 20 < len(missing) < 50 and set(damaged) <= set(missing)
        others = np.delete(digests, missing, 0)
        np.testing.assert_array_equal(rows.read(others, 0), rows_of(others, 0))
        assert complete(rows, digests, 0) == len(missing)
    with CachedRows(tmp_path, SPEC) as rows:
        assert not len(rows.check(digests, 0)) and not len(rows.missing(digests, 0))


@pytest.fixture
def disk(monkeypatch) -> dict[pathlib.Path, bytes]:
    """What a power cut leaves: files as they were when they were last flushed (fsync)."""
    flushed, fsync = {}, os.fsync

    def noted(handle: int) -> None:
        path = pathlib.Path(f"/proc/self/fd/{handle}").resolve()
        if path.is_file():
            # Written whole: the name that it gets comes with the folder's flush.
            flushed[path] = path.read_bytes()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    return flushed


@pytest.mark.parametrize("minutes", [0, 1, 2, 5])
def test_a_power_cut_costs_the_last_minute_of_a_fill(tmp_path, monkeypatch, disk, minutes) -> None:
    digests, seconds = digests_of(400), itertools.count(step=10)
    monkeypatch.setattr(cache.time, "monotonic", lambda: float(next(seconds)))
    with CachedRows(tmp_path, SPEC) as rows, rows.filling():
        start, batch = next(seconds), 0
        while next(seconds) < start + 60 * minutes:
            some = digests[4 * batch : 4 * batch + 4]
            rows.append(some, 0, rows_of(some, 0))
            batch += 1
        written = {path: disk.get(path, b"") for path in rows.folder.glob("*.bin")}
    for path, data in written.items():
        path.write_bytes(data)
    with CachedRows(tmp_path, SPEC) as rows:
        missing = rows.missing(digests[: 4 * batch], 0)
        assert len(missing) <= 4 * 60 / 20  # an append takes 20 s of this clock
        assert len(missing) < 4 * batch or minutes < 2
        assert rows.check_all() == (4 * batch - len(missing), 0)
        assert complete(rows, digests, 0) == 400 - 4 * batch + len(missing)


def test_a_fill_that_ended_is_on_the_disk_the_rows_before_their_records(tmp_path, disk) -> None:
    digests = digests_of(50)
    with CachedRows(tmp_path, SPEC) as rows:
        complete(rows, digests, 0)
        with pytest.raises(KeyboardInterrupt), rows.filling():
            rows.append(digests[:5], 1, rows_of(digests[:5], 1))
            raise KeyboardInterrupt
    assert [path.name for path in disk][-2:] == ["rows.bin", "index.bin"]
    for path in rows.folder.glob("*.bin"):
        assert disk[path] == path.read_bytes()


def test_a_row_that_two_processes_find_damaged_is_computed_once(tmp_path, folder) -> None:
    digests = digests_of(50)
    flip(folder, 8 * ROW * 7)
    with CachedRows(tmp_path, SPEC) as ours, CachedRows(tmp_path, SPEC) as theirs:
        assert ours.check(digests, 0).tolist() == theirs.check(digests, 0).tolist() == [7]
        assert complete(ours, digests, 0) == 1
        assert complete(theirs, digests, 0) == 0


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_an_error_of_the_machine_is_no_damage(tmp_path, folder, monkeypatch, number) -> None:
    digests = digests_of(50)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}

    def failing(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with CachedRows(tmp_path, SPEC) as rows:
        for use in (
            lambda: rows.read(digests, 0),
            lambda: rows.check(digests, 0),
            lambda: rows.check_all(),
            lambda: CachedRows(tmp_path, SPEC),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(os, "preadv", failing)
                with pytest.raises(CacheError, match=rf"{folder} .*\({os.strerror(number)}\)\. "):
                    use()
        assert not len(rows.missing(digests, 0))
        np.testing.assert_array_equal(rows.read(digests, 0), rows_of(digests, 0))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in written} == (
        written
    )


def test_rows_that_are_read_in_pieces_are_whole(tmp_path, folder, monkeypatch) -> None:
    digests, preadv, random = digests_of(50)[::-1], os.preadv, np.random.default_rng(0)

    def short(fd: int, buffers: list[memoryview], offset: int) -> int:
        return preadv(fd, [buffers[0][: random.integers(1, 100)]], offset)

    monkeypatch.setattr(os, "preadv", short)
    with CachedRows(tmp_path, SPEC) as rows:
        np.testing.assert_array_equal(rows.read(digests, 0), rows_of(digests, 0))
        assert rows.check_all() == (50, 0)


@pytest.mark.parametrize(("file", "left"), [("rows.bin", 10), ("index.bin", 6)])
def test_a_full_disk_keeps_what_was_computed(tmp_path, folder, monkeypatch, file, left) -> None:
    digests, pwrite, room = digests_of(60), os.pwrite, [100]

    def full(fd: int, data: memoryview, offset: int) -> int:
        if not os.path.samestat(os.fstat(fd), (folder / file).stat()):
            return pwrite(fd, data, offset)
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = pwrite(fd, data[: room[0]], offset)
        room[0] -= written
        return written

    with CachedRows(tmp_path, SPEC) as rows, rows.filling():
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(CacheError, match=r"No space left on device.*Make room"):
                rows.append(digests[50:], 0, rows_of(digests[50:], 0))
        rows.append(digests[58:], 0, rows_of(digests[58:], 0))  # there is room again
    with CachedRows(tmp_path, SPEC) as rows:
        assert rows.check_all()[1] == 0
        assert complete(rows, digests, 0) == left - 2


LIMITED = """
import os, pathlib, resource, sys, numpy as np
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.input_pipeline.cache_files import CacheError
cache_dir, limit, value = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
digests = np.random.default_rng(0).integers(0, 256, (50 + 3000, 16), np.uint8)
if not value:
    value = len(os.listdir("/proc/self/fd")) - 1  # none is free
resource.setrlimit(getattr(resource, limit), (value, value))
try:
    with CachedRows(cache_dir, Spec("image", (4, 16), "uint8", {})) as rows, rows.filling():
        for first in range(50, len(digests), 10):
            some = digests[first:first + 10]
            rows.append(some, 0, np.tile(some, (1, 4)).reshape(-1, 4, 16))
    print("whole")
except CacheError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("limit", "value", "message", "count"),
    [
        ("RLIMIT_FSIZE", 64_100, "(File too large). Raise the limit of a file's size", 1000),
        ("RLIMIT_NOFILE", 0, "(Too many open files). Raise the limit of open files", 50),
        ("RLIMIT_NOFILE", 16, "whole", 3050),
    ],
)
def test_limits_of_the_process_delete_nothing(tmp_path, folder, limit, value, message, count):
    command = [sys.executable, "-c", LIMITED, tmp_path, limit, str(value)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert message in printed
    digests = digests_of(3050)
    with CachedRows(tmp_path, SPEC) as rows:
        assert rows.missing(digests, 0).tolist() == list(range(count, 3050))
        assert rows.check_all() == (count, 0)
        np.testing.assert_array_equal(rows.read(digests[:count], 0), rows_of(digests[:count], 0))
        assert complete(rows, digests, 0, batch=500) == 3050 - count
