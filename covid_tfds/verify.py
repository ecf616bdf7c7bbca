"""Whether a dataset is what its build wrote: `python -m covid_tfds.verify DATASET`.

Every file is compared with its digest, every image is decoded and hashed, groups are looked for in
two splits, and the fingerprint is computed from what is stored. The article's list of images is
compared with the one that was published with this code.
"""

import argparse
import atexit
import collections
import dataclasses
import gc
import io
import os
import pathlib
import shlex
import sys
import warnings
from collections.abc import Iterator

import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from covid_tfds import copies, digests, paths, progress
from covid_tfds.config import CONFIGS
from covid_tfds.errors import DatasetError, shown
from covid_tfds.fingerprint import fingerprint
from covid_tfds.sources import article, wording

_NAME = "covid_tfds"
_SHOWN = 10
_MARKS = (digests.FILE, "dataset_info.json")  # one of them makes a folder a dataset


@dataclasses.dataclass
class Verdict:
    """What was found.

    Attributes:
        dataset: Its full name.
        images: How many were read.
        fingerprint: Of what is stored.
        faults: What is wrong, a sentence each; empty when the dataset is whole.
        remarks: What else there is to say.
    """

    dataset: str
    images: int = 0
    fingerprint: str = ""
    faults: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)


def verify(folder: str | os.PathLike) -> Verdict:
    """Checks a dataset against its metadata.

    Args:
        folder: Of the version, e.g. `DATA_DIR/covid_tfds/full/2.0.0`.
    """
    path = epath.Path(folder)
    verdict = Verdict("/".join(path.parts[-3:]))
    recorded = digests.read(path)
    if recorded is None:
        verdict.faults.append(
            f"{digests.FILE} is missing or damaged, or the dataset was built by 1.0.0."
        )
        return verdict
    try:
        with progress.shown("hashing the files"):
            present = digests.of_files(path)
    except OSError as error:
        verdict.faults.append(f"{error.filename} can't be read: {error.strerror}.")
        return verdict
    _check_files(present, recorded, verdict)
    if verdict.faults:  # what can't be trusted is not decoded
        return verdict
    with progress.no_greeting(), progress.shown("loading TensorFlow"):
        import tensorflow as _  # noqa: F401 (TFDS does it where its lines break a bar)
    try:
        builder = tfds.builder_from_directory(path)
        _check_images(builder, dict(builder.info.metadata or {}), verdict)
    except Exception as error:  # digests made again over foreign files: TensorFlow raises anything
        what = (str(error).splitlines() or [type(error).__name__])[0]
        verdict.faults.append(f"The images can't be read: {what}")
    return verdict


def _check_files(present: dict[str, str], recorded: dict[str, str], verdict: Verdict) -> None:
    for name in sorted(recorded.keys() | present.keys()):
        if name not in present:
            verdict.faults.append(f"{name} is missing.")
        elif name not in recorded:
            verdict.faults.append(f"{name} is not of this dataset.")
        elif present[name] != recorded[name]:
            verdict.faults.append(f"{name} is damaged: its bytes are not those that were written.")


def _check_images(builder: tfds.core.DatasetBuilder, metadata: dict, verdict: Verdict) -> None:
    rows, places, wrong = [], collections.defaultdict(set), []
    count = sum(split.num_examples for split in builder.info.splits.values())
    for split, example in progress.counted(_examples(builder), "decoding", count):
        image_id, group = example["image_id"].decode(), example["group"].decode()
        digest = copies.pixels_sha256(example["image"]).hex()
        if digest != example["image_sha256"].decode():
            wrong.append(image_id)
        label = metadata["class_names"][int(example["label"])]
        rows.append((split, image_id, label, digest))
        places[group].add(split)
    verdict.images, verdict.fingerprint = len(rows), fingerprint(rows)
    if wrong:
        verdict.faults.append(
            f"Pixels of {wording.counted(len(wrong), 'image')} changed: {_some(wrong)}."
        )
    repeated = [k for k, n in collections.Counter(row[1] for row in rows).items() if n > 1]
    if repeated:
        verdict.faults.append(f"Images are stored twice: {_some(repeated)}.")
    if verdict.fingerprint != metadata.get("fingerprint"):
        verdict.faults.append(f"The fingerprint is not {metadata.get('fingerprint')}, as recorded.")
    torn = sorted(name for name, where in places.items() if len(where) > 1)
    config = metadata.get("config", {})
    as_published = config.get("images") == "article"
    if torn and not as_published:
        verdict.faults.append(f"Groups are in two splits: {_some(torn)}.")
    elif torn:
        verdict.remarks.append(f"As published, {_some(torn)} are in more than one split.")
    if as_published and config.get("max_examples_per_split") is None:
        _compare_with_published(rows, verdict)


