"""Paths are looked at before anything is loaded."""

import pytest

from trainer.run import given
from trainer.run.errors import RunError


def test_paths_of_which_one_is_there_are_let_through(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    monkeypatch.setenv("IMAGES", str(tmp_path))
    for paths in (["gone.png", tmp_path / "a.png"], [f"{tmp_path}/*.png"], ["$IMAGES"], []):
        given.require_something(paths)


def test_paths_of_which_none_is_there_are_named_with_what_may_be_meant(tmp_path):
    (tmp_path / "chest.png").touch()
    with pytest.raises(RunError) as refused:
        given.require_something([tmp_path / "chst.png", "*.gone"])
    meant = tmp_path / "chest.png"
    assert str(refused.value) == (
        f"There is no file {tmp_path / 'chst.png'} and *.gone. Did you mean {meant}?"
    )
    with pytest.raises(RunError, match=r"There is no file 0, 1, 2, 3, 4 and 5 more\.$"):
        given.require_something([str(i) for i in range(10)])


@pytest.mark.parametrize("paths", [[""], ["", "."]])
def test_an_empty_path_stands_for_nothing(paths):
    with pytest.raises(RunError, match=r"^One of the paths is empty: is a variable"):
        given.require_something(paths)


def test_a_file_needs_a_folder_that_can_be_written(tmp_path, monkeypatch):
    given.require_written(tmp_path / "a.csv", "output")
    given.require_written("", "output")
    with pytest.raises(RunError, match=rf"--output {tmp_path} is a folder\. Give a file\."):
        given.require_written(tmp_path, "output")
    with pytest.raises(RunError, match=f"there is no folder {tmp_path}/no. Make it, or give"):
        given.require_written(tmp_path / "no" / "a.csv", "gallery")
    monkeypatch.setattr(given.os, "access", lambda *_: False)
    with pytest.raises(RunError, match=f"{tmp_path} is not writable. Give another file"):
        given.require_written(tmp_path / "a.csv", "output")


def test_a_folder_needs_one_above_it_that_can_be_written(tmp_path, monkeypatch):
    given.require_made(tmp_path / "new" / "below", "output")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=f"{tmp_path}/file is no folder. Give another"):
        given.require_made(tmp_path / "file" / "below", "output")
    monkeypatch.setattr(given.os, "access", lambda *_: False)
    with pytest.raises(RunError, match=f"{tmp_path} is not writable. Give another folder"):
        given.require_made(tmp_path / "new", "output")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name,near", [("art", "art4"), ("art5", "art4"), ("other", "")])
def test_what_lies_beside_may_be_meant(tmp_path, name, near):
    (tmp_path / "art4").mkdir()
    said = given.did_you_mean(tmp_path / name)
    assert said == (f" Did you mean {tmp_path / near}?" if near else "")
    assert given.did_you_mean(tmp_path / "gone" / "x") == ""


def test_names_that_no_file_system_takes_are_left_to_it(tmp_path):
    long = tmp_path / ("x" * 300)
    given.require_written(long, "output")
    given.require_made(long, "output")
    with pytest.raises(RunError, match="There is no file"):
        given.require_something([long])
