"""What the header of a JPEG, JPEG-LS or JPEG 2000 stream says, before anything is decoded."""

from collections.abc import Iterator
from typing import NamedTuple

# Start-of-frame markers: Huffman and arithmetic, sequential, progressive and lossless; JPEG-LS.
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_JPEG_LS = 0xF7
SCAN = 0xDA


class Frame(NamedTuple):
    """Size, depth and process of an encoded image.

    `process` is `jpeg`, `lossless jpeg`, `jpeg-ls` or `jpeg 2000`.
    """

    width: int
    height: int
    samples: int
    bits: int
    process: str


def frame_of(data: bytes) -> Frame | None:
    """The frame header of a stream, or None when there is none."""
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:4] == b"\xff\x4f\xff\x51" or data[4:8] == b"jP  ":
        return _jpeg_2000(data)
    return None


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The marker and the place of each segment of a JPEG or JPEG-LS header, the first scan's too.

    A segment is two bytes of marker, two of length and what they announce.
    """
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        else:
            yield marker, place
            if marker == SCAN:
                return
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4]))


def _jpeg(data: bytes) -> Frame | None:
    for marker, place in segments(data):
        if marker in _FRAMES:
            height = int.from_bytes(data[place + 5 : place + 7])
            width = int.from_bytes(data[place + 7 : place + 9])
            lossless = "lossless jpeg" if marker in _LOSSLESS else "jpeg"
            process = "jpeg-ls" if marker == _JPEG_LS else lossless
            return Frame(width, height, data[place + 9], data[place + 4], process)
    return None


def _jpeg_2000(data: bytes) -> Frame | None:
    start = data.find(b"\xff\x4f\xff\x51")
    size = data[start + 4 : start + 45]
    if start < 0 or len(size) < 41:
        return None
    right, below, left, above = (int.from_bytes(size[i : i + 4]) for i in (4, 8, 12, 16))
    samples = int.from_bytes(size[36:38])
    bits = (size[38] & 0x7F) + 1
    return Frame(right - left, below - above, samples, bits, "jpeg 2000")
