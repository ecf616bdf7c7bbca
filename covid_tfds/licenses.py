"""Keeping the images whose license a user may use."""

import collections
import re
from collections.abc import Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.records import ImageRecord

_VERSION = re.compile(r"[\s-]*v?\d+(\.\d+)*$")


def require_known(wanted: Sequence[str], records: Sequence[ImageRecord]) -> None:
    """Stops the build when a license that is asked for is that of no image.

    Raises:
        DatasetError: With what was asked for and the licenses that there are.
    """
    present = collections.Counter(record.license for record in records)
    for name in wanted:
        if not any(allows([name], each) for each in present):
            listed = "\n".join(f"  {count:6d}  {each}" for each, count in present.most_common(20))
            raise DatasetError(
                f"licenses names {name!r}, which is the license of no image here. There are:\n"
                f"{listed}\nName one of these, with or without its version."
            )


def allows(wanted: Sequence[str], license_: str) -> bool:
    """Whether a license is among those wanted.

    Case, blanks and hyphens don't matter: sources write `CC BY-NC-SA`, `cc-by-nc-sa 4.0`. A name
    without a version stands for every version of it, never for a license with further terms:
    `CC BY` allows `CC BY 4.0` and not `CC BY-NC`.
    """
    own = _normal(license_)
    return any(own == each or _VERSION.sub("", own) == each for each in map(_normal, wanted))


def _normal(name: str) -> str:
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())
