"""The cache: rows that a stage computed of images' augmented views, kept on disk.

One stage is one folder, `CACHE_DIR/stages/<16 hexadecimal digits>/`:

    key.json    all that the rows depend on; its sha256 names the folder
    rows.bin    fixed-size rows; nothing but damaged tails is ever overwritten
    index.bin   fixed-size records; record i belongs to row i
    used        locked for sharing while a process has the folder open; its time is the last use
    filling     locked by the one process that appends

A row exists if its record is whole, and rows are written before their records, so a process killed
at any moment loses the batch in hand; a power cut, what was appended since the last flush to the
disk (fsync), a minute at the most, and the checksums find it. Files are read by `pread`, not
mapped: an error of the disk is an OSError, not a signal, and the memory stays flat. This file knows
neither TensorFlow nor Keras. Read `cache_files`, `cache_index` and `cache_folders` next.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import ml_dtypes
import numpy as np

from trainer.input_pipeline import cache_files, cache_index
from trainer.input_pipeline.cache_files import CacheError, machine_errors
from trainer.input_pipeline.cache_index import FORGOTTEN, RECORD, RIGHT, UNCHECKED, WRONG, RowIndex
from trainer.run import files

FORMAT = 2  # raise it when the files change their meaning; 1 is that of release 1.0.0
STAGES = "stages"  # under --cache_dir
DTYPES = {
    "uint8": np.uint8,
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
    "float32": np.float32,
}
_POLL = 0.2  # seconds between looks at a lock
_FLUSH_EVERY = 60.0  # seconds
_BLOCK = 8 * 2**20  # bytes of rows that are read at once to be checked
_MOST_BUFFERS = 1024  # of one preadv on Linux


@dataclasses.dataclass(frozen=True)
class Spec:
    """What the rows of one folder are, and what they depend on.

    Attributes:
        name: Of the stage, "block4_pool" for example.
        shape: Of a row.
        dtype: "uint8", "bfloat16", "float16" or "float32".
        depends_on: All that a row depends on besides the image and the number of its augmented
            view, as JSON has it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    depends_on: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raises ValueError for rows that can't be kept."""
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}; give one of {', '.join(DTYPES)}.")
        if not all(isinstance(side, int) and side > 0 for side in self.shape):
            raise ValueError(f"shape is {self.shape}; give whole numbers over 0.")

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize

    def key(self) -> dict[str, Any]:
        """What `key.json` holds."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.loads(json.dumps({"format": FORMAT, **fields}, allow_nan=False, default=dict))

    def folder_name(self) -> str:
        """16 hexadecimal digits of the sha256 of the key."""
        return name_of(self.key())


def name_of(key: Mapping[str, Any]) -> str:
    """The name of the folder whose `key.json` holds `key`: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


