"""Grey values of any depth to 0..255, robust to burned-in markers and padding.

Whatever the type of the samples, the work is done on at most 65,536 levels: an index per pixel, the
value of each level, and how many pixels hold it. Limits come from the counts, and the result is one
look-up per pixel, so that no float copy of a large image is ever made.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

_LEVELS = 1 << 16
_BLOCK = 1 << 20  # pixels worked on at once, so that temporary arrays stay small
_Ranges = tuple[tuple[float, float], ...]
# Detectors give 8, 10, 12, 14 or 16 bits; all but the first are stored in 16 as a rule.
_DEPTHS: _Ranges = tuple((0, 2**bits - 1) for bits in (8, 10, 12, 14, 16))
_UNITS: _Ranges = ((0, 1), (-1, 1))  # ranges that floats have by convention
# The core of the values: 5th to 95th percentile. Burned-in text takes 1 to 3 % of an image.
_TAIL = 0.05
_RIM = 0.01  # share of pixels in which the soft rim of a marker may lie among the image's values
# An image may exceed a range by this share of its own: resampling overshoots at sharp edges.
_OVERSHOOT = 0.05
# A range that the file states must hold this share of the pixels; the rest are markers.
_MIN_WITHIN = 0.95
# A range counts only if the image fills this share of it; else the image would be nearly black.
_MIN_FILL = 1 / 8
# Values that differ by less than this share of their size are one value and noise: a blank image.
_MIN_RELATIVE = 1 / 64


@dataclasses.dataclass(slots=True)
class Levels:
    """The samples of one image as levels.

    Attributes:
        index: Unsigned integer [h, w]: the level of each pixel.
        values: float64 [n], ascending: the value of each level.
        nothing: bool [n]: levels without a value (NaN, padding); shown black, never counted.
        integral: Whether the samples are integers.
    """

    index: np.ndarray
    values: np.ndarray
    nothing: np.ndarray
    integral: bool

    def counts(self, where: np.ndarray | None = None) -> np.ndarray:
        """Number of pixels per level, int64 [n]; of those where `where` holds, if it is given."""
        counts = np.zeros(len(self.values), np.int64)
        for rows in row_blocks(self.index):
            block = self.index[rows] if where is None else self.index[rows][where[rows]]
            counts += np.bincount(block.ravel(), minlength=len(counts))
        counts[self.nothing] = 0
        return counts

    def show(self, shades: np.ndarray, invert: bool = False) -> np.ndarray:
        """uint8 [h, w] from the shade of each level, 0..1; `invert` where low values are dense."""
        table = np.rint(np.nan_to_num(shades).clip(0, 1) * 255).astype(np.uint8)
        if invert:
            table = 255 - table
        table[self.nothing] = 0
        shown = np.empty(self.index.shape, np.uint8)
        for rows in row_blocks(self.index):
            shown[rows] = table[self.index[rows]]
        return shown


def row_blocks(image: np.ndarray) -> Iterator[slice]:
    """Slices of rows that hold about a million pixels each."""
    step = max(1, _BLOCK // max(1, image.shape[1]))
    return (slice(start, start + step) for start in range(0, image.shape[0], step))


def levels_of(samples: np.ndarray) -> Levels:
    """Levels of samples of any real type, [h, w]; NaN and infinity become nothing."""
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind not in "iu" or bits > 16:
        return _quantized(samples)
    values = np.arange(1 << bits, dtype=np.float64)
    if kind == "i":  # two's complement to ascending: flip the sign bit
        unsigned = np.dtype(f"u{bits // 8}")
        samples = samples.view(unsigned) ^ unsigned.type(1 << bits - 1)
        values -= 1 << bits - 1
    return Levels(samples, values, np.zeros(len(values), bool), integral=True)


def _quantized(samples: np.ndarray) -> Levels:
    """Floats and long integers on even steps over what is no outlier.

    Level 0 is nothing, the next is all below the steps, and the last is all above them.
    """
    flat = samples.reshape(-1)
    sample = flat[:: max(1, flat.size // _BLOCK)].astype(np.float64)
    found, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    kept = _without_markers(found, counts, reach=30)[0]
    low, high = float(kept[0]), float(kept[-1])
    steps = _LEVELS - 4
    step = (high - low) / steps or 1.0
    index = np.empty(samples.shape, np.uint16)
    with np.errstate(all="ignore"):
        for rows in row_blocks(samples):
            block = samples[rows].astype(np.float64)
            level = np.rint((block - low) / step).clip(-1, steps + 1) + 2
            index[rows] = np.where(np.isfinite(block), level, 0)
    ends = (found[0], found[-1]) if len(found) else (low, high)
    even = low + step * np.arange(steps + 1)
    values = np.concatenate([[ends[0], ends[0]], even, [max(ends[1], even[-1])]])
    nothing = np.arange(_LEVELS) == 0
    return Levels(index, values, nothing, integral=samples.dtype.kind in "iu")


def robust_range(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Least and greatest value, burned-in markers and padding left aside.

    Args:
        values: Ascending, [n].
        counts: How often each occurs, [n].
    """
    values, counts, below, above = _without_markers(values, counts)
    rims = _quantiles(values, counts, _RIM, 1 - _RIM)
    # More than one value beyond is text with a soft rim, and some of a rim lies among the image's
    # values. A single one is padding.
    low = rims[0] if below > 1 else values[0]
    high = rims[1] if above > 1 else values[-1]
    return float(low), float(high)


