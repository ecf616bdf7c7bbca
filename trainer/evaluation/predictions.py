"""Predictions.csv: the table of probabilities that every number and every plot is computed from.

Evaluation imports neither TensorFlow nor Keras: what a finished run left in its folder is enough.
"""

import array
import collections
import csv
import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trainer.run.files import write_table

COLUMNS = ("image_id", "patient", "group", "source", "split", "repeat", "fold", "label")
_TEXTS = ("image_ids", "patients", "groups", "sources", "splits")
_PREFIX = "p_"  # of the columns with probabilities, before the class name


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """A table with one row per scored image, and per repeat of a cross-validation.

    Args:
        image_ids: n names of images; a name occurs once per split and repeat.
        patients: n names of the persons, as the source names them.
        groups: n names of patient groups, the patients that are kept in one split; the unit that
            intervals are taken over.
        sources: n names of where the images come from.
        splits: n names of splits.
        labels: int [n], 0..classes-1, the true class.
        probabilities: float32 [n, classes], 0..1; rows sum to 1, for 2 classes, too.
        class_names: One distinct name per column of the probabilities.
        repeats: int [n], from 0; None for a run.
        folds: int [n], from 0, the fold that held the image out; None for a run.

    Raises:
        ValueError: There is no row, lengths differ, an image is repeated, a label is out of range,
            names do not fit the columns, or rows are not probabilities.
    """

    image_ids: Sequence[str]
    patients: Sequence[str]
    groups: Sequence[str]
    sources: Sequence[str]
    splits: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    class_names: Sequence[str]
    repeats: np.ndarray | None = None
    folds: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Brings the columns into one form and refuses what cannot be scored."""
        for name in _TEXTS:
            object.__setattr__(self, name, [str(each) for each in getattr(self, name)])
        object.__setattr__(self, "class_names", tuple(self.class_names))
        probabilities = np.asarray(self.probabilities, dtype=np.float32)
        object.__setattr__(self, "probabilities", probabilities)
        _check_shapes(self)
        for name in ("labels", "repeats", "folds"):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _integers(name, values))
        _check_values(self)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class, int64 [n]; the first of equals."""
        return np.argmax(self.probabilities, axis=1)

    @property
    def split_names(self) -> list[str]:
        """The names of the splits, in order of appearance."""
        return list(dict.fromkeys(self.splits))

    def of_split(self, name: str) -> "Predictions":
        """The rows of one split, in their order.

        Raises:
            ValueError: There is no such split.
        """
        rows = [i for i, split in enumerate(self.splits) if split == name]
        if not rows:
            raise ValueError(
                f"There is no split {name!r} among the predictions. "
                f"Choose one of: {', '.join(self.split_names)}."
            )
        return self.take(rows)

    def take(self, rows: Sequence[int]) -> "Predictions":
        """Some rows, one or more, in the order of their indices."""
        columns: dict[str, Any] = {key: [getattr(self, key)[i] for i in rows] for key in _TEXTS}
        for key in ("labels", "probabilities", "repeats", "folds"):
            values = getattr(self, key)
            columns[key] = None if values is None else values[rows]
        return Predictions(**columns, class_names=self.class_names)


def repeated(tables: Sequence[Predictions]) -> Predictions:
    """The same images by several networks, one table below the other, as so many repeats.

    Args:
        tables: Of the same images in the same order, each of one repeat or of several.
    """
    columns: dict[str, Any] = {
        name: [each for table in tables for each in getattr(table, name)] for name in _TEXTS
    }
    for name in ("labels", "probabilities"):
        columns[name] = np.concatenate([getattr(table, name) for table in tables])
    repeats, first = [], 0
    for table in tables:
        own = np.zeros(len(table.labels), np.int64) if table.repeats is None else table.repeats
        repeats.append(first + own)
        first += int(own.max()) + 1
    return Predictions(
        **columns, class_names=tables[0].class_names, repeats=np.concatenate(repeats)
    )


def _integers(name: str, values: Sequence[int] | np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} are {array.dtype}, expected integers. Pass numbers of classes.")
    return array.astype(np.int64)


def _check_shapes(table: Predictions) -> None:
    shape = table.probabilities.shape
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            f"probabilities have shape {shape}, expected [n, classes] with at least 2 classes. "
            "For one sigmoid unit p, pass the columns 1 - p and p."
        )
    n, classes = shape
    if n == 0:
        raise ValueError("There is no image to score. Pass at least one prediction per split.")
    if len(table.class_names) != classes or len(set(table.class_names)) != classes:
        raise ValueError(
            f"{classes} columns of probabilities, but the class names are "
            f"{list(table.class_names)}. Pass one distinct name per column, in the labels' order."
        )
    shapes = {
        name: np.shape(getattr(table, name))
        for name in (*_TEXTS, "labels", "repeats", "folds")
        if getattr(table, name) is not None
    }
    if set(shapes.values()) != {(n,)}:
        raise ValueError(
            f"{n} rows of probabilities, but the other columns have the shapes {shapes}. "
            "Pass one value of each column for each row."
        )


