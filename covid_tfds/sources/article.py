"""The article's 306 images and its split rule.

A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with Transfer Learning",
March 2020. The list is `article_files.csv`; the Cohen images carry the git blob SHA-1 they had at
upstream commit 4e47ad09.
"""

import csv
import importlib.resources
from collections.abc import Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import LABELS, ImageRecord
from covid_tfds.sources import cohen, kaggle, storage, wording

# Fingerprint of the article's images, splits and labels (see `covid_tfds.verify`). Of the pixels
# none can be given: Kaggle's originals have no published digests, and copies of them differ.
PUBLISHED = "15a9e3f49e974cd8cfe773d2eda9168c4429b130a4b5c85ee9928cac26de8fc4"
_VALIDATION_SHARE = 0.2  # Keras' validation_split in the article's code


def listed() -> list[dict[str, str]]:
    """The 306 rows: label, split (train or test), source, filename, git_blob_sha1 ("" = Kaggle)."""
    table = importlib.resources.files("covid_tfds") / "sources" / "article_files.csv"
    return list(csv.DictReader(table.read_text("utf-8").splitlines()))


def images(kaggle_files: storage.Storage, cohen_files: storage.Storage) -> list[ImageRecord]:
    """The 306 images, in the order of the list.

    Raises:
        DatasetError: Images of the list are missing; the first paths are named.
    """
    all_kaggle, _ = kaggle.images(kaggle_files)
    # All are of the published train; there are re-uploads with the same files in others, too.
    all_kaggle.sort(key=lambda record: record.original_split == "train")
    from_kaggle = {record.name.rsplit("/", 1)[1]: record for record in all_kaggle}
    rows = {row["filename"]: row for row in cohen.rows(cohen_files)}
    on_disk = set(cohen_files.names)
    found, missing = [], []
    for entry in listed():
        name = entry["filename"]
        if entry["source"] == "kaggle":
            record = from_kaggle.get(name)
            path = f"{kaggle_files.where}/train/*/{name}"
        else:
            record = cohen.image_of_row(rows[name], entry["label"]) if name in rows else None
            path = f"{cohen_files.where}/images/{name}"
            record = record if record and record.name in on_disk else None
        found.append(record)
        missing += [path] if record is None else []
    if missing:
        raise DatasetError(
            f"{len(missing)} of the article's {len(found)} images are missing:\n"
            f"{wording.lines(missing, most=50)}\n"
            f"Complete the sources. Expected:\n{kaggle.TREE}\n{cohen.TREE}"
        )
    return [record for record in found if record]


def published_splits() -> list[str]:
    """The split of each listed image by the article's own rule.

    Validation is the first fifth (rounded down) of each class's training files sorted by name, as
    ImageDataGenerator's `validation_split` takes them.

    Returns:
        306 of `train` (216), `validation` (54) and `test` (36).
    """
    entries = listed()
    splits = [entry["split"] for entry in entries]
    for label in LABELS:
        train = [i for i, e in enumerate(entries) if e["split"] == "train" and e["label"] == label]
        train.sort(key=lambda i: entries[i]["filename"])
        for i in train[: int(_VALIDATION_SHARE * len(train))]:
            splits[i] = "validation"
    return splits


def drifted(records: Sequence[ImageRecord], git_blob_sha1s: Sequence[str]) -> list[str]:
    """Names of Cohen images whose bytes are not those of the article's day.

    Args:
        records: Images; those that the article does not list are passed over.
        git_blob_sha1s: What git calls the bytes of each one's file, 40 hexadecimal digits.
    """
    recorded = {e["filename"]: e["git_blob_sha1"] for e in listed() if e["git_blob_sha1"]}
    names = [record.name.rsplit("/", 1)[-1] for record in records]
    return [
        name
        for name, digest in zip(names, git_blob_sha1s, strict=True)
        if name in recorded and digest != recorded[name]
    ]
