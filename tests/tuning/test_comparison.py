"""The closing comparison: where its trainings end, what it prints, and why there may be none."""

import contextlib
import dataclasses
import json
import re
import types

import keras
import numpy as np
import pytest

from tests.helpers import datasets, run_folders, searches
from tests.helpers.searches import open_trials, search
from trainer import cross_validation, fold_assignment
from trainer.config import Config
from trainer.execution.local import executor
from trainer.input_pipeline import cache_folders
from trainer.run import files, run_dir, saved_folds
from trainer.run.errors import DivergedError, RunError
from trainer.run.saved_folds import SavedFolds
from trainer.training.training import Training
from tuning import comparison, trainings
from tuning import search as search_lib
from tuning.folder import Folder
from tuning.settings import Spec


def compared(low: float, high: float) -> dict:
    difference = {"value": (low + high) / 2, "low": low, "high": high, "n": 270,
                  "discordant": {"ours": 12, "peers": 9}}  # fmt: skip
    side = {"balanced_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}, "by_fold": {"sd": 0.01},
            "epochs": 7, "align": "chest"}  # fmt: skip
    balanced = {"value": 0.7, "low": 0.6, "high": 0.8}
    shortcut = {"balanced_accuracy": balanced, "mean": 0.71, "sd": 0.02}
    return {"best": side, "default": side, "difference": difference, "folds": 5, "groups": 210,
            "same": False,
            "shortcut_baseline": {"full_image": shortcut, "lungs_masked": shortcut}}  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [(0.01, 0.05, ""), (-0.02, 0.05, "has not shown a gain"), (-0.09, -0.01, "keep them")],
)
def test_the_conclusion_follows_from_the_interval(low, high, conclusion):
    text = comparison.text(compared(low, high))
    (difference,) = [line for line in text.splitlines() if "difference, paired" in line]
    assert f"[{low:+.3f}, {high:+.3f}]" in difference
    assert "n = 270 images of 210 patient groups" in text
    assert max(map(len, text.splitlines())) <= 80
    for words in ("has not shown a gain", "keep them"):
        assert (words in text) == (words == conclusion)
    assert ("right: 12 best, 9 default" in text) == (low <= 0 <= high)


def test_where_the_sides_are_aligned_otherwise_it_says_how_the_baselines_are():
    both = compared(0.01, 0.05)
    assert "--align" not in comparison.text(both)
    both["best"] = {**both["best"], "align": "none"}
    text = comparison.text(both)
    assert "baselines have the images as the best has them, --align=none" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_best_that_is_the_default_is_called_so():
    text = comparison.text({**compared(0.0, 0.0), "same": True})
    assert "The best trial is that of the defaults." in text
    assert "has not shown a gain" not in text and "difference" not in text


@pytest.mark.parametrize("value", [0.8, 0.81])
def test_a_best_at_or_below_the_shortcut_baseline_is_called_so(value):
    low = compared(0.01, 0.05)
    assert "NOT ABOVE" not in comparison.text(low)
    baseline = {"value": value, "low": 0.7, "high": 0.9}
    low["shortcut_baseline"]["full_image"] = {"balanced_accuracy": baseline, "sd": 0.02}
    text = " ".join(comparison.text(low).split())
    assert f"balanced accuracy 0.800 against {value:.3f} for a linear model that hardly" in text


def test_every_balanced_accuracy_of_the_comparison_has_its_interval():
    text = comparison.text(compared(0.01, 0.05))
    rows = [line for line in text.splitlines() if "  " in line.strip()][1:]
    assert len(rows) == 5
    assert all(re.search(r"\d \[[+]?\d\.\d+, [+]?\d\.\d+\]", row) for row in rows)


def test_folds_and_seed_are_others_than_the_searchs():
    config, labels = Config(seed=7), np.arange(60) % 4
    splits = {name: datasets.made(labels, prefix=name) for name in fold_assignment.SPLITS}
    setup = types.SimpleNamespace(dataset=types.SimpleNamespace(splits=splits))
    images, fold, seed = comparison.assigned(setup, config, 3)
    assert len(images) == 120
    assert not 7 <= seed < 7 + 100  # of executions
    theirs = fold_assignment.assign_folds(images, 3, 1, config.seed)
    assert (fold != theirs).any() and fold.shape == theirs.shape


