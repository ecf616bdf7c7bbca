"""Values of more than 8 bits: the contrast of the image, whatever their type, range and markers."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from covid_tfds import reading
from covid_tfds.reading import grey
from tests.covid_tfds.reading.made_files import (
    GREY,
    SIGNED,
    TWELVE,
    assert_alike,
    chunk,
    pixels,
    tiff,
    unmarked,
    with_marker,
)
from tests.helpers.images import radiograph

FULL = GREY.astype(np.uint16) * 257
UNIT = (GREY / 255).astype(np.float32)
OPAQUE = np.full(GREY.shape, 65535, np.uint16)


def coloured(values: np.ndarray, *more: np.ndarray) -> np.ndarray:
    return np.stack([values, values, values, *more], -1)


def png(values: np.ndarray) -> bytes:
    return imagecodecs.png_encode(values)


PNG_OF_16_BITS = {
    "grey": (FULL, "I;16"),
    "grey of 12 bits": (TWELVE, "I;16"),
    "grey of 8 bits": (GREY.astype(np.uint16), "I;16"),
    "rgb": (coloured(FULL), "RGB;16"),
    "rgb of 12 bits": (coloured(TWELVE), "RGB;16"),  # F4
    "rgb of 14 bits": (coloured(GREY.astype(np.uint16) * 64 + 63), "RGB;16"),
    "rgb of 10 bits": (coloured(GREY.astype(np.uint16) * 4 + 3), "RGB;16"),
    "rgba": (coloured(FULL, OPAQUE), "RGBA;16"),
    "rgba of 12 bits": (coloured(TWELVE, OPAQUE), "RGBA;16"),
    "rgba, alpha of 12 bits": (coloured(TWELVE, OPAQUE // 16), "RGBA;16"),
    "grey and alpha": (np.stack([TWELVE, OPAQUE], -1), "LA;16"),
    "long values around 32768": (TWELVE + np.uint16(32768 - 2048), "I;16"),
    "without black": (20_000 + TWELVE * np.uint16(2), "I;16"),
}


@pytest.mark.parametrize("name", PNG_OF_16_BITS)
def test_png_of_16_bits_has_the_contrast_of_8(name):
    values, mode = PNG_OF_16_BITS[name]
    read = reading.read_image(png(values))
    assert_alike(read.pixels, GREY)
    assert (read.mode, read.format) == (mode, "PNG")


def test_an_interlaced_png_of_16_bits_is_the_same_as_the_plain_one():
    assert_alike(pixels(adam7(coloured(TWELVE))), GREY)


def adam7(values: np.ndarray) -> bytes:
    """An interlaced RGB PNG of 16 bits."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    rows = [
        b"\0" + row.astype(">u2").tobytes()
        for top, left, down, across in passes
        for row in values[top::down, left::across]
    ]
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 1)
    data = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    )


def test_a_png_of_16_bits_is_turned_upright():
    block = Image.Exif()
    block[0x0112] = 6
    for values in (TWELVE, coloured(TWELVE)):
        data = png(np.ascontiguousarray(np.rot90(values)))
        at = data.index(b"IEND") - 4  # behind the pixels
        data = data[:at] + chunk(b"eXIf", block.tobytes()[6:]) + data[at:]
        assert_alike(pixels(data), GREY)


def test_transparency_of_16_bits_is_black_and_hides_what_it_covers():
    alpha = OPAQUE.copy()
    alpha[:20], alpha[20:30] = 0, 32768
    hidden = TWELVE.copy()
    hidden[:20] = 65535
    wanted = GREY.astype(float)
    wanted[:20], wanted[20:30] = 0, wanted[20:30] / 2
    assert_alike(pixels(png(coloured(hidden, alpha))), wanted)


def test_a_colour_picture_of_16_bits_is_refused():
    picture = np.stack([radiograph(seed) for seed in (1, 2, 3)], -1).astype(np.uint16) * 16
    with pytest.raises(reading.Unusable, match="a colour picture"):
        reading.read_image(png(picture))


@pytest.mark.parametrize("marker", [65535, 60_000, 20_000, 8191, 0])
@pytest.mark.parametrize("kind", ["grey", "rgb"])
def test_a_marker_burned_into_12_bits_changes_nothing(marker, kind):
    values = with_marker(TWELVE, marker)
    shown = pixels(png(values if kind == "grey" else coloured(values)))
    assert_alike(unmarked(shown), unmarked(GREY))


@pytest.mark.parametrize("value", [0, 4095, 65535])
def test_a_border_of_one_value_changes_nothing(value):
    values = TWELVE.copy()
    values[:, :40] = value
    assert_alike(pixels(png(values))[:, 40:], GREY[:, 40:])
    assert (pixels(png(values))[:, :40] == (255 if value else 0)).all()


def test_a_dark_image_of_14_bits_keeps_its_contrast():
    values = GREY.astype(np.uint16) * 16
    values[60:64, 50:54] = 9_000  # a piece of metal
    assert_alike(pixels(png(values))[70:], GREY[70:])


def test_overshoot_of_resampling_makes_no_greater_depth():
    values = (TWELVE * np.float64(1.04)).astype(np.uint16)
    assert_alike(pixels(png(values)), np.minimum(GREY * 1.04, 255), tolerance=2)


