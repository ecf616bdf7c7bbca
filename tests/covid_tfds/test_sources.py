"""Each source -> Film records, everything left out with its reason; folder and zip alike."""

import csv
import pathlib
import zipfile

import numpy as np
import pytest

from covid_tfds import cohen, kaggle, own_films, storage
from covid_tfds.errors import DatasetError
from tests.covid_tfds import sources
from tests.covid_tfds.pictures import encoded, film


def reasons(exclusions) -> dict[str, str]:
    return {exclusion.file: exclusion.reason for exclusion in exclusions}


def zipped(root: pathlib.Path, folder: str, path: pathlib.Path, prefix: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((root / folder).rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(root).as_posix())


def test_kaggle_names_give_label_patient_and_split(tmp_path):
    sources.write_kaggle(tmp_path, sources.KAGGLE)
    films, left_out = kaggle.films(kaggle.find(tmp_path))
    found = {f.film_id: (f.label, f.patient, f.original_split) for f in films}
    assert not left_out
    assert found["kaggle/train/IM-0001-0001"] == ("healthy", "kaggle/IM-0001", "train")
    assert found["kaggle/train/NORMAL2-IM-0001-0001"][1] == "kaggle/NORMAL2-IM-0001"
    assert found["kaggle/train/person1_bacteria_1"][:2] == ("bacterial", "kaggle/person1_bacteria")
    assert found["kaggle/train/person1_virus_3"][:2] == ("viral", "kaggle/person1_virus")
    assert found["kaggle/test/person2_virus_5"][2] == "test"


def test_kaggle_leaves_out_what_it_does_not_understand(tmp_path):
    strange = {
        "train/NORMAL/.DS_Store": "system file",
        "train/NORMAL/._IM-0001-0001.jpeg": "system file",
        "train/NORMAL/scan.jpeg": "file name not understood",
        "train/NORMAL/person9_virus_1.jpeg": "file name contradicts its folder",
        "chest_xray/train/NORMAL/IM-0001-0001.jpeg": "outside train, val and test",
        "readme.txt": "outside train, val and test",
    }
    sources.write_kaggle(tmp_path, [*sources.KAGGLE, *strange])
    films, left_out = kaggle.films(kaggle.find(tmp_path))
    assert reasons(left_out) == {f"kaggle/{name}": reason for name, reason in strange.items()}
    assert len(films) == len(sources.KAGGLE)


def test_half_of_kaggle_is_listed_path_by_path(tmp_path):
    sources.write_kaggle(tmp_path, ["train/NORMAL/IM-0001-0001.jpeg"])
    with pytest.raises(DatasetError) as refused:
        kaggle.films(kaggle.find(tmp_path))
    for folder in ("train/PNEUMONIA", "test/NORMAL", "test/PNEUMONIA"):
        assert f"chest_xray/{folder}\n" in str(refused.value)
    assert "chest_xray/train/NORMAL\n" not in str(refused.value)


@pytest.mark.parametrize("name,prefix", [("archive.zip", ""), ("chest_xray.zip", "outer/")])
def test_a_zip_gives_what_its_folder_gives(tmp_path, name, prefix):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    sources.write_kaggle(plain, sources.KAGGLE)
    packed.mkdir()
    zipped(plain, "chest_xray", packed / name, prefix)
    folder, archive = kaggle.find(plain), kaggle.find(packed)
    assert kaggle.films(folder)[0] == kaggle.films(archive)[0]
    assert all(folder.read(n) == archive.read(n) for n in folder.names)


def test_no_member_of_a_zip_escapes(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name in sources.KAGGLE:
            archive.writestr(f"chest_xray/{name}", encoded(film()))
        archive.writestr("chest_xray/train/NORMAL/../../../../IM-0009-0001.jpeg", b"x")
    films, left_out = kaggle.films(kaggle.find(tmp_path))
    assert [e.reason for e in left_out] == ["path leaves the archive"]
    assert len(films) == len(sources.KAGGLE)


def test_the_outer_copy_in_kaggles_archive_is_taken(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for root in ("__MACOSX/chest_xray/", "chest_xray/chest_xray/", "chest_xray/"):
            for name in sources.KAGGLE:
                archive.writestr(root + name, encoded(film()))
    films, left_out = kaggle.films(kaggle.find(tmp_path))
    assert len(films) == len(sources.KAGGLE)
    assert {e.reason for e in left_out} == {"outside train, val and test"}


def test_a_damaged_zip_is_named(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"PK\3\4 broken")
    with pytest.raises(DatasetError, match=r"archive\.zip is no readable zip"):
        kaggle.find(tmp_path)


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
            cohen.label_of(finding)
        return
    label, reason = cohen.label_of(finding)
    assert label == wanted
    assert bool(reason) == (wanted is None)


def test_cohen_rows_are_kept_or_left_out_with_a_reason(tmp_path):
    rows = [
        sources.row("a.png", "1", view="ap supine", sex="F", age="41", url="https://a"),
        sources.row("b.png", "313a", finding="Klebsiella", license=""),
        sources.row("c.png", "3", modality="CT", view="Axial"),
        sources.row("d.png", "4", view="L"),
        sources.row("e.png", "5", view=""),
        sources.row("f.png", "6", finding="todo"),
        sources.row("same.png", "285"),
        sources.row("same.png", "339"),
    ]
    sources.write_cohen(tmp_path, [*rows, sources.row("gone.png", "7")])
    folder = tmp_path / "covid-chestxray-dataset"
    (folder / "images" / "gone.png").unlink()
    (folder / "images" / "extra.png").write_bytes(encoded(film()))
    films, left_out = cohen.films(cohen.find(tmp_path))
    found = {f.name: f for f in films}
    assert set(found) == {"images/a.png", "images/b.png", "images/same.png"}
    a, b = found["images/a.png"], found["images/b.png"]
    assert (a.label, a.view, a.sex, a.age, a.credit) == (
        "covid19",
        "AP Supine",
        "F",
        41,
        "https://a",
    )
    assert (b.label, b.patient, b.licence) == ("bacterial", "cohen/313a", "not stated")
    assert found["images/same.png"].also == ("cohen/339",)
    assert reasons(left_out) == {
        "cohen/c.png": "CT, not an X-ray",
        "cohen/d.png": "not a frontal view",
        "cohen/e.png": "view unknown",
        "cohen/f.png": "finding still to be done upstream",
        "cohen/gone.png": "row without a file",
        "cohen/images/extra.png": "file without a row",
    }


def test_an_early_header_is_understood(tmp_path):
    """Before 2020-03-17: other spellings, blanks, no modality, no folder, an unnamed column."""
    sources.write_cohen(tmp_path, [sources.row("a.png", "1"), sources.row("b.png", "2")])
    table = tmp_path / "covid-chestxray-dataset" / "metadata.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Patientid", "finding", "view", " filename", " url", "clinical notes", ""])
        writer.writerow(["1", "COVID-19", "PA", "a.png", "https://a", "two\nlines", ""])
        writer.writerow(["2", "COVID-19", "CT", "b.png"])
    films, left_out = cohen.films(cohen.find(tmp_path))
    assert [(f.name, f.credit) for f in films] == [("images/a.png", "https://a")]
    assert np.isnan(films[0].age)
    assert reasons(left_out) == {"cohen/b.png": "CT, not an X-ray"}


def test_a_header_that_lacks_a_column_is_refused_by_name(tmp_path):
    sources.write_cohen(tmp_path, [sources.row("a.png", "1")])
    (tmp_path / "covid-chestxray-dataset" / "metadata.csv").write_text("patientid,view\n1,PA\n")
    with pytest.raises(DatasetError, match="has no column finding, filename"):
        cohen.films(cohen.find(tmp_path))


def test_unknown_findings_are_listed(tmp_path):
    sources.write_cohen(tmp_path, [sources.row("a.png", "1", finding="Fracture")])
    with pytest.raises(DatasetError, match=r"\['Fracture'\]"):
        cohen.films(cohen.find(tmp_path))


def test_one_file_with_two_labels_is_refused(tmp_path):
    rows = [sources.row("a.png", "1"), sources.row("a.png", "2", finding="SARS")]
    sources.write_cohen(tmp_path, rows)
    with pytest.raises(DatasetError, match="as covid19 and as viral"):
        cohen.films(cohen.find(tmp_path))


def test_own_films_by_folder(tmp_path):
    for name in ("NORMAL/a.png", "covid-19/b.JPG", "Bacterial/c.jpeg"):
        sources.write(tmp_path / name, encoded(film()))
    sources.write(tmp_path / "NORMAL/notes.txt", b"hello")
    _, films, left_out = own_films.films(tmp_path)
    labels = {f.name: f.label for f in films}
    assert labels == {"NORMAL/a.png": "healthy", "covid-19/b.JPG": "covid19",
                      "Bacterial/c.jpeg": "bacterial"}  # fmt: skip
    assert reasons(left_out) == {"own/NORMAL/notes.txt": "not CLASS/*.png, *.jpg or *.jpeg"}


def test_own_films_by_table(tmp_path):
    sources.write(tmp_path / "x/1.png", encoded(film()))
    sources.write(tmp_path / "x/2.png", encoded(film(1)))
    (tmp_path / "films.csv").write_text(
        "Path,Label,Patient,Split\nx/1.png,virus,anna,train\nx/2.png,covid,ben,test\n"
    )
    _, films, _ = own_films.films(tmp_path)
    got = [(f.label, f.patient, f.original_split) for f in films]
    assert got == [("viral", "own/anna", "train"), ("covid19", "own/ben", "test")]


BAD_TABLES = {
    "path,finding\na.png,viral\n": "not path and label",
    "path,label\na.png,fracture\n": "line 2: label 'fracture' is none of",
    "path,label\ngone.png,viral\n": "line 2: there is no file 'gone.png'",
    "path,label\n../a.png,viral\n": r"there is no file '\.\./a.png'",
    "path,label\na.png,viral\na.png,viral\n": "line 3: 'a.png' is listed twice",
    "path,label,split\na.png,viral,dev\n": "line 2: split 'dev' is none of",
    "path,label,split\na.png,viral,test\nb.png,viral,\n": "give it to all or to none",
    "path,label\n": "holds no films of your own",
}


@pytest.mark.parametrize("table", BAD_TABLES)
def test_a_bad_table_is_refused_line_by_line(tmp_path, table):
    for seed, name in enumerate(("a.png", "b.png")):
        sources.write(tmp_path / name, encoded(film(seed)))
    (tmp_path / "films.csv").write_text(table)
    with pytest.raises(DatasetError, match=BAD_TABLES[table]):
        own_films.films(tmp_path)


def test_own_folders_that_name_no_class_are_listed(tmp_path):
    sources.write(tmp_path / "fracture/a.png", encoded(film()))
    with pytest.raises(DatasetError, match="name no class: fracture"):
        own_films.films(tmp_path)


def test_a_storage_reads_names_with_blanks_and_letters_of_any_script(tmp_path):
    name = "Thorax ä 胸部/film 1.png"
    sources.write(tmp_path / name, b"bytes")
    assert storage.folder(tmp_path).read(name) == b"bytes"
