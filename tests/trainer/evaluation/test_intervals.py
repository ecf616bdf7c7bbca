"""The claims of the estimates: which interval a number has, over groups, an image counted once."""

import numpy as np
import pytest

from tests.helpers.predictions import called, make, random_predictions
from trainer.evaluation import shares
from trainer.evaluation.intervals import estimates
from trainer.evaluation.metrics import score

ENDS = ("low", "high")


def ends(estimate):
    return [estimate[end] for end in ENDS]


def of(table, **more):
    groups = np.unique(table.groups, return_inverse=True)[1]
    return estimates(table.labels, table.probabilities, groups, **more)


def test_single_images_have_jeffreys_interval():
    p = random_predictions(n=120, images_per_group=1)
    accuracy = of(p)["accuracy"]
    assert ends(accuracy) == pytest.approx(np.array(shares.jeffreys(accuracy["value"], 120)[1:]))
    assert (accuracy["n"], accuracy["groups"]) == (120, 120)
    assert accuracy["n_effective"] == pytest.approx(120)
    assert accuracy["interval"] == "Jeffreys 95 %, n* = 120.0 of 120 images, 120 patient groups"


def test_every_estimate_holds_its_value_and_has_all_fields():
    for groups, n in ((1, 40), (2, 100), (5, 400)):
        for estimate in of(random_predictions(n, images_per_group=groups)).values():
            assert estimate["low"] < estimate["high"]
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
            assert 0 < estimate["n_effective"] <= estimate["n"] + 1e-9
            assert list(estimate) == [
                "value", "low", "high", "n", "n_effective", "groups", "interval"
            ]  # fmt: skip


def test_balanced_accuracy_has_the_limits_of_its_classes():
    measured = of(random_predictions(n=240, images_per_group=1))  # each group in one class
    classes = [measured["sensitivity", c] for c in range(4)]
    below = np.sqrt(sum((each["value"] - each["low"]) ** 2 for each in classes)) / 4
    balanced = measured["balanced_accuracy"]
    assert balanced["low"] == pytest.approx(balanced["value"] - below)
    assert balanced["value"] == pytest.approx(np.mean([each["value"] for each in classes]))


def test_more_copies_of_the_same_groups_narrow_nothing():
    once = random_predictions(n=60, images_per_group=1)
    four = make(np.tile(once.labels, 4), np.tile(once.probabilities, (4, 1)), list(once.groups) * 4)
    a, b = of(once), of(four)
    for key in ("accuracy", "balanced_accuracy", "loss", ("roc_auc", 1)):
        assert b[key]["value"] == pytest.approx(a[key]["value"])
        assert np.diff(ends(b[key])) > 0.95 * np.diff(ends(a[key]))
    strangers = of(make(four.labels, four.probabilities))["accuracy"]
    assert np.diff(ends(strangers)) < 0.7 * np.diff(ends(b["accuracy"]))


def test_the_order_of_images_and_the_numbers_of_groups_are_nothing():
    p = random_predictions(n=80, images_per_group=3)
    groups = np.unique(p.groups, return_inverse=True)[1]
    order = np.random.default_rng(3).permutation(80)
    renamed = groups.max() - groups[order]
    first = estimates(p.labels, p.probabilities, groups)
    again = estimates(p.labels[order], p.probabilities[order], renamed)
    for key, estimate in first.items():
        assert again[key]["value"] == pytest.approx(estimate["value"])
        assert ends(again[key]) == pytest.approx(ends(estimate))


