"""Cohen's covid-chestxray-dataset (github: ieee8023) -> Film records.

Cohen, Morrison, Dao: COVID-19 image data collection, arXiv:2003.11597. Adults, many hospitals,
films taken from publications; the licence differs per film and travels with it.
"""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Iterable

from covid_tfds import storage
from covid_tfds.errors import DatasetError
from covid_tfds.films import Exclusion, Film

ARTICLE_COMMIT = "4e47ad09d49db15d004c974e268bbbd3b7e10699"  # 2020-03-18, the article's state
PINNED_COMMIT = "584034aa7fbf06496741f11008d72fd791c8e443"  # 2020-06-22
TREE = """  covid-chestxray-dataset/metadata.csv and covid-chestxray-dataset/images/
      or the zip of a commit (covid-chestxray-dataset-<commit>.zip) as it is.
      From https://github.com/ieee8023/covid-chestxray-dataset (fetched by itself when absent)"""

_NEEDED = ("patientid", "finding", "view", "filename")
_FRONTAL = {"pa": "PA", "ap": "AP", "ap supine": "AP Supine", "ap erect": "AP Erect",
            "ap semi erect": "AP semi erect"}  # fmt: skip
_NOT_AN_XRAY = {"FAFA-A1BF-49A8-A1D3-66FAFA41B7345D.jpg": "a warning picture"}

_LABEL_OF = {
    "covid19": ("covid-19", "sars-cov-2"),
    "viral": ("sars", "mers", "mers-cov", "influenza", "h1n1", "varicella", "herpes"),
    "bacterial": ("streptococcus", "klebsiella", "legionella", "e.coli", "mycoplasma",
                  "mycoplasma bacterial pneumonia", "chlamydophila", "nocardia", "staphylococcus",
                  "mrsa", "bacterial"),
}  # fmt: skip
# No class of ours, or not sure enough to be one.
_NO_CLASS = {
    "no finding": "no finding, but half of these patients have COVID films",
    "ards": "ARDS without a cause", "pneumonia": "pneumonia of no stated cause",
    "viral": "pneumonia of no stated cause", "fungal": "fungal pneumonia",
    "pneumocystis": "fungal pneumonia", "aspergillosis": "fungal pneumonia",
    "lipoid": "lipoid pneumonia", "aspiration": "aspiration pneumonia",
    "tuberculosis": "tuberculosis", "interstitial": "interstitial disease",
    "organizing": "organising pneumonia", "organising": "organising pneumonia",
    "chronic eosinophilic": "eosinophilic pneumonia", "eosinophilic": "eosinophilic pneumonia",
    "hypersensitivity": "hypersensitivity pneumonitis", "round": "pneumonia of no stated cause",
    "allergic bronchopulmonary": "fungal pneumonia",
    "covid-19 suspected": "COVID-19 suspected only",
    "suspected covid-19": "COVID-19 suspected only",
    "todo": "finding still to be done upstream",
    "unknown": "finding unknown", "": "finding not stated",
}  # fmt: skip


def find(manual_dir: pathlib.Path) -> storage.Storage | None:
    """The source under `manual_dir`, or None."""
    return storage.find(
        manual_dir, ("covid-chestxray-dataset", "covid-chestxray-dataset-*"), "metadata.csv"
    )


def url(commit: str) -> str:
    """The archive of one upstream commit."""
    return f"https://github.com/ieee8023/covid-chestxray-dataset/archive/{commit}.zip"


def rows(files: storage.Storage) -> list[dict[str, str]]:
    """The metadata table, any of its versions, with one spelling of the header.

    Returns:
        One dictionary a row, keys in lower case without blanks around them, values stripped.

    Raises:
        DatasetError: No metadata.csv, or a header that lacks a column this needs, by name.
    """
    if "metadata.csv" not in files.names:
        raise DatasetError(
            f"{files.where} holds no metadata.csv. Download the whole archive. Expected:\n{TREE}"
        )
    text = files.read("metadata.csv").decode("utf-8-sig", errors="replace")
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().casefold() for name in next(reader, [])]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise DatasetError(
            f"metadata.csv of {files.where} has no column {', '.join(missing)}; "
            f"its columns are {', '.join(header)}. Use the file of an upstream commit."
        )
    return [
        {key: value.strip() for key, value in zip(header, row, strict=False)}
        for row in reader
        if any(value.strip() for value in row)
    ]


