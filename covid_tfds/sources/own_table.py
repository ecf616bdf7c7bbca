"""A user's own images by a table -> image records."""

import math
import re
from collections.abc import Callable, Collection, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import OWN, Exclusion, ImageRecord
from covid_tfds.sources import (
    class_names,
    csv_table,
    listing,
    own_paths,
    patient_names,
    table_file,
    table_problems,
)
from covid_tfds.sources.layout import SPLIT_WORDS
from covid_tfds.sources.table_problems import NEEDED, OPTIONAL
from covid_tfds.sources.wording import counted, listed, one_line

_SEXES = {"": "", "m": "M", "male": "M", "f": "F", "female": "F"}
_AGE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([YMWD]?)", re.IGNORECASE | re.ASCII)
_OF_A_YEAR = {"": 1, "Y": 1, "M": 12, "W": 365.25 / 7, "D": 365.25}  # as DICOM writes ages


def images(
    files: listing.Storage, name: str = table_file.TABLE
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
    paths = own_paths.Paths(files)
    data = table_file.read(files, name, f"{name} in {files.where}")
    table = csv_table.read(data, name, NEEDED, OPTIONAL, paths.is_file)
    table_problems.refuse(name, table, paths)
    if not table.rows:
        raise DatasetError(
            f"{name} in {files.where} has no row below its header. Add one for each image, or move "
            "the table away: then the folders are read."
        )
    class_of = class_names.unified({row["label"] for row in table.rows})
    nobody = patient_names.placeholders(row["patient"] for row in table.rows if row["patient"])
    records, left_out = [], []
    used = {name}
    for row in table.rows:
        path = paths.listed(row["path"])
        if path is None:
            shown = listing.shown(paths.clean(row["path"]))
            left_out.append(Exclusion(f"own/{shown}", paths.why_not(row["path"])))
            used.add(shown)
            continue
        used.add(path)
        records.append(_record(row, path, class_of[row["label"]], nobody))
    left_out += [Exclusion(f"own/{n}", reason) for n, reason in files.exclusions if n not in used]
    left_out += [Exclusion(f"own/{n}", "file without a row") for n in files.names if n not in used]
    notes = [*_notes(name, table), *_placeholder_notes(name, table.rows, nobody)]
    return records, left_out, class_names.in_order(class_of.values()), notes


def _record(row: csv_table.Row, path: str, label: str, nobody: Collection[str]) -> ImageRecord:
    image_id = f"own/{listing.nfc(path)}"
    source = class_names.tidy(row["source"]) or OWN
    patient = "" if row["patient"] in nobody else class_names.tidy(row["patient"])
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
        sex=_sex(row["sex"]) or "",
        age=math.nan if years is None else years,
        license=row["license"] or "your own",
    )


def _sex(text: str) -> str | None:
    """`M` or `F`; None where it is neither."""
    return _SEXES.get(text.casefold())


def _years(text: str) -> float | None:
    """Years of `45`, `45.0`, `045Y` or `006M`; None where it is no age."""
    match = _AGE.fullmatch(text)
    if not match:
        return None
    years = float(match[1].replace(",", ".")) / _OF_A_YEAR[match[2].upper()]
    return years if years <= 120 else None


def _notes(name: str, table: csv_table.Table) -> list[str]:
    notes = []
    unused = [column for column in table.columns if column not in (*NEEDED, *OPTIONAL)]
    if unused:
        shown = listed(dict.fromkeys(unused))
        notes.append(f"Columns of {name} that are not used: {shown}.")
    notes += _not_understood(name, table.rows, "age", _years)
    notes += _not_understood(name, table.rows, "sex", _sex)
    if table.encoding not in ("utf-8", "utf-16", "utf-16-le", "utf-16-be"):
        notes.append(
            f"{name} is not in UTF-8 and was read as {table.encoding}: save it as UTF-8 if names "
            "look wrong."
        )
    return notes


def _placeholder_notes(
    name: str, rows: Sequence[csv_table.Row], nobody: Collection[str]
) -> list[str]:
    count = sum(row["patient"] in nobody for row in rows)
    if not count:
        return []
    return [
        f"The patient is {listed(map(repr, sorted(nobody)))} in {counted(count, 'row')} of {name}: "
        "that counts as no patient."
    ]


def _not_understood(
    name: str,
    rows: Sequence[csv_table.Row],
    column: str,
    understood: Callable[[str], object | None],
) -> list[str]:
    """One note on the cells of a column that count as unknown, if there are any."""
    strange = [row for row in rows if row[column] and understood(row[column]) is None]
    if not strange:
        return []
    first = one_line(strange[0][column], 40)
    return [
        f"The {column} is not understood in {counted(len(strange), 'row')} of {name} and counts as "
        f"unknown there, first: '{first}' in line {strange[0].line}."
    ]
