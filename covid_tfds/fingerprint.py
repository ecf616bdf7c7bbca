"""One number for what a dataset holds: images, splits, classes and pixels."""

import hashlib
from collections.abc import Iterable


def fingerprint(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """The fingerprint of a dataset.

    Args:
        rows: (split, image_id, class name, hexadecimal sha256 of the stored pixels) of every
            image, in any order.

    Returns:
        sha256, hexadecimal, of the sorted rows, their parts separated by tabs, a line each.
    """
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(("\t".join(row) + "\n").encode())
    return digest.hexdigest()
