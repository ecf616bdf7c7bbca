"""Cohen's rows -> records, every other row and file with its reason."""

import csv
import os
import zipfile

import numpy as np
import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import cohen, findings
from tests.covid_tfds.made_sources import HEADER, reasons, row, write_names

LABELS = {
    "COVID-19": "covid19", " covid-19 , ARDS": "covid19", "COVID-19, ARDS": "covid19",
    "SARS": "viral", "SARSr-CoV-2": KeyError, "Varicella": "viral", "Influenza": "viral",
    "Streptococcus": "bacterial", "E.Coli": "bacterial", "Bacterial": "bacterial",
    "Mycoplasma Bacterial Pneumonia": "bacterial", "Chlamydophila": "bacterial",
    "ARDS": None, "Pneumonia": None, "Pneumocystis": None, "Lipoid": None, "todo": None, "": None,
    "No Finding": None, "Unknown": None, "Tuberculosis": None,
    "Pneumonia/Viral/COVID-19": "covid19", "Pneumonia/Viral/Herpes ": "viral",
    "Pneumonia/Viral/Influenza/H1N1": "viral", "Pneumonia/Bacterial/Klebsiella": "bacterial",
    "Pneumonia/Bacterial/Staphylococcus/MRSA": "bacterial", "Pneumonia/Fungal/Pneumocystis": None,
    "Pneumonia/Viral": None, "Pneumonia/Aspiration": None, "Pneumonia/Viral/Novel": KeyError,
    "Fracture": KeyError,
}  # fmt: skip


@pytest.mark.parametrize("finding", LABELS)
def test_findings_of_every_era(finding):
    wanted = LABELS[finding]
    if wanted is KeyError:
        with pytest.raises(KeyError):
            findings.label_of(finding)
        return
    label, reason = findings.label_of(finding)
    assert label == wanted
    assert bool(reason) == (wanted is None)


def table(tmp_path, rows, files=None):
    """Writes metadata.csv from dictionaries, and the files that it names, or others."""
    folder = tmp_path / "covid-chestxray-dataset"
    names = [f"images/{r['filename']}" for r in rows] if files is None else files
    write_names(folder, ["metadata.csv", *names])
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def images(tmp_path):
    return cohen.images(cohen.find(tmp_path))


def test_rows_are_kept_or_left_out_with_a_reason(tmp_path):
    rows = [
        row("a.png", "1", view="ap supine", sex="F", age="41", url="https://a"),
        row("b.png", "313a", finding="Klebsiella", license="", age="NaN", sex="nan"),
        row("c.png", "3", modality="CT", view="Axial"),
        row("d.png", "4", view="L"),
        row("e.png", "5", view=""),
        row("f.png", "6", finding="todo"),
        row("same.png", "285"),
        row("same.png", "339"),
        row("gone.png", "7"),
        row("nobody.png", ""),
        row("a.png", "99", finding="todo"),
        row("", "8"),
        row("FAFA-A1BF-49A8-A1D3-66FAFA41B7345D.jpg", "9"),
    ]
    folder = table(tmp_path, [each for each in rows if each["filename"]])
    table(tmp_path, rows, ["images/extra.png", "README.md", ".git/HEAD", "images/.DS_Store"])
    (folder / "images/gone.png").unlink()
    records, left_out = images(tmp_path)
    found = {r.name: r for r in records}
    assert set(found) == {f"images/{n}.png" for n in ("a", "b", "same", "nobody")}
    a, b = found["images/a.png"], found["images/b.png"]
    got = (a.label, a.projection, a.sex, a.age, a.credit)
    assert got == ("covid19", "AP Supine", "F", 41, "https://a")
    assert (b.label, b.patient, b.license, b.sex) == ("bacterial", "cohen/313a", "not stated", "")
    assert np.isnan(b.age)
    assert found["images/same.png"].also == ("cohen/339",)
    assert a.also == ("cohen/99",)  # by a row that is left out
    assert b.also == ()
    nobody = found["images/nobody.png"]
    assert (nobody.patient, nobody.patient_known) == ("cohen/nobody.png", False)
    assert reasons(left_out) == {
        "cohen/a.png": "finding still to be done upstream",
        "cohen/c.png": "CT, not an X-ray",
        "cohen/d.png": "not a frontal view",
        "cohen/e.png": "view unknown",
        "cohen/f.png": "finding still to be done upstream",
        "cohen/gone.png": "row without a file",
        "cohen/line 13 of metadata.csv": "row without a file name",
        "cohen/FAFA-A1BF-49A8-A1D3-66FAFA41B7345D.jpg": "not an X-ray: a warning picture",
        "cohen/images/extra.png": "file without a row",
        "cohen/images/.DS_Store": "hidden or system file",
    }


