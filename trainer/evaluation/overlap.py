"""Which images of other data a network has seen: the images and patients of its own run.

Scores of images that a network was trained on show what it remembers. Those of validation chose its
epoch, which is less of a leak, and they are counted apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Why an image is left out, and the words for it.
REASONS = {
    "trained_on": "that the network was trained on",
    "patient_trained_on": "of patients that it was trained on",
    "validation": "of its validation, which chose the epoch",
    "patient_of_validation": "of patients of its validation",
}
# In the order in which they are looked for: what a later one says takes an earlier one's place.
_SPLITS = {
    "validation": ("validation", "patient_of_validation"),
    "train": ("trained_on", "patient_trained_on"),
}


def reasons(
    used: Mapping[str, Sequence[str]],
    digests: Sequence[str],
    persons: Sequence[tuple[str, str]],
    groups: Sequence[str] | np.ndarray,
) -> np.ndarray:
    """Why images can't be used to score a network, if they can't.

    An image is known by its pixels, or by its patient. With it goes its whole group: who shares an
    image with a person, under whatever name, is that person for all that is known.

    Args:
        used: The columns of the run's images_used.csv.
        digests: Of n images: the digest of the pixels in hexadecimal digits.
        persons: Of each, its source and its patient.
        groups: Of each.

    Returns:
        Strings [n], "" of an image that may be used, else a key of `REASONS`.
    """
    result, of_group = np.full(len(digests), "", np.dtypes.StringDType()), np.asarray(groups)
    columns = ("split", "image_sha256", "source", "patient", "image_id")
    rows = list(zip(*(used[name] for name in columns), strict=True))
    for split, (of_image, of_patient) in _SPLITS.items():
        known = {digest for where, digest, *_ in rows if where == split}
        # A patient by the name of an image is none: it names whatever file has that name.
        people = {
            (source, patient)
            for where, _, source, patient, image_id in rows
            if where == split and patient != image_id
        }
        same = np.array([digest in known for digest in digests], bool)
        person = np.array([each in people for each in persons], bool)
        result[np.isin(of_group, of_group[same | person])] = of_patient
        result[same] = of_image
    return result
