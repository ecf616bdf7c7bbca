"""A prepared dataset as arrays: what is known of every image, without its pixels."""

import dataclasses
import functools
import hashlib
import pathlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import covid_tfds
from covid_tfds import digests
from covid_tfds.splits import shared_between
from covid_tfds.streaming import read_config
from trainer.input_pipeline import prepared as prepared_lib
from trainer.input_pipeline.prepared import Prepared
from trainer.run.errors import RunError
from trainer.run.progress import fitted
from trainer.run.text import listed

_SCORED = ("train", "validation", "test")
# What TFDS reads of a dataset before its TFRecords, whose every record has a checksum of its own.
_DESCRIPTION = ("dataset_info.json", "features.json", "label.labels.txt", "metadata.json")
_OF_TENSORFLOW = re.compile(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*")  # in messages: where in its graph
_READ, _READ_ENCODED = 1024, 64  # examples read at a time, without and with their images
# The images that have a patient in two splits and are kept so, to repeat the article.
_AS_PUBLISHED = "article"
_TEXT = np.dtypes.StringDType()


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """What is known of some images, in stored order; some 300 bytes each.

    Attributes:
        image_ids: NumPy strings [n], distinct.
        patients: Strings [n], the person as the source names one.
        groups: Strings [n]; the images of a group are kept in one split.
        sources: Strings [n].
        splits: Strings [n], where each is stored.
        places: int64 [n], where in its split each is stored, from 0.
        labels: int64 [n], index into `class_names`.
        sha256: uint8 [n, 32], of the size and the pixels.
        class_names: Names of the run's classes.
        frames: float32 [n, 4], how each is re-framed when it is read (see `stress.reframed`);
            zeros, which are given to all unless it is set: not at all.
    """

    image_ids: np.ndarray
    patients: np.ndarray
    groups: np.ndarray
    sources: np.ndarray
    splits: np.ndarray
    places: np.ndarray
    labels: np.ndarray
    sha256: np.ndarray
    class_names: tuple[str, ...]
    frames: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4), np.float32))

    def __post_init__(self) -> None:
        """Sets frames that change nothing where none are given."""
        if not len(self.frames):
            object.__setattr__(self, "frames", np.zeros((len(self), 4), np.float32))

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @functools.cached_property
    def digests(self) -> np.ndarray:
        """uint8 [n, 16]: the name of each image in the cache, of its id, its pixels and its frame.

        The id counts, since the augmented views of an image are drawn by it.
        """
        moved = np.any(self.frames != 0, axis=1)
        rows = zip(self.image_ids, self.sha256, self.frames, moved, strict=True)
        known = (
            f"{name}\n".encode() + sha.tobytes() + (frame.tobytes() if reframed else b"")
            for name, sha, frame, reframed in rows
        )
        named = [hashlib.blake2b(each, digest_size=16).digest() for each in known]
        return np.frombuffer(b"".join(named), np.uint8).reshape(-1, 16)

    @functools.cached_property
    def group_numbers(self) -> np.ndarray:
        """int64 [n]: the group of each image as a number from 0."""
        return np.unique(self.groups, return_inverse=True)[1]

    def take(self, at: Sequence[int] | np.ndarray) -> "Images":
        """The images with the given indices, in that order."""
        at = np.asarray(at, np.int64)
        return dataclasses.replace(self, **{name: getattr(self, name)[at] for name in _COLUMNS})


