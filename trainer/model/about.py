"""What a `model.keras` says of itself, in a member of its own that Keras ignores.

It is JSON, so that whoever has the file can read it with `unzip -p model.keras covid_tfds.json`.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from trainer.run import files, manifest, names, saved_state
from trainer.run.errors import ConfigError, RunError
from trainer.run.given import did_you_mean

FILE = "model.keras"  # in the folder of a run
MEMBER = "covid_tfds.json"
SUFFIX = ".keras"  # of a network alone
_CONFIG = "config.json"  # in every file of Keras


@dataclasses.dataclass(frozen=True)
class About:
    """Where a network comes from, and what its answers are worth.

    Attributes:
        class_names: What the outputs stand for, in their order.
        image_size: Pixels of a side of the squares that it sees.
        align: How images are framed before, of `Config.align`.
        dataset: Name of the dataset that it was trained on, "covid_tfds/full/2.0.0".
        fingerprint: Of that dataset.
        synthetic: Whether its images are drawn.
        version: Release of this package that wrote the file.
        notes: Sentences that go with every answer, of `notes.notes_of`.
        scores: Of what was scored last, of `notes.scores_of`; None where nothing was.
    """

    class_names: tuple[str, ...]
    image_size: int
    align: str
    dataset: str
    fingerprint: str
    synthetic: bool
    version: str
    notes: tuple[str, ...]
    scores: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """What `to_json` gave; what a later release has besides is left out.

        Raises:
            ValueError: It is something else.
        """
        values = json.loads(text)
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not values.keys() >= names:
            raise ValueError(f"its {MEMBER} has not all of {', '.join(sorted(names))}")
        tuples = {name: tuple(values[name]) for name in ("class_names", "notes")}
        return cls(**{name: values[name] for name in names} | tuples)


def release() -> str:
    """The release of this package; "" where it was not installed."""
    try:
        return importlib.metadata.version("covid_tfds")
    except importlib.metadata.PackageNotFoundError:
        return ""


def located(run: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path | None]:
    """Where a network is.

    Args:
        run: The folder of a run that has ended, or a file whose name ends in ".keras".

    Returns:
        Its model.keras, and the folder if that was given.

    Raises:
        RunError: There is none, or it is not what the run left there.
    """
    given = pathlib.Path(files.expanded(run))
    if given.suffix == SUFFIX:
        return given, None
    if not os.path.isdir(given):
        there = os.path.lexists(given)
        what, near = ("is no folder", "") if there else ("is not there", did_you_mean(given))
        raise RunError(f"{given} {what}. Give the folder of a run, or a {FILE}.{near}")
    if not (given / FILE).is_file():
        one = min(given.glob(f"{saved_state.SEED}/{FILE}"), default=None)
        mend = f"Give one, or a {FILE}; of a search, that of the run with its best values."
        if one is not None:
            mend = f"Give the run of one of its seeds, {one.parent} for example."
        raise RunError(f"{given} has no {FILE}: it is no folder of a run that has ended. {mend}")
    manifest.require_whole(given, FILE)
    return given / FILE, given


def require(run: str | os.PathLike, class_name: str = "") -> None:
    """Refuses what `located` or `read` refuses: in a moment, before TensorFlow is loaded.

    Args:
        run: As for `located`.
        class_name: Of a class that the network has to have, if it says which; "" for none.

    Raises:
        RunError: There is no network, or it is damaged.
        ConfigError: It has no such class.
    """
    there = read(located(run)[0])
    if there is not None and class_name:
        require_class(class_name, there.class_names)


def require_class(class_name: str, class_names: Sequence[str]) -> None:
    """Refuses a class that a network does not have.

    Raises:
        ConfigError: The message says which it has.
    """
    if class_name in class_names:
        return
    meant = names.nearest(class_name, class_names, most=1)
    mend = f"Did you mean {meant[0]}? It has" if meant else "Give one of"
    raise ConfigError(
        f"--class={class_name} is no class of this network. {mend} {', '.join(class_names)}."
    )


def read(path: str | os.PathLike) -> About | None:
    """What a `model.keras` says of itself.

    Args:
        path: Of the file.

    Returns:
        None where it says nothing: an earlier release wrote it, or Keras alone did.

    Raises:
        RunError: There is no such file, or it is damaged or none of Keras'.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise RunError(f"There is no file {path}. Give a run folder, or a model.keras of one.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if _CONFIG not in names:
                raise ValueError(f"it has no {_CONFIG}")
            return About.from_json(archive.read(MEMBER)) if MEMBER in names else None
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, EOFError) as error:
        raise RunError(
            f"{path} is damaged, or no file that Keras wrote ({error}). Put back a copy of it, or "
            "give another."
        ) from None
