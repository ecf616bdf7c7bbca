"""A user's own images -> image records: one folder a class, or a table."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import Exclusion, ImageRecord
from covid_tfds.sources import (
    known_names,
    layout,
    own_folders,
    own_table,
    patient_names,
    storage,
    table_file,
)
from covid_tfds.sources.class_names import key
from covid_tfds.sources.lost_classes import lost_classes
from covid_tfds.sources.table_file import TABLE
from covid_tfds.sources.wording import counted, listed

TREE = """  CLASS/*, SPLIT/CLASS/*, CLASS/SPLIT/*, and a folder for each PATIENT below, if
      you like; CLASS is any name (normal, covid-19, covid, bacteria and virus
      stand for healthy, covid19, bacterial, viral), SPLIT one of train,
      validation, test; or
  images.csv with the columns path,label and, if you have them, patient, split,
      source, projection, sex, age, license (paths relative to the folder)"""

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Own:
    """A user's own images.

    Attributes:
        storage: Where their files are.
        records: One an image, in the order of names or of the table.
        exclusions: What is there and is not used.
        class_names: The public ones first, then the user's others, sorted.
        notes: Sentences on how the folder was read.
    """

    storage: storage.Storage
    records: list[ImageRecord]
    exclusions: list[Exclusion]
    class_names: tuple[str, ...]
    notes: list[str]


def images(manual_dir: str | os.PathLike) -> Own:
    """Reads the folder's `images.csv`, or its folders where there is none.

    Raises:
        DatasetError: No image is recognized, a class yields none, or the table can't be used.
    """
    files = storage.folder(manual_dir)
    _refuse_two_forms(files)
    table = table_file.find(files)
    found = own_table.images(files, table) if table else own_folders.images(files)
    records, exclusions, classes, notes = found
    if not records:
        raise DatasetError(
            f"{files.where} holds no images of your own that are recognized. "
            f"{_what_is_there(files, exclusions, manual_dir)}\nExpected:\n{TREE}"
        )
    records, from_names = known_names.with_patients(records)
    records, of_sources = patient_names.across_sources(records)
    records = patient_names.unified(records)
    notes = [*notes, *from_names, *of_sources, *patient_names.notes(records)]
    if note := one_class_note(classes):
        notes.append(note)
    return Own(files, records, exclusions, classes, notes)


def one_class_note(classes: Sequence[str]) -> str:
    """A sentence on a dataset of one class, or ""."""
    if len(classes) > 1:
        return ""
    return f"There is one class only, {classes[0]}: a classifier needs two."


def patient_note(records: Sequence[ImageRecord]) -> str:
    """A sentence on images without a patient, or "" when all have one.

    Args:
        records: After reading: a DICOM file's header may have named the patient.
    """
    unknown = sum(not record.patient_known for record in records)
    if not unknown:
        return ""
    if unknown == len(records):
        return (
            "No patients are given: each image counts as its own patient, so one person's images "
            "may be in train and in test. Give an images.csv with a patient column."
        )
    return (
        f"{unknown} of {len(records)} images have no patient: each of them counts as its own, so "
        "one person's images may be in train and in test."
    )


def require_every_class(
    class_names: Sequence[str],
    used_labels: Iterable[str],
    exclusions: Sequence[Exclusion],
    *,
    records: Sequence[ImageRecord] = (),
) -> None:
    """Ends the build when a class that the user put in has no image left.

    Args:
        class_names: Every class.
        used_labels: Classes of the images that can be used.
        exclusions: What can't be used, and why.
        records: All records before reading, so that a class's own files are named; without
            them those in a folder of its name are, or else the first exclusions.

    Raises:
        DatasetError: Names the classes and the first files with their reasons.
    """
    used = set(used_labels)
    lost = [name for name in class_names if name not in used]
    if not lost:
        return
    raise lost_classes(
        f"No image of the class {listed(lost)} can be used.",
        {name: _first_seen(name, exclusions, records) for name in lost},
    )


def _refuse_two_forms(files: storage.Storage) -> None:
    """One name in two Unicode forms is one file only if the bytes are the same.

    Raises:
        DatasetError: They are not: a path would name two images.
    """
    differing = []
    for name, first in files.twins.items():
        try:
            same = files.read(name) == files.read(first)
        except storage.Unreadable:
            same = False
        differing += [] if same else [name]
    if differing:
        count = counted(len(differing), "file has", "files have")
        raise DatasetError(
            f"{count} the name of another one with other bytes, written in another Unicode form "
            f"({listed(differing)}): two folders may look alike. Merge the folders, or rename "
            "these files."
        )


def _what_is_there(
    files: storage.Storage, exclusions: Sequence[Exclusion], manual_dir: str | os.PathLike
) -> str:
    sentences = []
    for count, depth, example in layout.depths(files.names):
        where = f"{_number(depth)} folders deep" if depth != 1 else "one folder deep"
        number = counted(count, "file")
        sentences.append(f"Found {number} {where if depth else 'in no folder'} ({example}).")
    reasons = collections.Counter(exclusion.reason for exclusion in exclusions)
    left_out = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(_SHOWN))
    sentences += [f"Left out: {left_out}."] if reasons else []
    read = layout.understand(files.names)
    if (tables := layout.tables(files.names, read)) and TABLE not in tables:
        sentences.append(f"A table must be called {TABLE} (seen: {listed(tables)}).")
    if any(name.lower().endswith(".zip") for name in files.names):
        sentences.append("Zips are not looked into: unpack them.")
    return "\n".join([*sentences, storage.seen(manual_dir)])


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six")
    return words[count] if count < len(words) else str(count)


def _first_seen(
    name: str, exclusions: Sequence[Exclusion], records: Sequence[ImageRecord]
) -> list[str]:
    own = {
        file
        for record in records
        if record.label == name
        for file in (f"{record.source}/{record.name}", f"own/{record.name}", record.image_id)
    }
    seen = [e for e in exclusions if e.file in own]
    seen = seen or [e for e in exclusions if key(name) in map(key, e.file.split("/")[:-1])]
    return [f"{e.file} ({e.reason})" for e in seen or list(exclusions)[:_SHOWN]]
