"""What a search writes and prints, from trials that were not trained."""

import csv
import json
import os

import numpy as np
import pytest
from absl import flags
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import trainings
from tests.helpers.ended_trials import (
    SETTINGS,
    SPACE,
    WIDE,
    add_trial,
    searched,
    table_of,
)  # fmt: skip
from trainer import config_flags
from trainer.config import Config
from tuning import results
from tuning.settings import STRESSED, Settings

ABOUT = {"dataset_fingerprint": "f" * 64, "search_dir": "runs/search"}
CURVE = [
    {"epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5, "images_per_second": 90.0,
     "input_wait": 0.0, "val_loss": 0.7, "val_accuracy": 0.6, "val_balanced_accuracy": 0.6,
     "best": epoch == 1, "learning_rate": 1e-4}
    for epoch in (1, 2)
]  # fmt: skip


def test_trials_are_ranked_by_the_objective_then_by_the_loss():
    trials = searched()
    add_trial(trials)
    rows = table_of(trials)
    assert [row["rank"] for row in rows] == [3, 2, None, 1, None]
    assert [row["trial"] for row in results.ranked(rows, SETTINGS)] == ["0003", "0001", "0000"]
    assert rows[4]["status"] == "RUNNING"
    equal = table_of(searched([(0.5, 0.9), (0.5, 0.9)]))
    assert results.best_of(equal, SETTINGS)["trial"] == "0000"
    least = Settings("random", 9, "val_loss")
    rows = table_of(searched([(0.9, 0.9), (0.1, 0.5)]), settings=least)
    assert results.best_of(rows, least)["trial"] == "0001"


def test_rows_that_are_known_are_not_made_again_and_get_their_new_rank():
    trials, known = searched([(0.5, 0.9)]), {}
    results.rows(trials, SPACE, SETTINGS, known)
    trials["0000"].metrics = None  # is not read a second time
    add_trial(trials, scored=(0.6, 0.9))
    rows = results.rows(trials, SPACE, SETTINGS, known)
    assert [(row["rank"], row["val_accuracy"]) for row in rows] == [(2, 0.5), (1, 0.6)]


