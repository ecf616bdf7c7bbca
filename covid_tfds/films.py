"""The film: its record, the label vocabulary, and reading one file into canonical pixels."""

import dataclasses
import hashlib
import io
import math

import imagehash
import numpy as np
from PIL import Image, ImageOps

# The order is a contract: a classifier of N classes keeps the first N.
LABELS = ("healthy", "covid19", "bacterial", "viral")
SHORTER_SIDE = 320  # pixels; longer films are scaled down to it once, when the dataset is built
JPEG_QUALITY = 95
THUMBNAIL = 64  # pixels; side of the square copy on which near-equal films are compared

# What Pillow may try: the raster formats films come in. Never EPS or PDF, which start programs.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")
_MAX_PIXELS = 89_478_485  # Pillow's own threshold for a decompression bomb: 0.25 GiB of RGB
_MIN_SIDE = 64  # pixels; the smallest film of the two sources is 156 px high
_MAX_ASPECT = 3.0
# Mean distance (0..255) of the colours from the best curve through them that grey alone decides.
# A tinted or photographed film has one colour per grey: at most 4.7 on the 616 Cohen files.
# Photographs have many: from 8.5 up.
_MAX_COLOURS = 6.5
_MIN_CONTRAST = 4.0  # standard deviation of the grey values; below it there is nothing to see
# Share of pixels that hold one of the two most frequent grey values. Text pages are above 0.9.
_MAX_TWO_TONE = 0.9


class Unusable(Exception):
    """The file can't be used as a film; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Film:
    """What a source knows of one film before its pixels are read.

    Attributes:
        film_id: Unique in the dataset, e.g. `kaggle/train/IM-0115-0001`.
        label: One of `LABELS`.
        source: `kaggle`, `cohen`, `phantom` or `own`.
        patient: Key of the patient within the dataset, prefixed by the source.
        name: Path of the file in its storage, relative to the storage's root.
        also: Further patient keys under which the source lists the same file.
        original_split: The split the source itself puts the film in, or "".
        view: Projection as the source writes it, e.g. `PA`, or "" when unknown.
        sex: `M`, `F` or "".
        age: Years; NaN when unknown.
        licence: As the source states it, or `not stated`.
        credit: Where the film was first published (URL or DOI), or "".
    """

    film_id: str
    label: str
    source: str
    patient: str
    name: str
    also: tuple[str, ...] = ()
    original_split: str = ""
    view: str = ""
    sex: str = ""
    age: float = math.nan
    licence: str = "not stated"
    credit: str = ""


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """A file or row that is left out, and why. `reason` is from a small vocabulary."""

    file: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Picture:
    """What an example holds of one file.

    Attributes:
        image: JPEG bytes, one channel, shorter side at most `SHORTER_SIDE` pixels.
        width, height: Pixels of the file as displayed (after EXIF rotation).
        mode: Pillow's mode of the file, e.g. `L`, `RGB`, `I;16`.
        format: Format by content, e.g. `JPEG`, whatever the suffix says.
        sha256: Of the file's bytes, hexadecimal.
    """

    image: bytes
    width: int
    height: int
    mode: str
    format: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Reading(Picture):
    """One decoded file with the prints by which copies of it are found.

    Attributes:
        pixel_sha256: Of the grey pixels at full size, hexadecimal.
        git_blob_sha1: The name git gives to these bytes.
        phash: 64-bit perceptual hash.
        thumbnail: float32 [64 * 64], zero mean, unit length.
    """

    pixel_sha256: str
    git_blob_sha1: str
    phash: int
    thumbnail: np.ndarray


def read_film(data: bytes) -> Reading:
    """Decodes one file and takes its fingerprints.

    Args:
        data: The file's bytes.

    Raises:
        Unusable: The bytes are no single, whole, frontal-film-like picture.
    """
    picture, mode, file_format = _open(data)
    grey = _to_grey(picture)
    _refuse_what_is_no_film(picture, grey)
    small = _shrink(grey)
    return Reading(
        image=encode(small),
        width=grey.width,
        height=grey.height,
        mode=mode,
        format=file_format,
        sha256=hashlib.sha256(data).hexdigest(),
        pixel_sha256=hashlib.sha256(repr(grey.size).encode() + grey.tobytes()).hexdigest(),
        git_blob_sha1=hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
        phash=int.from_bytes(np.packbits(imagehash.phash(small).hash).tobytes()),
        thumbnail=_thumbnail(small),
    )


def encode(grey: Image.Image) -> bytes:
    """JPEG bytes of a one-channel 8-bit picture."""
    out = io.BytesIO()
    grey.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _open(data: bytes) -> tuple[Image.Image, str, str]:
    """Returns the loaded picture, upright, with the mode and format of the file."""
    if not data:
        raise Unusable("empty file")
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise Unusable("decompression bomb") from None
    except (OSError, SyntaxError, ValueError):
        raise Unusable("not an image") from None
    if picture.width * picture.height > _MAX_PIXELS:
        raise Unusable("decompression bomb")
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise Unusable("animation or several pages")
    mode, file_format = picture.mode, picture.format or ""
    try:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError):
        raise Unusable("truncated or damaged") from None
    return picture, mode, file_format


def _to_grey(picture: Image.Image) -> Image.Image:
    """Any mode to 8-bit grey; transparent parts are black, as the border of a film is."""
    if picture.mode == "L":
        return picture
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(_to_8_bit(np.asarray(picture)))
    if "A" in picture.mode or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, coloured).convert("L")
    # By way of RGB, since CMYK, palette and the like have no direct road to grey in Pillow.
    coloured = picture if picture.mode == "RGB" else picture.convert("RGB")
    return coloured.convert("L")


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scales deep grey to 0..255 by the bit depth that holds its largest value.

    Detectors give 10, 12, 14 or 16 bits and all of them are stored in 16: dividing by 257
    throughout would make a 12-bit film black.
    """
    values = np.nan_to_num(values.astype(np.float64)).clip(0, None)
    depth = next((bits for bits in (8, 10, 12, 14, 16) if values.max() < 2**bits), None)
    largest = 2**depth - 1 if depth else values.max()
    return np.rint(values * (255 / largest)).astype(np.uint8)


