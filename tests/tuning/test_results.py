"""What a search writes and prints, from trials that were not trained."""

import csv
import json
import pathlib

import pytest
from absl import flags
from keras_tuner.src.engine import trial as trial_lib
from tensorboard.backend.event_processing import event_accumulator

from tests.helpers.searches import SPACE, open_oracle
from trainer import config as config_lib
from trainer.config import Config
from tuning import results
from tuning.folder import Folder
from tuning.settings import Settings

SETTINGS = Settings("random", 9, "val_accuracy", "max", 0, 1)
# Score and loss of each trial; None: it failed.
SCORED = [(0.5, 0.9), (0.8, 0.7), None, (0.8, 0.6)]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("search"))
    oracle = open_oracle("random", folder.root)
    for scored in SCORED:
        trial = oracle.create_trial("one")
        if scored is None:
            ended = trial_lib.Trial(trial.hyperparameters, trial.trial_id, "FAILED")
            ended.message = "Traceback\n  somewhere\nOut of memory: 9 GiB"
        else:
            ended = trial
            ended.status = "COMPLETED"
            counts = {"val_images": 54.0, "val_groups": 43.0, "seconds": 1.5}
            metrics = {"val_accuracy": scored[0], "val_loss": scored[1], **counts}
            oracle.update_trial(trial.trial_id, metrics)
        oracle.end_trial(ended)
    running = oracle.create_trial("one")
    about = results.facts(folder.root)
    return folder, oracle, running, results.write(folder, oracle, SPACE, SETTINGS, about)


def test_trials_are_ranked_by_the_objective_then_by_the_loss(searched):
    _, _, running, rows = searched
    assert [row["rank"] for row in rows] == [3, 2, None, 1, None]
    assert [row["trial"] for row in results.ranked(rows, SETTINGS)] == ["3", "1", "0"]
    assert rows[4]["trial"] == running.trial_id
    least = Settings("random", 9, "val_loss", "min", 0, 1)
    assert [row["trial"] for row in results.ranked(rows, least)] == ["3", "1", "0"]
    assert [row["trial"] for row in results.ranked(rows[:2], SETTINGS)] == ["1", "0"]


def test_the_table_holds_values_metrics_and_the_reason_of_a_failure(searched):
    folder, oracle, _, rows = searched
    with open(folder.root / "trials.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 5
    for line, trial in zip(table, oracle.trials.values(), strict=True):
        assert float(line["head_units"]) == trial.hyperparameters.values["head_units"]
        assert float(line["learning_rate"]) == trial.hyperparameters.values["learning_rate"]
    assert [line["val_loss"] for line in table] == ["0.9", "0.7", "", "0.6", ""]
    assert table[2]["reason"] == "Out of memory: 9 GiB"
    assert table[2]["status"] == "FAILED"


def test_the_trainer_reads_the_best_values(searched):
    folder, oracle, _, _ = searched
    given = flags.FlagValues()
    config_lib.define_flags(given)
    config_lib.define_hparams_flag(given)
    given(["main", f"--hparams={folder.best}"])
    config, origin = config_lib.from_flags_and_hparams(given)
    values = oracle.trials["3"].hyperparameters.values
    assert config == Config(epochs=9, **values)
    assert (origin["values"], origin["changed"]) == (values, {})
    assert (origin["trial"], origin["score"]) == ("3", 0.8)
    assert (origin["trials"], origin["failed"]) == (3, 1)
    written = json.loads(folder.best.read_text())
    assert "data_dir" not in written["config"]
    assert written["search_dir"] == str(folder.root)


def test_the_leaderboard_names_n_and_how_it_was_scored(searched):
    text = results.leaderboard(searched[3], SPACE, SETTINGS)
    _, counts, scores, _, *lines = text.splitlines()
    assert counts == "3 trials finished, 1 failed"
    assert scores == "scores: validation split, n = 54 images of 43 patient groups"
    assert [line.split()[:2] for line in lines] == [["1", "3"], ["2", "1"], ["3", "0"]]
    assert max(map(len, text.splitlines())) <= 80
    failed = [row for row in searched[3] if row["status"] == "FAILED"]
    assert "No trial finished; 1 failed. The last: Out of memory" in results.leaderboard(
        failed, SPACE, SETTINGS
    )


def test_a_trial_is_printed_with_the_best_so_far(searched):
    _, _, _, rows = searched
    failed = results.line(rows[2], None, SPACE, SETTINGS)
    assert "trial 2  FAILED: Out of memory: 9 GiB" in failed
    text = results.line(rows[1], rows[3], SPACE, SETTINGS)
    assert max(map(len, [*failed.splitlines(), *text.splitlines()])) <= 80
    words = text.split()
    assert words[:5] == ["trial", "1", "val_accuracy", "0.800", "head_units"]
    assert words[-6:] == ["1.5", "s", "(best:", "trial", "3,", "0.800)"]


def test_tensorboard_has_one_row_a_finished_trial_written_once(searched):
    folder, oracle, _, _ = searched
    root = folder.root / "tensorboard"
    assert sorted(path.name for path in root.iterdir()) == ["trial_0", "trial_1", "trial_3"]
    before = sorted(path.name for path in root.rglob("events*"))
    results.write(folder, oracle, SPACE, SETTINGS, {})
    assert sorted(path.name for path in root.rglob("events*")) == before
    events = event_accumulator.EventAccumulator(str(root / "trial_3"))
    events.Reload()
    assert "hparams/val_loss" in events.Tags()["tensors"]
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.83361, "0.834"), (1e-5, "1e-05"), (0.0007391, "0.0007391"), (256, "256")],
)  # fmt: skip
def test_values_are_short(value, text):
    assert results.short(value) == text


def test_nothing_is_written_before_a_trial_was_begun(tmp_path: pathlib.Path):
    oracle = open_oracle("random", tmp_path)
    assert results.write(Folder(tmp_path), oracle, SPACE, SETTINGS, {}) == []
    assert not list(tmp_path.iterdir())
