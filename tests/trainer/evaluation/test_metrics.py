"""The claims of the metrics, against scikit-learn and by hand."""

import json

import numpy as np
import pytest
from sklearn import metrics as peer

from tests.helpers.predictions import (
    DATASET,
    NAMES,
    baseline,
    called,
    joined,
    make,
    random_predictions,
    run_folder,
)
from trainer.evaluation.metrics import (
    cross_validation_metrics,
    loss_and_accuracy,
    patients_for_5_points,
    run_metrics,
    score,
    scores_by_fold,
    stressed_score,
)
from trainer.evaluation.predictions import Predictions, read


def test_values_are_those_of_scikit_learn():
    p = random_predictions()
    scores = score(p)
    truth, guess = p.labels, p.probabilities.argmax(axis=1)
    assert scores["accuracy"]["value"] == pytest.approx(peer.accuracy_score(truth, guess))
    balanced = peer.balanced_accuracy_score(truth, guess)
    assert scores["balanced_accuracy"]["value"] == pytest.approx(balanced)
    exact = p.probabilities / p.probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    assert scores["loss"]["value"] == pytest.approx(peer.log_loss(truth, exact), rel=1e-5)
    assert scores["confusion"] == peer.confusion_matrix(truth, guess).tolist()
    for c, name in enumerate(NAMES):
        own, positive = scores["classes"][name], truth == c
        expected = {
            "sensitivity": peer.recall_score(positive, guess == c),
            "specificity": peer.recall_score(~positive, guess != c),
            "ppv": peer.precision_score(positive, guess == c),
            "roc_auc": peer.roc_auc_score(positive, p.probabilities[:, c]),
            "pr_auc": peer.average_precision_score(positive, p.probabilities[:, c]),
        }
        assert {key: own[key]["value"] for key in expected} == pytest.approx(expected)
        assert own["n"] == own["sensitivity"]["n"] == positive.sum()
        assert own["ppv"]["n"] == (guess == c).sum()


@pytest.mark.parametrize("images", [1, 3, 40])
def test_what_is_undefined_is_none_and_goes_through_json(images):
    labels, shares = called(images, 0, classes=4, true_class=2)
    scores = score(make(labels, shares))
    json.dumps(scores, allow_nan=False)
    absent = scores["classes"]["covid19"]
    assert absent["n"] == absent["patients"] == absent["groups"] == 0
    for key in ("sensitivity", "ppv", "roc_auc", "pr_auc"):
        assert absent[key] | {"n": 0} == {
            **dict.fromkeys(("value", "low", "high", "n_effective")),
            **{"n": 0, "groups": 0, "interval": "undefined"},
        }
    nothing = {**dict.fromkeys(("value", "low", "high")), "groups": 0}
    assert absent["ppv_at_prevalence"] == {"0.01": nothing, "0.05": nothing, "0.2": nothing}
    assert absent["specificity"]["value"] == 1
    assert scores["classes"]["bacterial"]["roc_auc"]["value"] is None
    assert scores["balanced_accuracy"]["value"] == 1
    assert scores["loss"]["value"] == pytest.approx(-np.log(0.9), rel=1e-5)


def test_one_image_in_every_class_is_scored_without_an_interval_that_is_too_narrow():
    scores = score(make([0, 1, 2, 3], np.eye(4)))
    json.dumps(scores, allow_nan=False)
    viral = scores["classes"]["viral"]
    assert viral["sensitivity"]["low"] == pytest.approx(0.025)
    assert viral["by_group"] == [[1, 1]]
    assert viral["roc_auc"]["low"] < 0.4
    assert scores["loss"]["value"] == pytest.approx(0, abs=1e-6)
    assert scores["loss"]["high"] > 2


def test_certain_and_wrong_costs_a_finite_loss():
    scores = score(make([0, 0], [[0, 1], [0, 1]]))
    assert scores["loss"]["value"] == pytest.approx(-np.log(1e-7))


def test_ppv_at_prevalence_is_bayes_rule():
    healthy, covid = called(80, 20), called(9, 1, true_class=1)
    scores = score(make(healthy[0] + covid[0], np.concatenate((healthy[1], covid[1]))))
    at = scores["classes"]["covid19"]["ppv_at_prevalence"]
    assert {prevalence: each["value"] for prevalence, each in at.items()} == pytest.approx(
        {"0.01": 0.009 / (0.009 + 0.198), "0.05": 0.045 / (0.045 + 0.19), "0.2": 0.18 / 0.34}
    )
    assert all(0 < each["low"] < each["value"] < each["high"] < 1 for each in at.values())
    covid19 = scores["classes"]["covid19"]
    assert {each["groups"] for each in at.values()} == {covid19["sensitivity"]["groups"]} != {0}


