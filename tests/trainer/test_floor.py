"""The claims of trainer.floor: what is hidden, what is fitted, what a shortcut does to it."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from trainer.evaluation.baselines import lungs_removed, shortcut_floor


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


def test_lungs_removed_blacks_out_the_central_70_percent():
    before = np.full((2, 32, 32), 7, np.uint8)
    after = lungs_removed(before)
    expected = np.full((32, 32), 7, np.uint8)
    expected[5:27, 5:27] = 0  # 22 of 32 pixels
    np.testing.assert_array_equal(after, [expected, expected])
    assert after.dtype == np.uint8
    assert (before == 7).all()


def test_a_corner_marker_is_seen_with_and_without_lungs():
    train, test = halves(corner=40)
    found = shortcut_floor(train, {"test": test}, 2)["test"]
    assert found["whole_image"]["balanced_accuracy"]["value"] > 0.95
    assert found["lungs_removed"]["balanced_accuracy"]["value"] > 0.95


def test_a_sign_inside_the_lungs_is_gone_without_them():
    train, test = halves(centre=30)
    found = shortcut_floor(train, {"test": test}, 2)["test"]
    assert found["whole_image"]["balanced_accuracy"]["value"] > 0.95
    hidden = found["lungs_removed"]["balanced_accuracy"]
    assert hidden["low"] < 0.5 < hidden["high"] < 0.7


def test_values_are_those_of_the_written_out_model():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 200, p=(0.6, 0.2, 0.1, 0.1))
    x, unseen = images(labels, 1, centre=4), images(labels, 2, centre=4)
    patients = [str(i) for i in range(200)]
    found = shortcut_floor((x, labels), {"validation": (unseen, labels, patients)}, 4)
    flat, other = (f.reshape(200, -1).astype(float) for f in (x, unseen))
    mean, deviation = flat.mean(axis=0), flat.std(axis=0)
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
    model.fit((flat - mean) / deviation, labels)
    expected = balanced_accuracy_score(labels, model.predict((other - mean) / deviation))
    estimate = found["validation"]["whole_image"]["balanced_accuracy"]
    assert estimate["value"] == pytest.approx(expected)
    assert estimate["low"] < expected < estimate["high"]
    assert estimate["n"] == 200


def test_every_split_is_scored_and_twice_gives_the_same():
    train, test = halves(classes=4, centre=5)
    splits = {"validation": (*train, test[2]), "test": test}
    found = shortcut_floor(train, splits, 4)
    assert found == shortcut_floor(train, splits, 4)
    assert list(found) == ["validation", "test"]
    assert all(set(views) == {"whole_image", "lungs_removed"} for views in found.values())


def test_a_class_that_train_lacks_is_never_called():
    train, test = halves(corner=40)
    third = (test[0], np.where(test[1] == 1, 2, 0), test[2])
    found = shortcut_floor(train, {"test": third}, 3)["test"]["whole_image"]["balanced_accuracy"]
    assert found["value"] == pytest.approx(0.5, abs=0.03)


def test_misfits_are_refused():
    (x, y), test = halves(n=20)
    for bad in (x.astype(np.float32), x[..., None], x[:, :16], x[0]):
        with pytest.raises(ValueError, match=r"expected uint8 \[n, 32, 32\]"):
            lungs_removed(bad)
        with pytest.raises(ValueError, match=r"expected uint8 \[n, 32, 32\]"):
            shortcut_floor((x, y), {"test": (bad, y, test[2])}, 2)
    for labels, classes in ((y[:-1], 2), (np.zeros(20, int), 2), (y + 1, 2), (y - 1, 2)):
        with pytest.raises(ValueError, match="at least two classes"):
            shortcut_floor((x, labels), {"test": test}, classes)
    with pytest.raises(ValueError, match="no image"):
        shortcut_floor((x, y), {"test": (x[:0], y[:0], [])}, 2)
