"""Which images stay together: those of a person, and persons who share an image."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from covid_tfds.records import ImageRecord, of_header


def group(
    records: Sequence[ImageRecord],
    digests: Sequence[np.ndarray],
    near_equal: Iterable[tuple[int, int]],
) -> list[str]:
    """Names the group of each image.

    Args:
        records: n images.
        digests: Arrays of n digests each, bytes of a fixed size; who shares one has a copy.
        near_equal: Places of pairs that show nearly the same picture.

    Returns:
        n names: the smallest patient key of the group, of DICOM headers if it has any. An image
        that is added later changes the name of another's group only if it joins two patients, who
        then must move together, or if its header names a person that folders or a table named.
    """
    union = _Union()
    for record in records:
        for other in record.also:
            union.join(record.patient, other)
    for i, j in (*equal_pairs(digests), *near_equal):
        union.join(records[i].patient, records[j].patient)
    return [union.root(record.patient) for record in records]


def equal_pairs(digests: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Places (first, later) of images with an equal digest."""
    pairs: list[tuple[int, int]] = []
    for values in digests:
        _, first, which = np.unique(values, return_index=True, return_inverse=True)
        places = np.flatnonzero(first[which] != np.arange(len(values)))
        pairs += zip(first[which][places].tolist(), places.tolist(), strict=True)
    return pairs


def largest(
    records: Sequence[ImageRecord], groups: Sequence[str], count: int = 10
) -> list[tuple[str, int, int]]:
    """The `count` largest groups of several images as (name, images, patients)."""
    sizes = collections.Counter(groups).most_common(count)
    wanted = {name for name, size in sizes if size > 1}
    patients = collections.defaultdict(set)
    for record, name in zip(records, groups, strict=True):
        if name in wanted:
            patients[name].add(record.patient)
    return [(name, size, len(patients[name])) for name, size in sizes if size > 1]


class _Union:
    """Union-find whose root is the smallest key, so that names don't depend on order.

    Those of headers are the smallest: of a group that has one the name says so to whoever compares
    other images with it later.
    """

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}  # only of keys that were joined

    def root(self, key: str) -> str:
        while (parent := self._parent.get(key, key)) != key:
            # Halves the path on the way, so that long chains stay cheap.
            self._parent[key] = self._parent.get(parent, parent)
            key = parent
        return key

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.root(one), self.root(other)), key=lambda k: (not of_header(k), k))
        if low != high:
            self._parent[high] = low
