"""Images in a folder whose name is that of no class, beside folders of classes."""

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import own
from tests.covid_tfds.made_sources import reasons, write_names


def read(tmp_path, names) -> own.Own:
    write_names(tmp_path, names)
    return own.images(tmp_path)


def some(*folders: str) -> list[str]:
    return [f"{folder}/{i}.png" for folder in folders for i in range(3)]


LOST = {
    "xray": some("xray", "ct"),
    "X-Ray": some("X-Ray", "CT"),
    "images": some("images", "healthy"),
    "dicom": [*(f"dicom/IM{i}" for i in range(3)), *some("sick")],
    "images_001/png": some("images_001/png", "sick", "sound"),
    "test": some("test", "control"),
    "testing": some("testing", "healthy", "sick"),
    "train_images": some("train_images", "a", "b"),
    "val/images": some("train/a", "train/b", "val/images"),
    "data/test": some("data/train/a", "data/train/b", "data/test"),
    "mask": some("mask", "no mask"),
    "MASKS": some("MASKS", "unmasked", "unsure"),
    "mask1": [f"{c}/p{c}{i}/1.png" for c in ("mask1", "no mask") for i in range(3)],
    "train/mask": some("train/mask", "train/no mask", "test/no mask"),
    "segmentation": some("segmentation", "no segmentation", "c"),
    "masks": some("masks", "healthy"),
    "heatmap": some("heatmap", "none", "other"),
}


@pytest.mark.parametrize("folder", LOST)
def test_it_is_named_with_what_to_do(tmp_path, folder):
    with pytest.raises(DatasetError) as refused:
        read(tmp_path, LOST[folder])
    text = str(refused.value)
    assert text.startswith(f"3 files in {folder}/ would be lost: by its name such a folder is no")
    part = 0 if folder == "images_001/png" else -1
    new = folder.split("/")[part].rstrip("sS") + "_class"
    assert f"If it is a class, rename it (e.g. `{new}`); if not, put the images below" in text
    renamed = tmp_path / folder
    renamed.rename(renamed.with_name(new))
    if "/" not in folder:
        assert new in own.images(tmp_path).class_names


def test_unsorted_images_of_a_split_are_not_lost(tmp_path):
    names = [*some("train/a", "train/b"), *(f"test/{i}.png" for i in range(10))]
    with pytest.raises(DatasetError, match=r"^10 files in test/ would be lost.*\(a, b\)"):
        read(tmp_path, names)


def test_the_other_name_is_that_of_the_container(tmp_path):
    with pytest.raises(DatasetError, match=r"in xray/test/, xray/train/ .*rename them .*`xray_cl"):
        read(tmp_path, some("xray/train", "xray/test", "ct/train", "ct/test"))


def test_several_are_named_at_once(tmp_path):
    with pytest.raises(DatasetError, match=r"^6 files in images/, test/ .*they are classes"):
        read(tmp_path, some("images", "test", "a", "b"))


@pytest.mark.parametrize("name", ["xray/1.png", "xray", "xray/png"])
def test_broken_links_are_lost_too(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"^1 file in xray/(png/)? ?would be lost"):
        read(tmp_path, some("ct", "b"))


KEPT = {
    "loose ones at the top": ["1.png", "2"],
    "loose ones in a split": ["train/1.png"],
    "loose ones in a container of classes": ["train/images/a/1.png", "train/images/2.png"],
    "documents": ["images/readme.md", "test/run.py", "xray/LICENSE", "images/logo.svg"],
    "annotations": ["annotations/a.json", "annotations/deep/er/b.xml"],
    "hidden": ["images/.DS_Store", "test/.x/1.png"],
    "masks below a class": ["train/a/masks/1.png", "train/a/p1/mask/2.png"],
}


@pytest.mark.parametrize("kind", KEPT)
def test_other_files_outside_the_classes_are_exclusions(tmp_path, kind):
    found = read(tmp_path, [*some("train/a", "train/b"), *KEPT[kind]])
    assert len(found.records) == 6 + ("classes" in kind)
    assert len(found.exclusions) >= 1
    assert not any("masks" in note for note in found.notes)


@pytest.mark.parametrize("folder", ["masks", "lung segmentations", "train_masks"])
def test_masks_beside_two_classes_are_left_out_with_a_note(tmp_path, folder):
    found = read(tmp_path, some(folder, "a", "b"))
    assert f"{folder} beside the classes: masks, which are left out." in found.notes
    assert set(reasons(found.exclusions).values()) == {"a mask, not an image"}


@pytest.mark.parametrize("names,folder", [
    ([f"{m}/p{m}{i}/1.png" for m in ("xray", "ct") for i in range(9)], "xray"),
    (some("xray/TB", "xray/ok", "ct/TB", "ct/ok"), "xray"),
    (some("images/a", "images/b", "c"), "images"),
    (some("data/png/a", "data/b", "data/c"), "data/png"),
    (some("images/data/png/a", "images/data/b", "images/data/c"), "images/data/png"),
])  # fmt: skip
def test_classes_on_two_levels_are_refused(tmp_path, names, folder):
    with pytest.raises(DatasetError, match=rf"^The folders in {folder}/ would be classes .*side"):
        read(tmp_path, names)
