"""Folders and zips by name: what is listed, what is excluded with its reason, what is read."""

import errno
import os
import pathlib
import tracemalloc
import zipfile

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import cohen, kaggle, listing, own, storage
from tests.covid_tfds.made_sources import write, write_names, zipped

COMMIT = "584034aa7fbf06496741f11008d72fd791c8e443"
SOURCE = (("chest_xray",), "train/")


def test_names_with_blanks_and_letters_of_any_script_are_read(tmp_path):
    name = "Thorax ä 胸部/image 1.png"
    write(tmp_path / name, b"bytes")
    files = storage.folder(tmp_path)
    assert files.names == [name]
    assert files.read(name) == b"bytes"


def test_a_later_change_of_the_working_folder_moves_nothing(tmp_path, monkeypatch):
    write(tmp_path / "d/a.png", b"bytes")
    monkeypatch.chdir(tmp_path)
    files = storage.folder("d")
    monkeypatch.chdir("/")
    assert files.read("a.png") == b"bytes"
    assert files.where == "d"


def test_what_is_no_file_is_excluded_with_its_reason(tmp_path):
    write_names(tmp_path, ["a/x.png"])
    (tmp_path / "a/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "a/.#x.png").symlink_to("user@host.1234")  # as Emacs marks a file it has open
    (tmp_path / "a/null.png").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "a/pipe.png")
    (tmp_path / "empty/inner").mkdir(parents=True)
    files = storage.folder(tmp_path)
    assert files.names == ["a/x.png"]
    assert dict(files.exclusions) == {
        "a/gone.png": "broken link",
        "a/.#x.png": "hidden or system file",
        "a/null.png": "not a regular file",
        "a/pipe.png": "not a regular file",
        "empty/inner/": "empty folder",
    }
    assert files.why_not("a/pipe.png") == "not a regular file"
    assert files.why_not("empty/inner/z.png") == "empty folder"
    assert files.why_not("a/x.png") == ""


def test_names_that_are_not_utf8_are_shown_and_excluded(tmp_path):
    write_names(tmp_path, ["healthy/x.png"])
    for name in (b"healthy/radiograf\xeda.png", b"neumon\xeda/a.png"):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")
    files = storage.folder(tmp_path)
    assert files.names == ["healthy/x.png"]
    assert files.exclusions == [
        ("healthy/radiograf\\xeda.png", "name is not UTF-8"),
        ("neumon\\xeda/", "name is not UTF-8"),
    ]
    assert storage.seen(tmp_path).encode()  # every name in a message can be printed


def test_a_root_that_is_not_utf8_is_read(tmp_path):
    root = pathlib.Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xedndice")))
    write(root / "a.png", b"bytes")
    files = storage.folder(root)
    assert files.read("a.png") == b"bytes"
    assert files.where.endswith("\\xedndice")


HIDDEN = [".DS_Store", "a/._x.png", "a/Thumbs.db", "a/desktop.ini", "a/THUMBS.DB", "a/.hidden.png"]
HIDDEN_FOLDERS = [".ipynb_checkpoints/", "__MACOSX/", "a/@eaDir/", "a/.git/", "$RECYCLE.BIN/"]


def test_hidden_and_system_files_go_by_one_rule_in_folder_and_zip(tmp_path):
    inner = [f"{folder}{name}" for folder in HIDDEN_FOLDERS for name in ("x.png", "y/z.png")]
    write_names(tmp_path / "chest_xray", ["a/x.png", "train/b.png", *HIDDEN, *inner])
    zipped(tmp_path, "chest_xray", tmp_path / "archive.zip")
    wanted = sorted((name, "hidden or system file") for name in (*HIDDEN, *HIDDEN_FOLDERS))
    for files in (
        storage.folder(tmp_path / "chest_xray"),
        storage.archive(tmp_path / "archive.zip", *SOURCE),
    ):
        assert files.names == ["a/x.png", "train/b.png"]
        assert files.exclusions == wanted


