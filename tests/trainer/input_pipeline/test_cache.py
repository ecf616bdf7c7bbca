"""The cache hands out the rows that were appended, to any number of processes."""

import struct
import subprocess
import sys
import tracemalloc
import zlib

import ml_dtypes
import numpy as np
import pytest

from tests.helpers import flips
from trainer.input_pipeline import cache, cache_folders, cache_index
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.input_pipeline.cache_files import CacheError
from trainer.run import files

SPEC = Spec("image", (4, 16), "uint8", {"image_size": 64})
DTYPES = [np.uint8, ml_dtypes.bfloat16, np.float16, np.float32]


def digests_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16), np.uint8)


def rows_of(digests: np.ndarray, view: int) -> np.ndarray:
    """Rows of SPEC that name their image and view."""
    return (np.tile(digests, (1, 4)) + np.uint8(view)).reshape(-1, 4, 16)


def fill(rows: CachedRows, digests: np.ndarray, view: int) -> None:
    with rows.filling():
        rows.append(digests, view, rows_of(digests, view % 256))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (3, 5, 2)])
def test_rows_come_back_bit_by_bit(tmp_path, dtype, shape) -> None:
    spec = Spec("block5_pool", shape, np.dtype(dtype).name, {})
    digests, random = digests_of(20), np.random.default_rng(1)
    data = random.integers(0, 256, (20, spec.row_bytes), np.uint8)  # NaN and infinities too
    data = data.view(dtype).reshape(20, *shape)
    with CachedRows(tmp_path, spec) as rows, rows.filling():
        rows.append(digests[:12], 3, data[:12])
        rows.append(digests[12:], 3, data[12:])
    order = random.integers(0, 20, 50)  # in any order, some twice
    with CachedRows(tmp_path, spec) as rows:
        read = rows.read(digests[order], 3)
    assert read.dtype == dtype and read.shape == (50, *shape)
    assert read.tobytes() == data[order].tobytes()


def test_only_what_was_appended_is_there(tmp_path) -> None:
    digests = digests_of(10)
    with CachedRows(tmp_path, SPEC) as rows:
        assert rows.missing(digests, 0).tolist() == list(range(10))
        fill(rows, digests[[2, 5]], 0)
        fill(rows, digests[5:], 1)
        assert rows.missing(digests, 0).tolist() == [0, 1, 3, 4, 6, 7, 8, 9]
        assert rows.missing(digests, 1).tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(KeyError, match="1 of 2 rows"):
            rows.read(digests[[2, 3]], 0)
        views = np.array([0, 1, 1])
        np.testing.assert_array_equal(
            rows.read(digests[[2, 5, 9]], views),
            np.concatenate([rows_of(digests[[2]], 0), rows_of(digests[[5, 9]], 1)]),
        )


def test_no_images_are_no_rows(tmp_path) -> None:
    with CachedRows(tmp_path, SPEC) as rows:
        fill(rows, digests_of(0), 0)
        assert rows.read(digests_of(0), 0).shape == (0, 4, 16)
        assert rows.missing(digests_of(0), 0).shape == rows.check(digests_of(0), 0).shape == (0,)


def test_the_later_of_two_rows_wins(tmp_path) -> None:
    digests = digests_of(30)
    with CachedRows(tmp_path, SPEC) as rows:
        with rows.filling():
            for step in range(40):
                some = digests[step % 25 : step % 25 + 5]
                rows.append(some, 0, rows_of(some, step))
        before = rows.read(digests[:29], 0)
    with CachedRows(tmp_path, SPEC) as rows:
        read = rows.read(digests[:29], 0)
    np.testing.assert_array_equal(read, before)
    last = [max(s for s in range(40) if s % 25 <= i < s % 25 + 5) for i in range(29)]
    np.testing.assert_array_equal(read[:, 0, 0], digests[:29, 0] + np.array(last, np.uint8))


def test_images_whose_search_keys_collide_are_kept_apart(tmp_path) -> None:
    digests = digests_of(300)
    digests[:, :8] = digests[0, :8]  # the first eight bytes are all that a search key has
    with CachedRows(tmp_path, SPEC) as rows:
        for first in range(0, 200, 20):
            fill(rows, digests[first : first + 20], first % 3)
        for view in range(3):
            there = np.concatenate(
                [np.arange(f, f + 20) for f in range(0, 200, 20) if f % 3 == view]
            )
            expected = np.setdiff1d(np.arange(300), there)
            np.testing.assert_array_equal(rows.missing(digests, view), expected)
            read = rows.read(digests[there], view)
            np.testing.assert_array_equal(read, rows_of(digests[there], view))


