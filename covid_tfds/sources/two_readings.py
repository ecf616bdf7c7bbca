"""Layouts in which the second folder may be the class and not the patient.

`site/CLASS/*`, `fold/CLASS/*` and `PATIENT/CLASS/*` look like CLASS/PATIENT/*. The names decide
where they can; where they can't, the user has to.
"""

import collections
import re
from collections.abc import Iterable, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import ImageRecord
from covid_tfds.sources import class_names, patient_names
from covid_tfds.sources.wording import listed

_MOST_CLASSES = 10  # below one folder; persons are more, most of the time
_FEWEST_SHARED = 2
_NO_PERSONS = 20  # images each, on average
_BULK = 0.8  # of all images in one top folder: it may hold the dataset, the others documents
_MANY_IMAGES = 3  # a folder, on average
_DIGITS = re.compile(r"\d+")


def refuse_public_names(records: Sequence[ImageRecord]) -> None:
    """Refuses patients that are called like a class.

    Args:
        records: Images whose patients are those of their folders.

    Raises:
        DatasetError: Names an image. Numbers are no such names: grades and persons have them.
    """
    labels = {class_names.key(record.label) for record in records}
    for record in records:
        name = class_names.key(record.patient.removeprefix("own/"))
        if not record.patient_known or name.isdigit():
            continue
        if class_names.is_public(name) or name in labels:
            raise DatasetError(
                f"{record.name} would be an image of the class {record.label!r}: the folder of the "
                "class comes first, that of the patient second. Put the folders of the classes at "
                "the top, or give an images.csv."
            )


def refuse_numbered(containers: Iterable[str]) -> None:
    """Refuses `images_001` beside `images_002` below a class: persons, or parts of a heap.

    Args:
        containers: Folders below a class that hold images of no patient and are called as such
            folders are, with those above them.

    Raises:
        DatasetError: Says both readings.
    """
    alike: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for folder in sorted(set(containers)):
        above, _, name = folder.rpartition("/")
        alike[above, _DIGITS.sub("0", name)].append(folder)
    for (above, _), several in alike.items():
        if len(several) > 1:
            name = several[0].rpartition("/")[2]
            number = "".join(_DIGITS.findall(name)) or "1"
            raise DatasetError(
                f"The folders {listed(f'{folder}/' for folder in several)} may be those of "
                "patients, or hold a part of the images each. If they are patients', rename them "
                f"(e.g. `patient_{number}`); if not, put their images into {above}/ itself. Or "
                "give an images.csv."
            )


def refuse(folders: Iterable[tuple[str, str]], are_patients: bool) -> None:
    """Refuses folders below the classes that may be the classes themselves.

    Args:
        folders: For each image, its class and the folder below it, or "".
        are_patients: Whether folders below the classes are taken for patients.

    Raises:
        DatasetError: Says both readings. There are two to ten names, and two are under several
            classes, or they have 20 images each on average; or one class has nearly all images, in
            two to ten folders.
    """
    images: collections.Counter[str] = collections.Counter()
    names: dict[str, str] = {}
    tops: dict[str, set[str]] = collections.defaultdict(set)
    below: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for label, name in folders:
        images[label] += 1
        if name:
            name = names.setdefault(patient_names.key(name), name)
            tops[name].add(label)
            below[label][name] += 1
    shared = sorted(name for name, labels in tops.items() if len(labels) > 1)
    if len(tops) <= _MOST_CLASSES and len(shared) >= _FEWEST_SHARED:
        raise _error(shared, sorted(set().union(*(tops[name] for name in shared))))
    if not are_patients:
        return
    total = sum(counts.total() for counts in below.values())
    if 2 <= len(tops) <= _MOST_CLASSES and total >= _NO_PERSONS * len(tops):
        raise _error(sorted(tops), sorted(below))
    if len(images) < 2:
        return
    top, count = images.most_common(1)[0]
    inner = below[top]
    if (
        2 <= len(inner) <= _MOST_CLASSES
        and inner.total() == count
        and count >= max(_BULK * images.total(), _MANY_IMAGES * len(inner))
    ):
        raise _error(sorted(inner), [top])


def _error(names: Sequence[str], tops: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"The folders {listed(names)} lie in {listed(tops)}. Read as CLASS/PATIENT, they would be "
        f"persons of the class {tops[0]}; but they may be classes, or kinds of images. Give "
        "CLASS/PATIENT/* or SPLIT/CLASS/* with nothing else beside it, or an images.csv."
    )
