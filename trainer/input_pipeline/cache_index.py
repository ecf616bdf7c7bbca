"""Which row of a cache folder belongs to which image's augmented view: the index in memory.

The records are those of `index.bin`. A million of them are sorted in a tenth of a second and take
some 40 bytes each.
"""

import zlib
from collections.abc import Iterable

import numpy as np

# A record of index.bin, 24 bytes: the image's digest, the number of its augmented view, and the
# crc32 of both and of the row, so that no changed bit of a record or row stays unseen.
RECORD = np.dtype([("digest", "<u8", (2,)), ("view", "<u4"), ("crc", "<u4")])
DIGEST_BYTES = 16
FORGOTTEN = 2**32 - 1  # in place of the view: the row is damaged and counts no more
UNCHECKED, RIGHT, WRONG = range(3)  # whether a row's checksum was compared in this process

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: keeps the keys of an image's views apart
_GROWTH = 1 / 8


def checksums(records: np.ndarray, rows: Iterable[np.ndarray]) -> np.ndarray:
    """What `crc` of each record has to be.

    Args:
        records: RECORD [n].
        rows: n contiguous uint8 arrays.

    Returns:
        uint32 [n].
    """
    heads = np.ascontiguousarray(records).view(np.uint8).reshape(-1, RECORD.itemsize)[:, :-4]
    heads = np.ascontiguousarray(heads)
    values = (zlib.crc32(row, zlib.crc32(head)) for head, row in zip(heads, rows, strict=True))
    return np.fromiter(values, np.uint32, len(records))


class RowIndex:
    """Records in the order of their rows, searched by digest and view; later records win.

    The records are covered by sorted runs, each less than half as long as the one before it, so
    that appending a batch does not sort all of them, and a search looks into few runs.
    """

    def __init__(self) -> None:
        """An index without records."""
        self._records = np.empty(0, RECORD)  # longer than what is used, to grow rarely
        self._states = np.empty(0, np.uint8)
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []  # keys uint64, row numbers int32
        self._length = 0

    def __len__(self) -> int:
        """Number of records."""
        return self._length

    @property
    def records(self) -> np.ndarray:
        """RECORD [n], a view."""
        return self._records[: self._length]

    @property
    def states(self) -> np.ndarray:
        """uint8 [n], a view: UNCHECKED, RIGHT or WRONG."""
        return self._states[: self._length]

    def add(self, records: np.ndarray, state: int) -> None:
        """Appends records.

        Args:
            records: RECORD [k]; the first are not copied, so they must stay as they are.
            state: Of their rows.
        """
        if not len(records):
            return
        start, stop = self._length, self._length + len(records)
        if not start:
            self._records, self._states = records, np.empty(stop, np.uint8)
        elif stop > len(self._records):
            self._records = _grown(self.records, stop + int(_GROWTH * stop))
            self._states = _grown(self.states, len(self._records))
        self._records[start:stop] = records
        self._states[start:stop] = state
        self._length = stop
        keys = _keys(records["digest"], records["view"])
        self._push(keys, np.arange(start, stop, dtype=np.int32))

    def _push(self, keys: np.ndarray, rows: np.ndarray) -> None:
        while self._runs and len(self._runs[-1][0]) <= 2 * len(keys):
            earlier_keys, earlier_rows = self._runs.pop()
            keys, rows = np.append(earlier_keys, keys), np.append(earlier_rows, rows)
        order = np.argsort(keys, kind="stable")  # of equal keys the latest record comes last
        self._runs.append((keys[order], rows[order]))

    def locate(self, digests: np.ndarray, views: int | np.ndarray) -> np.ndarray:
        """The latest row of each image's augmented view.

        Args:
            digests: uint8 [n, 16].
            views: Number of the augmented view, one for all or one an image.

        Returns:
            int64 [n], -1 where there is none.
        """
        digests = as_words(digests)
        views = np.broadcast_to(np.asarray(views, np.uint32), len(digests))
        keys = _keys(digests, views)
        located = np.full(len(digests), -1, np.int64)
        for run in reversed(self._runs):
            open_ = np.flatnonzero(located < 0)
            located[open_] = self._search(run, keys[open_], digests[open_], views[open_])
        return located

    def _search(
        self,
        run: tuple[np.ndarray, np.ndarray],
        keys: np.ndarray,
        digests: np.ndarray,
        views: np.ndarray,
    ) -> np.ndarray:
        run_keys, run_rows = run
        rows = np.full(len(keys), -1, np.int64)
        at = np.searchsorted(run_keys, keys, side="right") - 1
        open_ = np.arange(len(keys))
        while True:  # from the latest record of a key to the first: different images may share it
            open_ = open_[at[open_] >= 0]
            open_ = open_[run_keys[at[open_]] == keys[open_]]
            if not len(open_):
                return rows
            candidates = run_rows[at[open_]]
            records = self._records[candidates]
            same = (records["digest"] == digests[open_]).all(1) & (records["view"] == views[open_])
            rows[open_[same]] = candidates[same]
            open_ = open_[~same]
            at[open_] -= 1

    def forget(self, rows: np.ndarray) -> None:
        """Takes rows for missing from now on.

        Args:
            rows: int64 [k], numbers of rows.
        """
        self.records["view"][rows] = FORGOTTEN


def as_words(digests: np.ndarray) -> np.ndarray:
    """Digests, uint8 [n, 16], as two numbers each, uint64 [n, 2].

    Raises:
        ValueError: They are no digests.
    """
    if digests.dtype != np.uint8 or digests.ndim != 2 or digests.shape[1] != DIGEST_BYTES:
        raise ValueError(
            f"digests are {digests.dtype} {list(digests.shape)}; give uint8 [n, {DIGEST_BYTES}]."
        )
    return np.ascontiguousarray(digests).view("<u8")


def _keys(digests: np.ndarray, views: np.ndarray) -> np.ndarray:
    return digests[:, 0] ^ (views.astype(np.uint64) * _SPREAD)


def _grown(array: np.ndarray, length: int) -> np.ndarray:
    grown = np.empty(length, array.dtype)
    grown[: len(array)] = array
    return grown
