"""From sources to images with a group and a split: one function a kind of images."""

import collections
from collections.abc import Sequence

import numpy as np

from covid_tfds import (
    checks,
    copies,
    groups,
    header_patients,
    licenses,
    progress,
    reading,
    splits,
)
from covid_tfds.collection import Collection, Origin
from covid_tfds.errors import DatasetError
from covid_tfds.first_pass import PatientKey, Readings, read_all
from covid_tfds.patient_key import Keys
from covid_tfds.records import LABELS, OWN, Exclusion, ImageRecord
from covid_tfds.sources import article, cohen, kaggle, own, wording
from covid_tfds.sources.storage import Storage
from covid_tfds.spool import Spool

LICENSE_REASON = "license not asked for: {}"


def collect_article(
    title: str, kaggle_files: Storage, cohen_files: Storage, spool: Spool, *, grouped: bool,
    strict: bool,
) -> Collection:  # fmt: skip
    """The article's images, split as published or with patients kept apart (`grouped`).

    Raises:
        DatasetError: An image is missing or unreadable, or has drifted under `strict`.
    """
    storages = {"kaggle": kaggle_files, "cohen": cohen_files}
    readings = _read(article.images(kaggle_files, cohen_files), storages, spool)
    if readings.unusable:
        listed = "\n".join(f"  {each.file}: {each.reason}" for each in readings.unusable)
        raise DatasetError(
            f"{len(readings.unusable)} of the article's images can't be read:\n{listed}\n"
            "Download them again."
        )
    notes = [*_unused(storages), *_drift(readings, strict)]
    names = _groups(readings, _near_equal(readings))
    placed = article.published_splits()
    if grouped:
        placed = splits.nearest(readings.records, names, placed)
        splits.require_disjoint(readings.records, names, placed)
    else:
        notes += _leaks(readings.records, placed)
    return Collection(title, LABELS, _origins(storages), readings, names, placed, [], notes)


def collect_full(
    title: str, kaggle_files: Storage, cohen_files: Storage, spool: Spool, *, strict: bool,
    wanted_licenses: Sequence[str],
) -> Collection:  # fmt: skip
    """Every usable image of both public sources.

    Raises:
        DatasetError: A source is half there or yields nothing, its table can't be used, or a Cohen
            image has drifted under `strict`.
    """
    storages = {"kaggle": kaggle_files, "cohen": cohen_files}
    from_kaggle, left_out = kaggle.images(kaggle_files)
    from_cohen, left_out_cohen = cohen.images(cohen_files)
    found = [*from_kaggle, *from_cohen]
    readings = _read(found, storages, spool)
    exclusions = [*left_out, *left_out_cohen, *readings.unusable]
    checks.require_every_source(storages, readings.records, exclusions)
    near_equal = _near_equal(readings)
    names = _groups(readings, near_equal)
    notes = [
        *_unused(storages),
        *_drift(readings, strict),
        *checks.require_one_label(readings, near_equal),
    ]
    placed, reasons = splits.full(readings.records, names)
    placed, reasons = _filter_licenses(readings.records, placed, reasons, wanted_licenses)
    splits.require_disjoint(readings.records, names, placed)
    exclusions += _with_reason(readings.records, reasons)
    checks.require_every_class(LABELS, found, readings, placed, exclusions)
    notes += checks.empty_classes(readings.records, placed, LABELS)
    origins = _origins(storages)
    return Collection(title, LABELS, origins, readings, names, placed, exclusions, notes)


def collect_own(
    title: str, found: own.Own, spool: Spool, keys: Keys, wanted_licenses: Sequence[str]
) -> Collection:  # fmt: skip
    """A user's own images.

    Raises:
        DatasetError: A class yields nothing, one image has two labels, or the user's splits tear
            a group apart.
    """
    readings, names, notes = read_own(found, spool, keys)
    exclusions = [*found.exclusions, *readings.unusable]
    placed = splits.by_group(readings.records, names)
    reasons = [""] * len(placed)
    placed, reasons = _filter_licenses(readings.records, placed, reasons, wanted_licenses)
    splits.require_disjoint(readings.records, names, placed)
    exclusions += _with_reason(readings.records, reasons)
    checks.require_every_class(found.class_names, found.records, readings, placed, exclusions)
    notes += [note] if (note := own.patient_note(readings.records)) else []
    notes += checks.empty_classes(readings.records, placed, found.class_names)
    origins = _origins({OWN: found.storage})
    return Collection(
        title, found.class_names, origins, readings, names, placed, exclusions, notes,
        salt=keys.check,
    )  # fmt: skip


