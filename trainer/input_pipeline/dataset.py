"""Which prepared dataset a run reads, and what it knows of every image."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds.splits import shared_between
from trainer import features
from trainer.run.errors import RunError

_JUDGED = ("train", "validation", "test")
_PREFERENCE = ("full", "article", "phantom")
_HOW_TO_BUILD = "Build it: tfds build covid_tfds --config={name} --manual_dir=DIR{where} (BUILD.md)"
_READ = 256  # images read at a time
_OLDEST = tfds.core.Version("2.0.0")  # what the trainer reads
# The one dataset that is known to tear patients apart and is kept so, to retell the article.
_AS_PUBLISHED = "article"


@dataclasses.dataclass(frozen=True)
class Images:
    """What is known of the images of one split that belong to the run's classes, in stored order.

    Attributes:
        image_ids, patients, groups, sources: One string an image.
        labels: int64 [n], index into `class_names`.
        encoded: PNG bytes of each image.
        class_names: Names of the run's classes.
    """

    image_ids: list[str]
    patients: list[str]
    groups: list[str]
    sources: list[str]
    labels: np.ndarray
    encoded: list[bytes]
    class_names: tuple[str, ...]

    @functools.cached_property
    def keys(self) -> list[str]:
        """Each image's name in the feature store (see `features.image_keys`)."""
        return features.image_keys(self.image_ids, self.encoded)

    def take(self, at: Sequence[int]) -> "Images":
        """The images with the given indices, in that order."""
        columns = {name: [getattr(self, name)[i] for i in at] for name in _COLUMNS}
        taken = Images(
            **columns, labels=self.labels[np.asarray(at, int)], class_names=self.class_names
        )
        if "keys" in vars(self):  # folds are taken from the same images over and over
            vars(taken)["keys"] = [self.keys[i] for i in at]
        return taken


