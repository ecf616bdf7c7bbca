"""Folds: no patient in two, every image predicted once a repeat by who did not see it."""

import csv
import dataclasses
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from trainer import cross_validation
from trainer.config import Config
from trainer.input_pipeline import dataset
from trainer.run.errors import RunError

ROOT = pathlib.Path(__file__).parents[2]
QUICK = Config(dataset="tiny", image_size=32, batch_size=16, epochs=3, head_units=8, dropout=0.0,
               precision="float32", learning_rate=1e-3)  # fmt: skip
TUNED = {"fine_tune_from": "block5", "fine_tune_epochs": 1, "fine_tune_learning_rate": 1e-3}


def labels_and_groups(patients: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    images = [(p % 3, f"p{p}") for p in range(patients) for _ in range(rng.integers(1, 4))]
    return np.array([label for label, _ in images]), [group for _, group in images]


@pytest.mark.parametrize("count", [2, 5, 10])
def test_a_group_is_in_one_fold_and_every_class_in_all(count):
    labels, groups = labels_and_groups(60)
    fold = cross_validation.deal(labels, groups, count, 1, "abcd")
    where = {group: set() for group in groups}
    for group, number in zip(groups, fold, strict=True):
        where[group].add(number)
    assert all(len(held) == 1 for held in where.values())
    for number in range(count):
        assert set(labels[fold == number]) == {0, 1, 2}
    assert (cross_validation.deal(labels, groups, count, 1, "abcd") == fold).all()
    assert (cross_validation.deal(labels, groups, count, 2, "abcd") != fold).any()


def test_more_folds_than_patients_of_a_class_is_an_error():
    labels, groups = labels_and_groups(12)
    with pytest.raises(RunError, match=r"a has 4\. Ask for fewer"):
        cross_validation.deal(labels, groups, 5, 1, "abcd")


@pytest.fixture(scope="module")
def result(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossval")
    config = dataclasses.replace(QUICK, data_dir=str(data_dir), cache_dir=str(folder / "cache"))
    return config, cross_validation.cross_validate(config, 3, 2, folder), folder


def test_every_image_of_train_and_validation_is_predicted_once_a_repeat(result, data_dir):
    _, found, folder = result
    splits = dataset.open_dataset("tiny", str(data_dir), 4).splits
    wanted = splits["train"].image_ids + splits["validation"].image_ids
    assert found.images.image_ids == wanted
    assert not set(wanted) & set(splits["test"].image_ids)
    np.testing.assert_allclose(found.probabilities.sum(axis=2), 1, atol=1e-5)
    assert (found.fold[0] != found.fold[1]).any()
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == wanted * 2


def test_the_written_scores_are_those_of_the_predictions(result):
    _, found, folder = result
    written = json.loads((folder / "crossval.json").read_text())
    assert written == json.loads(json.dumps(found.scores))
    labels, called = found.images.labels, found.probabilities.argmax(axis=2)
    values = [
        np.mean([(called[r][(found.fold[r] == k) & (labels == c)] == c).mean() for c in range(4)])
        for r in range(2)
        for k in range(3)
    ]
    np.testing.assert_allclose(np.ravel(written["folds"]["values"]), values)
    assert written["folds"]["mean"] == pytest.approx(np.mean(values))
    assert written["folds"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert written["folds"]["min"] == pytest.approx(min(values))
    pooled = np.mean([[(called[r][labels == c] == c).mean() for c in range(4)] for r in range(2)])
    estimate = written["pooled"]["balanced_accuracy"]
    assert estimate["value"] == pytest.approx(pooled)
    assert estimate["low"] <= pooled <= estimate["high"]
    assert set(written["floor"]) == {"whole_image", "lungs_removed"}
    assert written["n"] == len(labels)


def test_a_fold_is_predicted_by_a_network_that_did_not_see_it(result, data_dir, monkeypatch):
    """Images of a fold with other labels change the other folds' predictions, not its own."""
    config, found, _ = result
    opened = dataset.open_dataset("tiny", str(data_dir), 4)
    # The labels change, and with them the dealing would.
    monkeypatch.setattr(cross_validation, "deal", lambda *_: found.fold[0])
    changed = {}
    held, at = found.fold[0] == 1, 0
    for name in ("train", "validation"):
        images = opened.splits[name]
        part = held[at : at + len(images.labels)]
        at += len(images.labels)
        labels = np.where(part, (images.labels + 1) % 4, images.labels)
        changed[name] = dataclasses.replace(images, labels=labels)
    splits = {**opened.splits, **changed}
    monkeypatch.setattr(
        dataset, "open_dataset", lambda *_: dataclasses.replace(opened, splits=splits)
    )
    again = cross_validation.cross_validate(config, 3, 1)
    same = np.isclose(again.probabilities[0], found.probabilities[0], atol=1e-5).all(axis=1)
    assert same[held].all()
    assert not same[~held].any()


def test_folds_begin_from_the_same_weights_and_seeds_differ(result):
    config, found, _ = result
    again = cross_validation.cross_validate(config, 3, 1)
    np.testing.assert_allclose(again.probabilities[0], found.probabilities[0], atol=1e-5)
    other = cross_validation.cross_validate(dataclasses.replace(config, seed=2), 3, 1)
    np.testing.assert_allclose(other.probabilities[0], found.probabilities[1], atol=1e-5)


def test_fine_tuning_is_undone_between_folds(result):
    config = dataclasses.replace(result[0], **TUNED)
    one = cross_validation.cross_validate(config, 3, 2)
    last = cross_validation.cross_validate(dataclasses.replace(config, seed=2), 3, 1)
    np.testing.assert_allclose(last.probabilities[0], one.probabilities[1], atol=1e-4)


def test_folds_fine_tune_alike_where_rows_find_no_room(result):
    config, head_only, _ = result
    config = dataclasses.replace(config, **TUNED)
    kept = cross_validation.cross_validate(config, 3, 1).probabilities[0]
    passed = cross_validation.cross_validate(dataclasses.replace(config, cache_gib=0.0), 3, 1)
    np.testing.assert_allclose(passed.probabilities[0], kept, atol=1e-3)
    assert np.abs(head_only.probabilities[0] - kept).max() > 0.1


def test_float16_begins_every_fold_with_its_loss_scale(result):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="softmax")])
    finally:
        keras.config.set_dtype_policy("float32")
    images, labels = np.ones((4, 3), np.float32), np.arange(4)
    cross_validation._ready(model, result[0], 1e-3, 1, anew=False)
    for _ in range(2):
        model.fit(images, labels, verbose=0)
        cross_validation._ready(model, result[0], 1e-3, 1, anew=False)
        assert float(model.optimizer.dynamic_scale) == model.optimizer.initial_scale > 1
        assert not np.any(model.optimizer.inner_optimizer._momentums[0])
    model.fit(images, labels, verbose=0)
    assert np.isfinite(model.get_weights()[0]).all()


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "trainer.crossval", *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip


