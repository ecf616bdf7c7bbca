"""Values of DICOM elements, taken from their raw bytes.

pydicom converts an element when it is asked for its value, and warns of what is malformed with the
value in the warning: a name or a date of birth may stand there. Nothing is converted here.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pydicom

TRANSFER_SYNTAX = 0x00020010  # of the file meta information


def text(dataset: "pydicom.Dataset", tag: int) -> str:
    """An element's text without padding; "" where it is missing."""
    element = dataset.get_item(tag)
    value: Any = "" if element is None or element.value is None else element.value
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    return str(value).strip(" \0\t\r\n")


def decimals(dataset: "pydicom.Dataset", tag: int) -> list[float]:
    """An element's decimal strings; NaN for what is no finite number."""
    return [_decimal(part) for part in text(dataset, tag).split("\\") if part.strip()]


def words(dataset: "pydicom.Dataset", tag: int, signed: bool = False) -> np.ndarray:
    """An element's 16-bit integers, [n]; empty where it is missing."""
    element = dataset.get_item(tag)
    value = b"" if element is None or element.value is None else element.value
    order, kind = "<" if is_little_endian(dataset) else ">", "i" if signed else "u"
    return np.frombuffer(value[: len(value) // 2 * 2], f"{order}{kind}2").astype(np.int64)


def word(dataset: "pydicom.Dataset", tag: int, default: int) -> int:
    """The first of an element's 16-bit integers."""
    values = words(dataset, tag)
    return int(values[0]) if len(values) else default


def is_little_endian(dataset: "pydicom.Dataset") -> bool:
    """Byte order of the data set as it was read."""
    return dataset.original_encoding[1] is not False


def _decimal(part: str) -> float:
    try:
        value = float(part)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
