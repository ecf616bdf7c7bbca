"""The claims of predictions.csv: what is refused, and that reading brings everything back."""

import csv

import numpy as np
import pytest

from tests.helpers.predictions import NAMES, joined, make, random_predictions
from trainer.evaluation.predictions import COLUMNS, Predictions, read, repeated, write

SOUND = {
    "image_ids": ["a", "b"],
    "patients": ["p", "q"],
    "groups": ["p", "p"],
    "sources": ["k", "k"],
    "splits": ["test", "test"],
    "labels": np.array([0, 1]),
    "probabilities": np.array([[0.9, 0.1], [0.2, 0.8]], np.float32),
    "class_names": NAMES[:2],
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
        ({"class_names": ("healthy",)}, "one distinct name per column"),
        ({"class_names": ("a", "a")}, "one distinct name per column"),
        ({"class_names": NAMES}, "one distinct name per column"),
        ({"image_ids": ["a", "a"]}, "more than once.*'a'"),
        ({"image_ids": ["a", "a"], "repeats": [1, 1]}, "more than once.*'a'"),
        ({"image_ids": ["a"]}, "one value of each column"),
        ({"patients": ["p"] * 3}, "one value of each column"),
        ({"groups": []}, "one value of each column"),
        ({"folds": [0]}, "one value of each column"),
        ({"labels": np.array([0])}, "one value of each column"),
        ({"labels": np.array([[0], [1]])}, "one value of each column"),
        ({"labels": np.array([0, 2])}, r"expected 0..1"),
        ({"labels": np.array([-1, 0])}, r"expected 0..1"),
        ({"labels": np.array([0.0, 1.0])}, "labels are float64, expected integers"),
        ({"repeats": ["0", "1"]}, "expected integers"),
    ],
)
def test_unsound_predictions_are_refused(change, message):
    Predictions(**SOUND)
    with pytest.raises(ValueError, match=message):
        Predictions(**(SOUND | change))


def test_an_image_may_occur_once_in_each_split_and_in_each_repeat():
    twice = {"image_ids": ["a", "a"]}
    assert Predictions(**SOUND | twice | {"splits": ["validation", "test"]}).image_ids == ["a", "a"]
    assert Predictions(**SOUND | twice | {"repeats": [0, 1]}).repeats.tolist() == [0, 1]


def test_columns_come_in_as_lists_or_arrays():
    arrays = {name: np.array(SOUND[name]) for name in ("image_ids", "groups", "splits")}
    lists = {name: SOUND[name].tolist() for name in ("labels", "probabilities")}
    table = Predictions(**SOUND | arrays | lists)
    assert table.groups == ["p", "p"]
    assert (table.labels.dtype, table.probabilities.dtype) == (np.int64, np.float32)


def test_the_first_of_equal_classes_is_predicted():
    assert make([0, 1], [[0.5, 0.5], [0.4, 0.6]]).predicted.tolist() == [0, 1]


def folded(*tables):
    """All rows of some tables, with repeats and folds."""
    number = np.arange(sum(len(table.labels) for table in tables))
    return joined(*tables, repeats=number % 3, folds=number % 5)


def test_a_split_has_its_rows_in_their_order():
    validation, test = random_predictions(7, split="validation"), random_predictions(5, seed=1)
    both = folded(validation, test)
    assert both.split_names == ["validation", "test"]
    part = both.of_split("test")
    assert part.image_ids == test.image_ids
    assert part.groups == test.groups
    np.testing.assert_array_equal(part.probabilities, test.probabilities)
    assert part.folds.tolist() == [7 % 5, 8 % 5, 9 % 5, 10 % 5, 11 % 5]
    assert test.of_split("test").repeats is None
    with pytest.raises(ValueError, match=r"'control'.*validation, test"):
        both.of_split("control")


def same(a, b):
    for name in ("image_ids", "patients", "groups", "sources", "splits", "class_names"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("labels", "probabilities", "repeats", "folds"):
        if getattr(a, name) is None:
            assert getattr(b, name) is None
        else:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)


def test_predictions_csv_brings_everything_back(tmp_path):
    odd = make(
        [0, 3],
        [[1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 1e-8, 1]],
        patients=["a", ""],
        image_ids=['a,"b"', "ö\n"],
    )
    of_folds = folded(random_predictions(3000, split="validation"), odd)
    for table in (odd, of_folds):
        write(tmp_path / "predictions.csv", table)
        same(table, read(tmp_path / "predictions.csv"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["predictions.csv"]


def test_the_columns_are_the_same_for_a_run_and_for_folds(tmp_path):
    path, plain = tmp_path / "predictions.csv", random_predictions(6)
    for table, repeat in ((plain, ""), (folded(plain), "0")):
        write(path, table)
        with open(path, newline="", encoding="utf-8") as file:
            header, first, *_ = csv.reader(file)
        assert header == [*COLUMNS, "p_healthy", "p_covid19", "p_bacterial", "p_viral"]
        assert first[:7] == ["image0", "g000", "g000", "kaggle", "test", repeat, repeat]
        assert first[7] == NAMES[plain.labels[0]]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    unwritable = make([0, 1], np.eye(2), image_ids=["a", "\ud800"])  # no such letter in UTF-8
    with pytest.raises(UnicodeEncodeError):
        write(path, unwritable)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("split,film_id,patient,source,label,predicted,p_healthy,p_covid19\n")
    with pytest.raises(ValueError, match="version 1"):
        read(path)
    write(path, random_predictions(6, classes=2))
    path.write_text(path.read_text().replace(",healthy,", ",ill,"))
    with pytest.raises(ValueError, match=r"labels \['ill'\].*healthy, covid19"):
        read(path)


def test_tables_of_the_same_images_become_repeats_one_after_the_other():
    one, other = (random_predictions(6, 2, seed=seed) for seed in (0, 1))
    twice = repeated([one, one])
    assert repeated([twice, other]).repeats.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    together = repeated([one, other])
    assert together.image_ids == one.image_ids * 2
    assert (together.probabilities[6:] == other.probabilities).all()