TYPES = {
    "signed -1024..1024": (SIGNED, GREY),
    "int8": ((GREY.astype(np.int16) - 128).astype(np.int8), GREY),
    "int16, not negative": (TWELVE.astype(np.int16), GREY),
    "int32": (SIGNED.astype(np.int32) * 1000, GREY),
    "uint32, full": (GREY.astype(np.uint32) << 24, GREY),
    "uint32 of 12 bits": (TWELVE.astype(np.uint32), GREY),
    "float16 0..1": (UNIT.astype(np.float16), GREY),
    "float 0..1": (UNIT, GREY),
    "float 0..0.5": (UNIT / 2, GREY / 2),
    "float -1..1": (UNIT * 2 - 1, GREY),
    "float64 -1..1": (UNIT.astype(np.float64) * 2 - 1, GREY),
    "float 0..255": (GREY.astype(np.float32), GREY),
    "float 0..4095": (TWELVE.astype(np.float32), GREY),
    "float 0..65535": (FULL.astype(np.float32), GREY),
    "float, mean 0": ((UNIT - 0.5) * 4, GREY),
    "float -0.1..0.9": (UNIT - np.float32(0.1), GREY),
    "float 0..0.05": (UNIT / 20, GREY),
    "float64, tiny": (UNIT.astype(np.float64) * 1e-12, GREY),
    "float64, far from 0": (UNIT.astype(np.float64) * 1e6 + 1e7, GREY),
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("inverted", [False, True])
def test_every_type_of_sample_has_the_contrast_of_8_bits(name, inverted):
    values, wanted = TYPES[name]
    data = tiff(values, photometric="miniswhite" if inverted else "minisblack")
    assert_alike(pixels(data), 255 - wanted if inverted else wanted)


MARKED = {
    "float 0..1": with_marker(UNIT, 1000),
    "float -1..1": with_marker(UNIT * 2 - 1, 50),
    "uint32 of 12 bits": with_marker(TWELVE.astype(np.uint32), 2**32 - 1),
}


@pytest.mark.parametrize("name", MARKED)
def test_a_marker_changes_no_type_of_sample(name):
    assert_alike(unmarked(pixels(tiff(MARKED[name]))), unmarked(GREY))


def test_a_marker_changes_signed_values_little():
    # Their range is the image's own: 1 % of the values, the rim of the marker, may be clipped.
    for marker in (32767, 5000, -32768):
        shown = pixels(tiff(with_marker(SIGNED, marker)))
        assert_alike(unmarked(shown), unmarked(GREY), tolerance=10)


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, -3.4e38])
def test_what_is_no_number_is_black_and_counts_for_nothing(nothing):
    values, wanted = UNIT.copy(), GREY.copy()
    values[:30], wanted[:30] = nothing, 0
    assert_alike(pixels(tiff(values)), wanted)
    wanted = 255 - GREY
    wanted[:30] = 0 if not np.isfinite(nothing) else 255
    assert_alike(pixels(tiff(values, photometric="miniswhite")), wanted)


BLANK = {
    "one value": np.full(GREY.shape, 30_000, np.uint16),
    "noise of 16 bits": 30_000 + GREY.astype(np.uint16),
    "noise of 12 bits": 3_000 + GREY.astype(np.uint16) // 8,
    "a float and rounding": np.float32(1 / 3) + UNIT * np.float32(1e-6),
    "not a number": np.full(GREY.shape, np.nan, np.float32),
    "a mask of 0 and 1": (GREY > 127).astype(np.uint16),
}


@pytest.mark.parametrize("name", BLANK)
def test_a_blank_image_is_not_stretched_to_a_picture(name):
    with pytest.raises(reading.Unusable, match="not an X-ray: blank"):
        reading.read_image(tiff(BLANK[name]))


def test_grey_of_colours_is_exact_at_16_bits():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(grey.luma(coloured(every)), every)


JPEG = {
    "12 bits": ({"bitspersample": 12, "level": 98}, "I;12", 2),
    "12 bits, lossless": ({"bitspersample": 12, "lossless": True}, "I;12", 1),
    "16 bits, lossless": ({"bitspersample": 16, "lossless": True}, "I;16", 1),
}


@pytest.mark.parametrize("name", JPEG)
def test_deep_jpeg_is_read(name):
    options, mode, tolerance = JPEG[name]
    data = imagecodecs.jpeg8_encode(TWELVE, **options)
    read = reading.read_image(data)
    assert_alike(read.pixels, GREY, tolerance)
    assert (read.mode, read.format) == (mode, "JPEG")
    with pytest.raises(reading.Unusable, match="truncated or damaged"):
        reading.read_image(data[: len(data) // 2])


def test_a_marker_without_a_length_before_the_header_of_a_jpeg_is_passed():
    data = imagecodecs.jpeg8_encode(TWELVE, bitspersample=12, level=98)
    np.testing.assert_array_equal(pixels(data[:2] + b"\xff\x01" + data[2:]), pixels(data))


def test_lossless_jpeg_of_8_bits_jpeg_ls_and_jpeg_2000_are_read():
    data = imagecodecs.jpeg8_encode(GREY, lossless=True, bitspersample=8)
    np.testing.assert_array_equal(pixels(data), GREY)
    assert_alike(pixels(imagecodecs.jpegls_encode(TWELVE)), GREY)
    options = {"reversible": True, "codecformat": "jp2"}
    for values in (FULL, coloured(FULL), coloured(TWELVE)):
        assert_alike(pixels(imagecodecs.jpeg2k_encode(values, **options)), GREY)
    data = imagecodecs.jpeg2k_encode(coloured(TWELVE), bitspersample=12, **options)
    assert_alike(pixels(data), GREY)
    assert reading.read_image(data).mode == "RGB;12"


@pytest.mark.parametrize("largest", [4095, 65535])
def test_ppm_of_16_bits_keeps_its_depth(largest):
    for kind, values in ((b"P5", TWELVE), (b"P6", coloured(TWELVE))):
        out = io.BytesIO(b"%s 100 120 %d\n" % (kind, largest))
        out.seek(0, io.SEEK_END)
        out.write(values.astype(">u2").tobytes())
        assert_alike(pixels(out.getvalue()), GREY)
