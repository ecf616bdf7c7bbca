"""A user's own images by a table -> image records."""

import math
import os
import re
from collections.abc import Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import Exclusion, ImageRecord
from covid_tfds.sources import class_names, csv_table, listing
from covid_tfds.sources.layout import SPLIT_WORDS

TABLE = "images.csv"
OLD_TABLE = "films.csv"
SPLITS = ("train", "validation", "test")

_NEEDED = ("path", "label")
_OPTIONAL = ("patient", "split", "source", "projection", "sex", "age", "license")
_PERSON = ("patient", "subject")
# Further words for a person; a table with a patient column may have such a column, too.
_PERSON_TOO = re.compile(
    r"person|participant|individual|proband|(^|[^a-z])(pid|mrn|pat|case)([^a-z]|$)"
    r"|^(patid|caseid)$"
)
_SEXES = {"": "", "m": "M", "male": "M", "f": "F", "female": "F"}
_AGE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([YMWD]?)", re.IGNORECASE | re.ASCII)
_OF_A_YEAR = {"": 1, "Y": 1, "M": 12, "W": 365.25 / 7, "D": 365.25}  # as DICOM writes ages
_SHOWN = 20


def images(
    files: listing.Storage, name: str = TABLE
) -> tuple[list[ImageRecord], list[Exclusion], tuple[str, ...], list[str]]:
    """Reads the table.

    Args:
        files: The user's folder.
        name: Of the table, at the root of the folder.

    Returns:
        (records, exclusions, names of the classes in their order, notes).

    Raises:
        DatasetError: The table can't be used; all lines to mend are named.
    """
    paths = _Paths(files)
    try:
        data = files.read(name)
    except listing.Unreadable as error:
        raise DatasetError(f"{name} in {files.where} can't be read: {error}.") from None
    table = csv_table.read(data, name, _NEEDED, _OPTIONAL, paths.is_file)
    _refuse_columns(name, table.columns)
    _refuse_problems(name, table.rows, paths)
    class_of = class_names.unified({row["label"] for row in table.rows})
    records, left_out = [], []
    used = {name}
    for row in table.rows:
        path = paths.listed(row["path"])
        if path is None:
            shown = paths.clean(row["path"])
            left_out.append(Exclusion(f"own/{shown}", files.why_not(shown)))
            used.add(shown)
            continue
        used.add(path)
        records.append(_record(row, path, class_of[row["label"]]))
    left_out += [Exclusion(f"own/{n}", reason) for n, reason in files.exclusions if n not in used]
    left_out += [Exclusion(f"own/{n}", "file without a row") for n in files.names if n not in used]
    return records, left_out, class_names.in_order(class_of.values()), _notes(name, table)


class _Paths:
    """Finds the files that a table names, however it writes their paths."""

    def __init__(self, files: listing.Storage) -> None:
        self._files = files
        self._listed = {listing.nfc(name): name for name in files.names}
        root = os.path.abspath(files.where)
        self._roots = tuple({f"{path.rstrip('/')}/" for path in (root, os.path.realpath(root))})

    def clean(self, path: str) -> str:
        """A path relative to the root with `/` between its parts; it may still lead out of it."""
        path = listing.nfc(path).replace("\\", "/")
        for root in self._roots:
            if path.startswith(listing.nfc(root)):
                path = path[len(listing.nfc(root)) :]
        return os.path.normpath(path) if path else ""

    def listed(self, path: str) -> str | None:
        """The file's name in the storage, or None."""
        as_written = self._listed.get(listing.nfc(path))  # a name may hold a backslash
        return as_written or self._listed.get(self.clean(path))

    def is_file(self, path: str) -> bool:
        """Whether the path names a file of the storage."""
        return self.listed(path) is not None

    def exists(self, path: str) -> bool:
        """Whether it names something in the folder, also what can't be used."""
        return self.is_file(path) or bool(self._files.why_not(self.clean(path)))


