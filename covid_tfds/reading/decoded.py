"""What the readers of single formats share: the refusal, the header, the decoded raster."""

import dataclasses
import math

from PIL import Image

# Pillow's own threshold for a decompression bomb: 0.25 GiB of RGB.
MAX_PIXELS = 89_478_485
# Bytes of samples that one file may fill: as many pixels of 16-bit RGBA.
MAX_BYTES = 8 * MAX_PIXELS

DAMAGED = "truncated or damaged"
BOMB = "decompression bomb"
SEVERAL = "animation or several pages"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unusable(Exception):
    """The file can't be used as a chest X-ray; the message is the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a file itself says of the person and the projection; only DICOM does.

    Attributes:
        patient_id: As the file has it, "" for placeholders. It names a person: hash it at once.
        sex: `M`, `F` or "".
        age: Years; NaN when unknown.
        projection: Upper case, e.g. `PA`, or "" when unknown.
        modality: Upper case, e.g. `DX`, or "" when not stated.
    """

    patient_id: str = ""
    sex: str = ""
    age: float = math.nan
    projection: str = ""
    modality: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Raster:
    """One decoded file at full size, upright.

    Attributes:
        grey: Mode `L`; white is dense.
        colours: An image in which colours are looked for, or None where there can be none.
        mode: Of the file: Pillow's mode or a short name of the same kind.
        format: By content, e.g. `PNG`.
        header: What the file says of the person.
    """

    grey: Image.Image
    colours: Image.Image | None
    mode: str
    format: str
    header: Header = dataclasses.field(default_factory=Header)


def refuse_bomb(pixels: int, bytes_per_pixel: int = 1) -> None:
    """Refuses by the header, before anything is allocated.

    Raises:
        Unusable: The image would fill more memory than an X-ray can need.
    """
    if pixels > MAX_PIXELS or pixels * bytes_per_pixel > MAX_BYTES:
        raise Unusable(BOMB)


def upright(image: Image.Image, orientation: object) -> Image.Image:
    """Turns an image as EXIF's orientation says; values that mean nothing turn nothing."""
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)
