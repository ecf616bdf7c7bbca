"""The file of a table: which one it is, and its bytes.

A table that is there and can't be read is an error: the folders would be read in its place.
"""

import re
import shlex

from covid_tfds.errors import DatasetError
from covid_tfds.sources import listing
from covid_tfds.sources.class_names import tidy

TABLE = "images.csv"
OLD_TABLE = "films.csv"

_LIKE_A_TABLE = re.compile(
    r"images\.(csv|(.*[^a-z])?(csv|tsv|tab|psv|txt|xls[xmb]?|ods|numbers|jsonl?|parquet|feather)"
    r"(?![a-z0-9]))",
    re.IGNORECASE | re.DOTALL,
)
_POINTERS = (  # small texts that stand for a file which is kept elsewhere
    (re.compile(rb"version https://(?:git-lfs\.github|hawser\.github)\.com/spec/"), "git-lfs",
     "git lfs pull"),
    (re.compile(rb"\S*annex/objects/"), "git-annex", "git annex get"),
)  # fmt: skip
_MEND = {
    listing.BROKEN_LINK: "Put the file itself there (if git-annex keeps it: `git annex get`).",
    listing.NOT_REGULAR: "Put a plain file there.",
}


def find(files: listing.Storage) -> str:
    """Name of the user's table, or "".

    Raises:
        DatasetError: It can't be read, has its old name or another format, or lies in another
            folder.
    """
    unusable = [name for name, reason in files.exclusions if reason != listing.HIDDEN]
    exact, folded = {}, {}
    for name in reversed([*files.names, *unusable]):
        top = name.split("/", 1)[0]
        exact[top] = folded[tidy(top).casefold()] = name
    tops = folded | exact
    for table in (TABLE, OLD_TABLE):
        name = tops.get(table, "")
        if name and ("/" in name or name not in files.names):
            why = "it is a folder" if "/" in name else files.why_not(name)
            raise _unreadable(f"{table} in {files.where}", why)
    if TABLE in tops:
        return tops[TABLE]
    if OLD_TABLE in tops:
        raise DatasetError(
            f"{tops[OLD_TABLE]} is called {TABLE} since version 2.0.0. Rename it in "
            f"{files.where}; its columns stay as they are."
        )
    _refuse_others(files, [*files.names, *unusable])
    return ""


def read(files: listing.Storage, name: str, where: str) -> bytes:
    """The bytes of a table.

    Args:
        files: What it lies in.
        name: As in `files.names`, or of what can't be read.
        where: Names it in messages.

    Raises:
        DatasetError: It can't be read, or is the pointer that git keeps in its place.
    """
    if name not in files.names:
        raise _unreadable(where, files.why_not(name))
    try:
        data = files.read(name)
    except listing.Unreadable as error:
        raise _unreadable(where, str(error)) from None
    for pattern, program, command in _POINTERS:
        if pattern.match(data):
            raise DatasetError(
                f"{where} is a pointer of {program}, not the table itself. Fetch it with "
                f"`{command}` where the data were cloned."
            )
    return data


def _unreadable(where: str, why: str) -> DatasetError:
    mend = _MEND.get(why, "Put a file there that may be read.")
    return DatasetError(f"{where} can't be read: {why}. {mend}")


def _refuse_others(files: listing.Storage, names: list[str]) -> None:
    """A table that is not read must not be passed over for the folders."""
    for name in names:
        folder, _, file = name.rpartition("/")
        if not folder and _LIKE_A_TABLE.match(file):
            raise DatasetError(
                f"{listing.shown(file)} is there; a table must be called {TABLE}. Save it under "
                "that name as comma-separated text, or move it away if it is not to be used."
            )
        if file.casefold() in (TABLE, OLD_TABLE):
            inner = shlex.quote(f"{files.where}/{folder}")
            raise DatasetError(
                f"{file} lies in {folder}, not in {files.where} itself. Give "
                f"--manual_dir={inner}, or move it away if it is not to be used."
            )
