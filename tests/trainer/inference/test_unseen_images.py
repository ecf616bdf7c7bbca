"""Images of folders against those of a run: persons of DICOM headers, names of classes."""

import json
import os
import pathlib
import types

import numpy as np
import pytest
from etils import epath
from PIL import Image

from covid_tfds import patient_key
from tests.covid_tfds.reading.made_files import dicom
from trainer.config import Config
from trainer.evaluation import images_used
from trainer.inference import labelled_images
from trainer.inference.unseen_images import USED, unseen

NAMES = ("gesund", "Pneumonie")


@pytest.fixture(autouse=True)
def no_salt_from_outside(monkeypatch):
    monkeypatch.delenv(patient_key.VARIABLE, raising=False)


@pytest.fixture
def hospital(tmp_path) -> pathlib.Path:
    """DICOM files of six persons, in folders of two classes."""
    folder = tmp_path / "hospital"
    for number in range(6):
        place = folder / NAMES[number % 2].upper()
        place.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 4096, (120, 100), np.uint16)
        (place / f"{number}.dcm").write_bytes(dicom(values, 12, PatientID=f"P{number}"))
    return folder


def opened(hospital, data_dir) -> labelled_images.Labelled:
    with labelled_images.of_folder(hospital, str(data_dir)) as labelled:
        return labelled


def write_origin(folder: pathlib.Path, **dataset) -> None:
    origin = {"config": Config().to_json(), "dataset": dataset}
    (folder / "config.json").write_text(json.dumps(origin))


def network(folder: pathlib.Path, labelled, salt: str, *, trained_on: int) -> types.SimpleNamespace:
    """One of a run whose train images were others of some of these persons."""
    folder.mkdir()
    write_origin(folder, patient_salt=salt)
    columns = images_used.columns_of([labelled.images.take(np.arange(trained_on))])
    columns["split"] = ["train"] * trained_on
    columns["image_sha256"] = [f"{i:064}" for i in range(trained_on)]
    columns["patient"] = [f"own/study {i}" for i in range(trained_on)]  # the group has the header
    images_used.write(folder / USED, columns)
    return types.SimpleNamespace(run=folder, class_names=NAMES)


def test_persons_of_headers_are_recognized_with_the_salt_of_the_networks_dataset(
    hospital, tmp_path
):
    patient_key.load_salt(epath.Path(tmp_path / "data" / "covid_tfds"))
    labelled = opened(hospital, tmp_path / "data")
    found = unseen(network(tmp_path / "run", labelled, labelled.salt, trained_on=2), labelled)
    assert found.counts["patient_trained_on"] == 2 and len(found.images) == 4
    assert found.headers_compared and not any("Not checked" in each for each in found.sentences())


@pytest.mark.parametrize("salts", ["another", "none", "none known"])
def test_with_another_salt_it_is_said_that_persons_of_headers_are_not_checked(
    salts, hospital, tmp_path
):
    for data_dir in ("data", "other"):
        patient_key.load_salt(epath.Path(tmp_path / data_dir / "covid_tfds"))
    before = opened(hospital, tmp_path / "data")
    of_run = network(tmp_path / "run", before, before.salt, trained_on=2)
    if salts == "none known":  # of the run, as an earlier revision wrote it
        write_origin(of_run.run)
    labelled = opened(hospital, tmp_path / ("other" if salts == "another" else "gone"))
    found = unseen(of_run, labelled)
    said = list(found.sentences())
    assert not found.headers_compared and len(found.images) == 6
    assert said[0].endswith("none of these has the pixels of what the network has seen")
    assert said[1].startswith("Not checked: patients whom DICOM headers name.")


def test_no_salt_is_made_for_images_that_are_no_dataset(hospital, tmp_path):
    labelled = opened(hospital, tmp_path / "gone")
    assert labelled.salt and labelled.salt != opened(hospital, tmp_path / "gone").salt
    assert not (tmp_path / "gone").exists() and os.listdir(tmp_path) == ["hospital"]
    assert len(set(labelled.images.groups)) == 6


def test_names_of_classes_are_compared_as_a_build_compares_them(hospital, tmp_path):
    labelled = opened(hospital, tmp_path)
    assert labelled.images.class_names == ("GESUND", "PNEUMONIE")
    found = unseen(types.SimpleNamespace(run=None, class_names=NAMES), labelled)
    assert found.images.class_names == NAMES and not found.classes
    assert np.bincount(found.images.labels).tolist() == [3, 3]


def test_how_a_folder_was_read_is_said_with_what_is_known_of_its_images(tmp_path):
    folder = tmp_path / "hospital"
    for number in range(6):
        place = folder / NAMES[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (120, 100), np.uint8)
        Image.fromarray(values).save(place / f"{number:08}_000.png")
    of = opened(folder, tmp_path)
    assert any("Patients are taken from the file names" in note for note in of.notes)
    assert set(of.images.patients) == {f"own/{number:08}" for number in range(6)}
