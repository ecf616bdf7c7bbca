"""The TFDS builder: features, what is stored beside them, shards, splits."""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from covid_tfds import (
    building,
    digests,
    find_sources,
    parallel,
    paths,
    progress,
    reading,
    replacing,
    shards,
    tfds_command,
)
from covid_tfds.collection import Collection
from covid_tfds.config import CONFIGS, CovidConfig, config_of_command, require_known
from covid_tfds.errors import DatasetError, message_for_command, under_tfds_command
from covid_tfds.records import LABELS
from covid_tfds.report import Report
from covid_tfds.sources import cohen, kaggle, own
from covid_tfds.spool import Spool

HOMEPAGES = (
    "https://github.com/ieee8023/covid-chestxray-dataset",
    "https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia",
    "https://data.mendeley.com/datasets/rscbjbr9sj/2",
)
LICENSE = (
    "Each image has its own license, in the feature `license` and in ATTRIBUTION.csv. Kermany et "
    "al.: CC BY 4.0. Cohen et al.: CC BY, CC BY-SA, CC BY-NC-SA, CC BY-NC-ND, Apache 2.0, or not "
    "stated. Synthetic images: Apache-2.0."
)
_LABEL_DOC = "What the image shows."

tfds_command.explain_errors()


class Builder(tfds.core.ShardBasedBuilder):
    """Chest radiographs as TFRecords, patients kept apart."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it off the class)
        "2.0.0": (
            "Lossless PNG; any class names; DICOM, TIFF and any depth; features in the field's "
            "words; digests of stored pixels and a fingerprint of the dataset."
        ),
        "1.0.0": "The article's images, both sources in full, synthetic images, own images.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"For --config=full, article and article_grouped:\n{kaggle.TREE}\n{cohen.TREE}\n"
        f"For --config=folder:\n{own.TREE}"
    )
    # `tfds build` without --config builds these; `folder` is known by name only, since few have it.
    BUILDER_CONFIGS = [CONFIGS[name] for name in CONFIGS if name != "folder"]  # noqa: RUF012

    # `tfds build --config={...}` calls it with the values of the JSON object.
    builder_config_cls = staticmethod(config_of_command)

    # Whether a summary is printed in Python of a dataset that is there, too.
    always_summary = False

    def __init__(
        self,
        *,
        data_dir: epath.PathLike | None = None,
        config: str | CovidConfig | None = None,
        **kwargs: Any,
    ) -> None:
        """Describes a dataset, and reads its description where it is built.

        Args:
            data_dir: Folder of the datasets; None: `$TFDS_DATA_DIR`, or TFDS' own.
            config: Name of a config, or a `CovidConfig`; None: `full`.
            **kwargs: As TFDS has them.

        Raises:
            DatasetError: There is no such config, or no such folder can be.
        """
        if under_tfds_command():
            logging.set_verbosity(logging.ERROR)  # TFDS logs every step; errors stay
            if not progress.drawn():
                tfds.disable_progress_bar()  # its bars of downloads
        with message_for_command():
            require_known(config)
            folder = data_dir and paths.expanded(data_dir)
            with building.disk_messages(folder), building.damage_messages(self):
                super().__init__(data_dir=folder, config=config, **kwargs)

    @classmethod
    def get_builder_config(
        cls, name: str, version: str | tfds.core.Version | None = None
    ) -> CovidConfig | None:
        """The config of that name, `folder` included."""
        return super().get_builder_config(name, version) or (
            CONFIGS["folder"] if name == "folder" else None
        )

    def _info(self) -> tfds.core.DatasetInfo:
        # A user's class names are known when the images have been looked at.
        names = None if self.builder_config.images == "folder" else LABELS
        about = self.get_metadata()
        info = building.Info(
            builder=self,
            description=about.description,
            citation=about.citation,
            features=_features(names),
            supervised_keys=("image", "label"),
            homepage=HOMEPAGES[0],
            license=LICENSE,
            metadata=tfds.core.MetadataDict(),
        )
        info.as_proto.location.urls[:] = HOMEPAGES  # the constructor takes one
        return info

    def _log_download_bytes(self) -> None:
        """Says nothing: the summary does."""

    def _log_download_done(self) -> None:
        """Says nothing: the summary does."""

    @property
    def data_path(self) -> epath.Path:
        """Folder of this config and version; see `replacing.KeptPath`."""
        return replacing.KeptPath(self.data_dir)

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Builds the dataset (see `tfds.core.DatasetBuilder`) and prints its summary.

        One that is built already is left in peace: its folder may be read-only, and `tfds.load`
        comes by here every time. One that is built again lives until the new one is whole.

        Args:
            **kwargs: As TFDS takes them.

        Raises:
            DatasetError: The sources can't be used as they are; says what to do.
        """
        with message_for_command(), building.disk_messages(self.data_dir_root):
            building.prepare(
                self,
                super().download_and_prepare,
                always_summary=self.always_summary,
                **kwargs,
            )

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig | None = None,
    ) -> None:
        self._asked = download_config or tfds.download.DownloadConfig()
        if self._asked.beam_runner or self._asked.beam_options:
            raise DatasetError(
                "Beam options are given, and this dataset is built without Beam, on the cores of "
                "one machine. Leave them out (docs/data.md has the numbers)."
            )
        # Loaded here: it takes a third of a second, and who trains needs none of it.
        from covid_tfds import croissant

        folder = paths.local_folder(self.data_path)
        with contextlib.closing(Spool(folder)) as self._spool, contextlib.ExitStack() as self._bars:
            super()._download_and_prepare(dl_manager, self._asked)
        with progress.shown("hashing the files"):
            known = {path.name: digests.sha256(path) for path in self.data_path.glob("*-of-*")}
        self.info.known_digests = known
        croissant.write(self.data_path, self.info, known)

    def _example_writer(self) -> shards.Writer:
        return shards.Writer(self.info.file_format)

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Sequence[functools.partial]]:
        found = find_sources.collect_for(
            self.builder_config, self.info.full_name, dl_manager, self.data_path, self._spool
        )
        found = dataclasses.replace(found, limit=self._asked.max_examples_per_split)
        # A dataset that is replaced may have had other classes, and names can be set once only.
        label = self.info.features["label"]
        label.__init__(names=list(found.class_names), doc=_LABEL_DOC)
        self.info.metadata.update(
            _metadata(found) | {"config": building.request(self, self._asked)}
        )
        Report(found).write(self.data_path)
        self._written = self._bars.enter_context(progress.shown("writing", len(found.stored())))
        return {
            split: [
                functools.partial(self._generate_examples, found, places)
                for places in shards.divided(found, found.places(split), self._asked)
            ]
            for split in found.split_names()
            if found.places(split)
        }

    def _generate_examples(
        self, found: Collection, places: Sequence[int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the examples at some places, encoded ahead on all cores while TFDS writes."""

        def encoded(place: int) -> bytes:
            return reading.encode(found.readings.pixels(place))

        for place, image in zip(places, parallel.in_order(encoded, places), strict=True):
            yield found.record(place).image_id, _example(found, place, image)
            self._written(1)


def _features(class_names: Sequence[str] | None) -> tfds.features.FeaturesDict:
    text, scalar = tfds.features.Text, tfds.features.Scalar
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(None, None, 1),
                encoding_format="png",
                doc="The radiograph: grey, 8 bits, white is dense, at most 320 pixels on the "
                "shorter side.",
            ),
            "label": tfds.features.ClassLabel(names=class_names, doc=_LABEL_DOC),
            "image_id": text(doc="Unique in the dataset: the source, and the file's name there."),
            "patient": text(
                doc="The source's own key of the person, prefixed by the source; the image's id "
                "where no patient is known."
            ),
            "group": text(
                doc="Patients joined by copies of an image, or by one name in several sources of "
                "a user's own; never in two splits."
            ),
            "source": text(doc="kaggle, cohen, phantom, own, or what the user's table says."),
            "original_split": text(doc="The source's own split, or empty."),
            "projection": text(
                doc="How the beam went, e.g. PA, as the source writes it; or empty."
            ),
            "sex": text(doc="Of the person: M, F or empty."),
            "age": scalar(np.float32, doc="Years; NaN when unknown."),
            "license": text(doc="As the source states it, or `not stated`."),
            "original_width": scalar(np.int32, doc="Pixels of the file as displayed."),
            "original_height": scalar(np.int32, doc="Pixels of the file as displayed."),
            "original_mode": text(doc="Colours and depth of the file, e.g. L, RGB or I;16."),
            "original_format": text(doc="Format of the file by its content; empty if drawn."),
            "sha256": text(doc="Of the file's bytes, hexadecimal; of the pixels if drawn."),
            "image_sha256": text(doc="Of the stored image's size and pixels, hexadecimal."),
        }
    )


class _Once(io.RawIOBase):
    """A file that is read once: TFDS holds on to the examples of a shard, not to their bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        data, self._data = self._data, b""
        return data


def _example(found: Collection, place: int, image: bytes) -> dict[str, Any]:
    record, readings = found.record(place), found.readings
    row = readings.table[place]
    return {
        "image": _Once(image),
        "label": record.label,
        "image_id": record.image_id,
        "patient": record.patient,
        "group": found.groups[place],
        "source": record.source,
        "original_split": record.original_split,
        "projection": record.projection,
        "sex": record.sex,
        "age": record.age,
        "license": record.license,
        "original_width": int(row["original_width"]),
        "original_height": int(row["original_height"]),
        "original_mode": readings.modes[place],
        "original_format": readings.formats[place],
        "sha256": readings.hexadecimal("sha256", place),
        "image_sha256": readings.hexadecimal("image_sha256", place),
    }


def _metadata(found: Collection) -> dict[str, Any]:
    """A function of the sources, and of the salt of persons in DICOM headers, as all files are."""
    return {
        "fingerprint": found.fingerprint(),
        "class_names": list(found.class_names),
        "sources": [vars(each) for each in found.origins],
        **({"patient_salt": found.salt} if found.salt else {}),
    }
