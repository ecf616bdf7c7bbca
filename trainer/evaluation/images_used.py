"""Images_used.csv: every image that a run was given, those it was trained on, too."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.run.files import write_table

COLUMNS = ("image_id", "patient", "group", "source", "split", "label", "image_sha256")


def write(path: str | os.PathLike, columns: Mapping[str, Sequence[str]]) -> None:
    """Writes images_used.csv, whole or not at all.

    Args:
        path: Of the file.
        columns: One sequence of n strings for each of `COLUMNS`: label is a class name,
            image_sha256 the digest of the pixels in hexadecimal digits.

    Raises:
        ValueError: Columns are missing or not known, or their lengths differ.
    """
    if set(columns) != set(COLUMNS):
        raise ValueError(f"The columns are {sorted(columns)}. Pass exactly {', '.join(COLUMNS)}.")
    write_table(path, COLUMNS, zip(*(columns[name] for name in COLUMNS), strict=True))


def columns_of(parts: Iterable[Any]) -> dict[str, list[str]]:
    """The columns of some images.

    Args:
        parts: `Images`, one after the other; `class_names` name their labels.
    """
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for images in parts:
        columns["image_id"] += images.image_ids.tolist()
        columns["patient"] += images.patients.tolist()
        columns["group"] += images.groups.tolist()
        columns["source"] += images.sources.tolist()
        columns["split"] += images.splits.tolist()
        columns["label"] += [images.class_names[label] for label in images.labels]
        columns["image_sha256"] += [each.tobytes().hex() for each in images.sha256]
    return columns


def read(path: str | os.PathLike) -> dict[str, list[str]]:
    """Reads what `write` wrote: the columns, each a list of n strings.

    Raises:
        ValueError: The file has other columns.
    """
    rows = read_rows(path, COLUMNS)
    return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}


def read_rows(path: str | os.PathLike, columns: Sequence[str]) -> list[list[str]]:
    """The rows of a table that a run wrote, without its header.

    Args:
        path: Of the file.
        columns: Names of all its columns, in their order.

    Raises:
        ValueError: The file has other columns.
    """
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if header != list(columns):
        raise ValueError(
            f"{path} has the columns {header}, expected {', '.join(columns)}. "
            "Restore the file as the run wrote it."
        )
    return rows
