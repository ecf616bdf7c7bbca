"""One call of `trainer.predict`: from paths to answers on the screen or in files."""

import contextlib
import itertools
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence

from tqdm import std

from trainer.inference import answer_tables, gallery_page
from trainer.inference.answer_tables import PARQUET, Write
from trainer.inference.answers import answers
from trainer.inference.image_files import ImageFiles
from trainer.inference.network import Network, load
from trainer.run.errors import RunError
from trainer.run.files import expanded, written_whole
from trainer.run.progress import note, progress, working
from trainer.run.text import WIDTH, counted, listed

_NAMED = 3  # files of other kinds that are named


def predict(
    run: str | os.PathLike,
    paths: Sequence[str | os.PathLike],
    *,
    kind: str = "table",
    output: str = "",
    gallery: str = "",
) -> bool:
    """Prints, or writes, a network's answers for files, as they come.

    Args:
        run: A run folder, or a file .keras.
        paths: Of files, folders and zips, and patterns; see `ImageFiles`.
        kind: How: "table", "csv", "json", "jsonl" or "parquet", the last with an output.
        output: A file for the answers, which appears whole; "" is stdout.
        gallery: A file for a page of thumbnails; "" writes none.

    Returns:
        Whether all files could be used.

    Raises:
        RunError: There is no network, no file, or an output can't be written.
    """
    with working("loading the network"):
        network = load(run)
    with working("listing the files"):
        files = ImageFiles(paths)
    if not len(files):
        raise RunError(f"There is no file{_where(paths)}.")
    on_screen = not output and sys.stdout.isatty()
    left_out: list[str] = []
    failed = count = 0
    with (
        contextlib.ExitStack() as opened,
        progress(len(files), "predicting", "files") as bar,
    ):
        made = answers(network, files, on_progress=bar.update, left_out=left_out)
        first = next(made, None)  # before anything is written
        if first is None:
            raise RunError(f"There is no image{_where(paths)}. {_other_kinds(left_out)}")
        # Rows that pass by a bar would tear it, and so would the head of a table.
        aside = std.tqdm.external_write_mode if on_screen else contextlib.nullcontext
        with aside():
            writes = [opened.enter_context(_writer(kind, network, files, output))]
        if gallery:
            page = opened.enter_context(_text_file(gallery))
            writes.append(opened.enter_context(gallery_page.page_writer(network, page)))
        for answer in itertools.chain([first], made):
            with aside():
                for write in writes:
                    write(answer)
            count, failed = count + 1, failed + bool(answer.error)
    _print_end(network, kind, output, count, failed, left_out)
    return not failed


def _where(paths: Sequence[str | os.PathLike]) -> str:
    return f" in {listed(list(map(str, paths[:_NAMED])))}" if paths else ": stdin lists none"


def _print_end(
    network: Network, kind: str, output: str, count: int, failed: int, left_out: Sequence[str]
) -> None:
    """What stderr has at the end: the notes where the screen has no table, and what was wrong."""
    if output or kind != "table":
        for sentence in network.worth():
            note(sentence)
    if left_out:
        note(_other_kinds(left_out))
    if failed:
        note(f"{failed} of {counted(count, 'file')} can't be used; the errors are in their rows.")


def _other_kinds(left_out: Sequence[str]) -> str:
    more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
    names = ", ".join(left_out[:_NAMED])
    return f"{counted(len(left_out), 'file')} of another kind left out: {names}{more}."


@contextlib.contextmanager
def _writer(kind: str, network: Network, files: ImageFiles, output: str) -> Iterator[Write]:
    if kind == PARQUET:
        with (
            written_whole(pathlib.Path(expanded(output))) as beside,
            answer_tables.parquet_writer(network, beside) as write,
        ):
            yield write
        return
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(_text_file(output)) if output else sys.stdout
        width = min(shutil.get_terminal_size().columns, WIDTH) if file.isatty() else 0
        names = [file.name for file in files] if kind == "table" else []
        yield opened.enter_context(answer_tables.text_writer(kind, network, file, names, width))


@contextlib.contextmanager
def _text_file(path: str) -> Iterator:
    with (
        written_whole(pathlib.Path(expanded(path))) as beside,
        open(beside, "w", newline="", encoding="utf-8") as file,
    ):
        yield file