def test_one_name_in_two_unicode_forms_is_one_file(tmp_path):
    for name in ("e\u0301.png", "\u00e9.png", "plain.png"):
        write(tmp_path / name, name.encode())
    if len(os.listdir(tmp_path)) == 2:
        pytest.skip("this file system takes both forms for one")
    files = storage.folder(tmp_path)
    assert files.names == ["e\u0301.png", "plain.png"]
    assert files.exclusions == [("\u00e9.png", "same name as another file in other Unicode form")]
    assert files.read("e\u0301.png") == "e\u0301.png".encode()


def test_two_images_of_one_name_in_two_unicode_forms_are_not_one(tmp_path):
    """The sizes are equal, too, as those of two DICOM files without compression are."""
    for i, folder in enumerate(("m\u00e4", "ma\u0308")):
        for k in range(3):
            write(tmp_path / folder / f"{k}.png", f"{i * (k > 0)}{k}".encode())
    write(tmp_path / "b/1.png", b"x")
    if len(os.listdir(tmp_path)) == 2:
        pytest.skip("this file system takes both forms for one")
    with pytest.raises(DatasetError, match=r"2 files have the name of another .*Merge the folders"):
        own.images(tmp_path)
    for k in range(3):
        write(tmp_path / "m\u00e4" / f"{k}.png", f"0{k}".encode())
        write(tmp_path / "ma\u0308" / f"{k}.png", f"0{k}".encode())
    found = own.images(tmp_path)
    assert len(found.records) == 4
    assert {e.reason for e in found.exclusions} == {
        "same name as another file in other Unicode form"
    }


def test_of_two_forms_of_a_name_one_that_cant_be_read_is_not_the_same(tmp_path):
    for folder in ("m\u00e4", "ma\u0308"):
        write(tmp_path / folder / "1.png", b"x")
    if len(os.listdir(tmp_path)) == 1:
        pytest.skip("this file system takes both forms for one")
    assert len(own.images(tmp_path).records) == 1
    for folder in ("m\u00e4", "ma\u0308"):
        os.truncate(tmp_path / folder / "1.png", listing.LIMIT + 1)
    with pytest.raises(DatasetError, match=r"1 file has the name of another one with other bytes"):
        own.images(tmp_path)


def test_what_changed_since_the_listing_is_unreadable_with_a_reason(tmp_path):
    write_names(tmp_path, ["gone.png", "pipe.png", "folder.png", "link.png"])
    files = storage.folder(tmp_path)
    for name in files.names:
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes: reading it would never end
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "link.png")
    wanted = {
        "gone.png": "file has vanished",
        "pipe.png": "not a regular file",
        "folder.png": "not a regular file",
        "link.png": "file can't be opened",
    }
    for name, reason in wanted.items():
        with pytest.raises(storage.Unreadable, match=f"^{reason}$"):
            files.read(name)


