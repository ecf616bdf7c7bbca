"""Whose a search's folder is, what may be removed, and that one process has it at a time."""

import json
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.helpers import searches
from trainer.run.errors import ConfigError, RunError
from tuning import folder as folder_lib
from tuning.folder import Folder

BEGUN = ["--head_units=64:512:log2", "--dropout=0.2", "--seed=4"]
SAME = searches.identity(*BEGUN)
# Says that it owns the folder, and keeps it until its end.
OWNER = (
    "import pathlib, sys; from tuning.folder import Folder\n"
    "import json\n"
    "folder = Folder(pathlib.Path(sys.argv[1]))\n"
    "with folder.owned(json.loads(sys.argv[2])): print('mine', flush=True); sys.stdin.read()"
)
# Is killed while it writes the state.
WRITER = (
    "import os, pathlib, signal, sys; from trainer.run import files\n"
    "with files.written_whole(pathlib.Path(sys.argv[1]) / 'state.json') as beside:\n"
    "    beside.write_text('{'); os.kill(os.getpid(), signal.SIGKILL)"
)


@pytest.fixture
def begun(tmp_path) -> Folder:
    folder = Folder(tmp_path / "deep" / "search")
    folder.begin(searches.identity(*BEGUN), overwrite=False)
    return folder


@pytest.fixture
def hasty(monkeypatch):
    """Waits for a moment only where another process has the folder."""
    monkeypatch.setattr(folder_lib, "_PATIENCE", 0.3)


def filled(folder: Folder) -> set[pathlib.Path]:
    """Leaves what a search leaves; returns all files."""
    for name in ("state.json", "trials.csv", "best_hparams.json", "final.json", ".lock",
                 "plots/a.png", "tensorboard/trial_0/events", "logs/worker0.log",
                 "retrained/config.json"):  # fmt: skip
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return files(folder)


def files(folder: Folder) -> set[pathlib.Path]:
    return {path for path in folder.root.rglob("*") if path.is_file()}


def owner(folder: Folder, identity: dict = SAME) -> subprocess.Popen:
    started = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder.root), json.dumps(identity)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert started.stdout.readline() == "mine\n"
    return started


def test_the_same_flags_go_on(begun):
    before = filled(begun)
    contents = {path: path.read_bytes() for path in before}
    begun.begin(searches.identity(*reversed(BEGUN)), overwrite=False)
    assert {path: path.read_bytes() for path in files(begun)} == contents


CHANGED = {
    "--seed is 5, and was 4": ["--seed=5"],
    "--dropout is 0.3, and was 0.2": ["--dropout=0.3"],
    "--dropout is 0:0.5:0.1, and was 0.2": ["--dropout=0:0.5:0.1"],
    "--head_units is 256, and was 64:512:log2": ["--head_units=256"],
    "--head_units is 64:512:linear, and was 64:512:log2": ["--head_units=64:512:linear"],
    "--pooling is max,average, and was flatten": ["--pooling=max,average"],
    "--tuner is bayesian, and was random": ["--tuner=bayesian"],
    "--folds is 3, and was 0": ["--folds=3"],
    "--direction is min, and was max; --objective is val_loss, and was val_balanced_accuracy": [
        "--objective=val_loss"
    ],
    "--epochs is 3, and was 40; --seed is 5, and was 4. Give the same flags to go on": [
        "--epochs=3", "--seed=5"
    ],
}  # fmt: skip


@pytest.mark.parametrize("message", CHANGED)
def test_changed_flags_are_named(message, begun):
    before = filled(begun)
    with pytest.raises(ConfigError) as refused:
        begun.begin(searches.identity(*BEGUN, *CHANGED[message]), overwrite=False)
    assert message in str(refused.value)
    assert files(begun) == before


def test_before_the_first_trial_other_flags_begin_another_search(begun, hasty):
    other = searches.identity(*BEGUN, "--epochs=3")
    begun.begin(other, overwrite=False)
    with begun.owned(other):
        pass
    # A search that goes on may have computed rows for long before its first trial.
    first = owner(begun, other)
    try:
        with pytest.raises(RunError, match="Another process searches in"):
            begun.begin(SAME, overwrite=False)
        assert json.loads((begun.root / "search.json").read_text()) == other
    finally:
        first.kill()
        first.communicate()
    # Who began with the flags before must not go on under these.
    with pytest.raises(ConfigError, match="--epochs is 40, and was 3"), begun.owned(SAME):
        pass


def test_a_flag_that_the_program_did_not_have_is_named(begun):
    filled(begun)
    path = begun.root / "search.json"
    older = json.loads(path.read_text())
    del older["seed"]
    path.write_text(json.dumps(older))
    with pytest.raises(ConfigError, match="--seed is 4, and was not given"):
        begun.begin(searches.identity(*BEGUN), overwrite=False)


def test_overwrite_removes_what_a_search_left_and_begins_again(begun):
    filled(begun)
    now = searches.identity("--seed=5")
    begun.begin(now, overwrite=True)
    assert files(begun) == {begun.root / "search.json", begun.root / ".lock"}
    assert json.loads((begun.root / "search.json").read_text()) == now


@pytest.mark.parametrize("overwrite", [True, False])
def test_foreign_files_are_never_removed(overwrite, tmp_path):
    folder = Folder(tmp_path)
    before = filled(folder) - {folder.state}
    folder.state.unlink()
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(ConfigError, match=r"--search_dir .*(\(thesis\.doc\)|is not empty)"):
        folder.begin(searches.identity(), overwrite=overwrite)
    assert files(folder) == before | {tmp_path / "thesis.doc"}


def test_a_search_without_its_flags_is_not_taken_for_another(tmp_path):
    folder = Folder(tmp_path)
    before = filled(folder)
    with pytest.raises(ConfigError, match="is not empty"):
        folder.begin(searches.identity(), overwrite=False)
    assert files(folder) == before


def test_a_folder_that_can_not_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="can't be written"):
        Folder(tmp_path / "file" / "search").begin(searches.identity(), overwrite=False)


@pytest.mark.parametrize("name", ["plots/lungs.png", "logs/ward.log", "trials.csv"])
def test_nothing_is_removed_without_overwrite(name, tmp_path):
    """A folder of someone else's that happens to hold such a name."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty"):
        Folder(tmp_path).begin(searches.identity(), overwrite=False)
    assert path.exists()


def test_overwrite_removes_what_a_killed_process_left(begun):
    done = subprocess.run([sys.executable, "-c", WRITER, str(begun.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    begun.begin(searches.identity("--seed=5"), overwrite=True)
    assert files(begun) == {begun.root / "search.json"}


def test_a_second_process_is_kept_out_until_the_first_is_killed(begun, hasty):
    first = owner(begun)
    try:
        with pytest.raises(RunError, match="Another process searches in"), begun.owned(SAME):
            pass
    finally:
        first.kill()
        first.communicate()
    with begun.owned(SAME):
        pass


def test_a_folder_is_given_back(begun, hasty):
    with begun.owned(SAME):
        pass
    first = owner(begun)
    first.communicate("")
    assert first.returncode == 0
    with begun.owned(SAME):
        pass


def test_a_search_that_goes_on_is_not_overwritten(begun, hasty):
    filled(begun)
    first = owner(begun)
    try:
        with pytest.raises((RunError, ConfigError), match="Another process searches in"):
            begun.begin(searches.identity(*BEGUN), overwrite=True)
            with begun.owned(SAME):
                pass
        assert begun.state.exists()
    finally:
        first.kill()
        first.communicate()