def test_all_right_is_bounded_by_groups_not_images():
    labels = [0] * 12 + [1] * 12
    probabilities = np.where(np.arange(2) == np.array(labels)[:, None], 0.8, 0.2)
    groups = [f"p{i // 2}" for i in range(24)]  # 6 + 6
    scores = score(make(labels, probabilities, groups))
    covid = scores["classes"]["covid19"]
    for estimate, n in (
        (scores["accuracy"], 12),
        (covid["sensitivity"], 6),
        (covid["specificity"], 6),
    ):
        assert (estimate["value"], estimate["high"]) == (1, 1)
        assert estimate["low"] == pytest.approx(0.025 ** (1 / n))
    assert 0 < covid["pr_auc"]["low"] < 0.025 ** (1 / 6)  # for the other 6 groups, too
    balanced = scores["balanced_accuracy"]
    assert balanced["low"] == pytest.approx(1 - (1 - 0.025 ** (1 / 6)) / np.sqrt(2))
    assert (covid["roc_auc"]["value"], covid["roc_auc"]["high"]) == (1, 1)
    assert covid["roc_auc"]["low"] < 0.9


def test_a_class_of_few_images_makes_the_interval():
    many, few = called(60, 20), called(3, 1, true_class=1)
    p = make(many[0] + few[0], np.concatenate((many[1], few[1])))
    scores = of(p)
    assert ends(scores["sensitivity", 1]) == pytest.approx(np.array(shares.jeffreys(0.75, 4.0)[1:]))
    assert np.diff(ends(scores["balanced_accuracy"])) > 0.45 * np.diff(
        ends(scores["sensitivity", 1])
    )
    assert scores["roc_auc", 1]["groups"] == 4


def repeated(repeats=3, n=60):
    tables = [random_predictions(n, 3, seed=seed) for seed in range(repeats)]
    groups = np.arange(n) // 2
    return tables[0].labels, np.stack([each.probabilities for each in tables]), groups


def test_repeats_of_the_same_predictions_are_one():
    labels, by_repeat, groups = repeated()
    once = estimates(labels, by_repeat[0], groups)
    thrice = estimates(labels, np.stack([by_repeat[0]] * 3), groups)
    for key, estimate in once.items():
        assert thrice[key] == {
            name: pytest.approx(value) if name != "interval" else value
            for name, value in estimate.items()
        }


def test_the_values_of_repeats_are_their_means_and_images_are_counted_once():
    labels, by_repeat, groups = repeated()
    together = estimates(labels, by_repeat, groups)
    apart = [estimates(labels, each, groups) for each in by_repeat]
    for key, estimate in together.items():
        if key[0] != "ppv":  # whose denominators differ
            mean = np.mean([each[key]["value"] for each in apart])
            assert estimate["value"] == pytest.approx(mean)
            assert estimate["n"] == apart[0][key]["n"]
        assert estimate["low"] < estimate["value"] < estimate["high"]
        narrowest = min(np.diff(ends(each[key])) for each in apart)
        assert np.diff(ends(estimate)) > 0.6 * narrowest
    calls = by_repeat.argmax(axis=-1) == 0
    right = (calls & (labels == 0)).sum()
    assert together["ppv", 0]["value"] == pytest.approx(right / calls.sum())
    assert together["ppv", 0]["n"] == calls.any(axis=0).sum()


def test_areas_are_left_out_where_they_are_not_wanted():
    assert {key[0] for key in of(random_predictions(40), areas=False) if len(key) == 2} == {
        "sensitivity", "specificity", "ppv"
    }  # fmt: skip


def test_the_interval_of_an_area_names_the_images_that_it_stands_on():
    labels, groups = np.repeat([0, 1], (30, 4)), np.arange(34)
    positive = np.linspace(0.1, 0.9, 34)
    of = estimates(labels, np.stack((1 - positive, positive), axis=1), groups)
    area, precision = of["roc_auc", 1], of["pr_auc", 1]
    n = f"n* = {area['n_effective']:.1f} of the class or of the others, which are fewer"
    assert area["interval"] == f"Newcombe 95 %, {n}, 4 patient groups against 30 of others"
    assert area["n_effective"] <= 4 and area["n"] == 34
    assert precision["interval"].endswith(
        "n* = 4.0 of 4 positives, 4 patient groups against 30 of others"
    )
