"""A user's folders -> split, class and patient; nothing that lies there is lost in silence."""

import os

import pytest

from covid_tfds.errors import DatasetError
from covid_tfds.sources import own
from tests.covid_tfds.made_sources import reasons, write_names


def read(tmp_path, names) -> own.Own:
    write_names(tmp_path, names)
    return own.images(tmp_path)


def places(found: own.Own) -> dict[str, tuple[str, str, str]]:
    """(split, class, patient or "") of each image."""
    return {
        r.name: (r.original_split, r.label, r.patient.removeprefix("own/") * r.patient_known)
        for r in found.records
    }


def test_a_folder_a_class_under_any_name(tmp_path):
    names = ["NORMAL/a.png", "covid-19/b.JPG", "Bacterial/c.jpeg", "Fracture rib/d", "ödem/e.dcm"]
    found = read(tmp_path, names)
    assert {n: label for n, (_, label, _) in places(found).items()} == {
        "NORMAL/a.png": "healthy", "covid-19/b.JPG": "covid19", "Bacterial/c.jpeg": "bacterial",
        "Fracture rib/d": "Fracture rib", "ödem/e.dcm": "ödem",
    }  # fmt: skip
    assert found.class_names == ("healthy", "covid19", "bacterial", "Fracture rib", "ödem")
    assert not found.exclusions
    assert not found.notes
    record = found.records[0]
    assert record.image_id == record.patient == "own/Bacterial/c.jpeg"
    assert (record.patient_known, record.source, record.license) == (False, "own", "your own")


def test_spellings_of_one_class_are_one_class(tmp_path):
    names = ["pneumonia/a", "Pneumonia/b", "PNEUMONIA/c", "Normal/d", "HEALTHY/e", "e\u0301/f",
             "\u00e9/g", " é /h"]  # fmt: skip
    found = read(tmp_path, names)
    assert found.class_names == ("healthy", "PNEUMONIA", "\u00e9")
    assert len(found.records) == len(names)


