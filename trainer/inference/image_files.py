"""What paths stand for: files, folders, patterns and zips, as one list of files to read."""

import dataclasses
import errno
import functools
import glob
import os
import pathlib
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from covid_tfds import parallel, reading
from covid_tfds.errors import DatasetError
from covid_tfds.sources import listing, walk, zipped
from covid_tfds.sources.stray_quotes import IMAGE_FILE
from covid_tfds.sources.unpacked import folder, read_file
from trainer.run import files

_ZIP = ".zip"
_OPEN = 16  # zips at once, of any number
_OF_THE_PROCESS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # errors that all files would have
# Of `reading.read_image`: of a file that is none, and of one that nobody can tell.
_NO_IMAGE = ("not an image", "empty file", listing.TOO_LARGE)
_SUFFIX = re.compile(r"\.[a-z]\w{0,9}$", re.IGNORECASE)  # and not the end of 1.2.840.113619
# What lies in a folder and is no image that anybody would miss.
_NO_MATTER = {listing.HIDDEN, walk.LOOP, walk.HERE, walk.ALREADY, walk.OF_TFDS, walk.EMPTY}


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A file that is to be read, or what can't be read.

    Attributes:
        name: As it is shown, on one line.
        read: Gives its bytes, or raises `listing.Unreadable`. Thread-safe.
        named: Whether it was given by its own name, not as a part of something.
    """

    name: str
    read: Callable[[], bytes]
    named: bool = True

    @property
    def of_another_kind(self) -> bool:
        """Whether it lies among images and has a name that no image has, as a README does."""
        has_suffix = _SUFFIX.search(self.name) and not IMAGE_FILE.search(self.name)
        return not self.named and bool(has_suffix)

    def is_left_out(self, reason: str) -> bool:
        """Whether nobody misses it: no image by its name, nor by its content for this reason."""
        return self.of_another_kind and reason in _NO_IMAGE


class ImageFiles(Sequence[ImageFile]):
    """The files that paths stand for, in the paths' order; those of a folder or a zip by name."""

    def __init__(self, paths: Iterable[str | os.PathLike]) -> None:
        """Lists folders, patterns and zips; reads no image.

        Args:
            paths: Of files, of folders (with all below them), of zips (read in place), and
                patterns with `*`, `?` and `[]`; `**` stands for any folders. What is not there, or
                can't be opened, becomes a file that can't be read.

        Raises:
            RunError: A path names a variable or a user that is not known.
        """
        # Names alone: a folder of a million images has a million of them.
        archive = functools.lru_cache(_OPEN)(lambda zip_: zipped.Archive(pathlib.Path(zip_), ""))
        self._parts = [part for path in paths for part in _parts(path, archive)]
        self._starts = [0]
        for part in self._parts:
            self._starts.append(self._starts[-1] + len(part.names))

    def __len__(self) -> int:
        """How many files there are."""
        return self._starts[-1]

    # No slice is read.
    def __getitem__(self, index: int) -> ImageFile:  # type: ignore[override]
        """The file of an index, from 0."""
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} files. Give an index from 0.")
        part = next(i for i, end in enumerate(self._starts[1:]) if index < end)
        return self._parts[part].file(index - self._starts[part])

    def __iter__(self) -> Iterator[ImageFile]:
        """All files."""
        for part in self._parts:
            yield from map(part.file, range(len(part.names)))


_Made = TypeVar("_Made")


def read(
    files: Iterable[ImageFile], make: Callable[[np.ndarray], _Made]
) -> Iterator[tuple[ImageFile, _Made | str]]:
    """What is made of the pixels of files, in their order, read ahead on all cores.

    Args:
        files: What is to be read.
        make: Of uint8 [height, width], 0..255; called from several threads.

    Yields:
        Each file with what was made of it, or with the reason why it can't be used.
    """

    def made(file: ImageFile) -> tuple[ImageFile, _Made | str]:
        try:
            return file, make(reading.read_image(file.read()).pixels)
        except (listing.Unreadable, reading.Unusable) as reason:
            return file, str(reason)
        except OSError as error:  # a bad sector, a server that is gone: the others may be read
            if error.errno in _OF_THE_PROCESS:
                raise
            return file, f"file can't be read ({error.strerror})"

    return parallel.in_order(made, files)


