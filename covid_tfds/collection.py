"""What a build has found: the images with their groups and splits, and what was left out."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from covid_tfds import fingerprint
from covid_tfds.first_pass import Readings
from covid_tfds.records import Exclusion, ImageRecord


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where images came from.

    Attributes:
        source: `kaggle`, `cohen` or `own`.
        where: The folder or archive.
        commit: Of the source's repository, or "" when it is not known.
        listing_sha256: Of the names, sizes and times of its files.
    """

    source: str
    where: str
    commit: str
    listing_sha256: str


@dataclasses.dataclass(frozen=True)
class Collection:
    """The images of a build.

    Attributes:
        title: Dataset, config and version.
        class_names: In the order of the labels.
        origins: Where the images came from.
        readings: The usable images, n.
        groups: The group of each, n.
        splits: The split of each, or "" where it is left out, n.
        exclusions: Files, rows and images that are left out.
        notes: Sentences the user has to read.
        limit: Images stored of each split, at most; None: all.
        salt: Of the keys of persons whom headers name, as of `patient_key.Keys.check`.
    """

    title: str
    class_names: Sequence[str]
    origins: Sequence[Origin]
    readings: Readings
    groups: Sequence[str]
    splits: Sequence[str]
    exclusions: Sequence[Exclusion]
    notes: Sequence[str]
    limit: int | None = None
    salt: str = ""

    def split_names(self) -> list[str]:
        """The splits that hold an image, sorted."""
        return sorted(set(self.splits) - {""})

    def places(self, split: str) -> list[int]:
        """Places of the images of one split, as they are stored.

        The order is that of a hash of the split and the image's id: the same in every build, and
        like a draw, so that a slice such as `train[:10%]` has all classes and sources in it.
        """
        return self._places.get(split, [])

    @functools.cached_property
    def _places(self) -> dict[str, list[int]]:
        """Of every split: asked for by the report, the fingerprint and the shards."""

        def order(i: int) -> bytes:
            return hashlib.sha256(f"{self.splits[i]}\t{self.record(i).image_id}".encode()).digest()

        found: dict[str, list[int]] = {split: [] for split in self.split_names()}
        for i, split in enumerate(self.splits):
            if split:
                found[split].append(i)
        return {split: sorted(mine, key=order)[: self.limit] for split, mine in found.items()}

    def stored(self) -> list[int]:
        """Places of all images that are stored, split after split."""
        return [place for split in self.split_names() for place in self.places(split)]

    def record(self, place: int) -> ImageRecord:
        """What is known of one image."""
        return self.readings.records[place]

    def fingerprint(self) -> str:
        """The fingerprint of what is stored."""
        return fingerprint.fingerprint(
            (
                self.splits[place],
                self.record(place).image_id,
                self.record(place).label,
                self.readings.hexadecimal("image_sha256", place),
            )
            for place in self.stored()
        )

    def patients_known(self) -> np.ndarray:
        """Whether each stored image has a patient, bool [images stored]."""
        return np.array([self.record(place).patient_known for place in self.stored()], bool)
