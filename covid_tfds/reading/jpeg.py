"""8-bit JPEG, refused where libjpeg finds it damaged.

libjpeg mends what is damaged: it fills in grey, or goes on with shifted bands, and only warns.
Pillow and imagecodecs pass over the warning, so that a class of damaged files would be told by its
damage. simplejpeg, on the same libjpeg-turbo, gives the same pixels and makes the warning an error.

It also warns of header values that no pixel depends on, which some programs write wrong. Those are
set right in a copy, so that a warning is one of damage.
"""

from typing import Any

import numpy as np
from PIL import Image

from covid_tfds.reading.codestream import SCAN, segments
from covid_tfds.reading.decoded import DAMAGED, Unusable

# How libjpeg's warnings of a header begin. After the first, simplejpeg looks no further.
_OF_THE_HEADER = (
    "Warning: unknown JFIF revision",
    "Corrupt JPEG data: bad ICC marker",
    "Invalid SOS parameters for sequential JPEG",
)
_APP0, _APP2, _SEQUENTIAL = 0xE0, 0xE2, {0xC0, 0xC1}  # markers


def decode(data: bytes, mode: str) -> Image.Image:
    """The pixels of a JPEG file.

    Args:
        data: The file's bytes; what stands behind its end is of no matter.
        mode: `L` or `RGB`, as the file has it.

    Raises:
        Unusable: A part of the file is damaged or missing.
    """
    decoded = _decoded(data, "GRAY" if mode == "L" else mode)
    return Image.fromarray(decoded[..., 0] if mode == "L" else decoded)


def require_whole(data: bytes, colours: str = "GRAY") -> None:
    """Refuses a damaged stream that another decoder takes.

    Args:
        data: A JPEG stream of 8 bits a sample, baseline or progressive.
        colours: `CMYK` where it has inks, which have no way to grey; else `GRAY`.

    Raises:
        Unusable: A part of it is damaged or missing.
    """
    # An eighth of the size: all of the stream is read, and little of it computed.
    _decoded(data, colours, min_height=1, min_width=1)


def _decoded(data: bytes, colours: str, **size: Any) -> np.ndarray:
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, colours, strict=True, **size)
    except ValueError as error:
        if not str(error).startswith(_OF_THE_HEADER):
            raise Unusable(DAMAGED) from None
    try:
        return simplejpeg.decode_jpeg(_with_usual_header(data), colours, strict=True, **size)
    except ValueError:
        raise Unusable(DAMAGED) from None


def _with_usual_header(data: bytes) -> bytes:
    """The same pixels behind a header of which libjpeg has nothing to say."""
    usual, sequential = bytearray(data), False
    for marker, place in segments(data):
        body = place + 4  # behind the marker and the length
        sequential = sequential or marker in _SEQUENTIAL
        if marker == _APP0 and data.startswith(b"JFIF\0", body):
            usual[body + 5 : body + 7] = b"\x01\x01"  # the revision
        elif marker == _APP2 and data.startswith(b"ICC_PROFILE\0", body):
            usual[body] = 0  # no profile: it has no part in what is decoded
        elif marker == SCAN and sequential:
            coefficients = body + 1 + 2 * data[body]
            usual[coefficients : coefficients + 3] = b"\x00\x3f\x00"  # all 64, at once
    return bytes(usual)
