"""A person's key: one in all datasets of a folder, and worth nothing without the salt."""

import multiprocessing
import os
import stat

import pytest
from etils import epath

from covid_tfds import patient_key
from covid_tfds.errors import DatasetError


@pytest.fixture(autouse=True)
def no_salt_from_outside(monkeypatch):
    monkeypatch.delenv(patient_key.VARIABLE, raising=False)


def test_the_salt_is_made_once_and_for_its_owner_alone(tmp_path):
    folder = epath.Path(tmp_path / "data" / "covid_tfds")
    salt = patient_key.load_salt(folder)
    path = tmp_path / "data" / "covid_tfds" / patient_key.FILE
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert patient_key.load_salt(folder) == salt
    assert os.listdir(path.parent) == [patient_key.FILE]


def test_a_disk_without_links_has_a_salt_all_the_same(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    salt = patient_key.load_salt(epath.Path(tmp_path))
    assert patient_key.load_salt(epath.Path(tmp_path)) == salt
    assert os.listdir(tmp_path) == [patient_key.FILE]


def test_another_folder_has_another_salt(tmp_path):
    salts = {patient_key.load_salt(epath.Path(tmp_path / name)) for name in "ab"}
    assert len({patient_key.patient_key(salt, "4711") for salt in salts}) == 2


def test_a_given_salt_is_taken_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv(patient_key.VARIABLE, "a salt of sixteen letters")
    salt = patient_key.load_salt(epath.Path(tmp_path))
    assert not os.listdir(tmp_path)
    # HMAC-SHA256 by another road: `printf 4711 | openssl dgst -sha256 -hmac "a salt of ..."`.
    assert patient_key.patient_key(salt, "4711") == "bd01824031416401"


def test_ways_of_writing_one_id_are_one_person():
    salt = b"a salt of sixteen letters"
    keys = {
        patient_key.patient_key(salt, each) for each in ("Ab 1", "AB1", "ab1 ", "\uff21B\uff11")
    }
    assert len(keys) == 1
    assert patient_key.patient_key(salt, "ab2") not in keys


def test_a_pipe_in_the_salts_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / patient_key.FILE)
    with pytest.raises(DatasetError, match="is no file"):
        patient_key.load_salt(epath.Path(tmp_path))


@pytest.mark.parametrize("salt", ["short", " " * 40])
def test_a_short_salt_is_refused(tmp_path, monkeypatch, salt):
    monkeypatch.setenv(patient_key.VARIABLE, salt)
    with pytest.raises(DatasetError, match=r"characters\. Give 16 or more"):
        patient_key.load_salt(epath.Path(tmp_path))


def test_a_bucket_needs_a_given_salt():
    with pytest.raises(DatasetError, match=patient_key.VARIABLE):
        patient_key.load_salt(epath.Path("gs://bucket/data"))


def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="can't be kept in"):
        patient_key.load_salt(epath.Path(tmp_path / "file" / "under"))


def _load(folder: str) -> bytes:
    return patient_key.load_salt(epath.Path(folder))


@pytest.mark.slow
def test_builds_that_begin_together_get_one_salt(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        salts = pool.map(_load, [str(tmp_path)] * 8)
    assert len(set(salts)) == 1


def test_a_salt_that_is_not_there_is_not_made_by_who_only_asks(tmp_path, monkeypatch):
    folder = epath.Path(tmp_path / "covid_tfds")
    assert patient_key.kept_salt(folder) is None and not os.listdir(tmp_path)
    made = patient_key.load_salt(folder)
    assert patient_key.kept_salt(folder) == made
    monkeypatch.setenv(patient_key.VARIABLE, "a salt of sixteen letters")
    assert patient_key.kept_salt(epath.Path("gs://bucket/data")) == b"a salt of sixteen letters"


def test_keys_load_their_salt_when_one_is_asked_for():
    loaded = []
    keys = patient_key.Keys(lambda: loaded.append(1) or b"a salt of sixteen letters")
    assert keys.check == "" and not loaded
    assert keys("4711") == "bd01824031416401" and keys("4712") != keys("4711")
    others = patient_key.Keys(lambda: b"a salt of 16 letters")
    others("4711")
    assert len({keys.check, others.check, keys("4711")}) == 3 and loaded == [1]
