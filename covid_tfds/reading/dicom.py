"""DICOM: which objects are chest radiographs, and what the header may say of the person.

Of the header only the tags named here and in `dicom_pixels` are ever read.
"""

import io
import math
import re
import unicodedata
import zlib
from typing import TYPE_CHECKING

from covid_tfds.reading import dicom_pixels
from covid_tfds.reading.decoded import (
    BOMB,
    DAMAGED,
    Header,
    Raster,
    Unusable,
    refuse_bomb,
)
from covid_tfds.reading.dicom_elements import TRANSFER_SYNTAX, text, word

if TYPE_CHECKING:
    import pydicom

_SOP_CLASS, _MODALITY, _BODY_PART, _PROJECTION = 0x00080016, 0x00080060, 0x00180015, 0x00185101
_PATIENT_ID, _SEX, _AGE, _FRAMES = 0x00100020, 0x00100040, 0x00101010, 0x00280008
_ROWS, _COLUMNS, _SAMPLES, _BITS = 0x00280010, 0x00280011, 0x00280002, 0x00280100
_DIRECTORY, _MEDIA_SOP_CLASS = 0x00041220, 0x00020002
_INTENT, _VIEW_CODES, _MEANING = 0x00080068, 0x00540220, 0x00080104
_HEADER_TAGS = [
    *(_SOP_CLASS, _MODALITY, _BODY_PART, _PROJECTION, _PATIENT_ID, _SEX, _AGE, _FRAMES),
    *(_ROWS, _COLUMNS, _SAMPLES, _BITS, _DIRECTORY, _INTENT, _VIEW_CODES),
]
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"  # what a detector gives, of any polarity
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RADIOGRAPHS = {"", "CR", "DX", "DR", "RG"}
_CHEST = re.compile("CHEST|THORA|TORAX|LUNG|PULM|THX|RIB")
_NO_BODY_PART = {"", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "NOT SPECIFIED", "NONE", "N/A", "NA"}
# What stands in place of a patient's id when there is none; any number of zeros and signs, too.
# `Anonymous 7` and `test_0012` are ids: whoever numbers them tells persons apart.
_NO_PATIENT = re.compile(
    r"[\W0_]*|(anon[a-z]*|unknown|none|null|nil|n/?a|patient ?id|no ?id|x+|test)[\W0_]*",
    re.IGNORECASE,
)
# View positions of the standard, or as units write them. Who lies on a side is seen from the front.
_FRONTAL = {"PA", "AP", "LLD", "RLD", "AP SUPINE", "AP ERECT", "PA ERECT"}
# Words of views, as units write them: `LAT ERECT`, `Left lateral`. A lateral decubitus is frontal.
_FROM_THE_FRONT = {"PA", "AP", "LLD", "RLD", "DECUB", "DECUBITUS", "POSTEROANTERIOR",
                   "ANTEROPOSTERIOR", "POSTERO", "ANTERO"}  # fmt: skip
_NOT_FRONTAL = {"LL", "RL", "LLO", "RLO", "RPO", "LPO", "LAO", "RAO", "LAT", "LLAT", "RLAT",
                "LATERAL", "OBL", "OBLIQUE"}  # fmt: skip
_OLDEST = 120  # years
_AGE_IN_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
# Group 2 or 8, then two letters (explicit VR) or a small length (implicit); either byte order.
_FIRST_ELEMENT = re.compile(rb"[\2\x08]\0..([A-Z]{2}|.\0\0\0)|\0[\2\x08]..[A-Z]{2}", re.DOTALL)
# The most that a header may take before its pixels, inflated.
_MAX_HEADER = 1 << 24


def is_dicom(data: bytes) -> bool:
    """Whether the bytes are a DICOM file with its preamble."""
    return data[128:132] == b"DICM"


def is_dicom_without_preamble(data: bytes) -> bool:
    """Whether bytes that no other reader knows begin with a DICOM element of group 2 or 8."""
    return _FIRST_ELEMENT.match(data) is not None


def read(data: bytes) -> Raster:
    """Decodes one object: the cheap checks of the header first, then the pixels.

    Args:
        data: The file's bytes.

    Raises:
        Unusable: It is no single chest radiograph, or it can't be decoded.
    """
    data, deflated = _inflated(data)
    found = _parsed(data, _HEADER_TAGS, pixels=False)
    _refuse_what_is_no_image(found)
    _refuse_what_is_no_chest(found)
    if _frames(found) > 1:
        raise Unusable("DICOM: several frames")
    _size(found)
    dataset = _parsed(data, dicom_pixels.TAGS, pixels=True)
    return dicom_pixels.read(dataset, deflated, _header(found))


