"""Images that belong together end up together; strangers don't."""

import random

import numpy as np

from covid_tfds import groups
from covid_tfds.records import ImageRecord


def record(name: str, patient: str, also: tuple[str, ...] = ()) -> ImageRecord:
    return ImageRecord(f"own/{name}", "healthy", "own", patient, name, also=also)


def digests(*values: str) -> np.ndarray:
    return np.array([value.ljust(8).encode() for value in values]).view("V8")


def test_patients_and_copies_are_joined_and_nothing_else():
    records = [record(str(i), name) for i, name in enumerate(
        ("anna", "anna", "ben", "carl", "dora", "emil", "fritz", "gerd")
    )]  # fmt: skip
    of_bytes = digests("a", "b", "same", "same", "d", "e", "f", "g")
    of_pixels = digests("A", "B", "Same", "Same", "Same", "E", "F", "G")
    found = groups.group(records, [of_bytes, of_pixels], [(4, 5)])
    assert found == ["anna", "anna", "ben", "ben", "ben", "ben", "fritz", "gerd"]
    assert groups.largest(records, found, 2) == [("ben", 4, 4), ("anna", 2, 1)]


def test_a_file_listed_under_two_patients_joins_them():
    records = [record("x", "285", also=("339",)), record("y", "339"), record("z", "340")]
    assert groups.group(records, [], []) == ["285", "285", "340"]


def test_groups_do_not_depend_on_the_order_of_the_images():
    records = [record(str(i), f"p{i % 13}", also=(f"p{(i * 7) % 13}",) if i % 5 == 0 else ())
               for i in range(40)]  # fmt: skip
    digest = digests(*(str(i % 31) for i in range(40)))
    by_name = dict(zip((r.name for r in records), groups.group(records, [digest], []), strict=True))
    order = list(range(40))
    random.Random(3).shuffle(order)
    shuffled = [records[i] for i in order]
    found = groups.group(shuffled, [digest[order]], [])
    assert dict(zip((r.name for r in shuffled), found, strict=True)) == by_name


def test_a_long_chain_of_joined_patients_is_one_group():
    records = [record(str(i), f"p{i:05d}", also=(f"p{i + 1:05d}",)) for i in range(5000)]
    assert set(groups.group(records, [], [])) == {"p00000"}


def test_equal_pairs_name_the_first_and_each_later_copy():
    assert sorted(groups.equal_pairs([digests("a", "b", "a", "c", "b", "a")])) == [
        (0, 2), (0, 5), (1, 4),
    ]  # fmt: skip