def _check_values(table: Predictions) -> None:
    probabilities, labels = table.probabilities, table.labels
    repeats = [0] * len(labels) if table.repeats is None else table.repeats.tolist()
    rows = collections.Counter(zip(table.image_ids, table.splits, repeats, strict=True))
    repeated = [row[0] for row, count in rows.items() if count > 1]
    if repeated:
        raise ValueError(
            f"{len(repeated)} image ids occur more than once in a split, for example "
            f"{repeated[:3]}. Score every image once: no repeat, no padding of the last batch."
        )
    classes = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels are in {labels.min()}..{labels.max()}, expected 0..{classes - 1}, one for "
            "each column of probabilities. Leave out images of other classes."
        )
    if not np.isfinite(probabilities).all():
        bad = table.image_ids[int(np.argmin(np.isfinite(probabilities).all(axis=1)))]
        raise ValueError(
            f"The probabilities of image {bad!r} are not finite. The training diverged: lower "
            "the learning rate, or train in float32."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > 1e-3 or probabilities.min() < 0:
        raise ValueError(
            f"Rows of probabilities must be at least 0 and sum to 1, but the least value is "
            f"{probabilities.min():.4g} and the row of image {table.image_ids[worst]!r} sums "
            f"to {sums[worst]:.4g}. Pass the output after the softmax (or 1 - p and p), in float32."
        )


def write(path: str | os.PathLike, predictions: Predictions) -> None:
    """Writes predictions.csv, whole or not at all.

    Columns: `COLUMNS`, then p_<class> for each class. The label is a class name; repeat and fold
    are empty for a run; probabilities have as many digits as bring the same float32 back.

    Args:
        path: Of the file.
        predictions: All rows, of all splits.
    """
    p = predictions
    empty = [""] * len(p.labels)
    columns = [getattr(p, name) for name in _TEXTS]
    columns += [empty if each is None else each.tolist() for each in (p.repeats, p.folds)]
    columns.append([p.class_names[label] for label in p.labels])
    header = [*COLUMNS, *(_PREFIX + name for name in p.class_names)]
    rows = zip(*columns, p.probabilities, strict=True)
    write_table(path, header, ([*texts, *map(str, shares)] for *texts, shares in rows))


def read(path: str | os.PathLike) -> Predictions:
    """Reads what `write` wrote.

    Args:
        path: Of the file.

    Returns:
        The table; probabilities are the same float32.

    Raises:
        ValueError: The file has other columns, or labels that are no class of it.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        texts, probabilities = _columns(rows)
    fixed, names = tuple(header[: len(COLUMNS)]), header[len(COLUMNS) :]
    if fixed != COLUMNS or not all(name.startswith(_PREFIX) for name in names):
        raise ValueError(
            f"{path} has the columns {header}, expected {', '.join(COLUMNS)} and one p_CLASS per "
            "class. Files of version 1 have other columns: train again."
        )
    class_names = [name.removeprefix(_PREFIX) for name in names]
    numbers = {name: label for label, name in enumerate(class_names)}
    *texts, repeats, folds, labels = texts
    if unknown := set(labels) - set(class_names):
        raise ValueError(
            f"{path} has the labels {sorted(unknown)}, which are no class of its columns "
            f"({', '.join(class_names)}). Restore the file as the run wrote it."
        )
    return Predictions(
        **dict(zip(_TEXTS, texts, strict=True)),
        labels=np.array([numbers[label] for label in labels], dtype=np.int64),
        probabilities=np.array(probabilities, np.float32).reshape(len(labels), len(names)),
        class_names=class_names,
        repeats=_optional(repeats),
        folds=_optional(folds),
    )


def _columns(rows: Iterable[list[str]]) -> tuple[list[list[str]], array.array]:
    """The columns of text, and the probabilities row after row, which needs no list of rows."""
    texts: list[list[str]] = [[] for _ in COLUMNS]
    probabilities = array.array("f")
    for row in rows:
        for column, cell in zip(texts, row, strict=False):
            column.append(sys.intern(cell))  # most cells repeat: one string for all
        probabilities.extend(map(float, row[len(COLUMNS) :]))
    return texts, probabilities


def _optional(values: Sequence[str]) -> np.ndarray | None:
    """A column of integers; None where it is empty."""
    return np.array(values, dtype=np.int64) if any(values) else None