def test_the_table_holds_values_metrics_and_the_reason_of_a_failure(tmp_path):
    trials = searched(val_accuracy_low=0.25)
    add_trial(trials)
    rows = results.write(tmp_path, trials, SPACE, SETTINGS, ABOUT)
    with open(tmp_path / "trials.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 5
    for line, trial in zip(table, trials.values(), strict=True):
        assert float(line["head_units"]) == trial.hyperparameters.values["head_units"]
        assert float(line["learning_rate"]) == trial.hyperparameters.values["learning_rate"]
    assert [line["val_loss"] for line in table] == ["0.9", "0.7", "", "0.6", ""]
    assert table[0]["val_accuracy_low"] == "0.25"
    assert table[2]["reason"] == "Out of memory: 9 GiB"
    assert table[2]["status"] == "FAILED"


def test_the_trainer_reads_the_best_values(tmp_path):
    trials = searched()
    results.write(tmp_path, trials, SPACE, SETTINGS, ABOUT)
    given = flags.FlagValues()
    config_flags.define_flags(given)
    config_flags.define_hparams_flag(given)
    given(["main", f"--hparams={tmp_path / 'best_hparams.json'}"])
    config, origin = config_flags.from_flags_and_hparams(given)
    values = trials["0003"].hyperparameters.values
    assert config == Config(epochs=9, **values)
    assert (origin["values"], origin["changed"]) == (values, {})
    assert (origin["trial"], origin["score"]) == ("0003", 0.8)
    assert (origin["trials"], origin["failed"]) == (3, 1)
    written = json.loads((tmp_path / "best_hparams.json").read_text())
    assert "data_dir" not in written["config"]
    assert written["dataset_fingerprint"] == "f" * 64


def test_nothing_is_written_before_a_trial_was_begun(tmp_path):
    assert results.write(tmp_path, {}, SPACE, SETTINGS, ABOUT) == []
    assert not list(tmp_path.iterdir())


def test_the_best_values_are_written_when_another_trial_is_best_and_at_the_end(tmp_path):
    path, trials = tmp_path / "best_hparams.json", searched([(0.5, 0.9)])

    def writes(**arguments) -> bool:
        os.utime(path, (0, 0)) if path.exists() else None
        results.write(tmp_path, trials, SPACE, SETTINGS, ABOUT, **arguments)
        return path.stat().st_mtime > 0

    assert writes()
    add_trial(trials, scored=(0.4, 0.9))
    assert not writes()
    assert writes(final=True)
    assert json.loads(path.read_text())["trials"] == 2
    add_trial(trials, scored=(0.6, 0.9))
    assert writes()
    assert json.loads(path.read_text())["trial"] == "0002"


def test_the_versions_beside_the_best_values_are_those_that_trained_them(tmp_path):
    trials = searched([(0.5, 0.9)])

    def written(version: str) -> tuple[str, str]:
        about = {**ABOUT, "packages": {"keras": version}, "git_revision": version}
        results.write(tmp_path, trials, SPACE, SETTINGS, about, final=True)
        best = json.loads((tmp_path / "best_hparams.json").read_text())
        return best["packages"]["keras"], best["git_revision"]

    assert written("3.8") == ("3.8", "3.8")
    assert written("3.9") == ("3.8", "3.8")  # shown again by another release
    add_trial(trials, scored=(0.6, 0.9))
    assert written("3.9") == ("3.9", "3.9")


@pytest.mark.slow
def test_the_bytes_written_stay_in_proportion_to_the_table(tmp_path):
    trials, known, written, path = {}, {}, 0, tmp_path / "trials.csv"
    before = None
    for _ in range(400):
        add_trial(trials, scored=(0.5, 0.9))
        results.write(tmp_path, trials, SPACE, SETTINGS, ABOUT, known)
        status = path.stat()
        if status.st_ino != before:
            written, before = written + status.st_size, status.st_ino
    results.write(tmp_path, trials, SPACE, SETTINGS, ABOUT, known, final=True)
    assert len(path.read_text().splitlines()) == 401
    assert written < 60 * path.stat().st_size  # 200 times if written after every trial


def tags(folder, *groups):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag for tag in events.Tags()["tensors"] if tag.split("/")[0] in groups}


@pytest.fixture(scope="module")
def tags_of_a_run(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainings.run(trainings.quick(data_dir, epochs=1), folder / "run")
    return tags(folder / "run" / "tensorboard", "train", "validation")


@pytest.mark.slow
def test_curves_of_a_trial_have_the_tags_of_a_run(tmp_path, tags_of_a_run):
    [row] = table_of(searched([(0.5, 0.9)]))
    results.write_curves(tmp_path, row, [CURVE], SPACE, SETTINGS)
    shown = tags(tmp_path / "tensorboard" / "trial_0000", "train", "validation")
    pictures = {f"validation/{name}" for name in ("confusion", "misclassified", "gradcam")}
    assert shown == tags_of_a_run - pictures
    events = EventAccumulator(str(tmp_path / "tensorboard" / "trial_0000"))
    events.Reload()
    assert [event.step for event in events.Tensors("train/loss")] == [1, 2]


def test_a_trial_is_one_row_of_hparams(tmp_path):
    [row] = table_of(searched([(0.5, 0.9)]))
    results.write_curves(tmp_path, row, [CURVE], SPACE, SETTINGS)
    root = tmp_path / "tensorboard" / "trial_0000"
    events = EventAccumulator(str(root))
    events.Reload()
    assert {"hparams/val_accuracy", "hparams/val_loss"} <= tags(root, "hparams")
    plugin = events.PluginTagToContent("hparams")
    assert {"_hparams_/session_start_info", "_hparams_/experiment"} <= set(plugin)
    assert b"trial_0000" in plugin["_hparams_/session_start_info"]


def test_a_trial_that_was_killed_behind_its_curves_has_those_of_the_end(tmp_path):
    [row] = table_of(searched([(0.5, 0.9)]))
    root = tmp_path / "tensorboard" / "trial_0000"
    results.write_curves(tmp_path, row, [CURVE, CURVE], SPACE, SETTINGS)
    results.write_curves(tmp_path, row, [CURVE[:1]], SPACE, SETTINGS)
    events = EventAccumulator(str(root))
    events.Reload()
    assert [event.step for event in events.Tensors("train/loss")] == [1]
    assert [path.parent for path in tmp_path.rglob("events*")] == [root] * 2


def test_executions_have_curves_of_their_own(tmp_path):
    (tmp_path / ".trial_0000" / "execution_7").mkdir(parents=True)  # of a search that was killed
    [row] = table_of(searched([(0.5, 0.9)]))
    results.write_curves(tmp_path, row, [CURVE, CURVE[:1]], SPACE, SETTINGS)
    root = tmp_path / "tensorboard" / "trial_0000"
    runs = sorted(path.name for path in root.iterdir() if path.is_dir())
    assert runs == ["execution_1", "execution_2"]
    assert "validation/loss" in tags(root / "execution_2", "validation")
    [own] = root.glob("events*")  # has the row of HPARAMS alone
    assert b"validation/loss" not in own.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]


