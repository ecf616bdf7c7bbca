"""The command that cross-validates."""

import json

import pytest

from tests.helpers import commands, trainings
from trainer.config import Config

WRONG = {
    "--folds is 1. Give 2 or more": ["--folds=1"],
    "--repeats is 0. Give 1 or more": ["--repeats=0"],
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


def test_it_prints_mean_sd_min_intervals_and_the_shortcut_baseline(data_dir, tmp_path):
    config = trainings.quick(data_dir, tmp_path / "cache", epochs=1)
    (tmp_path / "cv.flags").write_text(config.to_flags())
    ended = commands.run(
        "trainer.crossval", f"--flagfile={tmp_path}/cv.flags", "--folds=3", "--repeats=2",
        f"--run_dir={tmp_path}/cv",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    for words in ("n = 85 images", "mean", "min", "shortcut baseline", f"{tmp_path}/cv"):
        assert words in ended.out
    assert "folds: 100 %, 6 of 6 folds" in ended.err
    names = {path.name for path in (tmp_path / "cv").iterdir()}
    assert {"config.json", "flags.txt", "crossval.json", "predictions.csv"} <= names
    scores = json.loads((tmp_path / "cv" / "crossval.json").read_text())
    assert (scores["folds"], scores["repeats"]) == (3, 2)
    assert Config.read(tmp_path / "cv") == config


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
        assert "folds: 100 %, 3 of 3 folds" in ended.err
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