_Archive = Callable[[str], zipped.Archive]  # of the path of a zip


@dataclasses.dataclass(frozen=True)
class _Part:
    """Some files with one way to read them."""

    names: Sequence[str]
    read: Callable[[str], bytes]
    above: str = ""
    named: bool = True

    def file(self, index: int) -> ImageFile:
        name = self.names[index]
        shown = listing.shown(os.path.join(self.above, name))
        return ImageFile(shown, functools.partial(self.read, name), self.named)


def _parts(path: str | os.PathLike, archive: _Archive) -> Iterator[_Part]:
    given = files.expanded(path)
    if os.path.isdir(given):
        yield from _folder(given)
    elif given.lower().endswith(_ZIP) and os.path.isfile(given):
        yield from _zip(given, archive)
    elif glob.has_magic(given) and not os.path.lexists(given):
        matches = _matches(given)
        if not matches:
            yield _unreadable([(given, "nothing matches")])
        for match in matches:
            yield from _parts(match, archive)
    elif not os.path.lexists(given):
        yield _unreadable([(given, "no such file")])
    else:
        yield _Part([given], read_file)


def _matches(pattern: str) -> list[str]:
    """What a pattern stands for; what is below a folder once, where both match."""
    found = sorted(glob.glob(pattern, recursive=True))  # a folder before what is below it
    if "**" not in pattern:  # all of one depth
        return found
    there = set(map(os.path.normpath, found))
    folders, kept = set[pathlib.PurePath](), list[str]()
    for match in found:
        place = pathlib.PurePath(os.path.normpath(match))
        if not folders.isdisjoint(place.parents):
            continue
        if os.path.isdir(match):
            if _all_match(match, there):  # `**` stands for all that is below a folder, too
                continue
            folders.add(place)
        kept.append(match)
    return kept


def _all_match(folder: str, there: Container[str]) -> bool:
    """Whether all that is in a folder matches, too; not of one that is empty."""
    try:
        inside = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:  # what reads it says so
        return False
    return bool(inside) and all(os.path.normpath(os.path.join(folder, n)) in there for n in inside)


def _folder(path: str) -> Iterator[_Part]:
    try:
        there = folder(path)
    except DatasetError:
        yield _unreadable([(path, "folder can't be opened")])
    else:
        yield from _stored(there, there.read, path)


def _zip(path: str, archive: _Archive) -> Iterator[_Part]:
    def read(name: str) -> bytes:
        try:
            return archive(path).read(name)  # opened again, where there are many
        except (KeyError, *zipped.BROKEN) as error:
            raise listing.Unreadable(_not_opened(error)) from None

    try:
        there = archive(path)
    except zipped.BROKEN as error:
        yield _unreadable([(path, _not_opened(error))])
    else:
        yield from _stored(there, read, path)


def _not_opened(error: Exception) -> str:
    """Why a zip can't be read; raises what no zip could be read with."""
    if not isinstance(error, OSError) or error.errno is None:
        return "no readable zip"
    if error.errno in _OF_THE_PROCESS:
        raise error
    return f"zip can't be opened ({error.strerror})"


def _stored(there: listing.Storage, read: Callable[[str], bytes], above: str) -> Iterator[_Part]:
    yield _Part(there.names, read, above, named=False)
    reasons = [each for each in there.exclusions if each[1] not in _NO_MATTER]
    if reasons:
        yield _unreadable(reasons, above)


def _unreadable(reasons: Iterable[tuple[str, str]], above: str = "") -> _Part:
    """Names that can't be read, each with its reason."""
    reason_of = dict(reasons)

    def read(name: str) -> bytes:
        raise listing.Unreadable(reason_of[name])

    return _Part(list(reason_of), read, above)