def test_files_of_one_name_in_two_folders_are_two_images(tmp_path):
    rows = [row("a.png", "1"), row("a.png", "2", folder="extra"), row("b.png", "3", folder="")]
    table(tmp_path, rows, ["extra/a.png", "images/a.png", "images/b.png"])
    records, _ = images(tmp_path)
    assert [(r.image_id, r.name, r.patient) for r in records] == [
        ("cohen/a.png", "images/a.png", "cohen/1"),
        ("cohen/extra/a.png", "extra/a.png", "cohen/2"),
        ("cohen/b.png", "images/b.png", "cohen/3"),
    ]


def test_a_row_whose_file_cant_be_used_has_that_reason_once(tmp_path):
    folder = table(tmp_path, [row("a.png", "1"), row("b.png", "2")])
    (folder / "images/a.png").unlink()
    (folder / "images/a.png").symlink_to(tmp_path / "nowhere")
    (folder / "images/c.png").symlink_to(tmp_path / "nowhere")
    records, left_out = images(tmp_path)
    assert [r.name for r in records] == ["images/b.png"]
    assert [(e.file, e.reason) for e in left_out] == [
        ("cohen/a.png", "broken link"), ("cohen/images/c.png", "broken link")
    ]  # fmt: skip


def test_an_early_header_is_understood(tmp_path):
    """Before 2020-03-17: other spellings, blanks, no modality, no folder, an unnamed column."""
    folder = table(tmp_path, [row("a.png", "1"), row("b.png", "2")])
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Patientid", "finding", "view", " filename", " url", "clinical notes", ""])
        writer.writerow(["1", "COVID-19", "PA", "a.png", "https://a", "two\nlines", ""])
        writer.writerow(["2", "COVID-19", "CT", "b.png"])
    records, left_out = images(tmp_path)
    assert [(r.name, r.credit) for r in records] == [("images/a.png", "https://a")]
    assert np.isnan(records[0].age)
    assert reasons(left_out) == {"cohen/b.png": "CT, not an X-ray"}


def test_rows_of_a_wrong_length_are_left_out(tmp_path):
    folder = table(tmp_path, [row("a.png", "1")])
    with open(folder / "metadata.csv", "a", encoding="utf-8") as file:
        file.write("p2,,M\np3,,M,60,COVID-19,PA,X-ray,images,a.png,,,CC BY,too,many\n,,,\n")
    records, left_out = images(tmp_path)
    assert len(records) == 1
    assert reasons(left_out) == {
        "cohen/line 3 of metadata.csv": "row with too few columns",
        "cohen/a.png": "row with too many columns",
    }


def test_a_header_without_a_column_that_is_needed_is_refused_by_name(tmp_path):
    folder = table(tmp_path, [row("a.png", "1")])
    (folder / "metadata.csv").write_text("patientid,view\n1,PA\n")
    with pytest.raises(DatasetError, match=r"metadata\.csv of .* has no column filename, finding"):
        images(tmp_path)


def test_a_table_that_is_a_page_is_refused(tmp_path):
    folder = table(tmp_path, [row("a.png", "1")])
    (folder / "metadata.csv").write_text("<!DOCTYPE html>\n<html>\n")
    with pytest.raises(DatasetError, match="has no column filename"):
        images(tmp_path)


