"""Files of 8 bits: right pixels whatever the container, upright; a reason for what is no X-ray."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from covid_tfds import reading
from tests.covid_tfds.reading.made_files import GREY, assert_alike, chunk, pixels
from tests.helpers.images import decoded, encoded, radiograph

RGB = Image.fromarray(GREY).convert("RGB")


def rgba(alpha: int) -> Image.Image:
    return Image.merge("RGBA", [Image.fromarray(GREY)] * 3 + [Image.new("L", (100, 120), alpha)])


def without_adobe_marker(jpeg: bytes) -> bytes:
    """A CMYK JPEG as other programs than Adobe's write it: inks as they are."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4]) :]


INKS = np.asarray(RGB.convert("CMYK"))
EXACT = {
    "grey png": (encoded(GREY), "L", "PNG"),
    "rgb png": (encoded(RGB), "RGB", "PNG"),
    "palette png": (encoded(RGB.quantize(256)), "P", "PNG"),
    "opaque alpha": (encoded(rgba(255)), "RGBA", "PNG"),
    "grey and alpha": (encoded(Image.fromarray(GREY).convert("LA")), "LA", "PNG"),
    "bmp": (encoded(GREY, "BMP"), "L", "BMP"),
    "rgb bmp": (encoded(RGB, "BMP"), "RGB", "BMP"),
    "gif": (encoded(GREY, "GIF"), "L", "GIF"),
    "lossless webp": (encoded(GREY, "WEBP", lossless=True), "RGB", "WEBP"),
    "lossless jpeg 2000": (encoded(GREY, "JPEG2000"), "L", "JPEG2000"),
    "pgm": (encoded(GREY, "PPM"), "L", "PPM"),
    "ppm": (encoded(RGB, "PPM"), "RGB", "PPM"),
}
LOSSY = {
    "jpeg": (encoded(GREY, "JPEG", quality=95), "L", "JPEG"),
    "rgb jpeg": (encoded(RGB, "JPEG", quality=95), "RGB", "JPEG"),
    "progressive": (encoded(GREY, "JPEG", quality=95, progressive=True), "L", "JPEG"),
    "cmyk of Adobe": (encoded(RGB.convert("CMYK"), "JPEG", quality=95), "CMYK", "JPEG"),
    "cmyk of others": (
        without_adobe_marker(
            encoded(Image.fromarray(255 - INKS, "CMYK"), "JPEG", quality=95)
        ), "CMYK", "JPEG"),
    "mpo": (encoded(RGB, "MPO", save_all=True, append_images=[RGB], quality=95), "RGB", "MPO"),
    "webp": (encoded(GREY, "WEBP", quality=95), "RGB", "WEBP"),
    "tinted": (encoded(np.stack([GREY, GREY, GREY * 0.95], -1).astype(np.uint8)), "RGB", "PNG"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_lossless_files_give_the_same_pixels(name):
    data, mode, file_format = EXACT[name]
    read = reading.read_image(data)
    np.testing.assert_array_equal(read.pixels, GREY)
    assert (read.width, read.height, read.mode, read.format) == (100, 120, mode, file_format)
    assert read.header.patient_id == "" and np.isnan(read.header.age)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_give_nearly_the_same_pixels(name):
    data, mode, file_format = LOSSY[name]
    read = reading.read_image(data)
    assert_alike(read.pixels, GREY, tolerance=12)
    assert (read.mode, read.format) == (mode, file_format)


def test_transparent_parts_are_black():
    assert_alike(pixels(encoded(rgba(128))), GREY * (128 / 255))
    assert not pixels_or_none(encoded(rgba(0)))


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "I;16"])
def test_what_a_chunk_of_a_png_calls_transparent_is_black(mode):
    """A film with a border of one value, which a program has marked as transparent."""
    values = GREY.clip(1, 200)
    values[:, :30] = 255
    wanted = values.copy()
    wanted[:, :30] = 0
    if mode == "I;16":
        picture, transparent = Image.fromarray(values.astype(np.uint16) * 257), 65535
    else:
        picture = Image.fromarray(values).convert(mode)
        transparent = (255, 255, 255) if mode == "RGB" else 255
    read = reading.read_image(encoded(picture, transparency=transparent))
    assert read.mode == mode
    np.testing.assert_array_equal(read.pixels, wanted)
    assert (pixels(encoded(picture))[:, :30] == 255).all()


def pixels_or_none(data):
    try:
        return pixels(data)
    except reading.Unusable as refusal:
        assert str(refusal) == "not an X-ray: blank"