LAYOUTS = {
    "SPLIT/CLASS": ("{split}/{label}/{i}.png", True, False),
    "CLASS/SPLIT": ("{label}/{split}/{i}.png", True, False),
    "CLASS/PATIENT": ("{label}/p{p}/{i}.png", False, True),
    "SPLIT/CLASS/PATIENT": ("{split}/{label}/p{p}/{i}.png", True, True),
    "CLASS/SPLIT/PATIENT": ("{label}/{split}/p{p}/{i}.png", True, True),
    "WRAPPER/CLASS": ("my data/{label}/{i}.png", False, False),
    "WRAPPER/SPLIT/CLASS": ("dataset/{split}/{label}/{i}.png", True, False),
    "WRAPPER/WRAPPER/CLASS": ("a/b/{label}/{i}.png", False, False),
    "WRAPPER/WRAPPER/SPLIT/CLASS/PATIENT": ("a/b/{split}/{label}/p{p}/{i}.png", True, True),
    "CLASS/images": ("{label}/images/{i}.png", False, False),
    "images/SPLIT/CLASS": ("images/{split}/{label}/{i}.png", True, False),
    "CLASS/DICOM/PATIENT": ("{label}/DICOM/p{p}/{i}", False, True),
    "WRAPPER/CLASS/PATIENT/xray": ("x/{label}/p{p}/xray/{i}.png", False, True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("labels", [("healthy", "covid19"), ("fracture", "none")])
def test_layouts(tmp_path, layout, labels):
    pattern, has_split, has_patient = LAYOUTS[layout]
    wanted = {}
    for i in range(24):
        split, label, p = ("Train", "val", "TEST")[i % 3], labels[i // 3 % 2], i // 6
        name = pattern.format(split=split, label=label, p=f"{label}{p}", i=i)
        split = {"Train": "train", "val": "validation", "TEST": "test"}[split]
        wanted[name] = (split * has_split, label, f"p{label}{p}" * has_patient)
    found = read(tmp_path, wanted)
    assert places(found) == wanted
    assert not found.exclusions
    assert any("lie in" in note for note in found.notes) == ("WRAPPER" in layout)


@pytest.mark.parametrize(
    "word,split",
    [("training", "train"), ("valid", "validation"), ("Validation", "validation"),
     ("dev", "validation"), ("TESTING", "test")],
)  # fmt: skip
def test_words_for_splits(tmp_path, word, split):
    found = read(tmp_path, [f"{word}/a/1.png", f"{word}/b/2.png"])
    assert {s for s, _, _ in places(found).values()} == {split}
    assert found.class_names == ("a", "b")


def test_one_patient_folder_in_two_classes_or_splits_is_one_person(tmp_path):
    found = read(tmp_path, ["train/a/p1/1.png", "test/b/p1/2.png", "test/b/p2/3.png",
                            "train/a/ p3/4.png"])  # fmt: skip
    patients = {r.name: r.patient for r in found.records}
    assert patients["train/a/p1/1.png"] == patients["test/b/p1/2.png"] == "own/p1"
    assert len(set(patients.values())) == 3
    assert found.notes == [
        "The folders below the classes are taken for patients: 3.",
        "1 of these patients lie under several classes, e.g. p1: if such folders are the classes, "
        "put them at the top.",
    ]


@pytest.mark.parametrize("subs", [("frontal", "frontal"), ("batch1", "batch2")])
def test_one_folder_below_each_class_is_no_patient(tmp_path, subs):
    names = [f"{'ab'[k]}/{subs[k]}/{i}.png" for k in range(2) for i in range(5)]
    found = read(tmp_path, names)
    assert not any(r.patient_known for r in found.records)
    assert len({r.patient for r in found.records}) == 10
    assert "not taken for patients" in found.notes[0]


def test_folders_below_several_classes_are_pointed_out(tmp_path):
    names = ["A/train/rib/1.png", "A/train/none/2.png", "B/test/rib/3.png"]
    found = read(tmp_path, names)
    assert "1 of these patients lie under several classes, e.g. rib" in found.notes[1]


def test_a_wrapper_is_named_with_its_classes(tmp_path):
    found = read(tmp_path, ["my/data/rib/1.png", "my/data/none/2.png", "my/readme.png", "x.png"])
    assert found.notes == [
        "All images lie in my/data/; the classes are the folders in it: none, rib."
    ]


def test_the_radiography_database_comes_without_its_masks(tmp_path):
    """kaggle.com/datasets/tawsifurrahman/covid19-radiography-database, as it is unpacked."""
    root = "COVID-19_Radiography_Dataset"
    classes = ("COVID", "Normal", "Viral Pneumonia", "Lung_Opacity")
    names = [f"{root}/{c}/{part}/{c}-{i}.png" for c in classes for part in ("images", "masks")
             for i in (1, 2)]  # fmt: skip
    others = [f"{root}/{c}.metadata.xlsx" for c in classes] + [f"{root}/README.md.txt"]
    found = read(tmp_path, names + others)
    assert found.class_names == ("healthy", "covid19", "Lung_Opacity", "Viral Pneumonia")
    assert len(found.records) == 8
    left_out = reasons(found.exclusions)
    assert left_out[f"own/{root}/COVID/masks/COVID-1.png"] == "a mask, not an image"
    assert left_out[f"own/{root}/README.md.txt"] == "not an image by its name"
    assert len(left_out) == 8 + 5


def test_masks_beside_the_images_are_no_class(tmp_path):
    names = [f"{kind}/{c}/{i}.png" for kind in ("images", "Masks") for c in "ab" for i in (1, 2)]
    found = read(tmp_path, names)
    assert found.class_names == ("a", "b")
    assert {e.reason for e in found.exclusions} == {"a mask, not an image"}


def test_what_is_no_image_of_a_class_has_its_reason(tmp_path):
    strange = {
        "readme.txt": "not an image by its name",
        "loose.png": "in no class folder",
        "b/notes.CSV": "not an image by its name",
        "b/DICOMDIR": "not an image by its name",
        "b/old.docx": "not an image by its name",
        "b/p1/study/1.png": "folders below that of a patient",
        ".ipynb_checkpoints/": "hidden or system file",
        "b/Thumbs.db": "hidden or system file",
    }
    names = [n for n in strange if n[-1] != "/"] + [".ipynb_checkpoints/a/x.png"]
    found = read(tmp_path, ["a/1.png", "b/2.png", "b/4", "b/5.npyx", *names])
    assert reasons(found.exclusions) == {f"own/{n}": reason for n, reason in strange.items()}
    assert len(found.records) == 4


def test_linked_classes_count(tmp_path):
    write_names(tmp_path / "disk", ["1.png", "2.png"])
    root = tmp_path / "d"
    write_names(root, ["covid19/3.png"])
    (root / "healthy").symlink_to(tmp_path / "disk")
    (root / "healthy/up").symlink_to(root)
    found = own.images(root)
    assert found.class_names == ("healthy", "covid19")
    assert len(found.records) == 3
    assert reasons(found.exclusions) == {"own/healthy/up/": "link to a folder above it"}


def lost_by_nothing(root):
    (root / "viral").mkdir()


def lost_by_a_link(root):
    (root / "viral").symlink_to(root / "nowhere")


def lost_by_a_link_with_a_dot(root):
    (root / "viral.v2").symlink_to(root / "nowhere")


def lost_by_a_second_link(root):
    write_names(root.parent / f"{root.name}-disk", ["1.png"])
    for name in ("a", "viral"):
        (root / name).symlink_to(root.parent / f"{root.name}-disk")


def lost_by_a_loop(root):
    (root / "viral").symlink_to(root)


def lost_by_broken_links(root):
    (root / "viral").mkdir()
    for i in range(3):
        (root / f"viral/{i}.png").symlink_to(root / "nowhere")


def lost_by_other_files(root):
    write_names(root, ["viral/a.npy", "viral/b.zip"])


def lost_by_depth(root):
    write_names(root, ["viral/p1/study/series/1.dcm"])


def lost_by_hidden_files(root):
    write_names(root, ["viral/.DS_Store", "viral/.x/1.png"])


def lost_by_pipes(root):
    (root / "viral").mkdir()
    os.mkfifo(root / "viral/1.png")


@pytest.mark.parametrize("lose", [
    lost_by_nothing, lost_by_a_link, lost_by_a_link_with_a_dot, lost_by_a_second_link,
    lost_by_a_loop, lost_by_broken_links, lost_by_other_files,
    lost_by_depth, lost_by_hidden_files, lost_by_pipes,
])  # fmt: skip
def test_a_class_folder_that_yields_nothing_ends_the_build(tmp_path, lose):
    write_names(tmp_path, ["healthy/1.png", "covid19/2.png"])
    lose(tmp_path)
    with pytest.raises(
        DatasetError, match=r"1 class folder yields no image(.|\n)*  viral.*: viral"
    ):
        own.images(tmp_path)


def test_a_class_folder_whose_name_is_not_utf8_ends_the_build(tmp_path):
    write_names(tmp_path, ["healthy/1.png", "covid19/2.png"])
    folder = os.path.join(os.fsencode(tmp_path), b"neumon\xeda")
    os.mkdir(folder)
    with pytest.raises(DatasetError, match=r"neumon\\xeda/ \(name is not UTF-8\)"):
        own.images(tmp_path)


def test_a_class_that_is_lost_in_one_split_only_is_an_exclusion(tmp_path):
    write_names(tmp_path, ["train/a/1.png", "train/b/2.png", "test/a/3.png"])
    (tmp_path / "test/b").mkdir()
    assert reasons(own.images(tmp_path).exclusions) == {"own/test/b/": "empty folder"}


def test_a_split_for_some_only_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"2 images lie in a folder of a split .* 1 in none"):
        read(tmp_path, ["train/a/1.png", "train/b/2.png", "b/3.png"])


@pytest.mark.parametrize("names", [
    ["site1/healthy/1.png", "site1/covid/2.png", "site2/healthy/3.png"],
    ["fold1/NORMAL/1.png", "fold1/virus/2.png", "fold2/NORMAL/3.png", "fold2/virus/4.png"],
])  # fmt: skip
def test_classes_below_other_folders_are_not_taken_for_patients(tmp_path, names):
    with pytest.raises(DatasetError, match="the folder of the class comes first"):
        read(tmp_path, names)


NOTHING = {
    "images in no folder": (["1.png", "2.png"], r"Found 2 files in no folder \(1\.png\)"),
    "images too deep": (
        [f"{a}/{b}/{c}/{i}.png" for a in "ab" for b in "cd" for c in "ef" for i in range(5)],
        r"Found 40 files three folders deep \(a/c/e/0\.png\)",
    ),
    "splits without classes": (
        ["train/1.png", "test/2.png"], r"Found 2 files one folder deep \(test/2\.png\)"
    ),
    "an archive": (["mine.zip"], r"Zips are not looked into(.|\n)*Seen there: mine\.zip"),
    "another archive": (["mine.7z"], r"mine\.7z is not read in place"),
    "another table": (
        ["labels.csv", "images/1.png"], r"must be called images\.csv \(seen: labels\.csv\)"
    ),
    "nothing": ([], "is empty"),
    "masks only": (["masks/1.png"], "Left out: 1 a mask, not an image"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOTHING)
def test_where_nothing_is_recognized_it_says_what_is_there(tmp_path, kind):
    names, message = NOTHING[kind]
    with pytest.raises(DatasetError, match=message) as refused:
        read(tmp_path, names)
    assert "SPLIT/CLASS/*" in str(refused.value)
    assert "images.csv with the columns path,label" in str(refused.value)


def test_a_class_name_that_cant_be_stored_is_refused(tmp_path):
    with pytest.raises(
        DatasetError, match=r"  two\\nlines: two\\nlines/ \(name holds control characters\)"
    ):
        read(tmp_path, ["two\nlines/1.png", "b/2.png"])
