"""Links in a folder: followed, but never in a circle, nor to what is listed anyway."""

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import storage, walk
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


def test_of_two_links_to_one_folder_outside_the_first_is_followed(tmp_path):
    write_names(tmp_path / "disk", ["x.png", "in/y.png"])
    (tmp_path / "d").mkdir()
    for name in "ba":
        (tmp_path / "d" / name).symlink_to(tmp_path / "disk")
    (tmp_path / "d/c").symlink_to(tmp_path / "disk/in")
    files = storage.folder(tmp_path / "d")
    assert files.names == ["a/in/y.png", "a/x.png"]
    already = "a link to a folder that was read already"
    assert files.exclusions == [("b/", already), ("c/", already)]
    assert files.listed_as("b/in/y.png") == files.listed_as("c/y.png") == "a/in/y.png"
    assert files.listed_as("d/x.png") == "d/x.png"


def test_a_folder_above_another_link_is_read_without_what_was_read(tmp_path):
    write_names(tmp_path / "disk", ["x.png", "in/y.png"])
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").symlink_to(tmp_path / "disk/in")
    (tmp_path / "d/b").symlink_to(tmp_path / "disk")
    files = storage.folder(tmp_path / "d")
    assert files.names == ["a/y.png", "b/x.png"]
    assert files.exclusions == [("b/in/", "a link to a folder that was read already")]


@pytest.mark.parametrize("twice", [False, True])
def test_thirty_levels_of_two_links_end(tmp_path, twice):
    """There are 2^30 paths."""
    for level in range(30):
        write_names(tmp_path, [f"disk/{level}/x.png"])
        for link in "ab":
            (tmp_path / f"disk/{level}" / link).symlink_to(tmp_path / f"disk/{level + 1}")
    (tmp_path / "disk/30").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").symlink_to(tmp_path / "disk/0")
    files = storage.folder(tmp_path / "d", twice=twice)
    assert len(files.names) == (59 if twice else 30)
    if not twice:
        assert files.names[0] == f"{'a/' * 30}x.png"


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_folders_that_link_each_other_end(tmp_path, twice, inside):
    root = tmp_path / "d"
    disk = root if inside else tmp_path / "disk"
    for i in range(10):
        write_names(disk, [f"{i}/x.png"])
        for k in range(10):
            (disk / f"{i}/to{k}").symlink_to(disk / str(k))
    root.mkdir(exist_ok=True)
    if not inside:
        (root / "all").symlink_to(disk)
    files = storage.folder(root, twice=twice)
    assert len(files.names) == 10 * (1 + twice)


def test_a_link_above_the_root_is_not_followed(tmp_path):
    write_names(tmp_path, ["d/a/x.png", "other/y.png"])
    (tmp_path / "d/up").symlink_to(tmp_path)
    (tmp_path / "d/everything").symlink_to("/")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    files = storage.folder(tmp_path / "link")
    assert files.names == ["a/x.png"]
    assert {reason for _, reason in files.exclusions} == {"link to a folder above it"}


def test_too_many_files_and_folders_end_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "_MOST_ENTRIES", 20)
    write_names(tmp_path, [f"a/{i}.png" for i in range(19)])
    assert len(storage.folder(tmp_path).names) == 19
    write_names(tmp_path / "disk", ["x.png"])
    (tmp_path / "a/more").symlink_to(tmp_path / "disk")
    with pytest.raises(DatasetError, match=r"more than 20 files and folders.*links to other fold"):
        storage.folder(tmp_path)


def test_a_link_above_a_linked_folder_does_not_come_back_to_it(tmp_path):
    write_names(tmp_path / "disk", ["in/x.png", "y.png"])
    (tmp_path / "disk/in/up").symlink_to(tmp_path / "disk")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").symlink_to(tmp_path / "disk/in")
    files = storage.folder(tmp_path / "d")
    assert files.names == ["a/up/y.png", "a/x.png"]
    assert files.exclusions == [("a/up/in/", "link to a folder above it")]
