"""The command: wrong lines, a whole search, going on, its process replaced."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import types

import psutil
import pytest

from tests.helpers import commands, searches
from tests.helpers.searches import ranking
from trainer.run.manifest import Manifest
from tuning import main
from tuning.folder import Folder

WRONG = {
    "are no flags": ["grid"],
    "Unknown command line flag 'max_trial'": ["--max_trial=3"],
    "--learning_rate=fast can't be read": ["--learning_rate=fast"],
    "--workers=0 has to be 1 or more": ["--workers=0"],
    "--task_cpus=2 has no effect": ["--task_cpus=2"],
    "--final_folds is 1. Give 2 to 1000, or 0": ["--final_folds=1"],
    "--keep_best=2 has no effect with --folds": ["--keep_best=2", "--folds=2"],
    "--objective is val_auc. Choose from: val_balanced_accuracy, val": ["--objective=val_auc"],
}


def command(*arguments: str) -> commands.Ended:
    return commands.run("tuning.main", *arguments)


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_command_line_exits_with_2_and_no_traceback(message, tmp_path):
    done = command(*WRONG[message], f"--search_dir={tmp_path / 'search'}")
    assert done.status == 2
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert not (tmp_path / "search").exists()


@pytest.fixture(scope="module")
def tiny(data_dir, cache_dir) -> list[str]:
    """A search of some seconds."""
    return [*searches.QUICK, f"--data_dir={data_dir}", "--batch_size=16", "--max_trials=2",
            f"--cache_dir={cache_dir}", "--seed=3", "--align=none",
            "--head_units=4:16:log2", "--epochs=1"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """One whole search with its closing comparison and training."""
    folder = tmp_path_factory.mktemp("whole") / "search"
    flags = [*tiny, "--folds=2", "--final_folds=2", f"--search_dir={folder}"]
    return flags, folder, command(*flags, "--retrain_best")


@pytest.mark.slow
def test_a_search_ends_with_leaderboard_comparison_and_a_trained_network(whole):
    _, folder, done = whole
    assert done.status == 0, done.err
    for words in ("2 trials finished, 0 failed\nscores: 2-fold, patient-grouped, n = 85 images",
                  "out of 2 new folds", "difference, paired",
                  "shortcut baseline, lungs masked"):  # fmt: skip
        assert words in done.out
    best = json.loads((folder / "best_hparams.json").read_text())
    retrained = json.loads((folder / "retrained" / "config.json").read_text())
    assert {n: retrained["config"][n] for n in best["values"]} == best["values"]
    assert retrained["hparams"]["file"] == str(folder / "best_hparams.json")
    assert retrained["hparams"]["dataset_fingerprint"] == retrained["dataset"]["fingerprint"]
    assert Manifest.read(folder / "retrained").damaged(folder / "retrained") == []
    final = json.loads((folder / "final.json").read_text())
    difference = [final[side]["balanced_accuracy"]["value"] for side in ("best", "default")]
    assert final["difference"]["value"] == pytest.approx(difference[0] - difference[1])


@pytest.mark.slow
def test_the_lines_of_the_screen_have_80_columns(whole):
    lines = whole[2].out.splitlines()
    paths = [line for line in lines if "/" in line]
    trials = [line for line in lines if "  trial " in line]  # into a file: a line each
    assert sum("begins" in line for line in trials) == 2
    assert max(len(line) for line in lines if line not in [*paths, *trials]) <= 80


@pytest.mark.slow
def test_a_finished_search_trains_nothing_again(whole):
    flags, folder, _ = whole
    log, made = folder / "log.jsonl", (folder / "final.json", folder / "retrained/metrics.json")
    before = log.read_bytes(), [path.stat().st_mtime_ns for path in made]
    done = command(*flags, "--retrain_best")
    assert done.status == 0, done.err
    assert "2 trials have ended" in " ".join(done.out.split())
    assert "out of 2 new folds" in done.out
    assert (log.read_bytes(), [path.stat().st_mtime_ns for path in made]) == before


def test_stopped_before_it_replaces_a_search_it_says_that_this_is_as_it_was(tmp_path):
    same, folder = searches.identity(), Folder(tmp_path / "search")
    with folder.held(same, overwrite=False):
        folder.begin(same)
    goes_on = f"trials that ended are in {folder.root}; the same command"
    assert main._what_stays(folder, overwrite=False)() == f"{goes_on} goes on"
    said = main._what_stays(folder, overwrite=True)
    assert said() == f"the new search has not begun, and {folder.root} holds what it held before"
    with folder.held(same, overwrite=True):
        folder.begin(same)
    assert said() == f"{goes_on}, without --overwrite, goes on"


@pytest.mark.slow
def test_other_flags_in_the_same_folder_are_named(whole):
    flags, _, _ = whole
    done = command(*flags, "--epochs=3", "--dropout=0.1")
    assert done.status == 2
    assert "--dropout is 0.1, and was 0.5; --epochs is 3, and was 1" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["origin.json", "final.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_of_a_search_ends_its_command_with_a_sentence(
    name, content, whole, tmp_path
):
    flags, folder, _ = whole
    shutil.copytree(folder, tmp_path / "search")
    (tmp_path / "search" / name).write_bytes(content)
    done = command(*flags, f"--search_dir={tmp_path}/search", "--max_trials=3")
    assert done.status == 1
    *_, said = done.err.partition(f"{tmp_path}/search/{name}")
    assert said.startswith(" is damaged: its content is not what was written.")
    assert "Traceback" not in done.err + done.out
    assert (tmp_path / "search" / name).read_bytes() == content


@pytest.mark.slow
def test_a_search_without_a_finished_trial_exits_with_1(tiny, tmp_path, monkeypatch):
    searches.fix_random_weights(monkeypatch, first=1e36)  # the network gives no finite numbers
    done = command(*tiny, "--max_trials=1", f"--search_dir={tmp_path / 'search'}",
                   f"--cache_dir={tmp_path / 'c'}")  # fmt: skip
    assert done.status == 1
    out = " ".join(done.out.split())
    assert "No trial finished; 1 failed. The last: In epoch 1, step " in out
    assert "the loss or a weight of the network was not finite any more" in out
    assert "Traceback" not in done.err


class OfSize:
    """A process that has the next of some sizes each time; None: nobody knows."""

    def __init__(self, *sizes: int | None) -> None:
        self._sizes = iter(sizes)

    def memory_info(self):
        if (size := next(self._sizes)) is None:
            raise psutil.AccessDenied
        return types.SimpleNamespace(rss=size)


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [([7, 7 + main._MOST_GROWTH, 8 + main._MOST_GROWTH], [0, 0, 1]), ([None, 7, None], [0, 0, 0])],
)
def test_a_process_is_replaced_where_its_memory_is_known_to_have_climbed(sizes, calls, monkeypatch):
    replaced, process = [], OfSize(*sizes)
    monkeypatch.setattr(psutil, "Process", lambda: process)
    monkeypatch.setattr(os, "execv", lambda path, words: replaced.append(words))
    monkeypatch.setattr(sys, "argv", ["main.py", "--classes=4", "--overwrite"])
    look, counts = main._Memory(), []
    for _ in sizes:
        with main._replaced_when_large():
            look()
        counts.append(len(replaced))
    assert counts == calls
    words = [sys.executable, "-m", "tuning.main", "--classes=4", "--overwrite", "--nooverwrite"]
    assert replaced in ([], [words])


def test_the_table_is_gone_from_the_screen_when_the_process_is_replaced(monkeypatch):
    closed, seen = [], []
    monkeypatch.setattr(os, "execv", lambda path, words: seen.append(list(closed)))
    with main._replaced_when_large(), contextlib.ExitStack() as opened:
        opened.callback(closed.append, "the table")
        raise main._TooLarge
    assert seen == [["the table"]]


@pytest.mark.slow
def test_a_process_whose_memory_climbed_is_replaced_and_goes_on(tiny, tmp_path):
    """With the least growth taken for too much; what takes its place is the command itself."""
    folder, flags = tmp_path / "search", [*tiny, "--final_folds=0"]
    program = (
        "import sys\n"
        "import tuning.main as main; main._MOST_GROWTH = -1; main._define_flags()\n"
        "from trainer.run import command; command.run(main.main)"
    )
    done = subprocess.run([sys.executable, "-c", program, *flags, f"--search_dir={folder}",
                           "--overwrite"], cwd=commands.ROOT, capture_output=True, text=True,
                          timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Memory has climbed: the process is replaced and goes on.") == 1
    assert "1 trial has ended" in " ".join(done.stdout.split())
    assert [row[2] for row in ranking(folder)] == ["COMPLETED"] * 2
