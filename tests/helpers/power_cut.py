"""A power cut, simulated: what was not flushed to the disk (fsync) is lost.

`Disk.watch` replaces `os.fsync` in the process whose disk it is. At each call the content of that
file, or the names in that folder, is copied to a store; so is, at the beginning, all that is there.
After the process was killed, `Disk.cut` makes the folder what a disk may hold then:

* `Reading.NOTHING`: a file has the content of its last fsync, and is empty without one; a folder
  has the names of its last fsync, removed and renamed ones too. Nothing else survives.
* `Reading.SOME`: besides, drawn for each: a folder has the names that it had at the cut; a file has
  the content that it had at the cut, or its length and zeros behind what was flushed.

Simulated are thus lost, empty, old and cut files, files of zeros, and names that come back, go or
point to such files, each for itself, in an order that journals of real file systems rarely allow.
Not simulated are blocks of one file that are written in another order than that of the file, torn
blocks, disks that say that they flushed and did not, and what C++ flushes by itself: TensorFlow's
and HDF5's files count as flushed only when Python did so.
"""

import contextlib
import enum
import json
import os
import pathlib
import random
import resource
import shutil
import stat


class Reading(enum.Enum):
    """Of what was not flushed, how much survives."""

    NOTHING = "nothing"
    SOME = "some"


class Disk:
    """A folder, and a store of what of it is on the disk for sure."""

    def __init__(self, folder: pathlib.Path, store: pathlib.Path) -> None:
        """Does nothing yet.

        Args:
            folder: Any; its name in the folder above it stays.
            store: A folder that is made for this, elsewhere on the same file system.
        """
        self._folder, self._store = folder, store
        self._held: dict[int, int] = {}  # a descriptor by inode: its number is not used again

    def watch(self) -> None:
        """Takes all that is there for flushed, and notes what this process flushes from now on."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._store.mkdir()
        for place, _, files in os.walk(self._folder):
            for path in (place, *(os.path.join(place, name) for name in files)):
                self._flushed(path)
        fsync = os.fsync

        def noted(handle: int) -> None:
            fsync(handle)
            number = handle if isinstance(handle, int) else handle.fileno()
            self._flushed(f"/proc/self/fd/{number}")

        os.fsync = noted

    def cut(self, reading: Reading, draw: random.Random) -> None:
        """Makes the folder what is left of it. Its process has ended.

        Args:
            reading: How much is left.
            draw: Of what is left, where chance has it.
        """
        now = {}
        for place, folders, files in os.walk(self._folder):
            for path in (place, *(os.path.join(place, name) for name in (*folders, *files))):
                now[os.lstat(path).st_ino] = path
        left = self._folder.with_name(f"{self._folder.name}.left")
        some = (lambda: draw.random() < 0.5) if reading is Reading.SOME else (lambda: False)
        self._make(left, os.stat(self._folder).st_ino, now, some)
        shutil.rmtree(self._folder)
        left.rename(self._folder)
        shutil.rmtree(self._store)

    def _flushed(self, path: str) -> None:
        """Copies a file, or the names in a folder, to the store."""
        status = os.stat(path)
        self._hold(path, status.st_ino)
        beside = self._store / f"beside.{status.st_ino}"
        if stat.S_ISDIR(status.st_mode):
            names = _names(path)
            for name, (inode, _) in names.items():
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    self._hold(os.path.join(path, name), inode)
            beside.write_text(json.dumps(names), encoding="utf-8")
        else:
            shutil.copyfile(path, beside)
        beside.replace(self._store / str(status.st_ino))  # a kill leaves the one or the other

    def _hold(self, path: str, inode: int) -> None:
        if inode not in self._held:
            self._held[inode] = os.open(path, os.O_PATH | os.O_CLOEXEC)

    def _make(self, left: pathlib.Path, inode: int, now: dict[int, str], some) -> None:
        """Makes a folder of what is left of one."""
        left.mkdir()
        stored = self._store / str(inode)
        names = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
        if inode in now and some():
            names = _names(now[inode])
        for name, (number, is_folder) in names.items():
            if is_folder:
                self._make(left / name, number, now, some)
            else:
                (left / name).write_bytes(self._content(number, now, some))

    def _content(self, inode: int, now: dict[int, str], some) -> bytes:
        stored = self._store / str(inode)
        flushed = stored.read_bytes() if stored.exists() else b""
        if inode not in now or not some():
            return flushed
        written = pathlib.Path(now[inode]).read_bytes()
        return written if some() else flushed[: len(written)].ljust(len(written), b"\0")


def _names(folder: str) -> dict[str, tuple[int, bool]]:
    """Inode, and whether it is a folder, of all that is in a folder."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return {each.name: (each.inode(), each.is_dir(follow_symlinks=False)) for each in entries}
