"""The claims of the kept linear models: fitted once, the same calls, and never another's."""

import os
import pathlib

import numpy as np
import pytest
import sklearn

from trainer.evaluation import baselines, linear_model
from trainer.evaluation.linear_model import fitted, probabilities


def images(seed, n=60, side=8):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), np.uint8)


LABELS = np.arange(60) % 3


def fits(capsys, *arguments):
    """The model, and whether it was fitted: what fits shows a line."""
    capsys.readouterr()
    model = fitted(*arguments)
    return model, "fitting the model" in capsys.readouterr().err


@pytest.mark.parametrize("labels", [LABELS, LABELS % 2, np.where(LABELS == 1, 3, LABELS)])
def test_a_kept_model_calls_every_image_as_the_fitted_one_did(labels, tmp_path, capsys):
    squares = images(0)
    model, new = fits(capsys, squares, labels, "the model", tmp_path / "kept")
    again, new_again = fits(capsys, squares, labels, "the model", tmp_path / "kept")
    assert (new, new_again) == (True, False)
    for model_, seed in ((model, 1), (again, 1)):
        assert probabilities(model_, images(seed), 4).dtype == np.float32
    np.testing.assert_array_equal(
        probabilities(model, images(1), 4), probabilities(again, images(1), 4)
    )


def test_other_images_labels_sizes_or_libraries_are_fitted_to_apart(tmp_path, capsys, monkeypatch):
    squares = images(0)
    fitted(squares, LABELS, "the model", tmp_path)
    one_pixel, one_label = squares.copy(), LABELS.copy()
    one_pixel[3, 2, 1] ^= 1
    one_label[5] = 0
    for other in ((one_pixel, LABELS), (squares, one_label), (squares[:59], LABELS[:59]),
                  (squares.reshape(60, 4, 16), LABELS)):  # fmt: skip
        assert fits(capsys, *other, "the model", tmp_path)[1]
    assert not fits(capsys, squares, LABELS.astype(np.int32), "the model", tmp_path)[1]
    monkeypatch.setattr(sklearn, "__version__", "another")
    assert fits(capsys, squares, LABELS, "the model", tmp_path)[1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_fitted_again_and_mended(damage, tmp_path, capsys):
    squares = images(0)
    model, _ = fits(capsys, squares, LABELS, "the model", tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:-7],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
        }[damage]
    )
    again, new = fits(capsys, squares, LABELS, "the model", tmp_path)
    assert new and path.read_bytes() == whole
    np.testing.assert_array_equal(
        probabilities(model, squares, 3), probabilities(again, squares, 3)
    )


def test_where_nothing_can_be_kept_a_model_is_fitted_all_the_same(tmp_path, capsys):
    (tmp_path / "a file").touch()
    for folder in (None, tmp_path / "a file"):
        model, new = fits(capsys, images(0), LABELS, "the model", folder)
        assert new and len(probabilities(model, images(1), 3)) == 60


def test_the_oldest_models_make_room_for_new_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(linear_model, "_MOST_FILES", 3)
    made: list[pathlib.Path] = []
    for seed in range(5):
        fitted(images(seed), LABELS, "the model", tmp_path)
        (new,) = set(tmp_path.iterdir()) - set(made)
        os.utime(new, (seed, seed))  # so that no two are of one moment
        made.append(new)
    assert set(tmp_path.iterdir()) == set(made[-3:])


def test_baselines_of_splits_and_of_folds_are_the_same_kept_or_not(tmp_path, capsys):
    squares, groups = images(0, side=32), [str(i // 2) for i in range(60)]
    splits, fold = {"test": (images(1, side=32), LABELS, groups)}, np.arange(60) // 6 % 2
    first = baselines.shortcut_baseline(squares, LABELS, splits, 3)
    of_folds = baselines.cross_validated(squares, LABELS, fold, groups, 3)
    assert "fitting" in capsys.readouterr().err
    for kept in (False, True):
        assert baselines.shortcut_baseline(squares, LABELS, splits, 3, tmp_path) == first
        assert baselines.cross_validated(squares, LABELS, fold, groups, 3, tmp_path) == of_folds
        assert ("fitting" in capsys.readouterr().err) != kept


def test_splits_that_are_scored_later_need_no_new_fit(tmp_path, capsys):
    squares, groups = images(0, side=32), [str(i) for i in range(60)]
    splits = {name: (images(seed, side=32), LABELS, groups) for seed, name in enumerate("ab", 1)}
    baselines.shortcut_baseline(squares, LABELS, {"a": splits["a"]}, 3, tmp_path)
    capsys.readouterr()
    both = baselines.shortcut_baseline(squares, LABELS, splits, 3, tmp_path)
    assert list(both) == ["a", "b"] and "fitting" not in capsys.readouterr().err
