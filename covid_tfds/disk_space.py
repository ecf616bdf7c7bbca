"""Whether a disk has room for a build, said before the first pass."""

import shutil
from collections.abc import Callable, Sequence

from covid_tfds import reading
from covid_tfds.errors import DatasetError
from covid_tfds.records import ImageRecord
from covid_tfds.sources import wording
from covid_tfds.sources.storage import Unreadable
from covid_tfds.spool import THUMBNAIL, Spool

# Gives the bytes of an image's file and what is in them; raises Unreadable or Unusable.
Decode = Callable[[ImageRecord], tuple[bytes, reading.DecodedImage]]

_PLENTY = 1 << 20  # bytes an image: 320 x 1,600 pixels and their PNG; more is not counted
_SAMPLE = 16  # images measured
_SURE = 0.8  # of what a sample says: the others may be smaller by chance


def require(records: Sequence[ImageRecord], decode: Decode, spool: Spool) -> None:
    """Refuses a build for which its disk has no room.

    A build holds the pixels of all images and writes their PNGs; how large they are is measured on
    a few of them, if the disk is not so large that it does not matter.

    Args:
        records: The images.
        decode: Gives an image's file and pixels.
        spool: Takes the pixels.

    Raises:
        DatasetError: Says what is needed and what is free.
    """
    free = shutil.disk_usage(spool.folder).free
    if len(records) * _PLENTY <= free:
        return
    sizes = _sizes(records, decode)
    needed = len(records) * sum(sizes) // max(1, len(sizes))
    if needed * _SURE > free:
        raise DatasetError(
            f"{wording.counted(len(records), 'image')} need some {wording.size(needed)} while they "
            f"are built, and the disk of {spool.shown} has {wording.size(free)} free. Free some, "
            f"or give another {spool.setting}."
        )


def _sizes(records: Sequence[ImageRecord], decode: Decode) -> list[int]:
    """Bytes that images all over the list take on the disk; none of those that can't be read."""
    sizes = []
    for record in records[:: max(1, len(records) // _SAMPLE)]:
        try:
            pixels = decode(record)[1].pixels
        except (reading.Unusable, Unreadable):
            continue
        sizes.append(THUMBNAIL**2 + pixels.size + len(reading.encode(pixels)))
    return sizes
