"""The synthetic patients: class, sex, age, number of images, and who is a control."""

import dataclasses
import hashlib

import numpy as np

from covid_tfds.records import LABELS

_FOLLOW_UP = 0.45  # share of patients with a second image
_CONTROL_EVERY = 10  # patients of a class, of whom one is a control


@dataclasses.dataclass(frozen=True)
class Patient:
    """What all images of a patient share.

    Attributes:
        number: Counted from 0; the label is `LABELS[number % 4]`.
        images: 1, or 2 with a follow-up.
        sex: `M` or `F`.
        age: Years, 18 to 89.
    """

    number: int
    images: int
    sex: str
    age: float

    @property
    def key(self) -> str:
        """E.g. `phantom-000012`."""
        return f"phantom-{self.number:06d}"

    @property
    def label(self) -> str:
        """The class."""
        return LABELS[self.number % len(LABELS)]


def patient(seed: int, number: int) -> Patient:
    """Who patient `number` is, without drawing an image.

    Args:
        seed: Of the whole population, 0 or more.
        number: Of the patient, from 0.
    """
    rng = np.random.default_rng([seed, number, 0])
    images = 1 + int(rng.random() < _FOLLOW_UP)
    sex = "MF"[rng.integers(2)]
    return Patient(number, images, sex, float(rng.integers(18, 90)))


def is_control(who: Patient) -> bool:
    """Whether a patient is a control where a shortcut is planted: one of ten of each class.

    A function of the patient's number alone, as the other splits are: a larger population, or one
    of another seed, has the same controls.
    """
    block, place = divmod(who.number // len(LABELS), _CONTROL_EVERY)
    # One in each ten of a class, not each patient with a chance of a tenth: from 40 patients on
    # every class has its controls.
    digest = hashlib.sha256(f"covid_tfds:control:{who.label}:{block}".encode()).digest()
    return place == int.from_bytes(digest[:8], "big") % _CONTROL_EVERY


def control_marker(who: Patient) -> str:
    """The class whose marker a control bears: another than the patient's own.

    The three others take turns from one control of a class to the next, so that each is borne
    equally often; at any one turn the four classes bear four different markers.
    """
    block = who.number // len(LABELS) // _CONTROL_EVERY
    step = 1 + block % (len(LABELS) - 1)
    return LABELS[(who.number + step) % len(LABELS)]
