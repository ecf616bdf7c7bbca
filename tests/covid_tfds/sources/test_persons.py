"""Folders of persons and studies are not taken for classes."""

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import own
from tests.covid_tfds.made_sources import write_names


def read(tmp_path, names) -> own.Own:
    write_names(tmp_path, names)
    return own.images(tmp_path)


UUIDS = [f"{i:08x}-1b2c-4d5e-8f90-a1b2c3d4e5{i:02x}" for i in range(11)]
PERSONS = {
    "MIMIC": [f"files/p10/p100{i:05d}/s504{i:05d}/x.dcm" for i in range(32, 50)],
    "CheXpert": [
        f"CheXpert-v1.0-small/{split}/patient{i:05d}/study{k}/view1_frontal.jpg"
        for split in ("train", "valid") for i in range(12) for k in (1, 2)
    ],
    "SIIM": [f"dicom-images-train/1.2.276.{i}.7.{i}/1.2.3.{i}/x.dcm" for i in range(11)],
    "SIIM, both parts": [
        f"siim/dicom-images-{split}/1.2.276.{i}/1.2.3.{i}.9/x.dcm"
        for split in ("train", "test") for i in range(11)
    ],
    "plain numbers": [f"{i}/{k}.png" for i in range(11) for k in range(5)],
    "persons beside classes": [
        f"{name}/{k}.png" for name in ("healthy", *(f"Case {i}a" for i in range(11)))
        for k in range(9)
    ],
    "case of the letters": [f"{'Pp'[i % 2]}{i}/{k}.png" for i in range(11) for k in range(3)],
    "digests": [f"{i:x}9f{'ab3' * 6}{'cde'[i % 3]}/{k}.png" for i in range(11) for k in range(3)],
    "UUIDs": [f"{uuid}/{k}.png" for uuid in UUIDS for k in range(3)],
}  # fmt: skip


@pytest.mark.parametrize("kind", PERSONS)
def test_names_that_differ_in_digits_only_are_persons(tmp_path, kind):
    with pytest.raises(DatasetError, match=r"names differ in digits only \(.*CLASS/.*images\.csv"):
        read(tmp_path, PERSONS[kind])


NAMES = ["anna", "bob", "carl", "dora", "emil", "fritz", "gerd", "heinz", "ida", "jan", "kurt"]


@pytest.mark.parametrize("other", [[], [f"healthy/{i}.png" for i in range(99)]])
def test_many_folders_of_few_images_are_persons(tmp_path, other):
    names = [f"{name}/{k}.png" for name in NAMES for k in range(2)]
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, [*names, *other])
    assert str(refused.value) == (
        "11 class folders look like those of persons or studies, not of classes: they hold fewer "
        "than 3 images each on average (anna, bob, carl, dora, emil, fritz, gerd, heinz, ida, jan "
        "and 1 more). Put them below a folder a class (CLASS/anna/...), or give an images.csv that "
        "names the class of each image."
    )


CLASSES = {
    "eleven classes of three": ([f"{name}/{k}.png" for name in NAMES for k in range(3)], 11),
    "ten of one image": ([f"{name}/1.png" for name in NAMES[:10]], 10),
    "grades": ([f"{i}/{k}.png" for i in range(5) for k in range(2)], 5),
    "named grades": ([f"grade_{i}/{k}.png" for i in range(1, 6) for k in range(2)], 5),
    "ten grades": ([f"train/{i}/1.png" for i in range(10)], 10),
    "persons below classes": (
        [f"{'ab'[i % 2]}/p{i}/{k}.png" for i in range(40) for k in (1, 2)],
        2,
    ),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_stay_classes(tmp_path, kind):
    names, count = CLASSES[kind]
    assert len(read(tmp_path, names).class_names) == count


def test_tables_are_not_concerned(tmp_path):
    names = PERSONS["plain numbers"]
    rows = "".join(f"{name},{name.split('/')[0]}\n" for name in names)
    (tmp_path / "images.csv").write_text(f"path,label\n{rows}")
    assert len(read(tmp_path, names).class_names) == 11
