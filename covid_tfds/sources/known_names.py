"""Patients from the file names of two public archives, in a user's own folder or table."""

import collections
import dataclasses
import re
from collections.abc import Sequence

from covid_tfds.records import ImageRecord
from covid_tfds.sources import kaggle

_NIH = "NIH ChestX-ray14"
_KAGGLE = "the Kaggle pneumonia images"
_NIH_NAME = re.compile(r"(\d{8})_\d{3}\.(?:png|jpe?g)", re.ASCII | re.IGNORECASE)
# 20200131_001.png is a day: NIH's numbers of patients begin with zeros.
_DAY = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)
_SHARE = 0.9  # of the images without a patient; fewer may be named like this by chance


def with_patients(records: Sequence[ImageRecord]) -> tuple[list[ImageRecord], list[str]]:
    """Gives images without a patient the one that a known pattern of names tells.

    At least 90 % of the images without a patient have to be named like that, or of those of a
    class: public images of one class may lie beside others of one's own. Who is a patient of such
    a class is one in the other classes, too, by the same names.

    Args:
        records: Images of a user's folder or table.

    Returns:
        (the records in their order, notes: one when patients are taken from names).
    """
    known = {}
    for place, record in enumerate(records):
        if not record.patient_known and (found := _patient(record.name.rsplit("/", 1)[-1])):
            known[place] = found
    unknown = collections.Counter(record.label for record in records if not record.patient_known)
    named_like_it = collections.Counter(records[place].label for place in known)
    if len(known) < _SHARE * unknown.total():
        sure = {label for label, n in named_like_it.items() if n >= _SHARE * unknown[label]}
        patients = {found for place, found in known.items() if records[place].label in sure}
        known = {place: found for place, found in known.items() if found in patients}
    if not known:
        return list(records), []
    named = [
        dataclasses.replace(
            record, patient=f"{record.source}/{known[place][1]}", patient_known=True
        )
        if place in known
        else record
        for place, record in enumerate(records)
    ]
    archives = sorted({archive for archive, _ in known.values()})
    return named, [
        f"Patients are taken from the file names, which are like those of {' and '.join(archives)}."
    ]


def _patient(file: str) -> tuple[str, str] | None:
    """(archive, patient) that a file's name tells, or None."""
    match = _NIH_NAME.fullmatch(file)
    if match and not _DAY.fullmatch(match[1]):
        return _NIH, match[1]
    patient, _ = kaggle.patient_and_label(file)
    return (_KAGGLE, patient) if patient else None