TURNS = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.T,
    6: lambda p: np.rot90(p),
    7: lambda p: p[::-1, ::-1].T,
    8: lambda p: np.rot90(p, 3),
}


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of (tag, type, count, value) whose values need not fit their types."""
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4)


def orientation(value: int) -> tuple[int, int, int, bytes]:
    return (0x0112, 3, 1, struct.pack("<HH", value, 0))


@pytest.mark.parametrize("value", TURNS)
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_upright(value, file_format):
    block = Image.Exif()
    block[0x0112] = value
    turned = np.ascontiguousarray(TURNS[value](GREY))
    options = {"lossless": True} if file_format == "WEBP" else {}
    read = reading.read_image(encoded(turned, file_format, exif=block, **options))
    np.testing.assert_array_equal(read.pixels, GREY)
    assert (read.width, read.height) == (100, 120)


MISTYPED = {
    "text for a number": (0x011A, 2, 4, b"abc\0"),
    "no such type": (0x010F, 99, 1, b"abcd"),
    "an offset beyond the file": (0x010E, 2, 5000, b"\xff\xff\xff\x7f"),
    "a number for text": (0x0131, 3, 1, b"\1\0\0\0"),
    "no rational": (0x011B, 5, 1, b"\0\0\0\0"),
    "an IFD at itself": (0x8769, 4, 1, b"\x08\0\0\0"),
}


@pytest.mark.parametrize("name", MISTYPED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_image_is_turned_upright_beside_a_mistyped_tag(name):
    entries = sorted([MISTYPED[name], orientation(6)])
    data = encoded(np.ascontiguousarray(np.rot90(GREY)), "JPEG", quality=95, exif=exif(*entries))
    assert_alike(pixels(data), GREY, tolerance=12)


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0no TIFF at all"])
def test_an_exif_block_that_is_none_turns_nothing(block):
    data = encoded(GREY, "PNG", exif=block)
    assert b"eXIf" in data
    np.testing.assert_array_equal(pixels(data), GREY)


@pytest.mark.parametrize(
    "entry",
    [orientation(0), orientation(9), orientation(6000), (0x0112, 2, 2, b"6\0\0\0"),
     (0x0112, 5, 1, b"\xff\xff\0\0"), (0x0112, 3, 3, b"\x08\0\0\0")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_orientation_that_means_nothing_turns_nothing(entry):
    data = encoded(GREY, "JPEG", quality=95, exif=exif(entry))
    assert_alike(pixels(data), GREY, tolerance=12)


@pytest.mark.parametrize("size", [(900, 700), (700, 900), (321, 900), (320, 320)])
def test_the_shorter_side_becomes_320_pixels_at_most(size):
    image = radiograph(5, size)
    read = reading.read_image(encoded(image))
    assert min(read.pixels.shape) == 320 and (read.height, read.width) == size
    wanted = Image.fromarray(image).resize(read.pixels.shape[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(read.pixels, np.asarray(wanted))


def test_what_is_encoded_decodes_to_the_same_pixels():
    for image in (GREY, radiograph(3, (320, 411)), np.asarray(GREY[::2, ::3])):
        data = reading.encode(image)
        np.testing.assert_array_equal(decoded(data), image)
        assert Image.open(io.BytesIO(data)).mode == "L"


def png_header_only(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animation(file_format: str) -> bytes:
    frames = [Image.fromarray(radiograph(seed)) for seed in range(3)]
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:])


def text_page() -> np.ndarray:
    page = np.full((400, 300), 255, np.uint8)
    page[40:360:20, 30:270] = 0
    return page


PHOTOGRAPH = np.stack([radiograph(seed) for seed in (1, 2, 3)], axis=-1)
UNUSABLE = {
    "empty": (b"", "empty file"),
    "text": (b"this is no image", "not an image"),
    "one byte": (b"\xff", "not an image"),
    "html error page": (b"<html><body>404</body></html>", "not an image"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer, not the image"),
    "pdf": (b"%PDF-1.4\n%...", "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "truncated jpeg": (encoded(radiograph(size=(600, 500)), "JPEG")[:2000], "truncated or damaged"),
    "truncated png": (encoded(radiograph(size=(600, 500)))[:9000], "truncated or damaged"),
    "truncated bmp": (encoded(radiograph(size=(600, 500)), "BMP")[:9000], "truncated or damaged"),
    "header only": (png_header_only(500, 500), "truncated or damaged"),
    "16-bit header only": (png_header_only(500, 500, 16), "truncated or damaged"),
    "bomb": (png_header_only(60_000, 60_000), "decompression bomb"),
    "large bomb": (png_header_only(12_000, 9_000), "decompression bomb"),
    "deep bomb": (png_header_only(12_000, 9_000, 16, 2), "decompression bomb"),
    "animated gif": (animation("GIF"), "animation or several pages"),
    "paged tiff": (animation("TIFF"), "animation or several pages"),
    "animated png": (animation("PNG"), "animation or several pages"),
    "animated webp": (animation("WEBP"), "animation or several pages"),
    "tiny": (encoded(radiograph(size=(40, 40))), "not an X-ray: too small"),
    "strip": (encoded(radiograph(size=(100, 900))), "not an X-ray: a strip"),
    "blank": (encoded(np.full((200, 200), 9, np.uint8)), "not an X-ray: blank"),
    "text page": (encoded(text_page()), "not an X-ray: a page of text or a drawing"),
    "photograph": (encoded(PHOTOGRAPH), "not an X-ray: a colour picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_chest_x_ray_is_refused_with_its_reason(name):
    data, reason = UNUSABLE[name]
    with pytest.raises(reading.Unusable) as refused:
        reading.read_image(data)
    assert str(refused.value) == reason
    assert refused.value.__context__ is None  # which might hold pixels or a header
