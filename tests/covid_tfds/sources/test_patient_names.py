"""One person under several spellings is one; what stands for nobody is no person."""

import pytest

from covid_tfds import groups
from covid_tfds.sources import own, patient_names
from tests.covid_tfds.made_sources import write, write_names


def read(tmp_path, patients, labels="ab", columns="path,label,patient") -> own.Own:
    rows = [f"x/{i}.png,{labels[i % len(labels)]},{p}" for i, p in enumerate(patients)]
    write_names(tmp_path, [f"x/{i}.png" for i in range(len(patients))])
    write(tmp_path / "images.csv", "\n".join([columns, *rows, ""]).encode())
    return own.images(tmp_path)


SAME = [
    ("p1", "P1"), ("p1", "p1\u200b"), ("p1", "\ufeffp1"), ("p1", "p1\u00a0"), ("p 1", "p\u00a01"),
    ("p1", "p\u00ad1"), ("p 1", "p1"), ("1", "1.0"), ("1.0", "1"), ("17", "17.00"),
    ("12", "\uff11\uff12"), ("p1", "\uff301"), ("P-1", "p\u20111"), ("P-1", "P\u20131"),
    ("é", "e\u0301"), ("Straße", "STRASSE"), ("p1", "\u2066p1"),
]  # fmt: skip


@pytest.mark.parametrize("first,second", SAME)
def test_spellings_of_one_patient_are_one_person_with_the_first_name(tmp_path, first, second):
    found = read(tmp_path, [first, second, "other"])
    one, two, other = (record.patient for record in found.records)
    assert one == two != other
    assert patient_names.key(one.removeprefix("own/")) == patient_names.key(first)
    assert one == f"own/{first}"


def test_numbers_beside_an_empty_cell_are_those_of_the_table_before(tmp_path):
    """pandas writes a column of whole numbers with one empty cell as floats."""
    found = read(tmp_path, ["1", "1.0", "10", "10.0", "1.5", "", "01"])
    patients = [record.patient for record in found.records]
    assert patients[:5] == ["own/1", "own/1", "own/10", "own/10", "own/1.5"]
    assert patients[6] == "own/01"
    assert not found.records[5].patient_known


def test_sources_of_one_name_have_the_same_patients(tmp_path):
    rows = ["p1,Clinic", "P1,clinic", "p1,other"]
    found = read(tmp_path, rows, columns="path,label,patient,source")
    assert [r.patient for r in found.records] == ["Clinic/p1", "Clinic/p1", "other/p1"]


@pytest.mark.parametrize("second", ["p1", "P 1"])
def test_a_patient_of_two_sources_is_one_person_and_noted(tmp_path, second):
    rows = ["p1,A", f"{second},B", "p2,B", ",A"]
    found = read(tmp_path, rows, columns="path,label,patient,source")
    one, other, *rest = found.records
    assert one.patient == "A/p1" and other.patient == f"B/{second}"
    assert groups.group(found.records, [], [])[:2] == ["A/p1", "A/p1"]
    assert not any(record.also for record in rest)
    (note,) = [note for note in found.notes if "sources" in note]
    assert note.startswith(f"1 patient name is in several sources ({second!r}): it is taken")


def test_spellings_of_a_source_join_nobody_else(tmp_path):
    rows = ["12,KlinikA", "12,Klinik A", "2,KlinikA", "3,KlinikA"]
    found = read(tmp_path, rows, columns="path,label,patient,source")
    assert [r.patient for r in found.records] == [f"KlinikA/{n}" for n in (12, 12, 2, 3)]
    assert not any(record.also for record in found.records) and not found.notes


def test_patients_of_one_source_each_are_not_joined(tmp_path):
    found = read(tmp_path, ["p1,A", "p1,A", "p2,B"], columns="path,label,patient,source")
    assert not any(record.also for record in found.records)
    assert not any("several sources" in note for note in found.notes)


def test_folders_of_patients_are_compared_alike(tmp_path):
    write_names(tmp_path, ["a/\uff30 1/1.png", "b/p1/2.png", "b/q/3.png", "a/r/4.png"])
    patients = {r.name: r.patient for r in own.images(tmp_path).records}
    assert patients["a/\uff30 1/1.png"] == patients["b/p1/2.png"] == "own/\uff30 1"
    assert len(set(patients.values())) == 3


NOBODY = ["unknown", "Unknown", "NONE", "nan", "N/A", "na", "-", "--", "?", "Anonymous",
          "missing", "#N/A", "(none)", "null", "n / a", "\u2014", ".", "#", "not available",
          "unknown\u200b", "<NA>"]  # fmt: skip


@pytest.mark.parametrize("cell", NOBODY)
def test_placeholders_are_no_patients(tmp_path, cell):
    found = read(tmp_path, [cell, cell, "anna", "bob"])
    assert [r.patient_known for r in found.records] == [False, False, True, True]
    assert len({r.patient for r in found.records}) == 4
    assert own.patient_note(found.records).startswith("2 of 4 images have no patient")
    if cell != "nan":
        assert any("in 2 rows of images.csv: that counts as no patient" in n for n in found.notes)


@pytest.mark.parametrize("cell", ["0", "000", "0.0", "-1"])
@pytest.mark.parametrize("count,known", [(5, True), (6, False)])
def test_zero_is_nobody_where_most_rows_have_it(tmp_path, cell, count, known):
    found = read(tmp_path, [cell] * count + [f"p{i}" for i in range(5)])
    assert found.records[0].patient_known == known


@pytest.mark.parametrize("count,noted", [(6, True), (5, False)])
def test_a_patient_with_most_images_is_pointed_out_and_kept(tmp_path, count, noted):
    found = read(tmp_path, ["clinic"] * count + [f"p{i}" for i in range(5)])
    assert all(record.patient_known for record in found.records)
    assert any(f"Patient own/clinic has {count} of 11" in note for note in found.notes) == noted


@pytest.mark.parametrize("patients", [["a"] * 12, ["a"] * 7 + ["b"] * 2])
def test_one_patient_alone_or_few_images_are_not_pointed_out(tmp_path, patients):
    assert not read(tmp_path, patients).notes


def test_a_short_row_counts_as_one_without_a_patient(tmp_path):
    write_names(tmp_path, [f"x/{i}.png" for i in range(3)])
    (tmp_path / "images.csv").write_text(
        "path,label,patient\nx/0.png,a,p1\nx/1.png,b\nx/2.png,b,p2\n"
    )
    records = own.images(tmp_path).records
    assert [r.patient_known for r in records] == [True, False, True]
    assert own.patient_note(records).startswith("1 of 3 images have no patient")


@pytest.mark.parametrize("labels", [("1", "1.0"), ("TB", "tb\u200b"),
                                    ("no TB", "no\u00a0\u00a0TB"), ("CO2", "CO\u2082"),
                                    ("covid-19", "COVID\u201119")])  # fmt: skip
def test_spellings_of_one_label_are_one_class(tmp_path, labels):
    found = read(tmp_path, ["p", "q", "r"], (*labels, "other"))
    assert len(found.class_names) == 2
    assert found.records[0].label == found.records[1].label