def test_a_fold_ends_where_the_search_kept_the_trial():
    config = Config(epochs=40, early_stopping=3)
    assert comparison.at_kept_epoch(None, config, 12.4) == Config(epochs=12)
    assert comparison.at_kept_epoch(None, config, 0.4).epochs == 1
    tuned = Config(fine_tune_from="block5")
    assert comparison.at_kept_epoch(None, tuned, 3.0) == tuned


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [[], ["--augmentation=radiograph", "--views=0"], ["--cache_gib=1e-4", "--cache_dir="]],
    ids=["cached rows", "new views in each epoch", "no room for rows"],
)
def test_a_configuration_that_was_no_trial_ends_where_its_trial_would(more, quick, tmp_path):
    more = [f"{flag}{tmp_path}" if flag.endswith("_dir=") else flag for flag in more]
    trials = open_trials(*quick, "--epochs=6", "--learning_rate=1e-3:1e-2:log", *more)
    default = trials.space.unsearched()
    epoch = trials(learning_rate=default.learning_rate)["epoch"]
    saved = SavedFolds(tmp_path / "checkpoints")
    with executor(None, trials.setup) as tasks:
        assert comparison.at_kept_epoch(tasks, default, None, saved).epochs == epoch
    # After a kill it is chosen no more: folds that ended go by it.
    assert comparison.at_kept_epoch(None, default, None, saved).epochs == epoch


