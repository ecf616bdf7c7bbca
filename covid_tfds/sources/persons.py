"""Folders of persons or studies that stand where those of classes are expected.

Public archives keep a folder a patient and the findings in a table. Read as CLASS/*, they would
give a dataset whose classes are people.
"""

import collections
import re
from collections.abc import Mapping, Sequence

from covid_tfds.errors import DatasetError
from covid_tfds.sources import class_names
from covid_tfds.sources.wording import listed

_MOST_CLASSES = 10  # of names that differ in digits only: grades have up to ten
_FEW_IMAGES = 3  # a class, on average
# UUIDs, digests, UIDs (digits and dots) and plain numbers.
_NUMBER = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![^\W_])[0-9a-f]{16,}(?![^\W_])|\d+(?:\.\d+)*"
)


def refuse(images: Mapping[str, int]) -> None:
    """Refuses class folders that look like those of persons or studies.

    Args:
        images: Number of images of each class.

    Raises:
        DatasetError: More than ten names differ in digits only, or more than ten classes hold
            fewer than three images each on average. The public classes do not count.
    """
    own = sorted(label for label in images if not class_names.is_public(label))
    alike = collections.defaultdict(list)
    for label in own:
        alike[_NUMBER.sub("0", label.casefold())].append(label)
    largest = max(alike.values(), key=len, default=[])
    if len(largest) > _MOST_CLASSES:
        raise _error(largest, "their names differ in digits only")
    if len(own) > _MOST_CLASSES and sum(images[label] for label in own) < _FEW_IMAGES * len(own):
        raise _error(own, f"they hold fewer than {_FEW_IMAGES} images each on average")


def _error(labels: Sequence[str], seen: str) -> DatasetError:
    return DatasetError(
        f"{len(labels)} class folders look like those of persons or studies, not of classes: "
        f"{seen} ({listed(labels)}). Put them below a folder a class "
        f"(CLASS/{labels[0]}/...), or give an images.csv that names the class of each image."
    )
