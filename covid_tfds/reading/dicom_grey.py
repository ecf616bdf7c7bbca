"""Stored values of a DICOM image to grey: modality transformation, then VOI LUT or window.

The transformations are applied to the levels, at most 65,536 numbers, and looked up per pixel.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from covid_tfds.reading import grey as greys
from covid_tfds.reading.dicom_elements import decimals, text, words

if TYPE_CHECKING:
    import pydicom

_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_CENTER, _WIDTH, _FUNCTION = 0x00281050, 0x00281051, 0x00281056
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_MODALITY_LUT, _VOI_LUT, _LUT_DESCRIPTOR, _LUT_DATA = 0x00283000, 0x00283010, 0x00283002, 0x00283006
TAGS = [
    *(_PADDING, _PADDING_LIMIT, _CENTER, _WIDTH, _FUNCTION, _INTERCEPT, _SLOPE),
    *(_MODALITY_LUT, _VOI_LUT),
]
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_MAX_SATURATED = 0.9  # share of pixels; a window that makes more of them black or white is wrong
_MIN_FILL = 1 / 8  # of the greys; a window that uses less is too wide
_MAX_PADDED = 0.9  # share of pixels; more of them are no padding
_HALF_A_GREY = 0.5 / 255


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """Pixels as they are stored.

    Attributes:
        values: Integers or floats [h, w] or [h, w, 3].
        bits: In use.
        signed: Whether they are two's complement.
        photometric: DICOM's photometric interpretation of them.
    """

    values: np.ndarray
    bits: int
    signed: bool
    photometric: str


def to_grey(dataset: "pydicom.Dataset", stored: Stored) -> np.ndarray:
    """uint8 [h, w], white is dense, padding is black.

    Args:
        dataset: The object's elements of `TAGS`.
        stored: Its pixels, [h, w].
    """
    levels = greys.levels_of(stored.values)
    counts = _leave_padding_out(levels, dataset, stored.signed)
    with np.errstate(all="ignore"):
        values = _modality(dataset, levels.values, stored.signed)
        for shades in _voi(dataset, values, counts, stored.signed):
            if _is_sensible(shades, counts):
                break
        else:
            shades = greys.shades(values, _limits(values, counts, levels, stored))
    return levels.show(shades, invert=stored.photometric == "MONOCHROME1")


def _leave_padding_out(
    levels: greys.Levels, dataset: "pydicom.Dataset", signed: bool
) -> np.ndarray:
    """Marks the levels of padding as nothing; returns the pixels per level without them."""
    counts = levels.counts()
    ends = [*words(dataset, _PADDING, signed)[:1], *words(dataset, _PADDING_LIMIT, signed)[:1]]
    if ends and levels.integral:
        padding = (levels.values >= min(ends)) & (levels.values <= max(ends))
        if counts[padding].sum() <= _MAX_PADDED * counts.sum():
            levels.nothing |= padding
            counts[padding] = 0
    return counts


def _modality(dataset: "pydicom.Dataset", values: np.ndarray, signed: bool) -> np.ndarray:
    if _MODALITY_LUT in dataset and dataset[_MODALITY_LUT].value:
        looked_up = _through_lut(dataset[_MODALITY_LUT].value[0], values, signed)
        if looked_up is not None:
            return looked_up[0]
    slope = (decimals(dataset, _SLOPE) or [1.0])[0]
    intercept = (decimals(dataset, _INTERCEPT) or [0.0])[0]
    if slope == 0 or math.isnan(slope) or math.isnan(intercept):
        return values
    return values * slope + intercept


def _voi(
    dataset: "pydicom.Dataset", values: np.ndarray, counts: np.ndarray, signed: bool
) -> Iterator[np.ndarray]:
    """The shade of each level by the VOI LUT, then by each window, 0..1."""
    if _VOI_LUT in dataset and dataset[_VOI_LUT].value:
        looked_up = _through_lut(dataset[_VOI_LUT].value[0], values, signed)
        if looked_up is not None:
            shown, bits = looked_up
            yield greys.shades(shown, _sorted_limits(shown, counts, True, (0, 2**bits - 1)))
    import pydicom
    from pydicom.pixels import apply_windowing

    function = text(dataset, _FUNCTION).upper()
    for center, width in zip(decimals(dataset, _CENTER), decimals(dataset, _WIDTH), strict=False):
        window = pydicom.Dataset()  # of our own, so that its output range is 0..65535
        window.PhotometricInterpretation = "MONOCHROME2"
        window.BitsStored, window.PixelRepresentation = 16, 0
        window.VOILUTFunction = function if function in _FUNCTIONS else "LINEAR"
        window.add_new(_CENTER, "FD", center)
        window.add_new(_WIDTH, "FD", width)
        try:
            yield apply_windowing(values, window) / 65535
        except ValueError:  # too narrow
            continue


def _through_lut(
    item: "pydicom.Dataset", values: np.ndarray, signed: bool
) -> tuple[np.ndarray, int] | None:
    """Values looked up in a table, and its bits; None for a table that can't be one.

    pydicom's own way wraps where the table has 8 bits and more than 256 entries.
    """
    descriptor, raw = words(item, _LUT_DESCRIPTOR), item.get_item(_LUT_DATA)
    if len(descriptor) != 3 or raw is None or not raw.value:
        return None
    entries, first, bits = int(descriptor[0]) or 1 << 16, int(descriptor[1]), int(descriptor[2])
    if (signed or np.nanmin(values) < 0) and first > 32767:
        first -= 1 << 16
    if isinstance(raw.value, bytes) and entries <= len(raw.value) < 2 * entries:
        table = np.frombuffer(raw.value, np.uint8)  # two entries a word
    else:
        table = words(item, _LUT_DATA)
    table = table[:entries].astype(np.float64)
    if not len(table) or not 8 <= bits <= 16:
        return None
    places = np.nan_to_num(np.rint(values - first)).clip(0, len(table) - 1)
    return table[places.astype(np.int64)], bits


def _is_sensible(shades: np.ndarray, counts: np.ndarray) -> bool:
    """Whether a window leaves something to see."""
    if np.isnan(shades[counts > 0]).any():
        return False
    saturated = counts[(shades <= _HALF_A_GREY) | (shades >= 1 - _HALF_A_GREY)].sum()
    order = np.argsort(shades, kind="stable")
    low, high = greys.robust_range(shades[order], counts[order])
    return saturated <= _MAX_SATURATED * counts.sum() and high - low >= _MIN_FILL


def _limits(
    values: np.ndarray, counts: np.ndarray, levels: greys.Levels, stored: Stored
) -> tuple[float, float]:
    """Black and white where no VOI transformation says them: the bits stored, else the values."""
    stated = None
    if levels.integral and not stored.signed and stored.bits < 16:
        ends = values[: 1 << stored.bits]
        stated = float(ends.min()), float(ends.max())
        if stored.bits <= 8:
            return stated
    integral = levels.integral and bool(np.all(values == np.rint(values)))
    return _sorted_limits(values, counts, integral, stated)


def _sorted_limits(
    values: np.ndarray,
    counts: np.ndarray,
    integral: bool,
    stated: tuple[float, float] | None,
) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    return greys.find_limits(values[order], counts[order], integral, stated)
