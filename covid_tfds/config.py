"""The ways of choosing and splitting images: what `--config` takes."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from covid_tfds.errors import DatasetError, message_for_command
from covid_tfds.sources import wording

_KINDS = ("full", "article", "article_grouped", "phantom", "folder")
_NAME = re.compile(r"[^\W_][\w.-]*")
_FEWEST_PATIENTS = 40  # of a phantom: with fewer, a split would lack a class
_MOST_PATIENTS = 100_000  # all are listed before the first is drawn: two seconds
_LONGEST_NAME = 100  # characters; it becomes a folder, and part of the names of others
_OF_BUILDER = ("version", "release_notes", "supported_versions", "tags")


@dataclasses.dataclass(eq=False)
class CovidConfig(tfds.core.BuilderConfig):
    """One way of choosing and splitting images.

    Attributes:
        images: `article`, `article_grouped`, `full`, `phantom` or `folder`.
        strict: Refuse Cohen images whose bytes changed since the article (article and full).
        licenses: Keep images of these licenses alone, e.g. `["CC BY"]` (full and folder); empty
            keeps all. Splits stay what they are without the filter.
        patients: Number of synthetic patients (phantom only).
        shortcut: Plant a corner marker that goes with the class, and hold out a `control` split
            whose markers are those of other classes (phantom only).
        seed: Of the synthetic patients (phantom only).
        films: The name of `images` in 1.0.0; refused.
    """

    images: str = "full"
    strict: bool = False
    licenses: tuple[str, ...] = ()
    patients: int = 400
    shortcut: bool = False
    seed: int = 0
    films: dataclasses.InitVar[str | None] = None

    def __post_init__(self, films: str | None) -> None:
        """Checks the request.

        Raises:
            DatasetError: A value is out of range, or belongs to another kind of images.
        """
        with message_for_command():
            if films is not None:
                raise DatasetError(
                    f'"films" is called "images" since 2.0.0: write {{"images": "{films}"}}.'
                )
            self._check_name()
            self._check_kind()
            self.licenses = self._checked_licenses()

    def request(self) -> dict[str, Any]:
        """What is asked for, as JSON has it: all but the name and the description."""
        names = ("images", "strict", "licenses", "patients", "shortcut", "seed")
        asked = {name: getattr(self, name) for name in names}
        return asked | {"licenses": list(self.licenses)}

    def _check_name(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise DatasetError(
                f"The config's name is {self.name!r}; it becomes a folder: give letters, digits, "
                "_, - and dots, beginning with a letter or a digit."
            )
        if len(self.name) > _LONGEST_NAME:
            raise DatasetError(
                f"The config's name has {len(self.name)} characters; give {_LONGEST_NAME} or fewer."
            )
        if not isinstance(self.description, str | None):
            raise DatasetError(f"description is {self.description!r}; give a text.")
        for name in _OF_BUILDER:
            if getattr(self, name):
                raise DatasetError(f"{name} is the builder's own; leave it out of the config.")

    def _check_kind(self) -> None:
        if self.images not in _KINDS:
            near = wording.nearest(str(self.images), _KINDS)
            raise DatasetError(
                f"images is {self.images!r}; choose one of {', '.join(_KINDS)}.{near}"
            )
        for name, kind in (("patients", int), ("seed", int), ("strict", bool), ("shortcut", bool)):
            if type(getattr(self, name)) is not kind:
                what = "a whole number" if kind is int else "true or false"
                raise DatasetError(f"{name} is {getattr(self, name)!r}; give {what}.")
        if not _FEWEST_PATIENTS <= self.patients <= _MOST_PATIENTS:
            raise DatasetError(
                f"patients is {self.patients}; give {_FEWEST_PATIENTS} to {_MOST_PATIENTS}."
            )
        if self.seed < 0:
            raise DatasetError(f"seed is {self.seed}; give 0 or more.")
        if self.strict and self.images in ("phantom", "folder"):
            raise DatasetError(f"strict is for the Cohen images, not for {self.images!r}.")
        drawn = (self.shortcut, self.patients, self.seed) != (False, 400, 0)
        if self.images != "phantom" and drawn:
            raise DatasetError(f"patients, shortcut and seed are for phantom, not {self.images!r}.")

    def _checked_licenses(self) -> tuple[str, ...]:
        given = self.licenses
        if not isinstance(given, list | tuple) or not all(isinstance(e, str) for e in given):
            raise DatasetError(f'licenses is {given!r}; give a list of names, e.g. ["CC BY"].')
        if any(not name.strip() for name in given):
            raise DatasetError(f"licenses holds an empty name: {given!r}. Remove it.")
        if given and self.images not in ("full", "folder"):
            raise DatasetError(f"licenses is for full and folder, not for {self.images!r}.")
        return tuple(given)


def config_of_command(**values: Any) -> CovidConfig:
    """The config of a JSON object in `tfds build --config={...}`.

    Raises:
        DatasetError: It has an unknown key, no name, or a value that `CovidConfig` refuses.
    """
    names = [each.name for each in dataclasses.fields(CovidConfig)]
    names = [each for each in names if each not in _OF_BUILDER]
    with message_for_command():
        for key in values:
            if key not in (*names, "films"):
                raise DatasetError(
                    f"--config has the key {key!r}, which is unknown; there are "
                    f"{', '.join(names)}.{wording.nearest(key, names)}"
                )
        if "name" not in values:
            raise DatasetError(
                '--config has no name. Give one, which the dataset is called by: {"name": "mine", '
                "...}."
            )
        return CovidConfig(**values)


def require_known(config: str | CovidConfig | None) -> None:
    """Refuses a config that there is not, or that takes the name of another.

    Raises:
        DatasetError: Says which there are.
    """
    if config is None:
        return
    if isinstance(config, CovidConfig):
        if CONFIGS.get(config.name, config) is not config:
            raise DatasetError(
                f"The name {config.name!r} belongs to a config that is there. Give another name."
            )
        return
    if not isinstance(config, str):
        raise DatasetError(f"config is {config!r}; give a name or a CovidConfig.")
    name = config.partition(":")[0]
    if name not in CONFIGS:
        raise DatasetError(
            f"There is no config {wording.one_line(name)!r}; there are {', '.join(CONFIGS)}."
            f"{wording.nearest(name.lower(), CONFIGS)}"
        )


CONFIGS: Mapping[str, CovidConfig] = {
    config.name: config
    for config in (
        CovidConfig(
            name="full", images="full", description="Every usable image of both public sources."
        ),
        CovidConfig(
            name="article",
            images="article",
            description=(
                "The article's 306 images, split by its own rule (one patient in two splits)."
            ),
        ),
        CovidConfig(
            name="article_grouped",
            images="article_grouped",
            description="The article's 306 images, patients kept apart.",
        ),
        CovidConfig(
            name="phantom",
            images="phantom",
            description="Synthetic radiographs of 400 patients, for want of data and for tests.",
        ),
        CovidConfig(name="folder", images="folder", description="Your own images."),
    )
}
