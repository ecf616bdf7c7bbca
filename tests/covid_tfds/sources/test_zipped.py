"""Zips read in place: members by name, damaged and encrypted ones with their reason."""

import concurrent.futures
import os
import pathlib
import struct
import zipfile

import pytest

from covid_tfds.sources import listing, storage
from covid_tfds.sources import zipped as zipped_lib
from tests.covid_tfds.made_sources import write_names, zipped

SOURCE = (("chest_xray",), "train/")
NAMES = ["train/NORMAL/a.png", "test/NORMAL/b.png"]


@pytest.mark.parametrize(
    "name,prefix", [("archive.zip", ""), ("ARCHIVE.ZIP", "outer/"), ("x.Zip", "a/b/"),
                    ("archive.zip", "./")]
)  # fmt: skip
def test_a_zip_gives_what_its_folder_gives(tmp_path, name, prefix):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    write_names(plain / "chest_xray", NAMES)
    packed.mkdir()
    zipped(plain, "chest_xray", packed / name, prefix)
    folder, archive = storage.find(plain, *SOURCE), storage.find(packed, *SOURCE)
    assert folder.names == archive.names == sorted(NAMES)
    assert all(folder.read(n) == archive.read(n) for n in folder.names)


def test_a_zip_of_the_sources_content_goes_by_its_own_name(tmp_path):
    write_names(tmp_path / "x", NAMES)
    with zipfile.ZipFile(tmp_path / "chest_xray.zip", "w") as archive:
        for name in NAMES:
            archive.write(tmp_path / "x" / name, name)
    assert storage.find(tmp_path, *SOURCE).names == sorted(NAMES)


def test_many_threads_read_one_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(50):
            archive.writestr(f"chest_xray/train/{number}", str(number) * 20_000)
    files = storage.find(tmp_path, *SOURCE)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        read = list(pool.map(files.read, files.names * 4))
    assert read == [(name.removeprefix("train/") * 20_000).encode() for name in files.names * 4]


def test_backslashes_in_a_zip_are_slashes(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name in NAMES:
            member = zipfile.ZipInfo("x")
            member.filename = f"chest_xray/{name}".replace("/", "\\")
            archive.writestr(member, name.encode())
    files = storage.find(tmp_path, *SOURCE)
    assert files.names == sorted(NAMES)
    assert files.read(NAMES[0]) == NAMES[0].encode()


def test_names_that_info_zip_wrote_in_utf_8_without_saying_so_are_read(tmp_path, monkeypatch):
    """zipfile takes them for CP437; names that are CP437 stay as they are."""
    written = {"ä ö.png": "ä ö.png".encode(), "ä.png": b"\x84.png"}  # the second is no UTF-8

    def as_info_zip(info: zipfile.ZipInfo) -> tuple[bytes, int]:
        folder, _, name = info.filename.rpartition("/")
        return folder.encode() + b"/" + written[name], info.flag_bits & ~0x800

    monkeypatch.setattr(zipfile.ZipInfo, "_encodeFilenameFlags", as_info_zip)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name in written:
            archive.writestr(f"chest_xray/train/NORMAL/{name}", name.encode())
    data = (tmp_path / "archive.zip").read_bytes()
    assert all(data.count(b"NORMAL/" + name) == 2 for name in written.values())
    names = [f"train/NORMAL/{name}" for name in written]
    assert zipped_lib.members(tmp_path / "archive.zip") == [f"chest_xray/{name}" for name in names]
    files = storage.find(tmp_path, *SOURCE)
    assert files.names == sorted(names)
    assert [files.read(name).decode() for name in names] == list(written)


def test_no_member_of_a_zip_escapes_nor_comes_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("chest_xray/train/a.png", b"first")
        archive.writestr("chest_xray/train/../../../b.png", b"x")
        archive.writestr("/chest_xray/train/c.png", b"x")
        link = zipfile.ZipInfo("chest_xray/train/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("chest_xray/train/a.png", b"second")
    files = storage.find(tmp_path, *SOURCE)
    assert files.names == ["train/a.png"]
    assert dict(files.exclusions) == {
        "train/../../../b.png": "path leaves the archive",
        "train/link.png": "not a regular file",
        "train/a.png": "same name twice in the zip",
    }


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA,
                                    zipfile.ZIP_STORED])  # fmt: skip
def test_one_damaged_member_is_unreadable_and_the_others_are_read(tmp_path, method):
    path = tmp_path / "archive.zip"
    content = os.urandom(4000)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in "abc":
            archive.writestr(f"chest_xray/train/{name}.png", content)
        middle = archive.infolist()[1]
    whole = path.read_bytes()
    start = middle.header_offset + 30 + len(middle.filename)
    for place in (start + 20, start + 400, middle.header_offset, middle.header_offset + 27):
        data = bytearray(whole)
        data[place] ^= 255
        path.write_bytes(data)
        files = storage.find(tmp_path, *SOURCE)
        with pytest.raises(storage.Unreadable, match=r"in the zip$|can't be read$"):
            files.read("train/b.png")
        assert files.read("train/a.png") == files.read("train/c.png") == content


def _patched(path: pathlib.Path, offset: int, value: int) -> None:
    """Sets a two-byte number of the first member in its own header and in the directory."""
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\1\2")
    data[offset : offset + 2] = struct.pack("<H", value)
    data[central + 2 + offset : central + 4 + offset] = struct.pack("<H", value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "offset,value,reason",
    [(6, 0x1, "encrypted in the zip"), (6, 0x41, "encrypted in the zip"),
     (8, 9, "compressed in a way that can't be read"),
     (8, 99, "compressed in a way that can't be read")],
)  # fmt: skip
def test_members_that_cant_be_unpacked_have_a_reason(tmp_path, offset, value, reason):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chest_xray/train/a.png", b"x" * 100)
        archive.writestr("chest_xray/train/b.png", b"good")
    _patched(path, offset, value)
    files = storage.find(tmp_path, *SOURCE)
    with pytest.raises(storage.Unreadable, match=f"^{reason}$"):
        files.read("train/a.png")
    assert files.read("train/b.png") == b"good"


@pytest.mark.parametrize(
    "size,reason", [(listing.LIMIT + 1, "larger than 512 MiB"), (101, "damaged in the zip")]
)
def test_a_member_that_is_not_of_the_stated_size_or_above_the_limit_is_not_used(
    tmp_path, size, reason
):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chest_xray/train/a.png", b"x" * 100)
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\1\2") + 24
    data[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(data)
    with pytest.raises(storage.Unreadable, match=f"^{reason}$"):
        storage.find(tmp_path, *SOURCE).read("train/a.png")
