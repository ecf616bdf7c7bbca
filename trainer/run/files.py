"""Files that appear whole, and locks that fall with their process."""

import contextlib
import csv
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any


def locked(file: IO) -> bool:
    """Whether an open file could be locked for this process alone; it stays so until it is closed.

    The lock falls with the process, however that ends.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a path beside `path` to write to; it takes the place of `path` when all went well."""
    path = pathlib.Path(path)
    beside = path.with_name(f".{os.getpid()}.{path.name}")  # Keras reads the suffix
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes JSON that other tools can read: no NaN, no infinity."""
    with written_whole(path) as beside:
        beside.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_csv(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows that share the keys of the first."""
    with written_whole(path) as beside, open(beside, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
