"""The command: wrong lines, a whole search, going on, kills."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import commands, searches
from tests.helpers.searches import ended_search, processes_of, ranking
from trainer.input_pipeline import dataset
from trainer.run.errors import ConfigError
from tuning import processes, roles

CHIEF = {"KERASTUNER_TUNER_ID": "chief", "KERASTUNER_ORACLE_IP": "127.0.0.1",
         "KERASTUNER_ORACLE_PORT": "1"}  # fmt: skip
WRONG = {
    "are no flags": (["grid"], {}),
    "Unknown command line flag 'max_trial'": (["--max_trial=3"], {}),
    "--learning_rate=fast can't be read": (["--learning_rate=fast"], {}),
    "--workers is 0. Give 1 or more": (["--workers=0"], {}),
    "--worker_timeout is 1. Give 5 or more": (["--worker_timeout=1"], {}),
    "--trial_attempts is 0. Give 1 or more": (["--trial_attempts=0"], {}),
    "--final_folds is 1. Give 2 or more, or 0": (["--final_folds=1"], {}),
    "KERASTUNER_ORACLE_PORT is not": ([], dict(list(CHIEF.items())[:2])),
    "--workers=2 starts workers here": (["--workers=2"], CHIEF),
    "--overwrite would remove the search": (["--overwrite"], CHIEF),
    "--retrain_best needs images": (["--retrain_best"], CHIEF),
}


def command(*arguments: str) -> commands.Ended:
    return commands.run("tuning.main", *arguments)


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_command_line_exits_with_2_and_no_traceback(message, tmp_path, monkeypatch):
    flags, environment = WRONG[message]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = command(*flags, f"--search_dir={tmp_path / 'search'}")
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "search").exists()


def test_the_role_follows_from_keras_tuners_variables():
    assert roles.role({}) == "alone"
    assert roles.role(CHIEF) == "chief"
    assert roles.role({**CHIEF, "KERASTUNER_TUNER_ID": "gpu-3"}) == "worker"
    with pytest.raises(ConfigError, match="Set all three"):
        roles.role({"KERASTUNER_ORACLE_IP": "127.0.0.1"})
    with pytest.raises(ConfigError, match="KERASTUNER_ORACLE_IP is not, or is empty"):
        roles.role({**CHIEF, "KERASTUNER_ORACLE_IP": ""})


def test_workers_share_cores_and_gpus(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    cores = max(1, len(os.sched_getaffinity(0)) // 3)
    given = [processes.share(number, 3, split_cores=True) for number in range(3)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in given] == ["4", "6", "4"]
    assert {each["TF_NUM_INTRAOP_THREADS"] for each in given} == {str(cores)}
    assert "TF_NUM_INTRAOP_THREADS" not in processes.share(0, 3, split_cores=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES" not in processes.share(0, 3, split_cores=True)


@pytest.fixture(scope="module")
def tiny(data_dir, tmp_path_factory) -> list[str]:
    """A search of some seconds."""
    return [*searches.QUICK, f"--data_dir={data_dir}", "--batch_size=16", "--max_trials=3",
            f"--cache_dir={tmp_path_factory.mktemp('cache')}", "--seed=3",
            "--head_units=4:16:log2"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """One whole search with its closing comparison and training."""
    folder = tmp_path_factory.mktemp("whole") / "search"
    flags = [*tiny, "--folds=2", "--final_folds=2", f"--search_dir={folder}"]
    return flags, folder, command(*flags, "--retrain_best")


def test_a_search_ends_with_leaderboard_comparison_and_a_trained_network(whole):
    _, folder, done = whole
    assert done.status == 0, done.err
    for words in ("3 trials finished, 0 failed\nscores: 2-fold, patient-grouped, n = 85 images",
                  "out of 2 new folds", "difference, paired",
                  "shortcut baseline, lungs masked"):  # fmt: skip
        assert words in done.out
    best = json.loads((folder / "best_hparams.json").read_text())
    retrained = json.loads((folder / "retrained" / "config.json").read_text())
    assert {n: retrained["config"][n] for n in best["values"]} == best["values"]
    assert retrained["hparams"]["file"] == str(folder / "best_hparams.json")
    assert retrained["hparams"]["changed"] == {}
    assert retrained["hparams"]["dataset_fingerprint"] == retrained["dataset"]["fingerprint"]
    final = json.loads((folder / "final.json").read_text())
    difference = [final[side]["balanced_accuracy"]["value"] for side in ("best", "default")]
    assert final["difference"]["value"] == pytest.approx(difference[0] - difference[1])
    assert len(list((folder / "plots").iterdir())) == 3


def test_a_finished_search_trains_nothing_again(whole):
    flags, folder, _ = whole
    before = (folder / "state.json").read_bytes()
    done = command(*flags, "--final_folds=0")
    assert done.status == 0, done.err
    assert "3 trials have ended" in done.out
    assert (folder / "state.json").read_bytes() == before


def test_other_flags_in_the_same_folder_are_named(whole):
    flags, _, _ = whole
    done = command(*flags, "--epochs=3", "--dropout=0.1")
    assert done.status == 2
    assert "--dropout is 0.1, and was 0.5; --epochs is 3, and was 2" in done.err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_metric_that_is_not_there_is_refused_before_the_search(workers, tiny, tmp_path):
    done = command(*tiny, "--objective=val_auc", "--direction=max", f"--workers={workers}",
                   f"--search_dir={tmp_path / 'search'}")  # fmt: skip
    assert done.status == 2
    assert "--objective=val_auc is no metric of a trial. Choose from: " in done.err
    assert "val_balanced_accuracy" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "search" / "state.json").exists()


def test_a_search_without_a_finished_trial_exits_with_1(tiny, data_dir, tmp_path):
    images = dataset.open_dataset("tiny", str(data_dir), 4).fingerprint
    ended_search(tmp_path / "search", [None], *tiny, "--max_trials=1", images=images)
    done = command(*tiny, "--max_trials=1", f"--search_dir={tmp_path / 'search'}")
    assert done.status == 1
    assert "No trial finished; 1 failed. The last: Out of memory" in done.out
    assert "Traceback" not in done.err


def test_a_process_whose_memory_climbed_is_replaced_and_goes_on(tiny, tmp_path):
    """With the least growth taken for too much; what takes its place is the command itself."""
    folder, flags = tmp_path / "search", [*tiny, "--max_trials=2", "--final_folds=0"]
    program = (
        "import runpy; from tuning import memory; memory.MOST = -1;"
        "runpy.run_module('tuning.main', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", program, *flags, f"--search_dir={folder}",
                           "--overwrite"], cwd=commands.ROOT, capture_output=True, text=True,
                          timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Memory has climbed: the process is replaced and goes on.") == 1
    assert "1 trials have ended" in done.stdout
    rows = ranking(folder)
    assert [row[2] for row in rows] == ["COMPLETED"] * 2
    state = json.loads((folder / "state.json").read_text())
    assert not state["deaths"]


def killed_search(flags: list[str], folder: pathlib.Path, workers: int, parts: list[str]) -> str:
    """Kills the named parts one after the other, each once a further trial is begun."""
    line = [sys.executable, "-m", "tuning.main", *flags, f"--workers={workers}",
            f"--search_dir={folder}", "--final_folds=0"]  # fmt: skip
    log, begun = folder.with_suffix(".log"), 0
    rng = random.Random(0)

    def start():
        with log.open("ab") as file:
            return subprocess.Popen(line, cwd=commands.ROOT, stdout=file, stderr=subprocess.STDOUT)

    process = start()
    for part in parts:
        until = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < until:
            state = folder / "state.json"
            seen = len(json.loads(state.read_text())["trials"]) if state.exists() else 0
            if seen > begun:
                begun = seen
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is not None:
            break
        os.kill(processes_of(process.pid)[part], signal.SIGKILL)
        if part == "parent":
            process.wait()
            process = start()
    assert process.wait(240) == 0, log.read_text()
    return log.read_text()


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "search"
    done = command(*tiny, f"--search_dir={folder}", "--final_folds=0")
    assert done.status == 0, done.err
    return ranking(folder)


def test_a_killed_search_ends_as_an_undisturbed_one(tiny, undisturbed, tmp_path):
    killed_search(tiny, tmp_path / "search", 1, ["parent"])
    assert ranking(tmp_path / "search") == undisturbed


@pytest.mark.slow
def test_killed_workers_chief_and_parent_change_nothing(tiny, undisturbed, tmp_path):
    log = killed_search(tiny, tmp_path / "search", 2, ["worker0", "chief", "parent"])
    assert "worker0 died (SIGKILL); it is started again." in log
    assert ranking(tmp_path / "search") == undisturbed
