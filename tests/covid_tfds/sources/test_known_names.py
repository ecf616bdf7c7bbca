"""File names of public archives tell patients, also in a user's own folder or table."""

import pytest

from covid_tfds.sources import known_names, own
from tests.covid_tfds.made_sources import write_names

NIH = [f"{'ab'[i % 2]}/{i // 3:08d}_{i % 3:03d}.png" for i in range(18)]
KAGGLE = ["a/person1_virus_3.jpeg", "a/person1_virus_4.jpg", "a/person1_bacteria_4.jpeg",
          "b/IM-0115-0001.jpeg", "b/NORMAL2-IM-0115-0001.jpeg", "b/IM-0115-0002.png"]  # fmt: skip
NOTE = "Patients are taken from the file names, which are like those of "


def read(tmp_path, names) -> own.Own:
    write_names(tmp_path, names)
    return own.images(tmp_path)


def test_patients_of_nih_are_the_first_eight_digits(tmp_path):
    found = read(tmp_path, NIH)
    assert {r.name: r.patient for r in found.records} == {n: f"own/{n[2:10]}" for n in NIH}
    assert all(r.patient_known for r in found.records)
    assert found.notes == [f"{NOTE}NIH ChestX-ray14."]
    assert own.patient_note(found.records) == ""


def test_patients_of_kaggle_are_those_of_its_own_reader(tmp_path):
    found = read(tmp_path, KAGGLE)
    patients = ["person1_virus", "person1_virus", "person1_bacteria", "IM-0115", "NORMAL2-IM-0115",
                "IM-0115"]  # fmt: skip
    assert {r.name: r.patient for r in found.records} == {
        name: f"own/{patient}" for name, patient in zip(KAGGLE, patients, strict=True)
    }
    assert found.notes == [f"{NOTE}the Kaggle pneumonia images."]


def test_both_archives_may_be_mixed(tmp_path):
    found = read(tmp_path, [*NIH, *KAGGLE])
    assert found.notes == [f"{NOTE}NIH ChestX-ray14 and the Kaggle pneumonia images."]
    assert len({r.patient for r in found.records}) == 6 + 4


@pytest.mark.parametrize("others,taken", [(1, 18), (2, 9), (3, 9)])
def test_nine_of_ten_names_of_all_or_of_a_class_have_to_be_known(tmp_path, others, taken):
    public = [f"{'ab'[i // 9]}/{i:08d}_000.png" for i in range(18)]
    found = read(tmp_path, [*public, "b/scan.png", *(f"a/scan{i}.png" for i in range(others))])
    assert sum(r.patient_known for r in found.records) == taken
    assert found.notes == [f"{NOTE}NIH ChestX-ray14."]
    assert all(r.patient == r.image_id for r in found.records if not r.patient_known)


def test_a_patient_who_is_known_in_one_class_is_in_the_others(tmp_path):
    found = read(tmp_path, [*NIH, "a/00000099_000.png", *(f"a/scan{i}.png" for i in range(40))])
    assert {r.name for r in found.records if r.patient_known} == set(NIH)
    patients = {r.name: r.patient for r in found.records}
    assert patients["a/00000000_000.png"] == patients["b/00000000_001.png"] == "own/00000000"


def test_public_images_of_one_class_may_lie_beside_others_of_ones_own(tmp_path):
    own_ones = [f"b/case{i}.png" for i in range(40)]
    found = read(tmp_path, [*(name for name in NIH if name.startswith("a/")), *own_ones])
    known = {r.patient for r in found.records if r.patient_known}
    assert known == {f"own/{i:08d}" for i in range(6)}


def test_the_share_is_that_of_the_images_without_a_patient(tmp_path):
    with_folders = [f"{c}/p{i}/{k}.png" for c in "ab" for i in range(12) for k in range(2)]
    found = read(tmp_path, [*NIH, *with_folders])
    patients = {r.name: r.patient for r in found.records}
    assert patients[NIH[4]] == "own/00000001"
    assert patients["a/p3/0.png"] == "own/p3"


@pytest.mark.parametrize("names", [
    [f"{c}/20200{1 + i}31_00{i}.png" for c in "ab" for i in range(9)],
    [f"{c}/{i:07d}_{i:03d}.png" for c in "ab" for i in range(9)],
    [f"{c}/{i:08d}_{i:02d}.png" for c in "ab" for i in range(9)],
    [f"{c}/x{i:08d}_{i:03d}.png" for c in "ab" for i in range(9)],
    [f"{c}/{i:08d}_{i:03d}.dcm" for c in "ab" for i in range(9)],
    [f"{c}/person{i}.jpeg" for c in "ab" for i in range(9)],
])  # fmt: skip
def test_other_names_tell_nothing(tmp_path, names):
    found = read(tmp_path, names)
    assert not any(r.patient_known for r in found.records)
    assert not found.notes


def test_a_table_without_patients_has_them_from_the_names(tmp_path):
    rows = "".join(f"{name},{name[0]},\n" for name in NIH)
    (tmp_path / "images.csv").write_text(f"path,label,source\n{rows}")
    found = read(tmp_path, NIH)
    assert found.records[4].patient == "own/00000001"
    assert found.notes == [f"{NOTE}NIH ChestX-ray14."]


def test_a_tables_own_patients_and_source_stay(tmp_path):
    rows = [f"{name},{name[0]},P{i},nih\n" for i, name in enumerate(NIH)]
    rows[4] = f"{NIH[4]},a,,nih\n"
    (tmp_path / "images.csv").write_text(f"path,label,patient,source\n{''.join(rows)}")
    patients = [r.patient for r in read(tmp_path, NIH).records]
    assert (patients[3], patients[4]) == ("nih/P3", "nih/00000001")


def test_no_images_no_patients():
    assert known_names.with_patients([]) == ([], [])
