"""A run in its folder: it begins, goes on and ends, and loses nothing of others."""

import json
import pathlib

import pytest

from tests.helpers.run_folders import (
    BEGUN,
    FLAGS,
    ORIGIN,
    SAME,
    WRITTEN,
    contents,
    left,
    opened,
    state,
)
from trainer.run import files, manifest, run_dir
from trainer.run.errors import ConfigError, RunError
from trainer.run.run_dir import Identity, RunFolder


def test_the_manifest_is_the_first_file_of_a_run(tmp_path, monkeypatch):
    names, whole = [], files.written_whole
    monkeypatch.setattr(
        files, "written_whole", lambda path: (names.append(path.name), whole(path))[1]
    )
    with opened(tmp_path) as folder:
        folder.begin(ORIGIN)
    assert names[0] == "manifest.json" and set(names) == BEGUN


def test_a_run_begins_with_its_settings_and_a_flagfile_that_goes_on(tmp_path):
    with opened(tmp_path, Identity("trainer.main", {**FLAGS, "folds": 3})) as folder:
        folder.begin(ORIGIN)
        assert all((tmp_path / name).is_dir() for name in manifest.FOLDERS)
    assert json.loads((tmp_path / "config.json").read_text()) == ORIGIN
    lines = (tmp_path / "flags.txt").read_text().splitlines()
    assert lines == ["--classes=4", "--dataset=phantom", "--epochs=5", "--cache_dir=", "--folds=3"]
    assert state(tmp_path, Identity("trainer.main", {**FLAGS, "folds": 3})) == "started"


def test_the_same_command_finds_what_is_there(tmp_path):
    before = contents(left(tmp_path))
    with opened(tmp_path) as folder:
        assert (folder.state, folder.origin, folder.grown) == ("started", ORIGIN, {})
        folder.begin({"config": "of this process"})
        assert contents(tmp_path) == before
        folder.finish()
    with opened(tmp_path) as folder:
        assert (folder.state, folder.origin) == ("finished", ORIGIN)
        assert folder.damaged() == []
        (tmp_path / "model.keras").write_text("another")
        (tmp_path / "checkpoints" / "state").unlink()
        assert sorted(folder.damaged()) == ["checkpoints/state", "model.keras"]


def test_a_finished_run_has_no_empty_folders(tmp_path):
    with opened(tmp_path) as folder:
        folder.begin(ORIGIN)
        (tmp_path / "plots" / "roc.png").touch()
        folder.finish()
    assert {path.name for path in tmp_path.iterdir()} == {"plots", *BEGUN}


def test_what_killed_processes_left_unfinished_goes_when_the_run_goes_on(tmp_path):
    before = contents(left(tmp_path))
    for name in (".7.0123abcd.history.csv", "checkpoints/.7.0123abcd.state"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".7.0123abcd.thesis.doc").write_text("mine")
    with opened(tmp_path) as folder:
        folder.begin(ORIGIN)
    assert contents(tmp_path) == {**before, ".7.0123abcd.thesis.doc": "mine"}


@pytest.mark.parametrize("finished", [False, True])
def test_epochs_that_grew_are_written_down(finished, tmp_path):
    left(tmp_path, finished=finished)
    longer = Identity("trainer.main", {**FLAGS, "epochs": 8, "cache_dir": "/b"}, ("epochs",))
    origin = {"config": {**FLAGS, "epochs": 8}}
    with opened(tmp_path, longer) as folder:
        assert folder.state == ("finished" if finished else "started")
        assert folder.grown == {"epochs": (5, 8)}
        folder.begin(origin)
    assert state(tmp_path, longer) == "started"
    assert json.loads((tmp_path / "config.json").read_text()) == origin
    assert "--epochs=8\n" in (tmp_path / "flags.txt").read_text()
    with pytest.raises(ConfigError, match="--epochs is 5, and was 8"):
        state(tmp_path)
    with pytest.raises(ConfigError, match="--epochs is 9, and was 8"):  # of one that may not grow
        state(tmp_path, Identity("trainer.main", {**FLAGS, "epochs": 9}))


@pytest.mark.parametrize("name", ["config.json", "flags.txt"])
@pytest.mark.parametrize("damage", [pathlib.Path.unlink, lambda path: path.write_text('{"a": 1}')])
def test_settings_that_were_lost_are_written_again_when_the_run_goes_on(name, damage, tmp_path):
    before = contents(left(tmp_path))
    damage(tmp_path / name)
    with opened(tmp_path) as folder:
        assert folder.origin == ORIGIN
        folder.begin(ORIGIN)
    assert contents(tmp_path) == before


# What --overwrite removes

OTHER = Identity("trainer.crossval", {"folds": 3})
MINE = {"thesis.svg": "mine", "plots/thesis.svg": "mine", "photos/a.png": "mine"}


