"""Sheets for TensorBoard: small pictures side by side, each with a caption below it."""

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from trainer.run.text import shortened

ACROSS = 4  # tiles of a row
_TILE = 160  # pixels of a tile's side
_GAP, _LINE, _FONT = 8, 21, 17  # pixels


def sheet(pictures: Sequence[np.ndarray] | np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """One picture of several, in rows of `ACROSS`.

    Args:
        pictures: n of uint8 [size, size] grey or [size, size, 3] RGB, 0..255; n is at least 1.
        captions: A few words on each, in lines that are cut at the width of a tile.

    Returns:
        uint8 [height, width, 3] RGB.
    """
    lines = [caption.split("\n") for caption in captions]
    high = _TILE + _LINE * max(map(len, lines)) + _GAP
    rows = -(-len(pictures) // ACROSS)
    drawn = Image.new("RGB", (ACROSS * (_TILE + _GAP) + _GAP, rows * high + _GAP), "white")
    pen = ImageDraw.Draw(drawn)
    for i, (picture, words) in enumerate(zip(pictures, lines, strict=True)):
        left, top = _GAP + i % ACROSS * (_TILE + _GAP), _GAP + i // ACROSS * high
        drawn.paste(Image.fromarray(picture).resize((_TILE, _TILE), Image.Resampling.BICUBIC),
                    (left, top))  # fmt: skip
        for n, line in enumerate(words):
            at = left, top + _TILE + n * _LINE
            pen.text(at, _cut(line), fill="black", font=_font())
    return np.asarray(drawn)


def _cut(line: str) -> str:
    """As many letters as are no wider than a tile."""
    letters = len(line)
    while _font().getlength(shortened(line, letters)) > _TILE:
        letters -= 1
    return shortened(line, letters)


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which has more letters than Pillow's."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), _FONT)
