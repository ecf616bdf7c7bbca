"""Which films stay together: those of a patient, equal bytes or pixels, near-equal pictures."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from covid_tfds.films import Film, Reading

# Chest films look alike, so a perceptual hash alone joins strangers: among the 6,456 films of the
# two sources, 1,872 pairs of different names lie within 6 bits. Confirmed by the correlation of
# 64 x 64 copies they fall apart: copies of one film have .995 and more, the most alike strangers
# .982. Both thresholds were read off those distributions.
MAX_HAMMING = 6
MIN_CORRELATION = 0.99


def near_equal_pairs(readings: Sequence[Reading]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of films that show the same picture.

    Time grows with the square of the number of films (6,456 films: under a second).
    """
    hashes = np.array([reading.phash for reading in readings], np.uint64)
    pairs = []
    for i, reading in enumerate(readings):
        close = np.flatnonzero(np.bitwise_count(hashes[i + 1 :] ^ hashes[i]) <= MAX_HAMMING)
        for j in (close + i + 1).tolist():
            if float(reading.thumbnail @ readings[j].thumbnail) >= MIN_CORRELATION:
                pairs.append((i, j))
    return pairs


def group(films: Sequence[Film], readings: Sequence[Reading]) -> list[str]:
    """Names the group of each film.

    Args:
        films: The usable films.
        readings: Their readings, in the same order.

    Returns:
        One name a film: the smallest patient key of its group. A film that is added later changes
        the name of another's group only if it joins two patients, who then must move together.
    """
    union = _Union(film.patient for film in films)
    for film in films:
        for other in film.also:
            union.join(film.patient, other)
    first: dict[str, str] = {}
    for film, reading in zip(films, readings, strict=True):
        for print_ in (reading.sha256, reading.pixel_sha256):
            union.join(first.setdefault(print_, film.patient), film.patient)
    for i, j in near_equal_pairs(readings):
        union.join(films[i].patient, films[j].patient)
    return [union.root(film.patient) for film in films]


def largest(
    films: Sequence[Film], groups: Sequence[str], count: int = 10
) -> list[tuple[str, int, int]]:
    """The `count` largest groups as (name, films, patients), for a look at what was joined."""
    patients = collections.defaultdict(set)
    sizes = collections.Counter(groups)
    for film, name in zip(films, groups, strict=True):
        patients[name].add(film.patient)
    return [(name, size, len(patients[name])) for name, size in sizes.most_common(count)]


class _Union:
    """Union-find whose root is the smallest key, so that names don't depend on order."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._parent = {key: key for key in keys}

    def root(self, key: str) -> str:
        parent = self._parent.setdefault(key, key)
        if parent != key:
            parent = self._parent[key] = self.root(parent)
        return parent

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low