def test_the_command_prints_mean_sd_min_interval_and_floor(data_dir, tmp_path):
    done = command("--dataset=tiny", f"--data_dir={data_dir}", "--image_size=32", "--weights=none",
                   "--epochs=1", "--folds=3", "--repeats=1", f"--run_dir={tmp_path}/cv",
                   f"--cache_dir={tmp_path}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("3 folds x 1 repeats; n = 85 images", "mean", "sd", "min", "floor, no lungs"):
        assert words in done.stdout


WRONG = {
    "--folds is 1. Give 2 or more": ["--folds=1"],
    "--repeats is 0. Give 1 or more": ["--repeats=0"],
    "--early_stopping has no place with folds": ["--early_stopping=2"],
    "--as_published has no place with folds": ["--as_published", "--augmentation=article"],
    "--normalization=zca is fitted": ["--normalization=zca"],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_command_line_exits_with_2(message):
    done = command(*WRONG[message])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_reset_head_draws_what_the_layer_would(data_dir):
    from trainer.model import vgg16
    from trainer.model import weights as weights_lib

    keras.config.set_dtype_policy("float32")
    nothing = weights_lib.vgg16_weights("none", pathlib.Path())
    model = vgg16.build_model(classes=4, image_size=32, head_units=64, dropout=0.0,
                                 pooling="flatten", weights=nothing)  # fmt: skip
    before = model.get_layer("head").get_weights()
    vgg16.reset_head(model, 5)
    drawn = model.get_layer("head").get_weights()
    assert not np.allclose(drawn[0], before[0])
    assert drawn[0].std() == pytest.approx(before[0].std(), rel=0.05)
    assert not drawn[1].any()
    vgg16.reset_head(model, 5)
    np.testing.assert_array_equal(model.get_layer("head").get_weights()[0], drawn[0])
