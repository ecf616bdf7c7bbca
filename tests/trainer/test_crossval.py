"""The command that cross-validates."""

import json

import pytest

from tests.helpers import commands, run_folders, trainings
from trainer.config import Config
from trainer.run import run_dir
from trainer.run.run_dir import Identity

WRONG = {
    "--folds is 1. Give 2 to 1000": ["--folds=1"],
    "--repeats is 0. Give 1 to 1000": ["--repeats=0"],
    "--early_stopping has no place with folds": ["--early_stopping=2"],
    "--as_published has no place with folds": ["--as_published", "--augmentation=article"],
    "--normalization=zca is fitted": ["--normalization=zca"],
    "are no flags": ["word"],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_command_line_exits_with_2(message, tmp_path):
    ended = commands.run("trainer.crossval", *WRONG[message], f"--run_dir={tmp_path}/cv")
    assert ended.status == 2
    assert message in ended.err
    assert not (tmp_path / "cv").exists()


def test_it_prints_mean_sd_intervals_and_the_shortcut_baseline(data_dir, tmp_path):
    config = trainings.quick(data_dir, tmp_path / "cache", epochs=1)
    (tmp_path / "cv.flags").write_text(config.to_flags())
    ended = commands.run(
        "trainer.crossval", f"--flagfile={tmp_path}/cv.flags", "--folds=2", "--repeats=2",
        f"--run_dir={tmp_path}/cv",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    for words in ("n = 85 images", "mean", "lowest fold", "shortcut baseline", f"{tmp_path}/cv"):
        assert words in ended.out
    assert "folds: 4 of 4 folds, " in ended.err
    plain = [*ended.out.splitlines(), *ended.err.splitlines()]
    assert max(len(line) for line in plain if str(tmp_path) not in line) <= 80
    assert not {"\r", "\x1b"} & {*ended.out, *ended.err}
    names = {path.name for path in (tmp_path / "cv").iterdir()}
    assert {"config.json", "flags.txt", "crossval.json", "predictions.csv"} <= names
    scores = json.loads((tmp_path / "cv" / "crossval.json").read_text())
    assert (scores["folds"], scores["repeats"]) == (2, 2)
    assert [sum(of_repeat) for of_repeat in scores["by_fold"]["n"]] == [85, 85]
    for of in (scores["pooled"], *scores["shortcut_baseline"].values()):
        assert of["balanced_accuracy"]["low"] < of["balanced_accuracy"]["high"]
    assert Config.read(tmp_path / "cv") == config


@pytest.mark.slow
def test_workers_write_the_predictions_of_one_process(data_dir, tmp_path):
    config = trainings.quick(
        data_dir, tmp_path / "cache", epochs=2, learning_rate=1e-2, deterministic=True
    )
    (tmp_path / "cv.flags").write_text(config.to_flags())
    written = []
    for name, *flags in (("one",), ("two", "--workers=2")):
        ended = commands.run(
            "trainer.crossval", f"--flagfile={tmp_path}/cv.flags", "--folds=3", "--repeats=1",
            f"--run_dir={tmp_path}/{name}", *flags,
        )  # fmt: skip
        assert ended.status == 0, ended.err
        assert "folds: 3 of 3 folds, " in ended.err
        written.append((tmp_path / name / "predictions.csv").read_bytes())
    assert written[0] == written[1]


def test_more_folds_than_groups_exits_with_1(data_dir, tmp_path):
    config = trainings.quick(data_dir, epochs=1)
    (tmp_path / "cv.flags").write_text(config.to_flags())
    ended = commands.run(
        "trainer.crossval", f"--flagfile={tmp_path}/cv.flags", "--folds=60",
        f"--run_dir={tmp_path}/cv",
    )  # fmt: skip
    assert ended.status == 1
    assert "Give fewer folds" in ended.err


# What is there already, without a training

PHANTOM = "--dataset=phantom"


def left(folder, *, finished: bool) -> None:
    """Leaves what a cross-validation leaves, of 2 folds and 3 repeats."""
    flags = {**Config(dataset="phantom", seed=4).to_json(), "folds": 2, "repeats": 3}
    identity = Identity("trainer.crossval", flags)
    with run_dir.create(folder, "", identity, overwrite=False) as opened:
        opened.begin({"config": Config(dataset="phantom", seed=4).to_json()})
        (folder / "checkpoints" / "fold_0123").write_text("a fold that ended")
        if finished:
            opened.finish()


CHANGED = {
    "--folds is 3, and was 2": ["--folds=3", "--repeats=3", "--seed=4"],
    "--repeats is 4, and was 3": ["--folds=2", "--repeats=4", "--seed=4"],
    "--seed is 5, and was 4": ["--folds=2", "--repeats=3", "--seed=5"],
    "--dropout is 0.25, and was": ["--folds=2", "--repeats=3", "--seed=4", "--dropout=0.25"],
    "--epochs is 4, and was": ["--folds=2", "--repeats=3", "--seed=4", "--epochs=4"],
}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("message", CHANGED)
def test_other_flags_are_refused_by_name(message, finished, tmp_path):
    left(tmp_path, finished=finished)
    before = run_folders.contents(tmp_path)
    ended = commands.run("trainer.crossval", *CHANGED[message], PHANTOM, f"--run_dir={tmp_path}")
    assert ended.status == 2
    assert f"--run_dir {tmp_path} holds a run with other flags: {message}" in ended.err
    assert run_folders.contents(tmp_path) == before


def test_the_folder_of_a_training_is_refused(tmp_path):
    run_folders.left(tmp_path)
    ended = commands.run("trainer.crossval", PHANTOM, f"--run_dir={tmp_path}")
    assert ended.status == 2
    assert "holds a run of trainer.main, and this is trainer.crossval" in ended.err


def test_a_finished_cross_validation_is_left_alone(tmp_path):
    left(tmp_path, finished=True)
    before = run_folders.contents(tmp_path)
    ended = commands.run(
        "trainer.crossval", "--folds=2", "--repeats=3", "--seed=4", PHANTOM,
        f"--run_dir={tmp_path}",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert ended.out == (
        f"{tmp_path} holds this run, and it has ended. --overwrite begins it again.\n"
    )
    assert run_folders.contents(tmp_path) == before
