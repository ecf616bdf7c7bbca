"""The claims of the shortcut baseline: what is masked, what is fitted, what a shortcut does."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from trainer.evaluation import baselines
from trainer.evaluation.baselines import cross_validated, lungs_masked, shortcut_baseline


def images(labels, seed, centre=0, corner=0):
    """Noise images; `centre` and `corner` grey levels are added there per class number."""
    rng = np.random.default_rng(seed)
    grey = rng.normal(100, 20, size=(len(labels), 32, 32))
    grey[:, 10:22, 10:22] += centre * labels[:, None, None]
    grey[:, :4, :4] += corner * labels[:, None, None]
    return np.clip(grey, 0, 255).astype(np.uint8)


def halves(classes=2, n=160, **planted):
    labels = np.arange(n) % classes
    train = (images(labels, 1, **planted), labels)
    return train, (images(labels, 2, **planted), labels, [f"p{i // 2}" for i in range(n)])


def test_lungs_masked_blacks_out_the_central_70_percent():
    before = np.full((2, 32, 32), 7, np.uint8)
    after = lungs_masked(before)
    expected = np.full((32, 32), 7, np.uint8)
    expected[5:27, 5:27] = 0  # 22 of 32 pixels
    np.testing.assert_array_equal(after, [expected, expected])
    assert after.dtype == np.uint8
    assert (before == 7).all()


def test_a_corner_marker_is_seen_with_and_without_lungs():
    train, test = halves(corner=40)
    results = shortcut_baseline(*train, {"test": test}, 2)["test"]
    assert results["full_image"]["balanced_accuracy"]["value"] > 0.95
    assert results["lungs_masked"]["balanced_accuracy"]["value"] > 0.95


def test_a_sign_inside_the_lungs_is_gone_without_them():
    train, test = halves(centre=30)
    results = shortcut_baseline(*train, {"test": test}, 2)["test"]
    assert results["full_image"]["balanced_accuracy"]["value"] > 0.95
    hidden = results["lungs_masked"]["balanced_accuracy"]
    assert hidden["low"] < 0.5 < hidden["high"] < 0.7


def test_values_are_those_of_the_written_out_model():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 200, p=(0.6, 0.2, 0.1, 0.1))
    x, unseen = images(labels, 1, centre=4), images(labels, 2, centre=4)
    groups = [str(i) for i in range(200)]
    results = shortcut_baseline(x, labels, {"validation": (unseen, labels, groups)}, 4)
    flat, other = (f.reshape(200, -1).astype(float) for f in (x, unseen))
    mean, deviation = flat.mean(axis=0), flat.std(axis=0)
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
    model.fit((flat - mean) / deviation, labels)
    expected = balanced_accuracy_score(labels, model.predict((other - mean) / deviation))
    estimate = results["validation"]["full_image"]["balanced_accuracy"]
    assert estimate["value"] == pytest.approx(expected)
    assert estimate["low"] < expected < estimate["high"]
    assert estimate["n"] == 200


def test_every_split_is_scored_and_twice_gives_the_same():
    train, test = halves(classes=4, centre=5)
    splits = {"validation": (*train, test[2]), "test": test}
    results = shortcut_baseline(*train, splits, 4)
    assert results == shortcut_baseline(*train, splits, 4)
    assert list(results) == ["validation", "test"]
    assert all(set(each) == {"full_image", "lungs_masked"} for each in results.values())


def test_a_class_that_train_does_not_have_is_never_called():
    train, test = halves(corner=40)
    third = (test[0], np.where(test[1] == 1, 2, 0), test[2])
    results = shortcut_baseline(*train, {"test": third}, 3)["test"]["full_image"][
        "balanced_accuracy"
    ]
    assert results["value"] == pytest.approx(0.5, abs=0.03)


def test_misfits_are_refused():
    (x, y), test = halves(n=20)
    for bad in (x.astype(np.float32), x[..., None], x[:, :16], x[0]):
        with pytest.raises(ValueError, match=r"expected uint8 \[n, 32, 32\]"):
            lungs_masked(bad)
        with pytest.raises(ValueError, match=r"expected uint8 \[n, 32, 32\]"):
            shortcut_baseline(x, y, {"test": (bad, y, test[2])}, 2)
    for labels, classes in ((y[:-1], 2), (np.zeros(20, int), 2), (y + 1, 2), (y - 1, 2)):
        with pytest.raises(ValueError, match="at least two classes"):
            shortcut_baseline(x, labels, {"test": test}, classes)
    with pytest.raises(ValueError, match="no image"):
        shortcut_baseline(x, y, {"test": (x[:0], y[:0], [])}, 2)


def test_each_fold_is_scored_by_models_of_the_other_folds():
    labels, fold = np.arange(150) % 3, np.arange(150) // 3 % 4
    squares = images(labels, 1, centre=3)
    groups = [str(i // 2) for i in range(150)]
    results = cross_validated(squares, labels, fold, groups, 3)
    for name in ("full_image", "lungs_masked"):
        alone = []
        for number in range(4):
            out = fold == number
            split = (squares[out], labels[out], [groups[i] for i in np.flatnonzero(out)])
            apart = shortcut_baseline(squares[~out], labels[~out], {"fold": split}, 3)
            alone.append(apart["fold"][name]["balanced_accuracy"])
        values = [each["value"] for each in alone]
        pooled = results[name].pop("balanced_accuracy")
        assert pooled["n"] == 150 and pooled["low"] < pooled["value"] < pooled["high"]
        assert pooled["value"] == pytest.approx(np.mean(values), abs=0.05)
        assert results[name] == {
            "values": pytest.approx(values),
            "low": pytest.approx([each["low"] for each in alone]),
            "high": pytest.approx([each["high"] for each in alone]),
            "mean": pytest.approx(np.mean(values)),
            "sd": pytest.approx(np.std(values, ddof=1)),
        }


def test_folds_that_do_not_fit_are_refused():
    labels = np.repeat([0, 1], 10)  # all of a class in one fold
    with pytest.raises(ValueError, match="at least two classes"):
        cross_validated(images(labels, 1), labels, labels, [str(i) for i in labels], 2)


@pytest.mark.parametrize("counts", [(30, 8), (60, 7, 20), (90, 40, 80, 3), (5,), ()])
def test_of_many_train_images_each_class_has_as_many_as_there_are_or_its_share(counts, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_FITTED", 40)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    at = baselines.fitted_images(labels)
    assert at.tolist() == sorted(set(at.tolist())) and len(at) == min(40, sum(counts))
    kept = np.bincount(labels[at], minlength=len(counts))
    whole = kept == counts
    assert all(kept[~whole] >= max(kept, default=0) - 1)  # the others share what is left
    apart = np.diff(np.flatnonzero(np.isin(np.arange(len(labels)), at)))
    assert apart.max(initial=0) <= 0.3 * len(labels)  # from all over


def test_all_train_images_are_fitted_where_they_are_few():
    assert baselines.fitted_images(np.zeros(7, int)).tolist() == list(range(7))
