"""A user's own films -> Film records: one folder a class, or a table."""

import csv
import io
import math
import pathlib

from covid_tfds import storage
from covid_tfds.errors import DatasetError
from covid_tfds.films import LABELS, Exclusion, Film

TABLE = "films.csv"
SPLITS = ("train", "validation", "test")
TREE = """  CLASS/*.{png,jpg,jpeg} with CLASS one of healthy, covid19, bacterial, viral
      (normal, covid-19, covid, bacteria and virus are understood too), or
  films.csv with the columns path,label and, if you have them, patient,split
      (paths relative to the folder; split one of train, validation, test)"""

_COLUMNS = ("path", "label", "patient", "split")
_SUFFIXES = (".png", ".jpg", ".jpeg")
_ALIASES = {"normal": "healthy", "covid-19": "covid19", "covid": "covid19",
            "bacteria": "bacterial", "virus": "viral"}  # fmt: skip


def films(manual_dir: pathlib.Path) -> tuple[storage.Storage, list[Film], list[Exclusion]]:
    """Reads the folder or its table.

    Without a table, or without its `patient` column, every film counts as its own patient.

    Raises:
        DatasetError: Nothing there, an unknown class, or a table that can't be used.
    """
    files = storage.folder(manual_dir)
    if TABLE in files.names:
        found, left_out = _from_table(files), []
    else:
        found, left_out = _from_folders(files)
    if not found:
        raise DatasetError(f"{manual_dir} holds no films of your own. Expected:\n{TREE}")
    return files, found, left_out


def _from_folders(files: storage.Storage) -> tuple[list[Film], list[Exclusion]]:
    found, left_out, unknown = [], [], set()
    for name in files.names:
        parts = name.split("/")
        if not name.lower().endswith(_SUFFIXES) or len(parts) != 2:
            left_out.append(Exclusion(f"own/{name}", "not CLASS/*.png, *.jpg or *.jpeg"))
        elif label := _label(parts[0]):
            found.append(_film(name, label, "", ""))
        else:
            unknown.add(parts[0])
    if unknown:
        raise DatasetError(
            f"{files.where} has folders that name no class: {', '.join(sorted(unknown))}. "
            f"Rename or move them. Expected:\n{TREE}"
        )
    return found, left_out


def _from_table(files: storage.Storage) -> list[Film]:
    text = files.read(TABLE).decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    reader.fieldnames = [name.strip().casefold() for name in reader.fieldnames or ()]
    if not {"path", "label"} <= set(reader.fieldnames):
        raise DatasetError(
            f"{TABLE} has the columns {reader.fieldnames}, not path and label. Expected:\n{TREE}"
        )
    rows = [{key: (row.get(key) or "").strip() for key in _COLUMNS} for row in reader]
    problems = _problems(rows, set(files.names))
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise DatasetError(f"{TABLE} can't be used; mend these lines:\n{shown}{more}")
    return [_film(row["path"], _label(row["label"]), row["patient"], row["split"]) for row in rows]


def _problems(rows: list[dict[str, str]], on_disk: set[str]) -> list[str]:
    """Everything wrong with the table, a line each."""
    problems, seen = [], set()
    for number, row in enumerate(rows, start=2):
        if not _label(row["label"]):
            problems.append(f"line {number}: label {row['label']!r} is none of {LABELS}")
        if row["path"] not in on_disk:
            problems.append(f"line {number}: there is no file {row['path']!r}")
        if row["path"] in seen:
            problems.append(f"line {number}: {row['path']!r} is listed twice")
        if row["split"] not in ("", *SPLITS):
            problems.append(f"line {number}: split {row['split']!r} is none of {SPLITS}")
        seen.add(row["path"])
    if len({bool(row["split"]) for row in rows}) > 1:
        problems.append("some rows have a split and some have none: give it to all or to none")
    return problems


def _label(text: str) -> str:
    name = text.strip().casefold()
    name = _ALIASES.get(name, name)
    return name if name in LABELS else ""


def _film(name: str, label: str, patient: str, split: str) -> Film:
    return Film(
        film_id=f"own/{name}",
        label=label,
        source="own",
        patient=f"own/{patient or name}",
        name=name,
        original_split=split,
        age=math.nan,
        licence="your own",
    )
