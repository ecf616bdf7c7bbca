"""The article's 306 films and its split rule.

A. Y. Xu, "Detecting COVID-19 induced Pneumonia from Chest X-rays with Transfer Learning",
March 2020. The list is `article_files.csv`; the Cohen films carry the git blob SHA-1 they had at
upstream commit 4e47ad09.
"""

import csv
import importlib.resources
from collections.abc import Sequence

from covid_tfds import cohen, kaggle, storage
from covid_tfds.errors import DatasetError
from covid_tfds.films import LABELS, Film, Reading

_VALIDATION_SHARE = 0.2  # Keras' validation_split in the article's code


def listed() -> list[dict[str, str]]:
    """The 306 rows: label, split (train or test), source, filename, git_blob_sha1 ("" = Kaggle)."""
    table = importlib.resources.files("covid_tfds") / "article_files.csv"
    return list(csv.DictReader(table.read_text("utf-8").splitlines()))


def films(kaggle_files: storage.Storage, cohen_files: storage.Storage) -> list[Film]:
    """The 306 films, in the order of the list.

    Raises:
        DatasetError: Films of the list are missing; every path is named.
    """
    from_kaggle = {film.name.rsplit("/", 1)[1]: film for film in kaggle.films(kaggle_files)[0]}
    rows = {row["filename"]: row for row in cohen.rows(cohen_files)}
    on_disk = set(cohen_files.names)
    found, missing = [], []
    for entry in listed():
        name = entry["filename"]
        if entry["source"] == "kaggle":
            film = from_kaggle.get(name)
            path = f"{kaggle_files.where}/train/*/{name}"
        else:
            film = cohen.film_of_row(rows[name], entry["label"]) if name in rows else None
            path = f"{cohen_files.where}/images/{name}"
            film = film if film and film.name in on_disk else None
        found.append(film)
        missing += [path] if film is None else []
    if missing:
        listed_ = "\n".join(f"  {path}" for path in missing)
        raise DatasetError(
            f"{len(missing)} of the article's {len(found)} films are missing:\n{listed_}\n"
            f"Complete the sources. Expected:\n{kaggle.TREE}\n{cohen.TREE}"
        )
    return [film for film in found if film]


def published_splits() -> list[str]:
    """The split of each listed film by the article's own rule.

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


def drifted(films_: Sequence[Film], readings: Sequence[Reading]) -> list[str]:
    """Names of Cohen films whose bytes are not those of the article's day."""
    recorded = {e["filename"]: e["git_blob_sha1"] for e in listed() if e["git_blob_sha1"]}
    names = [film.name.rsplit("/", 1)[1] for film in films_]
    return [
        name
        for name, reading in zip(names, readings, strict=True)
        if name in recorded and reading.git_blob_sha1 != recorded[name]
    ]
