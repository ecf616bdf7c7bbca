"""Cohen's covid-chestxray-dataset (github: ieee8023) -> image records.

Cohen, Morrison, Dao: COVID-19 image data collection, arXiv:2003.11597. Adults, many hospitals,
images taken from publications; the license differs per image and travels with it.
"""

import collections
import dataclasses
import math
import os
from collections.abc import Set

from covid_tfds.errors import DatasetError
from covid_tfds.records import UNKNOWN_LICENSE, Exclusion, ImageRecord
from covid_tfds.sources import csv_table, findings, listing, storage, table_file
from covid_tfds.sources.wording import one_line

ARTICLE_COMMIT = "4e47ad09d49db15d004c974e268bbbd3b7e10699"  # 2020-03-18, the article's state
PINNED_COMMIT = "584034aa7fbf06496741f11008d72fd791c8e443"  # 2020-06-22
TREE = """  covid-chestxray-dataset/metadata.csv and covid-chestxray-dataset/images/
      or the zip of a commit (covid-chestxray-dataset-<commit>.zip) as it is.
      From https://github.com/ieee8023/covid-chestxray-dataset (fetched by itself when absent)"""

_FOLDERS = ("covid-chestxray-dataset", "covid-chestxray-dataset-*")
_TABLE = "metadata.csv"
_NEEDED = ("filename", "patientid", "finding", "view")
_WANTED = ("modality", "folder", "sex", "age", "license", "url", "doi", "rt_pcr_positive")
_FRONTAL = {"pa": "PA", "ap": "AP", "ap supine": "AP Supine", "ap erect": "AP Erect",
            "ap semi erect": "AP semi erect"}  # fmt: skip
_IMAGES = "images/"
_LONGEST = 200  # characters of a cell that is stored
_NOT_AN_XRAY = {"FAFA-A1BF-49A8-A1D3-66FAFA41B7345D.jpg": "a warning picture"}


def find(manual_dir: str | os.PathLike) -> storage.Storage | None:
    """The source under `manual_dir`, or None (see `storage.find`)."""
    return storage.find(manual_dir, _FOLDERS, _TABLE)


def url(commit: str) -> str:
    """The archive of one upstream commit."""
    return f"https://github.com/ieee8023/covid-chestxray-dataset/archive/{commit}.zip"


def rows(files: storage.Storage) -> list[csv_table.Row]:
    """The metadata table, any of its versions, with one spelling of the header.

    Returns:
        The rows that are not empty. `filename`, `patientid`, `finding` and `view` are there, and
        what the version has of `modality`, `folder`, `sex`, `age`, `license`, `url`, `doi` and
        `rt_pcr_positive`.

    Raises:
        DatasetError: No metadata.csv, a header without a column that is needed (by name), or a
            stray quote that swallows rows.
    """
    if _TABLE not in files.names and not files.why_not(_TABLE):
        raise DatasetError(
            f"{files.where} holds no metadata.csv. Download the whole archive. Expected:\n{TREE}"
        )
    names = {name.rsplit("/", 1)[-1] for name in files.names}
    where = f"metadata.csv of {files.where}"
    data = table_file.read(files, _TABLE, where)
    table = csv_table.read(data, where, _NEEDED, _WANTED, names.__contains__)
    return [row for row in table.rows if not row.empty]


def images(files: storage.Storage) -> tuple[list[ImageRecord], list[Exclusion]]:
    """Frontal images with a label of ours, and everything else with its reason.

    A file that several rows name, whether they are used or not, is one image of several patient
    keys (`ImageRecord.also`).

    Raises:
        DatasetError: A broken table (see `rows`), findings that no vocabulary knows, or a file
            with two labels.
    """
    table = rows(files)
    findings.refuse_unknown({row["finding"] for row in table})
    on_disk = set(files.names)
    found: dict[str, ImageRecord] = {}
    patients: dict[str, dict[str, None]] = collections.defaultdict(dict)  # of each file, in order
    left_out = []
    for row in table:
        if row["patientid"] and not row.extra:
            patients[_path(row)][_patient(row)] = None
        record = _record(row, files, on_disk)
        if isinstance(record, Exclusion):
            left_out.append(record)
        elif record.name in found:
            _require_one_label(found[record.name], record)
        else:
            found[record.name] = record
    left_out += _without_a_row(table, files)
    records = []
    for record in found.values():
        also = tuple(each for each in patients[record.name] if each != record.patient)
        records.append(dataclasses.replace(record, also=also) if also else record)
    return records, left_out


