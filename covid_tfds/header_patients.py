"""Persons that DICOM headers name, beside those that folders or a table give.

A folder or a table may name studies where it means patients. What both say is joined: joining too
much only keeps images together, joining too little tears a person apart.
"""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

from covid_tfds.first_pass import Readings
from covid_tfds.records import ImageRecord, of_header
from covid_tfds.sources import wording

# An id that more than half of the headers have, and that many of them, may be of a device or of a
# program. It names a person only where sex and age are stated in most of them, and are those of
# one, and where neither a folder nor a table says that they are several.
_MOST_SHARE, _MOST_IMAGES = 0.5, 10
_STATED = 0.9  # of those headers
_MOST_YEARS = 10.0  # between the images of a person

_PERSONS = "it is taken for one person's, since sex and age agree."
_NOBODYS = "it is taken for nobody's. Give an images.csv with a patient column if it is a person's."


def settled(readings: Readings) -> tuple[Readings, list[str]]:
    """Takes out an id that stands in most headers, and says what headers have joined.

    Returns:
        The readings with their records settled, and notes.
    """
    keys = [_key(record) for record in readings.records]
    counts = collections.Counter(filter(None, keys))
    notes = []
    most = counts.most_common(1)[0] if counts else ("", 0)
    if most[1] >= _MOST_IMAGES and most[1] > _MOST_SHARE * counts.total():
        of_most = [key == most[0] for key in keys]
        one = _one_person(list(itertools.compress(readings.records, of_most)))
        said = f"{most[1]} of {counts.total()} DICOM headers have the same patient id"
        notes.append(f"{said}: {_PERSONS if one else _NOBODYS}")
        if not one:
            records = [
                _without(record, most[0]) if its else record
                for record, its in zip(readings.records, of_most, strict=True)
            ]
            readings = dataclasses.replace(readings, records=records)
    given = collections.defaultdict(set)
    for record in readings.records:
        if record.also and (key := _key(record)):
            given[key].add(record.patient)
    joined = [len(patients) for patients in given.values() if len(patients) > 1]
    if joined:
        notes.append(
            f"{sum(joined)} patients of yours are {wording.counted(len(joined), 'person')} by "
            "their DICOM headers, and are kept together."
        )
    return readings, notes


def _one_person(records: Sequence[ImageRecord]) -> bool:
    """Whether sex and age are stated as those of one person, and no source names several."""
    sexes = [record.sex for record in records if record.sex]
    ages = [record.age for record in records if record.age == record.age]  # NaN where unknown
    if min(len(sexes), len(ages)) < _STATED * len(records):
        return False
    named = {record.patient for record in records if not of_header(record.patient)}
    return len(named) <= 1 == len(set(sexes)) and max(ages) - min(ages) <= _MOST_YEARS


def _key(record: ImageRecord) -> str:
    """The key that the header gave, or ""."""
    return next(filter(of_header, (record.patient, *record.also)), "")


def _without(record: ImageRecord, key: str) -> ImageRecord:
    if record.patient == key:
        return dataclasses.replace(record, patient=record.image_id, patient_known=False)
    return dataclasses.replace(record, also=tuple(each for each in record.also if each != key))
