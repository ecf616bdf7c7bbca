"""Files of which one bit changed, as disks and memories change them."""

import contextlib
import pathlib
from collections.abc import Iterator

import numpy as np

COUNT = 20  # of each kind of file


@contextlib.contextmanager
def one_bit(path: pathlib.Path, random: np.random.Generator) -> Iterator[None]:
    """Flips a random bit of a file; afterwards the file is as it was."""
    written = path.read_bytes()
    bit = int(random.integers(8 * len(written)))
    data = bytearray(written)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(written)
