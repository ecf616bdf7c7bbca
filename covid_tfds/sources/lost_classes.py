"""The end of a build because a class that the user put in has no image that can be used."""

from collections.abc import Mapping, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.sources import wording

_SHOWN = 5  # files of a class


def lost_classes(what: str, seen: Mapping[str, Sequence[str]]) -> DatasetError:
    """The error, with the first files of each class.

    Args:
        what: The sentence that says what is wrong.
        seen: For each class, its files with their reasons.
    """
    listed = [f"{name}: {wording.listed(files, _SHOWN)}" for name, files in seen.items()]
    return DatasetError(
        f"{what} First files seen:\n{wording.lines(listed)}\n"
        "Mend these files, or take out what is no class."
    )