def _parsed(data: bytes, tags: list[int], pixels: bool) -> "pydicom.FileDataset":
    import pydicom

    return pydicom.dcmread(
        io.BytesIO(data), stop_before_pixels=not pixels, force=True, specific_tags=tags
    )


def _inflated(data: bytes) -> tuple[bytes, bool]:
    """The data set of a deflated file, with a limit that pydicom does not set; others as is."""
    from pydicom import filereader

    file = io.BytesIO(data)
    filereader.read_preamble(file, force=True)
    meta = filereader._read_file_meta_info(file)  # ends where the data set begins
    if text(meta, TRANSFER_SYNTAX) != _DEFLATED:
        return data, False
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    head = inflater.decompress(data[file.tell() :], _MAX_HEADER)
    needed = _size(_parsed(head, _HEADER_TAGS, pixels=False))
    rest = inflater.decompress(inflater.unconsumed_tail, needed + _MAX_HEADER)
    if inflater.unconsumed_tail:
        raise Unusable(BOMB)
    if not inflater.eof:
        raise Unusable(DAMAGED)
    return head + rest, True


def _size(found: "pydicom.FileDataset") -> int:
    """Bytes of the pixels by the header; refuses a decompression bomb."""
    pixels = word(found, _ROWS, 0) * word(found, _COLUMNS, 0) * _frames(found)
    bytes_per_pixel = max(1, word(found, _SAMPLES, 1)) * -(-word(found, _BITS, 8) // 8)
    refuse_bomb(pixels, bytes_per_pixel)
    return pixels * bytes_per_pixel


def _frames(found: "pydicom.FileDataset") -> int:
    match = re.match(r"\d{1,9}", text(found, _FRAMES))
    return max(1, int(match[0])) if match else 1


def _refuse_what_is_no_image(found: "pydicom.FileDataset") -> None:
    kind = text(found.file_meta, _MEDIA_SOP_CLASS) or text(found, _SOP_CLASS)
    if kind == _DIRECTORY_CLASS or _DIRECTORY in found:
        raise Unusable("DICOM directory, not an image")
    if not word(found, _ROWS, 0) or not word(found, _COLUMNS, 0):
        raise Unusable("DICOM without an image")


def _refuse_what_is_no_chest(found: "pydicom.FileDataset") -> None:
    modality = text(found, _MODALITY).upper()
    if modality not in _RADIOGRAPHS:
        raise Unusable(f"DICOM: modality {_code(modality)}, not a radiograph")
    part = unicodedata.normalize("NFKD", text(found, _BODY_PART).upper())
    part = part.encode("ascii", "ignore").decode()
    if part not in _NO_BODY_PART and not _CHEST.search(part):
        raise Unusable(f"DICOM: body part {_code(part)}, not the chest")
    intent, kind = text(found, _INTENT).upper(), text(found, _SOP_CLASS)
    if intent == "FOR PROCESSING" or (kind == _FOR_PROCESSING and not intent):
        raise Unusable("DICOM: for processing, not for presentation")
    view = text(found, _PROJECTION).upper() or _coded_view(found)
    words = set(re.split(r"[^A-Z]+", view))
    if words & _NOT_FRONTAL and not words & _FROM_THE_FRONT:
        raise Unusable(f"DICOM: view {_code(view)}, not a frontal one")


def _coded_view(found: "pydicom.FileDataset") -> str:
    """The name of a coded view, in capitals; "" where there is none."""
    try:
        coded = found[_VIEW_CODES].value[0] if _VIEW_CODES in found else None
        return "" if coded is None else text(coded, _MEANING).upper()
    except (IndexError, AttributeError, TypeError, ValueError, KeyError):  # of what is no sequence
        return ""


def _code(value: str) -> str:
    """A value that goes into a reason: DICOM's code strings only, never free text."""
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "without a code"


def _header(found: "pydicom.FileDataset") -> Header:
    patient = text(found, _PATIENT_ID)
    sex = text(found, _SEX).upper()
    return Header(
        patient_id="" if _NO_PATIENT.fullmatch(patient) else patient,
        sex=sex if sex in ("M", "F") else "",
        age=_years(text(found, _AGE)),
        projection=_projection(text(found, _PROJECTION).upper()),
        modality=text(found, _MODALITY).upper(),
    )


def _projection(view: str) -> str:
    """A view position that is known; "" for free text."""
    return view if view in _FRONTAL else ""


def _years(age: str) -> float:
    """`045Y`, `006M`, `003W`, `010D`, or a bare number of years, in years; NaN for anything else.

    The standard wants the unit, and public datasets leave it out.
    """
    match = re.fullmatch(r"(\d{1,3})([YMWD]?)", age.upper())
    years = int(match[1]) * _AGE_IN_YEARS[match[2] or "Y"] if match else math.nan
    return years if years <= _OLDEST else math.nan
