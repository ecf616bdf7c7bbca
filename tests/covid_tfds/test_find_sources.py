"""Whether the sources of a dataset are those that it was built of."""

import shutil

import pytest

from covid_tfds import find_sources
from covid_tfds.config import CONFIGS
from covid_tfds.sources import cohen, kaggle, storage
from tests.covid_tfds.made_sources import write_names


@pytest.fixture
def manual(tmp_path):
    """A folder with both public sources."""
    write_names(tmp_path, ["chest_xray/train/NORMAL/a.jpeg", "chest_xray/test/NORMAL/b.jpeg"])
    write_names(tmp_path, ["covid-chestxray-dataset/metadata.csv"])
    return tmp_path


def recorded(**files: storage.Storage) -> list[dict]:
    return [{"source": name, "listing_sha256": of.listing_sha256()} for name, of in files.items()]


def test_public_sources_are_compared_with_those_of_the_build(manual):
    then = recorded(kaggle=kaggle.find(manual), cohen=cohen.find(manual))

    def said() -> str:
        return find_sources.changed(CONFIGS["full"], manual, then)

    assert said() == "sources unchanged"
    (manual / "chest_xray/train/NORMAL/c.jpeg").write_bytes(b"x")
    assert said() == "sources changed"
    shutil.rmtree(manual / "chest_xray")  # the other one is as it was
    assert said() == "sources unchanged"
    (manual / "covid-chestxray-dataset/metadata.csv").rename(manual / "covid-chestxray-dataset.zip")
    shutil.rmtree(manual / "covid-chestxray-dataset")
    assert said() == "sources changed (they can't be read now)"


@pytest.mark.parametrize("config", ["full", "article", "folder"])
def test_sources_that_are_not_there_are_not_compared(tmp_path, config):
    then = [{"source": "own", "listing_sha256": ""}]
    for folder, of, said in (
        (None, then, "sources not compared"),
        (tmp_path, [], "sources not compared"),
        (tmp_path / "gone", then, "sources not compared: none are in the manual folder"),
    ):
        assert find_sources.changed(CONFIGS[config], folder, of) == said
