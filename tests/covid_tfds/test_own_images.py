"""A user's own images from the folder to the stored example: what people have, and nothing lost."""

import collections
import csv
import json
import os
import pathlib

import imagecodecs
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

import covid_tfds
from covid_tfds import patient_key
from covid_tfds.config import CovidConfig
from covid_tfds.errors import DatasetError
from tests.covid_tfds import made_sources
from tests.covid_tfds.reading.made_files import dicom
from tests.helpers.images import encoded, radiograph

CLASSES = ("healthy", "covid19")


@pytest.fixture(autouse=True)
def no_salt_from_outside(monkeypatch):
    monkeypatch.delenv(patient_key.VARIABLE, raising=False)


def put(folder: pathlib.Path, count: int = 40, name: str = "{label}/{i:03d}.png") -> pathlib.Path:
    for i in range(count):
        path = name.format(label=CLASSES[i % 2], i=i, split=("train", "val", "test")[i % 3])
        made_sources.write(folder / path, encoded(radiograph(i)))
    return folder


def build(tmp_path: pathlib.Path, config: str | CovidConfig = "folder"):
    return covid_tfds.build(config, manual_dir=tmp_path / "own", data_dir=tmp_path / "data")


def examples(builder) -> list[dict]:
    return [
        example
        for split in builder.info.splits
        for example in tfds.as_numpy(builder.as_dataset(split=split))
    ]


def summary(builder) -> str:
    return " ".join((builder.data_path / "summary.txt").read_text().split())


