"""Images whose class is known, and on which no run was: of a dataset, or of a user's folder."""

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath

from covid_tfds import collect, patient_key, reading
from covid_tfds.errors import DatasetError
from covid_tfds.fingerprint import fingerprint
from covid_tfds.first_pass import Readings
from covid_tfds.records import Exclusion
from covid_tfds.sources import own
from covid_tfds.spool import Spool
from trainer.input_pipeline import prepared
from trainer.input_pipeline.dataset import Images, joined, open_dataset
from trainer.input_pipeline.decode import Store
from trainer.run import files
from trainer.run.errors import ConfigError, RunError
from trainer.run.text import counted, listed

ALL = "all"  # of the splits of a dataset
OF_FOLDER = "images"  # the split of a folder's images
_TEXT = np.dtypes.StringDType()


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Images whose class is known.

    Attributes:
        name: Of the dataset, `covid_tfds/full/2.0.0`; or the folder.
        split: Of the dataset, `ALL` or `OF_FOLDER`.
        fingerprint: Of the dataset, or of the folder's images.
        synthetic: Whether the images are drawn.
        images: What is known of each; their class names are those of the data.
        store: What reads them.
        unusable: What lies in a folder and is not among them.
        notes: Sentences on how a folder was read, and on patients.
        salt: That of the keys of persons whom DICOM headers name, as of `patient_key.Keys.check`;
            "" where no header does.
        of_classes: The fingerprint that the dataset has for a network of these classes; "" of a
            folder.
    """

    name: str
    split: str
    fingerprint: str
    synthetic: bool
    images: Images
    store: Store
    unusable: Sequence[Exclusion] = ()
    notes: Sequence[str] = ()
    salt: str = ""
    of_classes: str = ""


def of_dataset(
    choice: str, data_dir: str, split: str, class_names: tuple[str, ...] = ()
) -> Labelled:
    """The images of a prepared dataset.

    Args:
        choice: Name of its config.
        data_dir: Folder of datasets, or "" for TFDS' own.
        split: Name of a split, or `ALL`.
        class_names: Of the network that is to be scored.

    Raises:
        ConfigError: There is no such split.
        RunError: There is no such dataset, or it can't be read.
    """
    dataset = open_dataset(choice, data_dir, None)
    splits = {name: images for name, images in dataset.splits.items() if len(images)}
    if split != ALL and split not in splits:
        raise ConfigError(
            f"--split is {split!r}, and {dataset.name} has {listed([*splits])}. Give one of them, "
            f"or {ALL}."
        )
    images = joined(list(splits.values()) if split == ALL else [splits[split]])
    return Labelled(
        dataset.name, split, dataset.fingerprint, dataset.synthetic, images, dataset,
        notes=_patient_notes(images), salt=dataset.salt,
        of_classes=dataset.fingerprint_of(class_names),
    )  # fmt: skip


@contextlib.contextmanager
def of_folder(path: str | os.PathLike, data_dir: str) -> Iterator[Labelled]:
    """The images of a folder with classes, read as a dataset of a user's own images is built.

    Args:
        path: Of a folder for each class, or with a table `images.csv`; see `own.images`.
        data_dir: Folder of datasets, or "" for TFDS' own; beside them is the salt of the keys of
            persons whom DICOM headers name, so that they are the same as in these datasets. Where
            there is none, none is made: the keys of this call are no other's.

    Yields:
        The images; their pixels are on the disk until the end.

    Raises:
        RunError: There is no such folder, or its images or its table can't be used.
    """
    folder = os.path.abspath(files.expanded(path))
    if not os.path.isdir(folder):
        raise RunError(f"--images {folder} is no folder. Give one with a folder for each class.")
    datasets = epath.Path(prepared.root_of(data_dir) / prepared.DATASET)
    keys = patient_key.Keys(lambda: patient_key.kept_salt(datasets) or secrets.token_bytes(32))
    with contextlib.closing(Spool()) as spool:
        try:
            there = own.images(folder)
            readings, groups, notes = collect.read_own(there, spool, keys)
        except DatasetError as error:
            raise RunError(str(error).replace("--manual_dir", "--images")) from None
        unusable = [*there.exclusions, *readings.unusable]
        if not readings.records:
            raise RunError(f"No image of {folder} can be used: {unusable[0].reason}. Mend that.")
        images = _images(readings, groups, there.class_names)
        notes = [note for note in notes if note != own.one_class_note(there.class_names)]
        yield Labelled(
            name=folder,
            split=OF_FOLDER,
            fingerprint=_fingerprint(images),
            synthetic=False,
            images=images,
            store=_Spooled(readings),
            unusable=unusable,
            notes=[*notes, *_patient_notes(images)],
            salt=keys.check,
        )


def _images(readings: Readings, groups: Sequence[str], class_names: tuple[str, ...]) -> Images:
    records, count = readings.records, len(readings.records)
    digests = readings.table["image_sha256"].tobytes()
    return Images(
        image_ids=np.array([record.image_id for record in records], _TEXT),
        patients=np.array([record.patient for record in records], _TEXT),
        groups=np.array(groups, _TEXT),
        sources=np.array([record.source for record in records], _TEXT),
        splits=np.full(count, OF_FOLDER, _TEXT),
        places=np.arange(count),
        labels=np.array([class_names.index(record.label) for record in records], np.int64),
        sha256=np.frombuffer(digests, np.uint8).reshape(-1, 32),
        class_names=class_names,
    )


def _fingerprint(images: Images) -> str:
    labels = (images.class_names[label] for label in images.labels)
    digests = (each.tobytes().hex() for each in images.sha256)
    return fingerprint(zip(images.splits, images.image_ids, labels, digests, strict=True))


def _patient_notes(images: Images) -> list[str]:
    unknown = int((images.patients == images.image_ids).sum())
    if not unknown:
        return []
    return [
        f"{unknown} of {counted(len(images), 'image')} have no patient: each of them counts as its "
        "own, so that intervals may be too narrow, and a patient whom the network has seen is not "
        "recognized. Give an images.csv with a patient column."
    ]


class _Spooled:
    """Images whose pixels a build's first pass left on the disk."""

    def __init__(self, readings: Readings) -> None:
        """Of a first pass, whose spool is open.

        Args:
            readings: Of n images; `Images.places` are their places among these.
        """
        self._readings = readings

    def encoded(self, images: Images) -> Iterator[tuple[int, bytes]]:
        """As `Dataset.encoded`."""
        for index, place in enumerate(images.places):
            yield index, reading.encode(self._readings.pixels(int(place)))