def _refuse_what_is_no_film(picture: Image.Image, grey: Image.Image) -> None:
    short, long = sorted(grey.size)
    if short < _MIN_SIDE:
        raise Unusable("not an X-ray: too small")
    if long > _MAX_ASPECT * short:
        raise Unusable("not an X-ray: a strip")
    counts = np.array(grey.resize((256, 256), Image.Resampling.NEAREST).histogram())
    values, pixels = np.arange(256), counts.sum()
    variance = counts @ values**2 / pixels - (counts @ values / pixels) ** 2
    if variance < _MIN_CONTRAST**2:
        raise Unusable("not an X-ray: blank")
    if np.sort(counts)[-2:].sum() > _MAX_TWO_TONE * pixels:
        raise Unusable("not an X-ray: a page of text or a drawing")
    if _colours_beyond_a_tint(picture) > _MAX_COLOURS:
        raise Unusable("not an X-ray: a colour picture")


def _colours_beyond_a_tint(picture: Image.Image) -> float:
    """Mean absolute residual of R, G and B after a cubic of the grey value, 0..255."""
    if picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I"):
        return 0.0
    small = picture.resize((64, 64), Image.Resampling.NEAREST).convert("RGB")
    colours = np.asarray(small).reshape(-1, 3)
    if np.array_equal(colours[:, :2], colours[:, 1:]):
        return 0.0  # grey stored in colour, as most films are: no curve to look for
    colours = colours.astype(np.float64)
    powers = np.vander(colours @ [0.299, 0.587, 0.114] / 255, 4)
    fitted = powers @ np.linalg.lstsq(powers, colours, rcond=None)[0]
    return float(np.abs(colours - fitted).mean())


def _shrink(grey: Image.Image) -> Image.Image:
    scale = SHORTER_SIDE / min(grey.size)
    if scale >= 1:
        return grey
    size = tuple(max(1, round(side * scale)) for side in grey.size)
    return grey.resize(size, Image.Resampling.BICUBIC)  # Pillow antialiases when it shrinks


def _thumbnail(grey: Image.Image) -> np.ndarray:
    small = grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    values = np.asarray(small, np.float32).ravel()
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)
