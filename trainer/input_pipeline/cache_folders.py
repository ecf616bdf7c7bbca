"""The folders of the cache: what there is, how much room is left, eviction, and their check."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.input_pipeline.cache import FORMAT, STAGES, CachedRows, Spec, name_of
from trainer.input_pipeline.cache_files import CacheError, claimed, is_open_here, machine_errors
from trainer.input_pipeline.cache_index import RECORD
from trainer.run import machine

_OLD_RELEASE = "features"  # under --cache_dir: what release 1.0.0 kept there
_EVICTED = ".evicted-"
# Waits of a listing, in seconds, in which another process that lists the cache lets a folder go.
_WAITS = (0.005,) * 10
_ATTEMPTS = 10  # a process writes one or two files before it sees that the folder has gone
_NAME = re.compile("[0-9a-f]{16}")  # of a stage's folder, of release 1.0.0 too


@dataclasses.dataclass(frozen=True)
class CacheEntry:
    """One folder of the cache.

    Attributes:
        folder: Where it is.
        key: What `key.json` holds; {} where that can't be read.
        bytes: Of all its files.
        rows: Number of rows; 0 where the key can't be read.
        used: Seconds since the epoch of the last use.
        in_use: Whether a process has it open.
        own: Whether this one has.
    """

    folder: Path
    key: Mapping[str, Any]
    bytes: int
    rows: int
    used: float
    in_use: bool
    own: bool


def entries(cache_dir: Path) -> list[CacheEntry]:
    """All folders of the cache, the most recently used first.

    Args:
        cache_dir: The folder of all stages; it need not be there.

    Raises:
        CacheError: The machine does not let it be read.
    """
    with machine_errors(cache_dir / STAGES):
        listed = dict(_entries(_folders(cache_dir / STAGES)))
        for wait in _WAITS:
            others = [folder for folder, entry in listed.items() if entry.in_use and not entry.own]
            if not others:
                break
            time.sleep(wait)
            listed |= dict(_entries(others))
    return sorted(listed.values(), key=lambda entry: -entry.used)


def _entries(folders: Iterable[Path]) -> Iterator[tuple[Path, CacheEntry]]:
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):  # evicted meanwhile
            yield folder, _entry(folder)


def _folders(parent: Path) -> list[Path]:
    """The cache's own; what a user has put beside them is neither evicted nor removed."""
    return [folder for folder in parent.glob("*") if _NAME.fullmatch(folder.name)]


