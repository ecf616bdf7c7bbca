"""The files of a source by name, whatever holds them, and which names are no candidates."""

import abc
import errno
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable

HIDDEN = "hidden or system file"
BROKEN_LINK = "broken link"
NOT_REGULAR = "not a regular file"
TWO_FORMS = "same name as another file in other Unicode form"
CANT_OPEN = "file can't be opened"
VANISHED = "file has vanished"
CONTROL = "name holds control characters"
TOO_LARGE = "larger than 512 MiB"
LIMIT = 512 * 2**20  # bytes; the largest radiographs have some 50 MiB

_SYSTEM = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "@recycle", "#recycle",
           "$recycle.bin", "system volume information", "lost+found", "icon\r", "__pycache__",
           "recycler", "network trash folder", "temporary items", "found.000"}  # fmt: skip
# Control characters, separators of lines, and what turns the direction of a line.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_COMMIT = re.compile(r"(?:^|-)([0-9a-f]{40})(?:\.zip)?$", re.IGNORECASE)


class Unreadable(Exception):
    """A file that is listed and can't be read; the message is a reason of an exclusion."""


# Of a file that can't be opened; of other numbers the machine is to blame, and they end a build: a
# disk or a server that fails for a moment would leave out whatever was to be read then.
_OF_THE_FILE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP,
                errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV, errno.EINVAL}  # fmt: skip


def cant_open(error: OSError | ValueError, path: str | os.PathLike) -> Unreadable:
    """The reason of an exclusion, where the file is to blame.

    Args:
        error: Of opening or reading it.
        path: Of the file, for the machine's error: that of reading names none.

    Raises:
        OSError: With the path, where the machine is.
    """
    if isinstance(error, OSError) and error.errno not in _OF_THE_FILE:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    return Unreadable(CANT_OPEN)


class Storage(abc.ABC):
    """Files by name, relative to a root, with `/` between the parts.

    Attributes:
        where: The folder or the zip, as people are shown it.
        names: Every file that may be read, sorted.
        exclusions: (name, reason) of what is there and can't be used, sorted; the name of a folder
            ends in `/`, and nothing below it is listed.
        commit: The upstream commit that the files come from, 40 hexadecimal digits, or "".
        unused: Further copies of the source that lie beside this one.
        aliases: Name of each folder that is listed under another one, both ending in `/`.
        twins: Name of each file that is there in another Unicode form -> the form that is listed.
    """

    def __init__(
        self,
        where: str,
        files: Iterable[tuple[str, int, int]],
        exclusions: Iterable[tuple[str, str]],
        commit: str = "",
    ) -> None:
        """Made by `storage.folder`, `storage.archive` and `storage.find`.

        Args:
            where: For messages.
            files: (name, size in bytes, time of change or checksum) of every file.
            exclusions: What the maker found that can't be used.
            commit: Of the upstream repository.
        """
        self.where, self.commit = where, commit.lower()
        self.unused: tuple[str, ...] = ()
        self.aliases: dict[str, str] = {}
        self.names, self.twins, self._digest = _sorted_names(files)
        self.exclusions = sorted([*exclusions, *((name, TWO_FORMS) for name in self.twins)])
        self._reasons = dict(self.exclusions)

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file. Thread-safe.

        Args:
            name: As in `names`.

        Raises:
            Unreadable: It can't be read; the message is the reason.
        """

    def listing_sha256(self) -> str:
        """Of all names, sizes and times (in a zip: checksums): differs when a source changed."""
        return self._digest

    def why_not(self, name: str) -> str:
        """The reason why a file that is there is not in `names`, or ""."""
        parts = name.split("/")
        above = ("/".join(parts[:n]) + "/" for n in range(1, len(parts)))
        return next((self._reasons[n] for n in (name, *above) if n in self._reasons), "")

    def listed_as(self, name: str) -> str:
        """A path that leads over folders listed under another name, under that other name."""
        place = name.find("/")
        while place >= 0:
            if first := self.aliases.get(name[: place + 1]):
                # The folder was read under its first name, so no alias is left of its end.
                name, place = first + name[place + 1 :], len(first) - 1
            place = name.find("/", place + 1)
        return name


def is_hidden(part: str) -> bool:
    """Whether one part of a path names what a system or an editor keeps for itself."""
    return part.startswith(".") or part.casefold() in _SYSTEM


def hidden_part(name: str) -> str:
    """The shortest leading piece of a path that is hidden (a folder's ends in `/`), or ""."""
    parts = name.split("/")
    for n, part in enumerate(parts, start=1):
        if is_hidden(part):
            return "/".join(parts[:n]) + ("/" if n < len(parts) else "")
    return ""


def is_text(name: str) -> bool:
    """Whether a name is text; a file system may hold any bytes."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def has_control(name: str) -> bool:
    """Whether a name holds characters that would act on the terminal it is shown in."""
    return _CONTROLS.search(name) is not None


def shown(name: str) -> str:
    """A name that can be printed and written as UTF-8, e.g. `radiograf\\xeda.png`, on one line."""
    if not is_text(name):
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], name)


def nfc(name: str) -> str:
    """One spelling of letters with accents: macOS takes names apart, others don't."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def commit_in(name: str) -> str:
    """The commit at the end of a folder's or zip's name, or "": `...-<40 hexadecimal digits>`."""
    match = _COMMIT.search(name)
    return match[1].lower() if match else ""


def _sorted_names(files: Iterable[tuple[str, int, int]]) -> tuple[list[str], dict[str, str], str]:
    """Names in order, those that are there in another Unicode form, and a digest of the list."""
    digest, names = hashlib.sha256(), []
    twins: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name, size, stamp in sorted(files):
        # Plain names are their own form: the set stays empty for them, at 100,000 files, too.
        if not name.isascii():
            form = nfc(name)
            if form in seen:
                twins[name] = seen[form]
                continue
            seen[form] = name
        names.append(name)
        digest.update(f"{name}\0{size}\0{stamp}\n".encode())
    return names, twins, digest.hexdigest()
