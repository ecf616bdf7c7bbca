"""The claims of the list of files that paths stand for."""

import errno
import functools
import os
import pathlib
import resource
import zipfile

import numpy as np
import pytest

from covid_tfds.sources.listing import Unreadable
from trainer.inference import image_files
from trainer.inference.image_files import ImageFile, ImageFiles
from trainer.run.errors import RunError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of files that hold their names, a zip of it, and the way there."""
    for name in ("b/2.png", "b/1.png", "a.dcm", ".hidden/x.png", "1.2.840.113619", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with zipfile.ZipFile(tmp_path / "all.ZIP", "w") as archive:
        for name in ("b/2.png", "a.dcm", "../out.png", "__MACOSX/._a.dcm"):
            archive.writestr(name, name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


IN = ["in/1.2.840.113619", "in/a.dcm", "in/b/1.png", "in/b/2.png", "in/notes.txt"]


def read(*paths) -> dict[str, str]:
    """What is in each file, or why it can't be read."""
    result = {}
    for file in ImageFiles(paths):
        try:
            result[file.name] = file.read().decode()
        except Unreadable as reason:
            result[file.name] = f"ERROR {reason}"
    return result


def test_a_folder_is_all_below_it_by_name(folder):
    assert read("in") == {name: name.removeprefix("in/") for name in IN}
    assert list(read(folder / "in")) == [str(folder / name) for name in IN]


def test_a_zip_is_read_in_place_and_what_leads_out_of_it_is_not():
    assert read("all.ZIP") == {
        "all.ZIP/a.dcm": "a.dcm",
        "all.ZIP/b/2.png": "b/2.png",
        "all.ZIP/../out.png": "ERROR path leaves the archive",
    }


def test_patterns_stand_for_what_is_there():
    assert list(read("in/b/[12].png", "in/?.dcm")) == ["in/b/1.png", "in/b/2.png", "in/a.dcm"]
    assert list(read("in/**/*.png")) == ["in/b/1.png", "in/b/2.png"]
    assert [file.name for file in ImageFiles(["in/**"])] == IN  # each once
    assert list(read("*")) == [*read("all.ZIP"), *IN]  # a folder and a zip, too
    assert read("in/*.gif") == {"in/*.gif": "ERROR nothing matches"}
    os.rename("in/a.dcm", "in/[a].dcm")
    assert list(read("in/[a].dcm")) == ["in/[a].dcm"]  # the name of a file


def test_all_folders_of_a_pattern_are_read_each_once(folder):
    for name in ("p1/PA/1.png", "p2/PA/2.png", "p2/PA/old/PA/3.png", "p2/LAT/4.png", "PA"):
        path = folder / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    of_pa = ["study/PA", "study/p1/PA/1.png", "study/p2/PA/2.png", "study/p2/PA/old/PA/3.png"]
    assert [file.name for file in ImageFiles(["study/**/PA"])] == of_pa
    assert [file.name for file in ImageFiles(["study/**"])] == sorted(
        [*of_pa, "study/p2/LAT/4.png"]
    )
    (folder / "none" / "deeper").mkdir(parents=True)
    assert len(ImageFiles(["none/**"])) == 0


def test_any_number_of_zips_is_read(folder):
    names = [f"zips/{number:03}.zip" for number in range(60)]
    (folder / "zips").mkdir()
    for name in names:
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("a.png", name)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, before[1]))
    try:
        assert read("zips/*.zip") == {f"{name}/a.png": name for name in names}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    files = ImageFiles(names)
    with zipfile.ZipFile(names[0], "w") as archive:
        archive.writestr("b.png", "another")
    (folder / names[1]).write_text("PK")
    for number in (0, 1):
        with pytest.raises(Unreadable, match="no readable zip"):
            files[number].read()