def test_calibration_error_by_hand():
    # Confidence .9 (3 of 4 right, gap .15) and .65 (1 of 2 right, gap .15), then .75 (right).
    shares = [[0.9, 0.1]] * 4 + [[0.65, 0.35]] * 2 + [[0.25, 0.75]]
    scores = score(make([0, 0, 0, 1, 0, 1, 1], shares))
    expected = (4 * 0.15 + 2 * 0.15 + 0.25) / 7
    assert scores["calibration"] == {"ece": pytest.approx(expected, abs=1e-6), "bins": 10}


def test_the_calibration_error_of_repeats_is_the_mean_of_theirs():
    """One is too sure by .25, one too unsure by as much: together they would have none."""
    labels, sure = [0, 0, 1, 1], [[0.75, 0.25]] * 4
    both = [make(labels, shares) for shares in (sure, sure[:2] + [[0.25, 0.75]] * 2)]
    table = joined(*both, repeats=[0] * 4 + [1] * 4, folds=[0, 0, 1, 1] * 2)
    for each in (*both, table):
        assert score(each)["calibration"]["ece"] == pytest.approx(0.25)


@pytest.mark.parametrize(("accuracy", "patients"), [(1.0, 36), (0.0, 36), (0.5, 382)])
def test_patients_for_5_points_in_closed_form(accuracy, patients):
    # At 1 the low limit .025^(1 / n) is .9 from n = ln .025 / ln .9 on, which is 35.01.
    assert patients_for_5_points(accuracy) == patients


def test_an_image_names_no_patient_where_that_is_its_own_name():
    ids, patients = ["a", "b", "c", "d"], ["a", "p", "p", "d"]
    table = make([0, 1, 0, 1], np.eye(2)[[0, 1, 0, 1]], ["g"] * 4, patients=patients, image_ids=ids)
    both = joined(table, table, repeats=[0] * 4 + [1] * 4, folds=[0, 0, 1, 1] * 2)
    assert cross_validation_metrics(both, {}, DATASET)["dataset"]["images_without_patient"] == 2


def test_images_patients_and_groups_are_counted_apart():
    patients = ["a", "a", "b", "c", "d", "d"]
    p = make([0, 0, 0, 1, 1, 1], np.eye(2)[[0, 0, 0, 1, 1, 1]], [*"xxxyyy"], patients=patients)
    scores = score(p)
    assert [scores[key] for key in ("n", "patients", "groups")] == [6, 4, 2]
    healthy = scores["classes"]["healthy"]
    assert [healthy[key] for key in ("n", "patients", "groups")] == [3, 2, 1]
    # Groups, not patients, are the independent units.
    assert scores["accuracy"]["low"] == pytest.approx(0.025 ** (1 / 2))


def test_a_class_of_few_groups_has_the_counts_of_each():
    right = [1, 1, 1, 0, 0, 1, 1]
    labels, groups = [0] * 3 + [1] * 4, [*"aab", *"cddd"]
    shares = np.eye(2)[[c if hit else 1 - c for c, hit in zip(labels, right, strict=True)]]
    classes = score(make(labels, shares, groups))["classes"]
    assert classes["healthy"]["by_group"] == [[2, 2], [1, 1]]
    assert classes["covid19"]["by_group"] == [[0, 1], [2, 3]]
    assert "by_group" not in score(random_predictions())["classes"]["healthy"]


def test_the_numbers_of_an_epoch_are_those_of_the_score():
    p = random_predictions()
    quick, whole = loss_and_accuracy(p.labels, p.probabilities), score(p)
    assert quick == pytest.approx({key: whole[key]["value"] for key in quick}, rel=1e-6)
    assert list(quick) == ["loss", "accuracy", "balanced_accuracy"]


def test_an_epoch_may_call_a_class_that_validation_does_not_have(recwarn):
    scores = loss_and_accuracy(np.array([0, 0, 1]), np.eye(3, dtype=np.float32)[[0, 2, 1]])
    assert scores["balanced_accuracy"] == 0.75
    assert not recwarn.list


def test_the_metrics_of_a_run_come_from_its_folder(tmp_path):
    run_folder(tmp_path)
    metrics = run_metrics(tmp_path, baseline())
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["dataset"] == {
        "name": "full",
        "fingerprint": "0123abcd",
        "synthetic": True,
        "planted_shortcut": False,
        "train_images": 120,
        "train_patients": 60,
        "train_groups": 30,
        "train_classes": dict.fromkeys(NAMES, 30),
        "images_without_patient": 0,
        "groups_in_more_than_one_split": {},
    }
    assert (metrics["best_epoch"], metrics["epochs"]) == (11, 12)
    assert metrics["confounding"]["confounded"]
    assert metrics["confounding"]["table"]["covid19"] == {"cohen": 30, "kaggle": 0}
    table = read(tmp_path / "predictions.csv")
    assert list(metrics["splits"]) == ["validation", "test"]
    for split, scores in metrics["splits"].items():
        assert scores.pop("shortcut_baseline") == baseline()[split]
        if split == "validation":
            stressed = read(tmp_path / "stressed.csv")
            assert scores.pop("stressed") == stressed_score(stressed)
        assert scores == score(table.of_split(split))
    assert not {"control", "as_published"} & metrics.keys()


