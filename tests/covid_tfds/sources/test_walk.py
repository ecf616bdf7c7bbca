"""Names that no terminal should see, and folders of TFDS among the images."""

import errno
import os

import pytest

from covid_tfds.sources import own, storage, walk
from tests.covid_tfds.made_sources import reasons, write_names, zipped


def test_names_with_control_characters_are_shown_and_excluded(tmp_path):
    names = ["a/x\r.png", "a/\x1b[2Jy.png", "b\n/z.png", "a/\u202egnp.png", "a/good.png"]
    write_names(tmp_path / "chest_xray/train", names)
    zipped(tmp_path, "chest_xray", tmp_path / "archive.zip")
    reason = "name holds control characters"
    files = storage.folder(tmp_path / "chest_xray/train")
    assert files.names == ["a/good.png"]
    assert dict(files.exclusions) == {
        "a/x\\r.png": reason, "a/\\x1b[2Jy.png": reason, "b\\n/": reason,
        "a/\\u202egnp.png": reason,
    }  # fmt: skip
    archive = storage.archive(tmp_path / "archive.zip", ("chest_xray",), "train/")
    assert archive.names == ["train/a/good.png"]
    assert dict(archive.exclusions) == {
        "train/a/x\\r.png": reason, "train/a/\\x1b[2Jy.png": reason, "train/b\\n/z.png": reason,
        "train/a/\\u202egnp.png": reason,
    }  # fmt: skip
    (tmp_path / "chest_xray/train/c\x1b[2J.7z").write_bytes(b"x")
    assert "\x1b" not in storage.seen(tmp_path / "chest_xray/train")


BUILT = {
    "a dataset": ["covid_tfds/folder/.lock", "covid_tfds/folder/2.0.0/dataset_info.json"],
    "a build that was stopped": ["covid_tfds/folder/.lock", "covid_tfds/folder/x/1.tfrecord"],
    "the salt": ["covid_tfds/.patient_salt", "covid_tfds/a/1.png"],
    "downloads": ["downloads/extracted/ZIP.x/a/1.png"],
    "the manual folder of downloads": ["downloads/manual/a/1.png"],
}


@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize("above", ["", "out/"])
def test_what_tfds_keeps_among_the_images_is_no_class(tmp_path, kind, above):
    write_names(tmp_path, ["a/1.png", "b/2.png", *(above + name for name in BUILT[kind])])
    found = own.images(tmp_path)
    assert found.class_names == ("a", "b")
    folder = above + BUILT[kind][0].split("/")[0]
    assert reasons(found.exclusions) == {f"own/{folder}/": "a folder of TFDS"}


def test_another_dataset_of_tfds_is_no_class(tmp_path):
    built = [f"mnist/3.0.1/{name}" for name in ("dataset_info.json", "features.json", "x")]
    write_names(tmp_path, ["a/1.png", "b/2.png", *built])
    assert reasons(own.images(tmp_path).exclusions) == {"own/mnist/3.0.1/": "a folder of TFDS"}


@pytest.mark.parametrize("name", ["covid_tfds", "downloads"])
def test_classes_may_be_called_like_folders_of_tfds(tmp_path, name):
    write_names(tmp_path, [f"{name}/1.png", "b/2.png"])
    assert own.images(tmp_path).class_names == ("b", name)


def test_a_disk_that_fails_while_a_folder_is_listed_ends_the_build(tmp_path, monkeypatch):
    scandir = os.scandir
    (tmp_path / "patient").mkdir()

    def failing(path):
        if str(path).rstrip("/").endswith("patient"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OSError, match=r"Stale file handle.*patient"):
        list(walk.Walk(str(tmp_path)).files())


def test_a_folder_that_vanishes_before_it_is_read_is_an_exclusion(tmp_path):
    walked = walk.Walk(str(tmp_path / "gone"))
    assert not list(walked.files())
    assert walked.exclusions == [("./", "folder can't be opened")]
