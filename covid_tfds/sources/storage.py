"""Where a source's files lie: a folder, or the downloaded zip read in place."""

import fnmatch
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.sources import zipped
from covid_tfds.sources.listing import Storage, Unreadable, is_hidden, shown
from covid_tfds.sources.unpacked import folder, is_a_file

__all__ = ["Storage", "Unreadable", "archive", "find", "folder", "seen"]

_DEPTH = 2  # an archive is often unpacked into a folder of its own
_MOST_FOLDERS = 2000  # a level; a source lies near the top
_OTHER_ARCHIVES = re.compile(
    r"\.(7z|rar|tar|tgz|tbz2?|txz|tar\.\w+|gz|bz2|xz|zst|zip\.\d+|z\d\d|part|crdownload)$", re.I
)


def find(manual_dir: str | os.PathLike, folders: Sequence[str], marker: str) -> Storage | None:
    """Finds a source under `manual_dir`, unpacked or as a zip.

    The outermost folder is taken, and a folder before a zip; `Storage.unused` names the others.
    A zip that can't be opened is of no matter when the source is found elsewhere.

    Args:
        manual_dir: Where the user put the downloads, or the source's folder itself.
        folders: Names the source's folder goes by; a trailing `*` stands for any ending.
        marker: What the source has right below its root: `train/` (a folder) or `metadata.csv`.

    Returns:
        The storage, or None when neither a folder nor a zip of the source is there. A folder of
        the right name without the marker is the last choice.

    Raises:
        DatasetError: A zip that may be the source is damaged, or `manual_dir` is a file.
    """
    manual = pathlib.Path(manual_dir)
    if sentence := is_a_file(manual):
        raise DatasetError(sentence)
    roots = list(_folders(manual, folders, marker))
    zips = [path for path in _entries(manual) if _is_zip(path)]
    in_zips, broken = [], []
    for path in zips:
        try:
            in_zips += [(path, prefix) for prefix in _prefixes(path, folders, marker)[:1]]
        except zipped.BROKEN as error:
            broken.append((path, error))
    if not roots and not in_zips:
        _refuse_broken(broken, folders)
        named = [p for p in _entries(manual) if _matches(p.name, folders) and p.is_dir()]
        return folder(named[0], twice=True) if named else None
    places = [*roots, *(path / prefix for path, prefix in in_zips)]
    found = folder(roots[0], twice=True) if roots else zipped.Archive(*in_zips[0])
    found.unused = tuple(shown(str(place)) for place in places[1:])
    return found


def archive(path: str | os.PathLike, folders: Sequence[str], marker: str) -> Storage | None:
    """The source inside one zip, or None when it is not in there. Arguments as for `find`.

    Raises:
        DatasetError: The zip is damaged.
    """
    path = pathlib.Path(path)
    try:
        prefixes = _prefixes(path, folders, marker)
        return zipped.Archive(path, prefixes[0]) if prefixes else None
    except zipped.BROKEN as error:
        raise _broken(path, error) from None


def seen(manual_dir: str | os.PathLike, count: int = 8) -> str:
    """Says what lies in a folder, and what of it has to be unpacked, for a message.

    Args:
        manual_dir: Where the user put the downloads; may be missing.
        count: At most so many names are given.
    """
    manual, where = pathlib.Path(manual_dir), shown(str(manual_dir))
    if not manual.is_dir():
        return is_a_file(manual) or f"There is no {where}."
    entries = _entries(manual)
    if not entries:
        return f"{where} is empty."
    names = [shown(path.name) + ("/" if path.is_dir() else "") for path in entries]
    more = f", and {len(names) - count} more" if len(names) > count else ""
    sentences = [f"Seen there: {', '.join(names[:count])}{more}."]
    sentences += filter(None, (_what_to_do(path) for path in entries if path.is_file()))
    return "\n".join(sentences[: count + 1])


def _what_to_do(path: pathlib.Path) -> str:
    name = shown(path.name)
    if _OTHER_ARCHIVES.search(name):
        return f"{name} is not read in place: unpack it there."
    if not _is_zip(path):
        return ""
    try:
        inner = [n for n in zipped.members(path) if n.lower().endswith(".zip")]
    except zipped.BROKEN as error:
        return f"{name} is no readable zip ({error}): download it again, or unpack it there."
    if inner:
        return f"{name} holds another zip ({shown(inner[0])}): unpack {name} there."
    return ""


def _entries(directory: pathlib.Path) -> list[pathlib.Path]:
    """What lies in a folder, without hidden and system files, sorted; [] if it can't be opened."""
    try:
        return sorted(path for path in directory.iterdir() if not is_hidden(path.name))
    except OSError:
        return []


def _is_zip(path: pathlib.Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def _matches(name: str, folders: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.casefold(), pattern) for pattern in folders)


def _folders(manual: pathlib.Path, folders: Sequence[str], marker: str) -> Iterator[pathlib.Path]:
    """Folders that look like the source's root, outermost first; none inside another one."""
    if _matches(manual.absolute().name, folders) and _has(manual, marker):
        yield manual
        return
    level = [manual]
    for _ in range(_DEPTH):
        below = [path for parent in level for path in _subfolders(parent)][:_MOST_FOLDERS]
        roots = {path for path in below if _matches(path.name, folders) and _has(path, marker)}
        # A plain name goes before one with an ending, such as that of a commit.
        yield from sorted(roots, key=lambda path: (len(path.name), path))
        level = [path for path in below if path not in roots]


def _subfolders(parent: pathlib.Path) -> list[pathlib.Path]:
    try:
        with os.scandir(parent) as entries:
            names = [e.name for e in entries if not is_hidden(e.name) and e.is_dir()]
    except OSError:
        return []
    return [parent / name for name in sorted(names)]


def _has(root: pathlib.Path, marker: str) -> bool:
    wanted = marker.rstrip("/")
    return any(
        path.name.casefold() == wanted and path.is_dir() == marker.endswith("/")
        for path in _entries(root)
    )


def _prefixes(path: pathlib.Path, folders: Sequence[str], marker: str) -> list[str]:
    """Folders in a zip that look like the source's root, outermost first."""
    below = re.compile("/" + re.escape(marker) + ("" if marker.endswith("/") else "$"), re.I)
    roots = set()
    for member in zipped.members(path):
        name = f"{path.stem}/{member}"  # a zip of the root's content alone goes by its own name
        match = below.search(name)
        if not match or zipped.escapes(member):
            continue
        parts = name[: match.start()].split("/")
        if _matches(parts[-1], folders) and not any(map(is_hidden, parts[1:])):
            roots.add("".join(f"{part}/" for part in parts[1:]))
    return sorted(roots, key=lambda root: (root.count("/"), len(root), root))


def _refuse_broken(
    broken: Sequence[tuple[pathlib.Path, Exception]], folders: Sequence[str]
) -> None:
    """A broken zip ends the search where it may be the source.

    That is any zip for a source which is downloaded under no fixed name, and one that bears the
    source's name for one which can be fetched.
    """
    for path, error in broken:
        if "*" not in "".join(folders) or _matches(path.stem, folders):
            raise _broken(path, error)


def _broken(path: pathlib.Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{shown(str(path))} is no readable zip ({error}). Download it again, or unpack it by hand."
    )
