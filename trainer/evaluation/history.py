"""History.csv: one row per epoch, read back as numbers."""

import csv
import os
from typing import Any

from trainer.run.files import DamagedError

_TEXTS = ("phase",)
_INTEGERS = ("epoch",)
_FLAGS = ("best",)


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads a run's history.

    Args:
        path: Of history.csv.

    Returns:
        One dictionary per epoch: epoch is an int (from 1), phase a str, best a bool, every other
        column a float; None where a cell is empty. Only the columns that the file has.

    Raises:
        DamagedError: A cell is not what was written.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{name: _value(name, cell) for name, cell in row.items()} for row in
                    csv.DictReader(file)]  # fmt: skip
    except (ValueError, TypeError, csv.Error):
        raise DamagedError(
            f"{path} is damaged: its content is not what was written. Put back a copy of it; the "
            "command of a run that has not ended writes it again."
        ) from None


def _value(name: str, cell: str) -> Any:
    if name in _TEXTS:
        return cell
    if name in _FLAGS:
        return cell == "True"
    if not cell:
        return None
    return int(cell) if name in _INTEGERS else float(cell)


def best_epoch(rows: list[dict[str, Any]]) -> int:
    """The epoch whose weights the run ended with, from 1.

    Raises:
        ValueError: No row is marked as best.
    """
    for row in rows:
        if row.get("best"):
            return row["epoch"]
    raise ValueError(
        "history.csv marks no epoch as best: the run did not end. Train again with --overwrite."
    )