def test_the_index_agrees_with_a_dictionary() -> None:
    random, index, expected = np.random.default_rng(0), cache_index.RowIndex(), {}
    digests = digests_of(40)
    digests[20:, :8] = digests[:20, :8]
    for _ in range(60):
        records = np.empty(random.integers(1, 30), cache_index.RECORD)
        images, views = random.integers(0, 40, len(records)), random.integers(0, 4, len(records))
        records["digest"], records["view"] = cache_index.as_words(digests[images]), views
        for row, (image, view) in enumerate(zip(images, views, strict=True), len(index)):
            expected[image, view] = row
        index.add(records, cache_index.RIGHT)
        for view in range(4):
            rows = index.locate(digests, view)
            assert rows.tolist() == [expected.get((image, view), -1) for image in range(40)]


def test_wrong_rows_are_not_appended(tmp_path) -> None:
    digests = digests_of(2)
    with CachedRows(tmp_path, SPEC) as rows:
        with pytest.raises(RuntimeError, match="outside of filling"):
            rows.append(digests, 0, rows_of(digests, 0))
        with rows.filling():
            for wrong in (rows_of(digests, 0)[:, :3], rows_of(digests, 0).astype(np.float32)):
                with pytest.raises(ValueError, match=r"give uint8 \[2, 4, 16\]"):
                    rows.append(digests, 0, wrong)
        with pytest.raises(ValueError, match="give uint8"):
            rows.missing(digests[:, :15], 0)
        assert len(rows.missing(digests, 0)) == 2
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        Spec("image", (4,), "int8", {})
    with pytest.raises(ValueError, match="shape is"):
        Spec("image", (4, 0), "uint8", {})


def test_everything_that_rows_depend_on_has_a_folder_of_its_own(monkeypatch) -> None:
    specs = [
        SPEC,
        Spec("block4_pool", (4, 16), "uint8", {"image_size": 64}),
        Spec("image", (16, 4), "uint8", {"image_size": 64}),
        Spec("image", (4, 16), "float16", {"image_size": 64}),
        Spec("image", (4, 16), "uint8", {"image_size": 65}),
    ]
    names = {spec.folder_name() for spec in specs}
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    names.add(SPEC.folder_name())
    assert len(names) == 6 and all(len(name) == 16 for name in names)


def test_the_name_of_a_folder_stays() -> None:
    spec = Spec("block4_pool", (14, 14, 512), "bfloat16", {"seed": 1, "augmentation": {"a": 0.1}})
    assert spec.folder_name() == "6f0342e9da38d193"
    assert spec.row_bytes == 14 * 14 * 512 * 2


def test_the_bytes_on_disk_stay(tmp_path) -> None:
    digests = digests_of(2)
    with CachedRows(tmp_path, SPEC) as rows:
        fill(rows, digests, 258)
    assert rows.folder == tmp_path / "stages" / SPEC.folder_name()
    data = [row.tobytes() for row in rows_of(digests, 258 % 256)]
    heads = [digest.tobytes() + struct.pack("<I", 258) for digest in digests]
    records = [
        h + struct.pack("<I", zlib.crc32(h + row)) for h, row in zip(heads, data, strict=True)
    ]
    assert (rows.folder / "rows.bin").read_bytes() == b"".join(data)
    assert (rows.folder / "index.bin").read_bytes() == b"".join(records)


def test_a_folder_with_a_damaged_key_is_mended_by_its_next_use(tmp_path) -> None:
    with CachedRows(tmp_path, SPEC) as rows:
        fill(rows, digests_of(3), 0)
    key = rows.folder / "key.json"
    written = key.read_text()
    for damaged in ("", "{", written.replace("16", "17")):
        key.write_text(damaged)
        with CachedRows(tmp_path, SPEC) as rows:
            np.testing.assert_array_equal(rows.read(digests_of(3), 0), rows_of(digests_of(3), 0))
        assert key.read_text() == written


def test_no_changed_bit_of_a_key_is_taken_for_another_stage(tmp_path) -> None:
    """It is named by the check of the cache, and mended by the next use."""
    with CachedRows(tmp_path, SPEC) as rows:
        fill(rows, digests_of(3), 0)
    key, random = rows.folder / "key.json", np.random.default_rng(0)
    written = key.read_text()
    for _ in range(flips.COUNT):
        with flips.one_bit(key, random):
            assert [entry.rows for entry in cache_folders.entries(tmp_path)] == [0]
            with pytest.raises(CacheError, match=r"key\.json is damaged"):
                cache_folders.verify(rows.folder)
            with CachedRows(tmp_path, SPEC) as again:
                assert len(again.read(digests_of(3), 0)) == 3
            assert key.read_text() == written