@pytest.mark.parametrize("last", ['"see url', '"see url", 2', '"x"y'])
@pytest.mark.parametrize("closed", [False, True])
def test_a_stray_quote_is_named_by_its_line(tmp_path, last, closed):
    folder = table(tmp_path, [row(f"c{i}.png", f"p{i}") for i in range(30)])
    lines = (folder / "metadata.csv").read_text().splitlines()
    lines[5] = lines[5].replace("CC BY 4.0", last)
    if closed:
        lines[9] = lines[9].replace("CC BY 4.0", 'CC BY"')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    if last == '"see url", 2':
        _, left_out = images(tmp_path)
        assert reasons(left_out)["cohen/c4.png"] == "row with too many columns"
        return
    with pytest.raises(DatasetError, match=r'quote \("\) in line 6 '):
        images(tmp_path)


def test_a_very_long_field_is_read_and_cut(tmp_path):
    long = "x" * 200_000
    rows = [row("a.png", long, doi=long, license=long), row("b.png", "2", license="y" * 200)]
    table(tmp_path, rows)
    a, b = images(tmp_path)[0]
    assert a.license == a.credit == a.patient.removeprefix("cohen/") == "x" * 197 + "..."
    assert b.license == "y" * 200


def test_line_breaks_and_control_characters_of_a_cell_are_shown(tmp_path):
    table(tmp_path, [row("a.png", "1\x1b[2J", license="CC\nBY", url="https://a\x85b")])
    (record,), _ = images(tmp_path)
    assert record.patient == "cohen/1\\x1b[2J"
    assert (record.license, record.credit) == ("CC\\nBY", "https://a\\x85b")


@pytest.mark.parametrize("modality,reason", [
    ("XR", "modality XR, not an X-ray"), ("MRI", "modality MRI, not an X-ray"),
    ("ct", "CT, not an X-ray"), ("CT", "CT, not an X-ray"),
    ("x" * 500, f"modality {'x' * 37}..., not an X-ray"),
])  # fmt: skip
def test_other_modalities_are_named(tmp_path, modality, reason):
    table(tmp_path, [row("a.png", "1", modality=modality), row("b.png", "2")])
    assert reasons(images(tmp_path)[1]) == {"cohen/a.png": reason}


@pytest.mark.parametrize("result", ["N", "no", "False"])
def test_a_negative_test_is_no_case_of_covid(tmp_path, result):
    folder = table(tmp_path, [row(f"{name}.png", name) for name in "abc"])
    header = "patientid,finding,view,filename,RT_PCR_positive\n"
    tested = [f"1,COVID-19,PA,a.png,{result}", "2,COVID-19,PA,b.png,Y", "3,COVID-19,PA,c.png,"]
    (folder / "metadata.csv").write_text(header + "\n".join(tested))
    records, left_out = images(tmp_path)
    assert [r.name for r in records] == ["images/b.png", "images/c.png"]
    assert reasons(left_out) == {"cohen/a.png": "COVID test negative"}


def test_a_table_that_cant_be_read_says_how_to_mend_it(tmp_path):
    path = table(tmp_path, [row("a.png", "1")]) / "metadata.csv"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(DatasetError, match=r"pointer of git-lfs.*`git lfs pull`"):
        images(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / ".git/annex/objects/x")
    with pytest.raises(DatasetError, match=r"metadata\.csv of .* broken link.*git annex get"):
        images(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DatasetError, match=r"metadata\.csv of .*: not a regular file\. Put"):
        images(tmp_path)


def test_unknown_findings_are_listed(tmp_path):
    table(tmp_path, [row("a.png", "1", finding="Fracture")])
    with pytest.raises(DatasetError, match=r"in no vocabulary: 'Fracture'\. Add"):
        images(tmp_path)


def test_one_file_with_two_labels_is_refused(tmp_path):
    table(tmp_path, [row("a.png", "1"), row("a.png", "2", finding="SARS")])
    with pytest.raises(DatasetError, match="as covid19 and as viral"):
        images(tmp_path)


def test_a_zip_whose_table_is_damaged_is_a_sentence(tmp_path):
    path = tmp_path / "covid-chestxray-dataset-master.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("covid-chestxray-dataset-master/metadata.csv", b"x" * 500)
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="can't be read: damaged in the zip"):
        images(tmp_path)


def test_a_folder_without_the_table_is_a_sentence(tmp_path):
    write_names(tmp_path / "covid-chestxray-dataset", ["images/a.png"])
    with pytest.raises(DatasetError, match=r"holds no metadata\.csv"):
        images(tmp_path)