def test_control_and_the_articles_reading_come_where_the_run_has_them(tmp_path):
    run_folder(tmp_path, as_published=True, control=True)
    metrics = run_metrics(tmp_path, baseline())
    assert metrics["control"]["classes"]["covid19"]["specificity"]["value"] == 5 / 6
    assert metrics["as_published"]["test_accuracy"]["n"] == 8


def folds(n=60, repeats=3):
    """Out-of-fold predictions of n images, another fold and other probabilities each repeat."""
    fold = np.stack([np.random.default_rng(r).permutation(n) % 4 for r in range(repeats)])
    labels = np.arange(n) % 3
    shares = [random_predictions(n, 3, seed=9 + r).probabilities for r in range(repeats)]
    tables = [make(labels, each, [f"g{i // 2}" for i in range(n)]) for each in shares]
    table = joined(*tables, repeats=np.repeat(np.arange(repeats), n), folds=fold.ravel())
    return table, labels, fold, np.stack(shares)


def test_the_metrics_of_folds_are_over_folds_and_repeats():
    table, labels, fold, shares = folds()
    metrics = cross_validation_metrics(table, {"made": "up"}, DATASET)
    assert [metrics[key] for key in ("n", "patients", "groups", "folds", "repeats")] == [
        60, 30, 30, 4, 3,
    ]  # fmt: skip
    values = [
        [peer.balanced_accuracy_score(labels[at == k], p[at == k].argmax(axis=1)) for k in range(4)]
        for at, p in zip(fold, shares, strict=True)
    ]
    by_fold = {name: np.array(metrics["by_fold"][name]) for name in ("values", "low", "high")}
    np.testing.assert_allclose(by_fold["values"], values)
    assert (by_fold["low"] < by_fold["values"]).all() and (
        by_fold["values"] < by_fold["high"]
    ).all()
    assert metrics["by_fold"]["n"] == [[15] * 4] * 3
    groups = [[len({*np.flatnonzero(at == k) // 2}) for k in range(4)] for at in fold]
    assert metrics["by_fold"]["groups"] == groups
    assert {key: metrics["by_fold"][key] for key in ("mean", "sd", "min")} == pytest.approx(
        {"mean": np.mean(values), "sd": np.std(values, ddof=1), "min": np.min(values)}
    )
    assert metrics["pooled"] == score(table)
    assert metrics["shortcut_baseline"] == {"made": "up"}
    quick = scores_by_fold(labels, fold, shares)
    assert [[each["balanced_accuracy"] for each in row] for row in quick] == (
        metrics["by_fold"]["values"]
    )
    json.dumps(metrics, allow_nan=False)


def test_an_image_of_a_cross_validation_counts_once():
    table, labels, _, shares = folds()
    pooled = cross_validation_metrics(table, {}, DATASET)["pooled"]
    assert (pooled["n"], pooled["accuracy"]["n"], pooled["loss"]["n"]) == (60, 60, 60)
    for c, each in enumerate(pooled["classes"].values()):
        assert each["n"] == each["sensitivity"]["n"] == (labels == c).sum()
    assert np.sum(pooled["confusion"]) == 180  # of all repeats
    accuracy = (shares.argmax(axis=-1) == labels).mean()
    assert pooled["accuracy"]["value"] == pytest.approx(accuracy)


def test_images_are_the_same_in_whatever_order_a_repeat_has_them():
    table = folds(repeats=2)[0]
    order = np.r_[np.arange(60), 60 + np.random.default_rng(0).permutation(60)]
    names = ("image_ids", "patients", "groups", "sources", "splits")
    columns = {name: [getattr(table, name)[i] for i in order] for name in names}
    more = {name: getattr(table, name)[order] for name in ("labels", "probabilities", "repeats")}
    shuffled = Predictions(**columns, **more, class_names=table.class_names)
    assert score(shuffled) == score(table)


def test_repeats_narrow_no_interval():
    table = folds(repeats=1)[0]
    n = len(table.labels)
    same = joined(table, table, table, repeats=np.repeat([0, 1, 2], n), folds=[*table.folds] * 3)
    once, thrice = (
        cross_validation_metrics(t, {}, DATASET)["pooled"]["accuracy"] for t in (table, same)
    )
    assert [thrice[end] for end in ("low", "high")] == pytest.approx(
        [once[end] for end in ("low", "high")]
    )


def test_predictions_of_a_run_have_no_folds():
    with pytest.raises(ValueError, match="no repeats and folds"):
        cross_validation_metrics(random_predictions(8), {}, DATASET)