_COLUMNS = tuple(field.name for field in dataclasses.fields(Images) if field.name != "class_names")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset, opened.

    Attributes:
        name: E.g. `covid_tfds/full/2.0.0`.
        synthetic: Whether its images are drawn, not taken.
        planted_shortcut: Whether a marker that goes with the class was drawn into them.
        splits: Images of each split by name.
        fingerprint: Of the stored dataset and of the classes that are kept of it.
        class_names: Names of the run's classes.
        leaks: Groups in more than one of train, validation and test, with the splits.
        builder: What reads it.
        salt: That of the keys of persons whom DICOM headers name, as of `patient_key.Keys.check`;
            "" where no header does.
    """

    name: str
    synthetic: bool
    planted_shortcut: bool
    splits: dict[str, Images]
    fingerprint: str
    class_names: tuple[str, ...]
    leaks: dict[str, list[str]]
    builder: tfds.core.DatasetBuilder
    salt: str = ""

    def fingerprint_of(self, class_names: tuple[str, ...]) -> str:
        """The fingerprint that it has, or had, for a run of these classes."""
        return _fingerprint(self.builder, class_names)

    def counts(self) -> dict[str, dict[str, int] | None]:
        """Images `stored` by split, of all classes, and those `left_out` by the build's reasons."""
        stored = {name: each.num_examples for name, each in self.builder.info.splits.items()}
        folder = pathlib.Path(self.builder.data_path)
        return {"stored": stored, "left_out": prepared_lib.left_out(folder)}

    def encoded(self, images: Images) -> Iterator[tuple[int, bytes]]:
        """Reads images from the disk, one after the other.

        Args:
            images: Of this dataset, of any splits; one may be there in several frames.

        Yields:
            The index of an image in `images`, and its PNG file's bytes, which know no frame; split
            by split, in stored order.

        Raises:
            RunError: The files can't be read, or hold other images than when the dataset was
                opened.
        """
        for split in sorted(set(images.splits)):
            yield from self._encoded(images, split)

    def _encoded(self, images: Images, split: str) -> Iterator[tuple[int, bytes]]:
        wanted = np.flatnonzero(images.splits == split)
        indices_at: dict[int, list[int]] = {}
        for place, index in zip(images.places[wanted].tolist(), wanted.tolist(), strict=True):
            indices_at.setdefault(place, []).append(index)
        names = ("image_id", "image_sha256", "image")
        batches = _examples(self.builder, split, names, _READ_ENCODED)
        stored = (row for each in batches for row in zip(*map(each.get, names), strict=True))
        again = RunError(f"{self.name} was built again while it was read. Start the run again.")
        for place in range(max(indices_at) + 1):  # none is read behind the last that is wanted
            image_id, sha256, encoded = next(stored, (b"", b"", b""))
            for index in indices_at.get(place, ()):
                found = image_id.decode(), bytes.fromhex(sha256.decode())
                if found != (str(images.image_ids[index]), images.sha256[index].tobytes()):
                    raise again
                yield index, encoded


def open_dataset(choice: str, data_dir: str, classes: int | None) -> Dataset:
    """Opens a prepared dataset; the synthetic one is built when it is chosen and not there.

    Args:
        choice: Name of a config, or `auto`.
        data_dir: Folder of datasets, or "" for TFDS' own.
        classes: Images of the first so many labels are kept, for a run. None keeps all, and then
            a split may lack some.

    Raises:
        RunError: It isn't there, is damaged, can't be streamed, lacks a class, or has a group in
            two splits.
    """
    prepared = prepared_lib.find(choice, data_dir)
    if prepared.folder is None:
        print(fitted(f"Building the synthetic images into {prepared.root} ..."), flush=True)
        covid_tfds.Builder(config=prepared.name, data_dir=prepared.root).download_and_prepare()
        prepared = prepared_lib.find(prepared.name, data_dir)
    builder = _builder(prepared, data_dir)
    if classes is not None:
        prepared_lib.require_classes(prepared, classes)
    names = tuple(builder.info.features["label"].names)[:classes]
    splits = {split: _images(builder, split, names) for split in sorted(builder.info.splits)}
    if classes is not None:
        _check(builder.info.full_name, splits, names)
    leaks, metadata = _leaks(splits), builder.info.metadata or {}
    config = metadata.get("config", {})
    if leaks and config.get("images") != _AS_PUBLISHED:
        shown = "\n".join(f"  {group}: {', '.join(where)}" for group, where in leaks.items())
        raise RunError(
            f"{builder.info.full_name} has groups in more than one split:\n{shown}\n"
            "A model tested on patients it has seen proves nothing. Build the dataset again."
        )
    return Dataset(
        name=builder.info.full_name,
        synthetic=config.get("images") == "phantom",
        planted_shortcut=bool(config.get("shortcut")),
        splits=splits,
        fingerprint=_fingerprint(builder, names),
        class_names=names,
        leaks=leaks,
        builder=builder,
        salt=metadata.get("patient_salt", ""),
    )


def _builder(prepared: Prepared, data_dir: str) -> tfds.core.DatasetBuilder:
    _require_described(prepared)
    builder = tfds.builder_from_directory(prepared.folder)
    file_format = builder.info.file_format.value
    if file_format not in ("tfrecord", "riegeli"):
        build = prepared_lib.how_to_build(
            prepared.name, data_dir, "--file_format=tfrecord --overwrite"
        )
        raise RunError(
            f"{prepared.folder} is stored as {file_format}, which tf.data can't stream. {build}"
        )
    return builder


