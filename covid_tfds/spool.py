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
    """Pixels and thumbnails by the place of their image."""

    def __init__(self, folder: pathlib.Path | None = None) -> None:
        """Opens an empty spool.

        Args:
            folder: Whose disk is used, that of temporary files when it is None.
        """
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

    def thumbnails(self) -> np.ndarray:
        """All thumbnails so far, uint8 [n, THUMBNAIL**2], read from the disk as they are used."""
        self._thumbnails.flush()
        if not self._thumbnails.tell():
            return np.empty((0, THUMBNAIL**2), np.uint8)
        return np.memmap(self._thumbnails, np.uint8, "r").reshape(-1, THUMBNAIL**2)

    def close(self) -> None:
        """Gives the disk back."""
        self._pixels.close()
        self._thumbnails.close()