def test_the_leaderboard_names_n_and_how_it_was_scored():
    rows = table_of(searched())
    text = results.leaderboard(rows, SPACE, SETTINGS)
    _, counts, scores, _, *lines = text.splitlines()
    assert counts == "3 trials finished, 1 failed"
    assert scores == "scores: validation split, n = 54 images of 43 patient groups"
    assert [line.split()[:2] for line in lines] == [["1", "0003"], ["2", "0001"], ["3", "0000"]]
    assert max(map(len, text.splitlines())) <= 80
    failed = results.leaderboard([rows[2]], SPACE, SETTINGS)
    assert " ".join(failed.split()) == (
        "No trial finished; 1 failed. The last: Out of memory: 9 GiB. When that is mended, a "
        "larger --max_trials goes on, and --overwrite begins again."
    )
    brackets = results.leaderboard([rows[2]], SPACE, Settings("hyperband"))
    assert "mended, --overwrite begins again." in " ".join(brackets.split())
    folds = results.leaderboard(rows, SPACE, Settings("random", 9, "val_accuracy", folds=5))
    assert "scores: 5-fold, patient-grouped, n = 54" in folds


def test_a_leaderboard_of_many_parameters_has_their_values_below_each_trial():
    ends = {"val_accuracy_low": 0.402, "val_accuracy_high": 0.872}
    rows = table_of(searched([(0.838, 0.9)] * 12, WIDE, **ends), WIDE)
    text = results.leaderboard(rows, WIDE, SETTINGS)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("0.838 [0.402, 0.872]") == 10
    for parameter in WIDE.parameters:
        assert text.count(f"{parameter.name} ") == 10


def test_a_trial_is_printed_with_its_interval_and_the_best_so_far():
    rows = table_of(searched(val_accuracy_low=0.4021, val_accuracy_high=0.8))
    failed = results.line(rows[2], None, SPACE, SETTINGS)
    assert "trial 0002  FAILED: Out of memory: 9 GiB" in failed
    words = " ".join(results.line(rows[0], rows[3], SPACE, SETTINGS).split())
    assert words == (
        "trial 0000 val_accuracy 0.500 [0.402, 0.800], n = 54 images of 43 patient groups "
        "1.5 s (best: trial 0003, 0.800 [0.402, 0.800])"
    )


SHORTCUTS = {
    "full_image": {"value": 0.7, "low": 0.612, "high": 0.8},
    "lungs_masked": {"value": 0.3, "low": 0.2, "high": 0.412},
}


@pytest.mark.parametrize("value", [0.7, 0.701])
def test_the_shortcut_baseline_stands_below_the_trials_and_a_best_that_is_not_above(value):
    rows = table_of(searched([(0.9, 0.1)], val_balanced_accuracy=value))
    text = results.leaderboard(rows, SPACE, SETTINGS, SHORTCUTS)
    assert "  full image    0.700 [0.612, 0.800]\n  lungs masked  0.300 [0.200, 0.412]" in text
    assert f"  trial 0000    {value:.3f}\n  full image" in text  # which is not what ranks
    assert ("balanced accuracy 0.700 against 0.700" in text) == (value == 0.7)
    assert max(map(len, text.splitlines())) <= 80


