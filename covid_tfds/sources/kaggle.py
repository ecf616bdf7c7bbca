"""Kaggle "Chest X-Ray Images (Pneumonia)" (Kermany et al. 2018) -> image records.

Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for
Classification, Mendeley Data, 2018, doi:10.17632/rscbjbr9sj.2, CC BY 4.0. AP chest X-rays of
children of one to five years from one hospital. The names of Mendeley's own archive are
understood, too.
"""

import collections
import os
import re
from collections.abc import Iterable

from covid_tfds.errors import DatasetError
from covid_tfds.records import Exclusion, ImageRecord
from covid_tfds.sources import storage

_SUFFIX = r"\.(?i:jpe?g|png)$"
_PNEUMONIA = re.compile(
    r"^person(?P<number>\d+)_(?P<cause>bacteria|virus)_\d+(?:_\d+)?" + _SUFFIX, re.ASCII
)
_NORMAL = re.compile(r"^(?P<prefix>NORMAL2-)?IM-(?P<number>\d+)-\d+(?:-\d+)?" + _SUFFIX, re.ASCII)
_MENDELEY = re.compile(r"^(?P<kind>NORMAL|BACTERIA|VIRUS)-(?P<number>\d+)-\d+" + _SUFFIX, re.ASCII)
# Patients as `patient_and_label` names them. OsiriX, too, calls what it exports IM-0001-0001.
_PATIENT = re.compile(
    r"person\d+_(bacteria|virus)|NORMAL2-IM-\d+|(NORMAL|BACTERIA|VIRUS)-\d+", re.ASCII
)
_BARE = re.compile(r"IM-\d+", re.ASCII)
_LABELS = {"bacteria": "bacterial", "virus": "viral", "normal": "healthy"}
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val",
           "validation": "val", "test": "test", "testing": "test"}  # fmt: skip
_NEEDED = tuple(
    f"{split}/{kind}" for split in ("train", "test") for kind in ("NORMAL", "PNEUMONIA")
)
_PATTERNS = """  NORMAL/IM-0115-0001.jpeg, NORMAL/NORMAL2-IM-0927-0001.jpeg,
      PNEUMONIA/person1_bacteria_2.jpeg, PNEUMONIA/person3_virus_15.jpeg, or Mendeley's
      NORMAL/NORMAL-11419-0001.jpeg, PNEUMONIA/{BACTERIA,VIRUS}-1008087-0001.jpeg"""

TREE = """  chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg   (val/ is optional)
      or the downloaded zip (archive.zip) as it is.
      From https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia"""


def find(manual_dir: str | os.PathLike) -> storage.Storage | None:
    """The source under `manual_dir`, or None (see `storage.find`)."""
    return storage.find(manual_dir, ("chest_xray",), "train/")


def images(files: storage.Storage) -> tuple[list[ImageRecord], list[Exclusion]]:
    """Every file of the source, as an image or with the reason why it is none.

    Raises:
        DatasetError: A folder of the official train or test is missing, or nothing in a folder is
            understood.
    """
    found: dict[str, ImageRecord] = {}
    left_out = [Exclusion(f"kaggle/{name}", reason) for name, reason in files.exclusions]
    places = collections.defaultdict(list)  # of names, by split/KIND
    for name in files.names:
        record = _record(name)
        if isinstance(record, ImageRecord) and record.image_id in found:
            reason = "same split and name as another file, but for case or suffix"
            record = Exclusion(f"kaggle/{name}", reason)
        if isinstance(record, ImageRecord):
            found[record.image_id] = record
        else:
            left_out.append(record)
        if place := _place(name):
            places["/".join(place)].append(name)
    _require_folders(files.where, places)
    _require_understood(files.where, places, list(found.values()))
    return list(found.values()), left_out


