"""Folders that can't be locked, and folders that replace nothing."""

import errno
import fcntl
import os
import types

import pytest
from etils import epath

from covid_tfds import replacing
from covid_tfds.errors import DatasetError


def of(folder: str) -> types.SimpleNamespace:
    """What is asked of a builder."""
    return types.SimpleNamespace(data_path=epath.Path(folder) / "2.0.0", version="2.0.0")


def test_a_folder_in_a_bucket_is_neither_locked_nor_made_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replacing.recover(of("gs://bucket/covid_tfds/tiny"))
    with replacing.alone(of("gs://bucket/covid_tfds/tiny")):
        pass
    replacing.make_room(epath.Path("gs://bucket/covid_tfds/tiny/incomplete.ABC_2.0.0"))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_knows_no_locks_is_built_on(tmp_path, monkeypatch, capsys):
    def refuse(*_) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with replacing.alone(of(f"{tmp_path}/tiny")):
        (tmp_path / "tiny/incomplete.ABC_2.0.0").mkdir()
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == [".lock"]
    assert not capsys.readouterr().out


def test_a_link_to_a_disk_that_is_not_there_ends_a_build_before_it_begins(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/2.0.0").symlink_to("/nowhere/2.0.0")
    said = r"tiny/2\.0\.0 is a link to /nowhere/2\.0\.0, which"
    with pytest.raises(DatasetError, match=said), replacing.alone(of(f"{tmp_path}/tiny")):
        raise AssertionError("begun")
    assert (tmp_path / "tiny/2.0.0").is_symlink()


@pytest.mark.parametrize("name", ["copy_2.0.0", "2.0.0", "incomplete.ABC_1.0.0"])
def test_a_folder_that_is_no_build_of_the_version_replaces_nothing(tmp_path, name):
    for each in {"2.0.0", name}:
        (tmp_path / each).mkdir()
    replacing.make_room(epath.Path(tmp_path / name))
    assert {path.name for path in tmp_path.iterdir()} == {"2.0.0", name}