def test_baselines_of_a_stressed_search_are_beside_the_score_of_the_same_images():
    settings = Settings("random", 9, STRESSED)
    scored = {"val_balanced_accuracy": 0.81, "val_balanced_accuracy_low": 0.712,
              "val_balanced_accuracy_high": 0.9}  # fmt: skip
    trials = searched([(0.9, 0.1)], **{STRESSED: 0.402}, **scored)
    text = results.leaderboard(table_of(trials, settings=settings), SPACE, settings, SHORTCUTS)
    assert "scores: validation split, re-framed at random, n = 54 images" in text
    words = "shortcut baseline, balanced accuracy on the same images, in their own frames\n"
    assert f"{words}  trial 0000    0.810 [0.712, 0.900]\n  full image    0.700 [" in text
    plain = Settings("random", 9, "val_balanced_accuracy")
    text = results.leaderboard(table_of(trials, settings=plain), SPACE, plain, SHORTCUTS)
    assert "on the same images\n  full image" in text and "re-framed" not in text


def test_the_score_of_the_best_values_has_its_interval_n_and_baseline(tmp_path):
    trials = searched(val_accuracy_low=0.402, val_accuracy_high=0.872)
    path = tmp_path / "best_hparams.json"
    results.write(tmp_path, trials, SPACE, SETTINGS, {**ABOUT, "shortcut_baseline": SHORTCUTS})
    best = json.loads(path.read_text())
    assert [best[name] for name in ("score", "low", "high")] == [0.8, 0.402, 0.872]
    assert (best["images"], best["groups"]) == (54, 43)
    results.write(tmp_path, trials, SPACE, SETTINGS, ABOUT, final=True)  # of a finished search
    assert json.loads(path.read_text())["shortcut_baseline"] == SHORTCUTS


def test_the_baseline_of_images_that_are_aligned_otherwise_does_not_stay(tmp_path):
    trials, path = searched(), tmp_path / "best_hparams.json"
    results.write(tmp_path, trials, SPACE, SETTINGS, {**ABOUT, "shortcut_baseline": SHORTCUTS})
    before = json.loads(path.read_text())
    before["config"]["align"], before["trial"] = "none", "another"  # was the best until now
    path.write_text(json.dumps(before))
    results.write(tmp_path, trials, SPACE, SETTINGS, ABOUT)
    assert "shortcut_baseline" not in json.loads(path.read_text())


def test_a_score_says_as_much_as_its_patient_groups_do():
    row = {"val_accuracy": 0.955, "val_accuracy_low": 0.1234, "val_accuracy_high": 0.991}
    shown = {groups: results.score({**row, "val_groups": groups}, SETTINGS) for groups in (1, 3, 9)}
    assert shown == {1: "not estimable", 3: "0.95 [0.12, 1.00]", 9: "0.955 [0.123, 0.991]"}
    assert results.score({"val_accuracy": 0.8}, SETTINGS) == "0.800"


def test_the_best_is_compared_with_the_defaults_in_80_columns():
    labels, groups = np.arange(12000) % 2, np.arange(12000) // 4
    right = np.eye(2)[labels]
    wrong = np.where((np.arange(12000) % 10 == 0)[:, None], 1 - right, right)
    best, default = np.stack([right, right]), np.stack([wrong, right])
    arguments = {"trial": "0123", "trials": 1000, "reference": "the defaults"}
    text = results.against_default(best, default, labels, groups, **arguments)
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert "+0.050 [+0." in words  # each tenth image, in one of two executions
    assert "n = 12000 images of 3000 patient groups. They chose it out of 1000" in words
    same = results.against_default(default, default, labels, groups, **arguments)
    assert same == "The defaults are the best of 1000 trials so far."


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.83361, "0.834"), (1e-5, "1e-05"), (0.0007391, "0.0007391"), (256, "256"), (None, "-")],
)
def test_values_are_short(value, text):
    assert results.short(value) == text