def _record(name: str) -> ImageRecord | Exclusion:
    shown = f"kaggle/{name}"
    place = _place(name)
    if not place:
        return Exclusion(shown, "outside train, val and test")
    split, kind = place
    file = name.rsplit("/", 1)[1]
    patient, label = patient_and_label(file)
    if not patient:
        return Exclusion(shown, "file name not understood")
    if (label == "healthy") != (kind == "NORMAL"):
        return Exclusion(shown, "file name contradicts its folder")
    return ImageRecord(
        image_id=f"kaggle/{split}/{file.rsplit('.', 1)[0]}",
        label=label,
        source="kaggle",
        patient=f"kaggle/{patient}",
        name=name,
        original_split=split,
        projection="AP",
        license="CC BY 4.0",
        credit="https://doi.org/10.17632/rscbjbr9sj.2",
    )


def _place(name: str) -> tuple[str, str] | None:
    """(split, KIND) of a file in one of the source's folders, in any case of their names."""
    parts = name.split("/")
    if len(parts) != 3 or parts[0].casefold() not in _SPLITS:
        return None
    return _SPLITS[parts[0].casefold()], parts[1].upper()


def patient_and_label(file: str) -> tuple[str, str]:
    """Patient and class that a published file name tells, or two blank texts.

    Bare person numbers are reused across causes, and IM-N across its two prefixes: keep both.

    Args:
        file: Without folders, e.g. `person1_bacteria_2.jpeg`: `person1_bacteria`, `bacterial`.
    """
    if match := _PNEUMONIA.match(file):
        return f"person{match['number']}_{match['cause']}", _LABELS[match["cause"]]
    if match := _NORMAL.match(file):
        return f"{match['prefix'] or ''}IM-{match['number']}", "healthy"
    if match := _MENDELEY.match(file):
        return f"{match['kind']}-{match['number']}", _LABELS[match["kind"].lower()]
    return "", ""


def patients_among(names: Iterable[str]) -> set[str]:
    """Those of patients' names that are of this source, whoever has the images now.

    A bare `IM-0115` is one where names that only this source has are beside it.

    Args:
        names: Of patients, without a source before them.
    """
    names = set(names)
    sure = set(filter(_PATIENT.fullmatch, names))
    return sure | set(filter(_BARE.fullmatch, names)) if sure else sure


def _require_folders(where: str, places: dict[str, list[str]]) -> None:
    missing = [folder for folder in _NEEDED if folder not in places]
    if not missing:
        return
    there = "".join(f"  {where}/{folder}: {len(names)} files\n" for folder, names in places.items())
    raise DatasetError(
        f"{len(missing)} of the {len(_NEEDED)} folders of the Kaggle images are missing or "
        f"empty:\n" + "".join(f"  {where}/{folder}\n" for folder in missing) + "Found:\n"
        f"{there or '  none of its folders' + chr(10)}"
        f"Unpack the archive again. Expected:\n{TREE}"
    )


def _require_understood(where: str, places: dict[str, list[str]], found: list[ImageRecord]) -> None:
    """No folder, and no class, is lost because its names follow another pattern."""
    label_of = {record.name: record.label for record in found}
    for folder, names in places.items():
        strange = [name for name in names if not patient_and_label(name.rsplit("/", 1)[1])[0]]
        pictures = [name for name in strange if re.search(_SUFFIX, name)]
        labels = {label_of[name] for name in names if name in label_of}
        # val holds a handful of images: a class may well be missing there.
        wanted = {"bacterial", "viral"} if folder in _NEEDED and "PNEUMONIA" in folder else labels
        if labels and not (pictures and wanted - labels):
            continue
        shown = pictures or strange or names
        first = ", ".join(sorted(name.rsplit("/", 1)[1] for name in shown)[:5])
        what = f"No image of {' and '.join(sorted(wanted - labels)) or 'any class'}"
        raise DatasetError(
            f"{what} is found in {where}/{folder}: {len(shown)} of its {len(names)} file names are "
            f"not understood, e.g. {first}. Names give class and patient; expected are\n"
            f"{_PATTERNS}\nUse the files under their published names, or build your own images "
            "with --config=folder."
        )
