"""A contact sheet of synthetic radiographs."""

from PIL import Image, ImageDraw

from covid_tfds.phantom.radiograph import draw
from covid_tfds.records import LABELS

_HEAD, _SIDE = 24, 84  # pixels for the caption and for the names of the classes


def contact_sheet(
    rows: int = 4, columns: int = 6, *, seed: int = 0, size: int = 160
) -> Image.Image:
    """A grid of radiographs, a class a row, with the word "synthetic" on it.

    Args:
        rows: How many classes, 1 to 4.
        columns: Patients of each class, 1 or more.
        seed: Of the population.
        size: Pixels of a radiograph's side.

    Returns:
        A grey image (mode L).

    Raises:
        ValueError: rows or columns is out of range.
    """
    if not 1 <= rows <= len(LABELS) or columns < 1:
        raise ValueError(
            f"{rows} x {columns} images: give 1 to {len(LABELS)} rows, 1 column or more."
        )
    sheet = Image.new("L", (_SIDE + columns * size, _HEAD + rows * size), 255)
    pen = ImageDraw.Draw(sheet)
    pen.text((_SIDE, 4), "synthetic chest radiographs, not of patients", fill=0, font_size=14)
    for row in range(rows):
        pen.text((6, _HEAD + row * size + size // 2), LABELS[row], fill=0, font_size=14)
        for column in range(columns):
            pixels = draw(seed, len(LABELS) * column + row, 0, size=size)
            sheet.paste(Image.fromarray(pixels), (_SIDE + column * size, _HEAD + row * size))
    return sheet
