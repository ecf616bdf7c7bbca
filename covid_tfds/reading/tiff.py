"""TIFF of every depth by tifffile: the page, its photometric meaning, its channels."""

import dataclasses
import io
import itertools
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from covid_tfds.reading import jpeg, raster
from covid_tfds.reading.codestream import frame_of
from covid_tfds.reading.decoded import (
    DAMAGED,
    SEVERAL,
    Raster,
    Unusable,
    refuse_bomb,
)
from covid_tfds.reading.samples import Samples, to_raster

if TYPE_CHECKING:
    import tifffile

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PAGES = 64  # of which the full-size one is looked for
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
# None, LZW, deflate (two numbers), PackBits, zstd, LZMA: what they may grow to is bounded.
_BOUNDED = {1, 5, 8, 32946, 32773, 50000, 34925}
# JPEG and JPEG 2000: each strip or tile states its own size.
_STREAMS = {7, 33003, 33004, 33005, 34712}
_JPEG = 7
_TAG_ORIENTATION, _TAG_DEPTH = 274, 32997
# (least, greatest): Min/MaxSampleValue, SMin/SMaxSampleValue.
_TAGS_OF_RANGE = ((340, 341), (280, 281))


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as TIFF or BigTIFF do."""
    return data[:4] in _MAGIC


def read(data: bytes) -> Raster:
    """Decodes one file.

    Args:
        data: The file's bytes.

    Raises:
        Unusable: Several pages, or a size that no X-ray has.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = _full_page(file)
        if page.compression in _BOUNDED | _STREAMS:
            _refuse_bombs(page, data)
            samples = _samples(page)
            if samples is not None:
                samples = dataclasses.replace(samples, stated=_stated_range(file, page))
                return to_raster(samples, "TIFF", page.tags.valueof(_TAG_ORIENTATION, 1))
        return _by_pillow(data, page.index)


def _full_page(file: "tifffile.TiffFile") -> "tifffile.TiffPage":
    """The page at full resolution; thumbnails, pyramids and masks are no further pages."""
    # Frames, pages without tags of their own, come only where they are wanted.
    pages = cast("list[tifffile.TiffPage]", list(itertools.islice(file.pages, _MAX_PAGES)))
    full = [page for page in pages if not page.subfiletype & _REDUCED_OR_MASK] or pages
    page = max(full, key=lambda page: page.imagewidth * page.imagelength)
    several = any(other is not page and not _is_reduced(other, page) for other in full)
    if several or page.tags.valueof(_TAG_DEPTH, 1) != 1 or _images_in_page(file, page) != 1:
        raise Unusable(SEVERAL)
    return page


def _is_reduced(other: "tifffile.TiffPage", page: "tifffile.TiffPage") -> bool:
    """Whether a page that is not marked as reduced is a smaller copy all the same."""
    if other.imagewidth >= page.imagewidth or other.imagelength >= page.imagelength:
        return False
    across, down = other.imagewidth * page.imagelength, other.imagelength * page.imagewidth
    return abs(across - down) <= 0.05 * max(across, down)


def _images_in_page(file: "tifffile.TiffFile", page: "tifffile.TiffPage") -> int:
    """ImageJ and tifffile may write a stack behind one page's header."""
    if file.is_imagej:
        return int((file.imagej_metadata or {}).get("images", 1))
    if page.is_shaped:
        shape = (file.shaped_metadata or ({},))[0].get("shape", page.shape)
        return round(float(np.prod(shape, dtype=np.float64)) / max(1, page.size))
    return 1


def _refuse_bombs(page: "tifffile.TiffPage", data: bytes) -> None:
    """Refuses what would not fit in memory, or what is cut off, before a sample is decoded."""
    bytes_per_pixel = page.samplesperpixel * -(-page.bitspersample // 8)
    refuse_bomb(page.imagewidth * page.imagelength, bytes_per_pixel)
    refuse_bomb(page.tilewidth * page.tilelength, bytes_per_pixel)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if count == 0 or offset + count > len(data):
            raise Unusable(DAMAGED)
        if page.compression in _STREAMS:
            frame = frame_of(data[offset : offset + count])
            if frame is None:
                raise Unusable(DAMAGED)
            refuse_bomb(frame.width * frame.height, frame.samples * 2)
            if (frame.process, frame.bits) == ("jpeg", 8):
                stream = data[offset : offset + count]
                if page.jpegtables:  # those of all streams, between a beginning and an end
                    stream = page.jpegtables[:-2] + stream[2:]
                jpeg.require_whole(stream, "CMYK" if frame.samples == 4 else "GRAY")


def _samples(page: "tifffile.TiffPage") -> Samples | None:
    """The page's channels, or None for a colour space that only Pillow knows."""
    meaning, extra = page.photometric, page.extrasamples
    coloured = meaning == _RGB or (meaning == _YCBCR and page.compression == _JPEG and not extra)
    deep_inks = meaning == _CMYK and page.bitspersample > 8
    if not (coloured or deep_inks or meaning in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _PALETTE)):
        return None
    # Planes and interleaved channels alike: [plane, depth, h, w, channel] to [h, w, channel].
    values: np.ndarray = page.asarray(maxworkers=1).reshape(page.shaped)
    values = np.moveaxis(values[:, 0], 0, 2).reshape(*page.shaped[2:4], -1)
    bits = page.bitspersample
    if meaning == _PALETTE:
        assert page.colormap is not None  # else the file is damaged
        return Samples(np.moveaxis(page.colormap[:, values[..., 0]], 0, -1), 16)
    if deep_inks:
        full = np.uint32(2**bits - 1)
        inks = full - values[..., :4].astype(np.uint32)
        paper = (inks[..., :3] * inks[..., 3:] // full).astype(values.dtype)
        return Samples(paper, bits)
    count = 3 if coloured else 1
    if values.shape[2] < count:
        raise Unusable(DAMAGED)
    alpha = extra[0] if extra and values.shape[2] > count else 0
    return Samples(
        values[..., : count + (alpha in (1, 2))],
        bits,
        invert=meaning == _WHITE_IS_ZERO,
        premultiplied=alpha == 1,
    )


def _stated_range(
    file: "tifffile.TiffFile", page: "tifffile.TiffPage"
) -> tuple[float, float] | None:
    """What tags or ImageJ's display range say of the values."""
    if file.is_imagej:
        shown = file.imagej_metadata or {}
        least, greatest = shown.get("min"), shown.get("max")
        if isinstance(least, int | float) and isinstance(greatest, int | float):
            return float(least), float(greatest)
    for first, last in _TAGS_OF_RANGE:
        greatest = page.tags.valueof(last)
        if greatest is not None:
            ends = (np.ravel(page.tags.valueof(first, 0))[0], np.ravel(greatest)[0])
            return float(ends[0]), float(ends[1])
    return None


def _by_pillow(data: bytes, index: int) -> Raster:
    """A page of 8 bits in a colour space or compression that tifffile leaves alone."""
    picture = Image.open(io.BytesIO(data), formats=("TIFF",))
    picture.seek(index)
    refuse_bomb(picture.width * picture.height)
    return raster.from_pillow(picture)