def _require_described(prepared: Prepared) -> None:
    """Refuses a dataset whose description is not what its build wrote."""
    folder = prepared.folder
    assert folder is not None  # it is built by now
    recorded = digests.read(folder) or {}
    damaged = [
        each
        for each in _DESCRIPTION
        if not (folder / each).is_file() or digests.sha256(folder / each) != recorded.get(each)
    ]
    if damaged:
        of = ", ".join(damaged) if recorded else digests.FILE
        raise RunError(
            f"{of} in {folder} is not what the dataset's build wrote. "
            + _mend(folder, prepared.name)
        )


def _mend(folder: str | pathlib.Path, name: str) -> str:
    return (
        f"`python -m covid_tfds.verify {shlex.quote(str(folder))}` names all that is damaged; "
        f"build it again with --overwrite: tfds build covid_tfds --config={name} ... (BUILD.md)"
    )


def _images(builder: tfds.core.DatasetBuilder, split: str, class_names: tuple[str, ...]) -> Images:
    """Reads what is known of the images of a split, in one pass without pixels."""
    texts = ("image_id", "patient", "group", "source")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in (*texts, "image_sha256", "label")}
    for batch in _examples(builder, split, columns, _READ):
        for name in texts:
            columns[name].append(np.array([text.decode() for text in batch[name]], _TEXT))
        digits = b"".join(batch["image_sha256"]).decode()
        sha256 = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 32)
        columns["image_sha256"].append(sha256)
        columns["label"].append(batch["label"])
    stored = {name: np.concatenate(parts) for name, parts in columns.items() if parts}
    labels = stored.pop("label", np.zeros(0, np.int64))
    kept = np.flatnonzero(labels < len(class_names))
    text = {name: stored.get(name, np.zeros(0, _TEXT))[kept] for name in texts}
    sha256 = stored.get("image_sha256", np.zeros((0, 32), np.uint8))[kept]
    return Images(
        image_ids=text["image_id"],
        patients=text["patient"],
        groups=text["group"],
        sources=text["source"],
        splits=np.full(len(kept), split, _TEXT),
        places=kept,
        labels=labels[kept],
        sha256=sha256,
        class_names=class_names,
    )


def _examples(
    builder: tfds.core.DatasetBuilder, split: str, names: Iterable[str], batch: int
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of some features of a split's examples, in stored order; images stay encoded.

    Raises:
        RunError: The TFRecords can't be read, or a checksum of theirs is wrong.
    """
    skipped = {"image": tfds.decode.SkipDecoding()} if "image" in names else None
    partial = tfds.decode.PartialDecoding(dict.fromkeys(names, True), decoders=skipped)
    stored = builder.as_dataset(split=split, decoders=partial, read_config=read_config())
    # By the batch, since handing an example to Python costs more than reading it.
    try:
        for each in stored.batch(batch).as_numpy_iterator():
            yield {name: each[name] for name in names}
    except tf.errors.OpError as error:
        reason = _OF_TENSORFLOW.sub("", error.message.partition("\n")[0]).strip()
        raise RunError(
            f"{builder.info.full_name} can't be read ({reason}). If it was built again meanwhile, "
            "start the run again; else " + _mend(builder.data_path, builder.info.config_name)
        ) from None


def _check(name: str, splits: dict[str, Images], class_names: tuple[str, ...]) -> None:
    for split in _SCORED:
        held = set(splits[split].labels.tolist()) if split in splits else set()
        missing = [each for i, each in enumerate(class_names) if i not in held]
        # A user's own test split may lack a class; a classifier can't learn one from nothing.
        if not held or (missing and split != "test"):
            first = class_names.index(missing[0])
            fewer = f"Give --classes={first}, or add" if first > 1 else "Add"
            raise RunError(
                f"{name} has no image of {listed(missing)} in {split}. {fewer} images to "
                "that split."
            )


def _leaks(splits: dict[str, Images]) -> dict[str, list[str]]:
    there = [split for split in _SCORED if split in splits]
    scored = [(group, split) for split in there for group in splits[split].groups]
    return shared_between([group for group, _ in scored], [split for _, split in scored])


def _fingerprint(builder: tfds.core.DatasetBuilder, class_names: tuple[str, ...]) -> str:
    """What the build wrote into the metadata, so that opening needs no pixels."""
    stored = (builder.info.metadata or {}).get("fingerprint", "")
    return hashlib.sha256("\n".join([stored, *class_names]).encode()).hexdigest()


def joined(parts: Sequence[Images]) -> Images:
    """The images of several splits, one after the other."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return Images(**columns, class_names=parts[0].class_names)


def class_counts(labels: np.ndarray, classes: int) -> list[int]:
    """Images of each class."""
    return np.bincount(labels, minlength=classes).tolist()
