"""The stored pixels of a build, on disk between its two passes.

Which split an image goes to is known only when all images have been seen, and no machine can be
asked to hold them. So the first pass leaves the pixels here, in files without a name that vanish
with the process, and the second takes them in the order in which they are stored.
"""

import os
import pathlib
import tempfile
import threading

import numpy as np

THUMBNAIL = 64  # pixels; side of the square copies on which near-equal images are compared


class Spool:
    """Pixels and thumbnails by the place of their image.

    Attributes:
        folder: Whose disk is used.
        shown: The folder that messages name: a build's own is gone when they are read.
        setting: What moves it to another disk.
    """

    def __init__(self, folder: pathlib.Path | None = None) -> None:
        """Opens an empty spool.

        Args:
            folder: Of the build, whose disk is used; None: that of temporary files.
        """
        self.folder = pathlib.Path(tempfile.gettempdir()) if folder is None else folder
        self.shown = self.folder if folder is None else folder.parent
        self.setting = "TMPDIR" if folder is None else "--data_dir"
        self._pixels = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by close)
        self._thumbnails = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by close)
        self._end, self._lock = 0, threading.Lock()

    def add(self, pixels: np.ndarray) -> int:
        """Appends the pixels of one image, uint8 [h, w], and returns their offset."""
        with self._lock:
            offset, self._end = self._end, self._end + pixels.size
        data, at = memoryview(np.ascontiguousarray(pixels)).cast("B"), offset
        while data:  # a disk that is nearly full takes a part, and then raises
            written = os.pwrite(self._pixels.fileno(), data, at)
            data, at = data[written:], at + written
        return offset

    def add_thumbnail(self, thumbnail: np.ndarray) -> None:
        """Appends one thumbnail, uint8 [THUMBNAIL, THUMBNAIL]; in the order of the images."""
        self._thumbnails.write(thumbnail.tobytes())

    def pixels(self, offset: int, height: int, width: int) -> np.ndarray:
        """The pixels added at `offset`, uint8 [height, width]. Thread-safe."""
        data = os.pread(self._pixels.fileno(), height * width, offset)
        return np.frombuffer(data, np.uint8).reshape(height, width)

    def thumbnails(self) -> "Thumbnails":
        """All thumbnails so far."""
        self._thumbnails.flush()
        return Thumbnails(self._thumbnails.fileno(), self._thumbnails.tell() // THUMBNAIL**2)

    def close(self) -> None:
        """Gives the disk back."""
        self._pixels.close()
        self._thumbnails.close()


class Thumbnails:
    """Thumbnails on the disk, taken as rows of an array; what was taken is not kept.

    Not mapped into memory: pages that were looked at would stay, 4 KiB an image.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        """Of the file of a `Spool`.

        Args:
            descriptor: Of the open file.
            count: Of the thumbnails in it.
        """
        self._descriptor, self._count = descriptor, count

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __getitem__(self, places: "slice | np.ndarray") -> np.ndarray:
        """uint8 [n, THUMBNAIL**2] at a slice of step 1 or at an array of places."""
        if isinstance(places, slice):
            first, end, _ = places.indices(self._count)
            return self._read(first, max(0, end - first))
        return np.concatenate([self._read(int(place), 1) for place in places])

    def _read(self, first: int, count: int) -> np.ndarray:
        size = THUMBNAIL**2
        data = os.pread(self._descriptor, count * size, first * size)
        return np.frombuffer(data, np.uint8).reshape(count, size)
