"""Files that a user's table names, however it writes their paths."""

import functools
import os
from collections.abc import Callable

from covid_tfds.sources import listing
from covid_tfds.sources.stray_quotes import IMAGE_FILE


def _base(path: str) -> str:
    return path.rsplit("/", 1)[-1]


# What two paths have in common, the most telling one first.
_LIKENESSES: tuple[Callable[[str], str], ...] = (
    str.casefold,
    _base,
    lambda path: _base(path).casefold(),
    lambda path: IMAGE_FILE.sub("", _base(path)).casefold(),
)


class Paths:
    """Finds the files that a table names, however it writes their paths."""

    def __init__(self, files: listing.Storage) -> None:
        """Of the files of a user's folder."""
        self._files = files
        self._listed = {listing.nfc(name): name for name in files.names}
        root = os.path.abspath(files.where)
        self._roots = tuple({f"{path.rstrip('/')}/" for path in (root, os.path.realpath(root))})

    def clean(self, path: str) -> str:
        """A path relative to the root with `/` between its parts; it may still lead out of it.

        Where it leads over a link to a folder that was read under another name, it has that name.
        """
        clean = listing.nfc(path).replace("\\", "/")
        for root in self._roots:
            clean = clean.removeprefix(listing.nfc(root))
        return self._files.listed_as(os.path.normpath(clean))

    def listed(self, path: str) -> str | None:
        """The file's name in the storage, or None."""
        as_written = self._listed.get(listing.nfc(path))  # a name may hold a backslash
        return as_written or self._listed.get(listing.nfc(self.clean(path)))

    def is_file(self, path: str) -> bool:
        """Whether the path names a file of the storage."""
        return self.listed(path) is not None

    def exists(self, path: str) -> bool:
        """Whether it names something in the folder, also what can't be used."""
        return self.is_file(path) or bool(self.why_not(path))

    def why_not(self, path: str) -> str:
        """The reason why what the path names can't be used, or ""."""
        return self._files.why_not(listing.shown(self.clean(path)))

    def meant(self, path: str) -> str:
        """The one file that a path which names none is most like, or "".

        It has the same path but for case, or else the same name in another folder, or else that
        name but for case and for the suffix of an image.
        """
        wanted = self.clean(path)
        for likeness, files in zip(_LIKENESSES, self._by_likeness, strict=True):
            if found := files.get(likeness(wanted)) if likeness(wanted) else None:
                return found
        return ""

    @functools.cached_property
    def _by_likeness(self) -> list[dict[str, str]]:
        """For each likeness: the file that alone has it, or "" where several do."""
        tables: list[dict[str, str]] = []
        for likeness in _LIKENESSES:
            tables.append({})
            for form, name in self._listed.items():
                same = likeness(form)
                tables[-1][same] = "" if same in tables[-1] else name
        return tables
