"""The TFDS builder: configs, features, splits."""

import atexit
import contextlib
import dataclasses
import fcntl
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import requests
import tensorflow_datasets as tfds

from covid_tfds import cohen, collect, kaggle, own_films
from covid_tfds.errors import DatasetError
from covid_tfds.films import LABELS, Film, Picture
from covid_tfds.report import SUMMARY

_KINDS = ("full", "article", "article_grouped", "phantom", "folder")


@dataclasses.dataclass(eq=False)
class CovidConfig(tfds.core.BuilderConfig):
    """One way of choosing and splitting films.

    Attributes:
        films: `article`, `article_grouped`, `full`, `phantom` or `folder`.
        strict: Refuse Cohen films whose bytes changed since the article (article configs only).
        patients: Number of synthetic patients (phantom only).
        shortcut: Plant a corner marker that goes with the class (phantom only).
        seed: Of the synthetic patients (phantom only).
    """

    films: str = "full"
    strict: bool = False
    patients: int = 400
    shortcut: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the request.

        Raises:
            DatasetError: A value is out of range, or belongs to another kind of films.
        """
        if self.films not in _KINDS:
            raise DatasetError(f"films is {self.films!r}; choose one of {', '.join(_KINDS)}.")
        if self.patients < 40:
            raise DatasetError(f"patients is {self.patients}; give 40 or more.")
        if self.strict and not self.films.startswith("article"):
            raise DatasetError(f"strict is for the article's films, not for {self.films!r}.")
        if self.films != "phantom" and (self.shortcut, self.patients, self.seed) != (False, 400, 0):
            raise DatasetError(f"patients, shortcut and seed are for phantom, not {self.films!r}.")


_CONFIGS = [
    CovidConfig(name="full", films="full", description="Every usable film of both sources."),
    CovidConfig(
        name="article",
        films="article",
        description="The article's 306 films, split by its own rule (one patient in two splits).",
    ),
    CovidConfig(
        name="article_grouped",
        films="article_grouped",
        description="The article's 306 films, patients kept apart.",
    ),
    CovidConfig(
        name="phantom",
        films="phantom",
        description="Synthetic radiographs of 400 patients, for want of data and for tests.",
    ),
    CovidConfig(name="folder", films="folder", description="Your own films."),
]


class Builder(tfds.core.GeneratorBasedBuilder):
    """Chest X-ray films of four classes as TFRecords."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it off the class)
        "1.0.0": "The article's films, both sources in full, synthetic films, own films.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Put both sources into the manual folder (--manual_dir):\n{kaggle.TREE}\n{cohen.TREE}\n"
        f"For --config=folder, instead:\n{own_films.TREE}"
    )
    # `tfds build` without --config builds these; `folder` is known by name only, since few have it.
    BUILDER_CONFIGS = _CONFIGS[:-1]

    @classmethod
    def get_builder_config(
        cls, name: str, version: str | tfds.core.Version | None = None
    ) -> CovidConfig | None:
        """The config of that name, `folder` included."""
        return super().get_builder_config(name, version) or (
            _CONFIGS[-1] if name == "folder" else None
        )

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 1), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=LABELS),
                    "film_id": text(doc="Unique in the dataset."),
                    "patient": text(doc="The source's own key, prefixed by the source."),
                    "group": text(doc="Patients joined by copies of a film; never in two splits."),
                    "source": text(doc="kaggle, cohen, phantom or own."),
                    "original_split": text(doc="The source's own split, or empty."),
                    "view": text(doc="Projection, e.g. PA."),
                    "sex": text(doc="M, F or empty."),
                    "age": tfds.features.Scalar(np.float32, doc="Years; NaN when unknown."),
                    "licence": text(doc="As the source states it."),
                    "original_width": tfds.features.Scalar(np.int32, doc="Pixels of the file."),
                    "original_height": tfds.features.Scalar(np.int32, doc="Pixels of the file."),
                    "original_mode": text(doc="Pillow's mode of the file."),
                    "original_format": text(doc="Format by content."),
                    "sha256": text(doc="Of the file's bytes."),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://github.com/ieee8023/covid-chestxray-dataset",
        )

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Builds the dataset (see `tfds.core.DatasetBuilder`) and prints its summary.

        One that is built already is left in peace: its folder may be read-only, and `tfds.load`
        comes by here every time.
        """
        asked = kwargs.get("download_config") or tfds.download.DownloadConfig()
        if self.is_prepared() and not asked.download_mode.overwrite_dataset:
            super().download_and_prepare(**kwargs)
            return
        with self._alone():
            super().download_and_prepare(**kwargs)
        _show_last(f"\n{(self.data_path / SUMMARY).read_text()}in {self.data_path}")

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        collection = self._collect(dl_manager)
        collection.report.write(self.data_path)
        return {
            split: map(_keyed_example, collection.examples(split))
            for split in sorted(set(collection.report.splits))
        }

    def _collect(self, dl_manager: tfds.download.DownloadManager) -> collect.Collection:
        config, title = self.builder_config, self.info.full_name
        if config.films == "phantom":
            return collect.collect_phantom(title, config.seed, config.patients, config.shortcut)
        try:
            manual_dir = pathlib.Path(dl_manager.manual_dir)
        except AssertionError as error:
            raise DatasetError(str(error)) from None
        if config.films == "folder":
            return collect.collect_own(title, manual_dir)

        def fetch(url: str) -> pathlib.Path:
            # TFDS tries for minutes where there is no network at all; one look tells it at once.
            requests.head(url, timeout=20, allow_redirects=True).raise_for_status()
            return pathlib.Path(dl_manager.download(url))

        if config.films == "full":
            return collect.collect_full(title, manual_dir, fetch)
        grouped = config.films == "article_grouped"
        return collect.collect_article(
            title, manual_dir, fetch, grouped=grouped, strict=config.strict
        )

    def _generate_examples(self) -> None:
        raise NotImplementedError("_split_generators returns the examples themselves.")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds this config's folder, and clears what killed builds left in it.

        TFDS builds in `incomplete.*` beside the dataset and never looks at an old one again. While
        we hold the lock no other build is under way, so all of them are leftovers.
        """
        folder = pathlib.Path(self.data_path).parent
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatasetError(
                    f"Another build of {self.info.full_name} is under way in {folder}. "
                    "Wait for it to end."
                ) from None
            for leftover in folder.glob("incomplete.*"):
                shutil.rmtree(leftover)
            yield


def _show_last(text: str) -> None:
    """Prints; under `tfds build`, below the page of DatasetInfo that it prints after a build."""
    program = pathlib.Path(sys.argv[0])
    if program.stem == "tfds" or "tensorflow_datasets" in program.parts:
        atexit.register(print, text)
    else:
        print(text)


def _keyed_example(item: tuple[Film, str, Picture]) -> tuple[str, dict[str, Any]]:
    film, group, picture = item
    return film.film_id, {
        "image": picture.image,
        "label": film.label,
        "film_id": film.film_id,
        "patient": film.patient,
        "group": group,
        "source": film.source,
        "original_split": film.original_split,
        "view": film.view,
        "sex": film.sex,
        "age": film.age,
        "licence": film.licence,
        "original_width": picture.width,
        "original_height": picture.height,
        "original_mode": picture.mode,
        "original_format": picture.format,
        "sha256": picture.sha256,
    }