def _compare_with_published(rows: list[tuple[str, str, str, str]], verdict: Verdict) -> None:
    """The article's images, splits and labels, which are known; its pixels were never published."""
    ours = fingerprint((split, image_id, label, "") for split, image_id, label, _ in rows)
    if ours == article.PUBLISHED:
        verdict.remarks.append("Images, splits and labels are those of the article.")
    else:
        verdict.faults.append("Images, splits or labels are not those of the article.")


def _examples(builder: tfds.core.DatasetBuilder) -> Iterator[tuple[str, dict]]:
    from covid_tfds.streaming import read_config  # imports TensorFlow, which `verify` does first

    wanted = ("image", "label", "image_id", "group", "image_sha256")
    for split in sorted(builder.info.splits):
        if builder.info.file_format.value in ("tfrecord", "riegeli"):
            stored = builder.as_dataset(
                split=split,
                decoders=tfds.decode.PartialDecoding(dict.fromkeys(wanted, True)),
                read_config=read_config(),
            ).as_numpy_iterator()
        else:
            stored = builder.as_data_source(split=split)
        for example in stored:
            yield split, example


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _root(data_dir: str) -> pathlib.Path:
    """Folder of the datasets."""
    return pathlib.Path(
        paths.expanded(data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR)
    )


def _folder(dataset: str, data_dir: str) -> pathlib.Path:
    """The folder of a version: as given, or the newest of a config's name.

    Beside a `data_dir` it is looked for there first, and what is no path nowhere else.

    Raises:
        DatasetError: There is none; says what is built.
    """
    built = _root(data_dir) / _NAME
    given = pathlib.Path(paths.expanded(dataset))
    under = built / dataset.removeprefix(f"{_NAME}/").strip("/")
    places = (under, given) if data_dir else (given, under)
    for place in places[:1] if data_dir and given.name == dataset else places:
        if any((place / name).is_file() for name in _MARKS):
            return place
        if versions := _versions(place):
            return versions[-1]
    names = sorted(path.name for path in built.glob("[!.]*") if _versions(path))
    there = wording.listed(names) if names else "none"
    raise DatasetError(
        f"{wording.one_line(dataset)!r} is no dataset in {built.parent} (built there: {there})."
        f"{wording.nearest(dataset, names)} Build it, or give another --data_dir."
    )


def _versions(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders of the versions of a config, the newest last."""
    named = {path.parent for name in _MARKS for path in folder.glob(f"*/{name}")}
    valid = [path for path in named if tfds.core.Version.is_valid(path.name)]
    return sorted(valid, key=lambda path: tfds.core.Version(path.name))


def _build_again(folder: pathlib.Path) -> str:
    """The command that replaces a dataset; DATA stands for the folder of one that was moved."""
    config, kept = folder.parent.name, folder.parent.parent.name == _NAME
    root = shlex.quote(str(folder.parents[2])) if kept else "DATA"
    of = config if config in CONFIGS else "..."
    manual = "" if config == "phantom" else " --manual_dir=DIR"
    return f"tfds build covid_tfds --config={of}{manual} --data_dir={root} --overwrite"


def main(arguments: list[str] | None = None) -> int:
    """Prints what was found; 0 when the dataset is whole, 1 when it is not, 2 without one."""
    parser = argparse.ArgumentParser(prog="python -m covid_tfds.verify", description=__doc__)
    parser.add_argument("dataset", help="a config's name, e.g. full, or its folder, or a version's")
    parser.add_argument("--data_dir", default="", help="folder of the datasets")
    asked = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be none of its encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.ERROR)  # TFDS warns of what is deprecated in itself
    try:
        folder = _folder(asked.dataset, asked.data_dir).absolute()
        with warnings.catch_warnings(action="ignore"):  # of libraries: `-W error` is not for them
            verdict = verify(folder)
    except DatasetError as error:
        print(shown(error).lstrip("\n"), file=sys.stderr)
        return 2
    except OSError as error:  # no permission, or a name that is too long
        name = wording.one_line(asked.dataset)
        print(wording.wrapped(f"{name} can't be read: {error.strerror}."), file=sys.stderr)
        return 2
    print(wording.wrapped(f"{verdict.dataset} in {folder}"))
    for line in (*verdict.remarks, *verdict.faults):
        print(wording.wrapped(f"  {line}"))
    if verdict.faults:
        print(f"NOT WHOLE. Build it again:\n  {_build_again(folder)}")
        return 1
    print(f"whole: {wording.counted(verdict.images, 'image')},\nfingerprint {verdict.fingerprint}")
    return 0


if __name__ == "__main__":
    atexit.register(gc.freeze)  # collecting what TensorFlow holds takes seconds
    sys.exit(main())
