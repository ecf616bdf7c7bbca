"""Persons by the headers of DICOM files, beside those that folders give."""

import dataclasses

import pytest

from covid_tfds import header_patients
from covid_tfds.first_pass import Readings
from covid_tfds.records import HEADER_KEY, ImageRecord


def read(*patients: tuple[str, str]) -> Readings:
    """Of records by their folder's patient, or "", and the header's."""
    records = []
    for i, (folder, header) in enumerate(patients):
        key = HEADER_KEY + header
        record = ImageRecord(f"own/{i}", "a", "own", f"own/{folder}", f"{i}.dcm", also=(key,))
        alone = dataclasses.replace(record, patient=key, also=())
        records.append(record if folder else alone)
    return Readings(records, None, [], [], [], None)


@pytest.mark.parametrize("folders", [False, True])
def test_an_id_that_most_headers_have_joins_nobody_and_leaves_the_folders_patients(folders):
    given = [(f"p{i}" * folders, "export") for i in range(10)] + [("anna" * folders, "7")]
    readings, notes = header_patients.settled(read(*given))
    *most, last = readings.records
    names = [f"p{i}" if folders else str(i) for i in range(10)]
    assert [record.patient for record in most] == [f"own/{name}" for name in names]
    assert {record.patient_known for record in most} == {folders}
    assert not any(record.also for record in most)
    assert HEADER_KEY + "7" in (last.patient, *last.also)
    assert len(notes) == 1 and notes[0].startswith("10 of 11 DICOM headers have the same")


SHE = {"sex": "F", "age": 61.0}


@pytest.mark.parametrize(
    "folders,stated,one",
    [
        ([""], [SHE], True),
        (["anna"], [SHE], True),
        ([""], [SHE] * 5 + [{**SHE, "age": 71.0}] * 4 + [{}], True),
        (["anna", ""], [SHE], True),
        (["anna", "berta"], [SHE], False),  # whom the user tells apart
        ([""], [{}], False),
        ([""], [SHE] * 4 + [{}], False),
        ([""], [{"sex": "F"}], False),
        ([""], [{"age": 61.0}], False),
        ([""], [SHE, {**SHE, "sex": "M"}], False),
        ([""], [SHE, {**SHE, "age": 72.0}], False),
    ],
)
def test_an_id_that_most_headers_have_is_a_persons_where_sex_and_age_are(folders, stated, one):
    given = [(folders[i % len(folders)], "1") for i in range(10)] + [("carla", "7")]
    readings = read(*given)
    for i, record in enumerate(readings.records):
        readings.records[i] = dataclasses.replace(record, **stated[i % len(stated)])
    settled, notes = header_patients.settled(readings)
    kept = [HEADER_KEY + "1" in (record.patient, *record.also) for record in settled.records]
    assert kept == [one] * 10 + [False]
    assert ("it is taken for one person's, since sex and age agree." in notes[0]) == one


def test_a_patient_of_a_table_who_is_called_like_a_header_key_is_no_header():
    """All images have the patient `dicom-0`, and 20 headers name nobody twice."""
    given = [("dicom-0", str(i)) for i in range(20)]
    readings, notes = header_patients.settled(read(*given))
    assert {record.patient for record in readings.records} == {"own/dicom-0"}
    assert all(record.patient_known and record.also for record in readings.records)
    assert not notes


def test_patients_of_one_header_are_counted_as_one_person():
    readings, notes = header_patients.settled(read(("a", "1"), ("b", "1"), ("c", "2")))
    assert [record.patient for record in readings.records] == ["own/a", "own/b", "own/c"]
    assert notes[0].startswith("2 patients of yours are 1 person by their DICOM headers")
