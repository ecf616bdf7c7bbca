"""Whose a search's folder is, what may be removed, and that one process has it at a time."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.helpers import run_folders, searches
from trainer.run import files
from trainer.run.errors import ConfigError, RunError
from tuning.folder import Folder

BEGUN = ["--head_units=64:512:log2", "--dropout=0.2", "--seed=4"]
SAME, OTHER = searches.identity(*BEGUN), searches.identity("--seed=9")
# Prints that it has the folder, and keeps it until its end.
OWNER = (
    "import json, pathlib, sys; from tuning.folder import Folder\n"
    "with Folder(pathlib.Path(sys.argv[1])).held(json.loads(sys.argv[2]), overwrite=False):\n"
    "    print('held', flush=True); sys.stdin.read()"
)
EVENTS = "events.out.tfevents.1.host.7.0.v2"
LEFT = ("log.jsonl", "flags.txt", "trials.csv", "best_hparams.json", "final.json", "oracle.json",
        "tuner0.json", "trial_0003/trial.json", "trial_0003/predictions.csv",
        "trial_0003/checkpoint.weights.h5", "trial_0003/build_config.json", "trial_0004/error.txt",
        f"tensorboard/trial_0003/{EVENTS}", f"tensorboard/trial_0005/execution_1/{EVENTS}",
        "checkpoints/fold_0123abcd", "checkpoints/fold_0123abcd.state")  # fmt: skip


@pytest.fixture
def begun(tmp_path) -> Folder:
    return left(Folder(tmp_path / "deep" / "search"))


def left(folder: Folder, names: Sequence[str] = LEFT) -> Folder:
    """Leaves all that a search leaves, or some of it."""
    with folder.held(SAME, overwrite=False) as new:
        assert new
        folder.begin(SAME)
        for name in names:
            path = folder.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    run_folders.left(folder.retrained, finished=True)
    return folder


def contents(folder: Folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.root.rglob("*")
            if path.is_file() and path.name != ".lock"}  # fmt: skip


def test_the_same_flags_go_on(begun):
    before = contents(begun)
    with begun.held(searches.identity(*reversed(BEGUN)), overwrite=False) as new:
        assert not new and contents(begun) == before


CHANGED = {
    "--seed is 5, and was 4": ["--seed=5"],
    "--dropout is 0.3, and was 0.2": ["--dropout=0.3"],
    "--folds is 3, and was 0": ["--folds=3"],
}


@pytest.mark.parametrize("message", CHANGED)
def test_other_flags_are_refused_by_name(message, begun):
    before = contents(begun)
    with (
        pytest.raises(ConfigError, match=message),
        begun.held(searches.identity(*BEGUN, *CHANGED[message]), overwrite=False),
    ):
        pass
    assert contents(begun) == before


def test_other_flags_are_fine_where_no_trial_has_begun(begun):
    begun.log.write_text("")
    with begun.held(OTHER, overwrite=False):
        assert json.loads(begun.identity.read_text()) == OTHER


def test_nothing_is_removed_before_the_new_search_begins(begun):
    before = contents(begun)
    with (
        pytest.raises(RunError, match="not built"),
        begun.held(OTHER, overwrite=True) as new,
    ):
        assert new
        raise RunError("The dataset is not built.")
    assert contents(begun) == before
    with begun.held(SAME, overwrite=False) as new:
        assert not new


UNFINISHED = (".7.0123abcd.final.json", "trial_0004/.7.0123abcd.trial.json", ".7.0123abcd..lock",
              f".trial_0006/execution_2/{EVENTS}", "checkpoints/.7.0123abcd.fold_01",
              "retrained/plots/.7.0123abcd.roc.png", "retrained/.lock")  # fmt: skip


def test_overwrite_removes_all_that_a_search_wrote(begun):
    (begun.root / ".trial_0007").mkdir()  # of a search that was killed, like what follows
    for name in UNFINISHED:
        (begun.root / name).parent.mkdir(parents=True, exist_ok=True)
        (begun.root / name).write_text("half")
    with begun.held(SAME, overwrite=True):
        begun.begin(SAME)
        assert {path.name for path in begun.root.iterdir()} == {"search.json", ".lock"}


def test_a_search_that_goes_on_removes_what_killed_processes_were_writing(begun):
    before = contents(begun)
    mine = begun.root / "trial_0003" / ".7.0123abcd.thesis.svg"
    left = [begun.root / name for name in UNFINISHED if "/.7.0123abcd" in f"/{name}"]
    for path in (mine, *left):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    of_run = {
        str(path) for path in left if begun.retrained in path.parents
    }  # which removes its own
    with begun.held(SAME, overwrite=False):
        assert contents(begun).keys() == before.keys() | of_run | {str(mine)}


MINE = ("thesis.svg", "photos/thesis.svg", "plots/thesis.svg", "logs/thesis.log",
        "checkpoints/thesis.svg", "tensorboard/thesis.svg", f"tensorboard/thesis/{EVENTS}",
        "trial_0003/thesis.svg", "trial_0003/thesis/trial.json", "thesis/trial_0003/trial.json",
        "retrained/thesis.svg", "retrained/plots/thesis.svg",
        "retrained/thesis/thesis.svg")  # fmt: skip


def require_refused(folder, match):
    """--overwrite of a folder is a ConfigError with these words."""
    with pytest.raises(ConfigError, match=match), folder.held(SAME, overwrite=True):
        pass


@pytest.mark.parametrize("name", MINE)
def test_overwrite_removes_no_file_of_a_user_from_a_search(name, begun):
    mine = begun.root / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    before = contents(begun)
    require_refused(begun, f"holds what no search wrote \\({name}\\)")
    assert contents(begun) == before
    mine.unlink()
    with begun.held(SAME, overwrite=True):
        begun.begin(SAME)
        assert len(contents(begun)) == 1


@pytest.mark.parametrize("name", [*LEFT[1:], "retrained/config.json"])
def test_overwrite_removes_nothing_where_no_search_was(name, tmp_path):
    """Whatever it is called: folders named `plots`, `checkpoints` and `tensorboard` are many."""
    folder = Folder(tmp_path / "mine")
    (folder.root / name).parent.mkdir(parents=True)
    (folder.root / name).write_text("mine")
    for overwrite in (False, True):
        with (
            pytest.raises(ConfigError, match=rf"{name}.*\. Give another folder\.$"),
            folder.held(SAME, overwrite=overwrite),
        ):
            pass
    assert (folder.root / name).read_text() == "mine"


def test_a_run_of_the_best_values_without_a_manifest_is_left_alone(begun):
    (begun.retrained / "manifest.json").unlink()
    before = contents(begun)
    require_refused(begun, r"holds what no search wrote \(retrained/")
    assert contents(begun) == before


def test_overwrite_follows_no_link(begun, tmp_path):
    (begun.root / "tensorboard").rename(tmp_path / "elsewhere")
    (begun.root / "tensorboard").symlink_to(tmp_path / "elsewhere")
    require_refused(begun, r"no search wrote \(tensorboard\)")
    assert list((tmp_path / "elsewhere").rglob(EVENTS))


def test_a_search_that_was_taken_over_is_not_begun_again(begun):
    with begun.held(OTHER, overwrite=True):
        before = contents(begun)
        run_folders.taken_over(begun.root)
        with pytest.raises(RunError, match="it took the folder over"):
            begun.begin(OTHER)
        assert contents(begun) == before


def test_a_search_that_fails_before_it_begins_leaves_no_folder(tmp_path):
    with (
        pytest.raises(RunError, match="not built"),
        Folder(tmp_path / "a").held(SAME, overwrite=False),
    ):
        raise RunError("The dataset is not built.")
    assert list(tmp_path.iterdir()) == []


def killed_at(call: int, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Ends a `begin` before its n-th change of the folder; whether there were so many."""
    calls = iter(range(1, call))

    def dying(change):
        def changed(*arguments, **options):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return change(*arguments, **options)

        return changed

    with monkeypatch.context() as patch, folder.held(OTHER, overwrite=True):
        for of, name in ((os, "unlink"), (os, "rmdir"), (os, "replace")):
            patch.setattr(of, name, dying(getattr(of, name)))
        try:
            folder.begin(OTHER)
        except KeyboardInterrupt:
            return True
        finally:
            patch.undo()
    return False


