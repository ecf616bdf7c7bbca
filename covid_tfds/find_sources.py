"""Where the images of a config lie: in the manual folder, or fetched."""

import itertools
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import requests
import tensorflow_datasets as tfds
from etils import epath

from covid_tfds import collect, collect_phantom, patient_key, progress
from covid_tfds.collection import Collection
from covid_tfds.config import CovidConfig
from covid_tfds.errors import DatasetError
from covid_tfds.records import OWN
from covid_tfds.sources import cohen, kaggle, own, storage
from covid_tfds.spool import Spool


def collect_for(
    config: CovidConfig,
    title: str,
    dl_manager: tfds.download.DownloadManager,
    data_path: epath.Path,
    spool: Spool,
) -> Collection:
    """The images of a config.

    Args:
        config: What is asked for.
        title: Names the build in its report.
        dl_manager: Knows the manual folder, and fetches.
        data_path: Folder of this version; that of all configs, two above it, has the salt.
        spool: Takes the pixels.

    Raises:
        DatasetError: A source is missing or can't be used.
    """
    if config.images == "phantom":
        return collect_phantom.collect_phantom(
            title, spool, seed=config.seed, patients=config.patients, shortcut=config.shortcut
        )
    manual_dir = _manual_dir(config, dl_manager)
    if config.images == "folder":
        keys = patient_key.Keys(lambda: patient_key.load_salt(data_path.parent.parent))
        return collect.collect_own(title, own.images(manual_dir), spool, keys, config.licenses)
    commit = cohen.PINNED_COMMIT if config.images == "full" else cohen.ARTICLE_COMMIT
    with progress.shown("looking for the sources"):
        kaggle_files, cohen_files = _kaggle(manual_dir), _cohen(manual_dir, dl_manager, commit)
    if config.images == "full":
        return collect.collect_full(
            title, kaggle_files, cohen_files, spool, strict=config.strict,
            wanted_licenses=config.licenses,
        )  # fmt: skip
    return collect.collect_article(
        title, kaggle_files, cohen_files, spool,
        grouped=config.images == "article_grouped", strict=config.strict,
    )  # fmt: skip


def changed(
    config: CovidConfig, manual_dir: os.PathLike | None, recorded: Sequence[Mapping[str, Any]]
) -> str:
    """Whether the sources are those of a build, by the names, sizes and times of their files.

    Args:
        config: What was built.
        manual_dir: Where the sources are now; None when it isn't given.
        recorded: The origins that the build recorded.

    Returns:
        A few words for the summary.
    """
    if config.images == "phantom":
        return "sources unchanged (drawn)"
    if manual_dir is None or not recorded:
        return "sources not compared"
    try:
        now = {name: files.listing_sha256() for name, files in _present(config, manual_dir)}
    except (DatasetError, OSError):
        return "sources changed (they can't be read now)"
    then = {each["source"]: each["listing_sha256"] for each in recorded if each["source"] in now}
    if not now:
        return "sources not compared: none are in the manual folder"
    return "sources unchanged" if now == then else "sources changed"


def _present(config: CovidConfig, manual_dir: os.PathLike) -> list[tuple[str, storage.Storage]]:
    folder = pathlib.Path(manual_dir).expanduser()
    if config.images == "folder":
        return [(OWN, storage.folder(folder))] if folder.is_dir() else []
    found = [("kaggle", kaggle.find(folder)), ("cohen", cohen.find(folder))]
    return [(name, files) for name, files in found if files]


def _manual_dir(config: CovidConfig, dl_manager: tfds.download.DownloadManager) -> pathlib.Path:
    """The manual folder.

    Raises:
        DatasetError: There is none; says what belongs into it for this config.
    """
    trees = own.TREE if config.images == "folder" else f"{kaggle.TREE}\n{cohen.TREE}"
    try:
        return pathlib.Path(dl_manager.manual_dir)
    except NotADirectoryError as error:
        raise DatasetError(
            f"{error.filename} is a file; --manual_dir is the folder that holds it."
        ) from None
    except AssertionError as error:
        named = re.search("Manual directory (.*) does not exist or is empty", str(error))
        where = named[1] if named else "none is given"
        raise DatasetError(
            f"The manual folder is not there, or empty: {where}. Give it with --manual_dir. "
            f"Expected in it:\n{trees}"
        ) from None


def _kaggle(manual_dir: pathlib.Path) -> storage.Storage:
    found = kaggle.find(manual_dir)
    if not found:
        raise DatasetError(
            f"The Kaggle images are not in {manual_dir}. Expected there (--manual_dir):\n"
            f"{kaggle.TREE}\n{cohen.TREE}\n{storage.seen(manual_dir)}"
        )
    return found


def _cohen(
    manual_dir: pathlib.Path, dl_manager: tfds.download.DownloadManager, commit: str
) -> storage.Storage:
    if found := cohen.find(manual_dir):
        return found
    url = cohen.url(commit)
    try:
        if not _fetched(dl_manager, url):
            # TFDS tries for minutes where there is no network at all; one look tells it at once.
            requests.head(url, timeout=20, allow_redirects=True).raise_for_status()
        path = pathlib.Path(dl_manager.download(url))
    except Exception as error:  # whatever the network answers, the remedy is the same
        of_network = isinstance(error, requests.RequestException)
        if isinstance(error, OSError) and error.errno and not of_network:  # the disk refused it
            raise
        raise DatasetError(
            f"The Cohen images are not in {manual_dir} and {url} could not be fetched "
            f"({type(error).__name__}). Put them there (--manual_dir):\n{cohen.TREE}\n"
            f"{storage.seen(manual_dir)}"
        ) from None
    found = storage.archive(path, ("covid-chestxray-dataset-*",), "metadata.csv")
    if not found:
        raise DatasetError(f"{path} holds no metadata.csv. Delete it and build again.")
    return found


def _fetched(dl_manager: tfds.download.DownloadManager, url: str) -> bool:
    """Whether TFDS has the file of a URL: beside each that it fetched, its .INFO names the URL."""
    folder = dl_manager.download_dir
    infos = itertools.chain(folder.glob("*.INFO"), folder.glob("*/*.INFO"))  # of all, of a dataset
    return any(url in info.read_text() for info in infos if info.with_suffix("").exists())
