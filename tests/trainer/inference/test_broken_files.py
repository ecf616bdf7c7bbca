"""Thirty kinds of file that no network can answer for: a row with an error each, and no end."""

import io
import os
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image

from covid_tfds.reading import encode
from tests.covid_tfds.reading.made_files import GREY, TWELVE, dataset, dicom, tiff, written
from tests.helpers.images import radiograph
from tests.helpers.small_networks import lively
from trainer.inference import image_files, network
from trainer.inference.answers import answers
from trainer.model import saved

PNG = encode(radiograph(1, (80, 90)))


def as_file(kind: str, image=None, **options) -> bytes:
    out = io.BytesIO()
    (image or Image.fromarray(radiograph(1, (80, 90)))).save(out, kind, **options)
    return out.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def colours() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), "uint8"))


def without_pixels() -> bytes:
    made = dataset(GREY)
    del made.PixelData
    return written(made)


JPEG, DICOM = as_file("JPEG"), dicom(TWELVE, 12)
GIF = as_file("GIF", save_all=True, append_images=[Image.fromarray(radiograph(2, (80, 90)))])
KINDS = {
    "empty.png": b"",
    "one_byte.png": b"\x89",
    "zeros.png": bytes(5000),
    "noise.jpg": np.random.default_rng(0).bytes(5000),
    "text.png": b"no image at all",
    "page.jpg": b"<!doctype html><html><body>404</body></html>",
    "half.png": PNG[: len(PNG) // 2],
    "header_alone.png": PNG[:33],
    "flipped.png": flipped(PNG, len(PNG) // 2),
    "half.jpg": JPEG[: len(JPEG) // 2],
    "header_alone.jpg": JPEG[:20],
    "half.tif": tiff(GREY)[:3000],
    "pages.tif": tiff(np.stack([GREY, GREY])),
    "moving.gif": GIF,
    "half.bmp": as_file("BMP")[:2000],
    "half.webp": as_file("WEBP")[:500],
    "half.dcm": DICOM[: len(DICOM) // 2],
    "header_alone.dcm": DICOM[:200],
    "no_pixels.dcm": without_pixels(),
    "ct.dcm": dicom(TWELVE, 12, Modality="CT"),
    "knee.dcm": dicom(TWELVE, 12, BodyPartExamined="KNEE"),
    "false_size.dcm": dicom(TWELVE, 12, Rows=60000, Columns=60000),
    "blank.png": encode(np.full((90, 90), 7, np.uint8)),
    "tiny.png": encode(radiograph(1, (20, 20))),
    "strip.png": encode(radiograph(1, (70, 900))),
    "two_tone.png": encode(np.kron(np.eye(10), np.full((9, 9), 255)).astype(np.uint8)),
    "colours.png": as_file("PNG", colours()),
    "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "archive.png": b"PK\x03\x04" + bytes(200),
    "video.png": b"\x00\x00\x00\x18ftypmp42" + bytes(500),
}
NO_FILES = ("a_folder_that_is_gone", "pipe.png", "link.png", "no.zip")


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> network.Network:
    path = tmp_path_factory.mktemp("network") / "m.keras"
    saved.save(lively(), path, ("one", "other"))
    return network.load(path)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    for name, data in KINDS.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "right.png").write_bytes(PNG)
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("nowhere", tmp_path / "link.png")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04" + bytes(200))
    return tmp_path


def errors(net, *paths) -> dict[str, str]:
    done = answers(net, image_files.ImageFiles(paths))
    return {pathlib.Path(answer.file).name: answer.error for answer in done}


def test_each_is_a_row_with_an_error_and_the_rest_is_answered(net, folder):
    assert len(KINDS) == 30
    names = [*KINDS, *NO_FILES, "right.png"]
    found = errors(net, *(folder / name for name in names))
    assert list(found) == names
    assert found.pop("right.png") == ""
    assert [name for name, error in found.items() if not error] == []
    assert max(map(len, found.values())) < 60  # no traceback, no text of a library


def test_so_they_are_in_a_folder_and_in_a_zip(net, folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**KINDS, "right.png": PNG}.items():
            archive.writestr(name, data)
    for found in (errors(net, folder), errors(net, path)):
        assert found.keys() >= {*KINDS, "right.png"}
        assert [name for name, error in found.items() if not error] == ["right.png"]
