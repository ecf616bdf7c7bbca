"""TIFF: which page, what its tags mean, every compression."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from covid_tfds import reading
from tests.covid_tfds.reading.made_files import GREY, SIGNED, TWELVE, assert_alike, pixels, tiff
from tests.helpers.images import encoded, radiograph

UNIT = (GREY / 255).astype(np.float32)
RGB = np.stack([TWELVE] * 3, -1)
RGBA = np.concatenate([RGB, np.full((*GREY.shape, 1), 65535, np.uint16)], -1)


@pytest.mark.parametrize("codec", ["lzw", "zlib", "packbits", "zstd", "lzma"])
def test_every_compression_gives_the_same_pixels(codec):
    assert_alike(pixels(tiff(TWELVE, compression=codec)), GREY)
    assert_alike(pixels(tiff(TWELVE, compression=codec, tile=(32, 48))), GREY)
    if codec != "packbits":
        assert_alike(pixels(tiff(TWELVE, compression=codec, predictor=True)), GREY)
        assert_alike(pixels(tiff(UNIT, compression=codec, predictor=3)), GREY)


LAYOUTS = {
    "big-endian": tiff(TWELVE, byteorder=">"),
    "big-endian float": tiff(UNIT, byteorder=">"),
    "BigTIFF": tiff(TWELVE, bigtiff=True),
    "big-endian BigTIFF": tiff(SIGNED, byteorder=">", bigtiff=True),
    "strips": tiff(TWELVE, rowsperstrip=7),
    "tiles": tiff(TWELVE, tile=(32, 48)),
    "rgb": tiff(RGB, photometric="rgb"),
    "planes": tiff(np.moveaxis(RGB, 2, 0).copy(), photometric="rgb", planarconfig="separate"),
    "tiled planes": tiff(
        np.moveaxis(RGB, 2, 0).copy(), photometric="rgb", planarconfig="separate", tile=(32, 48)
    ),
    "float rgb": tiff(np.stack([UNIT] * 3, -1), photometric="rgb"),
    "opaque": tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]),
    "premultiplied": tiff(RGBA, photometric="rgb", extrasamples=["assocalpha"]),
    "unknown fourth channel": tiff(RGBA // 7 * 7, photometric="rgb", extrasamples=[0]),
    "jpeg": tiff(GREY, compression="jpeg", compressionargs={"level": 98}),
    "jpeg 2000": tiff(TWELVE, compression="jpeg2000"),
    "8 bits": tiff(GREY),
    "8 bits, Pillow, LZW": encoded(GREY, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_pixels(name):
    read = reading.read_image(LAYOUTS[name])
    assert_alike(read.pixels, GREY, tolerance=3)
    assert (read.width, read.height, read.format) == (100, 120, "TIFF")


def test_alpha_is_composited_on_black():
    half = RGBA.copy()
    half[:40, :, 3] = 32768
    wanted = GREY.astype(float)
    wanted[:40] /= 2
    assert_alike(pixels(tiff(half, photometric="rgb", extrasamples=["unassalpha"])), wanted)


def test_alpha_of_floats_is_opaque_at_1():
    half = np.full((*GREY.shape, 1), 0.5, np.float32)
    half[:40] = 1
    wanted = GREY / 2
    wanted[:40] *= 2
    rgba = np.concatenate([np.stack([UNIT] * 3, -1), half], -1)
    assert_alike(pixels(tiff(rgba, photometric="rgb", extrasamples=["unassalpha"])), wanted)


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_packed_bits_are_scaled_by_their_number(bits):
    values = (GREY.astype(np.uint32) * (2**bits - 1) + 127) // 255
    wanted = np.rint(values * (255 / (2**bits - 1)))
    data = packed(values, bits)
    assert_alike(pixels(data), wanted)
    assert reading.read_image(data).mode == ("L" if bits <= 8 else f"I;{bits}")
    assert_alike(pixels(packed(values, bits, photometric=0)), 255 - wanted)


def packed(values: np.ndarray, bits: int, photometric: int = 1) -> bytes:
    """A TIFF of one strip whose samples are packed as the specification says."""
    shifts = np.arange(bits)[::-1]
    rows = np.packbits((values[..., None] >> shifts & 1).reshape(len(values), -1), axis=1)
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8 + 114),
            (277, 1), (278, height), (279, rows.size)]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + bytes(4) + rows.tobytes()


@pytest.mark.parametrize("photometric", [0, 1])
def test_an_image_of_1_bit_is_a_drawing(photometric):
    with pytest.raises(reading.Unusable, match="a page of text or a drawing"):
        reading.read_image(packed(GREY.astype(np.uint32) >> 7, 1, photometric))


def test_a_dark_image_of_12_packed_bits_is_scaled_as_its_bits_say():
    # Of 10 bits by its values; the file says 12.
    values = GREY.astype(np.uint32) * 4
    assert_alike(pixels(packed(values, 12)), GREY / 4)


RANGES = {
    "greatest": (TWELVE // 2, [(281, 3, 1, 4095, True)], GREY / 2),
    "least and greatest": (
        TWELVE + np.uint16(1000), [(280, 3, 1, 1000, True), (281, 3, 1, 5095, True)], GREY),
    "signed": (SIGNED, [(340, "h", 1, -2048, True), (341, "h", 1, 2047, True)], GREY / 2 + 64),
    "greatest of the container": (TWELVE, [(281, 3, 1, 65535, True)], GREY),
    "too small to be true": (TWELVE, [(281, 3, 1, 99, True)], GREY),
}  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_the_range_that_tags_state_is_used_where_it_can_be_true(name):
    values, tags, wanted = RANGES[name]
    assert_alike(pixels(tiff(values, extratags=tags)), wanted, tolerance=2)


def test_the_range_that_imagej_shows_is_used():
    data = tiff(TWELVE // 2, imagej=True, metadata={"min": 0.0, "max": 4095.0})
    assert_alike(pixels(data), GREY / 2, tolerance=1.5)
    assert_alike(pixels(tiff(TWELVE, imagej=True)), GREY)  # which states none


def test_a_palette_is_looked_up():
    table = np.stack([np.arange(256)[::-1] * 257] * 3).astype(np.uint16)
    assert_alike(pixels(tiff(GREY, photometric="palette", colormap=table)), 255 - GREY)


def test_inks_are_inverted_at_8_and_16_bits():
    inks = np.stack([255 - GREY] * 3 + [np.zeros_like(GREY)], -1)
    deep = inks.astype(np.uint16) * 257
    assert_alike(pixels(tiff(deep, photometric="separated")), GREY)
    assert_alike(pixels(tiff(inks, photometric="separated")), GREY)


def test_what_only_pillow_knows_is_read_by_pillow():
    for mode in ("YCbCr", "LAB"):
        other = Image.fromarray(GREY).convert("RGB").convert(mode)
        data = encoded(other, "TIFF", compression="tiff_lzw")
        assert_alike(pixels(data), GREY, tolerance=3)
    noise = np.random.default_rng(0).integers(0, 2, (128, 128), dtype=np.uint8)
    fax = encoded(Image.fromarray(noise * 255).convert("1"), "TIFF", compression="group4")
    with pytest.raises(reading.Unusable, match="page of text"):
        reading.read_image(fax)


def pages(*images: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        for image in images:
            reduced = options.get("marked") and image.size < max(other.size for other in images)
            file.write(image, subfiletype=int(bool(reduced)), metadata=None)
    return out.getvalue()


THUMBNAIL = np.ascontiguousarray(TWELVE[::4, ::4])
ONE_IMAGE = {
    "thumbnail behind": pages(TWELVE, THUMBNAIL),
    "thumbnail before": pages(THUMBNAIL, TWELVE),
    "marked thumbnail of another shape": pages(TWELVE, THUMBNAIL[:20], marked=True),
    "pyramid": pages(TWELVE, *(np.ascontiguousarray(TWELVE[::n, ::n]) for n in (2, 4, 8))),
    "marked pyramid": pages(TWELVE, np.ascontiguousarray(TWELVE[::2, ::2]), marked=True),
}
SEVERAL = {
    "two pages": pages(TWELVE, TWELVE[::-1].copy()),
    "two pages of unlike size": pages(TWELVE, radiograph(2, (90, 95)).astype(np.uint16)),
    "a stack": tiff(np.stack([TWELVE] * 3), photometric="minisblack"),
    "a stack behind one header": tiff(np.stack([TWELVE] * 3), imagej=True),
    "a volume": tiff(np.stack([GREY] * 16), photometric="minisblack", volumetric=True,
                     tile=(16, 16, 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_IMAGE)
def test_smaller_copies_are_no_further_pages(name):
    assert_alike(pixels(ONE_IMAGE[name]), GREY)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_pages_are_refused(name):
    with pytest.raises(reading.Unusable, match="animation or several pages"):
        reading.read_image(SEVERAL[name])


def test_an_image_is_turned_upright():
    turned = np.ascontiguousarray(np.rot90(TWELVE))
    data = tiff(turned, extratags=[(274, 3, 1, 6, True)])
    assert_alike(pixels(data), GREY)
    assert reading.read_image(data).width == 100


def test_what_is_cut_off_is_refused():
    for data in (tiff(TWELVE), tiff(TWELVE, compression="zlib"), tiff(UNIT, tile=(32, 48))):
        for share in (0.2, 0.5, 0.9):
            with pytest.raises(reading.Unusable):
                reading.read_image(data[: int(len(data) * share)])
