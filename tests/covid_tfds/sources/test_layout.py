"""What a folder's name says by itself, and what is found in layouts without classes."""

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import layout, own
from tests.covid_tfds.made_sources import reasons, write_names


def read(tmp_path, names) -> own.Own:
    write_names(tmp_path, names)
    return own.images(tmp_path)


CONTAINERS = ["images", "images_001", "images-2", "imgs3", "Images 4", "img(1)", "PNG_224",
              "x-ray 1", "X_rays2", "images_part_2", "png 512x512", "DICOM1"]  # fmt: skip


@pytest.mark.parametrize("folder", CONTAINERS)
def test_containers_may_be_numbered(tmp_path, folder):
    found = read(tmp_path, [f"{folder}/a/1.png", f"{folder}/b/2.png", f"b/{folder}/3.png"])
    assert found.class_names == ("a", "b")
    assert not any(record.patient_known for record in found.records)


@pytest.mark.parametrize("folder", ["imaging_1", "x", "stage_2", "part_1", "image of a rib", "2"])
def test_other_names_are_classes(tmp_path, folder):
    found = read(tmp_path, [f"{folder}/1.png", "b/2.png"])
    assert set(found.class_names) == {folder, "b"}


@pytest.mark.parametrize("folder,split", [
    ("train_images", "train"), ("images-test", "test"), ("dicom-images-train", "train"),
    ("stage_2_train_images", "train"), ("Val Images 1", "validation"), ("test_1", ""),
    ("train_val_images", ""),
])  # fmt: skip
def test_a_container_may_name_a_split(folder, split):
    assert layout.Layout().place(f"{folder}/a/1.png").split == split


WITHOUT_CLASSES = {
    "NIH": [f"images_{k:03d}/images/0000000{k}_000.png" for k in range(1, 9)],
    "RSNA": ["stage_2_train_images/a.dcm", "stage_2_test_images/b.dcm"],
    "MIMIC": [f"files/p1{k}/p1{k}0000{i}/s5041/x.dcm" for k in range(3) for i in range(3)],
}


@pytest.mark.parametrize("kind", WITHOUT_CLASSES)
def test_layouts_without_classes_are_not_recognized(tmp_path, kind):
    with pytest.raises(DatasetError, match=r"(?s)no images of your own .*called images\.csv"):
        read(tmp_path, [*WITHOUT_CLASSES[kind], "Data_Entry_2017.csv"])


MASKED = ["annotations/json/x.json", "annotations/json/deep/er/x.png", "Masks/c/d/1.png",
          "lungVAE-masks/c/1.png", "train_masks/c/1.png", "mask images/c/1.png",
          "b/annotations/json/x.json"]  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
def test_what_lies_below_a_masks_folder_names_no_class(tmp_path, name):
    found = read(tmp_path, ["a/1.png", "b/2.png", name])
    assert found.class_names == ("a", "b")
    assert reasons(found.exclusions) == {f"own/{name}": "a mask, not an image"}


def test_an_empty_folder_below_a_masks_folder_names_no_class(tmp_path):
    (tmp_path / "masks/c").mkdir(parents=True)
    found = read(tmp_path, ["a/1.png", "b/2.png"])
    assert reasons(found.exclusions) == {"own/masks/c/": "empty folder"}


def test_a_class_that_has_masks_only_is_lost(tmp_path):
    with pytest.raises(
        DatasetError, match=r"1 class folder yields(.|\n)*  c: c/masks/3\.png \(a m"
    ):
        read(tmp_path, ["a/images/1.png", "b/images/2.png", "c/masks/3.png"])


def test_two_lost_classes_yield_nothing(tmp_path):
    with pytest.raises(DatasetError, match="2 class folders yield no image"):
        read(tmp_path, ["a/1.png", "b/2.png", "c/x.txt", "d/x.txt"])


def test_a_long_list_of_lost_classes_ends(tmp_path):
    with pytest.raises(DatasetError, match=r"30 class folders(.|\n)*\n  and 20 more\nMend these"):
        read(tmp_path, ["a/1.png", "b/2.png", *(f"c{i}/x.txt" for i in range(30))])


@pytest.mark.parametrize("table", ["labels.csv", "Labels.TSV", "train.xlsx", "images/x.csv",
                                   "my/data.csv", "my/data/labels.csv", "my/data/train/l.csv",
                                   "docs/labels.csv"])  # fmt: skip
def test_a_table_that_is_not_read_is_noted(tmp_path, table):
    found = read(tmp_path, [f"my/data/train/{c}/1.png" for c in "ab"] + [table])
    assert f"{table} is there and is not read; a table must be called images.csv." in found.notes


def test_tables_in_a_class_or_beside_masks_are_not(tmp_path):
    found = read(tmp_path, ["a/1.png", "b/2.png", "a/notes.csv", "annotations/x.csv", "x.txt"])
    assert not found.notes


def test_many_tables_are_one_note(tmp_path):
    found = read(tmp_path, ["a/1.png", "b/2.png", *(f"t{i:02d}.csv" for i in range(12))])
    (note,) = found.notes
    assert note.startswith("t00.csv, t01.csv, ")
    assert note.endswith(
        "t09.csv and 2 more are there and are not read; a table must be called images.csv."
    )


def test_one_class_only_is_noted(tmp_path):
    found = read(tmp_path, ["NORMAL/1.png", "Healthy/2.png"])
    assert found.notes == ["There is one class only, healthy: a classifier needs two."]


def test_a_class_that_is_a_link_to_another_one_is_no_class(tmp_path):
    write_names(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "latest").symlink_to("a")
    found = own.images(tmp_path)
    assert found.class_names == ("a", "b")
    assert reasons(found.exclusions) == {"own/latest/": "a link to a folder that is here itself"}


@pytest.mark.parametrize("link", ["healthy", "fracture/p1"])
def test_a_class_made_of_links_is_not_lost_in_silence(tmp_path, link):
    """The images would be read as those of the class `store`."""
    write_names(tmp_path, ["store/p1/1.png", "b/2.png"])
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "store/p1")
    with pytest.raises(
        DatasetError, match=f"1 class folder yields(.|\n)*{link}/ .a link to a fold"
    ):
        own.images(tmp_path)


def test_the_data_of_pydicom_are_read_once(tmp_path):
    write_names(tmp_path, ["data_store/data/a/1.dcm", "data_store/data/b/2.dcm"])
    (tmp_path / "data").symlink_to("data_store/data")
    found = own.images(tmp_path)
    assert found.class_names == ("a", "b")
    assert reasons(found.exclusions) == {"own/data/": "a link to a folder that is here itself"}
