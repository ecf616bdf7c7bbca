"""Reading one file: right pixels whatever the container, a reason for what can't be used."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from covid_tfds import films
from tests.covid_tfds.pictures import decoded, encoded, film

GREY = film()


def pixels(data: bytes) -> np.ndarray:
    return decoded(films.read_film(data).image)


def assert_alike(got: np.ndarray, wanted: np.ndarray, tolerance: float = 3.0) -> None:
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted.astype(int)).mean() < tolerance


def rgba(alpha: int) -> Image.Image:
    return Image.merge("RGBA", [Image.fromarray(GREY)] * 3 + [Image.new("L", (100, 120), alpha)])


SAME_FILM = {
    "grey png": encoded(GREY),
    "grey jpeg": encoded(GREY, "JPEG", quality=95),
    "rgb": encoded(Image.fromarray(GREY).convert("RGB")),
    "palette": encoded(Image.fromarray(GREY).convert("RGB").quantize(256)),
    "opaque alpha": encoded(rgba(255)),
    "grey and alpha": encoded(Image.fromarray(GREY).convert("LA")),
    "16 bit": encoded(GREY.astype(np.uint16) * 257),
    "12 bit in 16": encoded((GREY.astype(np.uint16) << 4) + 15),
    "8 bit in 16": encoded(GREY.astype(np.uint16)),
    "32 bit": encoded((GREY.astype(np.int32) * 257), "TIFF"),
    "cmyk": encoded(Image.fromarray(GREY).convert("RGB").convert("CMYK"), "JPEG", quality=95),
    "bmp": encoded(GREY, "BMP"),
    "webp": encoded(GREY, "WEBP", quality=95),
    "tinted": encoded(Image.merge("RGB", [Image.fromarray(GREY), Image.fromarray(GREY),
                                          Image.fromarray((GREY * 0.95).astype(np.uint8))])),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_FILM)
def test_every_container_gives_the_same_film(name):
    assert_alike(pixels(SAME_FILM[name]), GREY)


def test_transparent_parts_are_black():
    assert pixels(encoded(rgba(128))).mean() == pytest.approx(GREY.mean() * 128 / 255, abs=2)


@pytest.mark.parametrize("orientation,turn", [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    reading = films.read_film(encoded(GREY, "JPEG", quality=95, exif=exif))
    assert_alike(decoded(reading.image), np.rot90(GREY, turn))
    assert (reading.height, reading.width) == np.rot90(GREY, turn).shape


def test_format_is_decided_by_content():
    reading = films.read_film(SAME_FILM["rgb"])
    assert (reading.format, reading.mode) == ("PNG", "RGB")


def test_a_large_film_is_scaled_to_320_on_its_shorter_side():
    reading = films.read_film(encoded(film(size=(900, 640))))
    assert decoded(reading.image).shape == (450, 320)
    assert (reading.width, reading.height) == (640, 900)


def test_fingerprints():
    data = SAME_FILM["grey png"]
    reading = films.read_film(data)
    assert reading.sha256 == hashlib.sha256(data).hexdigest()
    # As `git hash-object` of a file that holds "test content\n" prints it (Pro Git, chapter 10.2):
    # the same header and hash, here recomputed for our bytes.
    header = f"blob {len(data)}\0".encode()
    assert reading.git_blob_sha1 == hashlib.sha1(header + data).hexdigest()
    other_container = films.read_film(encoded(GREY, "BMP"))
    assert other_container.pixel_sha256 == reading.pixel_sha256
    assert other_container.sha256 != reading.sha256
    assert np.linalg.norm(reading.thumbnail) == pytest.approx(1)


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animation(file_format: str) -> bytes:
    frames = [Image.fromarray(film(seed)) for seed in range(3)]
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:])


def text_page() -> np.ndarray:
    page = np.full((400, 300), 255, np.uint8)
    page[40:360:20, 30:270] = 0
    return page


def photograph() -> np.ndarray:
    return np.stack([film(seed) for seed in (1, 2, 3)], axis=-1)


UNUSABLE = {
    "empty": (b"", "empty file"),
    "text": (b"this is no film", "not an image"),
    "html error page": (b"<html><body>404</body></html>", "not an image"),
    "pdf": (b"%PDF-1.4\n%...", "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "truncated jpeg": (encoded(film(size=(600, 500)), "JPEG")[:2000], "truncated or damaged"),
    "truncated png": (encoded(film(size=(600, 500)))[:9000], "truncated or damaged"),
    "header only": (png_header_only(500, 500), "truncated or damaged"),
    "bomb": (png_header_only(60_000, 60_000), "decompression bomb"),
    "large bomb": (png_header_only(12_000, 9_000), "decompression bomb"),
    "animated gif": (animation("GIF"), "animation or several pages"),
    "paged tiff": (animation("TIFF"), "animation or several pages"),
    "animated png": (animation("PNG"), "animation or several pages"),
    "tiny": (encoded(film(size=(40, 40))), "not an X-ray: too small"),
    "strip": (encoded(film(size=(100, 900))), "not an X-ray: a strip"),
    "blank": (encoded(np.full((200, 200), 9, np.uint8)), "not an X-ray: blank"),
    "text page": (encoded(text_page()), "not an X-ray: a page of text or a drawing"),
    "photograph": (encoded(photograph()), "not an X-ray: a colour picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_film_is_refused_with_its_reason(name):
    data, reason = UNUSABLE[name]
    with pytest.raises(films.Unusable) as refused:
        films.read_film(data)
    assert str(refused.value) == reason


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_never_raise_anything_else(seed):
    rng = np.random.default_rng(seed)
    data = bytearray(encoded(film(size=(200, 200)), ["PNG", "JPEG", "TIFF", "BMP"][seed % 4]))
    for place in rng.integers(0, len(data), 20):
        data[place] = rng.integers(256)
    try:
        reading = films.read_film(bytes(data))
    except films.Unusable:
        return
    assert Image.open(io.BytesIO(reading.image)).mode == "L"