def left_out(builder) -> dict[str, str]:
    with open(builder.data_path / "exclusions.csv", newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def test_folders_are_enough_and_the_summary_says_that_nothing_was_checked(tmp_path):
    put(tmp_path / "own")
    builder = build(tmp_path)
    assert len(examples(builder)) == 40
    assert builder.info.features["label"].names == list(CLASSES)
    text = summary(builder)
    assert "groups in more than one split: not checked, since no patients are known" in text
    assert "No patients are given" in text


def test_any_class_names_and_own_splits(tmp_path):
    for i in range(45):
        label = ("Pleural effusion", "normal", "Ödem")[i % 3]
        split = ("train", "val", "test")[i // 3 % 3]
        made_sources.write(tmp_path / "own" / split / label / f"{i}.png", encoded(radiograph(i)))
    builder = build(tmp_path)
    assert builder.info.features["label"].names == ["healthy", "Pleural effusion", "Ödem"]
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 15, "validation": 15, "test": 15}
    again = tfds.builder_from_directory(builder.data_path)
    assert again.info.features["label"].names == ["healthy", "Pleural effusion", "Ödem"]
    assert dict(again.info.metadata)["class_names"] == ["healthy", "Pleural effusion", "Ödem"]


def test_the_summary_has_room_for_long_names_of_classes_and_sources(tmp_path):
    labels = ("normal", "pneumonia_bacterial_hospital_acquired", "effusion")
    rows = ["path,label,patient,split,source"]
    for i in range(27):
        split, place = ("train", "val", "test")[i // 3 % 3], ("a", "hospital_of_the_north")[i % 2]
        made_sources.write(tmp_path / "own" / f"{i}.png", encoded(radiograph(i)))
        rows.append(f"{i}.png,{labels[i % 3]},p{i},{split},{place}")
    (tmp_path / "own" / "images.csv").write_text("\n".join(rows) + "\n")
    lines = (build(tmp_path).data_path / "summary.txt").read_text().splitlines()
    table = lines[lines.index("") + 1 :][: 1 + 6 + 2]
    assert len({len(line) for line in table}) == 1 and len(table[0]) <= 80
    names = [line[:30].split() for line in table[1:7]]
    assert names == [
        [name, place]
        for name in ("healthy", "effusion", "pneumonia_bact...")
        for place in ("a", "hospita...")
    ]


def test_names_that_two_sources_share_across_splits_are_to_differ(tmp_path):
    """They may be one person, whom the splits of the table would tear."""
    rows = ["path,label,patient,split,source"]
    for i in range(24):
        split, place = (("train", "val", "test")[i // 4 % 3], "a") if i < 12 else ("test", "b")
        made_sources.write(tmp_path / "own" / f"{i}.png", encoded(radiograph(i)))
        rows.append(f"{i}.png,{CLASSES[i % 2]},{i % 12},{split},{place}")
    (tmp_path / "own" / "images.csv").write_text("\n".join(rows))
    with pytest.raises(DatasetError) as refused:
        build(tmp_path)
    text = str(refused.value)
    assert text.startswith("8 groups are in more than one split.")
    assert "by one name in several sources" in text and "let their names differ" in text


def test_patient_folders_keep_their_images_in_one_split(tmp_path):
    put(tmp_path / "own", 120, "{label}/p{i}/a.png")
    for i in range(120):
        path = tmp_path / "own" / CLASSES[i % 2] / f"p{i}" / "b.png"
        made_sources.write(path, encoded(radiograph(1000 + i)))
    builder = build(tmp_path)
    where = collections.defaultdict(set)
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            where[example["patient"]].add(split)
    assert len(where) == 120 and all(len(splits) == 1 for splits in where.values())
    assert "groups in more than one split: 0" in summary(builder)


def test_a_torn_patient_stops_the_build_however_the_table_says_it(tmp_path):
    put(tmp_path / "own", 40)
    rows = [f"{CLASSES[i % 2]}/{i:03d}.png,{CLASSES[i % 2]},P{i // 4}," for i in range(40)]
    splits = ("train", "train", "validation", "test")
    table = "\n".join(row + splits[i % 4] for i, row in enumerate(rows))
    (tmp_path / "own/images.csv").write_text(f"path,label,patient,split\n{table}\n")
    with pytest.raises(
        DatasetError,
        match=r"own/P0: test \(own/covid19/003\.png\), train \(own/healthy/000\.png\), valid",
    ):
        build(tmp_path)
    (tmp_path / "own/images.csv").write_text(f"path,label,patient_id,split\n{table}\n")
    with pytest.raises(DatasetError, match="patient_id"):
        build(tmp_path)


def test_one_patient_does_not_switch_the_warning_off_for_all(tmp_path):
    put(tmp_path / "own", 40)
    rows = [f"{CLASSES[i % 2]}/{i:03d}.png,{CLASSES[i % 2]}," for i in range(40)]
    rows[7] += "anna"
    (tmp_path / "own/images.csv").write_text("path,label,patient\n" + "\n".join(rows) + "\n")
    text = summary(build(tmp_path))
    assert "39 of 40 images have no patient" in text
    assert "0 (not checked for 39 images of unknown patients)" in text


def test_a_linked_class_is_not_lost(tmp_path):
    put(tmp_path / "own")
    (tmp_path / "own/healthy").rename(tmp_path / "disk")
    (tmp_path / "own/healthy").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/loop").symlink_to(tmp_path / "own")  # must end all the same
    builder = build(tmp_path)
    assert collections.Counter(e["label"] for e in examples(builder)) == {0: 20, 1: 20}


def test_twelve_bits_in_sixteen_in_colour_are_as_bright_as_eight(tmp_path):
    put(tmp_path / "own")
    for i in range(1, 40, 2):
        deep = np.repeat(radiograph(i).astype(np.uint16)[..., None] * 16, 3, axis=2)
        (tmp_path / f"own/covid19/{i:03d}.png").write_bytes(imagecodecs.png_encode(deep))
    stored = {e["image_id"].decode(): e["image"][..., 0] for e in examples(build(tmp_path))}
    for i in range(1, 40, 2):
        got = stored[f"own/covid19/{i:03d}.png"].astype(int)
        assert np.abs(got - radiograph(i)).max() <= 1


def test_equal_pixels_under_two_labels_are_refused_and_alike_ones_noted(tmp_path):
    put(tmp_path / "own")
    # In another container: other bytes, equal pixels.
    made_sources.write(tmp_path / "own/covid19/copy.bmp", encoded(radiograph(0), "BMP"))
    with pytest.raises(DatasetError, match=r"own/healthy/000\.png \(healthy\)"):
        build(tmp_path)
    (tmp_path / "own/covid19/copy.bmp").write_bytes(encoded(radiograph(0), "JPEG", quality=70))
    assert "Nearly equal images under two labels, 1 pair: own/" in summary(build(tmp_path))


def test_what_can_not_be_read_is_listed_and_nothing_ends(tmp_path):
    put(tmp_path / "own")
    folder = tmp_path / "own/healthy"
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    (folder / "Thumbs.db").write_bytes(b"x")
    made_sources.write(folder / ".ipynb_checkpoints/000.png", encoded(radiograph(0)))
    with open(os.fsencode(folder) + b"/radiograf\xeda.png", "wb") as file:
        file.write(encoded(radiograph(500)))
    builder = build(tmp_path)
    reasons = left_out(builder)
    assert len(examples(builder)) == 40
    assert len(reasons) == 6 and all(reasons.values())
    assert "left out 6" in summary(builder)
    assert any("radiograf\\xed" in name for name in reasons)


def test_a_class_that_yields_nothing_after_reading_ends_the_build(tmp_path):
    put(tmp_path / "own")
    for path in (tmp_path / "own/healthy").iterdir():
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DatasetError, match=r"No image of the class healthy(.|\n)*git-lfs"):
        build(tmp_path)


def test_six_images_say_which_splits_lack_them(tmp_path):
    put(tmp_path / "own", 6)
    text = summary(build(tmp_path))
    assert "validation has no image of" in text or "test has no image of" in text


def dicom_study(folder: pathlib.Path) -> None:
    """Forty files of twenty patients; the header names them."""
    for i in range(40):
        data = dicom(
            radiograph(i).astype(np.uint16) * 16, 12, PatientID=f"MRN-{i // 2}",
            PatientName="Doe^Jane", PatientSex="F", PatientAge="045Y", ViewPosition="PA",
        )  # fmt: skip
        made_sources.write(folder / ("effusion", "normal")[i // 2 % 2] / f"IM{i:05d}", data)


def test_dicom_patients_are_kept_apart_and_nobody_learns_who_they_are(tmp_path, capsys):
    dicom_study(tmp_path / "own")
    builder = build(tmp_path)
    stored = examples(builder)
    assert len(stored) == 40
    assert len({e["patient"] for e in stored}) == 20
    assert {(e["sex"], e["age"], e["projection"]) for e in stored} == {(b"F", 45, b"PA")}
    assert {e["original_format"] for e in stored} == {b"DICOM"}
    printed = "".join(capsys.readouterr())
    everything = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(everything) > 5
    for secret in ("MRN-", "Doe", "Jane"):
        assert secret not in printed
        for path in everything:
            assert secret.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_rebuild_and_another_dataset_give_one_person_one_key(tmp_path):
    dicom_study(tmp_path / "own")
    keys = [
        {e["image_id"]: e["patient"] for e in examples(build(tmp_path, config))}
        for config in ("folder", CovidConfig(name="second", images="folder"))
    ]
    assert keys[0] == keys[1]
    other = covid_tfds.build("folder", manual_dir=tmp_path / "own", data_dir=tmp_path / "elsewhere")
    assert not {e["patient"] for e in examples(other)} & set(keys[0].values())


def test_a_table_goes_before_the_header(tmp_path):
    dicom_study(tmp_path / "own")
    names = sorted(p.relative_to(tmp_path / "own") for p in (tmp_path / "own").rglob("IM*"))
    rows = [f"{name},{name.parent},{'anna' if i < 4 else ''},M" for i, name in enumerate(names)]
    (tmp_path / "own/images.csv").write_text("path,label,patient,sex\n" + "\n".join(rows) + "\n")
    stored = {e["image_id"].decode(): e for e in examples(build(tmp_path))}
    assert {e["sex"] for e in stored.values()} == {b"M"}
    assert stored[f"own/{names[0]}"]["patient"] == b"own/anna"
    assert len({e["patient"] for e in stored.values()}) == 1 + 18


def test_license_filter_and_table_columns(tmp_path):
    put(tmp_path / "own")
    rows = [
        f"{CLASSES[i % 2]}/{i:03d}.png,{CLASSES[i % 2]},p{i},siteA,AP,F,{20 + i},"
        f"{('CC BY 4.0', 'CC BY-NC 4.0')[i // 2 % 2]}"
        for i in range(40)
    ]
    head = "path,label,patient,source,projection,sex,age,license"
    (tmp_path / "own/images.csv").write_text("\n".join([head, *rows]) + "\n")
    config = CovidConfig(name="open", images="folder", licenses=["CC BY"])
    builder = build(tmp_path, config)
    stored = examples(builder)
    assert len(stored) == 20 and {e["license"] for e in stored} == {b"CC BY 4.0"}
    first = next(e for e in stored if e["image_id"] == b"own/healthy/000.png")
    assert (first["source"], first["projection"], first["age"]) == (b"siteA", b"AP", 20)
    assert first["patient"] == b"siteA/p0"
    reasons = collections.Counter(left_out(builder).values())
    assert reasons == {"license not asked for: CC BY-NC 4.0": 20}


def test_stored_ids_and_files_are_json_and_text(tmp_path):
    put(tmp_path / "own", 40, "{label}/Röntgen {i} 胸部.png")
    builder = build(tmp_path)
    assert json.loads((builder.data_path / "metadata.json").read_text())["fingerprint"]
    assert any("胸部" in e["image_id"].decode() for e in examples(builder))


@pytest.mark.slow
def test_a_person_whose_studies_are_given_as_patients_is_not_torn(tmp_path):
    """CLASS/STUDY/*.dcm: the folder names a study, the header the person."""
    for i in range(60):
        data = dicom(radiograph(i).astype(np.uint16) * 16, 12, PatientID=f"MRN-{i // 3}")
        made_sources.write(tmp_path / "own" / CLASSES[i // 3 % 2] / f"study{i}" / "a.dcm", data)
        made_sources.write(tmp_path / "own" / CLASSES[i // 3 % 2] / f"study{i}" / "b.dcm",
                           dicom(radiograph(500 + i), PatientID=f"MRN-{i // 3}"))  # fmt: skip
    builder = build(tmp_path)
    where = collections.defaultdict(set)
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            study = example["image_id"].decode().split("/")[2]
            where[int(study.removeprefix("study")) // 3].add(split)
    assert len(where) == 20 and all(len(splits) == 1 for splits in where.values())
    assert "60 patients of yours are 20 persons by their DICOM headers" in summary(builder)
    keys = patient_key.Keys(lambda: patient_key.load_salt(epath.Path(tmp_path / "data/covid_tfds")))
    groups = {example["group"].decode() for example in examples(builder)}
    assert groups == {f"dicom-{keys(f'MRN-{i}')}" for i in range(20)}
    assert builder.info.metadata["patient_salt"] == keys.check


def test_an_id_that_most_headers_have_is_nobodys(tmp_path):
    for i in range(40):
        data = dicom(radiograph(i), PatientID="EXPORT-01")
        made_sources.write(tmp_path / "own" / CLASSES[i % 2] / f"{i}.dcm", data)
    builder = build(tmp_path)
    text = summary(builder)
    assert "40 of 40 DICOM headers have the same patient id" in text
    assert "groups in more than one split: not checked" in text
    assert {"train", "test"} <= set(builder.info.splits)


def test_a_person_in_two_sources_of_a_table_is_not_torn(tmp_path):
    rows = ["path,label,source"]
    for i in range(60):
        data = dicom(radiograph(i), PatientID=("Ab 1%d", "AB1%d")[i % 2] % (i // 3))
        made_sources.write(tmp_path / "own" / f"{i}.dcm", data)
        rows.append(f"{i}.dcm,{CLASSES[i // 3 % 2]},site{i % 3}")
    (tmp_path / "own/images.csv").write_text("\n".join(rows) + "\n")
    builder = build(tmp_path)
    where = collections.defaultdict(set)
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            where[int(example["image_id"].decode()[4:-4]) // 3].add(split)
    assert len(where) == 20 and all(len(splits) == 1 for splits in where.values())


def test_files_that_state_no_modality_are_counted(tmp_path):
    put(tmp_path / "own")
    made_sources.write(tmp_path / "own/healthy/x.dcm", dicom(radiograph(99), Modality=None))
    assert "no modality is stated: 1 DICOM file." in summary(build(tmp_path))