def _refuse_columns(name: str, columns: Sequence[str]) -> None:
    known = (*_NEEDED, *_OPTIONAL)
    if twice := sorted({column for column in columns if columns.count(column) > 1} & set(known)):
        raise DatasetError(
            f"{name} has the column {', '.join(twice)} more than once. Keep one of them."
        )
    unknown = [column for column in columns if column not in known]
    persons = [c for c in unknown if any(word in c for word in _PERSON)]
    if "patient" not in columns:
        persons += [c for c in unknown if _PERSON_TOO.search(c) and c not in persons]
    if persons:
        raise DatasetError(
            f"{name} has the column {', '.join(map(repr, persons))}, which is not understood but "
            "seems to speak of patients. Call the column that names the person `patient` "
            "(and those of age and sex `age` and `sex`), and take out what is not to be used."
        )


def _refuse_problems(name: str, rows: Sequence[csv_table.Row], paths: _Paths) -> None:
    problems, first_line = [], {}
    for row in rows:
        found = _problems(row, paths)
        path = paths.listed(row["path"]) or paths.clean(row["path"])
        if path and path in first_line:
            found.append(f"{row['path']!r} is listed twice (first in line {first_line[path]})")
        first_line.setdefault(path, row.line)
        problems += [f"line {row.line}: {problem}" for problem in found]
    with_split = [bool(row["split"]) for row in rows if not row.empty]
    if any(with_split) and not all(with_split):
        problems.append("some rows have a split and some have none: give it to all or to none")
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DatasetError(f"{name} can't be used; mend these lines:\n{shown}{more}")


def _problems(row: csv_table.Row, paths: _Paths) -> list[str]:
    """Everything wrong with one row."""
    if row.empty:
        return ["all cells are empty; take the line out"]
    problems = []
    if not row["path"]:
        problems.append("there is no path")
    elif not paths.exists(row["path"]):
        problems.append(f"there is no file {row['path']!r}")
    if not row["label"]:
        problems.append("there is no label")
    if row["split"] and row["split"].casefold() not in SPLIT_WORDS:
        problems.append(f"split {row['split']!r} is none of {', '.join(SPLITS)}")
    if row["sex"].casefold() not in _SEXES:
        problems.append(f"sex {row['sex']!r} is none of M, F")
    if row["age"] and _years(row["age"]) is None:
        problems.append(f"age {row['age']!r} is no number of years from 0 to 120")
    if row.extra:
        problems.append(f"it has {row.extra} more cells than there are columns")
    problems += [
        f"{column} {row[column]!r} has a line break or control character"
        for column in ("label", *_OPTIONAL)
        if not class_names.can_be_stored(row[column])
    ]
    return problems


def _record(row: csv_table.Row, path: str, label: str) -> ImageRecord:
    image_id = f"own/{listing.nfc(path)}"
    source = class_names.tidy(row["source"]) or "own"
    patient = class_names.tidy(row["patient"])
    years = _years(row["age"])
    return ImageRecord(
        image_id=image_id,
        label=label,
        source=source,
        patient=f"{source}/{patient}" if patient else image_id,
        patient_known=bool(patient),
        name=path,
        original_split=SPLIT_WORDS.get(row["split"].casefold(), ""),
        projection=row["projection"],
        sex=_SEXES[row["sex"].casefold()],
        age=math.nan if years is None else years,
        license=row["license"] or "your own",
    )


def _years(text: str) -> float | None:
    """Years of `45`, `45.0`, `045Y` or `006M`; None where it is no age."""
    match = _AGE.fullmatch(text)
    if not match:
        return None
    years = float(match[1].replace(",", ".")) / _OF_A_YEAR[match[2].upper()]
    return years if years <= 120 else None


def _notes(name: str, table: csv_table.Table) -> list[str]:
    notes = []
    unknown = [column or "(no name)" for column in table.columns]
    unknown = [column for column in unknown if column not in (*_NEEDED, *_OPTIONAL)]
    if unknown:
        notes.append(f"Columns of {name} that are not used: {', '.join(unknown)}.")
    if table.encoding not in ("utf-8", "utf-16", "utf-16-le", "utf-16-be"):
        notes.append(
            f"{name} is not in UTF-8 and was read as {table.encoding}: save it as UTF-8 if names "
            "look wrong."
        )
    return notes
