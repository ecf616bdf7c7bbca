"""The command line: what a wrong one gets, and what the recipes hold."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from trainer import config as config_lib

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = sorted((ROOT / "trainer" / "recipes").glob("*.flags"))


def command(*arguments: str, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "trainer.main", *arguments], cwd=cwd,
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip


WRONG = {
    "Unknown command line flag 'clases'": ["--clases=4"],
    "invalid literal for int()": ["--classes=four"],
    "could not convert string to float": ["--learning_rate=fast"],
    "--classes is 7. Give 2, 3 or 4": ["--classes=7"],
    "are no flags": ["train"],
    "unable to open flagfile": ["--flagfile=nowhere.flags"],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_command_line_exits_with_2_and_no_traceback(message):
    done = command(*WRONG[message])
    assert done.returncode == 2
    assert message.casefold() in done.stderr.casefold()
    assert "Traceback" not in done.stderr


def test_a_run_folder_is_not_overwritten_by_chance(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = command(f"--run_dir={tmp_path}")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr


def test_a_run_that_never_began_does_not_block_its_folder(tmp_path):
    for _ in range(2):
        done = command(f"--run_dir={tmp_path}/run", "--dataset=full", f"--data_dir={tmp_path}")
        assert done.returncode == 1


def test_overwrite_removes_runs_only(tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    done = command(f"--run_dir={tmp_path}", "--overwrite")
    assert done.returncode == 2
    assert "thesis.doc" in done.stderr
    assert (tmp_path / "thesis.doc").exists()


def test_a_run_folder_that_can_not_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    done = command(f"--run_dir={tmp_path}/file/run")
    assert done.returncode == 2
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_control_c_ends_without_a_traceback_and_says_what_is_kept(tmp_path, data_dir):
    flags_ = ["--dataset=tiny", f"--data_dir={data_dir}", "--weights=none", "--image_size=32",
              "--epochs=100000", f"--run_dir={tmp_path}/run"]  # fmt: skip
    started = subprocess.Popen(
        [sys.executable, "-m", "trainer.main", *flags_],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "history.csv").exists():
        assert started.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline, "no epoch was reached"
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, printed = started.communicate(timeout=60)
    assert started.returncode == 130
    assert f"the best weights so far are in {tmp_path}/run" in printed
    assert "Traceback" not in printed
    assert (tmp_path / "run" / "checkpoints" / "best.weights.h5").exists()


MISSING = {
    "--dataset=full is not built in": ["--dataset=full"],
    "tfds build covid_tfds --config=nonsense": ["--dataset=nonsense"],
    "There is no file": ["--dataset=tiny", "--weights=nowhere.h5"],
}


@pytest.mark.parametrize("message", MISSING)
def test_what_is_missing_exits_with_1_and_says_how_to_get_it(tmp_path, data_dir, message):
    flags_ = [f"--data_dir={data_dir}", f"--run_dir={tmp_path}/run", *MISSING[message]]
    done = command(*flags_)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_a_valid_command_line(path):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["main", f"--flagfile={path}"])
    config = config_lib.from_flags(values)
    assert config.classes == int(path.stem.split("_")[1])
    assert f"python -m trainer.main --flagfile=trainer/recipes/{path.name}" in path.read_text()


def test_there_are_four_recipes():
    assert [path.stem for path in RECIPES] == ["article_2", "article_3", "article_4", "full_4"]
