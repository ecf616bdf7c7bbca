"""The article's list: its images, its splits, and whether their bytes are those of its day."""

import collections
import csv
import shutil

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import article, cohen, kaggle
from tests.covid_tfds.made_sources import HEADER, row, write_names


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The 306 names, without pixels, and a folder that the Kaggle reader wants."""
    root = tmp_path_factory.mktemp("article")
    kind = {"healthy": "NORMAL"}
    names = [f"chest_xray/train/{kind.get(e['label'], 'PNEUMONIA')}/{e['filename']}"
             for e in article.listed() if e["source"] == "kaggle"]  # fmt: skip
    tests = ["chest_xray/test/NORMAL/IM-0003-0001.jpeg",
             "chest_xray/test/PNEUMONIA/person2_virus_5.jpeg"]  # fmt: skip
    covid = [e["filename"] for e in article.listed() if e["source"] == "cohen"]
    folder = root / "covid-chestxray-dataset"
    write_names(root, [*names, *tests])
    write_names(folder, ["metadata.csv", *(f"images/{name}" for name in covid)])
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, restval="")
        writer.writeheader()
        writer.writerows(row(name, f"p{i}", view="L") for i, name in enumerate(covid))
    return root


def test_the_listed_images_come_in_the_lists_order_whatever_their_view(sources):
    records = article.images(kaggle.find(sources), cohen.find(sources))
    assert [r.name.rsplit("/", 1)[1] for r in records] == [e["filename"] for e in article.listed()]
    assert [r.label for r in records] == [e["label"] for e in article.listed()]


def test_of_a_file_that_is_in_several_splits_the_published_one_counts(sources, tmp_path):
    shutil.copytree(sources / "chest_xray", tmp_path / "chest_xray")
    shutil.copytree(tmp_path / "chest_xray" / "train", tmp_path / "chest_xray" / "val")
    records = article.images(kaggle.find(tmp_path), cohen.find(sources))
    assert {r.original_split for r in records if r.source == "kaggle"} == {"train"}


def test_its_own_rule_splits_them():
    assert collections.Counter(article.published_splits()) == {
        "train": 216, "validation": 54, "test": 36
    }  # fmt: skip


def test_missing_images_are_named(sources, tmp_path):
    empty = tmp_path / "covid-chestxray-dataset"
    write_names(empty, ["images/x.png"])
    (empty / "metadata.csv").write_text("patientid,finding,view,filename\n1,todo,PA,x.png\n")
    with pytest.raises(DatasetError, match=r"69 of the article's 306 images are missing"):
        article.images(kaggle.find(sources), cohen.find(tmp_path))


def test_other_bytes_are_named(sources):
    records = article.images(kaggle.find(sources), cohen.find(sources))
    right = [e["git_blob_sha1"] or "0" * 40 for e in article.listed()]
    assert article.drifted(records, right) == []
    last = max(i for i, e in enumerate(article.listed()) if e["git_blob_sha1"])
    wrong = [*right[:last], "0" * 40, *right[last + 1 :]]
    assert article.drifted(records, wrong) == [article.listed()[last]["filename"]]