def add_mine(folder: pathlib.Path) -> None:
    for name, text in MINE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("identity", [SAME, OTHER])
def test_overwrite_removes_what_the_manifest_lists_when_the_new_run_begins(
    identity, finished, tmp_path
):
    add_mine(left(tmp_path, finished=finished))
    (tmp_path / ".12.0123abcd.history.csv").write_text("of a killed process")
    before = contents(tmp_path)
    with opened(tmp_path, identity, overwrite=True) as folder:
        assert (folder.state, folder.origin) == ("new", None)
        assert contents(tmp_path) == before
        folder.begin({"config": {}})
        assert contents(tmp_path).keys() == {*MINE, *BEGUN}
        assert json.loads((tmp_path / "config.json").read_text()) == {"config": {}}
    assert contents(tmp_path).items() >= MINE.items()
    assert state(tmp_path, identity) == "started"


def test_what_a_run_may_write_is_known_of_both_releases_that_wrote_it(tmp_path):
    manifest.Manifest("trainer.main", FLAGS, ("old.csv",), ORIGIN).write(tmp_path)
    names = ("old.csv", "history.csv", "thesis.svg")
    with opened(tmp_path) as folder:
        folder.begin(ORIGIN)
        for name in names:
            (tmp_path / name).write_text("before")
        folder.finish()
        for name in names:
            (tmp_path / name).write_text("after")
        assert folder.damaged() == ["history.csv", "old.csv"]
    with opened(tmp_path, overwrite=True) as folder:
        folder.begin(ORIGIN)
    assert contents(tmp_path).keys() == {"thesis.svg", *BEGUN}


def test_a_run_that_fails_before_it_begins_replaces_nothing(tmp_path):
    before = contents(left(tmp_path, finished=True))
    with pytest.raises(ZeroDivisionError), opened(tmp_path, OTHER, overwrite=True):
        _ = 1 / 0
    assert contents(tmp_path) == before
    assert state(tmp_path) == "finished"


def test_other_files_are_no_reason_to_refuse_a_run(tmp_path):
    add_mine(left(tmp_path))
    assert state(tmp_path) == "started"


def killed_at(call: int, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Ends a `begin` before its n-th change of the folder; whether there were so many."""
    count = 0

    def dying(change):
        def changed(*arguments, **options):
            nonlocal count
            count += 1
            if count == call:
                raise KeyboardInterrupt
            return change(*arguments, **options)

        return changed

    with monkeypatch.context() as patch:
        for name in ("unlink", "rmdir", "mkdir", "replace"):
            patch.setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
        try:
            run_dir._opened(path, OTHER, overwrite=True).begin({"config": {}})
        except KeyboardInterrupt:
            return True
    return False


def test_a_replacement_that_is_killed_anywhere_mixes_no_runs(tmp_path, monkeypatch):
    states = []
    for call in range(1, 100):
        path = tmp_path / str(call)
        add_mine(left(path))
        (path / ".7.0123abcd.history.csv").write_text("half")
        if not killed_at(call, path, monkeypatch):
            break
        old = set(WRITTEN) & contents(path).keys()
        there = run_dir._opened(path, SAME, overwrite=True).before
        states.append(there.command if there.origin else "neither")
        if states[-1] == SAME.command:
            assert old == set(WRITTEN)  # all of the earlier run
        if states[-1] == OTHER.command:
            assert old == set()  # nothing of it
        with opened(path, OTHER, overwrite=states[-1] == SAME.command) as folder:
            folder.begin({"config": {}})
        assert contents(path).keys() == {*MINE, *BEGUN}
    assert list(dict.fromkeys(states)) == [SAME.command, "neither", OTHER.command]


def test_overwrite_removes_a_link_and_not_what_it_leads_to(tmp_path):
    path = left(tmp_path / "a")
    (path / "model.keras").rename(tmp_path / "model.keras")
    (path / "model.keras").symlink_to(tmp_path / "model.keras")
    with opened(path, overwrite=True) as folder:
        folder.begin(ORIGIN)
    assert contents(path).keys() == BEGUN
    assert (tmp_path / "model.keras").read_text() == "model.keras"


# Without a command


def test_a_plain_folder_begins_new_and_replaces(tmp_path):
    path = tmp_path / "deep" / "a"
    for _ in range(2):
        folder = run_dir.plain(path)
        assert isinstance(folder, RunFolder) and folder.state == "new"
        folder.begin(ORIGIN)
        assert contents(path).keys() == BEGUN
        folder.check()
        (path / "history.csv").touch()
        folder.finish()
        assert folder.damaged() == []


def test_a_run_whose_manifest_was_removed_meanwhile_ends_with_a_sentence(tmp_path):
    with opened(tmp_path) as folder:
        folder.begin(ORIGIN)
        (tmp_path / manifest.NAME).unlink()
        with pytest.raises(RunError, match=r"has no manifest\.json any more\. Start the run again"):
            folder.finish()
