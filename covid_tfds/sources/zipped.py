"""A source's files in the downloaded zip, read in place."""

import contextlib
import lzma
import os
import pathlib
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator

from covid_tfds.sources import listing

ESCAPES = "path leaves the archive"
_DAMAGED = "damaged in the zip"
_ENCRYPTED = "encrypted in the zip"
_METHOD = "compressed in a way that can't be read"
_SAYS_UTF_8 = 0x800  # of a member's flags
_TWICE = "same name twice in the zip"

# All that zipfile was seen to raise on a damaged directory of members.
BROKEN = (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error, EOFError,
          OverflowError)  # fmt: skip


def member_name(member: str) -> str:
    """A member's path with `/` between the parts; zips made on Windows may have backslashes."""
    name = member.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def escapes(name: str) -> bool:
    """Whether a member's path leads out of the folder that it is unpacked into."""
    return ".." in name.split("/") or name.startswith("/") or ":" in name.split("/", 1)[0]


class Archive(listing.Storage):
    """The files below one folder of a zip."""

    def __init__(self, path: pathlib.Path, prefix: str) -> None:
        """Opens the zip and keeps it open.

        Args:
            path: The zip.
            prefix: Folder in the zip, ending in `/`, or "" for all of it.

        Raises:
            Exception: One of `BROKEN`.
        """
        self._zip = zipfile.ZipFile(path.absolute())
        self._lock = threading.Lock()
        self._members: dict[str, zipfile.ZipInfo] = {}
        exclusions: list[tuple[str, str]] = []
        files = list(self._files(prefix, exclusions))
        commit = (
            listing.commit_in(self._zip.comment.decode("ascii", "replace").strip())
            or listing.commit_in(prefix.rstrip("/"))
            or listing.commit_in(path.name)
        )
        where = listing.shown(f"{path}/{prefix}").rstrip("/")
        super().__init__(where, files, exclusions, commit)

    def _files(
        self, prefix: str, exclusions: list[tuple[str, str]]
    ) -> Iterator[tuple[str, int, int]]:
        hidden = set()
        for info in self._zip.infolist():
            full = member_name(_decoded(info))
            if not full.startswith(prefix) or full.endswith("/"):
                continue
            name = full[len(prefix) :]
            if part := listing.hidden_part(name) if not escapes(full) else "":
                hidden.add(part)
            elif reason := self._why_not(full, name, info):
                exclusions.append((listing.shown(name), reason))
            else:
                self._members[name] = info
                yield name, info.file_size, info.CRC
        exclusions += [(listing.shown(part), listing.HIDDEN) for part in hidden]

    def _why_not(self, full: str, name: str, info: zipfile.ZipInfo) -> str:
        if escapes(full):
            return ESCAPES
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the zip does not say
        if kind not in (0, stat.S_IFREG):
            return listing.NOT_REGULAR
        if listing.has_control(name):
            return listing.CONTROL
        return _TWICE if name in self._members else ""

    def read(self, name: str) -> bytes:
        """The bytes of one member (see `listing.Storage.read`)."""
        info = self._members[name]
        if info.file_size > listing.LIMIT:
            raise listing.Unreadable(listing.TOO_LARGE)
        if info.flag_bits & 0x41:  # encrypted, strongly encrypted
            raise listing.Unreadable(_ENCRYPTED)
        try:
            with self._lock:  # reading is locked by zipfile itself, opening is not
                member = self._zip.open(info)
            data = member.read()
            with self._lock:
                member.close()
        except RuntimeError:  # of zipfile, or since Python was built without the method's library
            raise listing.Unreadable(_METHOD) from None
        except OSError as error:  # without a number it comes from the unpacking
            if error.errno:
                raise listing.cant_open(error, f"{self.where}/{name}") from None
            raise listing.Unreadable(_DAMAGED) from None
        except (zlib.error, lzma.LZMAError, *BROKEN):
            raise listing.Unreadable(_DAMAGED) from None
        if len(data) != info.file_size:
            raise listing.Unreadable(_DAMAGED)
        return data


def members(path: str | os.PathLike) -> list[str]:
    """The paths in a zip, as `member_name` gives them.

    Raises:
        Exception: One of `BROKEN`.
    """
    with zipfile.ZipFile(path) as opened:
        return [member_name(_decoded(info)) for info in opened.infolist()]


def _decoded(info: zipfile.ZipInfo) -> str:
    """A member's name. Info-ZIP writes UTF-8 without saying so, which zipfile takes for CP437."""
    if not info.flag_bits & _SAYS_UTF_8:
        with contextlib.suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename
