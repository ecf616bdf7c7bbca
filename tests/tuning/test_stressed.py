"""Re-framed validation images as what ranks trials: the run's number, at the run's epoch."""

import json

import pytest

from tests.helpers import searches
from tests.helpers.searches import open_trials
from trainer import train
from trainer.evaluation import history
from trainer.run import run_dir
from tuning.settings import STRESSED

pytestmark = pytest.mark.slow

SPACE = ["--head_units=8:64:8", "--learning_rate=1e-4:1e-2:log", "--epochs=3"]
RANKED = [*SPACE, f"--objective={STRESSED}"]
VALUES = {"head_units": 16, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def trials(quick) -> searches.Trials:
    return open_trials(*quick, *RANKED)


@pytest.fixture(scope="module")
def result(trials):
    return trials.result(**VALUES)


def test_a_trials_value_is_what_a_run_gets_at_the_epoch_that_plain_validation_keeps(
    trials, result, tmp_path
):
    metrics = train.train_and_evaluate(trials.space.config(VALUES), run_dir.plain(tmp_path))
    scores = metrics["splits"]["validation"]["stressed"]["balanced_accuracy"]
    (best,) = (row for row in history.read(tmp_path / "history.csv") if row["best"])
    assert result.metrics["epoch"] == best["epoch"]
    assert result.metrics["val_balanced_accuracy"] == pytest.approx(best["val_balanced_accuracy"])
    for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
        assert result.metrics[STRESSED + end] == pytest.approx(scores[key], abs=1e-6)
    assert result.metrics["val_images"] == scores["n"]


def test_every_epoch_has_its_value(result):
    (curve,) = result.curves
    assert [logs["epoch"] for logs in curve] == [1, 2, 3]
    assert all(0 <= logs[STRESSED] <= 1 for logs in curve)
    at = int(result.metrics["epoch"]) - 1
    assert curve[at][STRESSED] == pytest.approx(result.metrics[STRESSED])


def test_several_executions_have_a_mean_a_deviation_and_an_interval(trials, result):
    both = open_trials(*trials.argv, "--executions_per_trial=2", setup=trials.setup)(**VALUES)
    second = open_trials(*trials.argv, "--seed=2", setup=trials.setup)(**VALUES)
    values = [result.metrics[STRESSED], second[STRESSED]]
    assert both[STRESSED] == pytest.approx(sum(values) / 2)
    assert both[f"{STRESSED}_sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert both[f"{STRESSED}_low"] <= both[STRESSED] <= both[f"{STRESSED}_high"]


def test_other_objectives_score_no_frames(quick):
    plain = open_trials(*quick, *SPACE)
    assert list(plain.setup.dataset.splits) == ["train", "validation"]
    assert not [name for name in plain(**VALUES) if "stressed" in name]


def test_a_search_ranks_by_it_and_shows_it_with_its_interval(quick, tmp_path, capsys):
    flags = (*quick, *RANKED, "--max_trials=4", "--final_folds=0")
    assert searches.search(tmp_path, *flags)
    rows = sorted(searches.table(tmp_path), key=lambda row: int(row["rank"]))
    scores = [float(row[STRESSED]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(float(row[f"{STRESSED}_low"]) <= float(row[STRESSED]) for row in rows)
    best = json.loads((tmp_path / "best_hparams.json").read_text())
    assert (best["objective"], best["direction"], best["score"]) == (STRESSED, "max", scores[0])
    assert best["low"] <= best["score"] <= best["high"]
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{STRESSED} {scores[0]:.3f} [" in printed
    assert "scores: validation split, re-framed at random, n = 17 images" in printed
