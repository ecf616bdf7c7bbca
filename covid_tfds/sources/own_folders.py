"""A user's own images in folders -> image records."""

import collections
import dataclasses
import functools
from collections.abc import Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import OWN, Exclusion, ImageRecord
from covid_tfds.sources import (
    class_names,
    layout,
    listing,
    patient_names,
    persons,
    two_readings,
    unsorted,
    walk,
)
from covid_tfds.sources.lost_classes import lost_classes
from covid_tfds.sources.stray_quotes import IMAGE_FILE
from covid_tfds.sources.table_file import TABLE
from covid_tfds.sources.wording import counted, listed


def images(
    files: listing.Storage,
) -> tuple[list[ImageRecord], list[Exclusion], tuple[str, ...], list[str]]:
    """Reads split, class and patient of every file off its folders.

    A patient's folder of one name under several classes or splits is one person: persons have
    images before and after. Where it is two, joining them only keeps images in one split that
    could have been apart, while the other error would put one person's images on both sides.

    Returns:
        (records, exclusions, names of the classes in their order, notes). No records: nothing is
        recognized.

    Raises:
        DatasetError: A class yields nothing, some images have a split and some have none, the
            folders can be read in two ways, or those of the classes look like persons.
    """
    read = layout.understand(files.names)
    labels = {place.label for place in map(read.place, files.names) if place.label}
    class_of = class_names.unified(labels)
    records, left_out = [], [Exclusion(f"own/{n}", reason) for n, reason in files.exclusions]
    for name in files.names:
        place = read.place(name)
        if place.reason:
            left_out.append(Exclusion(f"own/{name}", place.reason))
        else:
            records.append(_record(name, place, class_of[place.label]))
    classes = class_names.in_order(record.label for record in records)
    by_folder = []
    if records:
        records = patient_names.unified(records)
        by_folder = unsorted.refuse(files, read, records, functools.partial(_as_a_file, read))
        two_readings.refuse_public_names(records)
        persons.refuse(collections.Counter(record.label for record in records))
        with_folders = dataclasses.replace(read, patients=True)
        folders = [(r.label, with_folders.place(r.name).patient) for r in records]
        two_readings.refuse(folders, read.patients)
        of_nobody = (r.name for r in records if not r.patient_known)
        two_readings.refuse_numbered(
            folder for name in of_nobody for folder in layout.containers_below_class(name, read)
        )
        _refuse_some_splits(records)
        _require_classes(files, read, classes)
    notes = [*_notes(read, files.names, records), *by_folder]
    return records, left_out, classes, notes


def _record(name: str, place: layout.Place, label: str) -> ImageRecord:
    image_id = f"own/{listing.nfc(name)}"
    return ImageRecord(
        image_id=image_id,
        label=label,
        source=OWN,
        patient=f"own/{place.patient}" if place.patient else image_id,
        patient_known=bool(place.patient),
        name=name,
        original_split=place.split,
        license="your own",
    )


def _refuse_some_splits(records: Sequence[ImageRecord]) -> None:
    without = [record.name for record in records if not record.original_split]
    if without and len(without) < len(records):
        first = next(record.name for record in records if record.original_split)
        raise DatasetError(
            f"{len(records) - len(without)} images lie in a folder of a split ({first}) and "
            f"{len(without)} in none ({without[0]}). Give a split to all images or to none."
        )


def _require_classes(files: listing.Storage, read: layout.Layout, classes: Sequence[str]) -> None:
    """A class that the user put in and that yields nothing ends the build."""
    known = {class_names.key(label) for label in classes}
    lost = collections.defaultdict(list)
    unusable = [(name, _as_a_file(read, name, reason), reason) for name, reason in files.exclusions]
    for name, path, reason in [*((name, name, "") for name in files.names), *unusable]:
        place = read.place(path)
        reason = reason or place.reason
        if reason == walk.OF_TFDS:
            continue
        if place.label and reason and class_names.key(place.label) not in known:
            lost[place.label].append(f"{name} ({reason})")
    if lost:
        head = counted(len(lost), "class folder yields", "class folders yield")
        raise lost_classes(f"{head} no image.", dict(sorted(lost.items())))


def _as_a_file(read: layout.Layout, name: str, reason: str) -> str:
    """A path whose folders are those that the user meant for a class.

    A folder that can't be used is one of them, unless it is hidden or a link to what is read under
    its own name; so is a link that leads nowhere and stands where classes do: most likely it led to
    a folder.
    """
    linked = reason == walk.HERE and not class_names.is_public(name.split("/")[-2])
    if reason == listing.HIDDEN or linked:
        return name.rstrip("/")
    named = IMAGE_FILE.search(name) or layout.no_image_by_name(name)
    if reason == listing.BROKEN_LINK and not named and not read.place(name).label:
        return f"{name}/file"
    return f"{name}file" if name.endswith("/") else name


def _notes(read: layout.Layout, names: Sequence[str], records: Sequence[ImageRecord]) -> list[str]:
    notes = []
    if read.wrappers:
        classes = sorted({record.label for record in records})
        notes.append(
            f"All images lie in {'/'.join(read.wrappers)}/; the classes are the folders in it: "
            f"{listed(classes)}."
        )
    if tables := layout.tables(names, read):
        them = "is there and is" if len(tables) == 1 else "are there and are"
        notes.append(f"{listed(tables)} {them} not read; a table must be called {TABLE}.")
    if not read.patients:
        example = next(n for n in names if layout.Layout(read.wrappers).place(n).patient)
        notes.append(
            f"Each class has one folder below it ({example}): they are not taken for patients."
        )
    classes_of = collections.defaultdict(set)
    for record in records:
        if record.patient_known:
            classes_of[record.patient.removeprefix("own/")].add(record.label)
    if classes_of:
        notes.append(f"The folders below the classes are taken for patients: {len(classes_of)}.")
    shared = sorted(patient for patient, classes in classes_of.items() if len(classes) > 1)
    if shared:
        notes.append(
            f"{len(shared)} of these patients lie under several classes, e.g. {shared[0]}: if such "
            "folders are the classes, put them at the top."
        )
    return notes
