"""Raster formats that Pillow reads: JPEG, PNG, BMP, GIF, WebP, JPEG 2000, PPM."""

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageChops

from covid_tfds.reading import deep, jpeg
from covid_tfds.reading.codestream import frame_of
from covid_tfds.reading.decoded import (
    DAMAGED,
    SEVERAL,
    Raster,
    Unusable,
    refuse_bomb,
    upright,
)
from covid_tfds.reading.samples import Samples, to_raster

# What Pillow may try. Never EPS or PDF, which start programs.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
_ORIENTATION, _SHORT = 0x0112, 3  # EXIF's tag and the type of its value
# Offsets of the bits of a sample and the colour type, 0 for grey: that Pillow reads in full depth.
_PNG_DEPTH, _PNG_COLOUR = 24, 25


def read(data: bytes) -> Raster | None:
    """Decodes one file.

    Args:
        data: The file's bytes.

    Returns:
        The image, or None if Pillow does not know the format.

    Raises:
        Unusable: The format is known, the file can't be used.
    """
    frame = frame_of(data)
    if frame and frame.process != "jpeg 2000" and (frame.bits != 8 or frame.process != "jpeg"):
        return deep.read_jpeg(data, frame)
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (OSError, SyntaxError, ValueError):
        return None
    refuse_bomb(picture.width * picture.height)
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise Unusable(SEVERAL)
    if picture.format == "PNG" and data[_PNG_DEPTH] == 16 and data[_PNG_COLOUR] != 0:
        # Pillow decodes all of a PNG to look for EXIF behind its pixels.
        has_exif = b"eXIf" in data or b"Raw profile type exif" in data
        return deep.read_png(data, orientation_of(picture) if has_exif else 1)
    if picture.format == "JPEG2000" and frame and frame.bits > 8:
        return deep.read_jpeg_2000(data, frame, orientation_of(picture))
    if data[:2] == b"P6" and deep.ppm_largest(picture) > 255:
        return deep.read_ppm(data, picture)
    if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB"):
        return _finished(jpeg.decode(data, picture.mode), picture)
    if picture.format in ("JPEG", "MPO") and picture.mode == "CMYK":
        jpeg.require_whole(data, "CMYK")
    return from_pillow(picture)


def from_pillow(picture: Image.Image) -> Raster:
    """Decodes an opened image.

    Args:
        picture: Opened by Pillow, not loaded.

    Raises:
        Unusable: The pixels are cut off or damaged.
    """
    opened, mode, file_format = picture, picture.mode, picture.format or ""
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError, EOFError):
        raise Unusable(DAMAGED) from None
    if mode == "F" or mode.startswith("I"):
        values = _with_alpha(np.asarray(picture), picture.info.get("transparency"))
        bits = 16 if mode.startswith("I;16") else 32
        raster = to_raster(Samples(values, bits), file_format, orientation_of(picture))
        return Raster(raster.grey, None, mode, file_format)
    if mode == "CMYK" and file_format in ("JPEG", "MPO") and "adobe" not in picture.info:
        # Pillow takes the inks of every JPEG for inverted, as Adobe's are and no others.
        picture = ImageChops.invert(picture)
    return _finished(picture, opened)


def _with_alpha(values: np.ndarray, transparent: object) -> np.ndarray:
    """[h, w], or [h, w, 2] where one value of a PNG in grey is transparent (its chunk tRNS)."""
    if not isinstance(transparent, int):
        return values
    opaque = np.iinfo(values.dtype).max
    alpha = np.where(values == transparent, 0, opaque).astype(values.dtype)
    return np.stack([values, alpha], axis=-1)


def _finished(pixels: Image.Image, opened: Image.Image) -> Raster:
    """Upright and grey; `opened` has the file's mode, format and EXIF."""
    turned = upright(pixels, orientation_of(opened))
    colours = None if opened.mode in ("1", "L", "LA") else turned
    return Raster(_to_grey(turned), colours, opened.mode, opened.format or "")


def orientation_of(picture: Image.Image) -> object:
    """EXIF's orientation, 1 where there is none.

    One tag is read by itself: `ImageOps.exif_transpose` writes all of them again and raises where
    another one is mistyped.
    """
    try:
        found = picture.getexif().get(_ORIENTATION)
    except Exception:  # whatever a damaged block makes Pillow raise: the pixels are whole
        found = None
    return _scanned(picture.info.get("exif", b"")) if found is None else found


def _scanned(exif: bytes) -> int:
    """The orientation in a block of which Pillow reads nothing behind the first damaged tag."""
    exif = exif.removeprefix(b"Exif\0\0")
    order: Literal["big", "little"] = "big" if exif[:2] == b"MM" else "little"
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for place in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = (int.from_bytes(exif[place + i : place + i + 2], order) for i in (0, 2))
        if tag == _ORIENTATION and kind == _SHORT:
            return int.from_bytes(exif[place + 8 : place + 10], order)
    return 1


def _to_grey(picture: Image.Image) -> Image.Image:
    """Any mode of 8 bits to `L`; transparent parts are black, as the border of an X-ray is."""
    transparent = "A" in picture.mode or "transparency" in picture.info
    if picture.mode == "L" and not transparent:
        return picture
    if transparent:
        coloured = picture.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, coloured).convert("L")
    # By way of RGB, since CMYK, palette and the like have no direct way to grey in Pillow.
    coloured = picture if picture.mode == "RGB" else picture.convert("RGB")
    return coloured.convert("L")
