"""Kaggle's files -> records; what is not understood is named, what is missing ends the build."""

import zipfile

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import kaggle
from tests.covid_tfds.made_sources import KAGGLE, reasons, write_names, zipped

SAME = "same split and name as another file, but for case or suffix"


def images(tmp_path, names):
    write_names(tmp_path / "chest_xray", names)
    return kaggle.images(kaggle.find(tmp_path))


def test_names_give_label_patient_and_split(tmp_path):
    records, left_out = images(tmp_path, KAGGLE)
    found = {r.image_id: (r.label, r.patient, r.original_split) for r in records}
    assert not left_out
    assert found["kaggle/train/IM-0001-0001"] == ("healthy", "kaggle/IM-0001", "train")
    assert found["kaggle/train/NORMAL2-IM-0001-0001"][1] == "kaggle/NORMAL2-IM-0001"
    assert found["kaggle/train/person1_bacteria_1"][:2] == ("bacterial", "kaggle/person1_bacteria")
    assert found["kaggle/train/person1_virus_3"][:2] == ("viral", "kaggle/person1_virus")
    assert found["kaggle/test/person2_virus_5"][2] == "test"
    first = records[0]
    assert (first.source, first.projection, first.license) == ("kaggle", "AP", "CC BY 4.0")
    assert first.patient_known


MENDELEY = [
    "train/NORMAL/NORMAL-11419-0001.jpeg", "train/PNEUMONIA/BACTERIA-1008087-0001.jpeg",
    "train/PNEUMONIA/BACTERIA-1008087-0002.jpeg", "train/PNEUMONIA/VIRUS-1008087-0001.jpeg",
    "test/NORMAL/NORMAL-28501-0001.jpeg", "test/PNEUMONIA/BACTERIA-40699-0001.jpeg",
    "test/PNEUMONIA/VIRUS-1437942-0001.jpeg",
]  # fmt: skip


def test_mendeleys_own_names_are_understood(tmp_path):
    records, left_out = images(tmp_path, MENDELEY)
    assert not left_out
    found = {r.image_id: (r.label, r.patient) for r in records}
    assert found["kaggle/train/NORMAL-11419-0001"] == ("healthy", "kaggle/NORMAL-11419")
    assert found["kaggle/train/BACTERIA-1008087-0002"] == ("bacterial", "kaggle/BACTERIA-1008087")
    assert found["kaggle/train/VIRUS-1008087-0001"] == ("viral", "kaggle/VIRUS-1008087")
    assert len(found) == len(MENDELEY)


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".JPEG", ".png", ".PNG"])
def test_suffixes_and_folders_in_any_case(tmp_path, suffix):
    plain, _ = images(tmp_path / "plain", KAGGLE)
    names = [n.replace(".jpeg", suffix) for n in KAGGLE]
    names = [n.replace("train/NORMAL", "Train/Normal").replace("test/", "TEST/") for n in names]
    records, left_out = images(tmp_path / "other", names)
    assert not left_out
    assert {(r.image_id, r.label, r.patient, r.original_split) for r in records} == {
        (r.image_id, r.label, r.patient, r.original_split) for r in plain
    }


def test_what_is_not_understood_is_left_out_with_its_reason(tmp_path):
    strange = {
        "train/NORMAL/.DS_Store": "hidden or system file",
        "train/NORMAL/._IM-0001-0001.jpeg": "hidden or system file",
        "train/NORMAL/scan.jpeg": "file name not understood",
        "train/NORMAL/IM-\u0661-0001.jpeg": "file name not understood",
        "train/NORMAL/person9_virus_1.jpeg": "file name contradicts its folder",
        "train/NORMAL/IM-0001-0001.jpg": SAME,
        "train/PNEUMONIA/person1_virus_3.PNG": None,  # sorts first: the .jpeg is the second one
        "chest_xray/train/NORMAL/IM-0001-0001.jpeg": "outside train, val and test",
        "readme.txt": "outside train, val and test",
    }
    records, left_out = images(tmp_path, [*KAGGLE, *strange])
    wanted = {f"kaggle/{name}": reason for name, reason in strange.items() if reason}
    wanted["kaggle/train/PNEUMONIA/person1_virus_3.jpeg"] = SAME
    assert reasons(left_out) == wanted
    assert len({r.image_id for r in records}) == len(records) == len(KAGGLE)


