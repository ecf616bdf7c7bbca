"""The claims of a comparison: the same images, each run's own numbers, differences with signs."""

import numpy as np
import pytest

from tests.helpers.finished_runs import SCORED, finished
from trainer.evaluation import metrics
from trainer.evaluation.paired import exact_mcnemar
from trainer.reporting import comparison
from trainer.reporting.results import Results


@pytest.fixture(scope="module")
def worse_and_better(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    worse = Results(finished(folder / "a", skill=0.5, flags={"cache_dir": "here"}))
    return [worse, Results(finished(folder / "b", skill=4.0))]


def test_scores_are_those_of_the_runs_where_all_images_are_shared(worse_and_better):
    compared = comparison.compare(worse_and_better)
    assert compared.left_out == {"A": 0, "B": 0}
    for scores, run in zip(compared.scores.values(), worse_and_better, strict=True):
        of_run = dict(run.metrics["splits"]["test"])
        baseline = of_run.pop("shortcut_baseline")
        assert scores == of_run
        assert baseline in compared.baselines.values()


def test_the_difference_is_the_later_run_less_the_first(worse_and_better):
    compared = comparison.compare(worse_and_better)
    a, b = (each["balanced_accuracy"]["value"] for each in compared.scores.values())
    difference = compared.differences["B"]
    assert difference["value"] == pytest.approx(b - a) and difference["low"] > 0
    assert difference["mcnemar"]["ours"] > difference["mcnemar"]["peers"]
    assert difference["mcnemar"]["p"] < 0.001
    back = comparison.compare(worse_and_better[::-1]).differences["B"]
    assert back["value"] == pytest.approx(-difference["value"])


def test_where_the_machine_was_is_no_setting(worse_and_better):
    assert comparison.compare(worse_and_better).settings == {}


def test_images_that_one_run_did_not_score_are_left_out(worse_and_better, tmp_path):
    """By name and by pixels: a third run has other pixels under half of the names."""
    other = Results(finished(tmp_path / "c", skill=1.0))
    digests = other.used["image_sha256"]
    digests[:] = [d if i % 2 else "0" * 64 for i, d in enumerate(digests)]
    compared = comparison.compare([*worse_and_better, other])
    assert set(compared.left_out.values()) == {SCORED // 2}
    assert {each["n"] for each in compared.scores.values()} == {SCORED // 2}
    assert set(compared.baselines.values()) == {None}
    table = worse_and_better[0].predictions.of_split("test").take(range(1, SCORED, 2))
    assert compared.scores["A"] == metrics.score(table)


def test_the_same_image_of_another_class_is_not_shared(worse_and_better, tmp_path):
    other = Results(finished(tmp_path / "c"))
    labels = other.predictions.labels
    of_test = np.flatnonzero(np.asarray(other.predictions.splits) == "test")
    labels[of_test[:10]] = (labels[of_test[:10]] + 1) % 4
    assert comparison.compare([worse_and_better[0], other]).left_out == {"A": 10, "B": 10}


def test_what_control_shows_is_beside_scores_of_test_alone(worse_and_better, tmp_path):
    runs = [Results(finished(tmp_path / name, control=True, skill=0.5)) for name in "ab"]
    controls = comparison.compare(runs).controls
    of_run = runs[0].metrics["control"]["classes"]["covid19"]["specificity"]
    assert controls == {"A": of_run, "B": of_run}
    assert set(comparison.compare(worse_and_better).controls.values()) == {None}
    closed = Results(finished(tmp_path / "c", test=False))
    assert set(comparison.compare([runs[0], closed]).controls.values()) == {None}


def test_mcnemar_of_single_images_is_the_binomial_test():
    groups, ours = np.arange(12), np.r_[np.ones(9), np.zeros(3)]
    test = exact_mcnemar(groups, ours, 1 - ours)
    assert (test["ours"], test["peers"]) == (9, 3)
    assert test["p"] == pytest.approx(2 * (220 + 66 + 12 + 1) / 2**12)


def test_mcnemar_counts_a_group_once():
    groups = np.repeat([0, 1, 2], [10, 1, 2])
    ours, peers = np.ones(13), np.zeros(13)
    ours[11:], peers[11:] = [1, 0], [0, 1]  # of the last group each has one right
    assert exact_mcnemar(groups, ours, peers) == {"ours": 2, "peers": 0, "p": 0.5}


def test_mcnemar_of_equal_runs_is_one():
    assert exact_mcnemar(np.arange(4), np.ones(4), np.ones(4))["p"] == 1