class CachedRows:
    """The rows of one folder. While it is open no other process evicts it.

    Attributes:
        spec: What the rows are.
        folder: Where they are.
    """

    def __init__(self, cache_dir: Path, spec: Spec) -> None:
        """Opens the folder of a stage, made if it is not there.

        Args:
            cache_dir: The folder of all stages.
            spec: What the rows are.

        Raises:
            CacheError: The machine does not let it.
        """
        self.spec, self.folder = spec, cache_dir / STAGES / spec.folder_name()
        self._index = RowIndex()
        self._without_row = 0  # whole records behind the end of rows.bin
        self._appended: IO[bytes] | None = None  # index.bin, while this process fills
        self._state = RIGHT  # of rows that it appends
        self._flushed = 0.0  # when, while this process fills
        with machine_errors(self.folder), contextlib.ExitStack() as opened:
            self._used = opened.enter_context(cache_files.open_for_use(self.folder))
            _write_key(self.folder, spec)
            self._rows = opened.enter_context(cache_files.open_file(self.folder / "rows.bin"))
            self._refresh()
            opened.pop_all()

    def __enter__(self) -> Self:
        """The open folder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Lets other processes evict the folder."""
        self._rows.close()
        self._used.close()

    def refresh(self) -> None:
        """Takes in what other processes have appended.

        Raises:
            CacheError: The machine does not let it.
        """
        with machine_errors(self.folder):
            self._refresh()

    def _refresh(self) -> None:
        with cache_files.open_file(self.folder / "index.bin") as index:
            records = os.fstat(index.fileno()).st_size // RECORD.itemsize
            # Looked at after the index: another process writes rows first.
            rows = os.fstat(self._rows.fileno()).st_size // self.spec.row_bytes
            count = min(records, rows)
            self._without_row = records - count
            if count < len(self._index):  # cut by something else than this file
                self._index = RowIndex()
            new = np.empty(count - len(self._index), RECORD)
            got = cache_files.read(index, [new.view(np.uint8)], len(self._index) * RECORD.itemsize)
            self._index.add(new[: got // RECORD.itemsize], UNCHECKED)

    def missing(self, digests: np.ndarray, view: int | np.ndarray) -> np.ndarray:
        """Which images' rows have to be computed.

        Args:
            digests: uint8 [n, 16], of the images.
            view: Number of the augmented view, one for all or one an image.

        Returns:
            int64, indices of the images whose row is not there or known to be damaged.
        """
        rows = self._index.locate(digests, view)
        there = rows >= 0
        there[there] = self._index.states[rows[there]] != WRONG
        return np.flatnonzero(~there)

    def check(
        self,
        digests: np.ndarray,
        view: int | np.ndarray,
        on_progress: Callable[[int], None] = lambda rows: None,
    ) -> np.ndarray:
        """Compares checksums of rows that are there, each once in a process.

        Args:
            digests: uint8 [n, 16], of the images.
            view: Number of the augmented view, one for all or one an image.
            on_progress: Called with the number of rows of each block that was read.

        Returns:
            int64, indices of the images whose row is damaged; `missing` names them from now on.

        Raises:
            CacheError: The machine does not let a row be read.
        """
        rows = self._index.locate(digests, view)
        there = np.flatnonzero(rows >= 0)
        self._check(np.unique(rows[there]), on_progress)
        return there[self._index.states[rows[there]] == WRONG]

    def check_all(self, on_progress: Callable[[int], None] = lambda rows: None) -> tuple[int, int]:
        """Compares the checksums of all rows of the folder.

        Args:
            on_progress: Called with the number of rows of each block that was read.

        Returns:
            How many rows there are, and how many of them are damaged.

        Raises:
            CacheError: The machine does not let a row be read.
        """
        rows = np.flatnonzero(self._index.records["view"] != FORGOTTEN)
        self._check(rows, on_progress)
        wrong = int(np.count_nonzero(self._index.states[rows] == WRONG))
        return len(rows) + self._without_row, wrong + self._without_row

    def _check(self, rows: np.ndarray, on_progress: Callable[[int], None]) -> None:
        rows = rows[self._index.states[rows] == UNCHECKED]
        size = max(1, _BLOCK // self.spec.row_bytes)
        block = np.empty((min(size, len(rows)), self.spec.row_bytes), np.uint8)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            self._compare(part, block[: len(part)], self._read_rows(part, block))
            on_progress(len(part))

    def _compare(self, rows: np.ndarray, data: np.ndarray, whole: np.ndarray) -> None:
        records = self._index.records[rows]
        right = whole & (cache_index.checksums(records, data) == records["crc"])
        self._index.states[rows] = np.where(right, RIGHT, WRONG)

    def read(self, digests: np.ndarray, view: int | np.ndarray) -> np.ndarray:
        """Reads rows, in the order of the images. What `check` did not see is checked here.

        Args:
            digests: uint8 [n, 16], of the images.
            view: Number of the augmented view, one for all or one an image.

        Returns:
            [n, *spec.shape] of spec.dtype.

        Raises:
            KeyError: A row is not there.
            CacheError: A row is damaged, or the machine does not let it be read.
        """
        rows = self._index.locate(digests, view)
        if len(rows) and rows.min() < 0:
            raise KeyError(f"{np.count_nonzero(rows < 0)} of {len(rows)} rows are not there")
        data = np.empty((len(rows), self.spec.row_bytes), np.uint8)
        whole = self._read_rows(rows, data)
        doubtful = np.flatnonzero(~whole | (self._index.states[rows] != RIGHT))
        if len(doubtful):
            self._compare(rows[doubtful], data[doubtful], whole[doubtful])
        damaged = np.count_nonzero(self._index.states[rows] == WRONG)
        if damaged:
            raise CacheError(
                f"{damaged} rows of the cache folder {self.folder} are damaged. Find all such rows "
                "with `python -m trainer.features --verify`, then give the same command again: it "
                "computes them."
            )
        return data.view(DTYPES[self.spec.dtype]).reshape(len(rows), *self.spec.shape)

    def _read_rows(self, rows: np.ndarray, data: np.ndarray) -> np.ndarray:
        """Reads rows into the first rows of `data`; which of them did not end too early."""
        size = self.spec.row_bytes
        whole = np.ones(len(rows), bool)
        order = np.argsort(rows, kind="stable")
        breaks = np.flatnonzero(np.diff(rows[order]) != 1) + 1
        with machine_errors(self.folder):
            for start, stop in zip([0, *breaks], [*breaks, len(order)], strict=True):
                for first in range(start, stop, _MOST_BUFFERS):
                    run = order[first : min(stop, first + _MOST_BUFFERS)]
                    buffers = [data[i] for i in run]
                    got = cache_files.read(self._rows, buffers, int(rows[run[0]]) * size)
                    whole[run[got // size :]] = False
        return whole

    @contextlib.contextmanager
    def filling(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keeps other processes from appending, and takes in what they have appended.

        The lock falls with the process, however that ends.

        Args:
            waiting: Called again and again while another process holds the lock.

        Raises:
            CacheError: The machine does not let it.
        """
        with contextlib.ExitStack() as opened:
            with machine_errors(self.folder):
                lock = opened.enter_context((self.folder / "filling").open("a"))
                index = opened.enter_context(cache_files.open_file(self.folder / "index.bin"))
            while (alone := files.locked(lock)) is False:
                waiting()
                time.sleep(_POLL)
            with machine_errors(self.folder):
                self._refresh()
                if self._without_row:
                    # Else they would come back to life over the rows that are appended next.
                    index.truncate(len(self._index) * RECORD.itemsize)
                    self._without_row = 0
                self._forget(index)
            self._appended, self._flushed = index, time.monotonic()
            # Without locks another process may write over what is appended here.
            self._state = RIGHT if alone else UNCHECKED
            try:
                yield
            finally:
                self._appended = None
                self._flush()

    def _forget(self, index: IO[bytes]) -> None:
        """Marks the damaged rows on the disk, so that no process counts them any more."""
        counts = self._index.records["view"] != FORGOTTEN
        rows = np.flatnonzero(counts & (self._index.states == WRONG))
        mark = FORGOTTEN.to_bytes(4, "little")
        fields = RECORD.fields
        assert fields is not None  # it has names
        for offset in rows * RECORD.itemsize + fields["view"][1]:
            cache_files.write(index, mark, int(offset))  # a kill leaves it as it was, or forgotten
        self._index.forget(rows)

    def append(self, digests: np.ndarray, view: int | np.ndarray, rows: np.ndarray) -> None:
        """Adds rows, inside `filling`. Those that are there already count no more.

        Args:
            digests: uint8 [n, 16], of the images.
            view: Number of the augmented view, one for all or one an image.
            rows: [n, *spec.shape] of spec.dtype.

        Raises:
            CacheError: The machine does not let it; what was appended before stays.
        """
        if self._appended is None:
            raise RuntimeError("append was called outside of filling.")
        expected = (len(digests), *self.spec.shape)
        if rows.shape != expected or rows.dtype != DTYPES[self.spec.dtype]:
            raise ValueError(
                f"rows are {rows.dtype} {list(rows.shape)}; give {self.spec.dtype} "
                f"{list(expected)}."
            )
        data = np.ascontiguousarray(rows).view(np.uint8)
        data = data.reshape(len(rows), self.spec.row_bytes)
        records = np.empty(len(rows), RECORD)
        records["digest"], records["view"] = cache_index.as_words(digests), view
        records["crc"] = cache_index.checksums(records, data)
        with machine_errors(self.folder):
            self._refresh()  # after an append that failed or was interrupted halfway
            count = len(self._index)
            cache_files.write(self._rows, data, count * self.spec.row_bytes)
            cache_files.write(self._appended, records.view(np.uint8), count * RECORD.itemsize)
        self._index.add(records, self._state)
        if time.monotonic() - self._flushed > _FLUSH_EVERY:
            self._flush()

    def _flush(self) -> None:
        """Has the system write what was appended to the disk, the rows before their records."""
        with machine_errors(self.folder):
            for path in (self.folder / "rows.bin", self.folder / "index.bin", self.folder):
                files.flush(path)
        self._flushed = time.monotonic()


def _write_key(folder: Path, spec: Spec) -> None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        if json.loads((folder / "key.json").read_text()) == spec.key():
            return
    files.write_json(folder / "key.json", spec.key())