def test_a_part_of_kaggle_is_listed_folder_by_folder(tmp_path):
    with pytest.raises(DatasetError) as refused:
        images(tmp_path, ["train/NORMAL/IM-0001-0001.jpeg", "train/NORMAL/IM-0002-0001.jpeg"])
    text = str(refused.value)
    assert "3 of the 4 folders of the Kaggle images are missing or empty" in text
    for folder in ("train/PNEUMONIA", "test/NORMAL", "test/PNEUMONIA"):
        assert f"chest_xray/{folder}\n" in text
    assert "chest_xray/train/NORMAL: 2 files" in text


def test_nothing_of_kaggle_says_so(tmp_path):
    with pytest.raises(DatasetError, match=r"4 of the 4 folders(.|\n)*none of its folders"):
        images(tmp_path, ["train/readme.txt"])


LOST = {
    "all names": (
        [n.replace("IM-", "X-") for n in KAGGLE],
        r"No image of any class is found in .*test/NORMAL: 1 of its 1 file names",
    ),
    "one folder": (
        [n.replace("test/PNEUMONIA/person", "test/PNEUMONIA/case") for n in KAGGLE],
        r"No image of bacterial and viral .*test/PNEUMONIA: 2 of its 2 .*case2_bacteria_4\.jpeg",
    ),
    "one class of a folder": (
        [n.replace("person1_virus", "person1_viral") for n in KAGGLE],
        r"No image of viral is found in .*train/PNEUMONIA: 1 of its 3 .*person1_viral_3\.jpeg",
    ),
    "the validation folder": (
        [*KAGGLE, "val/NORMAL/a.jpeg", "val/NORMAL/b.jpeg"],
        r"No image of any class is found in .*val/NORMAL: 2 of its 2 .*a\.jpeg, b\.jpeg",
    ),
    "another class": (
        [*KAGGLE, "train/COVID19/covid_1.jpeg", "test/COVID19/covid_2.jpeg"],
        r"No image of any class is found in .*test/COVID19: 1 of its 1",
    ),
    "another kind of file": (
        [n.replace("jpeg", "dcm") if "train/NORMAL" in n else n for n in KAGGLE],
        r"No image of any class is found in .*train/NORMAL: 3 of its 3 .*IM-0001-0001\.dcm",
    ),
}


@pytest.mark.parametrize("kind", LOST)
def test_a_folder_or_class_that_yields_nothing_ends_the_build(tmp_path, kind):
    names, message = LOST[kind]
    with pytest.raises(DatasetError, match=message):
        images(tmp_path, names)


def test_a_note_beside_the_images_of_a_small_folder_ends_nothing(tmp_path):
    names = [*KAGGLE, "val/PNEUMONIA/person3_bacteria_9.jpeg", "val/PNEUMONIA/readme.txt",
             "test/PNEUMONIA/list.csv"]  # fmt: skip
    records, left_out = images(tmp_path, names)
    assert len(records) == len(KAGGLE) + 1
    assert {e.reason for e in left_out} == {"file name not understood"}


@pytest.mark.parametrize("name,prefix", [("archive.zip", ""), ("chest_xray.zip", "outer/")])
def test_a_zip_gives_what_its_folder_gives(tmp_path, name, prefix):
    folder = images(tmp_path / "plain", [*KAGGLE, "train/NORMAL/.DS_Store"])
    (tmp_path / "packed").mkdir()
    zipped(tmp_path / "plain", "chest_xray", tmp_path / "packed" / name, prefix)
    packed = kaggle.images(kaggle.find(tmp_path / "packed"))
    assert repr(packed) == repr(folder)  # from Python 3.13 on, records of no age equal none


def test_the_outer_copy_in_kaggles_archive_is_taken(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for root in ("__MACOSX/chest_xray/", "chest_xray/chest_xray/", "chest_xray/"):
            for name in KAGGLE:
                archive.writestr(root + name, b"x")
    records, left_out = kaggle.images(kaggle.find(tmp_path))
    assert len(records) == len(left_out) == len(KAGGLE)
    assert {e.reason for e in left_out} == {"outside train, val and test"}