@pytest.mark.slow
def test_a_replacement_that_is_killed_anywhere_mixes_no_searches(tmp_path, monkeypatch):
    states = []
    for call in range(1, 100):
        folder = left(Folder(tmp_path / str(call)), LEFT[::4])
        before = contents(folder)
        if not killed_at(call, folder, monkeypatch):
            break
        if folder.identity.exists():
            now = json.loads(folder.identity.read_text())
            states.append("old" if now == SAME else "new")
            assert contents(folder) == before if now == SAME else len(contents(folder)) == 1
        else:
            states.append("neither")
            if not all(files.unfinished(pathlib.Path(path)) for path in contents(folder)):
                with (
                    pytest.raises(ConfigError, match="--overwrite"),
                    folder.held(OTHER, overwrite=False),
                ):
                    pass
        with folder.held(OTHER, overwrite=True):
            folder.begin(OTHER)
            assert len(contents(folder)) == 1
    assert list(dict.fromkeys(states)) == ["old", "neither", "new"]
    assert len(states) > len(before)


def test_what_a_killed_replacement_leaves_of_a_search_without_a_trial_can_be_removed(
    tmp_path, monkeypatch
):
    killed = True
    for call in range(1, 9):
        folder = Folder(tmp_path / str(call))
        with folder.held(SAME, overwrite=False):
            folder.begin(SAME)
            folder.flags.write_text("--seed=4")
        killed = killed_at(call, folder, monkeypatch)
        with folder.held(OTHER, overwrite=True):
            folder.begin(OTHER)
            assert len(contents(folder)) == 1
    assert not killed


def test_a_search_of_an_earlier_release_is_refused_and_can_be_removed(tmp_path):
    folder = Folder(tmp_path)
    old = ("state.json", "search.json", "plots/best_so_far.png", "logs/worker0.log")
    for name in old:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match="earlier release"), folder.held(SAME, overwrite=False):
        pass
    with folder.held(SAME, overwrite=True):
        folder.begin(SAME)
        assert {path.name for path in tmp_path.iterdir()} == {"search.json", ".lock"}


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with (
        pytest.raises(ConfigError, match="not empty"),
        Folder(tmp_path).held(SAME, overwrite=False),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_lock_that_no_search_wrote_is_left_alone(begun):
    (begun.root / ".lock").write_text("years of work")
    for overwrite in (False, True):
        with (
            pytest.raises(ConfigError, match="no run or search wrote"),
            begun.held(SAME, overwrite=overwrite),
        ):
            pass
    assert (begun.root / ".lock").read_text() == "years of work"
    assert begun.log.exists()


def test_one_process_has_it_at_a_time_until_it_is_gone(begun):
    command = [sys.executable, "-c", OWNER, str(begun.root), json.dumps(SAME)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as owner:
        assert owner.stdout.readline() == "held\n"
        for overwrite in (False, True):
            with (
                pytest.raises(RunError, match=f"process {owner.pid}"),
                begun.held(SAME, overwrite=overwrite),
            ):
                pass
        owner.kill()
    with begun.held(SAME, overwrite=False):
        pass
