"""Which datasets are prepared, and which of them a run takes; needs neither TensorFlow nor TFDS.

So a wrong name, or too many classes, is answered before anything heavy is imported.
"""

import collections
import csv
import dataclasses
import os
import pathlib
import re
import shlex

from trainer.run import names
from trainer.run.errors import RunError
from trainer.run.files import expanded

DATASET = "covid_tfds"  # the name of the builder, and of its folder
AUTO, SYNTHETIC = "auto", "phantom"
_PREFERENCE = ("full", "article", SYNTHETIC)
_CONFIGS = ("full", "article", "article_grouped", SYNTHETIC, "folder")
_SYNTHETIC_CLASSES = ("healthy", "covid19", "bacterial", "viral")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
_OLDEST = (2, 0, 0)  # what the trainer reads


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset that a run can take.

    Attributes:
        name: Of its config.
        root: The folder of datasets.
        folder: Of its newest version; None of the synthetic one where it is still to be built.
        why: How `auto` came to it, in words; "" where it was named.
    """

    name: str
    root: pathlib.Path
    folder: pathlib.Path | None
    why: str = ""


def find(choice: str, data_dir: str) -> Prepared:
    """Finds the dataset that `--dataset` names.

    Args:
        choice: Name of a config, or `auto`.
        data_dir: Folder of datasets, or "" for TFDS' own.

    Raises:
        RunError: It isn't built, or by an earlier release, or the folder can't be read.
    """
    root = root_of(data_dir)
    name, why = _preferred(root) if choice == AUTO else (choice, "")
    versions = _versions(root, name)
    if not versions:
        if name == SYNTHETIC:
            return Prepared(name, root, None, why)
        raise RunError(_not_built(name, root, data_dir))
    if _number(versions[-1]) < _OLDEST:
        raise RunError(
            f"{versions[-1]} was built by an earlier release, whose images are stored in another "
            "way. " + how_to_build(name, data_dir)
        )
    return Prepared(name, root, versions[-1], why)


def root_of(data_dir: str) -> pathlib.Path:
    """The folder of datasets: the one that is given, or TFDS' own.

    Raises:
        RunError: It is none of this machine.
    """
    given = data_dir or os.environ.get("TFDS_DATA_DIR")
    if given and "://" in given:
        raise RunError(
            f"{given} is in a bucket, and a run reads datasets of a folder. Copy or mount it, and "
            "give that folder as --data_dir."
        )
    return pathlib.Path(expanded(given or "~/tensorflow_datasets"))


def built(root: pathlib.Path) -> list[str]:
    """Names of the datasets in a folder that can be opened."""
    return [
        name
        for name in _listed(root / DATASET)
        if (versions := _versions(root, name)) and _number(versions[-1]) >= _OLDEST
    ]


def require_classes(prepared: Prepared, classes: int) -> None:
    """Refuses more classes than the dataset has.

    Args:
        prepared: The dataset. One whose list of classes can't be read is refused when it is opened.
        classes: How many a run takes.

    Raises:
        RunError: It has fewer.
    """
    held: tuple[str, ...] = _SYNTHETIC_CLASSES
    if prepared.folder is not None:
        try:
            text = (prepared.folder / "label.labels.txt").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return
        held = tuple(line.strip() for line in text.split("\n") if line.strip())
    if len(held) < classes:
        mend = f"Give --classes={len(held)}" if len(held) > 1 else "Add images of a second one"
        version = f"/{prepared.folder.name}" if prepared.folder else ""
        raise RunError(
            f"--classes={classes}, and {DATASET}/{prepared.name}{version} has {len(held)}: "
            f"{', '.join(held)}. {mend}."
        )


def left_out(folder: pathlib.Path) -> dict[str, int] | None:
    """How many images a dataset's build left out, by its reasons; None where no file has them.

    Args:
        folder: Of the dataset's version.
    """
    try:
        with open(folder / "exclusions.csv", newline="", encoding="utf-8") as file:
            return dict(collections.Counter(row["reason"] for row in csv.DictReader(file)))
    except (OSError, ValueError, KeyError):
        return None


def how_to_build(name: str, data_dir: str, more: str = "") -> str:
    """The command that builds a dataset, as a sentence.

    Args:
        name: Of its config.
        data_dir: As given.
        more: Further flags.
    """
    where = f" --data_dir={shlex.quote(data_dir)}" if data_dir else ""
    more = f" {more}" if more else ""
    build = f"tfds build {DATASET} --config={name} --manual_dir=DIR{where}{more}"
    return f"Build it: {build} (BUILD.md)"


def _preferred(root: pathlib.Path) -> tuple[str, str]:
    for name in _PREFERENCE[:-1]:
        if _versions(root, name):
            return name, f"the first of {', '.join(_PREFERENCE)} that is built in {root}"
    return SYNTHETIC, f"neither full nor article is built in {root}: synthetic images stand in"


def _not_built(name: str, root: pathlib.Path, data_dir: str) -> str:
    there = built(root)
    held = f"built there: {', '.join(there) or 'none'}" if root.is_dir() else "there is no folder"
    text = f"--dataset={name} is not built in {root} ({held}). "
    if name in _CONFIGS:
        return text + how_to_build(name, data_dir)
    if meant := names.nearest(name, there, most=1):
        return f"{text}Did you mean --dataset={meant[0]}?"
    if meant := names.nearest(name, _CONFIGS, most=1):
        return f"{text}Did you mean {meant[0]}? " + how_to_build(meant[0], data_dir)
    configs = ", ".join(_CONFIGS)
    return f"{text}Give one that is, or one of {configs}. " + how_to_build("NAME", data_dir)


def _versions(root: pathlib.Path, name: str) -> list[pathlib.Path]:
    """The folders of a dataset that TFDS wrote to their end, the newest last."""
    folder = root / DATASET / name
    versions = [folder / each for each in _listed(folder) if _VERSION.fullmatch(each)]
    whole = [path for path in versions if os.path.isfile(path / "dataset_info.json")]
    return sorted(whole, key=_number)


def _number(version: pathlib.Path) -> tuple[int, ...]:
    return tuple(map(int, version.name.split(".")))


def _listed(folder: pathlib.Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise RunError(
            f"The datasets in {folder} can't be read ({getattr(error, 'strerror', error)}). Give "
            "another --data_dir."
        ) from None
