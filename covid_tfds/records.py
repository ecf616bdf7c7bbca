"""What a source knows of one image, and the class names."""

import dataclasses
import math

# The order is a contract: a classifier of N classes keeps the first N.
LABELS = ("healthy", "covid19", "bacterial", "viral")
UNKNOWN_LICENSE = "not stated"
OWN = "own"  # the source of a user's images that name none
# Begins the key of a person whom a DICOM header names: one for all sources of a table, since a
# person's files may come from several.
HEADER_KEY = "dicom-"


def of_header(patient: str) -> bool:
    """Whether a patient's key is of a DICOM header; that of a source has a slash behind it."""
    return patient.startswith(HEADER_KEY) and "/" not in patient


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRecord:
    """What a source knows of one image before its pixels are read.

    Attributes:
        image_id: Unique in the dataset, e.g. `kaggle/train/IM-0115-0001`.
        label: Class name: one of `LABELS` in the public sources, any name in a user's own.
        source: `kaggle`, `cohen`, `phantom`, `own`, or what a user's table says.
        patient: Key of the person, prefixed by the source and a slash; that of a DICOM header,
            which has no slash; the image's own id when no patient is known.
        name: Path of the file in its storage, relative to the storage's root.
        also: Further keys of the same person, or of persons who are listed with the same file.
        patient_known: Whether `patient` names a person.
        original_split: The split the source itself puts the image in, or "".
        projection: As the source writes it, e.g. `PA`, or "" when unknown.
        sex: `M`, `F` or "".
        age: Years; NaN when unknown.
        license: As the source states it, or `UNKNOWN_LICENSE`.
        credit: Where the image was first published (URL or DOI), or "".
    """

    image_id: str
    label: str
    source: str
    patient: str
    name: str
    also: tuple[str, ...] = ()
    patient_known: bool = True
    original_split: str = ""
    projection: str = ""
    sex: str = ""
    age: float = math.nan
    license: str = UNKNOWN_LICENSE
    credit: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Exclusion:
    """A file or row that is left out, and why.

    Attributes:
        file: The file's path or the row, prefixed by the source.
        reason: From a small vocabulary, so that the summary can count it.
    """

    file: str
    reason: str
