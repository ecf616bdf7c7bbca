"""Layouts whose second folder may be the class: refused, with both readings."""

import re

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import own
from tests.covid_tfds.made_sources import write_names


def read(tmp_path, names) -> own.Own:
    write_names(tmp_path, names)
    return own.images(tmp_path)


def grid(tops, names, count=3) -> list[str]:
    return [f"{top}/{name}/{i}.png" for top in tops for name in names for i in range(count)]


NAMES = ["anna", "bob", "carl", "dora", "emil", "fritz", "gerd", "heinz", "ida", "jan", "kurt"]
REFUSED = {
    "a document beside the data": [*grid(["data"], ["TB", "ok"], 20), "docs/overview.png"],
    "a figure beside the data": [*grid(["data"], ["TB", "ok"], 20), "docs/figs/overview.png"],
    "sites": grid(["siteA", "siteB"], ["TB", "sound"]),
    "folds": grid([f"fold{i}" for i in range(1, 6)], ["TB", "no TB"]),
    "folds with splits": grid(["fold1/train", "fold1/test", "fold2/train"], ["TB", "no TB"]),
    "sites that write names in their own way": [
        *grid(["siteA"], ["TB", "no TB"]), *grid(["siteB"], ["tb", "No  TB "])
    ],
    "persons": [*grid(["anna", "carl"], ["TB", "ok"]), *grid(["bob"], ["TB"])],
    "persons of one class each": [
        f"{name}/{('TB', 'ok')[i % 2]}/{k}.png" for i, name in enumerate(NAMES) for k in range(4)
    ],
    "projections": grid(["TB", "sound"], ["frontal", "lateral"]),
    "more views at one site": [
        *grid(["TB"], ["frontal", "lateral", "oblique"]), *grid(["ok"], ["frontal", "lateral"])
    ],
    "another class at each site": grid(["siteA"], ["TB", "ok"], 30) + grid(["siteB"], ["rib"], 30),
    "a wrapper above": grid(["d/siteA", "d/siteB"], ["TB", "sound"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_folders_that_may_be_classes_are_refused_with_both_readings(tmp_path, kind):
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, REFUSED[kind])
    text = str(refused.value)
    assert text.startswith("The folders ")
    assert "Read as CLASS/PATIENT, they would be persons of the class" in text
    assert "Give CLASS/PATIENT/* or SPLIT/CLASS/*" in text and "images.csv" in text


@pytest.mark.parametrize("names", [
    [*grid(["TB"], ["p1", "ok"]), *grid(["ok"], ["p2"])],
    grid(["healthy"], ["covid"]) + grid(["x"], ["y", "z"]),
])  # fmt: skip
def test_a_patient_that_is_called_like_a_class_is_refused(tmp_path, names):
    with pytest.raises(DatasetError, match="the folder of the class comes first"):
        read(tmp_path, names)


@pytest.mark.parametrize(
    "folder", ["img_{:03}", "dcm{:03}", "Image {}", "X-Ray-{}", "png({})", "train/img{}"]
)
def test_numbered_folders_of_images_may_be_those_of_patients(tmp_path, folder):
    names = [f"{label}/{folder.format(k)}/{i}.png"
             for label in ("TB", "sound") for k in range(1, 15) for i in range(3)]  # fmt: skip
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, names)
    text = str(refused.value)
    assert text.startswith(f"The folders TB/{folder.format(1)}/, ")
    assert "may be those of patients, or hold a part of the images each." in text
    renamed, there = re.search(r"`patient_(\d+)`\); if not, .* into (.*)/ itself", text).groups()
    assert int(renamed) == 1 and there == f"TB/{folder}".rpartition("/")[0]


STUDIES = [f"p{k}/img_{study}" for k in range(12) for study in (1, 2)]


@pytest.mark.parametrize("folders", [["img_1"], ["images", "png"], STUDIES])
def test_other_folders_of_images_are_not(tmp_path, folders):
    names = [f"{label}/{folder}/{i}.png"
             for label in ("TB", "sound") for folder in folders for i in range(3)]  # fmt: skip
    assert read(tmp_path, names).class_names == ("TB", "sound")


ALLOWED = {
    "many persons, some in two classes": [
        *grid(["a"], [f"p{i}" for i in range(12)]), *grid(["b"], [f"p{i}" for i in range(9, 20)])
    ],
    "few persons, one in two classes": [
        *grid(["a"], ["anna", "bob", "carl"]), *grid(["b"], ["anna", "dora"])
    ],
    "persons with numbers, classes with numbers": grid("0", "45") + grid("1", "06"),
    "one class with folders": [*grid(["a"], ["anna", "bob"]), *(f"b/{i}.png" for i in range(6))],
    "two images": ["a/p1/1.png", "b/p2/2.png"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ALLOWED)
def test_folders_of_persons_are_allowed(tmp_path, kind):
    found = read(tmp_path, ALLOWED[kind])
    assert len(found.class_names) == 2
    assert any(record.patient_known for record in found.records)