def _entry(folder: Path) -> CacheEntry:
    key, spec = _read_key(folder)
    with claimed(folder) as free:
        sizes = dict(_sizes(folder))
        rows = 0
        if spec:
            records = sizes.get("index.bin", 0) // RECORD.itemsize
            rows = min(records, sizes.get("rows.bin", 0) // spec.row_bytes)
        used = (folder / "used").stat().st_mtime
        own = is_open_here(folder)
        return CacheEntry(folder, key, sum(sizes.values()), rows, used, not free, own)


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a file that got its name meanwhile
            yield path.name, path.stat().st_size


def _read_key(folder: Path) -> tuple[Mapping[str, Any], Spec | None]:
    """What `key.json` holds, and the rows that it names: None if it can't name this folder's."""
    try:
        key = json.loads((folder / "key.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}, None
    if not isinstance(key, dict):
        return {}, None
    try:
        fields = {name: value for name, value in key.items() if name != "format"}
        spec = Spec(**{**fields, "shape": tuple(key["shape"])})
        return key, spec if spec.folder_name() == folder.name else None
    except (KeyError, TypeError, ValueError):
        return key, None


def remove(folder: Path, *, recent: bool = False) -> bool:
    """Removes a folder of the cache unless a process has it open.

    Args:
        folder: Of an entry.
        recent: As of `claimed`.

    Returns:
        Whether it is gone.

    Raises:
        CacheError: The machine does not let it.
    """
    evicted = folder.with_name(f"{_EVICTED}{folder.name}-{secrets.token_hex(8)}")
    with (
        machine_errors(folder),
        contextlib.suppress(FileNotFoundError),
        claimed(folder, recent=recent) as free,
    ):
        if not free:
            return False
        # Renamed first: a process that opens the stage meanwhile makes a folder of its own.
        _remove_all(folder.rename(evicted))
    return True


def _remove_all(evicted: Path) -> None:
    """Removes a folder, and what a process that had just found it still puts in."""
    for attempt in range(_ATTEMPTS):
        try:
            shutil.rmtree(evicted)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt == _ATTEMPTS - 1:
                raise


def room(cache_dir: Path, limit: int) -> int:
    """How many bytes could be had, by evicting all that no process has open. Evicts nothing.

    Args:
        cache_dir: The folder of all stages; it need not be there.
        limit: The most bytes that all stages together may take.

    Returns:
        Bytes within the limit and the disk, 0 or more.

    Raises:
        CacheError: The machine does not let it be read.
    """
    return _room(entries(cache_dir), cache_dir, limit)


def _room(listed: Sequence[CacheEntry], cache_dir: Path, limit: int) -> int:
    held = sum(entry.bytes for entry in listed if entry.in_use)
    evictable = sum(entry.bytes for entry in listed if not entry.in_use)
    return max(0, min(limit - held, _free(cache_dir) + evictable))


def make_room(cache_dir: Path, needed: int, limit: int) -> bool:
    """Evicts whole stages, the least recently used first, until `needed` more bytes fit.

    Open the stages that are to stay before. If `needed` can't be had, nothing is evicted.

    Args:
        cache_dir: The folder of all stages; it need not be there.
        needed: Bytes.
        limit: The most bytes that all stages together may take.

    Returns:
        Whether they fit into the limit and onto the disk.

    Raises:
        CacheError: The machine does not let it.
    """
    _remove_evicted(cache_dir / STAGES)
    listed = entries(cache_dir)
    if needed > _room(listed, cache_dir, limit):
        return False
    total = sum(entry.bytes for entry in listed)
    for entry in reversed(listed):
        if total + needed <= limit and needed <= _free(cache_dir):
            break
        if not entry.in_use and remove(entry.folder, recent=True):
            total -= entry.bytes
    return total + needed <= limit and needed <= _free(cache_dir)


def _free(cache_dir: Path) -> int:
    with machine_errors(cache_dir):
        return machine.free(cache_dir)


def verify(folder: Path, waiting: Callable[[], None] = lambda: None) -> tuple[int, int]:
    """Compares the checksum of every row of a folder; the next run computes the damaged ones.

    Each row is read once, in blocks of some MiB. The time of the last use stays.

    Args:
        folder: Of an entry.
        waiting: Called again and again while another process appends to the folder.

    Returns:
        How many rows were checked, and how many of them were damaged.

    Raises:
        CacheError: The machine does not let it, or `key.json` does not belong to the rows.
    """
    with machine_errors(folder):
        key, spec = _read_key(folder)
        last_use = (folder / "used").stat()
    if key.get("format") != FORMAT and name_of(key) == folder.name:
        raise CacheError(
            f"The cache folder {folder} has format {key.get('format')}, and this release reads "
            f"{FORMAT}. Remove it with `python -m trainer.features --clear`."
        )
    if spec is None:
        raise CacheError(
            f"{folder / 'key.json'} is damaged, so the rows beside it can't be checked. The next "
            "run that uses them writes it again; or remove them with `python -m trainer.features "
            "--clear`."
        )
    with CachedRows(folder.parent.parent, spec) as rows:
        with machine_errors(folder):
            os.utime(folder / "used", ns=(last_use.st_atime_ns, last_use.st_mtime_ns))
        checked, damaged = rows.check_all()
        if damaged:
            with rows.filling(waiting):  # forgets them
                pass
    return checked, damaged


def old_release(cache_dir: Path) -> str | None:
    """One sentence if the cache holds what release 1.0.0 kept, which is not read any more.

    Args:
        cache_dir: The folder of all stages; it need not be there.
    """
    folder = cache_dir / _OLD_RELEASE
    held = _folders(folder)
    if not held:
        return None
    return (
        f"{folder} holds {sum(map(_size, held)) / 2**20:.1f} MiB of release 1.0.0, which this "
        "release does not read; `python -m trainer.features --clear` removes it."
    )


def clear(cache_dir: Path) -> tuple[int, list[Path]]:
    """Removes every folder that no process has open, those of release 1.0.0 too.

    Args:
        cache_dir: The folder of all stages; it need not be there.

    Returns:
        The number of bytes that were freed, and the folders that are in use.

    Raises:
        CacheError: The machine does not let it.
    """
    freed, in_use = 0, []
    for parent in (cache_dir / STAGES, cache_dir / _OLD_RELEASE):
        freed += _remove_evicted(parent)
        for folder in _folders(parent):
            size = _size(folder)
            if remove(folder):
                freed += size
            else:
                in_use.append(folder)
    with contextlib.suppress(OSError):  # not empty, or not there
        (cache_dir / _OLD_RELEASE).rmdir()
    return freed, in_use


def _remove_evicted(parent: Path) -> int:
    """Removes what processes left that were killed while they evicted; returns its bytes."""
    freed = 0
    for folder in parent.glob(f"{_EVICTED}*"):
        freed += _size(folder)
        shutil.rmtree(folder, ignore_errors=True)  # another process may do so, too
    return freed


def _size(folder: Path) -> int:
    size = 0
    with machine_errors(folder):
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                size += path.stat().st_size if path.is_file() else 0
    return size
