"""Refuses what is no chest X-ray: too small, a strip, blank, a page of text, a colour picture."""

import numpy as np
from PIL import Image

from covid_tfds.reading.decoded import Unusable

_MIN_SIDE = 64  # pixels; the smallest image of the two public sources is 156 px high
_MAX_ASPECT = 3.0
# Mean distance (0..255) of the colours from the best curve through them that grey alone decides.
# A tinted or photographed radiograph has one colour per grey: at most 4.7 on the 616 Cohen files.
# Photographs have many: from 8.5 up.
_MAX_COLOURS = 6.5
_MIN_CONTRAST = 4.0  # standard deviation of the grey values; below it there is nothing to see
# Share of pixels that hold one of the two most frequent grey values. Text pages are above 0.9.
_MAX_TWO_TONE = 0.9
_SAMPLED = 256  # pixels; of a larger image so many rows and columns are looked at


def refuse_shape(width: int, height: int) -> None:
    """Refuses by the sides alone.

    Raises:
        Unusable: No radiograph is so small or so long.
    """
    short, long = sorted((width, height))
    if short < _MIN_SIDE:
        raise Unusable("not an X-ray: too small")
    if long > _MAX_ASPECT * short:
        raise Unusable("not an X-ray: a strip")


def refuse_content(grey: Image.Image, colours: Image.Image | None) -> None:
    """Refuses by what the pixels show.

    Args:
        grey: Mode `L`.
        colours: The image before it became grey, or None where it has no colours.

    Raises:
        Unusable: Nothing to see, a page of text, or a colour picture.
    """
    if max(grey.size) > _SAMPLED:
        grey = grey.resize((_SAMPLED, _SAMPLED), Image.Resampling.NEAREST)
    counts = np.array(grey.histogram())
    values, pixels = np.arange(256), counts.sum()
    variance = counts @ values**2 / pixels - (counts @ values / pixels) ** 2
    if variance < _MIN_CONTRAST**2:
        raise Unusable("not an X-ray: blank")
    if np.sort(counts)[-2:].sum() > _MAX_TWO_TONE * pixels:
        raise Unusable("not an X-ray: a page of text or a drawing")
    if colours is not None and _colours_beyond_a_tint(colours) > _MAX_COLOURS:
        raise Unusable("not an X-ray: a colour picture")


def _colours_beyond_a_tint(picture: Image.Image) -> float:
    """Mean absolute residual of R, G and B after a cubic of the grey value, 0..255."""
    small = picture.resize((64, 64), Image.Resampling.NEAREST).convert("RGB")
    colours = np.asarray(small).reshape(-1, 3)
    if np.array_equal(colours[:, :2], colours[:, 1:]):
        return 0.0  # grey stored in colour, as most X-rays are: no curve to look for
    colours = colours.astype(np.float64)
    powers = np.vander(colours @ [0.299, 0.587, 0.114] / 255, 4)
    fitted = powers @ np.linalg.lstsq(powers, colours, rcond=None)[0]
    return float(np.abs(colours - fitted).mean())