def read_own(
    found: own.Own, spool: Spool, patient_key: PatientKey
) -> tuple[Readings, list[str], list[str]]:
    """A user's own images before they have splits.

    Args:
        found: What lies in the folder.
        spool: Takes the pixels.
        patient_key: The key of a person whom a header names.

    Returns:
        (the images that can be used, the group of each, notes).

    Raises:
        DatasetError: One image has two labels.
    """
    readings = _read(found.records, {OWN: found.storage}, spool, patient_key)
    readings, by_headers = header_patients.settled(readings)
    near_equal = _near_equal(readings)
    notes = [*found.notes, *by_headers, *checks.require_one_label(readings, near_equal)]
    notes += checks.unstated_modality(readings)
    return readings, _groups(readings, near_equal), notes


def _read(
    records: Sequence[ImageRecord],
    storages: dict[str, Storage],
    spool: Spool,
    patient_key: PatientKey | None = None,
) -> Readings:
    """Reads files; a user's table may call its sources anything, but there is one storage then."""
    only = next(iter(storages.values())) if len(storages) == 1 else None

    def decode(record: ImageRecord) -> tuple[bytes, reading.DecodedImage]:
        data = (only or storages[record.source]).read(record.name)
        return data, reading.read_image(data)

    return read_all(records, decode, spool, patient_key)


def _origins(storages: dict[str, Storage]) -> list[Origin]:
    return [
        Origin(name, files.where, files.commit, files.listing_sha256())
        for name, files in storages.items()
    ]


def _near_equal(readings: Readings) -> checks.Pairs:
    """Of images with equal pixels, which their digests join, the first stands for all."""
    _, first = np.unique(readings.table["image_sha256"], return_index=True)
    with progress.shown("comparing the images with each other"):
        return copies.near_equal_pairs(readings.spool.thumbnails(), np.sort(first))


def _groups(readings: Readings, near_equal: checks.Pairs) -> list[str]:
    digests = [readings.table["sha256"], readings.table["image_sha256"]]
    return groups.group(readings.records, digests, near_equal)


def _drift(readings: Readings, strict: bool) -> list[str]:
    digests = [
        readings.table["git_blob_sha1"][i].tobytes().hex() for i in range(len(readings.records))
    ]
    names = article.drifted(readings.records, digests)
    if not names:
        return []
    what = (
        f"{len(names)} Cohen images are not the bytes of the article's day: {wording.listed(names)}"
    )
    if strict:
        raise DatasetError(
            f"{what}. Use the archive of commit {cohen.ARTICLE_COMMIT}, or build without strict."
        )
    return [f"{what} (used all the same)."]


def _unused(storages: dict[str, Storage]) -> list[str]:
    """Further copies of a source, which were not read."""
    return [
        f"Another copy of the source {name} was not read: {wording.listed(files.unused)}."
        for name, files in storages.items()
        if files.unused
    ]


def _leaks(records: Sequence[ImageRecord], placed: Sequence[str]) -> list[str]:
    """The article's own mistake, named: patients whose images are in more than one split."""
    shared = splits.shared_between([record.patient for record in records], placed)
    by_places = collections.defaultdict(list)
    for patient, where in shared.items():
        by_places[" and ".join(where)].append(patient)
    return [
        f"Patients in {where}, as published: {', '.join(patients)}."
        for where, patients in sorted(by_places.items())
    ]


def _filter_licenses(
    records: Sequence[ImageRecord],
    placed: Sequence[str],
    reasons: Sequence[str],
    wanted: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Takes images of other licenses out, after the splits: those that stay do not move."""
    if not wanted:
        return list(placed), list(reasons)
    licenses.require_known(wanted, records)
    allowed = [licenses.allows(wanted, record.license) for record in records]
    kept = [split if ok else "" for split, ok in zip(placed, allowed, strict=True)]
    why = [
        reason if ok or not split else LICENSE_REASON.format(record.license)
        for record, split, reason, ok in zip(records, placed, reasons, allowed, strict=True)
    ]
    return kept, why


def _with_reason(records: Sequence[ImageRecord], reasons: Sequence[str]) -> list[Exclusion]:
    return [Exclusion(r.image_id, why) for r, why in zip(records, reasons, strict=True) if why]