def image_of_row(row: csv_table.Row, label: str) -> ImageRecord:
    """The record of one row, whatever its finding and view."""
    # One name may be in two folders.
    image_id = f"cohen/{_path(row).removeprefix(_IMAGES)}"
    sex = row["sex"].upper()
    return ImageRecord(
        image_id=image_id,
        label=label,
        source="cohen",
        # Rows without a patient are not one person.
        patient=_patient(row) if row["patientid"] else image_id,
        patient_known=bool(row["patientid"]),
        name=_path(row),
        projection=_FRONTAL.get(row["view"].casefold(), _kept(row["view"])),
        sex=sex if sex in ("M", "F") else "",
        age=_age(row["age"]),
        license=_kept(row["license"]) or UNKNOWN_LICENSE,
        credit=_kept(row["url"] or row["doi"]),
    )


def _record(
    row: csv_table.Row, files: storage.Storage, on_disk: Set[str]
) -> ImageRecord | Exclusion:
    shown = f"cohen/{row['filename'] or f'line {row.line} of {_TABLE}'}"
    if any(name in row.missing for name in _NEEDED):
        return Exclusion(shown, "row with too few columns")
    if row.extra:
        return Exclusion(shown, "row with too many columns")
    if not row["filename"]:
        return Exclusion(shown, "row without a file name")
    label, reason = findings.label_of(row["finding"])
    reason = reason or _why_not(row)
    if not reason and _path(row) not in on_disk:
        reason = files.why_not(_path(row)) or "row without a file"
    return Exclusion(shown, reason) if reason else image_of_row(row, label or "")


def _why_not(row: csv_table.Row) -> str:
    """The reason a row of a known class is left out, or ""."""
    view, modality = row["view"].casefold(), row["modality"].casefold()
    if row["filename"] in _NOT_AN_XRAY:
        return f"not an X-ray: {_NOT_AN_XRAY[row['filename']]}"
    if modality not in ("", "x-ray", "ct"):
        return f"modality {one_line(row['modality'], 40)}, not an X-ray"
    if modality == "ct" or view in ("axial", "coronal", "ct", "hrct"):
        return "CT, not an X-ray"
    if row["rt_pcr_positive"].casefold() in ("n", "no", "false"):
        return "COVID test negative"
    if view not in _FRONTAL:
        return "view unknown" if view in ("", "?") else "not a frontal view"
    return ""


def _without_a_row(table: list[csv_table.Row], files: storage.Storage) -> list[Exclusion]:
    """Images that no row names, and what of the source can't be used.

    Outside `images/` lie documents and code, and the repository's own hidden files.
    """
    in_table = {_path(row) for row in table}
    without = [
        (name, "file without a row")
        for name in files.names
        if name.startswith(_IMAGES) and name not in in_table
    ]
    unusable = [
        (name, reason)
        for name, reason in files.exclusions
        if name not in in_table and (name.startswith(_IMAGES) or reason != listing.HIDDEN)
    ]
    return [Exclusion(f"cohen/{name}", reason) for name, reason in (*unusable, *without)]


def _require_one_label(first: ImageRecord, second: ImageRecord) -> None:
    if first.label != second.label:
        raise DatasetError(
            f"metadata.csv lists {first.name} as {first.label} and as {second.label}. "
            "Remove one of its rows."
        )


def _patient(row: csv_table.Row) -> str:
    return f"cohen/{_kept(row['patientid'])}"


def _path(row: csv_table.Row) -> str:
    return f"{row['folder'] or 'images'}/{row['filename']}"


def _kept(text: str) -> str:
    """A cell as it is stored: on one line, of bounded length."""
    text = listing.shown(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _age(text: str) -> float:
    try:
        years = float(text)
    except ValueError:
        return math.nan
    return years if 0 <= years <= 120 else math.nan
