"""Answers as a table on the screen, as CSV, JSON, JSON lines or Parquet; each is written at once.

What the answers are worth is in all of them: below the table, as fields of the JSON, and in short
as a column of the others, so that no row is parted from it.
"""

import contextlib
import csv
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from trainer.evaluation.metrics import NOTICE
from trainer.evaluation.notes import in_short
from trainer.inference.answers import Answer
from trainer.inference.network import Network
from trainer.run.text import number, short_names, wrapped

Write = Callable[[Answer], Any]
PARQUET = "parquet"
_PREFIX = "p_"  # of the columns with probabilities, as in predictions.csv
_LONGEST = 14  # letters of a class name on a terminal
_LEAST = 20  # columns of a terminal for the names of files
_GAP = "  "
_GROUP = 4096  # rows that Parquet has together


def columns(network: Network) -> list[str]:
    """The columns of CSV and Parquet."""
    return ["file", "class", *(_PREFIX + name for name in network.class_names), "error", "notes"]


def row(answer: Answer, network: Network) -> dict[str, Any]:
    """An answer by those columns; None where there is nothing."""
    shares = answer.probabilities or dict.fromkeys(network.class_names)
    values = [answer.file, answer.class_name, *shares.values(), answer.error or None]
    return dict(zip(columns(network), [*values, in_short(answer.notes)], strict=True))


@contextlib.contextmanager
def text_writer(
    kind: str, network: Network, file: IO[str], names: Sequence[str], width: int
) -> Iterator[Write]:
    """Writes answers as text.

    Args:
        kind: "csv", "jsonl", "json" or "table".
        network: Whose answers they are.
        file: Takes the text.
        names: Of the files, for the width of a column of the table.
        width: Columns of the terminal that the text goes to; 0: to none.

    Yields:
        What is called with each answer.
    """
    if kind == "csv":
        writer = csv.DictWriter(file, columns(network), lineterminator="\n")
        writer.writeheader()
        yield lambda answer: writer.writerow(row(answer, network))
    elif kind == "jsonl":
        short = {"notes": in_short(network.notes)}
        yield lambda answer: print(_json(_object(answer) | short), file=file)
    elif kind == "json":
        yield from _document(network, file)
    else:
        yield from _table(network, file, names, width)


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def _object(answer: Answer) -> dict[str, Any]:
    return {
        "file": answer.file,
        "class": answer.class_name,
        "probabilities": answer.probabilities,
        "error": answer.error or None,
    }


def _document(network: Network, file: IO[str]) -> Iterator[Write]:
    """One JSON object, whose images are written as they come."""
    head = {
        "network": network.origin(),
        "scores": network.scores,
        "notes": network.notes,
        "notice": NOTICE,
    }
    file.write(f'{_json(head)[:-1]},\n"images": [')
    before = "\n"

    def write(answer: Answer) -> None:
        nonlocal before
        file.write(before + _json(_object(answer)))
        before = ",\n"

    yield write
    file.write("\n]}\n")


def _table(network: Network, file: IO[str], names: Sequence[str], width: int) -> Iterator[Write]:
    """Lines of aligned cells, then what the answers are worth."""
    classes = short_names(network.class_names, _LONGEST) if width else network.class_names
    shown = dict(zip(network.class_names, classes, strict=True))
    called = max(map(len, ("class", *classes)))
    longest = max((len(name) for name in names), default=0)
    heads = list(classes)
    room = width - len(_GAP) - called - sum(len(_GAP) + max(len(head), 5) for head in heads)
    if width and room < min(longest, _LEAST):  # too many classes for a column each
        heads = ["probability"]
        room = width - 2 * len(_GAP) - called - len(heads[0])
    first = max(len("file"), min(longest, room) if width else longest)
    widths = [max(len(head), len("0.000")) for head in heads]

    def line(name: str, *cells: str, most: int = first) -> None:
        cut = name if len(name) <= most else f"…{name[len(name) - most + 1 :]}"
        print(_GAP.join([cut.ljust(most), *cells]).rstrip(), file=file)

    def write(answer: Answer) -> None:
        shares, name = answer.probabilities, answer.class_name
        if shares is None or name is None:
            error = f"ERROR: {answer.error}"
            line(answer.file, error, most=min(first, width - len(_GAP + error)) if width else first)
            return
        chosen = shares.values() if len(heads) > 1 else [shares[name]]
        cells = map(str.rjust, map(number, chosen), widths)
        line(answer.file, shown[name].ljust(called), *cells)

    line("file", "class".ljust(called), *map(str.rjust, heads, widths))
    yield write
    for sentence in ("", *network.worth()):
        print(wrapped(sentence, indent=2, width=width) if width else sentence, file=file)


@contextlib.contextmanager
def parquet_writer(network: Network, path: pathlib.Path) -> Iterator[Write]:
    """Writes answers as Parquet; what they are worth is also in the file's metadata, in full.

    Args:
        network: Whose answers they are.
        path: Of the file.

    Yields:
        What is called with each answer.
    """
    import pyarrow  # here: it takes a moment
    from pyarrow import parquet

    kinds = {name: pyarrow.string() for name in columns(network)}
    kinds |= {_PREFIX + name: pyarrow.float32() for name in network.class_names}
    schema = pyarrow.schema(kinds, metadata={"notes": _json([*network.notes, NOTICE])})
    rows: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
            rows.clear()

        def write(answer: Answer) -> None:
            rows.append(row(answer, network))
            if len(rows) == _GROUP:
                flush()

        yield write
        flush()
