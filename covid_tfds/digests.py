"""A digest of every file of a dataset, beside them in digests.json.

It is the last file of a build, so a folder that has it is whole.
"""

import hashlib
import json
from collections.abc import Mapping

from etils import epath

from covid_tfds import paths
from covid_tfds.sources import listing

FILE = "digests.json"
_BLOCK = 1 << 20  # bytes read at a time


def of_files(folder: epath.Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Hexadecimal sha256 of every file in a folder but digests.json and hidden ones, by name.

    Args:
        folder: The dataset's.
        known: Digests that need not be computed again.
    """
    known = known or {}
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.name != FILE and not listing.is_hidden(path.name)  # of a system that looked at it
    )
    return {name: known.get(name) or sha256(folder / name) for name in names}


def write(folder: epath.Path, digests: Mapping[str, str]) -> None:
    """Writes digests.json, after all other files are on the disk: it says that they are whole."""
    paths.flush(*folder.iterdir())
    (folder / FILE).write_text(json.dumps(digests, indent=1))
    paths.flush(folder / FILE, folder)


def read(folder: epath.Path) -> dict[str, str] | None:
    """What digests.json says; None where it is missing or damaged."""
    try:
        found = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def sha256(path: epath.Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
