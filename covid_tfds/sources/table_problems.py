"""What is wrong with a user's `images.csv`: everything at once, each with its line."""

import collections
import dataclasses
import re
from collections.abc import Iterator, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.sources import class_names, csv_table, own_paths
from covid_tfds.sources.layout import SPLIT_WORDS
from covid_tfds.sources.wording import MOST, listed, one_line

NEEDED = ("path", "label")
OPTIONAL = ("patient", "split", "source", "projection", "sex", "age", "license")
SPLITS = ("train", "validation", "test")

_PERSON = ("patient", "subject")
# Further words for a person; a table with a patient column may have such a column, too.
_PERSON_TOO = re.compile(
    r"person|participant|individual|proband|(^|[^a-z])(pid|mrn|pat|case)([^a-z]|$)"
    r"|^(patid|caseid)$"
)
_STORED = ("label", "patient", "source", "projection", "license")  # as they are written
LONGEST = 200  # characters of a cell that is kept
_SHOWN = 5  # problems of a kind, where there are many

_EMPTY = "are empty"
_NO_PATH = "have no path"
_NO_FILE = "name files that are not there"
_NO_LABEL = "have no label"
_NOTHING = {"", "NA", "N/A", "<NA>", "NULL"}  # as R, pandas and databases write it
_SPLIT = f"have a split that is none of {', '.join(SPLITS)}"
_TWICE = "name a file that another row names, too"
_WIDTH = "have more cells than there are columns"
_LONG = f"have a cell of more than {LONGEST} characters"
_LINES = "have a line break or control character in a cell"


@dataclasses.dataclass(frozen=True, slots=True)
class _Problem:
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


def refuse(name: str, table: csv_table.Table, paths: own_paths.Paths) -> None:
    """Ends the build when anything of a table can't be used.

    Args:
        name: Of the table.
        table: As it was read.
        paths: The files that its rows may name.

    Raises:
        DatasetError: Names columns and lines, those of many lines by kind.
    """
    problems = [*_of_rows(table.rows), *_of_paths(table.rows, paths)]
    problems.sort(key=lambda problem: problem.line)
    lines = _by_kind(problems) if len(problems) > MOST else [f"  {each}" for each in problems]
    lines += _of_some_splits(table.rows)
    sentences = _of_columns(name, table.columns)
    if lines:
        sentences += [f"{name} can't be used; mend these lines:", *lines]
    if sentences:
        raise DatasetError("\n".join(sentences))


def _of_columns(name: str, columns: Sequence[str]) -> list[str]:
    unknown = [column for column in columns if column not in (*NEEDED, *OPTIONAL)]
    persons = [c for c in unknown if any(word in c for word in _PERSON)]
    if "patient" not in columns:
        persons += [c for c in unknown if _PERSON_TOO.search(c) and c not in persons]
    if not persons:
        return []
    return [
        f"{name} has the column {listed(map(repr, persons))}, which is not understood but seems "
        "to speak of patients. Call the column that names the person `patient` (and those of age "
        "and sex `age` and `sex`), and take out what is not to be used."
    ]


def _of_rows(rows: Sequence[csv_table.Row]) -> Iterator[_Problem]:
    """What is wrong with each row by itself."""
    for row in rows:
        if row.empty:
            yield _Problem(row.line, _EMPTY, "all cells are empty; take the line out")
            continue
        if not row["path"]:
            yield _Problem(row.line, _NO_PATH, "there is no path")
        if row["label"] in _NOTHING:
            yield _Problem(row.line, _NO_LABEL, "there is no label")
        if row["split"] and row["split"].casefold() not in SPLIT_WORDS:
            text = f"split {_shown(row['split'])} is none of {', '.join(SPLITS)}"
            yield _Problem(row.line, _SPLIT, text)
        if row.extra:
            text = f"it has {row.extra} more cells than there are columns"
            yield _Problem(row.line, _WIDTH, text)
        for column in _STORED:
            if not class_names.can_be_stored(row[column]):
                text = f"{column} {_shown(row[column])} has a line break or control character"
                yield _Problem(row.line, _LINES, text)
            if len(row[column]) > LONGEST:
                text = (
                    f"{column} '{one_line(row[column], 40)}' has {len(row[column])} characters; "
                    f"{LONGEST} are the most"
                )
                yield _Problem(row.line, _LONG, text)


def _of_paths(rows: Sequence[csv_table.Row], paths: own_paths.Paths) -> Iterator[_Problem]:
    """Paths that name no file, or a file that a row above names."""
    first_line: dict[str, int] = {}
    for row in rows:
        written = row["path"]
        if not written:
            continue
        if not paths.exists(written):
            meant = paths.meant(written)
            like = f"; did you mean {meant!r}?" if meant else ""
            yield _Problem(row.line, _NO_FILE, f"there is no file {_shown(written)}{like}")
        path = paths.listed(written) or paths.clean(written)
        if path in first_line:
            text = f"{_shown(written)} is listed twice (first in line {first_line[path]})"
            yield _Problem(row.line, _TWICE, text)
        first_line.setdefault(path, row.line)


def _of_some_splits(rows: Sequence[csv_table.Row]) -> list[str]:
    without = [row.line for row in rows if not row.empty and not row["split"]]
    if not without or not any(row["split"] for row in rows):
        return []
    return [
        f"  some rows have a split and some have none (first in line {without[0]}): give it to all "
        "or to none"
    ]


def _shown(cell: str) -> str:
    return f"'{one_line(cell, 200)}'"


def _by_kind(problems: Sequence[_Problem]) -> list[str]:
    kinds = collections.defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    lines = []
    for kind, found in kinds.items():
        if len(found) > _SHOWN:
            lines.append(f"  {len(found)} rows {kind}, first ({_SHOWN} shown):")
            lines += [f"    {each}" for each in found[:_SHOWN]]
        else:
            lines += [f"  {each}" for each in found]
    return lines