_COLUMNS = ("image_ids", "patients", "groups", "sources", "encoded")  # lists, one entry an image


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset, opened.

    Attributes:
        name: E.g. `covid_tfds/full/2.0.0`.
        why: How it came to be chosen, in words.
        synthetic: Whether its images are drawn, not taken.
        splits: Images of each split by name.
        fingerprint: Of the stored dataset and of the classes that are kept of it.
        class_names: Names of the run's classes.
        leaks: Groups in more than one of train, validation and test, with the splits.
    """

    name: str
    why: str
    synthetic: bool
    splits: dict[str, Images]
    fingerprint: str
    class_names: tuple[str, ...]
    leaks: dict[str, list[str]]


def open_dataset(choice: str, data_dir: str, classes: int) -> Dataset:
    """Opens a prepared dataset; the synthetic one is built when it is asked for and not there.

    Args:
        choice: Name of a config, or `auto`.
        data_dir: Folder of datasets, or "" for TFDS' own.
        classes: Images of the first so many labels are kept.

    Raises:
        RunError: It isn't there, can't be streamed, lacks a class, or has a group in two splits.
    """
    root = pathlib.Path(data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR)
    root = root.expanduser()
    name, why = _choose(choice, root)
    if name == "phantom" and not _versions(root, name):
        print(f"Building the synthetic images into {root} ...", flush=True)
        covid_tfds.Builder(config="phantom", data_dir=root).download_and_prepare()
    builder = _builder(root, name, data_dir)
    names = _class_names(builder, classes)
    splits = {s: _images(builder, s, names) for s in sorted(builder.info.splits)}
    _check(builder.info.full_name, splits, names)
    leaks = _leaks(splits)
    if leaks and name != _AS_PUBLISHED:
        shown = "\n".join(f"  {group}: {', '.join(where)}" for group, where in leaks.items())
        raise RunError(
            f"{builder.info.full_name} has groups in more than one split:\n{shown}\n"
            "A model tested on patients it has seen proves nothing. Build the dataset anew."
        )
    return Dataset(
        name=builder.info.full_name,
        why=why,
        synthetic="phantom" in set(splits["train"].sources),
        splits=splits,
        fingerprint=_fingerprint(builder, names),
        class_names=names,
        leaks=leaks,
    )


def _choose(choice: str, root: pathlib.Path) -> tuple[str, str]:
    if choice != "auto":
        return choice, "as --dataset asks"
    for name in _PREFERENCE[:-1]:
        if _versions(root, name):
            return name, f"the first of {', '.join(_PREFERENCE)} that is built in {root}"
    return "phantom", f"neither full nor article is built in {root}: synthetic images stand in"


def _versions(root: pathlib.Path, name: str) -> list[pathlib.Path]:
    folder = root / covid_tfds.Builder.name / name
    found = [path.parent for path in folder.glob("*/dataset_info.json")]
    return sorted(
        (path for path in found if tfds.core.Version.is_valid(path.name)),
        key=lambda path: tfds.core.Version(path.name),
    )


def _builder(root: pathlib.Path, name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    versions = _versions(root, name)
    where = f" --data_dir={data_dir}" if data_dir else ""
    if not versions:
        built = sorted(path.name for path in (root / covid_tfds.Builder.name).glob("[!.]*"))
        raise RunError(
            f"--dataset={name} is not built in {root} (built there: {', '.join(built) or 'none'}). "
            + _HOW_TO_BUILD.format(name=name, where=where)
        )
    if tfds.core.Version(versions[-1].name) < _OLDEST:
        raise RunError(
            f"{versions[-1]} was built by an earlier release, whose images are stored in another "
            "way. " + _HOW_TO_BUILD.format(name=name, where=where)
        )
    builder = tfds.builder_from_directory(versions[-1])
    file_format = builder.info.file_format.value
    if file_format not in ("tfrecord", "riegeli"):
        raise RunError(
            f"{versions[-1]} is stored as {file_format}, which tf.data can't stream. "
            + _HOW_TO_BUILD.format(name=name, where=f"{where} --file_format=tfrecord --overwrite")
        )
    return builder


def _class_names(builder: tfds.core.DatasetBuilder, classes: int) -> tuple[str, ...]:
    """Names of the first `classes` classes of the dataset."""
    names = tuple(builder.info.features["label"].names)
    if len(names) < classes:
        mend = f"Give --classes={len(names)}" if len(names) > 1 else "Add images of a second one"
        raise RunError(
            f"--classes={classes}, and {builder.info.full_name} has {len(names)}: "
            f"{', '.join(names)}. {mend}."
        )
    return names[:classes]


def _images(builder: tfds.core.DatasetBuilder, split: str, class_names: tuple[str, ...]) -> Images:
    """Reads one split once. The images stay encoded: 5,000 of them are some 200 MB."""
    stored = builder.as_dataset(
        split=split,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    keys = ("image_id", "patient", "group", "source", "label", "image")
    columns = {key: [] for key in keys}
    # By the batch, since handing an example to Python costs more than reading it.
    kept = stored.map(lambda example: {key: example[key] for key in keys}).batch(_READ)
    for batch in kept.as_numpy_iterator():
        wanted = batch["label"] < len(class_names)
        for key in keys:
            columns[key].extend(batch[key][wanted].tolist())
    texts = {key: [text.decode() for text in columns[key]] for key in keys[:4]}
    return Images(
        image_ids=texts["image_id"],
        patients=texts["patient"],
        groups=texts["group"],
        sources=texts["source"],
        labels=np.array(columns["label"], np.int64),
        encoded=columns["image"],
        class_names=class_names,
    )


def _check(name: str, splits: dict[str, Images], class_names: tuple[str, ...]) -> None:
    for split in _JUDGED:
        held = set(splits[split].labels.tolist()) if split in splits else set()
        missing = [each for i, each in enumerate(class_names) if i not in held]
        # A user's own test split may lack a class; a classifier can't learn one from nothing.
        if not held or (missing and split != "test"):
            raise RunError(
                f"{name} has no image of {' and '.join(missing)} in {split}. "
                "Give fewer --classes, or add images to that split."
            )


def _leaks(splits: dict[str, Images]) -> dict[str, list[str]]:
    judged = [(g, split) for split in _JUDGED for g in splits[split].groups]
    return shared_between([group for group, _ in judged], [split for _, split in judged])


def _fingerprint(builder: tfds.core.DatasetBuilder, class_names: tuple[str, ...]) -> str:
    """What the build wrote into the metadata, so that opening needs no pixels."""
    stored = (builder.info.metadata or {}).get("fingerprint", "")
    return hashlib.sha256("\n".join([stored, *class_names]).encode()).hexdigest()


def joined(parts: Sequence[Images]) -> Images:
    """The images of several splits, one after the other."""
    columns = {name: [e for part in parts for e in getattr(part, name)] for name in _COLUMNS}
    labels = np.concatenate([part.labels for part in parts])
    return Images(**columns, labels=labels, class_names=parts[0].class_names)


def class_counts(labels: Sequence[int], classes: int) -> list[int]:
    """Images of each class."""
    return np.bincount(labels, minlength=classes).tolist()
