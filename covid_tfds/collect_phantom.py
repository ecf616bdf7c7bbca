"""Synthetic images with a group and a split."""

from covid_tfds import phantom, reading, splits
from covid_tfds.collection import Collection
from covid_tfds.first_pass import read_all
from covid_tfds.records import LABELS, ImageRecord
from covid_tfds.spool import Spool


def collect_phantom(
    title: str, spool: Spool, *, seed: int, patients: int, shortcut: bool
) -> Collection:
    """Synthetic images.

    Args:
        title: Names the build in its report.
        spool: Takes the pixels.
        seed: Of the population.
        patients: How many.
        shortcut: Whether a corner marker goes with the class; then the patients of `control` have
            the marker of another class.
    """
    population = [phantom.patient(seed, number) for number in range(patients)]
    records = [_drawn(who, visit) for who in population for visit in range(who.images)]

    def marker(who: phantom.Patient) -> str | None:
        if not shortcut:
            return None
        return phantom.control_marker(who) if phantom.is_control(who) else who.label

    def draw(record: ImageRecord) -> tuple[bytes, reading.DecodedImage]:
        number, visit = map(int, record.name.split("/"))
        pixels = phantom.draw(seed, number, visit, marker=marker(population[number]))
        height, width = pixels.shape
        return pixels.tobytes(), reading.DecodedImage(pixels, width, height, "L", "")

    readings = read_all(records, draw, spool)
    held_out = {who.key for who in population if shortcut and phantom.is_control(who)}
    names = [record.patient for record in records]
    placed = [
        "control" if name in held_out else splits.hashed_split(name, test_share=splits.TEST_SHARE)
        for name in names
    ]
    splits.require_disjoint(readings.records, names, placed)
    notes = ["These images are synthetic: nothing measured on them says anything of patients."]
    if shortcut:
        notes.append(
            "A corner marker goes with the class: a planted shortcut. In control it is that of "
            "another class."
        )
    return Collection(title, LABELS, [], readings, names, placed, [], notes)


def _drawn(who: phantom.Patient, visit: int) -> ImageRecord:
    return ImageRecord(
        image_id=f"{who.key}-{visit + 1}",
        label=who.label,
        source="phantom",
        patient=who.key,
        name=f"{who.number}/{visit}",
        projection="PA",
        sex=who.sex,
        age=who.age,
        license="synthetic",
    )
