"""Where a source's files lie: a folder, or the downloaded zip read in place."""

import os
import pathlib
import zipfile

from covid_tfds.errors import DatasetError


class Storage:
    """Files by name, relative to a root, with `/` between the parts.

    Attributes:
        where: The folder or the zip, for messages.
        names: Every file under the root, sorted.
        refused: Members that would escape the root; they are never read.
    """

    def __init__(self, where: str, names: list[str], refused: list[str]) -> None:
        """Made by `folder` and `archive`."""
        self.where, self.names, self.refused = where, sorted(names), sorted(refused)

    def read(self, name: str) -> bytes:
        """The bytes of one file. Thread-safe."""
        raise NotImplementedError


class _Folder(Storage):
    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        names = [
            (pathlib.Path(folder) / file).relative_to(root).as_posix()
            for folder, _, files in os.walk(root)
            for file in files
        ]
        super().__init__(str(root), names, [])

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()


class _Archive(Storage):
    def __init__(self, path: pathlib.Path, prefix: str) -> None:
        # zipfile locks around each read, so one handle serves all threads.
        self._zip, self._prefix = zipfile.ZipFile(path), prefix
        members = [m for m in self._zip.namelist() if m.startswith(prefix) and m[-1] != "/"]
        refused = [m for m in members if _escapes(m)]
        names = [m[len(prefix) :] for m in members if not _escapes(m)]
        super().__init__(f"{path}/{prefix}", names, refused)

    def read(self, name: str) -> bytes:
        return self._zip.read(self._prefix + name)


def _escapes(member: str) -> bool:
    parts = member.replace("\\", "/").split("/")
    return ".." in parts or member.startswith(("/", "\\")) or ":" in parts[0]


def folder(root: pathlib.Path) -> Storage:
    """All files under a folder."""
    return _Folder(root)


def archive(path: pathlib.Path, folders: tuple[str, ...], marker: str) -> Storage | None:
    """The source inside one zip, or None when it is not in there. Arguments as for `find`.

    Raises:
        DatasetError: The zip is damaged.
    """
    roots = _roots(path, folders, marker)
    return _Archive(path, roots[0]) if roots else None


def find(manual_dir: pathlib.Path, folders: tuple[str, ...], marker: str) -> Storage | None:
    """Finds a source under `manual_dir`, unpacked or as a zip.

    Args:
        manual_dir: Where the user put the downloads.
        folders: Names the source's folder goes by; a trailing `*` stands for any ending.
        marker: A path prefix that the source has right below its root, e.g. `train/`.

    Returns:
        The storage, or None when neither a folder nor a zip of the source is there.

    Raises:
        DatasetError: A zip there is damaged.
    """
    if not manual_dir.is_dir():
        return None
    for pattern in folders:
        for path in sorted(manual_dir.glob(pattern)):
            if path.is_dir():
                return _Folder(path)
    for path in sorted(manual_dir.glob("*.zip")):
        if found := archive(path, folders, marker):
            return found
    return None


def _roots(path: pathlib.Path, folders: tuple[str, ...], marker: str) -> list[str]:
    """Prefixes in a zip that look like the source's root, shortest first."""
    try:
        with zipfile.ZipFile(path) as opened:
            members = opened.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetError(
            f"{path} is no readable zip ({error}). Download it again, or unpack it by hand."
        ) from None
    found = set()
    for member in members:
        head, separator, _ = member.partition("/" + marker)
        root = pathlib.PurePosixPath(head)
        if separator and not _escapes(head) and any(root.match(name) for name in folders):
            found.add(head + "/")
    return sorted((root for root in found if not root.startswith("__MACOSX")), key=len)