NONE = {
    "--final_folds=50): 50 folds need as many patient groups": ["--final_folds=50"],
    "--final_folds=2): --normalization=featurewise is fitted": [
        "--final_folds=2", "--normalization=featurewise"
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("reason", NONE)
def test_a_search_without_its_comparison_names_the_reason_first_and_last(
    reason, quick, tmp_path, capsys, monkeypatch
):
    flags = [*quick, *NONE[reason], "--max_trials=1", "--head_units=8,16"]
    assert search(tmp_path, *flags)
    printed = capsys.readouterr().out
    before, trial, after = printed.partition("trial  ")
    assert trial and f"No closing comparison at the end ({reason}" in " ".join(before.split())
    assert f"No closing comparison ({reason}" in " ".join(after.split())
    assert "train:  python -m trainer.main --hparams=" in printed
    assert "/best_hparams.json --data_dir=" in printed and " --cache_dir=" in printed
    monkeypatch.setattr(trainings, "open_images", None)  # the images are not opened for it again
    assert search(tmp_path, *flags)
    assert f"No closing comparison ({reason}" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def ended(tmp_path):
    """A search whose trial has ended, but for its comparison: itself, its record and its tasks."""
    space, settings = searches.parsed("--final_folds=3", "--head_units=8,16")
    described = Spec(Folder(tmp_path), space, settings)
    record = types.SimpleNamespace(
        best={"trial": "0000", "epoch": 2.0}, config=lambda trial: space.config({}),
        epoch=lambda config: None,
    )  # fmt: skip
    labels = np.arange(60) % 4
    splits = {name: datasets.made(labels, prefix=name) for name in fold_assignment.SPLITS}
    dataset = types.SimpleNamespace(splits=splits)
    tasks = types.SimpleNamespace(setup=types.SimpleNamespace(dataset=dataset, kept={}))
    return described, record, tasks


def refusing(spec: Spec) -> Spec:
    """The search with more folds than there are patient groups of a class."""
    return dataclasses.replace(spec, settings=dataclasses.replace(spec.settings, final_folds=50))


def test_nothing_is_trained_for_a_comparison_that_can_not_be(ended, monkeypatch, capsys):
    spec, record, tasks = ended
    monkeypatch.setattr(comparison, "at_kept_epoch", None)  # trains the defaults
    search_lib._compare(refusing(spec), record, tasks)
    assert "(--final_folds=50): 50 folds need" in capsys.readouterr().out
    assert not search_lib._comparison_missing(refusing(spec), record.best)
    assert search_lib._comparison_missing(spec, record.best)  # with other folds it can be
    assert search_lib._comparison_missing(refusing(spec), {"trial": "0001"})


def test_a_comparison_that_diverged_is_not_trained_again(ended, monkeypatch, capsys):
    spec, record, tasks = ended
    kept = SavedFolds(spec.folder.root / saved_folds.FOLDER)

    def diverged(*_):
        kept.write("0" * 16, np.zeros((1, 4), np.float32))
        raise DivergedError("Fold 2 (seed 5) failed.")

    monkeypatch.setattr(comparison, "at_kept_epoch", diverged)
    search_lib._compare(spec, record, tasks)
    assert "(--final_folds=3): Fold 2 (seed 5) failed." in capsys.readouterr().out
    assert not search_lib._comparison_missing(spec, record.best)
    assert not (spec.folder.root / saved_folds.FOLDER).exists()


def test_a_comparison_that_can_not_be_leaves_the_one_that_was_made(ended, capsys):
    spec, record, tasks = ended
    made = {"trial": "0000", **compared(0.01, 0.05), "folds": 3}
    spec.folder.comparison.write_text(json.dumps(made))
    search_lib._compare(refusing(spec), record, tasks)
    assert not search_lib._comparison_missing(spec, record.best)
    capsys.readouterr()
    for each, words in ((spec, "out of 3 new folds"), (refusing(spec), "50 folds need")):
        search_lib._show_comparison(each, record.best)
        assert words in capsys.readouterr().out


def test_a_search_that_was_taken_over_while_it_compares_ends(ended, tmp_path, monkeypatch):
    spec, record, tasks = ended

    def lost(*_):
        run_folders.taken_over(tmp_path)
        files.write_json(tmp_path / "checkpoints", {})

    monkeypatch.setattr(comparison, "at_kept_epoch", lost)
    with (
        pytest.raises(RunError, match="it took the folder over"),
        run_dir.held(tmp_path, "search_dir"),
    ):
        search_lib._compare(spec, record, tasks)


@pytest.mark.slow
def test_a_comparison_whose_rows_find_no_room_passes_the_images(quick, tmp_path):
    """The rows of its folds, of both splits' views, do not fit where those of a trial do."""
    flags = [*quick, "--learning_rate=1e-3:1e-2:log", "--augmentation=radiograph", "--views=2",
             "--epochs=1"]  # fmt: skip
    bests = []
    for room in (1.0, 0.0):
        folder = tmp_path / str(room)
        trials = open_trials(*flags, f"--cache_dir={folder}")
        config = trials.space.config({})
        entries = cache_folders.entries(folder)
        used, before = sum(each.bytes for each in entries), sum(each.rows for each in entries)
        limit = 20.0 if room else (used + 600) / 2**30
        config = dataclasses.replace(config, cache_gib=limit)
        with contextlib.closing(trials.setup.opened), executor(None, trials.setup) as tasks:
            bests.append(comparison.compare(tasks, config, config, 2)["best"])
        after = sum(entry.rows for entry in cache_folders.entries(folder))
        assert (after > before) == bool(room)
    assert bests[0] == bests[1]


class Killed(BaseException):
    """In place of SIGKILL: nothing is saved when it is raised."""


@pytest.mark.slow
@pytest.mark.parametrize("at", [(1, 2), (2, 3)])
def test_killed_in_the_middle_it_goes_on_by_fold_and_within_one(at, quick, tmp_path, monkeypatch):
    """Of two configurations in two folds: four trainings."""
    monkeypatch.setattr(Training, "steps_per_call", lambda self, plan: 1)
    trials = open_trials(*quick, "--learning_rate=1e-3:1e-2:log", "--checkpoint_every=0")
    best, default = trials.space.config({"learning_rate": 5e-3}), trials.space.config({})
    counts, train_phases = [], cross_validation.train_phases

    def counted(training, callbacks, **more):
        def step(batch, logs):
            if at == (len(counts) - 1, counts[-1]):
                raise Killed
            counts[-1] += 1

        counts.append(0)
        count = keras.callbacks.LambdaCallback(on_train_batch_end=step)
        return train_phases(training, [*callbacks, count], **more)

    def compared(folder):
        with executor(None, trials.setup) as tasks:
            return comparison.compare(tasks, best, default, 2, SavedFolds(folder))

    monkeypatch.setattr(cross_validation, "train_phases", counted)
    with pytest.raises(Killed):
        compared(tmp_path / "killed")
    fold, done = at
    at = None
    counts.clear()
    result = compared(tmp_path / "killed")
    again = counts.copy()
    counts.clear()
    assert result == compared(tmp_path / "whole")
    assert again == [counts[fold] - done, *counts[fold + 1 :]]
    assert len(counts) == 4
