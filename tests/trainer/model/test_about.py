"""The claims of the member in which a model.keras says what it is."""

import dataclasses
import importlib.metadata
import json
import zipfile

import pytest

from trainer.model import about
from trainer.model.about import About
from trainer.run.errors import ConfigError, RunError

ESTIMATE = {"value": 0.8, "low": 0.7, "high": 0.9}
SAYS = About(
    class_names=("gesund", "健康"),
    image_size=112,
    align="chest",
    dataset="covid_tfds/full/2.0.0",
    fingerprint="0" * 64,
    synthetic=False,
    version="2.0.0",
    notes=("CONFOUNDED: by its source.",),
    scores={"split": "test", "n": 3, "groups": 2, "balanced_accuracy": ESTIMATE},
)


def written(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_json", ".json"), text)
    return path


@pytest.mark.parametrize("says", [SAYS, dataclasses.replace(SAYS, notes=(), scores=None)])
def test_what_is_written_is_read(says, tmp_path):
    path = written(tmp_path / "m.keras", config_json="{}", covid_tfds_json=says.to_json())
    assert about.read(path) == says


def test_a_file_of_keras_alone_says_nothing(tmp_path):
    assert about.read(written(tmp_path / "m.keras", config_json="{}")) is None


def test_what_a_later_release_adds_is_left_out():
    later = json.dumps(json.loads(SAYS.to_json()) | {"added": 1})
    assert About.from_json(later) == SAYS


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"There is no file .*m\.keras\. Give a run folder"):
        about.read(tmp_path / "m.keras")


@pytest.mark.parametrize(
    "text", ["[]", "{", "{}", '{"class_names": 1}', SAYS.to_json().replace("notes", "note")]
)
def test_a_damaged_member_is_refused(text, tmp_path):
    path = written(tmp_path / "m.keras", config_json="{}", covid_tfds_json=text)
    with pytest.raises(RunError, match="is damaged, or no file that Keras wrote"):
        about.read(path)


def test_other_files_are_refused(tmp_path):
    other = written(tmp_path / "m.keras", covid_tfds_json=SAYS.to_json())
    with pytest.raises(RunError, match=r"no file that Keras wrote \(it has no config\.json\)"):
        about.read(other)
    (tmp_path / "n.keras").write_bytes(b"\x89HDF\r\n")
    with pytest.raises(RunError, match="no file that Keras wrote"):
        about.read(tmp_path / "n.keras")


def test_every_flipped_byte_of_the_member_is_noticed(tmp_path):
    path = written(tmp_path / "m.keras", config_json="{}", covid_tfds_json=SAYS.to_json())
    data = path.read_bytes()
    start = data.index(b"gesund")
    for at in range(start, start + 200, 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(RunError, match="is damaged"):
            about.read(path)


def test_a_checkout_that_was_not_installed_has_no_release(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert about.release() == ""


def test_a_folder_without_a_network_is_called_what_it_is(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"runn is not there\. .* Did you mean .*/run\?$"):
        about.located(tmp_path / "runn")
    with pytest.raises(RunError, match=r"file is no folder\. Give the folder of a run, or a \S+$"):
        about.located(tmp_path / "file")
    with pytest.raises(RunError, match=r"run has no model\.keras: .* of the run with its best"):
        about.located(tmp_path / "run")
    for seed in (7, 8):
        (tmp_path / f"run/seed_{seed}").mkdir()
        (tmp_path / f"run/seed_{seed}/model.keras").touch()
    with pytest.raises(RunError, match=r"one of its seeds, .*/run/seed_7 for example"):
        about.located(tmp_path / "run")


def test_a_class_that_the_network_does_not_have_is_refused(tmp_path):
    names = ("healthy", "covid19")
    says = dataclasses.replace(SAYS, class_names=names)
    path = written(tmp_path / "m.keras", config_json="{}", covid_tfds_json=says.to_json())
    about.require(path, class_name="covid19")
    with pytest.raises(ConfigError, match=r"Did you mean covid19\? It has healthy, covid19\."):
        about.require(path, class_name="covid")
    with pytest.raises(ConfigError, match=r"Give one of healthy, covid19\."):
        about.require(path, class_name="zebra")
