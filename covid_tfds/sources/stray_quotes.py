"""Whether a quoted cell of a comma table has swallowed rows.

A quote that nobody meant opens a cell that runs on over the next rows until another quote closes
it. What is in it then looks like rows; a note of several lines does not.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

_LINE_BREAK = re.compile(r"\r\n|\n|\r")
IMAGE_FILE = re.compile(
    r"\.(png|jpe?g|tiff?|dcm|dicom|webp|bmp|gif|jp2|j2k|jpx|jpf|p[bgnp]m)$", re.IGNORECASE
)
_MANY = 6  # delimiters: prose hits an exact number of them by chance only when it is small


@dataclasses.dataclass(frozen=True)
class Layout:
    """Of a table.

    Attributes:
        delimiter: Between the cells.
        width: Number of columns.
        key: Place of the column that names the file of a row.
        one_line: Places of the columns that never hold a line break.
    """

    delimiter: str
    width: int
    key: int
    one_line: frozenset[int]


def swallowing_cell(
    cells: Sequence[str], layout: Layout, is_file: Callable[[str], bool]
) -> int | None:
    """Finds a cell with rows in it.

    Args:
        cells: Of one record, as `csv` reads it.
        layout: Of the table.
        is_file: Whether a text names a file of the source.

    Returns:
        Number of line breaks in the record before that cell, or None.
    """
    before = 0
    for place, cell in enumerate(cells):
        if "\n" not in cell and "\r" not in cell:
            continue
        lines = _LINE_BREAK.split(cell)
        in_one_line_column = place in layout.one_line and _LINE_BREAK.search(cell.strip())
        if in_one_line_column or _holds_rows(lines, place, layout, is_file):
            return before
        before += len(lines) - 1
    return None


def last_opened(lines: Sequence[str], delimiter: str) -> int:
    """The place in `lines`, the lines of one broken record, where its last quoted cell opens."""
    opened, quoted, previous = 0, False, delimiter
    for number, line in enumerate(lines):
        for letter in line:
            if letter != '"':
                if not quoted and previous == '"' and letter not in f"{delimiter}\r\n":
                    return opened  # closed in the middle of a cell: this is the broken one
            elif quoted:
                quoted = False
            elif previous == '"':
                quoted = True  # a doubled quote stands for one
            elif previous in f"{delimiter}\r\n":
                quoted, opened = True, number
            else:
                continue  # within an unquoted cell it is a letter
            previous = letter
    return opened


def _holds_rows(
    lines: Sequence[str], place: int, layout: Layout, is_file: Callable[[str], bool]
) -> bool:
    pieces = [[cell.strip() for cell in line.split(layout.delimiter)] for line in lines]
    if any(len(cells) > 1 and any(map(is_file, cells)) for cells in pieces):
        return True
    # The first line is the end of a row from this cell on, the last one the beginning of a row.
    keys = [layout.key - place, *[layout.key] * (len(lines) - 1)]
    for cells, key in zip(pieces, keys, strict=True):
        if len(cells) > 1 and 0 <= key < len(cells) and IMAGE_FILE.search(cells[key]):
            return True
    counts = [layout.width - place, *[layout.width] * (len(lines) - 2), place + 1]
    exact = all(len(cells) == count for cells, count in zip(pieces, counts, strict=True))
    return exact and sum(counts) - len(counts) >= _MANY
