"""From the bytes of any file to canonical grey pixels, or a reason why not.

`read_image` is the room's door. Read in this order:

* `decoded`: what the readers share: the refusal, the header, the decoded raster, the limits.
* `raster`: the formats that Pillow reads, with `jpeg`; `tiff`; `dicom`: what a DICOM file is and
  says, with `dicom_pixels` (its values) and `dicom_codecs` (its compressed frames).
* `deep`, `samples`, `grey`: values of any depth to 0..255. `codestream`: what a JPEG says ahead.
* `usable`: refuses what is no chest X-ray.

Everything may run in many threads at once. Nothing sets state of the process but `quiet`: a filter
on two libraries' loggers that acts only in threads that are reading.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from covid_tfds.reading import dicom, quiet, raster, tiff, usable
from covid_tfds.reading.decoded import BOMB, DAMAGED, Header, Raster, Unusable

__all__ = ["SHORTER_SIDE", "DecodedImage", "Header", "Unusable", "encode", "read_image"]

SHORTER_SIDE = 320  # pixels; longer images are scaled down to it once, when the dataset is built
# How files begin: of formats that are read, of JPEG XL, and of AVIF and HEIC behind a length and
# `ftyp`, which films have, too.
_READ = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"GIF8")
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_HEIF = (b"avi", b"hei", b"hev", b"mif1", b"msf1")
_RLE = 3  # zlib's strategy: as small as level 6 on X-rays, in a quarter of the time


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedImage:
    """The canonical pixels of one file, and what the file was.

    Attributes:
        pixels: uint8 [h, w], white is dense, the shorter side at most `SHORTER_SIDE` pixels.
        width, height: Pixels of the file as displayed (after EXIF rotation).
        mode: Of the file: Pillow's mode (`L`, `RGB`, `I;16`) or a name of the same kind.
        format: By content, e.g. `JPEG` or `DICOM`, whatever the suffix says.
        header: What the file says of the person; empty but for DICOM.
    """

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    format: str
    header: Header = dataclasses.field(default_factory=Header)


def read_image(data: bytes) -> DecodedImage:
    """Decodes one file to canonical pixels. Thread-safe.

    Args:
        data: The file's bytes.

    Raises:
        Unusable: The bytes are no single, whole chest X-ray; the message is a reason from a small
            vocabulary. Nothing else is ever raised.
    """
    try:
        return _read(data)
    except Unusable as refusal:
        reason = str(refusal)
    except Image.DecompressionBombError:
        reason = BOMB
    except MemoryError:
        reason = "does not fit in memory"
    except ImportError:
        reason = "its decoder does not load here"
    except Exception:  # codecs raise whatever they like on damaged bytes
        reason = DAMAGED
    # Outside the handlers, so that the error holds neither pixels nor anything of a header.
    raise Unusable(reason)


def encode(pixels: np.ndarray) -> bytes:
    """Lossless PNG bytes of uint8 [h, w] pixels."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1, compress_type=_RLE)
    return out.getvalue()


def _read(data: bytes) -> DecodedImage:
    decoded = _decode(data)
    grey = decoded.grey
    usable.refuse_shape(grey.width, grey.height)
    usable.refuse_content(grey, decoded.colours)
    pixels = np.asarray(_shrink(grey))
    return DecodedImage(
        pixels, grey.width, grey.height, decoded.mode, decoded.format, decoded.header
    )


def _decode(data: bytes) -> Raster:
    if not data:
        raise Unusable("empty file")
    if dicom.is_dicom(data):
        with quiet.library_logs("pydicom"):
            return dicom.read(data)
    if tiff.is_tiff(data):
        with quiet.library_logs("tifffile"):
            return tiff.read(data)
    decoded = raster.read(data)
    if decoded is not None:
        return decoded
    if dicom.is_dicom_without_preamble(data):
        with quiet.library_logs("pydicom"):
            return dicom.read(data)
    if data.startswith(b"version https://git-lfs"):
        raise Unusable("a git-lfs pointer, not the image")
    raise Unusable(_what_it_is(data))


def _what_it_is(data: bytes) -> str:
    """The reason for a file that no reader knows: by its first bytes it may be an image."""
    if data.startswith(_READ) or data[8:12] == b"WEBP":
        return DAMAGED
    if data.startswith(_JPEG_XL) or (data[4:8] == b"ftyp" and data.startswith(_HEIF, 8)):
        return "AVIF, HEIC or JPEG XL, which is not read"
    return "not an image"


def _shrink(grey: Image.Image) -> Image.Image:
    scale = SHORTER_SIDE / min(grey.size)
    if scale >= 1:
        return grey
    width, height = (max(1, round(side * scale)) for side in grey.size)
    # Pillow antialiases when it shrinks.
    return grey.resize((width, height), Image.Resampling.BICUBIC)