def _without_markers(
    values: np.ndarray, counts: np.ndarray, reach: float = 1.0
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """The values that occur within `reach` times the width of their core around it.

    The very least and very greatest value are left out of the core: padding and saturation may
    fill half an image.

    Returns:
        Values and counts that are kept, never none, and how many values lie below and above.
    """
    held = np.flatnonzero(counts)
    if not len(held):
        return np.zeros(1), np.ones(1), 0, 0
    values, counts = values[held], counts[held].astype(np.float64)
    inner = counts.copy()
    inner[[0, -1]] = 0
    if not inner.any():
        return values, counts, 0, 0
    first, last = _quantiles(values, inner, _TAIL, 1 - _TAIL)
    width = reach * (last - first)
    if width <= 0:
        return values, counts, 0, 0
    below, above = values < first - width, values > last + width
    kept = ~(below | above)
    return values[kept], counts[kept], int(below.sum()), int(above.sum())


def _quantiles(values: np.ndarray, counts: np.ndarray, *shares: float) -> np.ndarray:
    total = np.cumsum(counts)
    return values[np.searchsorted(total, np.array(shares) * total[-1])]


def find_limits(
    values: np.ndarray,
    counts: np.ndarray,
    integral: bool,
    stated: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """The values that are shown black and white.

    The range that the file states, else a convention (0..1 and -1..1 of floats, the depths of
    detectors), the first that holds the image and is sensibly filled by it, else the image's own.

    Args:
        values: Ascending, [n].
        counts: How often each occurs, [n].
        integral: Whether the values are integers.
        stated: The range that the file itself states.
    """
    low, high = robust_range(values, counts)
    # The rim of a marker just above the image must not make the image one of a greater depth.
    nearly_all = _quantiles(*_without_markers(values, counts)[:2], 1 - _RIM)[0]
    ranges = _DEPTHS if integral else (*_UNITS, *_DEPTHS)
    if integral and high > _DEPTHS[-1][1]:
        ranges = (*ranges, (0, high))
    holding = [limits for limits in ranges if _holds(limits, low, min(high, nearly_all))]
    if not integral:  # a convention that all values keep, outliers too, is the likelier one
        held = values[np.flatnonzero(counts)] if counts.any() else values
        holding[:0] = [limits for limits in _UNITS if _holds(limits, held[0], held[-1])]
    if stated and _share_within(stated, values, counts) >= _MIN_WITHIN:
        holding.insert(0, stated)
    for first, last in holding:
        if high - low >= _MIN_FILL * (last - first) > 0:
            return first, last
    if integral and holding and high - low < 256:
        return holding[0]  # too few steps for a picture: not to be stretched to one
    if high - low <= _MIN_RELATIVE * max(abs(low), abs(high)):
        return min(low, 0.0), max(high, 0.0)
    return low, high


def _holds(limits: tuple[float, float], low: float, high: float) -> bool:
    first, last = limits
    if first < 0 and low > first / 4:
        return False  # a dip below zero is no use of the negative half
    margin = _OVERSHOOT * (high - low)
    return low >= first - margin and high <= last + margin


def _share_within(limits: tuple[float, float], values: np.ndarray, counts: np.ndarray) -> float:
    inside = (values >= limits[0]) & (values <= limits[1])
    return counts[inside].sum() / max(1, counts.sum())


def shades(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values as 0..1 between the limits; beyond them less or more."""
    low, high = limits
    return (values - low) / ((high - low) or 1.0)


def luma(colours: np.ndarray) -> np.ndarray:
    """Grey [h, w] of RGB [h, w, 3] at full depth: Pillow's own weights, exact where R = G = B."""
    weights = np.array([19595, 38470, 7471])
    short = colours.dtype.kind == "u" and colours.dtype.itemsize <= 2
    grey = np.empty(colours.shape[:2], colours.dtype if short else np.float32)
    for rows in row_blocks(grey):
        block = colours[rows]
        if short:
            total = block.astype(np.uint32) @ weights.astype(np.uint32)
            grey[rows] = (total + 0x8000) >> 16
        else:
            grey[rows] = block.astype(np.float64) @ (weights / 65536)
    return grey