def label_of(finding: str) -> tuple[str | None, str]:
    """Maps a finding of any era to a label.

    Args:
        finding: E.g. `COVID-19, ARDS` or `Pneumonia/Viral/COVID-19`.

    Returns:
        (label, "") or (None, why it belongs to no class).

    Raises:
        KeyError: A part of it is in no vocabulary.
    """
    parts = [part.strip() for part in finding.casefold().replace(", ards", "").split("/")]
    names = {name: label for label, all_names in _LABEL_OF.items() for name in all_names}
    for part in parts:
        if part not in names and part not in _NO_CLASS:
            raise KeyError(finding)
    leaf = parts[-1]  # a hierarchical finding gets more exact to the right
    return (names[leaf], "") if leaf in names else (None, _NO_CLASS[leaf])


def films(files: storage.Storage) -> tuple[list[Film], list[Exclusion]]:
    """Frontal films with a label of ours, and everything else with its reason.

    A file that several rows name is one film of several patient keys (`Film.also`).

    Raises:
        DatasetError: A broken table (see `rows`), or findings that no vocabulary knows.
    """
    table = rows(files)
    _refuse_unknown_findings({row["finding"] for row in table})
    on_disk = set(files.names)
    found: dict[str, Film] = {}
    left_out = [Exclusion(f"cohen/{m}", "path leaves the archive") for m in files.refused]
    for row in table:
        film = _film(row, on_disk)
        if isinstance(film, Exclusion):
            left_out.append(film)
        elif film.name in found:
            found[film.name] = _merged(found[film.name], film)
        else:
            found[film.name] = film
    in_table = {_path(row) for row in table}
    left_out += [
        Exclusion(f"cohen/{name}", "file without a row")
        for name in files.names
        if name.startswith("images/") and name not in in_table
    ]
    return list(found.values()), left_out


def film_of_row(row: dict[str, str], label: str) -> Film:
    """The record of one row, whatever its finding and view."""
    return Film(
        film_id=f"cohen/{row['filename']}",
        label=label,
        source="cohen",
        patient=f"cohen/{row['patientid']}",
        name=_path(row),
        view=_FRONTAL.get(row["view"].casefold(), row["view"]),
        sex=row.get("sex", "").upper() if row.get("sex", "").upper() in ("M", "F") else "",
        age=_age(row.get("age", "")),
        licence=row.get("license", "") or "not stated",
        credit=row.get("url", "") or row.get("doi", ""),
    )


def _film(row: dict[str, str], on_disk: set[str]) -> Film | Exclusion:
    label, reason = label_of(row["finding"])
    reason = reason or _why_not(row) or ("" if _path(row) in on_disk else "row without a file")
    if reason:
        return Exclusion(f"cohen/{row['filename']}", reason)
    return film_of_row(row, label or "")


def _why_not(row: dict[str, str]) -> str:
    """The reason a row of a known class is left out, or ""."""
    view, modality = row["view"].casefold(), row.get("modality", "").casefold()
    if row["filename"] in _NOT_AN_XRAY:
        return f"not an X-ray: {_NOT_AN_XRAY[row['filename']]}"
    if modality not in ("", "x-ray") or view in ("axial", "coronal", "ct", "hrct"):
        return "CT, not an X-ray"
    if row.get("rt_pcr_positive", "").casefold() in ("n", "no", "false"):
        return "COVID test negative"
    if view not in _FRONTAL:
        return "view unknown" if view in ("", "?") else "not a frontal view"
    return ""


def _merged(first: Film, second: Film) -> Film:
    if first.label != second.label:
        raise DatasetError(
            f"metadata.csv lists {first.name} as {first.label} and as {second.label}. "
            "Remove one of its rows."
        )
    return dataclasses.replace(first, also=(*first.also, second.patient))


def _refuse_unknown_findings(findings: Iterable[str]) -> None:
    unknown = []
    for finding in sorted(findings):
        try:
            label_of(finding)
        except KeyError:
            unknown.append(finding)
    if unknown:
        raise DatasetError(
            f"metadata.csv has findings that are in no vocabulary: {unknown}. Add each to "
            "_LABEL_OF or _NO_CLASS in covid_tfds/cohen.py; guessing would mislabel films."
        )


def _path(row: dict[str, str]) -> str:
    return f"{row.get('folder') or 'images'}/{row['filename']}"


def _age(text: str) -> float:
    try:
        years = float(text)
    except ValueError:
        return math.nan
    return years if 0 <= years <= 120 else math.nan
