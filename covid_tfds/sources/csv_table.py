"""One reader of comma tables: a user's `images.csv` and Cohen's `metadata.csv`.

A table names what is used, so a row must never vanish in silence: a stray quote swallows the rows
behind it, and `csv` itself raises only at some of them.
"""

import contextlib
import csv
import dataclasses
import io
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.sources import stray_quotes, wording

_DELIMITERS = (",", ";", "\t")
_FIELD_LIMIT = threading.Lock()  # csv.field_size_limit is one for the whole process


class Row:
    """One row: `row["label"]` is its cell, stripped, or "" where the table or the row has none.

    `NaN` is "", too: pandas writes it for an empty cell.

    Attributes:
        line: The line of the file on which the row begins, from 1.
        missing: Names of the columns that the row is too short for.
        extra: Number of cells behind the last column that are not empty.
        empty: Whether all of its cells are.
    """

    __slots__ = ("_cells", "_places", "empty", "extra", "line", "missing")

    def __init__(
        self, line: int, cells: Sequence[str], places: Mapping[str, tuple[int, int]], width: int
    ) -> None:
        """Made by `read`.

        Args:
            line: On which the row begins.
            cells: All cells of the row, stripped.
            places: For each column that is kept: its place in the row, and among those kept.
            width: Number of columns of the table.
        """
        self.line, self._places = line, places
        self._cells = tuple(
            cells[place] if place < len(cells) else "" for place, _ in places.values()
        )
        self.missing = tuple(name for name, (place, _) in places.items() if place >= len(cells))
        self.extra = sum(bool(cell) for cell in cells[width:])
        self.empty = not any(cells)

    def __getitem__(self, column: str) -> str:
        """The cell of a column."""
        place = self._places.get(column)
        return self._cells[place[1]] if place else ""


def _value(cell: str) -> str:
    cell = cell.strip()
    return "" if cell in ("NaN", "nan") else cell


@dataclasses.dataclass(frozen=True)
class Table:
    """What `read` gives.

    Attributes:
        columns: The header, in lower case and stripped, in the file's order.
        rows: Every row; blank lines are none, a line of delimiters alone is one.
        encoding: Python's name of the encoding that the file has.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    encoding: str


def read(
    data: bytes,
    where: str,
    needed: Sequence[str],
    wanted: Sequence[str],
    is_file: Callable[[str], bool] = lambda _: False,
) -> Table:
    """Reads a table.

    Args:
        data: The file. UTF-8 or UTF-16, else taken for Windows-1252.
        where: Name of the table, for messages.
        needed: Columns the table must have, without line breaks in a cell. The first one names
            the file of a row.
        wanted: Further columns whose cells are kept.
        is_file: Whether a text names a file of the source: a line that does, inside a quoted
            cell, is a row that a stray quote swallowed.

    Raises:
        DatasetError: No such column, a column twice, or quotes that do not pair.
    """
    text, encoding = _decoded(data)
    delimiter, header, header_end = _header(text, needed)
    if missing := [name for name in needed if name not in header]:
        raise DatasetError(
            f"{where} has no column {', '.join(missing)}; its columns are "
            f"{wording.listed(header)}. Name them in its first line, e.g. {','.join(needed)}."
        )
    kept = [name for name in (*needed, *wanted) if name in header]
    if twice := [name for name in kept if header.count(name) > 1]:
        raise DatasetError(
            f"{where} has the column {', '.join(twice)} more than once. Keep one of them."
        )
    places = {name: (header.index(name), own) for own, name in enumerate(kept)}
    layout = stray_quotes.Layout(
        delimiter, len(header), places[needed[0]][0], frozenset(places[n][0] for n in needed)
    )
    repeating = {place for place, _ in places.values()} - {layout.key}
    rows: list[Row] = []
    seen: dict[str, str] = {}
    with contextlib.closing(_records(text, delimiter, where)) as records:
        for line, cells in records:
            blank = len(cells) < 2 and not "".join(cells).strip()
            if line <= header_end or blank:
                continue
            swallowing = stray_quotes.swallowing_cell(cells, layout, is_file)
            if swallowing is not None:
                raise _stray_quote(where, line + swallowing)
            # One text for equal cells: at 100,000 rows a label each would take megabytes.
            cells = [
                seen.setdefault(value, value) if place in repeating else value
                for place, value in enumerate(map(_value, cells))
            ]
            rows.append(Row(line, cells, places, len(header)))
    return Table(tuple(header), rows, encoding)


def _decoded(data: bytes) -> tuple[str, str]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), "utf-16"
    if data[1:2] == b"\0" or data[:1] == b"\0":  # without the mark at its beginning
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
        return data.decode(encoding, "replace"), encoding
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding), encoding.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "latin-1"


def _header(text: str, needed: Sequence[str]) -> tuple[str, list[str], int]:
    """Delimiter, names of the columns, and the last line of the header."""
    headers = {}
    for delimiter in _DELIMITERS:
        headers[delimiter] = _first_record(text, delimiter)
        if set(needed) <= set(headers[delimiter][0]):
            return delimiter, *headers[delimiter]
    return ",", *headers[","]


def _first_record(text: str, delimiter: str) -> tuple[list[str], int]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            # Excel's own first line that names the delimiter is none of the table.
            if any(cell.strip() for cell in cells) and not cells[0].lower().startswith("sep="):
                return [cell.strip().casefold() for cell in cells], reader.line_num
    except csv.Error:  # a field above the limit: not a header
        pass
    return [], reader.line_num


def _records(text: str, delimiter: str, where: str) -> Generator[tuple[int, list[str]]]:
    """Yields (line on which it begins, cells) of every record, the header among them."""
    lines = _Lines(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    with _FIELD_LIMIT:
        limit = csv.field_size_limit(sys.maxsize)
        try:
            for cells in reader:
                yield line, cells
                line = reader.line_num + 1
                lines.record.clear()
        except csv.Error:
            opened = line + stray_quotes.last_opened(lines.record, delimiter)
            raise _stray_quote(where, opened) from None
        finally:
            csv.field_size_limit(limit)


class _Lines:
    """Lines of a text; remembers those of the record that is being read."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.record.append(line)
        return line


def _stray_quote(where: str, line: int) -> DatasetError:
    return DatasetError(
        f'{where} has a quote (") in line {line} that is not closed where its cell ends, so the '
        'rows behind it would be lost. Remove it, or write it twice ("") inside a quoted cell; '
        "a note of several lines must not hold rows."
    )
