"""Synthetic chest radiographs, for people without data and for tests.

They are no evidence about patients: whatever is measured on them has to say "synthetic".

In the order of reading:

* `population`: who the patients are, and which of them are control where a shortcut is planted.
* `chest`: a patient's anatomy, and how much of it each X-ray beam passes.
* `radiograph`: the diseases, and how an image is made of the beams.
* `sheet`: a contact sheet, all classes on one image. `python -m covid_tfds.phantom PATH` writes it.

Example:
    >>> from covid_tfds import phantom
    >>> phantom.patient(seed=0, number=1).label
    'covid19'
    >>> phantom.draw(seed=0, number=1, visit=0).shape
    (224, 224)
"""

from covid_tfds.phantom.chest import Pose
from covid_tfds.phantom.population import Patient, control_marker, is_control, patient
from covid_tfds.phantom.radiograph import draw, pose
from covid_tfds.phantom.sheet import contact_sheet

__all__ = [
    "Patient",
    "Pose",
    "contact_sheet",
    "control_marker",
    "draw",
    "is_control",
    "patient",
    "pose",
]
