"""All files under a folder, whatever its links lead to: every real folder is read once."""

import collections
import contextlib
import glob
import os
import stat
from collections.abc import Iterator

from covid_tfds.errors import DatasetError
from covid_tfds.sources import listing

LOOP = "link to a folder above it"
HERE = "a link to a folder that is here itself"
ALREADY = "a link to a folder that was read already"
OF_TFDS = "a folder of TFDS"
EMPTY = "empty folder"
_NOT_TEXT = "name is not UTF-8"
_CANT_LIST = "folder can't be opened"
_MOST_ENTRIES = 2_000_000

_Inode = tuple[int, int]  # device, number
# What TFDS leaves in its folders, for the case that they lie among the images.
_TFDS = {
    "covid_tfds": (".patient_salt", "*/.lock", "*/*/.lock", "*/*/dataset_info.json"),
    "downloads": ("manual", "extracted", "*.INFO"),
}


class Walk:
    """One walk through a folder.

    The real folders under the root are read first. Then links are followed, level by level and in
    the order of their names: so the same folder yields the same names on every machine, and a link
    to what is read anyway is an exclusion.

    Attributes:
        exclusions: (name, reason) of what is no candidate; complete when `files` has ended.
        aliases: Name of each folder that was read already -> the name it was read under.
    """

    def __init__(self, root: str, visits: int = 1) -> None:
        """Reads nothing yet.

        Args:
            root: The folder.
            visits: So many times a real folder may be read, under one name each.
        """
        self.exclusions: list[tuple[str, str]] = []
        self.aliases: dict[str, str] = {}
        self._root, self._visits, self._seen = root, visits, 0
        self._read: dict[
            _Inode, tuple[str, str]
        ] = {}  # name, reason for which it is not read again
        self._times: collections.Counter[_Inode] = collections.Counter()
        self._links: list[tuple[str, tuple[_Inode, ...]]] = []

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Yields (name, bytes, time of change) of every file.

        Raises:
            DatasetError: There are more than two million files and folders.
        """
        chain = tuple(map(_inode, _with_parents(os.path.realpath(self._root))))
        # Of real folders none is refused: some network file systems number them all alike.
        self._note("", chain[-1], HERE)
        yield from self._tree("", chain, HERE)
        while self._links:
            links, self._links = sorted(self._links), []
            for name, chain in links:
                if self._is_new(name, chain[-1]):
                    self._note(name, chain[-1], ALREADY)
                    yield from self._tree(name, chain, ALREADY)

    def _tree(
        self, top: str, chain: tuple[_Inode, ...], again: str
    ) -> Iterator[tuple[str, int, int]]:
        """The files below one folder; links to folders are kept for later."""
        todo = [(top, chain)]
        while todo:
            above, chain = todo.pop()
            for entry in self._entries(above):
                name, status, reason = _look(above, entry)
                if reason:
                    self.exclusions.append((name, reason))
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield name, status.st_size, status.st_mtime_ns
                    continue
                name, here = f"{name}/", (status.st_dev, status.st_ino)
                if entry.is_symlink() and here in chain:
                    self.exclusions.append((name, LOOP))
                elif entry.is_symlink():
                    self._links.append((name, (*chain, here)))
                elif here in chain and again != HERE:
                    self.exclusions.append((name, LOOP))  # by way of a link to a folder above it
                elif again == HERE or self._is_new(name, here):
                    self._note(name, here, again)
                    todo.append((name, (*chain, here)))

    def _is_new(self, name: str, here: _Inode) -> bool:
        """Whether a folder may be read under this name; an exclusion where it may not."""
        if self._times[here] < self._visits:
            return True
        first, reason = self._read[here]
        self.exclusions.append((name, reason))
        self.aliases[name] = first
        return False

    def _note(self, name: str, here: _Inode, again: str) -> None:
        self._times[here] += 1
        self._read.setdefault(here, (name, again))

    def _entries(self, above: str) -> list[os.DirEntry]:
        """What lies in a folder; [] and an exclusion where nothing in it is to be read."""
        found, own = [], set()
        try:
            with os.scandir(os.path.join(self._root, above)) as entries:
                for entry in entries:
                    self._count()
                    found.append(entry)
                    if entry.name in ("dataset_info.json", "features.json"):
                        own.add(entry.name)
        except OSError as error:
            listing.cant_open(error, os.path.join(self._root, above))  # or the machine is to blame
            self.exclusions.append((above or "./", _CANT_LIST))
            return []
        if above and not found:
            self.exclusions.append((above, EMPTY))
        if above and len(own) == 2:  # a dataset that TFDS has built
            self.exclusions.append((above, OF_TFDS))
            return []
        return found

    def _count(self) -> None:
        self._seen += 1
        if self._seen > _MOST_ENTRIES:
            raise DatasetError(
                f"{listing.shown(self._root)} holds more than {_MOST_ENTRIES:,} files and folders, "
                "those that its links lead to among them. Give the folder that holds the images "
                "alone (--manual_dir), and take out links to other folders."
            )


def _look(above: str, entry: os.DirEntry) -> tuple[str, os.stat_result, str]:
    """Name, status (of what a link leads to) and why it can't be used, or "", of one entry."""
    name = listing.shown(above + entry.name)
    try:
        status = entry.stat()
    except OSError:
        status = os.stat_result([0] * 10)
        if listing.is_hidden(entry.name):
            return name, status, listing.HIDDEN
        return name, status, listing.BROKEN_LINK if entry.is_symlink() else listing.CANT_OPEN
    is_folder = stat.S_ISDIR(status.st_mode)
    end = "/" if is_folder else ""
    if listing.is_hidden(entry.name):
        return name + end, status, listing.HIDDEN
    if not listing.is_text(entry.name):
        return name + end, status, _NOT_TEXT
    if listing.has_control(entry.name):
        return name + end, status, listing.CONTROL
    if is_folder and _is_of_tfds(entry):
        return name + end, status, OF_TFDS
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return name, status, listing.NOT_REGULAR
    return name, status, ""


def _is_of_tfds(entry: os.DirEntry) -> bool:
    """Whether a folder is where TFDS keeps datasets or downloads, by name and by what is in it."""
    place = glob.escape(entry.path)
    return any(glob.glob(f"{place}/{inner}") for inner in _TFDS.get(entry.name, ()))


def _with_parents(path: str) -> list[str]:
    """The folder and those above it, outermost first."""
    found = [path]
    while (parent := os.path.dirname(found[0])) != found[0]:
        found.insert(0, parent)
    return found


def _inode(path: str) -> _Inode:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return -1, -1
