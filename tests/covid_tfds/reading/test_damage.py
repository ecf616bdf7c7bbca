"""Whatever the bytes: an image or a reason, within bounded memory, in many threads at once."""

import concurrent.futures
import contextlib
import io
import logging
import struct
import subprocess
import sys
import zlib

import imagecodecs
import numpy as np
import pydicom
import pytest
import simplejpeg
import tifffile
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from covid_tfds import reading
from covid_tfds.reading import DAMAGED, Unusable
from tests.covid_tfds.reading.made_files import (
    GREY,
    TWELVE,
    dataset,
    dicom,
    pixels,
    tiff,
    written,
)
from tests.covid_tfds.reading.test_dicom_pixels import JPEG, encapsulated
from tests.helpers.images import encoded, radiograph

RGB = np.stack([TWELVE] * 3, -1)


def compressed(syntax) -> bytes:
    made = dataset(TWELVE, 12)
    made.compress(syntax, generate_instance_uid=False)
    return written(made)


FILES = {
    **{name: encoded(GREY, name) for name in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")},
    "CMYK": encoded(Image.fromarray(GREY).convert("RGB").convert("CMYK"), "JPEG"),
    "16-bit PNG": imagecodecs.png_encode(RGB),
    "12-bit JPEG": imagecodecs.jpeg8_encode(TWELVE, bitspersample=12),
    "lossless JPEG": imagecodecs.jpeg8_encode(TWELVE, bitspersample=12, lossless=True),
    "JPEG-LS": imagecodecs.jpegls_encode(TWELVE),
    "deep JPEG 2000": imagecodecs.jpeg2k_encode(RGB, reversible=True),
    "TIFF": tiff(TWELVE),
    "tiles": tiff((GREY / 255).astype(np.float32), tile=(32, 32), compression="zlib", predictor=3),
    "LZW": tiff(RGB, photometric="rgb", compression="lzw"),
    "JPEG in TIFF": tiff(GREY, compression="jpeg"),
    "BigTIFF": tiff(TWELVE, bigtiff=True, byteorder=">"),
    "DICOM": dicom(TWELVE, 12, WindowCenter=2000, WindowWidth=4000, PixelPaddingValue=0),
    "deflated": written(dataset(TWELVE, 12), DeflatedExplicitVRLittleEndian),
    "RLE": compressed(RLELossless),
    "JPEG-LS in DICOM": compressed(JPEGLSLossless),
    "JPEG 2000 in DICOM": compressed(JPEG2000Lossless),
    "JPEG in DICOM": encapsulated(*JPEG["lossless"][:4]),
}  # fmt: skip


def damaged(data: bytes, seed: int) -> bytes:
    """Bytes cut off, changed anywhere, changed in the header, moved, or taken out."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    places = rng.integers(0, len(data), 20)
    if seed % 5 == 0:
        return data[: places[0]]
    if seed % 5 == 1:
        for place in places:
            changed[place] = rng.integers(256)
    elif seed % 5 == 2:
        for place in places[:3] % 600 % len(data):
            changed[place : place + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
    elif seed % 5 == 3:
        changed[places[0] : places[0] + 40] = data[places[1] : places[1] + 40]
    else:
        del changed[places[0] : places[0] + 7]
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_damaged_bytes_give_an_image_or_a_reason(name):
    assert reading.read_image(FILES[name]).pixels.shape == (120, 100)
    for seed in range(60):
        try:
            read = reading.read_image(damaged(FILES[name], seed))
        except reading.Unusable as refusal:
            assert 0 < len(str(refusal)) < 120
            continue
        assert read.pixels.dtype == np.uint8 and min(read.pixels.shape) <= 320


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FILES)
def test_warnings_that_are_errors_stop_nothing(name):
    assert reading.read_image(FILES[name]).pixels.shape == (120, 100)
    for seed in (1, 2):
        with contextlib.suppress(reading.Unusable):
            reading.read_image(damaged(FILES[name], seed))


def with_size(frame: bytes, marker: bytes, skip: int) -> bytes:
    """A codestream whose header says 60,000 x 60,000."""
    place = frame.index(marker) + skip
    return frame[:place] + struct.pack(">HH", 60_000, 60_000) + frame[place + 4 :]


def tiff_with(data: bytes, **tags: int) -> bytes:
    """A TIFF with other values in its header."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for name, value in tags.items():
            tag = file.pages[0].tags[name]
            size = struct.calcsize("<" + tag.dtype.name.replace("SHORT", "H").replace("LONG", "I"))
            changed[tag.valueoffset : tag.valueoffset + size] = value.to_bytes(size, "little")
    return bytes(changed)


JPEG_12 = imagecodecs.jpeg8_encode(TWELVE, bitspersample=12)
J2K = imagecodecs.jpeg2k_encode(RGB, codecformat="j2k", reversible=True)
BOMBS = {
    "12-bit JPEG": with_size(JPEG_12, b"\xff\xc1", 5),
    "JPEG-LS": with_size(imagecodecs.jpegls_encode(TWELVE), b"\xff\xf7", 5),
    "JPEG 2000": J2K[:8] + struct.pack(">II", 60_000, 60_000) + J2K[16:],
    "TIFF": tiff_with(tiff(TWELVE), ImageWidth=60_000, ImageLength=60_000),
    "tile": tiff_with(tiff(TWELVE, tile=(16, 16)), TileWidth=65_520, TileLength=65_520),
    "JPEG in TIFF": with_size(tiff(GREY, compression="jpeg"), b"\xff\xc0", 5),
    "DICOM": dicom(GREY, Rows=60_000, Columns=60_000),
    "samples": dicom(GREY, Rows=9_000, Columns=9_000, SamplesPerPixel=60_000),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_memory_is_bounded_by_the_header(name):
    with pytest.raises(reading.Unusable) as refused:
        reading.read_image(BOMBS[name])
    assert str(refused.value) == "decompression bomb"


@pytest.mark.parametrize("tag,value", [("PhotometricInterpretation", 2), ("Compression", 32771)])
def test_a_tiff_whose_tags_contradict_its_samples_is_refused(tag, value):
    """Colours of one sample a pixel, and 16 bits in a compression that is read for 8 only."""
    with pytest.raises(reading.Unusable, match="truncated or damaged"):
        reading.read_image(tiff_with(tiff(TWELVE), **{tag: value}))


def test_a_strip_that_inflates_to_more_than_its_size_is_cut():
    plain = tiff(TWELVE, compression="zlib")
    bomb = zlib.compress(bytes(50_000_000), 9)
    data = tiff_with(plain, StripOffsets=len(plain), StripByteCounts=len(bomb)) + bomb
    with pytest.raises(reading.Unusable, match="truncated or damaged"):
        reading.read_image(data)


def test_memory_that_is_not_there_is_a_reason(monkeypatch):
    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(imagecodecs, "png_decode", refuse)
    with pytest.raises(reading.Unusable, match="does not fit in memory"):
        reading.read_image(FILES["16-bit PNG"])


def test_threads_that_read_at_once_get_what_one_gets():
    files = list(FILES.values()) * 6
    alone = [reading.read_image(data).pixels for data in FILES.values()] * 6
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = [read.pixels for read in pool.map(reading.read_image, files)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_libraries_log_for_others_as_before(caplog):
    caplog.set_level(logging.WARNING)  # absl may have set another one for the whole process
    reading.read_image(FILES["DICOM"])
    pydicom.config.logger.warning("of the user's own reading")
    logging.getLogger("tifffile").warning("of the user's own reading")
    assert len(caplog.records) == 2


@pytest.mark.slow
def test_libraries_of_rare_formats_are_loaded_when_they_are_needed():
    code = (
        "import sys, covid_tfds.reading as r; r.read_image(bytes.fromhex(sys.stdin.read()));"
        "print(*{'pydicom', 'tifffile', 'imagecodecs'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=FILES["PNG"].hex(), capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.strip() == ""


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("harm", ["zeroed", "dropped"])
def test_a_jpeg_that_is_damaged_inside_is_not_taken_for_whole(mode, progressive, harm):
    """libjpeg goes on with shifted bands; a class of such files is told by its damage."""
    image = Image.fromarray(radiograph(3, (400, 360))).convert(mode)
    data = encoded(image, "JPEG", quality=90, progressive=progressive)
    pixels(data)
    middle = len(data) // 2
    damaged = {
        "zeroed": data[:middle] + bytes(40) + data[middle + 40 :],
        "dropped": data[:middle] + data[middle + 40 :],
    }[harm]
    with pytest.raises(Unusable, match="truncated or damaged"):
        pixels(damaged)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_in_a_tiff_that_is_damaged_inside_is_not_taken_for_whole(mode):
    stream = encoded(Image.fromarray(radiograph(3, (400, 360))).convert(mode), "JPEG", quality=90)
    middle = len(stream) // 2

    def in_tiff(jpeg: bytes) -> bytes:
        photometric, channels = {"L": ("minisblack", ()), "RGB": ("ycbcr", (3,))}[mode]
        file = io.BytesIO()
        tifffile.imwrite(file, iter([jpeg]), shape=(400, 360, *channels), dtype=np.uint8,
                         compression="jpeg", photometric=photometric, rowsperstrip=400)  # fmt: skip
        return file.getvalue()

    pixels(in_tiff(stream))
    with pytest.raises(Unusable, match="truncated or damaged"):
        pixels(in_tiff(stream[:middle] + bytes(40) + stream[middle + 40 :]))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_so_is_one_whose_tables_stand_beside_its_strips(mode):
    """As libtiff writes them."""
    image = Image.fromarray(radiograph(3, (400, 360))).convert("RGB").convert(mode)
    data = encoded(image, "TIFF", compression="jpeg")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert page.jpegtables
        middle = page.dataoffsets[0] + page.databytecounts[0] // 2
    pixels(data)
    with pytest.raises(Unusable, match="truncated or damaged"):
        pixels(data[:middle] + bytes(40) + data[middle + 40 :])


@pytest.mark.parametrize("begin,reason", [
    (encoded(radiograph(3), "PNG")[:20], DAMAGED), (encoded(radiograph(3), "JPEG")[:20], DAMAGED),
    (encoded(radiograph(3), "WEBP")[:20], DAMAGED), (b"\0\0\0\x1cftypavif", "AVIF, HEIC or"),
    (b"\0\0\0\x18ftypheic", "AVIF, HEIC or"), (b"\0\0\0\x18ftypmp42", "not an image"),
    (b"\0\0\0\x14ftypqt  ", "not an image"),
    (b"\xff\x0a\xfa", "JPEG XL, which is not read"), (b"\xff", "not an image"),
])  # fmt: skip
def test_what_begins_as_an_image_is_called_one(begin, reason):
    with pytest.raises(Unusable, match=reason):
        pixels(begin)


def test_what_stands_behind_the_end_of_a_jpeg_is_of_no_matter():
    data = encoded(radiograph(3), "JPEG", quality=90)
    np.testing.assert_array_equal(pixels(data + b"\0" * 999 + b"appended"), pixels(data))


def of_an_unknown_revision(data: bytes) -> bytes:
    place = data.index(b"JFIF\0") + 5
    return data[:place] + b"\x02\x01" + data[place + 2 :]


def with_a_broken_profile(data: bytes) -> bytes:
    profile = b"ICC_PROFILE\0\x03\x02of which two parts are missing"
    return data[:20] + b"\xff\xe2" + (2 + len(profile)).to_bytes(2) + profile + data[20:]


def of_a_scan_without_coefficients(data: bytes) -> bytes:
    place = data.index(b"\xff\xda")
    place += 5 + 2 * data[place + 4]
    return data[:place] + b"\0\0\0" + data[place + 3 :]


ODD = [of_an_unknown_revision, with_a_broken_profile, of_a_scan_without_coefficients]


@pytest.mark.parametrize("odd", [*([each] for each in ODD), ODD])
def test_a_header_that_libjpeg_warns_of_does_not_make_a_jpeg_damaged(odd):
    """Some programs write such headers, and no pixel depends on them."""
    image = Image.fromarray(radiograph(3, (400, 360))).convert("RGB")
    whole = data = encoded(image, "JPEG", quality=90)
    for change in odd:
        data = change(data)
    with pytest.raises(ValueError):
        simplejpeg.decode_jpeg(data, strict=True)
    np.testing.assert_array_equal(pixels(data), pixels(whole))
    middle = len(data) // 2
    with pytest.raises(Unusable, match="truncated or damaged"):
        pixels(data[:middle] + bytes(40) + data[middle + 40 :])
