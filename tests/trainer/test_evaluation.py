"""The claims of trainer.evaluation and trainer.resampling, against scikit-learn and by hand."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats.contingency import association
from sklearn import metrics as peer

from trainer.evaluation import metrics
from trainer.evaluation.intervals import paired_difference, ranking_areas
from trainer.evaluation.metrics import Predictions, score, wilson

NAMES = ("healthy", "covid19", "bacterial", "viral")


def make(labels, probabilities, patients=None, sources=None, image_ids=None):
    n = len(labels)
    return Predictions(
        image_ids or [f"image{i}" for i in range(n)],
        patients or [f"patient{i}" for i in range(n)],
        sources or ["kaggle"] * n,
        np.asarray(labels),
        np.asarray(probabilities, dtype=np.float32),
    )


def random_predictions(n=240, classes=4, images_per_patient=2, seed=0, skill=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += skill
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return make(labels, shares, [f"p{i // images_per_patient:03}" for i in range(n)])


def called(right, wrong, classes=2, true_class=0):
    """`right` images of a class called so, `wrong` ones called the next class."""
    shares = np.full((right + wrong, classes), 0.1 / (classes - 1))
    shares[:right, true_class] = shares[right:, (true_class + 1) % classes] = 0.9
    return [true_class] * (right + wrong), shares


def test_values_are_those_of_scikit_learn():
    p = random_predictions()
    found = score(p, NAMES, resamples=20)
    truth, guess = p.labels, p.probabilities.argmax(axis=1)
    assert found["accuracy"]["value"] == pytest.approx(peer.accuracy_score(truth, guess))
    balanced = peer.balanced_accuracy_score(truth, guess)
    assert found["balanced_accuracy"]["value"] == pytest.approx(balanced)
    exact = p.probabilities / p.probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    assert found["loss"]["value"] == pytest.approx(peer.log_loss(truth, exact), rel=1e-5)
    assert found["confusion"] == peer.confusion_matrix(truth, guess).tolist()
    for c, name in enumerate(NAMES):
        own, positive = found["classes"][name], truth == c
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


def test_ranking_areas_with_weights_and_ties_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    positive, scores = rng.random(80) < 0.3, rng.integers(0, 12, 80) / 11
    weights = rng.multinomial(80, np.full(80, 1 / 80), size=30).astype(float)
    roc, average_precision = ranking_areas(positive, scores, weights)
    for row, area, precision in zip(weights, roc, average_precision, strict=True):
        assert area == pytest.approx(peer.roc_auc_score(positive, scores, sample_weight=row))
        assert precision == pytest.approx(
            peer.average_precision_score(positive, scores, sample_weight=row)
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


def test_interval_is_the_percentile_bootstrap_over_patients():
    p = random_predictions(n=120, images_per_patient=3)
    right = p.probabilities.argmax(axis=1) == p.labels
    by_patient = right.reshape(40, 3)
    rng = np.random.default_rng(5)
    drawn = [by_patient[rng.integers(0, 40, 40)].mean() for _ in range(6000)]
    found = score(p, NAMES, resamples=6000)["accuracy"]
    assert (found["low"], found["high"]) == pytest.approx(
        tuple(np.percentile(drawn, (2.5, 97.5))), abs=0.012
    )
    assert found["interval"] == "patient-cluster bootstrap, 95 % percentile, 6000 resamples"


def test_a_paired_difference_is_that_of_the_balanced_accuracies():
    rng = np.random.default_rng(3)
    labels, patients = rng.integers(0, 3, 90), np.arange(90) // 2
    ours, peers = rng.integers(0, 2, 90) * 1.0, rng.random(90).round(1)

    def balanced(right: np.ndarray) -> float:
        return np.mean([right[labels == c].mean() for c in range(3)])

    found = paired_difference(labels, patients, ours, peers)
    assert found["value"] == pytest.approx(balanced(ours) - balanced(peers))
    assert found["low"] < found["value"] < found["high"]
    assert found["n"] == 90
    back = paired_difference(labels, patients, peers, ours)
    assert back["low"] == pytest.approx(-found["high"])
    same = paired_difference(labels, patients, ours, ours)
    assert same["low"] == same["value"] == same["high"] == 0


def test_what_makes_a_draw_hard_for_both_cancels_out_of_a_paired_difference():
    rng = np.random.default_rng(4)
    labels, patients = np.arange(200) % 2, np.arange(200)
    ours = rng.integers(0, 2, 200) * 1.0
    worse = ours.copy()
    worse[:8] = 0  # wrong on a few more images, right on the same others
    paired = paired_difference(labels, patients, ours, worse)
    apart = paired_difference(labels, patients, ours, rng.permutation(worse))
    assert paired["high"] - paired["low"] < (apart["high"] - apart["low"]) / 2


def test_more_copies_of_the_same_patients_narrow_nothing():
    once = random_predictions(n=60, images_per_patient=1)
    four = make(
        np.tile(once.labels, 4), np.tile(once.probabilities, (4, 1)), list(once.patients) * 4
    )
    a, b = (score(p, NAMES, resamples=300) for p in (once, four))
    for key in ("accuracy", "balanced_accuracy", "loss"):
        assert [a[key][end] for end in ("low", "high")] == pytest.approx(
            [b[key][end] for end in ("low", "high")]
        )
    strangers = score(make(four.labels, four.probabilities), NAMES, resamples=300)["accuracy"]
    assert strangers["high"] - strangers["low"] < 0.7 * (
        b["accuracy"]["high"] - b["accuracy"]["low"]
    )


def test_same_seed_same_numbers_in_any_order_of_images():
    p = random_predictions(n=80)
    order = np.random.default_rng(3).permutation(80)
    shuffled = make(
        p.labels[order],
        p.probabilities[order],
        [p.patients[i] for i in order],
        image_ids=[p.image_ids[i] for i in order],
    )
    first = score(p, NAMES, seed=1, resamples=200)
    assert first == score(p, NAMES, seed=1, resamples=200)
    assert first["accuracy"] == pytest.approx(
        score(shuffled, NAMES, seed=1, resamples=200)["accuracy"]
    )
    assert first["loss"]["low"] != score(p, NAMES, seed=2, resamples=200)["loss"]["low"]


def test_all_right_is_bounded_by_patients_not_images():
    labels = [0] * 12 + [1] * 12
    shares = np.where(np.arange(2) == np.array(labels)[:, None], 0.8, 0.2)
    patients = [f"p{i // 2}" for i in range(24)]  # 6 + 6
    found = score(make(labels, shares, patients), NAMES[:2])
    for estimate, trials in (
        (found["accuracy"], 12),
        (found["balanced_accuracy"], 12),
        (found["classes"]["covid19"]["sensitivity"], 6),
        (found["classes"]["covid19"]["roc_auc"], 6),
        (found["classes"]["covid19"]["pr_auc"], 6),
    ):
        assert estimate["value"] == pytest.approx(1)
        assert (estimate["low"], estimate["high"]) == pytest.approx(wilson(trials, trials))
        assert estimate["interval"] == "Wilson 95 %, patients"


def test_few_patients_of_a_class_get_wilsons_interval():
    many, few = called(60, 20), called(3, 1, true_class=1)
    p = make(many[0] + few[0], np.concatenate((many[1], few[1])))
    found = score(p, NAMES[:2], resamples=200)
    assert "bootstrap" in found["classes"]["healthy"]["sensitivity"]["interval"]
    rare = found["classes"]["covid19"]
    assert (rare["sensitivity"]["low"], rare["sensitivity"]["high"]) == pytest.approx(wilson(3, 4))
    assert rare["roc_auc"]["interval"] == "Wilson 95 %, patients"
    # Variance of the mean of two proportions of 80 and 4 patients is that of 4 / (1/80 + 1/4).
    balanced, trials = found["balanced_accuracy"], 4 / (1 / 80 + 1 / 4)
    assert balanced["value"] == pytest.approx(0.75)
    assert (balanced["low"], balanced["high"]) == pytest.approx(wilson(0.75 * trials, trials))


@pytest.mark.parametrize("images", [1, 3, 40])
def test_what_is_undefined_is_none_and_goes_through_json(images):
    labels, shares = called(images, 0, classes=4, true_class=2)
    found = score(make(labels, shares), NAMES, resamples=50)
    json.dumps(found, allow_nan=False)
    absent = found["classes"]["covid19"]
    assert absent["n"] == absent["patients"] == 0
    for key in ("sensitivity", "ppv", "roc_auc", "pr_auc"):
        assert absent[key] | {"n": 0} == {
            **dict.fromkeys(("value", "low", "high")),
            **{"n": 0, "interval": "undefined"},
        }
    assert absent["ppv_at_prevalence"] == {"0.01": None, "0.05": None, "0.2": None}
    assert absent["specificity"]["value"] == 1
    assert found["classes"]["bacterial"]["roc_auc"]["value"] is None
    assert found["balanced_accuracy"]["value"] == 1
    assert found["loss"]["value"] == pytest.approx(-np.log(0.9), rel=1e-5)


def test_one_image_in_every_class_is_scored_without_a_number_that_boasts():
    found = score(make([0, 1, 2, 3], np.eye(4)), NAMES, resamples=100)
    json.dumps(found, allow_nan=False)
    assert found["classes"]["viral"]["sensitivity"]["low"] == pytest.approx(wilson(1, 1)[0])
    assert found["loss"]["value"] == pytest.approx(0)
    assert found["loss"]["low"] is None


def test_certain_and_wrong_costs_a_finite_loss():
    found = score(make([0, 0], [[0, 1], [0, 1]]), NAMES[:2], resamples=10)
    assert found["loss"]["value"] == pytest.approx(-np.log(1e-7))


def test_ppv_at_prevalence_is_bayes_rule():
    healthy, covid = called(80, 20), called(9, 1, true_class=1)
    found = score(
        make(healthy[0] + covid[0], np.concatenate((healthy[1], covid[1]))), NAMES[:2], resamples=10
    )
    assert found["classes"]["covid19"]["ppv_at_prevalence"] == pytest.approx(
        {"0.01": 0.009 / (0.009 + 0.198), "0.05": 0.045 / (0.045 + 0.19), "0.2": 0.18 / 0.34}
    )


def test_calibration_error_by_hand():
    # Confidence .9 (3 of 4 right, gap .15) and .65 (1 of 2 right, gap .15), then .75 (right).
    shares = [[0.9, 0.1]] * 4 + [[0.65, 0.35]] * 2 + [[0.25, 0.75]]
    found = score(make([0, 0, 0, 1, 0, 1, 1], shares), NAMES[:2], resamples=10)
    expected = (4 * 0.15 + 2 * 0.15 + 0.25) / 7
    assert found["calibration"] == {"ece": pytest.approx(expected, abs=1e-6), "bins": 10}


@pytest.mark.parametrize(("accuracy", "patients"), [(1.0, 35), (0.0, 35), (0.5, 381)])
def test_patients_for_5_points_in_closed_form(accuracy, patients):
    # Width z^2 / (n + z^2) at 1 needs n >= 9 z^2; width z / sqrt(n + z^2) at .5 needs 99 z^2.
    assert metrics.patients_for_5_points(accuracy) == patients


GOOD = {
    "image_ids": ["a", "b"],
    "patients": ["p", "q"],
    "sources": ["k", "k"],
    "labels": np.array([0, 1]),
    "probabilities": np.array([[0.9, 0.1], [0.2, 0.8]], np.float32),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.array([[0.9, 0.1], [np.nan, 0.8]])}, "image 'b' are not finite"),
        ({"probabilities": np.array([[0.9, 0.1], [np.inf, 0.8]])}, "not finite"),
        ({"probabilities": np.array([[0.9, 0.1], [3.0, -1.0]])}, "after the softmax"),
        ({"probabilities": np.array([[1.5, -0.5], [0.2, 0.8]])}, "after the softmax"),
        ({"probabilities": np.array([[0.9], [0.8]])}, "columns 1 - p and p"),
        ({"probabilities": np.array([0.9, 0.8])}, "columns 1 - p and p"),
        ({"probabilities": np.zeros((0, 2)), "labels": np.zeros(0, int)}, "no image to score"),
        ({"image_ids": ["a", "a"]}, "more than once.*'a'"),
        ({"image_ids": ["a"]}, "one image id, patient, source and label"),
        ({"patients": ["p"] * 3}, "one image id, patient, source and label"),
        ({"labels": np.array([0])}, "one image id, patient, source and label"),
        ({"labels": np.array([[0], [1]])}, "one image id, patient, source and label"),
        ({"labels": np.array([0, 2])}, r"expected integers in 0..1"),
        ({"labels": np.array([-1, 0])}, r"expected integers in 0..1"),
        ({"labels": np.array([0.0, 1.0])}, r"expected integers in 0..1"),
    ],
)
def test_unsound_predictions_are_refused(change, message):
    Predictions(**GOOD)
    with pytest.raises(ValueError, match=message):
        Predictions(**(GOOD | change))


@pytest.mark.parametrize("names", [("healthy",), ("a", "a"), NAMES])
def test_names_that_do_not_fit_are_refused(names, tmp_path):
    with pytest.raises(ValueError, match="one distinct name per column"):
        score(Predictions(**GOOD), names)
    with pytest.raises(ValueError, match="one distinct name per column"):
        metrics.write_predictions(tmp_path / "p.csv", {"test": Predictions(**GOOD)}, names)
    assert not list(tmp_path.iterdir())


def test_no_resample_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        score(Predictions(**GOOD), NAMES[:2], resamples=0)


def test_as_published_scores_the_first_images_of_the_folder():
    # 18 images, batches of 10: the article's test of two classes scored 2 images.
    labels = [1] * 9 + [0] * 9
    shares = np.tile([0.9, 0.1], (18, 1))
    p = make(labels, shares, image_ids=[f"{99 - i}.png" for i in range(18)])
    found = metrics.as_published(p, 10)
    assert (found["n"], found["value"]) == (2, 1.0)
    assert found["low"] == pytest.approx(wilson(2, 2)[0])
    shares[17] = (0.1, 0.9)  # the healthy image whose name sorts first
    p = make(labels, shares, image_ids=p.image_ids)
    assert metrics.as_published(p, 10)["value"] == 0.5
    assert metrics.as_published(p, 1)["value"] == score(p, NAMES[:2])["accuracy"]["value"]
    assert [metrics.as_published(random_predictions(n), 10)["n"] for n in (27, 36)] == [3, 4]
    with pytest.raises(ValueError, match="at least 1"):
        metrics.as_published(p, 0)


def test_cramers_v_is_that_of_scipy():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 300)
    sources = np.where(rng.random(300) < 0.4, labels % 3, rng.integers(0, 3, 300))
    table = peer.cluster.contingency_matrix(labels, sources)
    assert metrics.cramers_v(labels, [f"s{i}" for i in sources]) == pytest.approx(
        association(table, method="cramer")
    )


def test_cramers_v_at_its_ends():
    labels = [0, 0, 1, 1, 2, 3]
    assert metrics.cramers_v(labels, ["k", "k", "c", "c", "k", "k"]) == pytest.approx(1)
    assert metrics.cramers_v([0, 0, 1, 1], ["k", "c", "k", "c"]) == 0
    assert metrics.cramers_v(labels, ["k"] * 6) == 0
    assert metrics.cramers_v([1, 1], ["k", "c"]) == 0


def test_confounding_of_the_two_sources():
    labels, sources = [0, 0, 1, 2], ["kaggle", "kaggle", "cohen", "kaggle"]
    assert metrics.confounding(labels, sources, NAMES) == {
        "table": {
            "healthy": {"cohen": 0, "kaggle": 2},
            "covid19": {"cohen": 1, "kaggle": 0},
            "bacterial": {"cohen": 0, "kaggle": 1},
            "viral": {"cohen": 0, "kaggle": 0},
        },
        "cramers_v": pytest.approx(1),
        "verdict": "CONFOUNDED",
    }


@pytest.mark.parametrize(
    ("labels", "sources", "verdict"),
    [
        ([0, 0, 1, 1], "kkkk", "one source"),
        ([0, 0, 1, 1], "kckc", "not confounded"),
        ([1, 1], "kc", "not confounded"),
        ([0] * 20 + [1] * 20, "k" * 13 + "c" * 7 + "k" * 7 + "c" * 13, "CONFOUNDED"),  # V = .3
        ([0] * 20 + [1] * 20, "k" * 12 + "c" * 8 + "k" * 8 + "c" * 12, "not confounded"),  # .2
    ],
)
def test_verdicts(labels, sources, verdict):
    assert metrics.confounding(labels, list(sources), NAMES)["verdict"] == verdict


def test_one_class_with_its_own_source_is_confounded_however_small_v_is():
    labels = [0] * 13 + [c for c in range(1, 14) for _ in range(13)]
    sources = ["own"] * 13 + [f"shared{i}" for _ in range(13) for i in range(13)]
    found = metrics.confounding(labels, sources, [f"class{c}" for c in range(14)])
    assert found["cramers_v"] == pytest.approx(1 / np.sqrt(13))
    assert found["verdict"] == "CONFOUNDED"


def test_confounding_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="one name per label"):
        metrics.confounding([0, 4], ["k", "c"], NAMES)
    for labels, sources in (([0, 1], ["k"]), ([], [])):
        with pytest.raises(ValueError, match="one source per label"):
            metrics.confounding(labels, sources, NAMES)


def test_predictions_csv_brings_everything_back(tmp_path):
    splits = {
        "validation": random_predictions(n=30, seed=1),
        "test": make(
            [0, 3], [[1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 1e-8, 1]], image_ids=['a,"b"', "ö\n"]
        ),
    }
    path = tmp_path / "predictions.csv"
    metrics.write_predictions(path, splits, NAMES)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == ["split", "image_id", "patient", "source", "label", "predicted"]
    for name, p in splits.items():
        own = [row for row in rows if row["split"] == name]
        assert [row["image_id"] for row in own] == p.image_ids
        assert [row["patient"] for row in own] == p.patients
        assert [NAMES.index(row["label"]) for row in own] == p.labels.tolist()
        shares = np.array([[row[f"p_{c}"] for c in NAMES] for row in own], dtype=np.float32)
        np.testing.assert_array_equal(shares, p.probabilities)
        assert [NAMES.index(row["predicted"]) for row in own] == shares.argmax(axis=1).tolist()
    assert [entry.name for entry in path.parent.iterdir()] == ["predictions.csv"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    unwritable = make([0, 1], np.eye(2), image_ids=["a", "\ud800"])  # no such letter in UTF-8
    with pytest.raises(UnicodeEncodeError):
        metrics.write_predictions(path, {"test": unwritable}, NAMES[:2])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_neither_tensorflow_nor_pyplot_is_imported():
    code = (
        "import sys, trainer.evaluation.metrics, trainer.evaluation.baselines, trainer.evaluation.plots; "
        "sys.exit(len({'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
