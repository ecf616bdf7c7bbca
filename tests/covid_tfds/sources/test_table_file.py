"""A table that is there and can't be read is never passed over for the folders."""

import os

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import own
from tests.covid_tfds.made_sources import write, write_names

CLASSES = ["a/1.png", "b/2.png"]


def broken_link(path):
    path.symlink_to(path.parent / "nowhere")


def pipe(path):
    os.mkfifo(path)


def folder(path):
    write_names(path, ["1.png"])


def empty_folder(path):
    path.mkdir()


def lfs(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")


def annex(path):
    path.write_text("/annex/objects/SHA256E-s12--0.csv\n")


def annex_without_links(path):
    path.write_text("../.git/annex/objects/x/y/SHA256E-s12--0.csv")


UNREADABLE = {
    broken_link: r"broken link\. .*git annex get", pipe: r"not a regular file\. Put a plain file",
    folder: "it is a folder", empty_folder: "empty folder|it is a folder",
    lfs: "pointer of git-lfs.*`git lfs pull`", annex: "pointer of git-annex.*`git annex get`",
    annex_without_links: "pointer of git-annex",
}  # fmt: skip


@pytest.mark.parametrize("make", UNREADABLE)
@pytest.mark.parametrize("name", ["images.csv", "Images.CSV"])
def test_it_ends_the_build_with_what_to_do(tmp_path, make, name):
    write_names(tmp_path, CLASSES)
    make(tmp_path / name)
    with pytest.raises(DatasetError, match=rf"(?i)^images\.csv .*({UNREADABLE[make]})"):
        own.images(tmp_path)


def test_so_does_one_of_the_old_name(tmp_path):
    write_names(tmp_path, CLASSES)
    broken_link(tmp_path / "films.csv")
    with pytest.raises(DatasetError, match=r"^films\.csv in .*broken link"):
        own.images(tmp_path)


def test_a_whole_table_of_another_case_does_not_hide_a_broken_one(tmp_path):
    write_names(tmp_path, CLASSES)
    write(tmp_path / "Images.csv", b"path,label\na/1.png,a\n")
    broken_link(tmp_path / "images.csv")
    with pytest.raises(DatasetError, match="broken link"):
        own.images(tmp_path)


NAMES = ["images.tsv", "images.csv.gz", "images.csv.txt", "Images.CSV.csv", "images.xlsx",
         "IMAGES.XLS", "images.txt", "images.ods", "images.csv.dvc", "images.csv~", "images.json",
         "images.csv (1)", "images.train.csv", "images.parquet"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_table_in_another_format_is_refused(tmp_path, name):
    write_names(tmp_path, [*CLASSES, name])
    with pytest.raises(DatasetError) as refused:
        own.images(tmp_path)
    assert str(refused.value).startswith(f"{name} is there; a table must be called images.csv")


def test_it_may_lie_beside_the_right_one(tmp_path):
    write_names(tmp_path, [*CLASSES, "images.xlsx"])
    write(tmp_path / "images.csv", b"path,label\na/1.png,x\nb/2.png,y\n")
    assert own.images(tmp_path).class_names == ("x", "y")


@pytest.mark.parametrize("name", ["images.zip", "images.png", "images.h5", "images.tsv/1.png"])
def test_other_names_are_no_tables(tmp_path, name):
    write_names(tmp_path, [*CLASSES, name])
    assert {"a", "b"} <= set(own.images(tmp_path).class_names)


@pytest.mark.parametrize(
    "name", ["labels.csv.gz", "labels.csv.txt", "labels.xlsm", "images (1).csv"]
)
def test_other_tables_are_noted(tmp_path, name):
    write_names(tmp_path, [*CLASSES, name])
    assert f"{name} is there and is not read; a table must be called images.csv." in (
        own.images(tmp_path).notes
    )
