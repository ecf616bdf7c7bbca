"""The claims of the intervals, against scikit-learn, NumPy and by hand."""

import numpy as np
import pytest
from sklearn import metrics

from tests.helpers.predictions import called, make, random_predictions
from trainer.evaluation import intervals
from trainer.evaluation.intervals import Ranking, paired_difference, wilson
from trainer.evaluation.metrics import score


def test_ranking_areas_with_weights_and_ties_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    positive, scores = rng.random(80) < 0.3, rng.integers(0, 12, 80) / 11
    weights = rng.multinomial(80, np.full(80, 1 / 80), size=30).astype(float)
    roc, average_precision = Ranking(positive, scores).areas(weights)
    for row, area, precision in zip(weights, roc, average_precision, strict=True):
        assert area == pytest.approx(metrics.roc_auc_score(positive, scores, sample_weight=row))
        assert precision == pytest.approx(
            metrics.average_precision_score(positive, scores, sample_weight=row)
        )


@pytest.mark.parametrize(("successes", "n"), [(9, 10), (1, 36), (350, 700), (0, 5), (5, 5)])
def test_wilson_solves_the_score_equation(successes, n):
    # The ends are the p with (share - p)^2 = z^2 p (1 - p) / n.
    share, z2n = successes / n, 1.959964**2 / n
    ends = np.sort(np.roots([1 + z2n, -(2 * share + z2n), share**2]).real)
    assert wilson(successes, n) == pytest.approx(tuple(ends), abs=1e-7)


def test_wilson_reaches_the_ends_exactly_and_refuses_no_trial():
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0
    for successes, n in ((0, 0), (3, 2), (-1, 4), (float("nan"), 4)):
        with pytest.raises(ValueError, match="Pass n > 0"):
            wilson(successes, n)


def test_interval_is_the_percentile_bootstrap_over_groups():
    p = random_predictions(n=120, images_per_group=3)
    right = p.probabilities.argmax(axis=1) == p.labels
    by_group = right.reshape(40, 3)
    rng = np.random.default_rng(5)
    drawn = [by_group[rng.integers(0, 40, 40)].mean() for _ in range(6000)]
    scores = score(p, resamples=6000)["accuracy"]
    assert (scores["low"], scores["high"]) == pytest.approx(
        tuple(np.percentile(drawn, (2.5, 97.5))), abs=0.012
    )
    assert scores["interval"] == "patient-group bootstrap, 95 % percentile, 6000 resamples"


def test_a_paired_difference_is_that_of_the_balanced_accuracies():
    rng = np.random.default_rng(3)
    labels, groups = rng.integers(0, 3, 90), np.arange(90) // 2
    ours, peers = rng.integers(0, 2, 90) * 1.0, rng.random(90).round(1)

    def balanced(right: np.ndarray) -> float:
        return np.mean([right[labels == c].mean() for c in range(3)])

    difference = paired_difference(labels, groups, ours, peers)
    assert difference["value"] == pytest.approx(balanced(ours) - balanced(peers))
    assert difference["low"] < difference["value"] < difference["high"]
    assert difference["n"] == 90
    back = paired_difference(labels, groups, peers, ours)
    assert back["low"] == pytest.approx(-difference["high"])
    same = paired_difference(labels, groups, ours, ours)
    assert same["low"] == same["value"] == same["high"] == 0


def test_what_makes_a_draw_hard_for_both_cancels_out_of_a_paired_difference():
    rng = np.random.default_rng(4)
    labels, groups = np.arange(200) % 2, np.arange(200)
    ours = rng.integers(0, 2, 200) * 1.0
    worse = ours.copy()
    worse[:8] = 0  # wrong on a few more images, right on the same others
    paired = paired_difference(labels, groups, ours, worse)
    apart = paired_difference(labels, groups, ours, rng.permutation(worse))
    assert paired["high"] - paired["low"] < (apart["high"] - apart["low"]) / 2


def test_more_copies_of_the_same_groups_narrow_nothing():
    once = random_predictions(n=60, images_per_group=1)
    four = make(np.tile(once.labels, 4), np.tile(once.probabilities, (4, 1)), list(once.groups) * 4)
    a, b = (score(p, resamples=300) for p in (once, four))
    for key in ("accuracy", "balanced_accuracy", "loss"):
        assert [a[key][end] for end in ("low", "high")] == pytest.approx(
            [b[key][end] for end in ("low", "high")]
        )
    strangers = score(make(four.labels, four.probabilities), resamples=300)["accuracy"]
    assert strangers["high"] - strangers["low"] < 0.7 * (
        b["accuracy"]["high"] - b["accuracy"]["low"]
    )


def test_same_seed_same_numbers_in_any_order_of_images():
    p = random_predictions(n=80)
    order = np.random.default_rng(3).permutation(80)
    shuffled = make(
        p.labels[order],
        p.probabilities[order],
        [p.groups[i] for i in order],
        image_ids=[p.image_ids[i] for i in order],
    )
    first = score(p, seed=1, resamples=200)
    assert first == score(p, seed=1, resamples=200)
    assert first["accuracy"] == pytest.approx(score(shuffled, seed=1, resamples=200)["accuracy"])
    assert first["loss"]["low"] != score(p, seed=2, resamples=200)["loss"]["low"]


def test_all_right_is_bounded_by_groups_not_images():
    labels = [0] * 12 + [1] * 12
    shares = np.where(np.arange(2) == np.array(labels)[:, None], 0.8, 0.2)
    groups = [f"p{i // 2}" for i in range(24)]  # 6 + 6
    scores = score(make(labels, shares, groups))
    for estimate, trials in (
        (scores["accuracy"], 12),
        (scores["balanced_accuracy"], 12),
        (scores["classes"]["covid19"]["sensitivity"], 6),
        (scores["classes"]["covid19"]["roc_auc"], 6),
        (scores["classes"]["covid19"]["pr_auc"], 6),
    ):
        assert estimate["value"] == pytest.approx(1)
        assert (estimate["low"], estimate["high"]) == pytest.approx(wilson(trials, trials))
        assert estimate["interval"] == "Wilson 95 %, patient groups"


def test_few_groups_of_a_class_get_wilsons_interval():
    many, few = called(60, 20), called(3, 1, true_class=1)
    p = make(many[0] + few[0], np.concatenate((many[1], few[1])))
    scores = score(p, resamples=200)
    assert "bootstrap" in scores["classes"]["healthy"]["sensitivity"]["interval"]
    rare = scores["classes"]["covid19"]
    assert (rare["sensitivity"]["low"], rare["sensitivity"]["high"]) == pytest.approx(wilson(3, 4))
    assert rare["roc_auc"]["interval"] == "Wilson 95 %, patient groups"
    # Variance of the mean of two proportions of 80 and 4 groups is that of 4 / (1/80 + 1/4).
    balanced, trials = scores["balanced_accuracy"], 4 / (1 / 80 + 1 / 4)
    assert balanced["value"] == pytest.approx(0.75)
    assert (balanced["low"], balanced["high"]) == pytest.approx(wilson(0.75 * trials, trials))


def test_the_draws_are_the_same_however_few_are_weighed_at_once(monkeypatch):
    p = random_predictions(n=90, images_per_group=2)
    at_once = score(p, resamples=600)
    monkeypatch.setattr(intervals, "CELLS", 90 * 7)
    apart = score(p, resamples=600)
    for key in ("accuracy", "balanced_accuracy", "loss"):
        assert apart[key] == pytest.approx(at_once[key])
    assert apart["classes"]["viral"]["roc_auc"] == pytest.approx(
        at_once["classes"]["viral"]["roc_auc"]
    )