def test_an_error_of_the_machine_leaves_out_no_file(tmp_path, monkeypatch):
    write_names(tmp_path, ["a/x.png"])
    files = storage.folder(tmp_path)

    def fails(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(OSError, match="Too many open files") as raised:
        files.read("a/x.png")
    assert raised.value.filename == str(tmp_path / "a/x.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_excluded(tmp_path):
    write_names(tmp_path, ["a/x.png", "b/y.png"])
    (tmp_path / "a").chmod(0)
    (tmp_path / "b/y.png").chmod(0)
    try:
        files = storage.folder(tmp_path)
        assert files.exclusions == [("a/", "folder can't be opened")]
        with pytest.raises(storage.Unreadable, match="file can't be opened"):
            files.read("b/y.png")
    finally:
        (tmp_path / "a").chmod(0o700)


def test_a_file_above_the_limit_is_not_read(tmp_path):
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(listing.LIMIT + 1)  # takes no room on the disk
    with pytest.raises(storage.Unreadable, match="larger than 512 MiB"):
        storage.folder(tmp_path).read("huge.png")


def test_no_folder_is_a_sentence(tmp_path):
    for path in (tmp_path / "nowhere", f"{tmp_path}/a\0b"):
        with pytest.raises(DatasetError, match="can't be opened as a folder"):
            storage.folder(path)


@pytest.mark.parametrize("below", ["", "/chest_xray"])
def test_a_file_in_place_of_the_folder_is_a_sentence(tmp_path, below):
    write(tmp_path / "a.zip", b"x")
    path = f"{tmp_path}/a.zip{below}"
    sentence = f"{tmp_path}/a.zip is a file; --manual_dir is the folder that holds it."
    for use in (storage.folder, own.images, kaggle.find, cohen.find):
        with pytest.raises(DatasetError) as refused:
            use(path)
        assert str(refused.value) == sentence
    assert storage.seen(path) == sentence


def test_the_listing_differs_when_a_file_does(tmp_path):
    write_names(tmp_path, ["a.png", "b/c.png"])
    first = storage.folder(tmp_path).listing_sha256()
    assert storage.folder(tmp_path).listing_sha256() == first
    write(tmp_path / ".DS_Store", b"of no matter")
    assert storage.folder(tmp_path).listing_sha256() == first
    seen = {first}
    write(tmp_path / "b/c.png", b"of another size")
    seen.add(storage.folder(tmp_path).listing_sha256())
    os.utime(tmp_path / "a.png", ns=(1, 1))
    seen.add(storage.folder(tmp_path).listing_sha256())
    (tmp_path / "a.png").rename(tmp_path / "d.png")
    seen.add(storage.folder(tmp_path).listing_sha256())
    assert len(seen) == 4


def test_a_listing_takes_less_than_250_bytes_a_file(tmp_path):
    count = 3000
    for number in range(count):
        (tmp_path / f"class{number % 4}").mkdir(exist_ok=True)
        (tmp_path / f"class{number % 4}/image-of-a-patient-{number:06d}.png").touch()
    tracemalloc.start()
    files = storage.folder(tmp_path)
    held = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    assert len(files.names) == count
    assert held < 250


NAMES = ["train/NORMAL/a.png", "test/NORMAL/b.png"]


@pytest.mark.parametrize("data", [b"PK\3\4 broken", b"", b"<html>not found</html>"])
def test_a_damaged_zip_is_named_where_nothing_else_is_found(tmp_path, data):
    write(tmp_path / "archive.zip", data)
    with pytest.raises(DatasetError, match=r"archive\.zip is no readable zip"):
        storage.find(tmp_path, *SOURCE)
    with pytest.raises(DatasetError, match=r"archive\.zip is no readable zip"):
        storage.archive(tmp_path / "archive.zip", *SOURCE)


def test_an_unrelated_broken_zip_is_of_no_matter(tmp_path):
    write(tmp_path / "aaa.zip", b"PK\3\4 broken")
    write_names(tmp_path / "plain" / "chest_xray", NAMES)
    zipped(tmp_path / "plain", "chest_xray", tmp_path / "archive.zip")
    (tmp_path / "plain").rename(tmp_path / ".plain")
    assert storage.find(tmp_path, *SOURCE).where == f"{tmp_path}/archive.zip/chest_xray"
    # A source that can be fetched is broken only by a zip that bears its name.
    cohen = (("covid-chestxray-dataset", "covid-chestxray-dataset-*"), "metadata.csv")
    assert storage.find(tmp_path, *cohen) is None
    write(tmp_path / "covid-chestxray-dataset-master.zip", b"PK\3\4 broken")
    with pytest.raises(DatasetError, match=r"dataset-master\.zip is no readable zip"):
        storage.find(tmp_path, *cohen)


@pytest.mark.parametrize("wrapper", ["", "archive/", "chest_xray/", "CHEST_XRAY/"])
def test_the_sources_folder_is_found_below_others(tmp_path, wrapper):
    write_names(tmp_path / f"{wrapper}chest_xray", NAMES)
    files = storage.find(tmp_path, *SOURCE)
    assert files.names == sorted(NAMES)
    assert files.where == f"{tmp_path}/{wrapper}chest_xray"
    assert storage.find(tmp_path / f"{wrapper}chest_xray", *SOURCE).names == sorted(NAMES)


def test_the_outer_copy_is_taken_and_others_beside_it_are_named(tmp_path):
    write_names(tmp_path / "chest_xray", NAMES)
    write_names(tmp_path / "chest_xray/chest_xray", NAMES)
    zipped(tmp_path, "chest_xray", tmp_path / "archive.zip")
    write_names(tmp_path / "old/chest_xray", NAMES)
    files = storage.find(tmp_path, *SOURCE)
    assert files.where == f"{tmp_path}/chest_xray"
    assert files.unused == (f"{tmp_path}/old/chest_xray", f"{tmp_path}/archive.zip/chest_xray")


@pytest.mark.parametrize("member", ["__MACOSX/chest_xray/train/a.png", ".x/chest_xray/train/a.png",
                                    "../chest_xray/train/a.png", "chest_xray_old/train/a.png",
                                    "chest_xray/trained.txt"])  # fmt: skip
def test_what_only_looks_like_the_source_is_none(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr(member, b"x")
    assert storage.find(tmp_path, *SOURCE) is None


@pytest.mark.parametrize("where", ["comment", "folder", "zip", "prefix"])
def test_the_commit_is_taken_from_comment_or_name(tmp_path, where):
    source = (("covid-chestxray-dataset", "covid-chestxray-dataset-*"), "metadata.csv")
    root = f"covid-chestxray-dataset-{COMMIT if where in ('folder', 'prefix') else 'master'}"
    if where == "folder":
        write_names(tmp_path / root, ["metadata.csv"])
    else:
        ending = COMMIT if where == "zip" else "x"
        with zipfile.ZipFile(tmp_path / f"covid-{ending}.zip", "w") as archive:
            archive.writestr(f"{root}/metadata.csv", b"x")
            archive.comment = COMMIT.encode() if where == "comment" else b"made by hand"
    assert storage.find(tmp_path, *source).commit == COMMIT
    (tmp_path / "plain").mkdir()
    assert storage.folder(tmp_path / "plain").commit == ""


def test_a_folder_that_may_not_be_opened_hides_no_source_beside_it(tmp_path, monkeypatch):
    write_names(tmp_path, ["chest_xray/train/a.png", "locked/x.png", "x/chest_xray/train/b.png"])
    for name in ("listdir", "scandir"):
        refuse_below(monkeypatch, name, tmp_path / "locked", tmp_path / "chest_xray")
    assert storage.find(tmp_path, *SOURCE).where == f"{tmp_path}/x/chest_xray"


def refuse_below(monkeypatch, name: str, *refused: pathlib.Path) -> None:
    """Has a function of `os` refuse folders, as it does root's for others."""
    function = getattr(os, name)

    def checked(path):
        if pathlib.Path(path) in refused:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return function(path)

    monkeypatch.setattr(os, name, checked)


def test_a_missing_source_is_answered_with_what_was_seen(tmp_path):
    assert "There is no" in storage.seen(tmp_path / "nowhere")
    assert "is empty" in storage.seen(tmp_path)
    for name in ("archive.7z", "b.tar.gz", "c.rar", "readme.txt", "photos/x.png"):
        write(tmp_path / name, b"x")
    write(tmp_path / "broken.zip", b"PK")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("data/chest_xray.zip", b"x")
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    text = storage.seen(tmp_path)
    assert "Seen there: archive.7z, b.tar.gz, broken.zip, c.rar, outer.zip, photos/, readm" in text
    for name in ("archive.7z", "b.tar.gz", "c.rar"):
        assert f"{name} is not read in place: unpack it there." in text
    assert "outer.zip holds another zip (data/chest_xray.zip): unpack outer.zip there." in text
    assert "broken.zip is no readable zip" in text
    assert "whole.zip" not in text.partition("\n")[2]
    assert storage.find(tmp_path / "photos", *SOURCE) is None
    assert storage.find(tmp_path / "nowhere", *SOURCE) is None
