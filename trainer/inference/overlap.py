"""Which images of other data a network has seen: the images and patients of its own run.

Scores of images that a network was trained on show what it remembers. Those of validation chose its
epoch, which is less of a leak, and they are counted apart. Those of a test split that the run keeps
closed are no leak; but whoever looks at a score of them has opened it.
"""

from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np

from covid_tfds.records import OWN, of_header
from covid_tfds.sources import kaggle, patient_names

# Why an image is left out, and the words for it.
REASONS = {
    "trained_on": "that the network was trained on",
    "patient_trained_on": "of patients that it was trained on",
    "validation": "of its validation, which chose the epoch",
    "patient_of_validation": "of patients of its validation",
    "unopened": "of its test split, which is not opened (--notest)",
    "patient_unopened": "of patients of its test split, which is not opened",
}
UNOPENED = ("unopened", "patient_unopened")  # keys of `REASONS`
# In the order in which they are looked for: what a later one says takes an earlier one's place.
_SEEN = {
    "validation": ("validation", "patient_of_validation"),
    "train": ("trained_on", "patient_trained_on"),
}
_PUBLIC = {"kaggle", "cohen", "phantom"}  # sources that number their patients for themselves
_ANY, _HEADERS = "", "dicom"  # in place of a source

Columns = Mapping[str, Sequence[str]]  # of `images_used`
Person = tuple[str, str]  # the source and the name there, as `patient_names.key` has them


def reasons(used: Columns, given: Columns, closed: Columns | None = None) -> np.ndarray:
    """Why images can't be used to score a network, if they can't.

    An image is known by its pixels, or by its patient: the name in its source, whatever its
    spelling, and what a DICOM header says, whoever else the image is said to be of. Names that come
    without a source are compared with those of any source of a user's own, and, where only Kaggle's
    archive has such names, with its patients: copies of its images may have been stored again. With
    an image goes its whole group: who shares an image with a person, under whatever name, is that
    person for all that is known.

    Args:
        used: The columns of the run's images_used.csv.
        given: The same of n images.
        closed: The same of the images of the run's dataset that the run has not opened. A run
            folder names none of them.

    Returns:
        Strings [n], "" of an image that may be used, else a key of `REASONS`.
    """
    digests, of_group = given["image_sha256"], np.asarray(given["group"])
    result: np.ndarray = np.full(len(digests), "", np.dtypes.StringDType())
    persons = list(_persons(given, [OWN]))
    sought = [(_of_split(used, split), names) for split, names in _SEEN.items()]
    if closed is not None:
        sought.insert(0, (closed, UNOPENED))
    for columns, (of_image, of_patient) in sought:
        known = set(columns["image_sha256"])
        people = set().union(*_persons(columns, set(columns["source"]) - _PUBLIC))
        same = np.array([digest in known for digest in digests], bool)
        person = np.array([not people.isdisjoint(each) for each in persons], bool)
        result[np.isin(of_group, of_group[same | person])] = of_patient
        result[same] = of_image
    return result


def has_headers(columns: Columns) -> bool:
    """Whether a DICOM header says who the patient of any of these images is."""
    return any(map(of_header, (*columns["patient"], *columns["group"])))


def _of_split(columns: Columns, split: str) -> Columns:
    there = [place for place, name in enumerate(columns["split"]) if name == split]
    return {name: [values[place] for place in there] for name, values in columns.items()}


def _persons(columns: Columns, without_source: Container[str]) -> Iterator[set[Person]]:
    """Whom each image may be of; nobody where its patient is not known.

    Args:
        columns: The images.
        without_source: Sources whose names are compared with those that have no source.
    """
    shown = [columns[name] for name in ("source", "patient", "group", "image_id")]
    rows = list(zip(*shown, strict=True))
    # A patient by the name of an image is none: it names whatever file has that name.
    names = [
        "" if patient == image_id or of_header(patient) else _name(source, patient)
        for source, patient, _, image_id in rows
    ]
    of_kaggle = kaggle.patients_among(
        name for (source, *_), name in zip(rows, names, strict=True) if source == OWN
    )
    for (source, patient, group, _), name in zip(rows, names, strict=True):
        # A group has the name of a header where a table names the patient, too.
        found = {(_HEADERS, each) for each in (patient, group) if of_header(each)}
        if name:
            sources = [source, *([_ANY] if source in without_source else [])]
            if source == OWN and name in of_kaggle:
                sources.append("kaggle")
            found |= {(patient_names.key(each), patient_names.key(name)) for each in sources}
        yield found


def _name(source: str, patient: str) -> str:
    """A patient's name without its source, or another spelling of that: its first image's."""
    begin = f"{source}/"
    if patient.startswith(begin):
        return patient[len(begin) :]
    return patient.partition("/")[2] or patient
