"""Whether two patients' names, as people and programs write them, are those of one person."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence

from covid_tfds.records import ImageRecord
from covid_tfds.sources import class_names
from covid_tfds.sources.wording import listed, one_line

# What stands in a table where nobody is named.
_NOBODY = {"unknown", "unk", "none", "nan", "na", "n/a", "nil", "null", "missing", "anonymous",
           "anonymized", "anonymised", "anon", "notavailable", "notknown", "notgiven",
           "unspecified", "undefined", "tbd"}  # fmt: skip
_MOST_SHARE, _FEWEST_IMAGES = 0.5, 10  # of one patient who is pointed out


@functools.lru_cache(maxsize=4096)  # a patient's images come one after another
def key(text: str) -> str:
    """Equal for one person's names: blanks, case, width, dashes and `1.0` for `1` do not matter."""
    return "".join(class_names.key_of_any(text).split())


def placeholders(cells: Iterable[str]) -> set[str]:
    """The cells of a patient column that name nobody.

    A number without a digit above zero, or -1, does so where it stands in more than half of them.

    Args:
        cells: One a row, as written.
    """
    counts = collections.Counter(cells)
    half = counts.total() / 2
    return {
        cell
        for cell, count in counts.items()
        if (name := key(cell)).strip("<>()[]#") in _NOBODY
        or not any(map(str.isalnum, name))
        or (count > half and (not name.strip("0") or name == "-1"))
    }


def unified(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The records with one spelling for each patient of a source: the first.

    Args:
        records: Their patients are `source/name`; those of unknown patients stay as they are.
    """
    first: dict[tuple[str, str], str] = {}
    same = []
    for record in records:
        if record.patient_known:
            name = record.patient[len(record.source) + 1 :]
            patient = first.setdefault((key(record.source), key(name)), record.patient)
            if patient != record.patient:
                record = dataclasses.replace(record, patient=patient)
        same.append(record)
    return same


def across_sources(records: Sequence[ImageRecord]) -> tuple[list[ImageRecord], list[str]]:
    """Joins patients of one name in several sources: they may be one person with two devices.

    Where they are two persons, joining them only keeps images in one split that could have been
    apart; the other error would put one person's images on both sides.

    Args:
        records: As for `unified`, and before it: their patients begin with their own sources.

    Returns:
        The records, whose `also` has the patient of the first source, and a note if there is one.
    """
    first: dict[str, ImageRecord] = {}
    shared: dict[str, str] = {}
    joined = []
    for record in records:
        if record.patient_known:
            name = record.patient[len(record.source) + 1 :]
            other = first.setdefault(key(name), record)
            if key(other.source) != key(record.source):
                shared.setdefault(key(name), name)
                record = dataclasses.replace(record, also=(*record.also, other.patient))
        joined.append(record)
    if not shared:
        return joined, []
    names = listed([repr(name) for name in shared.values()], 3)
    are, each = ("name is", "it") if len(shared) == 1 else ("names are", "each")
    return joined, [
        f"{len(shared)} patient {are} in several sources ({names}): {each} is taken for one "
        "person, who stays in one split. If they are others, let their names say so."
    ]


def notes(records: Sequence[ImageRecord]) -> list[str]:
    """A sentence on a patient who has most of the images that have one, if there is such a one."""
    counts = collections.Counter(r.patient for r in records if r.patient_known)
    if len(counts) < 2:
        return []
    (patient, count), all_of_them = counts.most_common(1)[0], counts.total()
    if all_of_them < _FEWEST_IMAGES or count <= _MOST_SHARE * all_of_them:
        return []
    return [
        f"Patient {one_line(patient)} has {count} of {all_of_them} images: if that is no person, "
        "leave the cell empty, or take the images out of the patient's folder."
    ]
