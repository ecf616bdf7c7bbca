"""Links in a folder: followed, but never in a circle, nor to what is listed anyway."""

import pytest

from covid_tfds.sources import storage
from tests.covid_tfds.made_sources import write, write_names


@pytest.mark.parametrize("target", ["disk/healthy", "deeper/disk"])
def test_linked_folders_and_files_are_followed(tmp_path, target):
    write(tmp_path / target / "p1/a.png", b"bytes")
    root = tmp_path / "d"
    root.mkdir()
    (root / "healthy").symlink_to(tmp_path / target)
    (root / "b.png").symlink_to(tmp_path / target / "p1/a.png")
    files = storage.folder(root)
    assert files.names == ["b.png", "healthy/p1/a.png"]
    assert not files.exclusions
    assert files.read("healthy/p1/a.png") == files.read("b.png") == b"bytes"


def test_links_in_a_loop_end_and_are_named(tmp_path):
    write_names(tmp_path, ["a/x.png", "b/y.png"])
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "a/b").symlink_to(tmp_path / "b")
    (tmp_path / "b/a").symlink_to(tmp_path / "a")
    files = storage.folder(tmp_path)
    assert files.names == ["a/x.png", "b/y.png"]
    assert dict(files.exclusions) == {
        "a/up/": "link to a folder above it",
        "a/self": "broken link",
        "a/b/": "a link to a folder that is here itself",
        "b/a/": "a link to a folder that is here itself",
    }


def test_links_in_a_loop_outside_end_and_are_named(tmp_path):
    write_names(tmp_path / "disk", ["a/x.png", "b/y.png"])
    (tmp_path / "disk/a/b").symlink_to(tmp_path / "disk/b")
    (tmp_path / "disk/b/a").symlink_to(tmp_path / "disk/a")
    write_names(tmp_path / "d", ["z.png"])
    (tmp_path / "d/a").symlink_to(tmp_path / "disk/a")
    files = storage.folder(tmp_path / "d")
    assert files.names == ["a/b/y.png", "a/x.png", "z.png"]
    assert dict(files.exclusions) == {"a/b/a/": "link to a folder above it"}


@pytest.mark.parametrize("root", ["d", "link"])
def test_a_linked_folder_that_is_here_itself_is_read_once(tmp_path, root):
    """pydicom-data has its files in data_store/data and a link to them beside it."""
    write_names(tmp_path / "d", ["data_store/data/a/x.png", "other/z.png"])
    (tmp_path / "link").symlink_to(tmp_path / "d")
    (tmp_path / "d/data").symlink_to("data_store/data")
    (tmp_path / "d/other/deep").symlink_to(tmp_path / "link/data_store/data/a")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/back").symlink_to(tmp_path / "d/data_store")
    (tmp_path / "d/out").symlink_to(tmp_path / "disk")
    files = storage.folder(tmp_path / root)
    assert files.names == ["data_store/data/a/x.png", "other/z.png"]
    here = "a link to a folder that is here itself"
    assert files.exclusions == [("data/", here), ("other/deep/", here), ("out/back/", here)]


def test_a_public_source_may_be_made_of_links_to_its_own_copy(tmp_path):
    write_names(tmp_path / "chest_xray", ["chest_xray/train/a.png"])
    (tmp_path / "chest_xray/train").symlink_to("chest_xray/train")
    files = storage.find(tmp_path, ("chest_xray",), "train/")
    assert files.names == ["chest_xray/train/a.png", "train/a.png"]


def test_a_link_to_a_hidden_folder_is_the_only_way_to_it_and_followed(tmp_path):
    write_names(tmp_path, [".store/a/x.png", "b/y.png"])
    (tmp_path / "a").symlink_to(".store/a")
    files = storage.folder(tmp_path)
    assert files.names == ["a/x.png", "b/y.png"]
    assert dict(files.exclusions) == {".store/": "hidden or system file"}


def test_a_root_whose_name_begins_like_the_targets_is_not_above_it(tmp_path):
    write_names(tmp_path, ["data/a/x.png", "data2/y.png"])
    (tmp_path / "data/b").symlink_to(tmp_path / "data2")
    assert storage.folder(tmp_path / "data").names == ["a/x.png", "b/y.png"]


def test_two_links_to_one_folder_outside_are_both_followed(tmp_path):
    write_names(tmp_path / "disk", ["x.png"])
    (tmp_path / "d").mkdir()
    for name in "ab":
        (tmp_path / "d" / name).symlink_to(tmp_path / "disk")
    files = storage.folder(tmp_path / "d")
    assert files.names == ["a/x.png", "b/x.png"]
    assert not files.exclusions
