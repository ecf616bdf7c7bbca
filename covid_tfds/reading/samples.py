"""Decoded samples of any depth, in grey or colour, with or without alpha, to 8-bit grey."""

import dataclasses

import numpy as np
from PIL import Image

from covid_tfds.reading import grey as greys
from covid_tfds.reading.decoded import Raster, upright

_FEW = 64  # pixels; side of the small copy in which colours are looked for
_CONTAINERS = (8, 16, 32, 64)  # bits; these depths say nothing of the values
_ALPHA_DEPTHS = (8, 10, 12, 14, 16, 24, 32)


@dataclasses.dataclass(frozen=True, slots=True)
class Samples:
    """What a codec gave, and what the file states of it.

    Attributes:
        values: Any real type, [h, w], or [h, w, c]: grey, grey + alpha, RGB, RGB + alpha.
        bits: Depth of one sample that the file states.
        stated: The range that the file states beside the depth, if any.
        invert: Whether low values are dense.
        premultiplied: Whether colours are composited on black already.
    """

    values: np.ndarray
    bits: int
    stated: tuple[float, float] | None = None
    invert: bool = False
    premultiplied: bool = False

    @property
    def kind(self) -> str:
        """NumPy's letter: `u`, `i` or `f`; `u` for bits, too."""
        return self.values.dtype.kind.replace("b", "u")

    @property
    def channels(self) -> int:
        """1 to 4: grey, grey and alpha, RGB, RGB and alpha."""
        return 1 if self.values.ndim == 2 else self.values.shape[2]

    @property
    def mode(self) -> str:
        """Pillow's mode, or a name of the same kind for what Pillow has none."""
        name = ("L", "LA", "RGB", "RGBA")[self.channels - 1]
        if self.kind == "u" and self.bits <= 8:
            return name
        if self.channels == 1:
            return {"f": "F", "i": f"I;{self.bits}S"}.get(self.kind, f"I;{self.bits}")
        return f"{name};{'F' if self.kind == 'f' else self.bits}"


def to_raster(samples: Samples, file_format: str, orientation: object = 1) -> Raster:
    """The grey image; transparent parts are black, as the border of an X-ray is.

    Args:
        samples: The decoded samples.
        file_format: Name of the format.
        orientation: As in EXIF.
    """
    values = samples.values
    coloured = samples.channels >= 3
    alpha = values[..., -1] if samples.channels in (2, 4) else None
    flat = values if values.ndim == 2 else values[..., 0]
    levels = greys.levels_of(greys.luma(values[..., :3]) if coloured else flat)
    limits = _limits(samples, levels, None if alpha is None else alpha > 0)
    shown = levels.show(greys.shades(levels.values, limits), samples.invert)
    if alpha is not None and not samples.premultiplied:
        _composite_on_black(shown, alpha)
    return Raster(
        grey=upright(Image.fromarray(shown), orientation),
        colours=_few_colours(values, limits) if coloured else None,
        mode=samples.mode,
        format=file_format,
    )


def _limits(samples: Samples, levels: greys.Levels, seen: np.ndarray | None) -> tuple[float, float]:
    full = (0, 2**samples.bits - 1)
    if samples.kind == "u" and samples.bits <= 8:
        return full  # shown as it is
    stated = samples.stated
    if stated is None and samples.kind == "u" and samples.bits not in _CONTAINERS:
        stated = full
    return greys.find_limits(levels.values, levels.counts(seen), levels.integral, stated)


def _composite_on_black(shown: np.ndarray, alpha: np.ndarray) -> None:
    """Darkens uint8 [h, w] in place; opaque is the greatest value of the depth that alpha fills."""
    greatest = float(np.nanmax(alpha))
    if alpha.dtype.kind == "f" and greatest <= 1:
        opaque = 1.0
    else:
        depths = (2**bits - 1 for bits in _ALPHA_DEPTHS)
        opaque = next((depth for depth in depths if greatest <= depth), greatest)
    for rows in greys.row_blocks(shown):
        opacity = np.nan_to_num(alpha[rows].astype(np.float32) / np.float32(opaque)).clip(0, 1)
        shown[rows] = np.rint(shown[rows] * opacity)


def _few_colours(values: np.ndarray, limits: tuple[float, float]) -> Image.Image:
    """A small RGB copy of [h, w, 3 or 4] values."""
    places = (np.arange(_FEW) + 0.5) / _FEW
    rows, columns = ((places * side).astype(int) for side in values.shape[:2])
    few = values[np.ix_(rows, columns)][..., :3].astype(np.float64)
    few = np.nan_to_num(greys.shades(few, limits)).clip(0, 1) * 255
    return Image.fromarray(np.rint(few).astype(np.uint8))