def test_another_process_appends_and_this_one_takes_it_in(tmp_path) -> None:
    digests, waits = digests_of(8), []
    with CachedRows(tmp_path, SPEC) as ours, CachedRows(tmp_path, SPEC) as theirs:
        filling = theirs.filling()
        filling.__enter__()

        def waiting() -> None:
            waits.append(len(waits))
            if len(waits) == 2:
                theirs.append(digests[:5], 0, rows_of(digests[:5], 0))
                filling.__exit__(None, None, None)

        assert len(ours.missing(digests, 0)) == 8
        with ours.filling(waiting):
            assert ours.missing(digests, 0).tolist() == [5, 6, 7]
            ours.append(digests[5:], 0, rows_of(digests[5:], 0))
        assert waits == [0, 1]
        assert theirs.missing(digests, 0).tolist() == [5, 6, 7]
        theirs.refresh()
        np.testing.assert_array_equal(theirs.read(digests, 0), rows_of(digests, 0))


FILLER = """
import pathlib, sys, numpy as np
from trainer.input_pipeline.cache import CachedRows, Spec
digests = np.random.default_rng(0).integers(0, 256, (120, 16), np.uint8)
spec, computed = Spec("image", (4, 16), "uint8", {"image_size": 64}), 0
print("ready", flush=True)
sys.stdin.readline()
with CachedRows(pathlib.Path(sys.argv[1]), spec) as rows:
    for view in (0, 1, 2):
        while len(rows.missing(digests, view)):
            with rows.filling():
                some = digests[rows.missing(digests, view)[:8]]
                rows.append(some, view, (np.tile(some, (1, 4)) + np.uint8(view)).reshape(-1, 4, 16))
                computed += len(some)
print(computed)
"""


def test_without_locks_a_row_that_another_process_wrote_over_is_not_taken(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(files, "try_lock", lambda file, **_: None)
    spec, digests = Spec("a", (3,), "uint8", {}), digests_of(2)
    with CachedRows(tmp_path, spec) as one, CachedRows(tmp_path, spec) as two:
        with one.filling(), two.filling():  # both append where the index ends
            two._refresh = lambda: None
            one.append(digests[:1], 0, np.full((1, 3), 7, np.uint8))
            two.append(digests[1:], 0, np.full((1, 3), 9, np.uint8))
        assert two.read(digests[1:], 0).tolist() == [[9] * 3]
        with pytest.raises(CacheError, match="1 rows of the cache folder"):
            one.read(digests[:1], 0)


def test_two_processes_that_fill_one_folder_compute_nothing_twice(tmp_path) -> None:
    command = [sys.executable, "-c", FILLER, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    fillers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [filler.stdout.readline() for filler in fillers] == ["ready\n"] * 2
    for filler in fillers:
        filler.stdin.write("go\n")
        filler.stdin.flush()
    assert sum(int(filler.communicate()[0]) for filler in fillers) == 360
    digests = digests_of(120)
    with CachedRows(tmp_path, SPEC) as rows:
        assert rows.check_all() == (360, 0)
        for view in range(3):
            np.testing.assert_array_equal(rows.read(digests, view), rows_of(digests, view))


def test_the_index_takes_at_most_64_bytes_a_row(tmp_path) -> None:
    spec, count = Spec("image", (1,), "uint8", {}), 200_000
    with CachedRows(tmp_path, spec) as rows:
        folder = rows.folder
    records = np.zeros(count, cache_index.RECORD)
    records["digest"] = digests_of(count).view("<u8")
    records.tofile(folder / "index.bin")
    np.zeros(count, np.uint8).tofile(folder / "rows.bin")
    tracemalloc.start()
    try:
        with CachedRows(tmp_path, spec) as rows:
            held, peak = tracemalloc.get_traced_memory()
            assert held <= 40 * count and peak <= 64 * count
            with rows.filling():  # grows batch by batch
                for seed in range(1, 50):
                    rows.append(digests_of(999, seed), 0, np.zeros((999, 1), np.uint8))
            assert tracemalloc.get_traced_memory()[0] <= 64 * (count + 49 * 999)
            assert not len(rows.missing(digests_of(count), 0))
    finally:
        tracemalloc.stop()


def test_checking_a_big_folder_takes_little_memory(tmp_path) -> None:
    spec, count = Spec("image", (2**20,), "uint8", {}), 100
    digests = digests_of(count)
    with CachedRows(tmp_path, spec) as rows, rows.filling():
        for digest in digests:
            rows.append(digest[None], 0, np.zeros((1, 2**20), np.uint8))
    with CachedRows(tmp_path, spec) as rows:
        blocks = []
        tracemalloc.start()
        try:
            assert not len(rows.check(digests, 0, blocks.append))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sum(blocks) == count and peak < 10 * 2**20
        assert not len(rows.check(digests, 0, blocks.append))
        assert sum(blocks) == count  # each row is read once


def test_the_cache_needs_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys, trainer.input_pipeline.cache_folders\n"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