def test_a_zip_that_the_system_does_not_open_says_why(monkeypatch):
    def refused(number):
        def opened(*_):
            raise OSError(number, os.strerror(number))

        return opened

    monkeypatch.setattr(zipfile, "ZipFile", refused(errno.EACCES))
    assert read("all.ZIP") == {"all.ZIP": "ERROR zip can't be opened (Permission denied)"}
    monkeypatch.setattr(zipfile, "ZipFile", refused(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        ImageFiles(["all.ZIP"])


def test_a_file_that_can_not_be_read_is_one_of_them(folder):
    os.mkfifo("in/pipe.png")
    os.symlink("nowhere", "in/link.png")
    (folder / "no.zip").write_text("PK")
    wrong = {
        "gone.png": "no such file",
        "in/pipe.png": "not a regular file",
        "in/link.png": "file has vanished",
        "no.zip": "no readable zip",
    }
    assert read(*wrong) == {name: f"ERROR {reason}" for name, reason in wrong.items()}
    there = read("in")
    assert there["in/pipe.png"] == "ERROR not a regular file"
    assert there["in/link.png"] == "ERROR broken link"
    os.remove("in/a.dcm")
    assert read("in").keys() == there.keys() - {"in/a.dcm"}


def test_a_folder_that_can_not_be_opened_is_one_of_the_files(monkeypatch):
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("in/b"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)  # as for all but root
    assert read("in/b", "in/a.dcm") == {
        "in/b": "ERROR folder can't be opened", "in/a.dcm": "a.dcm"
    }  # fmt: skip


def test_a_file_with_a_bad_sector_is_an_error_of_its_own_and_a_full_table_of_files_is_not():
    def read(number: int) -> bytes:
        raise OSError(number, os.strerror(number), "x.png")

    files = [ImageFile("x.png", functools.partial(read, errno.EIO))]
    assert list(image_files.read(files, np.mean)) == [
        (files[0], "file can't be read (Input/output error)")
    ]
    full = ImageFile("x.png", functools.partial(read, errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        list(image_files.read([full], np.mean))


def test_a_name_is_shown_on_one_line(folder):
    for name in (b"x\n1.png", b"\xff.png"):
        (folder / os.fsdecode(name)).write_bytes(b"x")
    assert list(read(os.fsdecode(b"\xff.png"), "x\n1.png")) == ["\\xff.png", "x\\n1.png"]


def test_home_and_variables_are_known(folder, monkeypatch):
    monkeypatch.setenv("HERE", str(folder / "in"))
    assert list(read("$HERE/a.dcm")) == [str(folder / "in/a.dcm")]
    with pytest.raises(RunError, match="names the variable NOWHERE"):
        ImageFiles(["$NOWHERE/a.dcm"])


def test_it_is_a_sequence():
    files = ImageFiles(["in", "gone.png", "all.ZIP"])
    names = [file.name for file in files]
    assert len(files) == len(names) == 9
    assert [files[i].name for i in range(9)] == names
    with pytest.raises(IndexError, match="There are 9 files"):
        files[9]
    assert len(ImageFiles([])) == 0


def test_what_lies_among_images_is_of_another_kind_by_its_name():
    for name in ("x.jp2", "x.PGM", "x.webp", "x.j2k"):
        pathlib.Path("in", name).write_bytes(b"")
    other = [file.name for file in ImageFiles(["in"]) if file.of_another_kind]
    assert other == ["in/notes.txt"]
    assert not ImageFiles(["in/notes.txt"])[0].of_another_kind  # it was meant


@pytest.mark.parametrize("reason", ["not an image", "empty file", "larger than 512 MiB"])
def test_nobody_misses_what_is_no_image_by_its_name_and_can_not_be_read_as_one(reason):
    left_out = [file.name for file in ImageFiles(["in"]) if file.is_left_out(reason)]
    assert left_out == ["in/notes.txt"]
    assert not ImageFiles(["in/notes.txt"])[0].is_left_out(reason)
    assert not any(file.is_left_out("git-lfs pointer") for file in ImageFiles(["in"]))
